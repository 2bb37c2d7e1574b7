//! The way back for a cosigner whose guard was lost: it signs only at sizes from the largest on that a quorum of *other*
//! cosigners have signed by now, each as it says itself (consensus.md, 3.23).
//!
//! A size alone is believed, no root: the new guard begins with a tree that this node computed.

use crate::storage::files::FileError;
use crate::storage::guard::{CosignerGuard, Lost};
use ledger::id::{TreeSize, ValidatorIndex};
use std::collections::BTreeMap;

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

    /// A new guard, if a tree of this size may be its first.
    pub(super) fn guard_for(&self, size: TreeSize) -> Result<Option<CosignerGuard>, FileError> {
        match self.floor() {
            Some(floor) if size >= floor => {
                tracing::warn!(%size, %floor, "this node cosigns again, with a new guard");
                self.lost.replace().map(Some)
            }
            Some(_) | None => Ok(None),
        }
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
        let guard = |reentry: &Reentry, size| reentry.guard_for(TreeSize(size)).unwrap();
        reentry.hear(ValidatorIndex(0), TreeSize(7));
        reentry.hear(ValidatorIndex(1), TreeSize(9));
        // What one says twice is one answer, and its newest word counts.
        reentry.hear(ValidatorIndex(0), TreeSize(8));
        assert!(guard(&reentry, u64::MAX).is_none());
        reentry.hear(ValidatorIndex(2), TreeSize(1));
        assert!(guard(&reentry, 8).is_none());
        assert!(guard(&reentry, 9).is_some());
        CosignerGuard::open(&path, Key::from_bytes([3; 32])).unwrap();
    }
}
