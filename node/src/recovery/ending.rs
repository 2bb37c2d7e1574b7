//! Bad bytes at the archive's end: a torn write, or damage?
//!
//! By themselves they cannot be told apart. Other files can: the kept checkpoint and the synced mark of the log's hashes
//! are written only after the archive was synced, so blocks that they cover had been archived. The cosigner's guard is
//! synced beside the archive and the journal before it: a block that only they name may have been torn. What may be
//! damage is never dropped: the bytes are kept aside. The blocks come again from peers, as to any node that is behind.

use super::RecoveryError;
use crate::cosigner::KeptNote;
use crate::storage::archive::{Archive, Ending};
use crate::storage::guard;
use crate::storage::log_hashes::LogHashes;
use consensus::Record;
use ledger::id::{Height, TreeSize};

/// What the other files say about how far the archive had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// The log had at least this size when the archive was synced.
    archived: TreeSize,
    /// The log was about to have this size …
    promised_size: TreeSize,
    /// … or the chain this height.
    promised_height: Height,
}

impl Evidence {
    /// What was written after the archive.
    pub(super) fn of(note: Option<&KeptNote>, log: &LogHashes) -> Self {
        let noted = note.map_or(TreeSize(0), |note| note.checkpoint.size);
        Self {
            archived: noted.max(log.size()),
            ..Self::default()
        }
    }

    /// The same with what was written beside it or before.
    pub(super) fn with(self, guard: &guard::Found, records: &[Record]) -> Self {
        let heights = records.iter().filter_map(|record| match record {
            Record::FinTip { block, .. } => Some(block.height),
            _ => None,
        });
        Self {
            promised_size: match guard {
                guard::Found::Kept(guard) => guard.last().size,
                guard::Found::Lost(_) => TreeSize(0),
            },
            promised_height: heights.max().unwrap_or_default(),
            ..self
        }
    }

    fn judge(&self, last: Height, size: TreeSize) -> Judgement {
        if self.archived > size {
            Judgement::Archived
        } else if self.promised_size > size || self.promised_height > last {
            Judgement::Promised
        } else {
            Judgement::Unknown
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    /// Blocks behind the readable end had been archived.
    Archived,
    /// They were decided; whether they were archived is not known.
    Promised,
    /// Nothing is known of any.
    Unknown,
}

/// Settles the archive's end. Gives what a person must look at.
pub(super) fn settle(
    archive: &mut Archive,
    evidence: &Evidence,
) -> Result<Option<String>, RecoveryError> {
    let reader = archive.reader();
    let last = reader.last().unwrap_or_default();
    let header = super::read_header(&reader, last).ok().flatten();
    let size = header.map_or(TreeSize(0), |header| header.log_size);
    let judgement = evidence.judge(last, size);
    let Some(tail) = archive.tail().cloned() else {
        if judgement != Judgement::Archived {
            return Ok(None);
        }
        let text = format!(
            "the archive ends with block {last}, but blocks behind it had been archived: they are fetched again"
        );
        tracing::error!("{text}");
        return Ok(Some(text));
    };
    if judgement == Judgement::Unknown && !tail.was_synced {
        archive.settle(Ending::Torn)?;
        tracing::warn!(bytes = tail.bytes, "the archive's torn end was cut off");
        return Ok(None);
    }
    let kept = archive.settle(Ending::Damaged)?.unwrap_or_default();
    let kept = kept.display();
    let what = format!(
        "archive segment {} from byte {} on, block {} ({})",
        tail.segment, tail.offset, tail.height, tail.source
    );
    if judgement == Judgement::Promised && !tail.was_synced {
        tracing::warn!(
            "{what}: a torn write or damage, which nothing here can tell; the bytes are kept in {kept}, the block comes again"
        );
        return Ok(None);
    }
    let text =
        format!("damage: {what}; the bytes are kept in {kept}, the blocks are fetched again");
    tracing::error!("{text}");
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_after_the_archive_tells_damage_from_a_torn_end() {
        let evidence = |archived, promised_size, promised_height| Evidence {
            archived: TreeSize(archived),
            promised_size: TreeSize(promised_size),
            promised_height: Height(promised_height),
        };
        let judge = |evidence: Evidence| evidence.judge(Height(5), TreeSize(50));
        assert_eq!(judge(evidence(50, 50, 5)), Judgement::Unknown);
        assert_eq!(judge(evidence(51, 0, 0)), Judgement::Archived);
        assert_eq!(judge(evidence(50, 51, 5)), Judgement::Promised);
        assert_eq!(judge(evidence(50, 50, 6)), Judgement::Promised);
    }
}
