//! Evidence that waits for its block: one item for each accused validator of an epoch (consensus.md, 3.17).
//!
//! Whoever files an item has checked its signatures and membership, so there are never more than a set has members
//! for each epoch that evidence may be of.

use ledger::admission::CheckedItem;
use ledger::body::ItemBytes;
use ledger::hash::ItemId;
use ledger::id::{Epoch, ValidatorIndex};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Whom an item accuses.
pub(super) type Accused = (Epoch, ValidatorIndex);

#[derive(Debug)]
struct Case {
    item: CheckedItem,
    id: ItemId,
    since: Instant,
}

/// All cases that are open.
#[derive(Debug, Default)]
pub(super) struct Docket {
    cases: BTreeMap<Accused, Case>,
}

impl Docket {
    pub(super) fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    pub(super) fn holds(&self, accused: &Accused) -> bool {
        self.cases.contains_key(accused)
    }

    /// Opens a case, and gives its item as it travels.
    pub(super) fn file(&mut self, accused: Accused, item: CheckedItem) -> ItemBytes {
        let bytes = item.bytes();
        let case = Case {
            id: bytes.id(),
            item,
            since: Instant::now(),
        };
        self.cases.insert(accused, case);
        bytes
    }

    pub(super) fn close(&mut self, accused: &Accused) {
        self.cases.remove(accused);
    }

    /// Every item with whom it accuses: a copy, so that cases may be closed on the way.
    pub(super) fn all(&self) -> Vec<(Accused, CheckedItem)> {
        let cases = self.cases.iter();
        cases
            .map(|(accused, case)| (*accused, case.item.clone()))
            .collect()
    }

    /// The item with this id, as it travels.
    pub(super) fn item(&self, id: &ItemId) -> Option<ItemBytes> {
        let case = self.cases.values().find(|case| case.id == *id)?;
        Some(case.item.bytes())
    }

    /// Ids of the cases that are open for longer than that.
    pub(super) fn older_than(&self, age: Duration) -> impl Iterator<Item = ItemId> {
        let old = self.cases.values();
        old.filter(move |case| case.since.elapsed() >= age)
            .map(|case| case.id)
    }
}
