//! I1, I2, I7, I8 and I13: the one chain that all nodes commit.

use crate::application::{Record, records};
use crate::clock::Time;
use crate::trace;
use crate::violation::{Checked, Invariant, check};
use consensus::{Block, Tip};
use ledger::hash::BlockHash;
use ledger::header::BlockRef;
use ledger::id::TimeMs;
use std::collections::{BTreeMap, BTreeSet};

/// The chain as the first node to reach each height committed it.
pub(crate) struct Chain {
    anchor: Tip,
    blocks: Vec<BlockRef>,
    times: BTreeMap<BlockHash, TimeMs>,
    submitted: BTreeSet<Record>,
    included: BTreeSet<Record>,
    /// Height that each node has reached in its present process.
    reached: BTreeMap<usize, u64>,
    /// When each height was committed first.
    pub(crate) first_commit: Vec<Time>,
}

impl Chain {
    pub(super) fn new(anchor: Tip) -> Self {
        Self {
            anchor,
            blocks: Vec::new(),
            times: BTreeMap::from([(anchor.block.hash, anchor.time_ms)]),
            submitted: BTreeSet::new(),
            included: BTreeSet::new(),
            reached: BTreeMap::new(),
            first_commit: Vec::new(),
        }
    }

    pub(crate) fn submitted(&mut self, record: Record) {
        self.submitted.insert(record);
    }

    pub(crate) const fn all_submitted(&self) -> &BTreeSet<Record> {
        &self.submitted
    }

    pub(crate) fn height(&self) -> u64 {
        self.blocks.len() as u64
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

    /// A node commits a block.
    pub(super) fn committed(&mut self, now: Time, node: usize, block: &Block) -> Checked {
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
            return check(*first == this, Invariant::Agreement, || {
                format!(
                    "#{node} commits {}, another node {}",
                    trace::block(&this),
                    trace::block(first)
                )
            });
        }
        self.first_commit.push(now);
        self.extend(node, block)
    }

    fn extend(&mut self, node: usize, block: &Block) -> Checked {
        let this = block.block_ref();
        let parent = self.blocks.last().copied().unwrap_or(self.anchor.block);
        check(
            block.header.parent == parent.hash,
            Invariant::Linkage,
            || format!("#{node} commits {} on another parent", trace::block(&this)),
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
        let records = records(&block.body);
        check(
            records.as_ref().is_some_and(|r| !r.is_empty()) || block.header.flags.is_anchor(),
            Invariant::Records,
            || format!("{} has none", trace::block(&this)),
        )?;
        for record in records.unwrap_or_default() {
            check(
                self.submitted.contains(&record) && self.included.insert(record),
                Invariant::Records,
                || format!("{record:?} in {}", trace::block(&this)),
            )?;
        }
        Ok(())
    }
}
