//! Missing blocks are asked for one by one, and handed out to those who ask (consensus.md, 3.13).

use super::Engine;
use super::blocks::State;
use crate::block::Block;
use crate::epoch::Peer;
use crate::message::Message;
use crate::output::{Output, ServeRequest};
use crate::time::{Mono, Now};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use ledger::hash::BlockHash;
use ledger::header::BlockRef;
use ledger::id::Height;
use ledger::planted;

/// Most blocks asked for at a time.
const MAX_WANTS: usize = 32;
/// So many of the newest notarizations are looked at for missing blocks.
const NEWEST: usize = 32;

/// A block that is asked for.
#[derive(Clone, Debug)]
struct Want {
    block: BlockRef,
    /// Who should have it: the proposer that referenced it.
    hint: Option<Peer>,
    next_at: Mono,
    misses: u32,
    asked: Vec<Peer>,
}

/// Blocks that are asked for.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    wants: BTreeMap<BlockHash, Want>,
    /// Who delivered a wrong body for which block: not asked for it again, nor listened to.
    shunned: BTreeSet<(BlockHash, Peer)>,
}

impl Fetches {
    pub(super) fn len(&self) -> usize {
        self.wants.len()
    }

    pub(super) fn shunned_len(&self) -> usize {
        self.shunned.len()
    }

    /// Whether this block is wanted from this peer.
    pub(super) fn wants(&self, hash: &BlockHash, from: &Peer) -> bool {
        self.wants.contains_key(hash) && !self.shuns(hash, from)
    }

    pub(super) fn shuns(&self, hash: &BlockHash, from: &Peer) -> bool {
        self.shunned.contains(&(*hash, *from))
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = Mono> {
        self.wants.values().map(|want| want.next_at)
    }
}

impl Engine {
    /// Finds out what is missing now, and asks where it is time to.
    pub(super) fn fetch_missing(&mut self, now: Now) {
        let missing = self.missing_blocks();
        let is_missing = |hash: &BlockHash| missing.iter().any(|(block, _, _)| block.hash == *hash);
        self.run.fetches.wants.retain(|hash, _| is_missing(hash));
        let (blocks, slots) = (&self.blocks, &self.run.slots);
        let is_proposed = |hash: &BlockHash| slots.iter().any(|slot| slot.block.hash == *hash);
        self.run
            .fetches
            .shunned
            .retain(|(hash, _)| is_missing(hash) || blocks.is_here(hash) || is_proposed(hash));
        for (block, hint, wait) in missing.into_iter().take(MAX_WANTS) {
            let known = self.run.fetches.wants.contains_key(&block.hash);
            if !known && self.run.assemblies.is_under_way(&block.hash, now.mono) {
                continue;
            }
            let next_at = now.mono.plus(wait);
            self.run
                .fetches
                .wants
                .entry(block.hash)
                .or_insert_with(|| Want {
                    block,
                    hint,
                    next_at,
                    misses: 0,
                    asked: Vec::new(),
                });
        }
        let due: Vec<BlockHash> = self
            .run
            .fetches
            .wants
            .iter()
            .filter(|(_, want)| want.next_at <= now.mono)
            .map(|(hash, _)| *hash)
            .collect();
        for hash in due {
            self.ask_for_block(now, &hash);
        }
    }

    /// What is needed and not here: block, who should have it, and how long it may still come by itself.
    fn missing_blocks(&self) -> Vec<(BlockRef, Option<Peer>, u64)> {
        // The body is often only slower than the votes; ask a little later than its certificate.
        let patience = self.config.timing().delta_ms.div_euclid(4);
        let mut missing = Vec::new();
        let next = self.blocks.committed().block.height.next();
        if let Some(block) = next.and_then(|height| self.lone_final_gap(height)) {
            missing.push((block, None, patience));
        }
        let view = self.run.current.view;
        if let Some(slot) = self.run.slots.get(view)
            && let Some(block) = self.blocks.missing_below(slot.block)
        {
            missing.push((block, self.run.epoch.peer_of(slot.vote.signer), 0));
        }
        for (at, notarization) in self.run.certificates.notarizations().take(NEWEST) {
            let block = notarization.certificate.block();
            if let Some(block) = self.blocks.missing_below(block) {
                let proposer = self.run.epoch.peer_of(self.run.epoch.leader(at));
                missing.push((block, proposer, patience));
            }
        }
        if self.diverged || self.run.sealed || planted!(NoFetch) {
            missing.clear();
        }
        missing
    }

    /// The final block of this height, if it is not here but all that is known to follow is: fetching it alone is
    /// enough. A longer gap is a matter of catching up.
    pub(super) fn lone_final_gap(&self, height: Height) -> Option<BlockRef> {
        let block = self.run.final_chain.get(height)?;
        let after = height
            .next()
            .and_then(|height| self.run.final_chain.get(height));
        let is_last = self.run.certificates.finalized().height <= height;
        let follows = after.is_some_and(|after| self.blocks.is_here(&after.hash));
        (!self.blocks.is_here(&block.hash) && (is_last || follows)).then_some(block)
    }

    fn ask_for_block(&mut self, now: Now, hash: &BlockHash) {
        let again = self.config.fetch_ms();
        let Fetches { wants, shunned } = &mut self.run.fetches;
        let Some(want) = wants.get_mut(hash) else {
            return;
        };
        // One at a time; two at a time after the second miss.
        let parallel = if want.misses >= 2 { 2 } else { 1 };
        want.misses = want.misses.saturating_add(1);
        want.next_at = now.mono.plus(again);
        for _ in 0..parallel {
            let refused = |peer: &Peer| shunned.contains(&(*hash, *peer));
            let Some(peer) = self.peers.pick(now.mono, want.hint, &want.asked, refused) else {
                return;
            };
            if want.asked.contains(&peer) {
                // All were asked: begin again.
                want.asked.clear();
            }
            want.asked.push(peer);
            let message = Message::Fetch(want.block);
            self.outbox.now(Output::Send { to: peer, message });
        }
    }

    /// A block that was asked for.
    pub(super) fn fetched(&mut self, now: Now, from: Peer, block: Block) {
        if self.run.fetches.wants(&block.hash(), &from) {
            self.blocks.insert(block, Some(from), now.mono);
        }
    }

    /// The body was not the one that the header names. The block is not to blame: it is fetched from somebody else.
    pub(super) fn bad_delivery(&mut self, hash: BlockHash) {
        let from = self.blocks.remove(&hash).and_then(|entry| entry.from);
        if let Some(from) = from {
            self.run.fetches.shunned.insert((hash, from));
        }
    }

    /// 3.18: drops what nobody needs when too many blocks, or bytes, are held.
    pub(super) fn make_room(&mut self) {
        if !self.blocks.is_crowded() {
            return;
        }
        let view = self.run.current.view.saturating_sub(1);
        let proposed = self.run.slots.iter().filter(|slot| slot.vote.view >= view);
        let mut needed: BTreeSet<BlockHash> = proposed.map(|slot| slot.block.hash).collect();
        needed.extend(self.run.final_chain.hashes());
        for (_, notarization) in self.run.certificates.notarizations() {
            let mut hash = notarization.certificate.block().hash;
            while let Some(entry) = self.blocks.get(&hash)
                && needed.insert(hash)
            {
                hash = entry.block.header.parent;
            }
        }
        for hash in self.blocks.evict(&needed) {
            self.outbox.after_durable(Output::Forget(hash));
        }
    }

    /// A peer asks for a block: never one that was not validated here.
    pub(super) fn serve_block(&mut self, peer: &Peer, block: BlockRef) {
        let entry = self.blocks.get(&block.hash);
        if let Some(entry) = entry.filter(|entry| entry.state == State::Valid) {
            let message = Message::Block(entry.block.clone());
            self.send(peer, message);
        } else if block.height <= self.blocks.committed().block.height {
            let request = ServeRequest::Block(block);
            self.outbox
                .after_durable(Output::Serve { to: *peer, request });
        }
    }
}
