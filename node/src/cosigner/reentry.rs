//! The way back for a cosigner whose guard was lost. It makes another once all that its key may have signed is known to be
//! at or below the tree that is to be signed (consensus.md, 3.23). Two things tell:
//!
//! - *Its own past.* A cosignature leaves only behind its block: final by a certificate that the journal had, and archived.
//!   So the newest final block is at or above all that was signed if the journal, which the start check found to be the
//!   key's newest, knows of none higher. If that journal was lost, what was signed is final by a certificate of a view below the
//!   floor of the rejoin (`docs/protocol.md`, section 6): a block proposed at the floor or later, and final, comes after
//!   it. A restart's floor is its first view; what was signed before is at or below its anchor. Nobody else is asked:
//!   where a quorum votes, a quorum cosigns again, however many guards were lost.
//! - *The others'.* A quorum of other cosigners have signed trees up to this one, each as it says itself: on a chain that is idle,
//!   where no block comes above the floor.
//!
//! No root is believed: the new guard begins with a tree that this node computed.

use super::Decided;
use crate::chain::NodeStatus;
use crate::storage::files::FileError;
use crate::storage::guard::{CosignerGuard, Lost};
use ledger::header::Header;
use ledger::id::{Epoch, Height, TreeSize, ValidatorIndex, View};
use std::collections::BTreeMap;

/// What a person is told while nothing is signed.
pub(super) const WHY: &str = "the guard is lost: this node cosigns nothing, and makes no receipts, until it votes and the next \
    block is final, or n - f others say how far they are; if too few validators may vote, operators must restart the chain";

/// What the consensus engine knows of the key's past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnPast {
    voting: bool,
    floor: (Epoch, View),
    finalized: Height,
}

/// Whether the key may have signed more than the newest final tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signed {
    /// All of it is at or below that tree.
    Below,
    /// That is not known.
    Unknown,
}

impl OwnPast {
    pub(super) const fn of(status: &NodeStatus) -> Self {
        Self {
            voting: status.voting,
            floor: status.floor,
            finalized: status.finalized,
        }
    }

    /// Compares it with the newest final block.
    pub(super) fn is_below(&self, newest: Option<&Header>) -> Signed {
        let below = |header: &Header| {
            self.finalized <= header.height && self.floor <= (header.epoch, header.view)
        };
        if self.voting && newest.is_some_and(below) {
            Signed::Below
        } else {
            Signed::Unknown
        }
    }
}

/// Who has said what, until they are enough.
#[derive(Debug)]
pub(super) struct Reentry {
    lost: Lost,
    quorum: usize,
    /// The newest size that each other cosigner has signed.
    said: BTreeMap<ValidatorIndex, TreeSize>,
}

impl Reentry {
    pub(super) const fn new(lost: Lost, quorum: usize) -> Self {
        Self {
            lost,
            quorum,
            said: BTreeMap::new(),
        }
    }

    /// Another cosigner said what it signed last.
    pub(super) fn hear(&mut self, signer: ValidatorIndex, size: TreeSize) {
        let said = self.said.entry(signer).or_default();
        *said = size.max(*said);
    }

    /// The size from which on this cosigner may sign, once enough have said theirs.
    fn floor(&self) -> Option<TreeSize> {
        let floor = self.said.values().max().copied()?;
        (self.said.len() >= self.quorum).then_some(floor)
    }

    /// A new guard, if this checkpoint, the newest that is final, may be its first.
    pub(super) fn guard_for(
        &self,
        head: &Decided,
        own: Signed,
    ) -> Result<Option<CosignerGuard>, FileError> {
        let size = head.size;
        let others = self.floor().is_some_and(|floor| size >= floor);
        if own == Signed::Unknown && !others {
            return Ok(None);
        }
        tracing::warn!(%size, ?own, "this node cosigns again, with a new guard");
        self.lost.replace(size, head.root).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::key::Key;

    #[test]
    fn a_lost_guard_is_replaced_at_the_largest_size_that_a_quorum_of_others_signed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        std::fs::write(&path, b"damaged").unwrap();
        let lost = Lost::new(path.clone(), Key::from_bytes([3; 32]));
        let mut reentry = Reentry::new(lost, 3);
        let guard =
            |reentry: &Reentry, size| reentry.guard_for(&at(size), Signed::Unknown).unwrap();
        reentry.hear(ValidatorIndex(0), TreeSize(7));
        reentry.hear(ValidatorIndex(1), TreeSize(9));
        // What one says twice is one answer, and its newest word counts.
        reentry.hear(ValidatorIndex(0), TreeSize(8));
        assert!(guard(&reentry, u64::MAX).is_none());
        reentry.hear(ValidatorIndex(2), TreeSize(1));
        assert!(guard(&reentry, 8).is_none());
        assert!(guard(&reentry, 9).is_some());
        // From its first moment on it knows what it permits.
        let guard = CosignerGuard::open(&path, Key::from_bytes([3; 32])).unwrap();
        assert_eq!(guard.last().size, TreeSize(9));
        assert_eq!(guard.last().root, at(9).root);
    }

    fn at(size: u64) -> Decided {
        Decided {
            height: Height(size),
            time_ms: ledger::id::TimeMs(size),
            size: TreeSize(size),
            root: ledger::hash::Hash([7; 32]),
        }
    }

    #[test]
    fn a_lost_guard_is_replaced_above_all_that_its_key_may_have_signed() {
        let mut blocks = crate::testkit::blocks::Blocks::new();
        blocks.grow();
        let header = |height, epoch, view| Header {
            height: Height(height),
            epoch: Epoch(epoch),
            view: View(view),
            ..blocks.header()
        };
        let past = |floor: (u64, u64), finalized| OwnPast {
            voting: true,
            floor: (Epoch(floor.0), View(floor.1)),
            finalized: Height(finalized),
        };
        let below = |past: OwnPast, header: Header| past.is_below(Some(&header)) == Signed::Below;
        // A journal that was never lost, and an archive that lags it.
        assert!(below(past((0, 0), 7), header(7, 0, 9)));
        assert!(!below(past((0, 0), 8), header(7, 0, 9)));
        assert_eq!(past((0, 0), 0).is_below(None), Signed::Unknown);
        // A journal that was lost: the block must have been proposed at the floor or behind it.
        assert!(!below(past((2, 9), 7), header(7, 2, 8)));
        assert!(below(past((2, 9), 7), header(7, 2, 9)));
        assert!(!below(past((2, 9), 7), header(7, 1, 20)));
        // A restart: not its anchor, but the first block of its epoch.
        assert!(!below(past((1, 1), 7), header(7, 0, 40)));
        assert!(below(past((1, 1), 8), header(8, 1, 1)));
        // Not while anything keeps it from voting: the journal may be an old one, or not be the key's.
        let silent = OwnPast {
            voting: false,
            ..past((0, 0), 7)
        };
        assert!(!below(silent, header(7, 0, 9)));

        let dir = tempfile::tempdir().unwrap();
        let lost = Lost::new(dir.path().join("guard"), Key::from_bytes([3; 32]));
        let reentry = Reentry::new(lost, 3);
        let none = reentry.guard_for(&at(5), Signed::Unknown).unwrap();
        assert!(none.is_none());
        let made = reentry.guard_for(&at(5), Signed::Below).unwrap();
        assert!(made.is_some());
    }
}
