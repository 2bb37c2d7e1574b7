//! I17: the journal stays small. Nothing is written twice, and what a new segment keeps is bounded by what is open; but
//! it keeps whatever binds the key.

use crate::violation::{Checked, Invariant, check};
use consensus::{EngineStatus, Record};
use ledger::hash::{BlockHash, Hash};
use ledger::id::{Epoch, ValidatorIndex, View};
use ledger::vote::VoteKind;
use std::collections::BTreeSet;

/// Records of each kind whose number does not grow: epoch, quarantine, floor, stop, finality twice.
const FIXED: u64 = 8;
/// Blocks under vote (3.18).
const BLOCKS: u64 = 64;

/// What makes a record the same as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// With the hash of the restart file that opened it.
    Epoch(Epoch, Hash),
    Block(BlockHash),
    Certificate(Epoch, View, VoteKind),
    Vote(Epoch, View, VoteKind),
    Evidence(Epoch, ValidatorIndex),
    Quarantine(u32),
    Floor(u32),
    Stopped(Epoch),
}

/// The records of one node's journal, as its engine has reason to know them.
#[derive(Default)]
pub(super) struct Written(BTreeSet<Key>);

impl Written {
    /// A process starts from these, or replaces all by these.
    pub(super) fn replace(&mut self, records: &[Record]) {
        self.0 = records.iter().filter_map(key).collect();
    }

    /// A record is appended.
    pub(super) fn append(&mut self, node: usize, record: &Record) -> Checked {
        let is_news = key(record).is_none_or(|key| self.0.insert(key));
        check(is_news, Invariant::Journal, || {
            format!("#{node} writes what its journal holds already: {record:?}")
        })
    }

    /// A new segment leaves out nothing that binds the key: the newest floor, the quarantine that none ended, the stop that no
    /// restart file ended, and the votes and certificates above finality, also of later epochs.
    pub(super) fn leaves_out(
        &self,
        node: usize,
        status: &EngineStatus,
        records: &[Record],
    ) -> Checked {
        let numbers = |of: fn(&Key) -> Option<u32>| self.0.iter().filter_map(of).max();
        let floor = numbers(|key| match key {
            Key::Floor(number) => Some(*number),
            _ => None,
        });
        let quarantine = numbers(|key| match key {
            Key::Quarantine(number) => Some(*number),
            _ => None,
        });
        let open = quarantine.filter(|number| Some(*number) > floor);
        let votes = self.0.iter().filter(|key| {
            let (Key::Vote(epoch, view, _) | Key::Certificate(epoch, view, _)) = key else {
                return false;
            };
            (*epoch, *view) > (status.epoch, status.finalized_view)
        });
        let binding = floor.map(Key::Floor).into_iter();
        let binding = binding
            .chain(open.map(Key::Quarantine))
            .chain(votes.copied());
        let kept: BTreeSet<Key> = records.iter().filter_map(key).collect();
        let lost: Vec<Key> = binding.filter(|key| !kept.contains(key)).collect();
        check(lost.is_empty(), Invariant::Journal, || {
            format!("#{node} prunes what binds its key: {lost:?}")
        })?;
        check(
            !is_stopped(&self.0) || is_stopped(&kept),
            Invariant::Journal,
            || format!("#{node} was stopped for a restart, and prunes that"),
        )
    }
}

/// Whether the key signs nothing until a restart file opens an epoch after the one that it was stopped in.
fn is_stopped(keys: &BTreeSet<Key>) -> bool {
    let last = |of: fn(&Key) -> Option<Epoch>| keys.iter().filter_map(of).max();
    let stopped = last(|key| match key {
        Key::Stopped(epoch) => Some(*epoch),
        _ => None,
    });
    let restarted = last(|key| match key {
        Key::Epoch(epoch, file) if *file != Hash::ZERO => Some(*epoch),
        _ => None,
    });
    stopped.is_some() && restarted <= stopped
}

/// A new segment replaces the journal.
pub(super) fn pruned(
    node: usize,
    misdeeds: usize,
    status: &EngineStatus,
    records: &[Record],
) -> Checked {
    let open = status.view.0 - status.finalized_view.0;
    let bound = FIXED + BLOCKS + misdeeds as u64 + 6 * (open + 1);
    check(records.len() as u64 <= bound, Invariant::Journal, || {
        format!(
            "#{node} keeps {} records with {open} open views",
            records.len()
        )
    })
}

fn key(record: &Record) -> Option<Key> {
    match record {
        Record::EpochStart { epoch, restart, .. } => Some(Key::Epoch(*epoch, *restart)),
        Record::Block(block) => Some(Key::Block(block.hash())),
        Record::Certificate(c) => Some(Key::Certificate(c.epoch(), c.view(), c.kind())),
        Record::OwnVote { vote, .. } => Some(Key::Vote(vote.epoch, vote.view, vote.kind)),
        Record::Evidence { a, .. } => Some(Key::Evidence(a.epoch, a.signer)),
        Record::Quarantine { number } => Some(Key::Quarantine(*number)),
        Record::Floor { number, .. } => Some(Key::Floor(*number)),
        Record::Stopped { epoch } => Some(Key::Stopped(*epoch)),
        Record::FinTip { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::Standing;
    use ledger::header::BlockRef;
    use ledger::id::Height;

    /// Whether a node whose journal holds the first may replace it by the second.
    fn may_prune(held: &[Record], kept: &[Record]) -> bool {
        let status = EngineStatus {
            epoch: Epoch(1),
            view: View(1),
            finalized_view: View(0),
            committed: BlockRef::default(),
            finalized_height: Height(0),
            floor: (Epoch(0), View(0)),
            standing: Standing::Stopped,
        };
        let mut written = Written::default();
        written.replace(held);
        written.leaves_out(1, &status, kept).is_ok()
    }

    fn start(epoch: u64, file: u8) -> Record {
        Record::EpochStart {
            epoch: Epoch(epoch),
            set: Default::default(),
            anchor: Default::default(),
            restart: Hash([file; 32]),
        }
    }

    #[test]
    fn a_stop_stays_until_a_restart_file_ends_it() {
        let stop = |epoch| Record::Stopped {
            epoch: Epoch(epoch),
        };
        let held = [start(1, 0), stop(1)];
        assert!(!may_prune(&held, &[start(1, 0)]), "the stop is dropped");
        assert!(may_prune(&held, &held));
        assert!(
            may_prune(&[start(0, 0), stop(0)], &[start(1, 0), stop(1)]),
            "told of the epoch it is in"
        );
        assert!(
            !may_prune(&held, &[start(2, 0)]),
            "the end of an epoch ends no stop"
        );
        let ended = [start(1, 0), stop(1), start(2, 7)];
        assert!(may_prune(&ended, &[start(2, 7)]), "a restart file ends it");
        let again = [start(2, 7), stop(2)];
        assert!(
            !may_prune(&again, &[start(2, 7)]),
            "an older file ends no later stop"
        );
    }

    #[test]
    fn a_floor_and_an_open_quarantine_stay() {
        let quarantine = |number| Record::Quarantine { number };
        let floor = |number| Record::Floor {
            number,
            epoch: Epoch(0),
            view: View(3),
        };
        assert!(!may_prune(&[quarantine(1)], &[]));
        assert!(!may_prune(&[quarantine(1), floor(1)], &[quarantine(1)]));
        assert!(may_prune(&[quarantine(1), floor(1)], &[floor(1)]));
        let open = [quarantine(1), floor(1), quarantine(2)];
        assert!(!may_prune(&open, &[floor(1)]));
        assert!(may_prune(&open, &[floor(1), quarantine(2)]));
    }
}
