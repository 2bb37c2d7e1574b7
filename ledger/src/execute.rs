//! Blocks: which items may be in one, and what it makes of the state, the log and the status map.
//!
//! [`build`] (a leader's), [`check_block`] (everybody's) and [`includable`] (the pool's and admission's)
//! run the same code over the same predicate. All are pure functions of (parent tip, state view,
//! inputs): nothing here looks at a clock, a pool or a disk (consensus.md, 3.4 step 3).

use crate::admission::{CheckedItem, CheckedSubmission};
use crate::block::{Body, CheckedBody};
use crate::hash::{Hash, ItemId, SetHash};
use crate::header::{Flags, HEADER_VERSION, Header};
use crate::id::{LeafIndex, TimeMs, TreeSize, ValidatorIndex, View};
use crate::leaf::{EvidenceLeaf, LogLeaf, RecordLeaf, Trailer};
use crate::log;
use crate::refusal::{Refusal, Refused};
use crate::rules::{self, Acting, Change, RuleError};
use crate::state::Inclusion;
use crate::tip::{EpochInfo, Founding, Tip};
use crate::view::{Effects, Overlay, StateUnavailable, StateView};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Most evidence items that [`build`] puts into one block.
pub const MAX_EVIDENCE_PER_BLOCK: usize = 100;

/// What the proposer chooses: everything else of a header follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// View of the first proposal.
    pub view: View,
    /// Who proposes.
    pub proposer: ValidatorIndex,
    /// Block time; must be after the parent's.
    pub time_ms: TimeMs,
}

/// One leaf that a block appends to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The bytes that are hashed and served in entry bundles.
    pub bytes: Vec<u8>,
    /// Their RFC 9162 leaf hash.
    pub hash: Hash,
}

impl Leaf {
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            hash: log::leaf_hash(&bytes),
            bytes,
        }
    }
}

/// What a block makes of its parent's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The one header that is right for these inputs.
    pub header: Header,
    /// The leaves in order, the trailer last; the first one's index is the parent's log size.
    pub leaves: Vec<Leaf>,
    /// What the block writes.
    pub effects: Effects,
    /// What its children build on.
    pub tip: Tip,
}

/// Why a block is invalid: final, and the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A header field is not what follows from parent and body.
    #[error("header field {0} is wrong")]
    Header(&'static str),
    /// An item is refused.
    #[error("item {at} is refused: {refused}")]
    Item {
        /// Position in the body, from 0.
        at: usize,
        /// Why.
        #[source]
        refused: Refused,
    },
    /// No item, and no anchor is due.
    #[error("block is empty and no anchor is due")]
    Empty,
}

/// Why a block has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// It is invalid.
    #[error(transparent)]
    Invalid(#[from] Fault),
    /// The state could not be read: says nothing about the block.
    #[error(transparent)]
    Unavailable(#[from] StateUnavailable),
}

/// What a leader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The block with its body; `None` if nothing is includable and no anchor is due.
    pub block: Option<(Executed, Body)>,
    /// Items that are not includable on this parent at this time, and why.
    pub refused: Vec<(ItemId, Refused)>,
}

/// Whether an anchor is due in a child of `parent` with this time: the interval is over, or it is the first after a SEAL.
pub fn anchor_due(founding: &Founding, parent: &Tip, time_ms: TimeMs) -> bool {
    let interval = founding.params().anchor_interval_ms;
    let passed = time_ms.0.saturating_sub(parent.time_ms.0);
    let opens = parent.opens_epoch() && parent.height.0 > 0;
    opens || (interval > 0 && passed >= interval)
}

/// Whether an item may be in a child of `parent` with this time: the predicate of [`build`] and [`check_block`].
///
/// # Errors
/// [`RuleError::Refused`] is the answer "no".
pub fn includable<V: StateView + ?Sized>(
    founding: &Founding,
    view: &V,
    parent: &Tip,
    time_ms: TimeMs,
    item: &CheckedItem,
) -> Result<(), ItemError> {
    Assembly::new(founding, view, parent, time_ms).add(item)
}

/// Why an item is not in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The state could not be read.
    #[error(transparent)]
    Unavailable(#[from] StateUnavailable),
}

impl From<Refusal> for ItemError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl ItemError {
    fn at_record(error: RuleError, at: usize) -> Self {
        match error {
            RuleError::Unavailable(error) => Self::Unavailable(error),
            RuleError::Refused(refusal) => Self::Refused(Refused {
                record: Some(at),
                refusal,
            }),
        }
    }
}

impl From<RuleError> for ItemError {
    fn from(error: RuleError) -> Self {
        match error {
            RuleError::Unavailable(error) => Self::Unavailable(error),
            RuleError::Refused(refusal) => refusal.into(),
        }
    }
}

/// Executes items on their parent: the result is the one valid block of these inputs.
///
/// # Errors
/// [`BlockError::Invalid`] if the time, an item or an empty body is not allowed.
pub fn execute<V: StateView + ?Sized>(
    founding: &Founding,
    view: &V,
    parent: &Tip,
    slot: Slot,
    body: &CheckedBody,
) -> Result<Executed, BlockError> {
    if slot.time_ms <= parent.time_ms {
        return Err(Fault::Header("time_ms").into());
    }
    if body.items().is_empty() && !anchor_due(founding, parent, slot.time_ms) {
        return Err(Fault::Empty.into());
    }
    if !parent.epoch.has(slot.proposer) {
        return Err(Fault::Header("proposer").into());
    }
    if body.len() > founding.params().block_hard {
        return Err(Fault::Header("body_len").into());
    }
    let mut assembly = Assembly::new(founding, view, parent, slot.time_ms);
    for (at, item) in body.items().iter().enumerate() {
        assembly.add(item).map_err(|error| match error {
            ItemError::Unavailable(error) => BlockError::Unavailable(error),
            ItemError::Refused(refused) => BlockError::Invalid(Fault::Item { at, refused }),
        })?;
    }
    Ok(assembly.finish(slot, body.len(), body.root()))
}

/// Executes a block and compares every field of its header.
///
/// That the proposer is the view's leader, and the time rule, are the engine's to check.
///
/// # Errors
/// [`BlockError::Invalid`] names the first fault.
pub fn check_block<V: StateView + ?Sized>(
    founding: &Founding,
    view: &V,
    parent: &Tip,
    header: &Header,
    body: &CheckedBody,
) -> Result<Executed, BlockError> {
    if header.parent != parent.hash {
        return Err(Fault::Header("parent").into());
    }
    let slot = Slot {
        view: header.view,
        proposer: header.proposer,
        time_ms: header.time_ms,
    };
    let executed = execute(founding, view, parent, slot, body)?;
    match first_difference(&executed.header, header) {
        None => Ok(executed),
        Some(field) => Err(Fault::Header(field).into()),
    }
}

/// Name of the first field in which two headers differ.
fn first_difference(right: &Header, given: &Header) -> Option<&'static str> {
    // All fields by name, so that a new one cannot be forgotten here.
    let Header {
        version,
        chain,
        epoch,
        view,
        height,
        parent,
        proposer,
        time_ms,
        body_len,
        body_root,
        log_size,
        log_root,
        status_root,
        flags,
        validator_set,
        next_set,
    } = given;
    let fields = [
        ("version", *version == right.version),
        ("chain", *chain == right.chain),
        ("epoch", *epoch == right.epoch),
        ("view", *view == right.view),
        ("height", *height == right.height),
        ("parent", *parent == right.parent),
        ("proposer", *proposer == right.proposer),
        ("time_ms", *time_ms == right.time_ms),
        ("body_len", *body_len == right.body_len),
        ("body_root", *body_root == right.body_root),
        ("flags", *flags == right.flags),
        ("validator_set", *validator_set == right.validator_set),
        ("next_set", *next_set == right.next_set),
        ("status_root", *status_root == right.status_root),
        ("log_size", *log_size == right.log_size),
        ("log_root", *log_root == right.log_root),
    ];
    let differing = fields.iter().find(|(_, equal)| !equal);
    differing.map(|(name, _)| *name)
}

/// Builds a block from pending items, oldest first; evidence has priority, and stands last in the body.
///
/// Closes the block at the parameters' target; a single larger submission gets a block of its own.
///
/// # Errors
/// [`StateUnavailable`]; a refused item is reported, never an error.
pub fn build<V: StateView + ?Sized>(
    founding: &Founding,
    view: &V,
    parent: &Tip,
    slot: Slot,
    pending: &[CheckedItem],
) -> Result<Built, StateUnavailable> {
    let mut assembly = Assembly::new(founding, view, parent, slot.time_ms);
    let mut refused = Vec::new();
    let is_evidence = |item: &&CheckedItem| matches!(item, CheckedItem::Evidence(_));
    let evidence = pending.iter().filter(is_evidence);
    let evidence: Vec<_> = evidence.take(MAX_EVIDENCE_PER_BLOCK).collect();
    let params = founding.params();
    let target = usize::try_from(params.block_target).unwrap_or(usize::MAX);
    let hard = usize::try_from(params.block_hard).unwrap_or(usize::MAX);
    let mut length: usize = evidence.iter().map(|item| item.body_len()).sum();
    let mut items = Vec::new();
    for item in pending.iter().filter(|item| !is_evidence(item)) {
        let longer = length.saturating_add(item.body_len());
        let limit = if items.is_empty() { hard } else { target };
        if longer > limit {
            break;
        }
        if take(&mut assembly, item, &mut refused)? {
            items.push(item.clone());
            length = longer;
        }
    }
    for item in evidence {
        if take(&mut assembly, item, &mut refused)? {
            items.push(item.clone());
        }
    }
    if items.is_empty() && !anchor_due(founding, parent, slot.time_ms) {
        let block = None;
        return Ok(Built { block, refused });
    }
    let body = CheckedBody::assemble(items)
        .expect("items of at least 200 bytes each, 4 MiB together, are below 65,536");
    let executed = assembly.finish(slot, body.len(), body.root());
    Ok(Built {
        block: Some((executed, body.to_body())),
        refused,
    })
}

fn take<V: StateView + ?Sized>(
    assembly: &mut Assembly<'_, V>,
    item: &CheckedItem,
    refused: &mut Vec<(ItemId, Refused)>,
) -> Result<bool, StateUnavailable> {
    match assembly.add(item) {
        Ok(()) => Ok(true),
        Err(ItemError::Unavailable(error)) => Err(error),
        Err(ItemError::Refused(why)) => {
            refused.push((item.id(), why));
            Ok(false)
        }
    }
}

/// A block being put together: its effects and leaves so far.
struct Assembly<'a, V: ?Sized> {
    founding: &'a Founding,
    view: &'a V,
    parent: &'a Tip,
    time_ms: TimeMs,
    effects: Effects,
    leaves: Vec<Leaf>,
}

impl<'a, V: StateView + ?Sized> Assembly<'a, V> {
    const fn new(founding: &'a Founding, view: &'a V, parent: &'a Tip, time_ms: TimeMs) -> Self {
        Self {
            founding,
            view,
            parent,
            time_ms,
            effects: Effects::empty(),
            leaves: Vec::new(),
        }
    }

    fn block_start(&self) -> LeafIndex {
        LeafIndex(self.parent.log.size())
    }

    fn next_index(&self) -> LeafIndex {
        let count = u64::try_from(self.leaves.len()).unwrap_or(u64::MAX);
        self.block_start().saturating_add(count)
    }

    /// Adds one item whole, or nothing of it.
    fn add(&mut self, item: &CheckedItem) -> Result<(), ItemError> {
        match item {
            CheckedItem::Submission(submission) => self.add_submission(submission),
            CheckedItem::Evidence(evidence) => {
                let (epoch, signer) = evidence.accused();
                let current = &self.parent.epoch;
                if current.back_to(epoch).is_none() {
                    let (found, expected) = (epoch, current.epoch);
                    return Err(Refusal::EvidenceEpoch { found, expected }.into());
                }
                let seen = Overlay::new(self.view).with(&self.effects);
                if seen.has_evidence(epoch, signer)? {
                    return Err(Refusal::EvidenceKnown { epoch, signer }.into());
                }
                self.effects.evidence.insert((epoch, signer));
                let leaf = LogLeaf::Evidence(EvidenceLeaf {
                    height: self.parent.height.saturating_add(1),
                    time_ms: self.time_ms,
                    evidence: *evidence.get(),
                });
                self.leaves.push(Leaf::new(leaf.encode()));
                Ok(())
            }
        }
    }

    fn add_submission(&mut self, submission: &CheckedSubmission) -> Result<(), ItemError> {
        let body = submission.body();
        let (hash, time, first) = (submission.hash(), self.time_ms, self.next_index());
        let below = Overlay::new(self.view).with(&self.effects);
        if time > body.not_after_ms {
            let not_after = body.not_after_ms;
            return Err(Refusal::Late { not_after, time }.into());
        }
        if let Some(earlier) = below.inclusion(&hash)? {
            return Err(Refusal::AlreadyIncluded(earlier.height).into());
        }
        if time < body.not_before_ms {
            let not_before = body.not_before_ms;
            return Err(Refusal::Early { not_before, time }.into());
        }
        let who = (body.authority, &body.key);
        let mut acting = Acting {
            authority: body.authority,
            key: body.key,
            capacity: rules::capacity(self.founding, &below, who, first, time)?,
            height: self.parent.height.saturating_add(1),
            time_ms: time,
            block_start: self.block_start(),
            index: first,
        };
        let mut effects = Effects::empty();
        let mut leaves = Vec::with_capacity(submission.records().len());
        for (at, record) in submission.records().iter().enumerate() {
            let view = below.clone().with(&effects);
            let change = rules::decide(self.founding, &view, &acting, record)
                .map_err(|error| ItemError::at_record(error, at))?;
            if let Some(document) = record.document() {
                effects.history.push((*document, acting.index));
            }
            effects.write(change);
            let signer = (body.authority, &body.key, &hash);
            leaves.push(Leaf::new(RecordLeaf::encode_parts(
                acting.height,
                time,
                signer,
                record,
            )));
            acting.index = acting.index.saturating_add(1);
        }
        let inclusion = Inclusion {
            height: acting.height,
            time_ms: time,
            first,
            count: body.count,
            not_after_ms: body.not_after_ms,
        };
        effects.submissions.insert(hash, inclusion);
        self.effects.absorb(effects);
        self.leaves.append(&mut leaves);
        Ok(())
    }

    /// Roots, trailer, header, tip.
    fn finish(self, slot: Slot, body_len: u32, body_root: Hash) -> Executed {
        let mut trie = self.parent.trie.clone();
        trie.extend(&self.effects.trie_entries());
        let mut header = self.header(slot, body_len, body_root);
        header.status_root = trie.root();
        let Self {
            founding,
            parent,
            effects,
            mut leaves,
            ..
        } = self;
        // The trailer says nothing of the log's size and root, which it is part of.
        leaves.push(Leaf::new(LogLeaf::Trailer(Trailer::of(&header)).encode()));
        let mut log = parent.log.clone();
        for leaf in &leaves {
            log.push(leaf.hash);
        }
        header.log_size = TreeSize(log.size());
        header.log_root = log.root();
        let block = header.block_ref();
        let epoch = if header.flags.is_seal() {
            let number = parent.epoch.epoch.saturating_add(1);
            let set = Arc::clone(&parent.epoch.set);
            let next = EpochInfo::new(founding.chain(), number, set, block);
            Arc::new(next.following(&parent.epoch, founding.params().evidence_age))
        } else {
            Arc::clone(&parent.epoch)
        };
        let tip = Tip {
            height: block.height,
            hash: block.hash,
            time_ms: slot.time_ms,
            epoch,
            log,
            trie,
        };
        Executed {
            header,
            leaves,
            effects,
            tip,
        }
    }

    /// The header but for what comes of the leaves and states.
    fn header(&self, slot: Slot, body_len: u32, body_root: Hash) -> Header {
        let (founding, parent) = (self.founding, self.parent);
        let epoch = &parent.epoch;
        let height = parent.height.saturating_add(1);
        let length = founding.params().epoch_length;
        let seals = length > 0 && height.0.saturating_sub(epoch.anchor.height.0) == length;
        let (mut flags, mut next_set) = (Flags::NONE, SetHash::default());
        if seals {
            flags = flags.with(Flags::SEAL);
            next_set = epoch.set_hash;
        }
        if anchor_due(founding, parent, slot.time_ms) {
            flags = flags.with(Flags::ANCHOR);
        }
        Header {
            version: HEADER_VERSION,
            chain: founding.chain(),
            epoch: epoch.epoch,
            view: slot.view,
            height,
            parent: parent.hash,
            proposer: slot.proposer,
            time_ms: slot.time_ms,
            body_len,
            body_root,
            log_size: TreeSize(0),
            log_root: Hash::ZERO,
            status_root: Hash::ZERO,
            flags,
            validator_set: epoch.set_hash,
            next_set,
        }
    }
}

impl Effects {
    fn write(&mut self, change: Change) {
        match change {
            Change::Registered {
                document,
                registration,
                published,
            } => {
                self.registrations.insert(document, registration);
                if let Some(sha256) = published {
                    self.published.insert((sha256, document));
                }
            }
            Change::Document(state) => {
                self.documents.insert(state.id, state);
            }
            Change::Key(key, state) => {
                self.keys.insert(key, state);
            }
        }
    }
}
