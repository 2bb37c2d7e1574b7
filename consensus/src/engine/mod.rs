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
mod peers;
mod propose;
mod recover;
mod retry;
mod slots;
mod start_check;
mod tally;
#[cfg(test)]
mod tests;
mod timers;
mod vote;
mod work;

use self::admit::BODIES_AHEAD;
use self::blocks::{Blocks, State};
use self::catch_up::CatchUp;
use self::certificates::Certificates;
use self::commit::FinalChain;
use self::fetch::Fetches;
use self::guard::{Bar, SafetyGuard};
use self::peers::Peers;
use self::propose::Building;
use self::slots::{Slot, Slots};
use self::start_check::StartCheck;
use self::tally::Tally;
use self::work::{Current, Work};
use crate::block::{Block, Tip};
use crate::config::Config;
use crate::epoch::{EpochInfo, EpochSpec, Peer};
use crate::event::{Event, Verdict};
use crate::journal::{JournalState, Record};
use crate::message::Message;
use crate::outbox::Outbox;
use crate::output::{Alarm, Output};
use crate::time::{Mono, Now};
use crate::verify::{Admitted, Dropped, Signer, Verified, Verifier};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use ledger::certificate::{Certificate, CertificateError};
use ledger::evidence::Evidence;
use ledger::hash::BlockHash;
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height, ValidatorIndex, View};
use ledger::vote::{Vote, VoteKind};

/// Rules are applied so many times per event at most. Each round does something that is done once per view or block,
/// so this is never reached; it only bounds the time of one event.
const MAX_ROUNDS: usize = 10_000;

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
    has_epoch_record: bool,
    is_quarantine_recorded: bool,
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
            Event::BlockValidated { block, verdict } => self.block_validated(now, block, verdict),
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

    fn start(&mut self, now: Now) {
        self.started = true;
        self.peers.start(now.mono);
        self.current.last_retry = now.mono;
        if !self.has_epoch_record {
            self.outbox.persist(Record::EpochStart {
                epoch: self.epoch.epoch(),
                set: self.epoch.set_hash(),
                anchor: self.epoch.anchor().block.hash,
                restart: self.epoch.restart(),
            });
            self.has_epoch_record = true;
        }
        if self.guard.is_barred(Bar::Quarantine) {
            if !self.is_quarantine_recorded {
                let epoch = self.epoch.epoch();
                self.outbox.persist(Record::Quarantine { epoch });
            }
            self.outbox.now(Output::Alarm(Alarm::Quarantine));
        }
        if self.sealed {
            self.guard.bar(Bar::Halted);
            let tip = self.blocks.committed().block;
            self.outbox.after_durable(Output::Sealed(tip));
        }
        // Own votes go through the same tally as all others (3.11): without them, certificates may never form.
        let own: Vec<_> = self
            .guard
            .newest_first()
            .flat_map(|(_, votes)| votes.all())
            .collect();
        for vote in own {
            self.count(now, vote);
        }
        self.status_due = true;
        self.resend_votes();
        self.resend_proposal();
        self.begin_start_check(now);
    }

    fn take_in(&mut self, now: Now, from: &Peer, message: Verified) {
        let Some(from) = self.epoch.index_of(from) else {
            return;
        };
        match message {
            Verified::Hello(hello) => self.hello_came(now, from, hello),
            Verified::Seen {
                nonce,
                votes,
                other_instance,
            } => self.seen_came(now, from, nonce, &votes, other_instance),
            Verified::Proposal {
                parent_view,
                block,
                vote,
                justification,
            } => {
                self.peers.seen_in(from, vote.view);
                for certificate in justification {
                    self.accept(now, certificate);
                }
                self.proposal_came(now, parent_view, block, vote);
            }
            Verified::Vote(vote) => {
                self.peers.seen_in(vote.signer, vote.view);
                self.count(now, vote);
            }
            Verified::Lagging => self.help(now.mono, from),
            Verified::Certificates(certificates) => {
                self.certificates_came(from);
                for certificate in certificates {
                    self.peers
                        .seen_in(from, certificate.view().saturating_add(1));
                    self.accept(now, certificate);
                }
            }
            Verified::Status(status) => self.heartbeat_came(now, from, status),
            Verified::Fetch(block) => self.serve_block(from, block),
            Verified::Block(block) => self.fetched(now, block),
            Verified::CertReq(request) => self.serve_certificates(from, &request),
            Verified::SyncReq(request) => self.serve_sync(from, request),
            Verified::Sync(sync) => self.synced(now, from, sync),
        }
    }

    /// A proposal of its leader's; what it brings besides was taken in before.
    fn proposal_came(&mut self, now: Now, parent_view: View, block: Block, vote: Vote) {
        let view = vote.view;
        if view <= self.certificates.finalized_view() {
            return;
        }
        let named = vote.block;
        let is_near = view <= self.current.view.saturating_add(BODIES_AHEAD);
        let is_held = view.saturating_add(1) >= self.current.view;
        if is_held && self.slots.get(view).is_none() {
            let slot = Slot {
                block: named,
                header: block.header.clone(),
                parent_view,
                vote,
                refused: false,
            };
            self.slots.fill(view, slot);
        }
        let slot = self.slots.get(view);
        let is_slot = slot.is_some_and(|slot| slot.block == named);
        if (is_slot && is_near) || self.fetches.wants(&named.hash) {
            self.hold(now, block);
        }
        self.count(now, vote);
    }

    fn block_validated(&mut self, now: Now, hash: BlockHash, verdict: Verdict) {
        if self.blocks.state(&hash) != Some(State::Checking) {
            return;
        }
        match verdict {
            Verdict::Valid => self.blocks.mark(&hash, State::Valid),
            Verdict::Invalid => self.blocks.mark(&hash, State::Invalid),
            Verdict::BadDelivery => {
                // The block is not to blame: it is fetched from somebody else.
                self.blocks.remove(&hash);
                self.fetch_missing(now);
            }
        }
    }

    const fn work_changed_build(build: Option<Building>) -> Option<Building> {
        match build {
            Some(build) if build.empty => None,
            Some(_) | None => build,
        }
    }

    fn work_changed(&mut self, head: BlockHash, includable: u32) {
        if self.work.head.is_some_and(|known| known.hash == head) {
            self.work.answered = true;
            self.work.includable = includable;
            self.build = Self::work_changed_build(self.build);
        }
    }

    fn peer_up(&mut self, now: Now, peer: &Peer) {
        let Some(index) = self.epoch.index_of(peer) else {
            return;
        };
        self.peers.up(index, now.mono);
        let status = self.own_status(now);
        self.send(index, Message::Status(status));
        self.greet_one(index);
    }

    /// Applies all rules until none has anything left to do. Every rule looks at the state, not at the event that
    /// led there: what was missing may come in any order, and nothing is forgotten.
    fn settle(&mut self, now: Now) {
        for _ in 0..MAX_ROUNDS {
            self.link_final_chain();
            let mut moved = self.commit();
            moved |= self.check_blocks();
            self.update_head();
            self.update_arming(now);
            moved |= self.finalize_notarized(now);
            moved |= self.notarize(now);
            moved |= self.nullify(now);
            moved |= self.propose(now);
            if !moved {
                break;
            }
        }
        self.fetch_missing(now);
        self.request_certificates(now);
        self.request_blocks(now);
        self.spread(now.mono);
        self.retry(now);
        self.heartbeat(now);
        self.greet(now);
        self.watch_clock(now);
        self.set_timer(now);
    }

    /// 3.4, steps 1 and 3: headers here, bodies by the caller.
    fn check_blocks(&mut self) -> bool {
        let mut moved = false;
        for hash in self.blocks.checkable() {
            let Some(block) = self.blocks.get(&hash).map(|entry| entry.block.clone()) else {
                continue;
            };
            let Some(parent) = self.blocks.tip(&block.header.parent) else {
                continue;
            };
            moved = true;
            let rules = self.config.rules();
            if blocks::header_fits(rules, &self.epoch, &parent, &block.header) {
                self.blocks.mark(&hash, State::Checking);
                self.outbox.now(Output::Validate { hash, block });
            } else {
                self.blocks.mark(&hash, State::Invalid);
            }
        }
        moved
    }

    fn needed_records(&self) -> Vec<Record> {
        let epoch = self.epoch.epoch();
        let mut records = alloc::vec![Record::EpochStart {
            epoch,
            set: self.epoch.set_hash(),
            anchor: self.epoch.anchor().block.hash,
            restart: self.epoch.restart(),
        }];
        if self.guard.is_barred(Bar::Quarantine) {
            records.push(Record::Quarantine { epoch });
        }
        if self.guard.is_barred(Bar::Stopped) {
            records.push(Record::Stopped { epoch });
        }
        if self.guard.floor() > View(0) {
            let view = self.guard.floor();
            records.push(Record::Floor { epoch, view });
        }
        if let Some(finalization) = self.certificates.finalization() {
            let (view, block) = (finalization.view(), finalization.block());
            records.push(Record::FinTip { epoch, view, block });
            records.push(Record::Certificate(finalization.get().clone()));
        }
        let certificates = self.certificates.newest_first().cloned();
        records.extend(certificates.map(Record::Certificate));
        let committed = self.blocks.committed().block.height;
        let blocks = self.blocks.iter().map(|(_, entry)| entry);
        let blocks =
            blocks.filter(|entry| entry.journalled && entry.block.header.height > committed);
        records.extend(blocks.map(|entry| Record::Block(entry.block.clone())));
        for (_, votes) in self.guard.newest_first() {
            records.extend(votes.all().map(|vote| {
                Record::OwnVote {
                    vote,
                    parent_view: votes
                        .parent_view
                        .filter(|_| vote.kind == VoteKind::Notarize),
                }
            }));
        }
        let evidence = self.evidence.iter().map(|evidence| {
            let (a, b) = evidence.votes();
            Record::Evidence { a: *a, b: *b }
        });
        records.extend(evidence);
        records
    }
}
