//! Looking for blocks in an archive, of which some may be damaged or away: by height, by the size of the log, by finalization.

use super::RecoveryError;
use crate::driver::serve;
use crate::storage::archive;
use ledger::certificate::Certificate;
use ledger::header::Header;
use ledger::id::{Height, TreeSize};

/// Frames that are looked through for the newest finalization.
const MAX_UNCERTIFIED: usize = 4_096;

/// The header of an archived block; `None` for height 0 and above the archive.
pub(super) fn read_header(
    archive: &archive::Reader,
    height: Height,
) -> Result<Option<Header>, RecoveryError> {
    let Some(payload) = archive.read(height)? else {
        return Ok(None);
    };
    let decoded = serve::decode(payload);
    let (block, _) = decoded.map_err(|error| RecoveryError::Replay {
        height,
        source: error.into(),
    })?;
    Ok(Some(block.header))
}

/// The header of the first block from a height on that can be read.
fn readable_header(
    archive: &archive::Reader,
    from: Height,
) -> Result<Option<Header>, RecoveryError> {
    let mut next = archive.readable_from(from);
    while let Some(height) = next {
        match read_header(archive, height) {
            Err(error) if error.damaged().is_some() => {
                next = archive.readable_from(height.saturating_add(1));
            }
            read => return read,
        }
    }
    Ok(None)
}

/// The last block after which the log has at most this size, by bisection; `None` before block 1.
pub(super) fn last_within(
    archive: &archive::Reader,
    size: TreeSize,
) -> Result<Option<Header>, RecoveryError> {
    let (mut low, mut high) = (0_u64, archive.last().map_or(0, |last| last.0));
    let mut found = None;
    while low < high {
        let middle = high.saturating_sub(high.saturating_sub(low) / 2);
        // Where a block cannot be read, the next one that can stands for it.
        match readable_header(archive, Height(middle))? {
            Some(header) if header.height.0 <= high && header.log_size <= size => {
                low = header.height.0;
                found = Some(header);
            }
            Some(_) | None => high = middle.saturating_sub(1),
        }
    }
    Ok(found)
}

/// The block after which the log has exactly this size.
pub(super) fn find_size(
    archive: &archive::Reader,
    size: TreeSize,
) -> Result<Option<Header>, RecoveryError> {
    Ok(last_within(archive, size)?.filter(|header| header.log_size == size))
}

pub(super) fn newest_finalization(
    archive: &archive::Reader,
    tip: Height,
) -> Result<Option<Certificate>, RecoveryError> {
    for height in (1..=tip.0).rev().take(MAX_UNCERTIFIED).map(Height) {
        match archive.read(height) {
            Ok(Some(payload)) if payload.finalization.is_some() => {
                return Ok(payload.finalization);
            }
            // A block that cannot be read is passed over: an older finalization will do.
            Ok(_) | Err(archive::ReadError::Damaged(_) | archive::ReadError::Away { .. }) => {}
            Err(error @ archive::ReadError::File(_)) => return Err(error.into()),
        }
    }
    Ok(None)
}
