//! I17: the journal stays small. Nothing is written twice, and what a new segment keeps is bounded by what is open; but
//! it keeps whatever binds the key.

use crate::violation::{Checked, Invariant, check};
use consensus::{EngineStatus, Record};
use ledger::hash::BlockHash;
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
    Epoch(Epoch),
    Block(BlockHash),
    Certificate(Epoch, View, VoteKind),
    Vote(Epoch, View, VoteKind),
    Evidence(Epoch, ValidatorIndex),
    Quarantine(u32),
    Floor(u32),
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

    /// A new segment leaves out nothing that binds the key: the newest floor, the quarantine that none ended, and the
    /// votes and certificates above finality, also of later epochs.
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
        })
    }
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
        Record::EpochStart { epoch, .. } => Some(Key::Epoch(*epoch)),
        Record::Block(block) => Some(Key::Block(block.hash())),
        Record::Certificate(c) => Some(Key::Certificate(c.epoch(), c.view(), c.kind())),
        Record::OwnVote { vote, .. } => Some(Key::Vote(vote.epoch, vote.view, vote.kind)),
        Record::Evidence { a, .. } => Some(Key::Evidence(a.epoch, a.signer)),
        Record::Quarantine { number } => Some(Key::Quarantine(*number)),
        Record::Floor { number, .. } => Some(Key::Floor(*number)),
        Record::Stopped { .. } | Record::FinTip { .. } => None,
    }
}
