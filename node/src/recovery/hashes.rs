//! The log's hashes, brought to the archive's end: looked through tile by tile, made again from the blocks where they are
//! damaged, and compared with the newest header's root.

use super::find::last_within;
use super::{Progress, RecoveryError, ReplayError, ahead};
use crate::storage::archive;
use crate::storage::log_hashes::LogHashes;
use ledger::block::Block;
use ledger::hash::Hash;
use ledger::header::Header;
use ledger::id::{Height, TreeSize};

/// Brings the log's hashes to the archive's end.
pub(super) fn recover_log(
    mut log: LogHashes,
    archive: &archive::Reader,
) -> Result<LogHashes, RecoveryError> {
    if let Some((level, tile, _)) = log.reader().unsound_tile(|_| true)? {
        // Everything before it is believed if the root is right in the end.
        let step = u32::from(level).saturating_add(1).saturating_mul(8);
        let sound = TreeSize(tile.checked_shl(step).unwrap_or(0));
        tracing::warn!(from = %sound, "the log's hashes are damaged: they are made again from there");
        log.truncate(sound)?;
    }
    match extend_log(&mut log, archive) {
        Err(RecoveryError::Replay {
            source: ReplayError::LogRoot { .. },
            height,
        }) => {
            tracing::warn!(%height, "the log's hashes are damaged: they are made again");
            log.truncate(TreeSize(0))?;
            extend_log(&mut log, archive)?;
        }
        done => done?,
    }
    Ok(log)
}

fn extend_log(log: &mut LogHashes, archive: &archive::Reader) -> Result<(), RecoveryError> {
    let from = last_within(archive, log.size())?;
    let mut height = from.as_ref().map_or(Height(0), |header| header.height);
    log.truncate(from.as_ref().map_or(TreeSize(0), |header| header.log_size))?;
    let mut last = from;
    let mut progress = Progress::new("log hashes", archive);
    let heights = (height.saturating_add(1), archive.last().unwrap_or_default());
    ahead::each(archive, heights, leaf_hashes, |(header, hashes)| {
        log.push(&hashes)?;
        height = header.height;
        last = Some(header);
        progress.say(height);
        Ok(())
    })?;
    let Some(header) = last else {
        return Ok(());
    };
    let found = ledger::log::root(&log.reader(), header.log_size)?;
    let expected = header.log_root;
    if found == expected {
        return Ok(());
    }
    let source = ReplayError::LogRoot { found, expected };
    Err(RecoveryError::Replay { height, source })
}

/// Each block's header with the hashes of its leaves.
fn leaf_hashes(portion: ahead::Portion) -> Result<Vec<(Header, Vec<Hash>)>, RecoveryError> {
    let hashed = portion.into_iter().map(|(height, payload)| {
        let fault = |source| RecoveryError::Replay { height, source };
        let block = Block::decode(&payload.block).map_err(|error| fault(error.into()))?;
        let leaves = block.leaves().map_err(|error| fault(error.into()))?;
        let hashes = leaves.iter().map(|leaf| ledger::log::leaf_hash(leaf));
        Ok((block.header, hashes.collect()))
    });
    hashed.collect()
}
