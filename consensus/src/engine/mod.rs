//! The engine: one epoch's protocol as a state machine.
//!
//! Rules are named as in `docs/protocol.md`: R0, R5 to R7 in `certify`, R1 in `propose`, R2 to R4 in `vote`, R8 and R9
//! in `retry`, R10 in `guard`.

mod admit;
mod blocks;
mod catch_up;
mod certificates;
mod certify;
mod clock;
mod commit;
mod fetch;
mod guard;
mod inbox;
mod peers;
mod propose;
mod recover;
mod retry;
mod settle;
mod slots;
mod snapshot;
mod start_check;
mod tally;
#[cfg(test)]
mod tests;
mod timers;
mod vote;
mod work;

use self::blocks::Blocks;
use self::catch_up::CatchUp;
use self::certificates::Certificates;
use self::commit::FinalChain;
use self::fetch::Fetches;
use self::guard::SafetyGuard;
use self::peers::Peers;
use self::propose::Building;
use self::slots::Slots;
use self::start_check::StartCheck;
use self::tally::Tally;
use self::work::{Current, Work};
use crate::block::{Block, Tip};
use crate::config::Config;
use crate::epoch::{EpochInfo, EpochSpec, Peer};
use crate::event::Event;
use crate::journal::{JournalState, Record};
use crate::message::Message;
use crate::outbox::Outbox;
use crate::output::{Alarm, Output};
use crate::time::{Mono, Now};
use crate::verify::{Admitted, Dropped, Signer, Verifier};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use ledger::certificate::{Certificate, CertificateError};
use ledger::evidence::Evidence;
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height, ValidatorIndex, View};

/// Who this node is.
pub struct Identity {
    /// The vote key; `None` for an observer. A key that is not in the set observes too.
    pub signer: Option<Box<dyn Signer>>,
    /// Random, drawn once per process.
    pub instance: u64,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.signer.as_ref().map(|signer| signer.key());
        f.debug_struct("Identity")
            .field("key", &key)
            .field("instance", &self.instance)
            .finish()
    }
}

/// The end of the block archive.
#[derive(Clone, Debug)]
pub struct Archived {
    /// The last archived block, or the epoch's anchor.
    pub tip: Tip,
    /// The newest finalization in the archive, if there is one of this epoch.
    pub finalization: Option<Certificate>,
}

/// Everything that an engine is made from.
#[derive(Debug)]
pub struct Setup {
    /// Parameters.
    pub config: Config,
    /// The epoch.
    pub epoch: EpochSpec,
    /// Who this node is.
    pub identity: Identity,
    /// What was found of the journal.
    pub journal: JournalState,
    /// All its records, in order.
    pub records: Vec<Record>,
    /// Where the archive ends.
    pub archived: Archived,
}

/// Disk contents that no run of this code leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// A certificate on disk does not verify.
    #[error("a certificate of view {view} in the journal or archive does not verify")]
    Certificate {
        /// Its view.
        view: View,
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// An own vote in the journal is of another validator.
    #[error("an own vote in the journal is signed by validator #{0}, who is not this node")]
    ForeignVote(ValidatorIndex),
}

/// Where an engine stands, for operators and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineStatus {
    /// Current epoch.
    pub epoch: Epoch,
    /// Current view.
    pub view: View,
    /// Highest view with a finalization.
    pub finalized_view: View,
    /// Committed tip.
    pub committed: BlockRef,
    /// Highest finalized height known, possibly above the committed one.
    pub finalized_height: Height,
    /// Whether it votes now.
    pub voting: bool,
}

/// The consensus of one epoch. See the crate's documentation for the contract.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent fact about the node's life, none a state of another"
)]
pub struct Engine {
    config: Config,
    epoch: Arc<EpochInfo>,
    instance: u64,
    outbox: Outbox,
    guard: SafetyGuard,
    tally: Tally,
    certificates: Certificates,
    slots: Slots,
    blocks: Blocks,
    final_chain: FinalChain,
    current: Current,
    work: Work,
    build: Option<Building>,
    peers: Peers,
    fetches: Fetches,
    catch_up: CatchUp,
    start_check: StartCheck,
    evidence: Vec<Evidence>,
    /// What the journal lacks.
    owed: Vec<Record>,
    started: bool,
    stopping: bool,
    sealed: bool,
    diverged: bool,
    clock_alarmed: bool,
    /// A Status goes out with this event.
    status_due: bool,
    last_status: Mono,
    /// The latest time that was given.
    latest: Mono,
    timer: Option<Mono>,
}

impl Engine {
    /// Makes an engine from what the disk holds. For a first start: no records, [`JournalState::Fresh`], and the
    /// epoch's anchor as archive tip. Certificates are verified again with `verifier`.
    ///
    /// # Errors
    /// [`RecoverError`]: the disk holds what no run of this code writes.
    pub fn recover(setup: Setup, verifier: &dyn Verifier) -> Result<Self, RecoverError> {
        Self::from_disk(setup, verifier)
    }

    /// Takes in one event. Drain afterwards.
    pub fn handle(&mut self, now: Now, event: Event) {
        let now = self.clamp(now);
        if self.started == matches!(event, Event::Start) {
            let what = "Start comes first, and once";
            self.outbox.now(Output::Alarm(Alarm::Contract(what)));
            return;
        }
        match event {
            Event::Start => self.start(now),
            Event::Message { from, message } => self.take_in(now, &from, message.0),
            Event::BlockValidated { block, verdict } => self.block_validated(block, verdict),
            Event::ProposalReady { view, block } => self.proposal_ready(now, view, block),
            Event::BuildEmpty { view } => self.build_empty(view),
            Event::WorkChanged { head, includable } => self.work_changed(head, includable),
            Event::Tick => self.timer = None,
            Event::Persisted { seq } => {
                if !self.outbox.persisted(seq) {
                    let what = "Persisted names a batch that was never issued";
                    self.outbox.now(Output::Alarm(Alarm::Contract(what)));
                }
            }
            Event::PeerUp { peer } => self.peer_up(now, &peer),
            Event::PeerDown { peer } => {
                if let Some(index) = self.epoch.index_of(&peer) {
                    self.peers.down(index);
                    self.catch_up.forget(index);
                }
            }
            Event::RoundTrip { peer, rtt_ms } => {
                let index = self.epoch.index_of(&peer);
                if let Some(peer) = index.and_then(|index| self.peers.get_mut(index)) {
                    peer.rtt_ms = Some(rtt_ms);
                }
            }
            Event::Stopping => self.stopping = true,
        }
        self.settle(now);
        self.outbox.close_batch();
    }

    /// The next thing to be done, in order; `None` when there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    /// The door before the signature check: cheap, and drops all that is not wanted now. Drain afterwards.
    ///
    /// # Errors
    /// [`Dropped`] says why; count it, nothing more.
    pub fn admit(&mut self, now: Now, from: Peer, message: Message) -> Result<Admitted, Dropped> {
        let now = self.clamp(now);
        self.admit_message(now, from, message)
    }

    /// Where the engine stands.
    pub fn status(&self) -> EngineStatus {
        EngineStatus {
            epoch: self.epoch.epoch(),
            view: self.current.view,
            finalized_view: self.certificates.finalized_view(),
            committed: self.blocks.committed().block,
            finalized_height: self.final_height(),
            voting: self.started && self.guard.may_vote(),
        }
    }

    /// An unfinalized or recently committed block that the engine holds.
    pub fn block(&self, block: &BlockRef) -> Option<&Block> {
        self.blocks.get(&block.hash).map(|entry| &entry.block)
    }

    /// The records that recovery still needs; `None` while something is under way. Precondition: all commits handed
    /// out are archived.
    pub fn snapshot(&self) -> Option<Vec<Record>> {
        (self.started && self.outbox.is_settled()).then(|| self.needed_records())
    }

    /// Time on the monotonic clock does not go back, whatever the caller says.
    fn clamp(&mut self, now: Now) -> Now {
        self.latest = self.latest.max(now.mono);
        Now {
            mono: self.latest,
            wall: now.wall,
        }
    }

    fn final_height(&self) -> Height {
        let committed = self.blocks.committed().block.height;
        self.certificates.finalized().height.max(committed)
    }
}
