//! The application of the simulation: blocks of opaque records with a naive, deterministic validity.
//!
//! A record is eight bytes: its number, and a check word that only [`Record::submit`] makes, as a registrar's
//! signature would be. A block is valid if every record's check word is right, none occurs twice in the chain, there
//! is at least one (or an anchor is due), and its roots follow from its parent's. No block ends the epoch.

use crate::violation::{Invariant, Violation, broken};
use consensus::block::Body;
use consensus::{Block, BuildRequest, Verdict};
use ledger::hash::SetHash;
use ledger::hash::{BlockHash, Hash, sha256};
use ledger::header::{BlockRef, HEADER_VERSION, Header};
use ledger::id::TreeSize;
use std::collections::{BTreeMap, BTreeSet};

/// Most records that a node puts into a block.
const MAX_RECORDS: usize = 40;

/// A record as it stands in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record(u64);

impl Record {
    /// The record of that number.
    pub(crate) const fn submit(number: u32) -> Self {
        Self(((number as u64) << 32) | Self::check_word(number))
    }

    /// A record that nobody submitted: its check word is wrong.
    pub(crate) const fn forged(number: u32) -> Self {
        Self(Self::submit(number).0 ^ 1)
    }

    pub(crate) fn number(self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or(0)
    }

    fn is_genuine(self) -> bool {
        self == Self::submit(self.number())
    }

    const fn check_word(number: u32) -> u64 {
        crate::random::mix(number as u64) & 0xffff_ffff
    }
}

/// The records of a body; `None` if it is not made of records.
pub(crate) fn records(body: &[u8]) -> Option<Vec<Record>> {
    body.chunks(8)
        .map(|chunk| {
            let word: [u8; 8] = chunk.try_into().ok()?;
            Some(Record(u64::from_le_bytes(word)))
        })
        .collect()
}

/// State after a block, as far as the roots show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Roots {
    log_size: TreeSize,
    log: Hash,
    status: Hash,
}

impl Roots {
    const EMPTY: Self = Self {
        log_size: TreeSize(0),
        log: Hash::ZERO,
        status: Hash::ZERO,
    };

    fn after(&self, body: &[u8]) -> Self {
        let log = sha256(&[self.log.as_bytes(), body]);
        Self {
            log_size: self.log_size.saturating_add(body.len() as u64 / 8),
            log,
            status: sha256(&[b"status", log.as_bytes()]),
        }
    }

    const fn of(header: &Header) -> Self {
        Self {
            log_size: header.log_size,
            log: header.log_root,
            status: header.status_root,
        }
    }
}

/// A valid block that is not committed.
struct Pending {
    block: BlockRef,
    parent: BlockHash,
    records: Vec<Record>,
    roots: Roots,
}

/// One node's application state and pool.
pub(crate) struct Application {
    tip: BlockRef,
    roots: Roots,
    committed: BTreeSet<Record>,
    pending: BTreeMap<BlockHash, Pending>,
    pool: BTreeSet<Record>,
    /// States that are over: nothing honest is built on them.
    past: BTreeMap<BlockHash, Roots>,
}

impl Application {
    /// The state after the blocks of the archive, which starts on `anchor`.
    pub(crate) fn new<'a>(anchor: BlockRef, archive: impl Iterator<Item = &'a Block>) -> Self {
        let mut state = Self {
            tip: anchor,
            roots: Roots::EMPTY,
            committed: BTreeSet::new(),
            pending: BTreeMap::new(),
            pool: BTreeSet::new(),
            past: BTreeMap::new(),
        };
        for block in archive {
            state.apply(block);
        }
        state
    }

    pub(crate) const fn tip(&self) -> BlockRef {
        self.tip
    }

    /// A record came in. False if it is known already.
    pub(crate) fn offer(&mut self, record: Record) -> bool {
        !self.committed.contains(&record) && self.pool.insert(record)
    }

    /// Number of records committed here.
    pub(crate) fn count(&self) -> usize {
        self.committed.len()
    }

    pub(crate) fn has(&self, record: Record) -> bool {
        self.committed.contains(&record)
    }

    /// How many records a block on `head` would include; `None` if that block's state is not known here.
    pub(crate) fn includable(&self, head: &BlockHash) -> Option<u32> {
        let count = self.candidates(head)?.len();
        Some(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// A new block for the request, whose state is kept; `None` if there is nothing to put into it.
    pub(crate) fn build(&mut self, request: &BuildRequest) -> Result<Option<Block>, Violation> {
        let Some(chosen) = self.candidates(&request.parent.block.hash) else {
            return broken(
                Invariant::Contract,
                format!(
                    "asked to build on {:?}, whose state is unknown",
                    request.parent
                ),
            );
        };
        if chosen.is_empty() && !request.flags.is_anchor() {
            return Ok(None);
        }
        let block = self.seal(request, &chosen);
        if let Some(block) = &block {
            self.keep(block, chosen);
        }
        Ok(block)
    }

    /// A block with just these records, on any parent that was ever valid here; `None` if there was none such.
    pub(crate) fn seal(&self, request: &BuildRequest, records: &[Record]) -> Option<Block> {
        let body: Vec<u8> = records.iter().flat_map(|r| r.0.to_le_bytes()).collect();
        let parent = &request.parent.block.hash;
        let roots = self
            .roots_of(parent)
            .or_else(|| self.past.get(parent).copied());
        let roots = roots?.after(&body);
        let header = Header {
            version: HEADER_VERSION,
            chain: request.chain,
            epoch: request.epoch,
            view: request.view,
            height: request.height,
            parent: request.parent.block.hash,
            proposer: request.proposer,
            time_ms: request.time_ms,
            body_len: u32::try_from(body.len()).unwrap_or(u32::MAX),
            body_root: sha256(&[&body]),
            log_size: roots.log_size,
            log_root: roots.log,
            status_root: roots.status,
            flags: request.flags,
            validator_set: request.validator_set,
            next_set: SetHash::default(),
        };
        Some(Block {
            header,
            body: Body::from(body),
        })
    }

    /// Whether a block is valid; keeps its post-state if it is.
    pub(crate) fn validate(&mut self, block: &Block) -> Result<Verdict, Violation> {
        let header = &block.header;
        let Some(parent) = self.roots_of(&header.parent) else {
            return broken(
                Invariant::Contract,
                format!(
                    "asked to validate {:?}, whose parent's state is unknown",
                    block.block_ref()
                ),
            );
        };
        let body: &[u8] = &block.body;
        if sha256(&[body]) != header.body_root || body.len() as u64 != u64::from(header.body_len) {
            return Ok(Verdict::BadDelivery);
        }
        let Some(records) = records(body) else {
            return Ok(Verdict::Invalid);
        };
        let distinct: BTreeSet<_> = records.iter().collect();
        let taken = self.ancestors(&header.parent);
        let sound = (!records.is_empty() || header.flags.is_anchor())
            && distinct.len() == records.len()
            && records.iter().all(|record| {
                record.is_genuine() && !self.committed.contains(record) && !taken.contains(record)
            })
            && parent.after(body) == Roots::of(header)
            && header.next_set == SetHash::default()
            && !header.flags.is_seal();
        if !sound {
            return Ok(Verdict::Invalid);
        }
        self.keep(block, records);
        Ok(Verdict::Valid)
    }

    /// A block became final.
    pub(crate) fn commit(&mut self, block: &Block) -> Result<(), Violation> {
        if block.header.parent != self.tip.hash || !self.pending.contains_key(&block.hash()) {
            return broken(
                Invariant::Contract,
                format!(
                    "asked to commit {:?} on {:?}, not answered Valid or not its child",
                    block.block_ref(),
                    self.tip
                ),
            );
        }
        self.apply(block);
        Ok(())
    }

    pub(crate) fn forget(&mut self, hash: &BlockHash) {
        self.pending.remove(hash);
    }

    fn keep(&mut self, block: &Block, records: Vec<Record>) {
        let pending = Pending {
            block: block.block_ref(),
            parent: block.header.parent,
            records,
            roots: Roots::of(&block.header),
        };
        self.pending.insert(pending.block.hash, pending);
    }

    fn apply(&mut self, block: &Block) {
        let records = records(&block.body).unwrap_or_default();
        for record in &records {
            self.pool.remove(record);
        }
        self.committed.extend(records);
        self.past.insert(self.tip.hash, self.roots);
        self.tip = block.block_ref();
        self.roots = Roots::of(&block.header);
        let height = self.tip.height;
        self.pending.retain(|_, other| other.block.height > height);
    }

    fn roots_of(&self, hash: &BlockHash) -> Option<Roots> {
        if *hash == self.tip.hash {
            Some(self.roots)
        } else {
            self.pending.get(hash).map(|pending| pending.roots)
        }
    }

    fn candidates(&self, head: &BlockHash) -> Option<Vec<Record>> {
        self.roots_of(head)?;
        let taken = self.ancestors(head);
        Some(
            self.pool
                .iter()
                .filter(|record| !taken.contains(*record))
                .take(MAX_RECORDS)
                .copied()
                .collect(),
        )
    }

    /// The records of a block and its unfinalized ancestors.
    fn ancestors(&self, head: &BlockHash) -> BTreeSet<Record> {
        let mut taken = BTreeSet::new();
        let mut at = head;
        while let Some(pending) = self.pending.get(at) {
            taken.extend(&pending.records);
            at = &pending.parent;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Crypto;
    use crate::roster::{self, Roster};
    use ledger::header::Flags;
    use ledger::id::{Height, TimeMs, View};

    fn request(roster: &Roster) -> BuildRequest {
        BuildRequest {
            chain: roster.spec.chain,
            epoch: roster.spec.epoch,
            view: View(1),
            parent: roster.spec.anchor,
            height: Height(1),
            proposer: roster::index(0),
            time_ms: TimeMs(roster::BIRTH.0 + 5),
            flags: Flags::NONE,
            validator_set: roster.info.set_hash(),
        }
    }

    #[test]
    fn a_block_is_valid_once_and_only_with_genuine_records() {
        let roster = Roster::new(1, 4, Crypto::Mock);
        let request = request(&roster);
        let mut app = Application::new(roster.spec.anchor.block, [].iter());
        assert!(app.build(&request).expect("known parent").is_none());
        assert!(app.offer(Record::submit(1)) && app.offer(Record::submit(2)));
        let block = app.build(&request).expect("known parent").expect("a block");
        assert_eq!(app.validate(&block).expect("known"), Verdict::Valid);
        assert_eq!(app.includable(&block.hash()), Some(0));
        assert_eq!(app.includable(&request.parent.block.hash), Some(2));
        for bad in [
            vec![],
            vec![Record::forged(1)],
            vec![Record::submit(1), Record::submit(1)],
        ] {
            let bad = app.seal(&request, &bad).expect("known parent");
            assert_eq!(app.validate(&bad).expect("known"), Verdict::Invalid);
        }
        let mut mixed = block.clone();
        mixed.body = Body::from(vec![0; 16]);
        assert_eq!(app.validate(&mixed).expect("known"), Verdict::BadDelivery);
        app.commit(&block).expect("valid child");
        assert_eq!(app.count(), 2);
        assert!(app.commit(&block).is_err(), "not a child of itself");
    }
}
