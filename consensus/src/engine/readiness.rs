//! No SEAL block while too few of the set that it brings are there (consensus.md, 3.15).
//!
//! The next epoch can only begin when a quorum of its members is up. So nobody proposes, or votes for, a new SEAL block
//! that changes the set while fewer were heard lately. A local rule, never validity: what others certify stands.

use super::Engine;
use crate::epoch::Peer;
use crate::output::Output;
use crate::time::Now;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use ledger::hash::BlockHash;
use ledger::id::View;
use ledger::validator_set::ValidatorSet;

/// Most SEAL blocks whose next set is remembered.
const MAX_SETS: usize = 64;

/// The sets that SEAL blocks of this epoch bring, as far as the caller said.
#[derive(Debug, Default)]
pub(super) struct NextSets(BTreeMap<BlockHash, NextSet>);

#[derive(Debug)]
struct NextSet {
    members: Vec<Peer>,
    quorum: usize,
}

impl NextSets {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Engine {
    /// The caller knows what a SEAL block brings.
    pub(super) fn next_set(&mut self, block: BlockHash, set: &ValidatorSet) {
        let NextSets(sets) = &mut self.run.next_sets;
        if sets.len() >= MAX_SETS {
            let blocks = &self.blocks;
            sets.retain(|hash, _| blocks.is_here(hash));
        }
        if sets.len() < MAX_SETS {
            let members = set.members().iter();
            let members = members.map(|member| Peer(member.network)).collect();
            let quorum = set.quorum();
            sets.insert(block, NextSet { members, quorum });
        }
    }

    /// Whether a quorum of the set that this block brings was heard within T_alive, this node included. True for a block
    /// that brings none.
    pub(super) fn is_set_ready(&self, now: Now, block: &BlockHash) -> bool {
        let NextSets(sets) = &self.run.next_sets;
        let Some(next) = sets.get(block) else {
            return true;
        };
        let me = self.guard.me().and_then(|me| self.run.epoch.peer_of(me));
        let alive = self.config.timing().alive_ms;
        let there = next.members.iter().filter(|member| {
            let state = self.peers.get(member);
            Some(**member) == me || state.is_some_and(|state| state.is_alive(now.mono, alive))
        });
        there.count() >= next.quorum
    }

    /// This node's own SEAL block came to nothing in its view: others hear too few of its next set.
    pub(super) fn park_given_up(&mut self, view: View) {
        let own = self.guard.votes(view);
        let proposed = own.notarize.filter(|_| own.parent_view.is_some());
        let NextSets(sets) = &self.run.next_sets;
        let given_up = proposed.map(|vote| vote.block.hash);
        if let Some(hash) = given_up.filter(|hash| sets.contains_key(hash)) {
            self.outbox.now(Output::Park(hash));
        }
    }
}
