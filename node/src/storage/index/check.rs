//! Whether an index that nobody closed can go on: proved entry by entry, or not at all.
//!
//! After a crash nobody knows what sled has kept. It may not open, or panic, or open with writes missing; so this is run
//! in a process of its own, which may die of it. What it finds must come to the very sum that was written with the last
//! applied block, every entry must be found under its key, and additions of a block that was never applied whole are taken
//! away. States are compared with that block's status root by whoever opens the index next. Then it is closed and marked clean.

use super::keys::{Entry, Kind};
use super::writes::{Applied, Registered, weight};
use super::{BATCH_KEYS, ReadError, StoreError, decode, get};
use super::{begun_path, fatal, marker_path, marker_text, open_store, store_path, sync_store};
use crate::storage::{Fatal, files};
use ledger::hash::ChainId;
use ledger::id::{Height, LeafIndex};
use ledger::state::Inclusion;
use std::path::Path;

/// More left-over entries are of no single block or run.
const MAX_LEFT_OVER: usize = 1 << 20;

/// What a look through an index found.
#[derive(Debug)]
pub enum Checked {
    /// It was closed, or there is none.
    Nothing,
    /// It holds exactly what the blocks up to this one wrote, and is marked clean.
    Sound(Height),
    /// It will be made again.
    Unsound(Unsound),
}

/// Why an index cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    /// Another chain's, or another version's.
    #[error("it is another chain's, or was made by another version")]
    Other,
    /// No block was applied.
    #[error("no block was applied to it")]
    Empty,
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[from] ReadError),
    /// An entry is none of this program's.
    #[error("entry {0} is none of this program's")]
    Entry(String),
    /// An entry is seen in passing and not found under its key.
    #[error("entry {0} is not found under its key")]
    Lost(String),
    /// It does not hold what was written.
    #[error("its entries do not come to the sum that was written with block {0}")]
    Sum(Height),
    /// Much was left over.
    #[error("more than {MAX_LEFT_OVER} entries are of blocks that were not applied")]
    LeftOver,
}

impl From<sled::Error> for Unsound {
    fn from(error: sled::Error) -> Self {
        Self::Read(StoreError::from(error).into())
    }
}

/// Whether an index stands there that was not closed.
///
/// # Errors
/// If the directory cannot be read.
pub fn is_needed(dir: &Path) -> Result<bool, files::FileError> {
    Ok(files::read_if_exists(&marker_path(dir))?.is_none() && store_path(dir).exists())
}

/// How long the store is.
pub fn bytes(dir: &Path) -> u64 {
    std::fs::metadata(store_path(dir).join("db")).map_or(0, |meta| meta.len())
}

/// Looks through the index of a stopped node. May panic, hang or take the process down: see the module.
///
/// # Errors
/// [`Fatal`] if the disk refuses.
pub fn check(dir: &Path, chain: ChainId, cache_bytes: u64) -> Result<Checked, Fatal> {
    if !is_needed(dir)? {
        return Ok(Checked::Nothing);
    }
    let begun = files::read_if_exists(&begun_path(dir))?;
    if begun.is_none_or(|found| found != marker_text(chain).as_bytes()) {
        return Ok(Checked::Unsound(Unsound::Other));
    }
    let store = match open_store(dir, cache_bytes) {
        Ok(store) => store,
        Err(error) => return Ok(Checked::Unsound(ReadError::from(error).into())),
    };
    let height = match look(&store) {
        Ok(height) => height,
        Err(why) => return Ok(Checked::Unsound(why)),
    };
    let flushed = store.flush();
    flushed.map_err(|error| fatal(dir, error.into()))?;
    drop(store);
    sync_store(dir)?;
    files::write_atomic(&marker_path(dir), marker_text(chain).as_bytes())?;
    Ok(Checked::Sound(height))
}

fn look(store: &sled::Db) -> Result<Height, Unsound> {
    let applied: Option<Applied> = get(store, Entry::Applied)?;
    let applied = applied.ok_or(Unsound::Empty)?;
    let known = LeafIndex(applied.leaves.0);
    let (mut sum, mut left_over) = (0_u128, Vec::new());
    for item in store.iter() {
        let (key, value) = item?;
        if store.get(&key)?.as_ref() != Some(&value) {
            return Err(Unsound::Lost(hex::encode(&key)));
        }
        let kind = Kind::of(&key).ok_or_else(|| Unsound::Entry(hex::encode(&key)))?;
        let leaf = match kind {
            Kind::Mark | Kind::State | Kind::Window => continue,
            Kind::Evidence => None,
            Kind::Block(leaf) | Kind::History(leaf) => Some(leaf),
            Kind::Registration => Some(decode::<Registered>(&key, &value)?.index),
            Kind::Submission => Some(decode::<Inclusion>(&key, &value)?.first),
            Kind::Published => Some(decode::<LeafIndex>(&key, &value)?),
        };
        if leaf.is_some_and(|leaf| leaf >= known) {
            left_over.push(key);
            if left_over.len() > MAX_LEFT_OVER {
                return Err(Unsound::LeftOver);
            }
        } else {
            sum = sum.wrapping_add(weight(&key, &value));
        }
    }
    if sum != applied.sum {
        return Err(Unsound::Sum(applied.height));
    }
    for keys in left_over.chunks(BATCH_KEYS) {
        let mut batch = sled::Batch::default();
        keys.iter().for_each(|key| batch.remove(key));
        store.apply_batch(batch)?;
    }
    Ok(applied.height)
}
