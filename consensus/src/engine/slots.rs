//! Proposals: the first one of each view from its leader (consensus.md, 3.6 and 3.8).

use alloc::collections::BTreeMap;
use ledger::header::{BlockRef, Header};
use ledger::id::View;
use ledger::vote::Vote;

/// A leader's proposal without its body, which is with the blocks.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) block: BlockRef,
    pub(super) header: Header,
    pub(super) parent_view: View,
    pub(super) vote: Vote,
    /// It can never be accepted: the view is given up (R3e).
    pub(super) refused: bool,
}

/// Proposals by view; at most the window and the views around the current one.
#[derive(Debug, Default)]
pub(super) struct Slots(BTreeMap<View, Slot>);

impl Slots {
    pub(super) fn get(&self, view: View) -> Option<&Slot> {
        self.0.get(&view)
    }

    /// Takes the slot if it is free.
    pub(super) fn fill(&mut self, view: View, slot: Slot) {
        self.0.entry(view).or_insert(slot);
    }

    /// The proposal of this view can never be accepted.
    pub(super) fn refuse(&mut self, view: View) {
        if let Some(slot) = self.0.get_mut(&view) {
            slot.refused = true;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.0.values()
    }

    /// Drops the proposals below a view.
    pub(super) fn prune(&mut self, below: View) {
        self.0 = self.0.split_off(&below);
    }
}
