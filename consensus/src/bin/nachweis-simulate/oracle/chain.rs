//! I1, I2, I7, I8, I13 and I14: the one chain that all nodes commit.

use crate::application::accused;
use crate::items::{Change, Item, Record, items};
use crate::trace;
use crate::violation::{Checked, Invariant, Violation, check};
use consensus::{Block, Tip};
use ledger::hash::{BlockHash, Hash, SetHash};
use ledger::header::BlockRef;
use ledger::id::{Epoch, TimeMs, ValidatorIndex};
use std::collections::{BTreeMap, BTreeSet};

/// A SEAL block, and the set that it defines.
struct Seal {
    block: BlockRef,
    next_set: SetHash,
}

/// The chain as the first node to reach each height committed it.
pub(crate) struct Chain {
    anchor: Tip,
    blocks: Vec<BlockRef>,
    times: BTreeMap<BlockHash, TimeMs>,
    submitted: BTreeSet<Record>,
    included: BTreeSet<Record>,
    /// Numbers of the changes that were decided.
    changed: BTreeSet<u32>,
    /// All changes that were submitted, by number.
    changes: BTreeMap<u32, Change>,
    accused: BTreeSet<(Epoch, ValidatorIndex)>,
    /// The ends of the epochs, from epoch 0 on.
    seals: Vec<Seal>,
    /// Height that each node has reached in its present process.
    reached: BTreeMap<usize, u64>,
}

impl Chain {
    pub(super) fn new(anchor: Tip) -> Self {
        Self {
            anchor,
            blocks: Vec::new(),
            times: BTreeMap::from([(anchor.block.hash, anchor.time_ms)]),
            submitted: BTreeSet::new(),
            included: BTreeSet::new(),
            changed: BTreeSet::new(),
            changes: BTreeMap::new(),
            accused: BTreeSet::new(),
            seals: Vec::new(),
            reached: BTreeMap::new(),
        }
    }

    /// Somebody entitled to it submitted this.
    pub(crate) fn submitted(&mut self, item: Item) {
        match item {
            Item::Record(record) => {
                self.submitted.insert(record);
            }
            Item::Change(change) => {
                self.changes.insert(change.number, change);
            }
            Item::Evidence(_) => {}
        }
    }

    /// All records and changes that must become final.
    pub(crate) fn all_submitted(&self) -> impl Iterator<Item = Item> + use<'_> {
        let records = self.submitted.iter().copied().map(Item::Record);
        records.chain(self.changes.values().copied().map(Item::Change))
    }

    /// How many they are.
    pub(crate) fn expected(&self) -> usize {
        self.submitted.len() + self.changes.len()
    }

    pub(crate) fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Epoch that a block on the last one belongs to.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.seals.len() as u64)
    }

    pub(super) fn time_of(&self, hash: &BlockHash) -> Option<TimeMs> {
        self.times.get(hash).copied()
    }

    /// A process starts on an archive of this height.
    pub(super) fn restarted(&mut self, node: usize, height: u64) -> Checked {
        self.reached.insert(node, height);
        check(height <= self.height(), Invariant::Prefix, || {
            format!("#{node} archived up to {height}, which nobody committed")
        })
    }

    /// A node begins an epoch: only on the SEAL block of the one before.
    pub(super) fn entered(
        &self,
        node: usize,
        epoch: Epoch,
        (set, anchor, restart): (SetHash, BlockHash, Hash),
    ) -> Checked {
        let begun = || format!("#{node} begins epoch {epoch} with set {set:?} on {anchor:?}");
        let Some(before) = epoch.prev() else {
            return check(anchor == self.anchor.block.hash, Invariant::Epochs, begun);
        };
        let seal = usize::try_from(before.0)
            .ok()
            .and_then(|at| self.seals.get(at));
        let fits = seal.is_some_and(|seal| seal.block.hash == anchor && seal.next_set == set);
        check(fits && restart == Hash::ZERO, Invariant::Epochs, begun)
    }

    /// A node commits a block. True if nobody had it before.
    pub(super) fn committed(&mut self, node: usize, block: &Block) -> Result<bool, Violation> {
        let this = block.block_ref();
        let reached = self.reached.entry(node).or_insert(0);
        check(this.height.0 == *reached + 1, Invariant::Linkage, || {
            format!(
                "#{node} commits {} after height {reached}",
                trace::block(&this)
            )
        })?;
        *reached += 1;
        let at = usize::try_from(this.height.0 - 1).unwrap_or(usize::MAX);
        if let Some(first) = self.blocks.get(at) {
            check(*first == this, Invariant::Agreement, || {
                format!(
                    "#{node} commits {}, another node {}",
                    trace::block(&this),
                    trace::block(first)
                )
            })?;
            return Ok(false);
        }
        self.extend(node, block)?;
        Ok(true)
    }

    fn extend(&mut self, node: usize, block: &Block) -> Checked {
        let this = block.block_ref();
        let parent = self.blocks.last().copied().unwrap_or(self.anchor.block);
        check(
            block.header.parent == parent.hash,
            Invariant::Linkage,
            || format!("#{node} commits {} on another parent", trace::block(&this)),
        )?;
        check(
            block.header.epoch == self.epoch(),
            Invariant::Epochs,
            || {
                format!(
                    "#{node} commits {} of epoch {} in epoch {}",
                    trace::block(&this),
                    block.header.epoch,
                    self.epoch()
                )
            },
        )?;
        let before = self.times.get(&parent.hash).copied().unwrap_or_default();
        check(block.header.time_ms > before, Invariant::Times, || {
            format!(
                "#{node} commits {} at a time not after its parent's",
                trace::block(&this)
            )
        })?;
        self.blocks.push(this);
        self.times.insert(this.hash, block.header.time_ms);
        let items = items(&block.body);
        check(
            items.as_ref().is_some_and(|items| !items.is_empty()) || block.header.flags.is_anchor(),
            Invariant::Records,
            || format!("{} has none", trace::block(&this)),
        )?;
        for item in items.unwrap_or_default() {
            check(self.include(&item), Invariant::Records, || {
                format!("{item:?} in {}", trace::block(&this))
            })?;
        }
        if block.header.flags.is_seal() {
            self.seals.push(Seal {
                block: this,
                next_set: block.header.next_set,
            });
        }
        Ok(())
    }

    /// Whether an item was submitted, and is there for the first time.
    fn include(&mut self, item: &Item) -> bool {
        match item {
            Item::Record(record) => {
                self.submitted.contains(record) && self.included.insert(*record)
            }
            Item::Evidence(evidence) => self.accused.insert(accused(evidence)),
            Item::Change(change) => {
                self.changes.get(&change.number) == Some(change)
                    && self.changed.insert(change.number)
            }
        }
    }

    /// Against whom there is evidence on the chain.
    pub(super) const fn accused(&self) -> &BTreeSet<(Epoch, ValidatorIndex)> {
        &self.accused
    }
}
