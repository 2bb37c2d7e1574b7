//! The engine: the protocol as a state machine, one epoch after the other.
//!
//! Rules are named as in `docs/protocol.md`: R0, R5 to R7 in `certify`, R1 in `propose`, R2 to R4 in `vote`, R8 and R9
//! in `retry`, R10 in `guard`.

mod admit;
mod assembly;
mod blocks;
mod catch_up;
mod certificates;
mod certify;
mod clock;
mod commit;
mod epochs;
mod fetch;
mod guard;
mod held;
mod inbox;
mod peers;
mod propose;
mod readiness;
mod recover;
mod rejoin;
mod retry;
mod run;
mod settle;
mod slots;
mod snapshot;
mod start_check;
mod status;
mod tally;
#[cfg(test)]
mod tests;
mod timers;
mod vote;
mod work;

use self::blocks::Blocks;
use self::guard::SafetyGuard;
pub use self::held::Held;
use self::peers::Peers;
use self::run::Run;
pub use self::status::{EngineStatus, Standing};
use crate::block::{Block, Tip};
use crate::config::Config;
use crate::epoch::{EpochSpec, Peer, Sealed};
use crate::event::Event;
use crate::items::Layout;
use crate::journal::{JournalState, Record};
use crate::message::Message;
use crate::outbox::Outbox;
use crate::output::{Alarm, Output};
use crate::time::{Mono, Now};
use crate::verify::{Admitted, Dropped, Signer, Verifier};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use ledger::certificate::{Certificate, CertificateError};
use ledger::evidence::Evidence;
use ledger::header::BlockRef;
use ledger::id::{Height, ValidatorIndex, View};

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
    /// The newest finalization in the archive; one of an earlier epoch counts for nothing.
    pub finalization: Option<Certificate>,
}

/// Everything that an engine is made from.
#[derive(Debug)]
pub struct Setup {
    /// Parameters.
    pub config: Config,
    /// How bodies are made of items.
    pub layout: Layout,
    /// The epoch that the archive's tip is of. If that tip is a SEAL block: the one that it opens, or, where its set is
    /// not known yet, the one that it ends ([`Output::Sealed`] follows on Start).
    pub epoch: EpochSpec,
    /// How the epoch before ended, for whoever is still in it; `None` in epoch 0.
    pub previous: Option<Sealed>,
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

/// The consensus of this node, through all epochs. See the crate's documentation for the contract.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent fact about the node's life, none a state of another"
)]
pub struct Engine {
    config: Config,
    layout: Layout,
    instance: u64,
    outbox: Outbox,
    guard: SafetyGuard,
    /// All that is of the current epoch alone.
    run: Run,
    blocks: Blocks,
    peers: Peers,
    /// The finalization of the SEAL block that ended the epoch before.
    previous: Option<Certificate>,
    /// Records of later epochs: the archive lagged the journal when the process began.
    later: Vec<Record>,
    evidence: Vec<Evidence>,
    /// Number of the last quarantine; 0 if there was none.
    quarantines: u32,
    /// What the journal lacks.
    owed: Vec<Record>,
    started: bool,
    stopping: bool,
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
            Event::Message { from, message } => self.take_in(now, from, message),
            Event::BlockValidated { block, verdict } => self.block_validated(block, verdict),
            Event::Gathered { block, items } => self.gathered(now, block, items),
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
            Event::PeerUp { peer } => self.peer_up(now, peer),
            Event::PeerDown { peer } => {
                self.peers.down(&peer);
                self.run.catch_up.forget(&peer);
            }
            Event::RoundTrip { peer, rtt_ms } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.rtt_ms = Some(rtt_ms);
                }
            }
            Event::NextSet { block, set } => self.next_set(block, &set),
            Event::EpochOpened(spec) => self.epoch_opened(now, *spec),
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
        self.run.certificates.finalized().height.max(committed)
    }
}
