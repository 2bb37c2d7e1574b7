//! The log as C2SP tlog-tiles: checkpoint, tiles of hashes, entry bundles (formats.md, section 7.5).
//!
//! Nothing beyond the newest cosigned checkpoint is served: what a reader gets is covered by a note.

use super::App;
use super::error::ApiError;
use super::limits::needs_index;
use crate::storage::log_hashes::TILE_WIDTH;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use ledger::id::{Height, LeafIndex, TreeSize};
use ledger::log::Frontier;
use ledger::tile::{Resource, Tile, push_entry};
use std::sync::{Arc, Mutex, PoisonError};

/// Cache rule of what never changes.
pub(super) const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// Cache rule of the checkpoint: a new one comes with every block.
const SHORT: &str = "public, max-age=1";

/// Leaves of one block, kept because a reader of bundles reads the next one soon.
#[derive(Debug, Default)]
pub(super) struct LastBlock(Mutex<Option<(Height, Arc<Leaves>)>>);

/// The leaves of a block.
#[derive(Debug)]
struct Leaves {
    first: LeafIndex,
    leaves: Vec<Vec<u8>>,
}

pub(super) async fn checkpoint(State(app): State<App>) -> Result<Response, ApiError> {
    let provable = app.chain.provable().ok_or_else(|| {
        let message = "no checkpoint was cosigned by a quorum yet";
        ApiError::new(StatusCode::NOT_FOUND, "no-checkpoint", message)
            .hint("the first one comes with the first block")
    })?;
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CACHE_CONTROL, SHORT),
    ];
    Ok((headers, provable.note.clone()).into_response())
}

pub(super) async fn tile(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<Response, ApiError> {
    let resource = Resource::parse(&path).ok_or_else(|| {
        let path: String = path.chars().take(100).collect();
        ApiError::malformed(format!("{path:?} is not the path of a tile"))
            .hint("tile/<L>/<N>[.p/<W>] or tile/entries/<N>[.p/<W>], see c2sp.org/tlog-tiles")
    })?;
    let size = app.chain.provable().map_or(TreeSize(0), |p| p.size);
    let (level, tile) = match resource {
        Resource::Hashes { level, tile } => (level, tile),
        Resource::Entries(tile) => (0, tile),
    };
    if !tile.is_within(level, size) {
        let message = format!("{path} is not within the checkpoint of size {size}");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no-tile", message));
    }
    if let Resource::Entries(_) = resource {
        needs_index(&app)?;
    }
    let bytes = app
        .blocking(move |app| match resource {
            Resource::Hashes { level, tile } => hashes(app, level, tile),
            Resource::Entries(tile) => entries(app, tile),
        })
        .await?;
    let headers = [
        (CONTENT_TYPE, "application/octet-stream"),
        (CACHE_CONTROL, IMMUTABLE),
    ];
    Ok((headers, bytes).into_response())
}

fn hashes(app: &App, level: u8, tile: Tile) -> Result<Vec<u8>, ApiError> {
    let log = app.chain.log();
    let hashes = log.hashes(level, tile.start(), usize::from(tile.width));
    let hashes = hashes.map_err(|error| ApiError::internal(&error))?;
    if u64::from(tile.width) == TILE_WIDTH {
        // A full tile must be what the level above says: a damaged one is not served.
        let mut frontier = Frontier::new();
        hashes.iter().for_each(|hash| frontier.push(*hash));
        let above = log.hashes(level.saturating_add(1), tile.start() / TILE_WIDTH, 1);
        let above = above.map_err(|error| ApiError::internal(&error))?;
        if above.first() != Some(&frontier.root()) {
            return Err(log_damaged(level, tile));
        }
    }
    Ok(hashes.iter().flat_map(|hash| hash.0).collect())
}

fn log_damaged(level: u8, tile: Tile) -> ApiError {
    let from = tile.start();
    tracing::error!(level, from, "a tile of the log is damaged and not served");
    let message = format!("the hashes of level {level} from {from} on are damaged");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "log-damaged", message)
        .hint("the node makes them again; meanwhile ask another node")
}

fn entries(app: &App, tile: Tile) -> Result<Vec<u8>, ApiError> {
    let mut bundle = Vec::new();
    let mut next = LeafIndex(tile.start());
    let end = next.saturating_add(tile.width.into());
    let mut height = block_of(app, next)?;
    while next < end {
        let block = app.0.leaves.get(app, height)?;
        let from = usize::try_from(next.0.saturating_sub(block.first.0)).unwrap_or(usize::MAX);
        let left = usize::try_from(end.0.saturating_sub(next.0)).unwrap_or(usize::MAX);
        let leaves = block.leaves.get(from..).unwrap_or_default();
        let leaves = leaves.get(..left).unwrap_or(leaves);
        if leaves.is_empty() {
            return Err(gap(next));
        }
        for leaf in leaves {
            push_entry(&mut bundle, leaf).ok_or_else(|| gap(next))?;
            next = next.saturating_add(1);
        }
        height = height.saturating_add(1);
    }
    Ok(bundle)
}

/// The block that holds a leaf.
fn block_of(app: &App, leaf: LeafIndex) -> Result<Height, ApiError> {
    let view = app.chain.states().index().view();
    let found = view.and_then(|view| view.block_of(leaf));
    let found = found.map_err(|error| ApiError::internal(&error))?;
    found.map(|(height, _)| height).ok_or_else(|| gap(leaf))
}

fn gap(leaf: LeafIndex) -> ApiError {
    tracing::error!(%leaf, "the archive has no such leaf");
    let message = format!("leaf {leaf} cannot be read; this node's log says more");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
}

impl LastBlock {
    fn get(&self, app: &App, height: Height) -> Result<Arc<Leaves>, ApiError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, leaves)) = &*last
            && *of == height
        {
            return Ok(Arc::clone(leaves));
        }
        let block = crate::receipts::leaves::open(&app.chain.archive(), height);
        let block = block.map_err(|error| ApiError::of_read(&error))?;
        let leaves = block.leaves().map_err(|error| ApiError::internal(&error))?;
        let count = u64::try_from(leaves.len()).unwrap_or(u64::MAX);
        let leaves = Arc::new(Leaves {
            first: LeafIndex(block.header.log_size.0.saturating_sub(count)),
            leaves,
        });
        *last = Some((height, Arc::clone(&leaves)));
        Ok(leaves)
    }
}
