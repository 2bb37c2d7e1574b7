//! The application of the simulation: blocks of opaque items with a naive, deterministic validity.
//!
//! A block is valid if every item is (a record is genuine, evidence is signed, a change fits the members and is the
//! next one), none occurs twice in the chain, there is at least one (or an anchor is due), and its roots follow from
//! its parent's. A block with a change, and every so manieth block of an epoch, is a SEAL block.

use crate::items::{Change, Item, Record, body, items};
use crate::roster::Registry;
use crate::violation::{Invariant, Violation, broken, check};
use consensus::block::Body;
use consensus::{Block, BuildRequest, EpochInfo, EpochSpec, Tip, Verdict};
use ledger::evidence::Evidence;
use ledger::hash::SetHash;
use ledger::hash::{BlockHash, Hash, ItemId, sha256};
use ledger::header::{BlockRef, Flags, HEADER_VERSION, Header};
use ledger::id::{Epoch, Height, TreeSize, ValidatorIndex};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most records that a node puts into a block.
const MAX_RECORDS: usize = 40;
/// Evidence may be so many epochs old.
const MAX_AGE: u64 = 8;

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

    fn after(&self, body: &[u8], items: usize) -> Self {
        let log = sha256(&[self.log.as_bytes(), body]);
        Self {
            log_size: self.log_size.saturating_add(items as u64),
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
    items: Vec<Item>,
    roots: Roots,
}

/// What a chain of blocks has used up.
#[derive(Clone, Default)]
struct Taken {
    records: BTreeSet<Record>,
    accused: BTreeSet<(Epoch, ValidatorIndex)>,
    changes: u32,
}

impl Taken {
    /// Takes an item in; false if it was there before, or is out of order.
    fn add(&mut self, item: &Item) -> bool {
        match item {
            Item::Record(record) => self.records.insert(*record),
            Item::Evidence(evidence) => self.accused.insert(accused(evidence)),
            Item::Change(change) => {
                let is_next = change.number == self.changes;
                self.changes += u32::from(is_next);
                is_next
            }
        }
    }
}

/// Whom an evidence is against; one is enough.
pub(crate) fn accused(evidence: &Evidence) -> (Epoch, ValidatorIndex) {
    let vote = evidence.votes().0;
    (vote.epoch, vote.signer)
}

/// What waits for inclusion.
#[derive(Default)]
struct Pool {
    records: BTreeSet<Record>,
    evidence: BTreeMap<(Epoch, ValidatorIndex), Evidence>,
    changes: BTreeMap<u32, Change>,
}

/// One node's application state and pool.
pub(crate) struct Application {
    registry: Arc<Registry>,
    /// All epochs up to the present one.
    epochs: Vec<Arc<EpochInfo>>,
    members: Vec<usize>,
    tip: BlockRef,
    roots: Roots,
    committed: Taken,
    pending: BTreeMap<BlockHash, Pending>,
    pool: Pool,
    /// States that are over: nothing honest is built on them.
    past: BTreeMap<BlockHash, Roots>,
}

impl Application {
    /// The state after the blocks of the archive.
    pub(crate) fn new<'a>(
        registry: Arc<Registry>,
        archive: impl Iterator<Item = &'a Block>,
    ) -> Self {
        let first = registry.first_epoch();
        let mut state = Self {
            members: registry.founders(),
            registry,
            tip: first.anchor.block,
            epochs: vec![Arc::new(EpochInfo::new(first))],
            roots: Roots::EMPTY,
            committed: Taken::default(),
            pending: BTreeMap::new(),
            pool: Pool::default(),
            past: BTreeMap::new(),
        };
        for block in archive {
            let items = items(&block.body).unwrap_or_default();
            state.apply(block, items);
        }
        state
    }

    pub(crate) const fn tip(&self) -> BlockRef {
        self.tip
    }

    /// The epoch that a block on the tip belongs to.
    pub(crate) fn epoch(&self) -> &EpochInfo {
        self.epochs.last().expect("there is always one")
    }

    /// An epoch up to that one.
    pub(crate) fn epoch_of(&self, epoch: Epoch) -> Option<&EpochInfo> {
        let at = usize::try_from(epoch.0).ok()?;
        self.epochs.get(at).map(|epoch| &**epoch)
    }

    /// An item came in. False if it is known already, or worth nothing.
    pub(crate) fn offer(&mut self, item: &Item) -> bool {
        match item {
            Item::Record(record) => {
                !self.committed.records.contains(record) && self.pool.records.insert(*record)
            }
            Item::Evidence(evidence) => {
                let accused = accused(evidence);
                !self.committed.accused.contains(&accused)
                    && self.proves(evidence)
                    && self.pool.evidence.insert(accused, *evidence).is_none()
            }
            Item::Change(change) => {
                let is_news = change.number >= self.committed.changes;
                is_news && self.pool.changes.insert(change.number, *change).is_none()
            }
        }
    }

    /// Number of records and changes committed here.
    pub(crate) fn count(&self) -> usize {
        let changes = usize::try_from(self.committed.changes).unwrap_or(usize::MAX);
        self.committed.records.len() + changes
    }

    /// Whether a record or change is committed here, or somebody's misdeed recorded.
    pub(crate) fn has(&self, item: &Item) -> bool {
        match item {
            Item::Record(record) => self.committed.records.contains(record),
            Item::Evidence(evidence) => self.has_accused(&accused(evidence)),
            Item::Change(change) => change.number < self.committed.changes,
        }
    }

    pub(crate) fn has_accused(&self, accused: &(Epoch, ValidatorIndex)) -> bool {
        self.committed.accused.contains(accused)
    }

    /// Evidence that waits here, for those that may not know it.
    pub(crate) fn waiting_evidence(&self) -> impl Iterator<Item = &Evidence> {
        self.pool.evidence.values()
    }

    /// What the pool holds of these items.
    pub(crate) fn gather(&self, ids: &[ItemId]) -> Vec<Option<consensus::Item>> {
        let pool = &self.pool;
        let records = pool.records.iter().map(|record| Item::Record(*record));
        let evidence = pool.evidence.values().map(|one| Item::Evidence(*one));
        let changes = pool.changes.values().map(|change| Item::Change(*change));
        let all = records.chain(evidence).chain(changes);
        let held: BTreeMap<ItemId, consensus::Item> = all
            .map(|item| consensus::Item::from(ledger::codec::encode(&item)))
            .map(|item| (item.id(), item))
            .collect();
        ids.iter().map(|id| held.get(id).cloned()).collect()
    }

    /// How many items a block on `head` would include; `None` if that block's state is not known here.
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

    /// A block with just these items, on any parent that was ever valid here; `None` if there was none such.
    pub(crate) fn seal(&self, request: &BuildRequest, items: &[Item]) -> Option<Block> {
        let body = body(items);
        let parent = &request.parent.block.hash;
        let roots = self
            .roots_of(parent)
            .or_else(|| self.past.get(parent).copied());
        let roots = roots?.after(&body, items.len());
        let next_set = self.next_set(request.height, items);
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
            flags: next_set.map_or(request.flags, |_| request.flags.with(Flags::SEAL)),
            validator_set: request.validator_set,
            next_set: next_set.unwrap_or_default(),
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
        let Some(items) = items(body) else {
            return Ok(Verdict::Invalid);
        };
        let mut taken = self.taken(&header.parent);
        let next_set = self.next_set(header.height, &items);
        let changes = items.iter().filter(|item| matches!(item, Item::Change(_)));
        let sound = (!items.is_empty() || header.flags.is_anchor())
            && changes.count() <= 1
            && items
                .iter()
                .all(|item| self.is_sound(item) && taken.add(item) && !self.has(item))
            && parent.after(body, items.len()) == Roots::of(header)
            && header.flags.is_seal() == next_set.is_some()
            && header.next_set == next_set.unwrap_or_default();
        if !sound {
            return Ok(Verdict::Invalid);
        }
        self.keep(block, items);
        Ok(Verdict::Valid)
    }

    /// A block became final. If it ends its epoch, the next one is returned.
    pub(crate) fn commit(&mut self, block: &Block) -> Result<(), Violation> {
        let pending = self.pending.remove(&block.hash());
        let Some(pending) = pending.filter(|_| block.header.parent == self.tip.hash) else {
            return broken(
                Invariant::Contract,
                format!(
                    "asked to commit {:?} on {:?}, not answered Valid or not its child",
                    block.block_ref(),
                    self.tip
                ),
            );
        };
        let computed = self.roots.after(&block.body, pending.items.len());
        check(
            computed == Roots::of(&block.header),
            Invariant::Roots,
            || format!("{:?} against {computed:?}", block.header),
        )?;
        self.apply(block, pending.items);
        Ok(())
    }

    pub(crate) fn forget(&mut self, hash: &BlockHash) {
        self.pending.remove(hash);
    }

    fn keep(&mut self, block: &Block, items: Vec<Item>) {
        let pending = Pending {
            block: block.block_ref(),
            parent: block.header.parent,
            items,
            roots: Roots::of(&block.header),
        };
        self.pending.insert(pending.block.hash, pending);
    }

    fn apply(&mut self, block: &Block, items: Vec<Item>) {
        for item in &items {
            self.committed.add(item);
            match item {
                Item::Record(record) => {
                    self.pool.records.remove(record);
                }
                Item::Evidence(evidence) => {
                    self.pool.evidence.remove(&accused(evidence));
                }
                Item::Change(change) => {
                    self.pool.changes.remove(&change.number);
                    if let Some(members) = change.apply(&self.members) {
                        self.members = members;
                    }
                }
            }
        }
        self.past.insert(self.tip.hash, self.roots);
        self.tip = block.block_ref();
        self.roots = Roots::of(&block.header);
        let height = self.tip.height;
        self.pending.retain(|_, other| other.block.height > height);
        if block.header.flags.is_seal()
            && let Some(spec) = self.next_epoch(block)
        {
            self.epochs.push(Arc::new(EpochInfo::new(spec)));
            let oldest = block.header.epoch.0.saturating_sub(MAX_AGE - 1);
            self.pool.evidence.retain(|(epoch, _), _| epoch.0 >= oldest);
        }
    }

    fn next_epoch(&self, seal: &Block) -> Option<EpochSpec> {
        Some(EpochSpec {
            chain: seal.header.chain,
            epoch: seal.header.epoch.next()?,
            set: self.registry.set(&self.members)?,
            anchor: Tip::from(&seal.header),
            restart: Hash::ZERO,
        })
    }

    /// The next set's hash, if a block of this height with these items ends its epoch.
    fn next_set(&self, height: Height, items: &[Item]) -> Option<SetHash> {
        let change = items.iter().find_map(|item| match item {
            Item::Change(change) => Some(change),
            Item::Record(_) | Item::Evidence(_) => None,
        });
        let members = match change {
            Some(change) => self.fitting(change)?,
            None => {
                let length = self.registry.epoch_length;
                let age = height
                    .0
                    .saturating_sub(self.epoch().anchor().block.height.0);
                if length == 0 || age != length {
                    return None;
                }
                self.members.clone()
            }
        };
        self.registry.set(&members).map(|set| set.hash())
    }

    /// The members after a change, if it may be made: at most max(1, f) authorities, and four stay.
    fn fitting(&self, change: &Change) -> Option<Vec<usize>> {
        let after = change.apply(&self.members)?;
        self.registry.set(&after)?;
        let touched: BTreeSet<_> = (0..64)
            .filter(|validator| (change.leaves | change.joins) >> validator & 1 == 1)
            .map(|validator| self.registry.authority(validator))
            .collect();
        let f = self.epoch().set().f();
        (after.len() >= 4 && touched.len() <= f.max(1)).then_some(after)
    }

    fn is_sound(&self, item: &Item) -> bool {
        match item {
            Item::Record(record) => record.is_genuine(),
            Item::Evidence(evidence) => self.proves(evidence),
            Item::Change(change) => change.is_genuine() && self.fitting(change).is_some(),
        }
    }

    /// Whether both votes are signed, by a validator of an epoch that is not too old.
    fn proves(&self, evidence: &Evidence) -> bool {
        let (a, b) = evidence.votes();
        let now = self.epoch().epoch().0;
        let at = usize::try_from(a.epoch.0).unwrap_or(usize::MAX);
        let Some(epoch) = self.epochs.get(at).filter(|_| a.epoch.0 + MAX_AGE > now) else {
            return false;
        };
        let Some(member) = epoch.set().get(a.signer) else {
            return false;
        };
        let verifier = self.registry.crypto.verifier();
        [a, b].into_iter().all(|vote| {
            let message = vote.statement().sign_bytes(epoch.context());
            let verified = verifier.verify(&member.vote, &message, &vote.signature);
            verified.is_ok()
        })
    }

    fn roots_of(&self, hash: &BlockHash) -> Option<Roots> {
        if *hash == self.tip.hash {
            Some(self.roots)
        } else {
            self.pending.get(hash).map(|pending| pending.roots)
        }
    }

    /// Evidence first, then the next change, then records.
    fn candidates(&self, head: &BlockHash) -> Option<Vec<Item>> {
        self.roots_of(head)?;
        let taken = self.taken(head);
        let change = self.pool.changes.get(&taken.changes);
        let change = change.filter(|change| self.fitting(change).is_some());
        let evidence = self.pool.evidence.iter();
        let evidence = evidence.filter(|(accused, _)| !taken.accused.contains(accused));
        let records = self.pool.records.iter();
        let records = records.filter(|record| !taken.records.contains(record));
        Some(
            evidence
                .map(|(_, evidence)| Item::Evidence(*evidence))
                .chain(change.map(|change| Item::Change(*change)))
                .chain(records.map(|record| Item::Record(*record)))
                .take(MAX_RECORDS)
                .collect(),
        )
    }

    /// What a block and its unfinalized ancestors have used up, and how many changes there were in all.
    fn taken(&self, head: &BlockHash) -> Taken {
        let mut taken = Taken {
            changes: self.committed.changes,
            ..Taken::default()
        };
        let mut chain = Vec::new();
        let mut at = head;
        while let Some(pending) = self.pending.get(at) {
            chain.push(pending);
            at = &pending.parent;
        }
        for pending in chain.into_iter().rev() {
            for item in &pending.items {
                taken.add(item);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::roster::{self, Roster};
    use ledger::id::{TimeMs, View};

    fn request(roster: &Roster) -> BuildRequest {
        let first = roster.first();
        BuildRequest {
            chain: first.chain(),
            epoch: first.epoch(),
            view: View(1),
            parent: *first.anchor(),
            height: Height(1),
            proposer: ValidatorIndex(0),
            time_ms: TimeMs(roster::BIRTH.0 + 5),
            flags: Flags::NONE,
            validator_set: first.set_hash(),
        }
    }

    fn record(number: u32) -> Item {
        Item::Record(Record::submit(number))
    }

    #[test]
    fn a_block_is_valid_once_and_only_with_genuine_records() {
        let roster = Roster::new(&Plan::calm(1, 4));
        let request = request(&roster);
        let mut app = Application::new(Arc::clone(&roster.registry), [].iter());
        assert!(app.build(&request).expect("known parent").is_none());
        assert!(app.offer(&record(1)) && app.offer(&record(2)));
        let block = app.build(&request).expect("known parent").expect("a block");
        assert_eq!(app.validate(&block).expect("known"), Verdict::Valid);
        assert_eq!(app.includable(&block.hash()), Some(0));
        assert_eq!(app.includable(&request.parent.block.hash), Some(2));
        for bad in [
            vec![],
            vec![Item::Record(Record::forged(1))],
            vec![record(1), record(1)],
        ] {
            let bad = app.seal(&request, &bad).expect("known parent");
            assert_eq!(app.validate(&bad).expect("known"), Verdict::Invalid);
        }
        let mut mixed = block.clone();
        mixed.body = Body::from(vec![0; 18]);
        assert_eq!(app.validate(&mixed).expect("known"), Verdict::BadDelivery);
        app.commit(&block).expect("valid child");
        assert_eq!(app.count(), 2);
        assert!(app.commit(&block).is_err(), "not a child of itself");
    }

    #[test]
    fn a_change_seals_its_epoch_and_defines_the_next_set() {
        let mut plan = Plan::calm(1, 4);
        plan.joiners = vec![2, 4];
        let roster = Roster::new(&plan);
        let request = request(&roster);
        let mut app = Application::new(Arc::clone(&roster.registry), [].iter());
        let swap = Change::decide(0, 1 << 2, 1 << 4);
        let too_many = Change::decide(0, 1 << 2, 1 << 5);
        let bad = app.seal(&request, &[Item::Change(too_many)]);
        let bad = bad.expect("known parent");
        assert_eq!(app.validate(&bad).expect("known"), Verdict::Invalid);
        assert!(app.offer(&Item::Change(swap)));
        let block = app.build(&request).expect("known parent").expect("a block");
        assert!(block.header.flags.is_seal());
        let mut open = block.clone();
        open.header.flags = Flags::NONE;
        assert_eq!(app.validate(&open).expect("known"), Verdict::Invalid);
        app.commit(&block).expect("valid child");
        assert_eq!(app.members, [0, 1, 3, 4]);
        assert_eq!(app.epoch().epoch(), Epoch(1));
        assert_eq!(app.epoch().set_hash(), block.header.next_set);
        assert_eq!(app.epoch().anchor().block, block.block_ref());
    }
}
