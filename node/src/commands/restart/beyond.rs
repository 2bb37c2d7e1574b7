//! What a journal knows to be final, or helped to make so, and a report or a restart leaves out.
//!
//! A report is made of blocks, so of the archive and what the journal holds above it. If the archive was lost or lags, the
//! report would hide what this very validator signed, and count as one that forgot nothing: enough of such reports open an
//! epoch below a final block.

use consensus::Record;
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height, View};
use ledger::restart::Restart;
use ledger::vote::VoteKind;

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Beyond {
    /// The journal is in a later epoch.
    #[error("this node's blocks end in epoch {here}, and its journal is in epoch {journal}")]
    Epoch {
        /// Epoch after the last block that is here.
        here: Epoch,
        /// The journal's.
        journal: Epoch,
    },
    /// A block was finalized, or this validator voted for that, and it is not among those that are here.
    #[error(
        "this node's journal knows a block that may be final in view {view} of epoch {epoch}, and the block is not here"
    )]
    Block {
        /// Epoch of the vote or certificate.
        epoch: Epoch,
        /// Its view.
        view: View,
    },
}

/// The finality that a record speaks of: a certificate of it, or this validator's vote for it.
fn finality(record: &Record) -> Option<(Epoch, View)> {
    match record {
        Record::FinTip { epoch, view, .. } => Some((*epoch, *view)),
        Record::Certificate(certificate) if certificate.kind() == VoteKind::Finalize => {
            Some((certificate.epoch(), certificate.view()))
        }
        Record::OwnVote { vote, .. } if vote.kind == VoteKind::Finalize => {
            Some((vote.epoch, vote.view))
        }
        Record::Certificate(_)
        | Record::OwnVote { .. }
        | Record::EpochStart { .. }
        | Record::Quarantine { .. }
        | Record::Floor { .. }
        | Record::Stopped { .. }
        | Record::Block(_)
        | Record::Evidence { .. } => None,
    }
}

/// The highest epoch that the journal knows of.
pub(super) fn newest_epoch(records: &[Record]) -> Option<Epoch> {
    let known = records.iter().filter_map(|record| match record {
        Record::EpochStart { epoch, .. } => Some(*epoch),
        Record::Certificate(certificate) => Some(certificate.epoch()),
        Record::OwnVote { vote, .. } => Some(vote.epoch),
        other => finality(other).map(|(epoch, _)| epoch),
    });
    known.max()
}

/// What a report leaves out that stops in `here` and speaks of blocks decided up to `view` of it.
pub(super) fn report(records: &[Record], here: Epoch, view: View) -> Option<Beyond> {
    let journal = newest_epoch(records).unwrap_or(here);
    if journal > here {
        return Some(Beyond::Epoch { here, journal });
    }
    let highest = records.iter().filter_map(finality).max();
    highest
        .filter(|highest| *highest > (here, view))
        .map(|(epoch, view)| Beyond::Block { epoch, view })
}

/// The highest block that the journal knows to be final, and the restart leaves out.
pub(super) fn restart(records: &[Record], restart: &Restart) -> Option<Height> {
    let known = records.iter().filter_map(|record| match record {
        Record::FinTip { epoch, block, .. } => Some((*epoch, *block)),
        Record::Certificate(certificate) if certificate.kind() == VoteKind::Finalize => {
            Some((certificate.epoch(), certificate.block()))
        }
        _ => None,
    });
    let (anchor, opened) = (restart.anchor(), restart.epoch().epoch);
    let left_out = |block: &BlockRef| {
        block.height > anchor.height || (block.height == anchor.height && *block != anchor)
    };
    // What the new epoch itself has finalized stands on the anchor.
    let before = known.filter(|(epoch, _)| *epoch < opened);
    let left_out = before.map(|(_, block)| block).filter(left_out);
    left_out.map(|block| block.height).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::hash::{BlockHash, Hash, SetHash};
    use ledger::id::ValidatorIndex;
    use ledger::key::RawSignature;
    use ledger::vote::Vote;

    fn vote(kind: VoteKind, epoch: u64, view: u64) -> Record {
        let block = match kind {
            VoteKind::Nullify => BlockRef::default(),
            VoteKind::Notarize | VoteKind::Finalize => BlockRef {
                height: Height(view),
                hash: BlockHash(Hash([1; 32])),
            },
        };
        Record::OwnVote {
            vote: Vote {
                epoch: Epoch(epoch),
                view: View(view),
                kind,
                block,
                signer: ValidatorIndex(0),
                signature: RawSignature([0; 64]),
            },
            parent_view: None,
        }
    }

    fn tip(epoch: u64, view: u64) -> Record {
        Record::FinTip {
            epoch: Epoch(epoch),
            view: View(view),
            block: BlockRef::default(),
        }
    }

    fn entered(epoch: u64) -> Record {
        Record::EpochStart {
            epoch: Epoch(epoch),
            set: SetHash(Hash::ZERO),
            anchor: BlockHash(Hash::ZERO),
            restart: Hash::ZERO,
        }
    }

    #[test]
    fn a_report_leaves_out_what_its_journal_signed_or_knew_above_it() {
        let of = |records: &[Record]| report(records, Epoch(3), View(10));
        let block = |view| {
            Some(Beyond::Block {
                epoch: Epoch(3),
                view: View(view),
            })
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[tip(3, 10), vote(VoteKind::Finalize, 3, 10)]), None);
        // Given up, or voted for and never certified: nothing of it can be final.
        let harmless = [
            vote(VoteKind::Nullify, 3, 12),
            vote(VoteKind::Notarize, 3, 12),
        ];
        assert_eq!(of(&harmless), None);
        assert_eq!(of(&[tip(2, 99), vote(VoteKind::Finalize, 2, 99)]), None);
        assert_eq!(of(&[vote(VoteKind::Finalize, 3, 11)]), block(11));
        assert_eq!(
            of(&[tip(3, 12), vote(VoteKind::Finalize, 3, 11)]),
            block(12)
        );
        // The archive lags behind the end of an epoch.
        let later = Some(Beyond::Epoch {
            here: Epoch(3),
            journal: Epoch(4),
        });
        assert_eq!(of(&[entered(4)]), later);
        assert_eq!(of(&[vote(VoteKind::Nullify, 4, 1)]), later);
    }
}
