//! Replays a chain from its genesis: blocks in; state, root and first fault out.
//!
//! The tests' oracle and the core of an audit. It believes nothing: it verifies header links, leaders,
//! every signature, the rules, every root, and a finalization for each block or a descendant of it.
//! It knows no index and no engine: its state is ordered maps, and at the end it computes the status
//! root once more from those alone.

use crate::admission::CheckedItem;
use crate::block::{BadDelivery, Block, CheckedBody, ReceiveError};
use crate::certificate::{Certificate, CertificateError};
use crate::codec::DecodeError;
use crate::evidence::Evidence;
use crate::execute::{self, BlockError, Executed, Fault};
use crate::frame::Payload;
use crate::genesis::{Genesis, GenesisError};
use crate::hash::{Hash, Tag, sha256};
use crate::header::{BlockRef, Header};
use crate::id::{AuthorityId, Height, TreeSize, ValidatorIndex, View};
use crate::restart::{Restart, RestartError, RestartFile};
use crate::tip::{EpochInfo, Founding, Tip};
use crate::trie::Trie;
use crate::view::{MemoryState, StateUnavailable};
use crate::vote::VoteKind;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The first thing that is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {height}: {kind}")]
pub struct ReplayFault {
    /// Height of the block at which it shows.
    pub height: Height,
    /// What is wrong.
    #[source]
    pub kind: FaultKind,
}

/// What can be wrong with a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// The bytes are no block.
    #[error("bytes are not canonical: {0}")]
    Decode(#[from] DecodeError),
    /// It was built for another height.
    #[error("header is of height {0}")]
    Height(Height),
    /// The body is not the header's.
    #[error("body does not belong to the header: {0}")]
    Body(#[from] BadDelivery),
    /// It breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Fault),
    /// The view is not above its parent's of the same epoch.
    #[error("view {view} is not above its parent's {parent}")]
    View {
        /// The block's view.
        view: View,
        /// The parent's view; 0 for the anchor.
        parent: View,
    },
    /// Somebody else was the leader.
    #[error("proposed by validator #{found}, leader of view {view} is #{leader}")]
    Leader {
        /// The header's proposer.
        found: ValidatorIndex,
        /// The block's view.
        view: View,
        /// Whose turn it was.
        leader: ValidatorIndex,
    },
    /// The certificate is not a finalization of this block.
    #[error("certificate is not a finalization of this block")]
    NotItsFinalization,
    /// The certificate does not verify.
    #[error("finalization: {0}")]
    Certificate(#[from] CertificateError),
    /// Neither this block nor a descendant is finalized.
    #[error("no finalization of this block or a descendant")]
    NotFinal,
    /// A restart went on from a later block.
    #[error("the chain ends here, and a restart file beside it goes on from block {anchor}")]
    EndsBelow {
        /// Height of the restart's anchor.
        anchor: Height,
    },
    /// The states at hand do not give the chain's status root: a fault of this program.
    #[error("states give status root {found}, the chain says {expected}")]
    StatusRoot {
        /// Root over the states at hand.
        found: Hash,
        /// Root of the last header.
        expected: Hash,
    },
    /// The restart file that is to go on from this block does not count.
    #[error("restart file: {0}")]
    Restart(#[from] RestartError),
    /// The restart file goes on from another block, or from an epoch that this chain never had.
    #[error("restart file is about block {found} of another history")]
    OtherHistory {
        /// Its anchor's height.
        found: Height,
    },
    /// The state could not be read; does not happen with states in memory.
    #[error(transparent)]
    Unavailable(#[from] StateUnavailable),
}

impl From<ReceiveError> for FaultKind {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::BadDelivery(error) => error.into(),
            ReceiveError::Invalid(error) => error.into(),
        }
    }
}

impl From<BlockError> for FaultKind {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::Invalid(error) => error.into(),
            BlockError::Unavailable(error) => error.into(),
        }
    }
}

/// Evidence on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The block that records it.
    pub height: Height,
    /// Whose validator contradicted itself.
    pub authority: AuthorityId,
    /// The two votes.
    pub evidence: Evidence,
}

/// A replay under way: everything up to its tip was found right, but for the finality of its newest blocks.
#[derive(Clone, Debug)]
pub struct Replay {
    founding: Founding,
    tip: Tip,
    /// The epoch in which the tip was decided.
    deciding: Arc<EpochInfo>,
    /// Restart files that were given and not reached, by the height of their anchor; of one anchor, in the order of
    /// the epochs that they open, each of which builds on the one before.
    restarts: BTreeMap<Height, Vec<Restart>>,
    state: MemoryState,
    leaders: Vec<ValidatorIndex>,
    /// View of the tip's header; 0 for an anchor.
    view: View,
    /// The newest block that is certified by itself.
    certified: Height,
    records: u64,
    evidence: Vec<Recorded>,
}

/// Where a replay ended.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The last block that was found right.
    pub tip: Tip,
    /// The state after it.
    pub state: MemoryState,
    /// The newest height that is final: certified, or below a certified one.
    pub certified: Height,
    /// Records in all blocks.
    pub records: u64,
    /// Evidence in all blocks, in order.
    pub evidence: Vec<Recorded>,
    /// What is wrong with the next block, or with the end of the chain.
    pub fault: Option<ReplayFault>,
}

/// Replays frames in order from the first block on, up to the first fault.
///
/// # Errors
/// [`GenesisError`] if there is nothing to start from; faults of blocks are in the result.
pub fn replay<R: rand_core::CryptoRng>(
    genesis: Genesis,
    frames: impl IntoIterator<Item = Payload>,
    rng: &mut R,
) -> Result<Replayed, GenesisError> {
    let mut replay = Replay::new(genesis)?;
    for frame in frames {
        if let Err(fault) = replay.push(&frame, rng) {
            return Ok(replay.end(Some(fault)));
        }
    }
    Ok(replay.finish())
}

impl Replay {
    /// Starts at the genesis.
    ///
    /// # Errors
    /// [`GenesisError`].
    pub fn new(genesis: Genesis) -> Result<Self, GenesisError> {
        let founding = Founding::new(genesis)?;
        let tip = founding.tip();
        let mut state = MemoryState::new();
        state.apply(founding.effects(), tip.time_ms);
        Ok(Self {
            leaders: leaders(&tip.epoch),
            certified: tip.height,
            deciding: Arc::clone(&tip.epoch),
            restarts: BTreeMap::new(),
            founding,
            tip,
            state,
            view: View(0),
            records: 0,
            evidence: Vec::new(),
        })
    }

    /// The last block that was found right.
    pub const fn tip(&self) -> &Tip {
        &self.tip
    }

    /// The state after it.
    pub const fn state(&self) -> &MemoryState {
        &self.state
    }

    /// Records in all blocks.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Evidence in all blocks, in order.
    pub fn evidence(&self) -> &[Recorded] {
        &self.evidence
    }

    /// The next block. After a fault nothing has changed.
    ///
    /// `rng` draws what batch verification of signatures needs; it does not influence the result.
    ///
    /// # Errors
    /// [`ReplayFault`].
    pub fn push<R: rand_core::CryptoRng>(
        &mut self,
        frame: &Payload,
        rng: &mut R,
    ) -> Result<(), ReplayFault> {
        let height = self.tip.height.saturating_add(1);
        let fault = |kind| ReplayFault { height, kind };
        let block = Block::decode(&frame.block).map_err(|error| fault(error.into()))?;
        let (executed, accusations) = self.check(&block, height, rng).map_err(fault)?;
        let header = &executed.header;
        let opened = self.opened_by(&executed.tip).map_err(fault)?;
        let finalization = frame.finalization.as_ref();
        if let Some(certificate) = finalization {
            check_finalization(&self.tip.epoch, header, certificate).map_err(fault)?;
            self.certified = height;
        } else if header.flags.is_seal() && opened.is_none() {
            // The next epoch hangs on this very block: no descendant can vouch for it.
            return Err(fault(FaultKind::NotFinal));
        }
        self.adopt(executed, accusations);
        if let Some(epoch) = opened {
            self.restarts.remove(&height);
            self.open(epoch);
        }
        Ok(())
    }

    /// The epoch that the files opened on this block, which is decided in the tip's epoch; the last one of several.
    fn opened_by(&self, tip: &Tip) -> Result<Option<Arc<EpochInfo>>, FaultKind> {
        let mut opened: Option<Arc<EpochInfo>> = None;
        for restart in self.restarts.get(&tip.height).into_iter().flatten() {
            let epoch = match &opened {
                // Behind a restart, only what continues that one counts.
                Some(epoch) => open(restart, tip.block_ref(), (epoch, epoch)),
                None => open(restart, tip.block_ref(), (&self.tip.epoch, &tip.epoch)),
            };
            opened = Some(epoch?);
        }
        Ok(opened)
    }

    /// Tells the replay of a restart file: its anchor is final by it, and another epoch follows. After a fault nothing
    /// has changed. Each file comes before the block that follows its anchor; those of one anchor may come in any order
    /// until it is the tip.
    ///
    /// # Errors
    /// [`ReplayFault`] if the file does not count, or does not fit the tip if that is its anchor.
    pub fn go_on_by(&mut self, file: &RestartFile) -> Result<(), ReplayFault> {
        let fault = |height, kind| ReplayFault { height, kind };
        let founding = &self.founding;
        let restart = file
            .check(founding.chain(), |authority| founding.admin(authority))
            .map_err(|error| fault(self.tip.height, error.into()))?;
        let height = restart.anchor().height;
        if height > self.tip.height {
            let here = self.restarts.entry(height).or_default();
            here.push(restart);
            here.sort_by_key(|restart| restart.epoch().epoch);
            return Ok(());
        }
        let epochs = (&*self.deciding, &*self.tip.epoch);
        let opened = open(&restart, self.tip.block_ref(), epochs);
        let opened = opened.map_err(|kind| fault(height, kind))?;
        self.open(opened);
        Ok(())
    }

    fn open(&mut self, epoch: Arc<EpochInfo>) {
        self.certified = self.tip.height;
        self.leaders = leaders(&epoch);
        self.view = View(0);
        // Another file about the epochs before would be a second history.
        self.deciding = Arc::clone(&epoch);
        self.tip.epoch = epoch;
    }

    /// Whether a restart file names the block of this height, which was not reached yet: it makes that one final.
    pub fn awaits(&self, height: Height) -> bool {
        self.restarts.contains_key(&height)
    }

    /// No block comes any more: the newest must be final and not below a restart that is known of, and the states must
    /// give the root.
    pub fn finish(self) -> Replayed {
        let fault = self.fault_at_end();
        self.end(fault)
    }

    /// What would be wrong if no block came any more.
    pub fn fault_at_end(&self) -> Option<ReplayFault> {
        let height = self.tip.height;
        let kind = if self.certified < height {
            Some(FaultKind::NotFinal)
        } else if let Some((anchor, _)) = self.restarts.last_key_value() {
            Some(FaultKind::EndsBelow { anchor: *anchor })
        } else {
            self.check_states()
        };
        kind.map(|kind| ReplayFault { height, kind })
    }

    fn end(self, fault: Option<ReplayFault>) -> Replayed {
        let Self {
            tip,
            state,
            certified,
            records,
            evidence,
            ..
        } = self;
        Replayed {
            tip,
            state,
            certified,
            records,
            evidence,
            fault,
        }
    }

    fn check<R: rand_core::CryptoRng>(
        &self,
        block: &Block,
        height: Height,
        rng: &mut R,
    ) -> Result<(Executed, Vec<Recorded>), FaultKind> {
        let Block { header, body } = block;
        if header.height != height {
            return Err(FaultKind::Height(header.height));
        }
        let (view, parent) = (header.view, self.view);
        if view <= parent {
            return Err(FaultKind::View { view, parent });
        }
        let leader = leader(&self.leaders, view);
        if header.proposer != leader {
            let found = header.proposer;
            return Err(FaultKind::Leader {
                found,
                view,
                leader,
            });
        }
        let Self {
            founding,
            tip,
            state,
            ..
        } = self;
        let unknown = |_: &_| None;
        let body = CheckedBody::receive(founding, &tip.epoch, header, body, unknown, rng)?;
        let executed = execute::check_block(founding, state, tip, header, &body)?;
        let accusations = body.items().iter().filter_map(|item| match item {
            CheckedItem::Submission(_) => None,
            CheckedItem::Evidence(evidence) => {
                let (epoch, signer) = evidence.accused();
                let member = tip.epoch.back_to(epoch)?.set.get(signer)?;
                Some(Recorded {
                    height,
                    authority: member.id.clone(),
                    evidence: *evidence.get(),
                })
            }
        });
        let accusations = accusations.collect();
        Ok((executed, accusations))
    }

    fn adopt(&mut self, executed: Executed, mut accusations: Vec<Recorded>) {
        let Executed {
            header,
            effects,
            tip,
            ..
        } = executed;
        let included = effects.submissions.values();
        let records: u64 = included.map(|inclusion| u64::from(inclusion.count)).sum();
        self.records = self.records.saturating_add(records);
        self.evidence.append(&mut accusations);
        self.state.apply(effects, header.time_ms);
        self.view = header.view;
        self.deciding = Arc::clone(&self.tip.epoch);
        if tip.opens_epoch() {
            self.leaders = leaders(&tip.epoch);
            self.view = View(0);
        }
        self.tip = tip;
    }

    /// The status root once more, from the states alone and all at once.
    fn check_states(&self) -> Option<FaultKind> {
        let mut trie = Trie::new();
        trie.extend(&self.state.trie_entries());
        let (found, expected) = (trie.root(), self.tip.trie.root());
        (found != expected).then_some(FaultKind::StatusRoot { found, expected })
    }
}

impl Replayed {
    /// Leaves of the log.
    pub const fn log_size(&self) -> TreeSize {
        self.tip.log_size()
    }

    /// Root of the log.
    pub fn log_root(&self) -> Hash {
        self.tip.log.root()
    }

    /// Root of the status map.
    pub fn status_root(&self) -> Hash {
        self.tip.trie.root()
    }
}

/// The epoch that a restart file opens on this block, which was decided in one epoch and would be followed by another.
fn open(
    restart: &Restart,
    block: BlockRef,
    (deciding, next): (&EpochInfo, &EpochInfo),
) -> Result<Arc<EpochInfo>, FaultKind> {
    if restart.anchor() != block || !restart.continues(deciding, next) {
        let found = restart.anchor().height;
        return Err(FaultKind::OtherHistory { found });
    }
    Ok(Arc::clone(restart.epoch()))
}

/// Checks that a certificate finalizes this very block, in its own epoch.
fn check_finalization(
    epoch: &EpochInfo,
    header: &Header,
    certificate: &Certificate,
) -> Result<(), FaultKind> {
    let block: BlockRef = header.block_ref();
    let its_own = certificate.kind() == VoteKind::Finalize && certificate.block() == block;
    if !its_own || certificate.view() < header.view {
        return Err(FaultKind::NotItsFinalization);
    }
    let certificate = certificate.clone();
    certificate.verify(epoch.epoch, &epoch.set, &epoch.context)?;
    Ok(())
}

/// The leaders of an epoch, view 1 first: Fisher-Yates from the epoch's context (consensus.md, 3.5).
///
/// Written apart from the engine's own, which it thereby checks.
fn leaders(epoch: &EpochInfo) -> Vec<ValidatorIndex> {
    let seed = Tag::Leaders.hash(&[epoch.context.as_bytes()]);
    let mut order: Vec<ValidatorIndex> = epoch.set.indices().collect();
    for i in (1..epoch.set.n()).rev() {
        let count = u32::try_from(i).unwrap_or(u32::MAX);
        let drawn = sha256(&[seed.as_bytes(), &count.to_le_bytes()]);
        let first = drawn.as_bytes().first_chunk::<8>().copied();
        let number = u64::from_le_bytes(first.unwrap_or_default());
        let span = u64::from(count).saturating_add(1);
        let j = number.checked_rem(span).unwrap_or(0);
        order.swap(i, usize::try_from(j).unwrap_or(0));
    }
    order
}

fn leader(leaders: &[ValidatorIndex], view: View) -> ValidatorIndex {
    let turn = usize::try_from(view.0.saturating_sub(1)).unwrap_or(usize::MAX);
    let at = turn.checked_rem(leaders.len()).unwrap_or(0);
    leaders.get(at).copied().unwrap_or_default()
}
