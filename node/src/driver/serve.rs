//! Answers peers from the archive, beside the driver's loop.

use crate::mesh::Mesh;
use crate::storage::archive::Reader;
use consensus::message::{MAX_SYNC_BLOCKS, MAX_SYNC_HEADERS, SyncResp};
use consensus::{Block, Message, Peer, ServeRequest};
use ledger::certificate::Certificate;
use ledger::codec::{self, DecodeError};
use ledger::frame::Payload;
use ledger::header::Header;
use ledger::id::Height;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Answers that are put together at the same time; more are left to other peers.
const SERVING: usize = 4;

/// Reads and answers.
#[derive(Clone, Debug)]
pub(super) struct Server {
    archive: Reader,
    mesh: Arc<dyn Mesh>,
    serving: Arc<Semaphore>,
}

impl Server {
    pub(super) fn new(archive: Reader, mesh: Arc<dyn Mesh>) -> Self {
        Self {
            archive,
            mesh,
            serving: Arc::new(Semaphore::new(SERVING)),
        }
    }

    /// Answers on a blocking thread, or not at all if too much is being served.
    pub(super) fn serve(&self, to: Peer, request: ServeRequest) {
        let Ok(permit) = Arc::clone(&self.serving).try_acquire_owned() else {
            tracing::debug!("a request for blocks is left to another peer");
            return;
        };
        let server = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Some(message) = server.answer(&request) {
                server.mesh.send(&to, message.encode().into());
            }
            drop(permit);
        });
    }

    fn answer(&self, request: &ServeRequest) -> Option<Message> {
        match request {
            ServeRequest::Block(wanted) => {
                let (block, _) = self.read(wanted.height)?;
                (block.block_ref() == *wanted).then_some(Message::Block(block))
            }
            ServeRequest::Sync(request) => {
                let most = MAX_SYNC_BLOCKS.saturating_add(MAX_SYNC_HEADERS);
                let heights = (request.from.0..).take(most).map(Height);
                let frames = heights.map_while(|height| self.read(height));
                SyncResp::collect(request, frames).map(Message::SyncResp)
            }
        }
    }

    fn read(&self, height: Height) -> Option<(Block, Option<Certificate>)> {
        match self.archive.read(height) {
            Ok(payload) => decode(payload?).ok(),
            Err(error) => {
                tracing::error!(%height, error = %crate::exit::Chain(&error), "block cannot be served");
                None
            }
        }
    }
}

/// A frame's block as the engine knows it.
///
/// # Errors
/// [`DecodeError`]: the bytes are no header and body.
pub fn decode(payload: Payload) -> Result<(Block, Option<Certificate>), DecodeError> {
    let Payload {
        block,
        finalization,
    } = payload;
    let (header, body) = block.split_at_checked(Header::LEN).unwrap_or_default();
    let header: Header = codec::decode(header, Header::LEN)?;
    let body = body.to_vec().into();
    Ok((Block { header, body }, finalization))
}
