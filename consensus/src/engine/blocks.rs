//! Blocks above the archive: held, checked, and dropped (consensus.md, 3.4 step 1, 3.13, 3.18).

use crate::block::{Block, Tip};
use crate::config::Rules;
use crate::epoch::{EpochInfo, Peer};
use crate::time::Mono;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use ledger::hash::{BlockHash, Hash, SetHash};
use ledger::header::{BlockRef, HEADER_VERSION, Header};
use ledger::id::{Epoch, Height, TimeMs, View};
use ledger::planted;

/// Most blocks held; a sync answer may add its own for a while.
const MAX_BLOCKS: usize = 64;
/// Most bytes of bodies held.
const MAX_BYTES: usize = 64 << 20;
/// So many committed blocks stay at hand for peers that are just behind.
const KEEP_COMMITTED: u64 = 4;

/// How far a block's check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for its parent.
    New,
    /// The caller was asked.
    Checking,
    /// Its body is valid, and so are all its ancestors.
    Valid,
    /// It can never be.
    Invalid,
}

/// A block with what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) block: Block,
    /// What a child is checked against: kept, since rules ask for it at every event and it holds a hash.
    tip: Tip,
    pub(super) state: State,
    /// A record of it is durable, or queued before whatever will be signed next.
    pub(super) journalled: bool,
    /// Since when it is here.
    pub(super) since: Mono,
    /// Who delivered the body; nobody if it was built here or read from the journal.
    pub(super) from: Option<Peer>,
}

/// The blocks that are held, and the committed tip, which all of them extend.
#[derive(Debug)]
pub(super) struct Blocks {
    committed: Tip,
    /// Recently committed, by height.
    recent: BTreeMap<Height, BlockHash>,
    held: BTreeMap<BlockHash, Entry>,
    unchecked: BTreeSet<BlockHash>,
    bytes: usize,
}

impl Blocks {
    pub(super) const fn new(committed: Tip) -> Self {
        Self {
            committed,
            recent: BTreeMap::new(),
            held: BTreeMap::new(),
            unchecked: BTreeSet::new(),
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Of all bodies.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn committed(&self) -> &Tip {
        &self.committed
    }

    pub(super) fn get(&self, hash: &BlockHash) -> Option<&Entry> {
        self.held.get(hash)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&BlockHash, &Entry)> {
        self.held.iter()
    }

    /// Whether it is here, or is the committed tip.
    pub(super) fn is_here(&self, hash: &BlockHash) -> bool {
        *hash == self.committed.block.hash || self.held.contains_key(hash)
    }

    /// Whether it is the committed tip, or valid with all its ancestors.
    pub(super) fn is_valid(&self, hash: &BlockHash) -> bool {
        *hash == self.committed.block.hash || self.state(hash) == Some(State::Valid)
    }

    pub(super) fn state(&self, hash: &BlockHash) -> Option<State> {
        self.held.get(hash).map(|entry| entry.state)
    }

    /// What a child of this block is checked against.
    pub(super) fn tip(&self, hash: &BlockHash) -> Option<Tip> {
        if *hash == self.committed.block.hash {
            return Some(self.committed);
        }
        self.held.get(hash).map(|entry| entry.tip)
    }

    /// Takes a block in, unless it is here or too old to matter.
    pub(super) fn insert(&mut self, block: Block, from: Option<Peer>, since: Mono) {
        let tip = Tip::from(&block.header);
        let hash = tip.block.hash;
        if block.header.height <= self.committed.block.height || self.held.contains_key(&hash) {
            return;
        }
        self.bytes = self.bytes.saturating_add(block.body.len());
        self.unchecked.insert(hash);
        let entry = Entry {
            block,
            tip,
            state: State::New,
            journalled: false,
            since,
            from,
        };
        self.held.insert(hash, entry);
    }

    /// The caller's answer, or the header check's.
    pub(super) fn mark(&mut self, hash: &BlockHash, state: State) {
        if let Some(entry) = self.held.get_mut(hash) {
            entry.state = state;
            if state == State::New {
                self.unchecked.insert(*hash);
            } else {
                self.unchecked.remove(hash);
            }
        }
    }

    pub(super) fn mark_journalled(&mut self, hash: &BlockHash) {
        if let Some(entry) = self.held.get_mut(hash) {
            entry.journalled = true;
        }
    }

    pub(super) fn remove(&mut self, hash: &BlockHash) -> Option<Entry> {
        self.unchecked.remove(hash);
        let entry = self.held.remove(hash)?;
        self.bytes = self.bytes.saturating_sub(entry.block.body.len());
        Some(entry)
    }

    /// Blocks whose check can begin: their parent is valid.
    pub(super) fn checkable(&self) -> Vec<BlockHash> {
        let ready = self.unchecked.iter().filter(|hash| {
            let parent = self.held.get(*hash).map(|entry| entry.block.header.parent);
            parent.is_some_and(|parent| self.is_valid(&parent))
        });
        ready.copied().collect()
    }

    /// From a block down its ancestors: the first that is not here, if it can still be above the committed tip.
    pub(super) fn missing_below(&self, from: BlockRef) -> Option<BlockRef> {
        let mut at = from;
        for _ in 0..=MAX_BLOCKS {
            if at.height <= self.committed.block.height {
                return None;
            }
            let Some(entry) = self.held.get(&at.hash) else {
                return Some(at);
            };
            if entry.state != State::New {
                return None;
            }
            at = BlockRef {
                height: at.height.prev()?,
                hash: entry.block.header.parent,
            };
        }
        None
    }

    /// The next block is committed. Returns the blocks that can never be, now.
    pub(super) fn commit(&mut self, header: &Header) -> Vec<BlockHash> {
        self.committed = Tip::from(header);
        let BlockRef { height, hash } = self.committed.block;
        self.recent.insert(height, hash);
        let kept_from = height.saturating_sub(KEEP_COMMITTED);
        self.recent = self.recent.split_off(&kept_from);
        let mut dead = Vec::new();
        loop {
            let excluded = self.excluded();
            if excluded.is_empty() {
                return dead;
            }
            for (hash, at) in excluded {
                self.remove(&hash);
                if at >= kept_from {
                    dead.push(hash);
                }
            }
        }
    }

    /// An epoch begins on the committed tip: what is held above it is of another epoch, and can never be. Returns it.
    pub(super) fn enter_epoch(&mut self, epoch: Epoch) -> Vec<BlockHash> {
        let above = self.committed.block.height;
        let dead = self.held.iter().filter(|(_, entry)| {
            let header = &entry.block.header;
            header.height > above && header.epoch != epoch
        });
        let dead: Vec<BlockHash> = dead.map(|(hash, _)| *hash).collect();
        for hash in &dead {
            self.remove(hash);
        }
        dead
    }

    /// Blocks that the committed tip leaves behind: at or below it and not of its chain, or checked on a parent that
    /// is gone.
    fn excluded(&self) -> Vec<(BlockHash, Height)> {
        let tip = self.committed.block.height;
        let excluded = self.held.iter().filter(|(hash, entry)| {
            let header = &entry.block.header;
            if header.height <= tip {
                return self.recent.get(&header.height) != Some(hash);
            }
            entry.state != State::New && !self.is_here(&header.parent)
        });
        excluded
            .map(|(hash, entry)| (*hash, entry.block.header.height))
            .collect()
    }

    /// Makes room: drops what nobody needs (as `needed` says), oldest proposal first. Returns what was dropped.
    pub(super) fn evict(&mut self, needed: &BTreeSet<BlockHash>) -> Vec<BlockHash> {
        let mut dropped = Vec::new();
        while self.held.len() > MAX_BLOCKS || self.bytes > MAX_BYTES {
            let spare = self.held.iter().filter(|(hash, entry)| {
                let above = entry.block.header.height > self.committed.block.height;
                above && !needed.contains(*hash)
            });
            let oldest: Option<(View, BlockHash)> = spare
                .map(|(hash, entry)| (entry.block.header.view, *hash))
                .min();
            let Some((_, hash)) = oldest else {
                break;
            };
            self.remove(&hash);
            dropped.push(hash);
        }
        dropped
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.held.len() > MAX_BLOCKS || self.bytes > MAX_BYTES
    }
}

/// Whether an ANCHOR block is due at `time` on this parent.
pub(super) fn anchor_due(rules: &Rules, epoch: &EpochInfo, parent: &Tip, time: TimeMs) -> bool {
    let interval = rules.anchor_interval_ms;
    // The first block of an epoch, whether a SEAL block or a restart opened it. The genesis waits for work.
    let opens = parent.block == epoch.anchor().block && parent.block.height > Height(0);
    opens || (interval > 0 && time.0.saturating_sub(parent.time_ms.0) >= interval)
}

/// The header check against the parent (3.4, step 1). It hangs on nothing local, so "no" is final everywhere.
pub(super) fn header_fits(rules: &Rules, epoch: &EpochInfo, parent: &Tip, header: &Header) -> bool {
    let anchor = anchor_due(rules, epoch, parent, header.time_ms);
    header.version == HEADER_VERSION
        && header.chain == epoch.chain()
        && header.epoch == epoch.epoch()
        && header.view > View(0)
        && header.parent == parent.block.hash
        && Some(header.height) == parent.block.height.next()
        && header.proposer == epoch.leader(header.view)
        && header.time_ms > parent.time_ms
        && header.body_len <= rules.block_hard
        && header.flags.is_anchor() == anchor
        && header.validator_set == epoch.set_hash()
        && (header.flags.is_seal() || header.next_set == SetHash(Hash::default()))
        && (!epoch.ends_with(parent) || planted!(NewOnSeal))
}
