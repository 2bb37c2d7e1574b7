//! The driver: the one task that owns the consensus engine, and carries out what it says, in order.
//!
//! Its contract is the consensus crate's. The loop does nothing that takes long: journal, archive, execution, index and
//! cosigner have a thread each, signatures are checked beside it. It holds nothing back: an output is carried out when
//! it comes; the engine itself keeps back what waits for the journal.

pub mod checks;
pub mod ingress;
pub mod journal;
pub mod serve;

use crate::archivist::{Commit, Place};
use crate::chain::{Chain, PeerStatus};
use crate::clock::Clock;
use crate::conduct;
use crate::epochs;
use crate::executor::{Request, Work};
use crate::exit;
use crate::mesh::Mesh;
use crate::network::Room;
use checks::{Passage, Refused, Same};
use consensus::message::Lane;
use consensus::{
    Alarm, Dropped, Engine, EngineStatus, EpochSpec, Event, Message, Output, Peer, Record, Seq,
};
use ingress::{Checked, Input};
use journal::{Deed, Done, Job};
use ledger::evidence::Evidence;
use ledger::id::{Height, ValidatorIndex};
use serve::Server;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The journal is pruned when it is so many times as long as it was after the last time.
const PRUNE_FACTOR: u64 = 2;

/// Why a message was dropped that the engine would have taken.
pub(crate) const TOO_FAST: &str = "faster than it is served";

/// What a driver is made from.
#[derive(Debug)]
pub struct Parts {
    /// The engine, recovered, not started.
    pub engine: Engine,
    /// The clock.
    pub clock: Clock,
    /// The chain.
    pub chain: Chain,
    /// This node's place in the validator set.
    pub me: ValidatorIndex,
    /// The network.
    pub mesh: Arc<dyn Mesh>,
    /// From the network.
    pub ingress: ingress::Port,
    /// To and from the journal.
    pub journal: journal::Port,
    /// To the executor.
    pub requests: mpsc::Sender<Request>,
    /// From the executor.
    pub answers: mpsc::Receiver<Event>,
    /// What is includable.
    pub work: watch::Receiver<Work>,
    /// To the archivist.
    pub commits: mpsc::Sender<Commit>,
    /// How far it is.
    pub archived: watch::Receiver<Height>,
    /// Bytes below which the journal is not pruned.
    pub prune_bytes: u64,
    /// Ends the driver.
    pub stop: CancellationToken,
}

/// The driver.
#[derive(Debug)]
pub struct Driver {
    parts: Parts,
    server: Server,
    /// Records that wait for the sync under way.
    buffer: Vec<Record>,
    newest: Seq,
    syncing: bool,
    journal_bytes: u64,
    pruned_bytes: u64,
    /// How long the journal was when it could not be pruned, which is tried again at [`PRUNE_FACTOR`] times that.
    unpruned_bytes: u64,
    timer: Option<Instant>,
    shown: Option<EngineStatus>,
    /// An epoch that the engine is to be told of, once its other outputs are carried out.
    opening: Option<Box<EpochSpec>>,
    /// Counts each peer's ups and downs: what an ended connection left in the signature check is dropped, so that
    /// the engine does not take a process that is gone for one that runs (consensus.md, 3.12).
    connections: BTreeMap<Peer, u64>,
}

/// The driver's parts did not keep the contract among each other: an own bug.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("block {0} is final, but its post-state is not held")]
    Unknown(ledger::hash::BlockHash),
    #[error("thread of the {0} ended by itself")]
    Ended(&'static str),
}

/// Something to be given to the engine, or the end.
#[derive(Debug)]
enum Next {
    Stop,
    Synced(Done),
    Answer(Event),
    Work(Work),
    Checked(Checked),
    Input(Input),
    Tick,
}

impl Driver {
    /// Puts it together; nothing happens yet.
    pub fn new(parts: Parts) -> Self {
        let server = Server::new(parts.chain.archive(), Arc::clone(&parts.mesh));
        let set = parts.chain.founding().set();
        let others = set.indices().filter(|index| *index != parts.me);
        let peers = others.filter_map(|validator| {
            Some(PeerStatus {
                validator,
                authority: set.get(validator)?.id.clone(),
                connected: false,
                height: None,
                epoch: None,
            })
        });
        let peers = peers.collect();
        parts.chain.update_status(|status| status.peers = peers);
        Self {
            server,
            buffer: Vec::new(),
            newest: Seq::default(),
            syncing: false,
            journal_bytes: 0,
            pruned_bytes: 0,
            unpruned_bytes: 0,
            timer: None,
            shown: None,
            opening: None,
            connections: BTreeMap::new(),
            parts,
        }
    }

    /// Works until it is told to stop, then until all that was to be written is written.
    pub async fn run(mut self) {
        self.give(Event::Start).await;
        let mut stopping = false;
        loop {
            self.sync();
            if stopping && !self.syncing {
                return;
            }
            match self.next(stopping).await {
                Next::Stop => {
                    stopping = true;
                    self.give(Event::Stopping).await;
                }
                Next::Synced(done) => self.synced(done).await,
                Next::Answer(event) => self.give(event).await,
                Next::Work(Work { head, includable }) => {
                    self.give(Event::WorkChanged { head, includable }).await;
                }
                Next::Checked(checked) => self.checked(checked).await,
                Next::Input(input) => self.input(input).await,
                Next::Tick => {
                    self.timer = None;
                    self.give(Event::Tick).await;
                }
            }
        }
    }

    /// What is most urgent; stopping, only the journal is.
    async fn next(&mut self, stopping: bool) -> Next {
        let far = Instant::now() + Duration::from_secs(3_600);
        let timer = tokio::time::sleep_until(self.timer.unwrap_or(far).into());
        let armed = self.timer.is_some();
        let parts = &mut self.parts;
        tokio::select! {
            biased;
            done = parts.journal.done.recv() => match done {
                Some(done) => Next::Synced(done),
                None => exit::abort(&Broken::Ended("journal")),
            },
            () = parts.stop.cancelled(), if !stopping => Next::Stop,
            () = timer, if armed && !stopping => Next::Tick,
            answer = parts.answers.recv(), if !stopping => match answer {
                Some(event) => Next::Answer(event),
                None => exit::abort(&Broken::Ended("executor")),
            },
            Ok(()) = parts.work.changed(), if !stopping => {
                Next::Work(*parts.work.borrow_and_update())
            }
            Some(checked) = parts.ingress.checked.recv(), if !stopping => Next::Checked(checked),
            Some(input) = parts.ingress.inputs.recv(), if !stopping => Next::Input(input),
        }
    }

    /// Gives the engine one event and carries out what comes of it.
    async fn give(&mut self, event: Event) {
        self.parts.engine.handle(self.parts.clock.now(), event);
        self.drain().await;
    }

    async fn checked(&mut self, checked: Checked) {
        let Checked { passage, result } = checked;
        let from = passage.from;
        let current = self.connection(&from);
        match result {
            Err(offence) => self.ban(&from, &offence),
            Ok(_) if passage.connection.is_some_and(|it| it != current) => {
                self.dropped(&from, "of an ended connection");
            }
            Ok(message) => self.give(Event::Message { from, message }).await,
        }
        self.parts.ingress.checks.done(&passage);
    }

    /// Number of a peer's current state: it changes when a connection begins or ends.
    fn connection(&self, peer: &Peer) -> u64 {
        self.connections.get(peer).copied().unwrap_or_default()
    }

    async fn input(&mut self, input: Input) {
        match input {
            Input::Up(peer) => {
                self.connected(&peer, true);
                self.give(Event::PeerUp { peer }).await;
            }
            Input::Down(peer) => {
                self.connected(&peer, false);
                self.give(Event::PeerDown { peer }).await;
            }
            Input::RoundTrip(peer, rtt_ms) => self.give(Event::RoundTrip { peer, rtt_ms }).await,
            Input::Decoded(from, message, room) => {
                self.parts.chain.conduct().received(&from, &message);
                if let Message::Status(status) = &*message {
                    let (height, epoch) = (status.finalized.height, status.epoch);
                    self.peer_status(&from, |peer| {
                        peer.height = Some(height);
                        peer.epoch = Some(epoch);
                    });
                }
                self.admit(from, *message, room).await;
            }
        }
    }

    /// The second door: then to the signature check, in the order of its lane.
    async fn admit(&mut self, from: Peer, message: Message, room: Room) {
        let lane = message.lane();
        let passage = Passage {
            from,
            connection: match lane {
                Lane::Votes => Some(self.connection(&from)),
                Lane::Bodies => None,
            },
            same: Same::of(&message),
            room,
        };
        let now = self.parts.clock.now();
        match self.parts.engine.admit(now, from, message) {
            Ok(admitted) => match self.parts.ingress.checks.offer(lane, passage, admitted) {
                Ok(()) => {}
                Err(Refused::UnderWay) => self.dropped(&from, conduct::reason(&Dropped::Known)),
                Err(Refused::Full) => {
                    self.parts.chain.counters().dropped_frames.increment();
                    self.parts.chain.conduct().dropped(&from, TOO_FAST);
                }
            },
            Err(dropped) => {
                self.dropped(&from, conduct::reason(&dropped));
                tracing::trace!(%dropped, "message dropped");
            }
        }
        self.drain().await;
    }

    fn dropped(&self, from: &Peer, why: &'static str) {
        self.parts.chain.counters().dropped_messages.increment();
        self.parts.chain.conduct().dropped(from, why);
    }

    fn connected(&mut self, peer: &Peer, connected: bool) {
        let connection = self.connections.entry(*peer).or_default();
        *connection = connection.saturating_add(1);
        self.peer_status(peer, |status| status.connected = connected);
    }

    fn peer_status(&self, peer: &Peer, change: impl FnOnce(&mut PeerStatus)) {
        let set = self.parts.chain.founding().set();
        let Some(index) = set.position(|member| member.network == peer.0) else {
            return;
        };
        self.parts.chain.update_status(|status| {
            let mut peers = status.peers.iter_mut();
            if let Some(peer) = peers.find(|peer| peer.validator == index) {
                change(peer);
            }
        });
    }
}

/// The journal.
impl Driver {
    /// Hands over what was collected, if no sync is under way; prunes when nothing is.
    fn sync(&mut self) {
        if self.syncing {
            return;
        }
        let job = if self.buffer.is_empty() {
            let Some(records) = self.snapshot() else {
                return;
            };
            tracing::debug!(
                records = records.len(),
                bytes = self.journal_bytes,
                "journal is pruned"
            );
            if self.parts.journal.durable.is_damaged() {
                tracing::warn!("the damaged journal is begun anew");
            }
            Job::Prune(records)
        } else {
            Job::Batch {
                seq: self.newest,
                records: std::mem::take(&mut self.buffer),
            }
        };
        self.syncing = true;
        if self.parts.journal.jobs.try_send(job).is_err() {
            exit::abort(&Broken::Ended("journal"));
        }
    }

    /// What the journal is to begin anew with, if it is long or damaged and all that was committed is archived.
    fn snapshot(&self) -> Option<Vec<Record>> {
        let limit = self
            .parts
            .prune_bytes
            .max(self.pruned_bytes.saturating_mul(PRUNE_FACTOR));
        let committed = self.parts.engine.status().committed.height;
        let damaged = self.parts.journal.durable.is_damaged();
        let again = self.unpruned_bytes.saturating_mul(PRUNE_FACTOR);
        let due = (damaged || self.journal_bytes >= limit) && self.journal_bytes >= again;
        if !due || *self.parts.archived.borrow() < committed {
            return None;
        }
        self.parts.engine.snapshot()
    }

    async fn synced(&mut self, done: Done) {
        self.syncing = false;
        self.journal_bytes = done.bytes;
        match done.deed {
            Deed::Synced(seq) => self.give(Event::Persisted { seq }).await,
            Deed::Pruned => {
                self.pruned_bytes = done.bytes;
                self.unpruned_bytes = 0;
            }
            Deed::NotPruned => self.unpruned_bytes = done.bytes,
        }
    }
}

/// The outputs.
impl Driver {
    async fn drain(&mut self) {
        loop {
            while let Some(output) = self.parts.engine.poll_output() {
                self.carry_out(output).await;
            }
            let Some(spec) = self.opening.take() else {
                break;
            };
            let now = self.parts.clock.now();
            self.parts.engine.handle(now, Event::EpochOpened(spec));
        }
        let status = self.parts.engine.status();
        if self.shown != Some(status) {
            if self
                .shown
                .is_none_or(|shown| shown.standing != status.standing)
            {
                tracing::info!(epoch = %status.epoch, standing = %status.standing, "this validator");
            }
            self.shown = Some(status);
            self.parts.chain.update_status(|shown| {
                shown.view = status.view;
                shown.epoch = status.epoch;
                shown.voting = status.is_voting();
                shown.floor = status.floor;
                shown.finalized = status.finalized_height;
                shown.standing = status.standing.to_string();
            });
        }
    }

    async fn carry_out(&mut self, output: Output) {
        match output {
            Output::Persist { seq, records } => {
                self.newest = seq;
                self.buffer.extend(records);
            }
            Output::Broadcast(message) => self.parts.mesh.broadcast(message.encode().into()),
            Output::Send { to, message } => self.parts.mesh.send(&to, message.encode().into()),
            Output::SetTimer { at } => self.timer = Some(self.parts.clock.instant(at)),
            Output::Head(block) => ask(&self.parts.requests, Request::Head(block.hash)).await,
            Output::Build(request) => {
                ask(&self.parts.requests, Request::Build(Box::new(request))).await;
            }
            Output::Validate { hash, block } => {
                let block = Box::new(block);
                ask(&self.parts.requests, Request::Validate { hash, block }).await;
            }
            Output::Gather { block, ids, bytes } => {
                ask(&self.parts.requests, Request::Gather { block, ids, bytes }).await;
            }
            Output::Commit(commit) => {
                let commit = self.with_posts(commit);
                // Full: the disk is behind, and everything waits for it.
                self.parts.commits.send(commit).await.ok();
            }
            Output::Forget(block) => self.parts.chain.states().forget(&block),
            Output::Serve { to, request } => self.server.serve(to, request),
            Output::Evidence { a, b } => {
                tracing::error!(
                    validator = %a.signer, view = %a.view, first = ?a.kind, second = ?b.kind,
                    "a validator signed two votes that exclude each other: that goes on the chain"
                );
                let text = format!(
                    "validator #{} signed conflicting votes in view {}",
                    a.signer, a.view
                );
                self.parts
                    .chain
                    .update_status(|status| status.alarm = Some(text));
                if let Some(evidence) = Evidence::new(a, b) {
                    let evidence = Box::new(evidence);
                    ask(&self.parts.requests, Request::Accuse(evidence)).await;
                }
            }
            Output::Alarm(alarm) => self.alarm(&alarm),
            Output::Ban { peer, offence } => self.ban(&peer, &offence),
            // Only a change of the set is parked, and this node makes none yet.
            Output::Park(_) => {}
            Output::Sealed(tip) => self.opening = Some(self.next_epoch(tip)),
        }
    }

    /// The epoch that a committed SEAL block opens: its post-state says whose.
    fn next_epoch(&self, tip: consensus::Tip) -> Box<EpochSpec> {
        let chain = &self.parts.chain;
        let Some(branch) = chain.states().branch(&tip.block.hash) else {
            exit::abort(&Broken::Unknown(tip.block.hash));
        };
        let epoch = &branch.tip().epoch;
        tracing::info!(epoch = %epoch.epoch, height = %tip.block.height, "an epoch begins");
        Box::new(epochs::spec(chain.founding(), epoch, tip))
    }

    fn with_posts(&self, commit: consensus::Commit) -> Commit {
        let states = self.parts.chain.states();
        let blocks = commit.blocks.into_iter().map(|block| {
            let hash = block.hash();
            match states.open(&hash) {
                Some(post) => (block, post),
                None => exit::abort(&Broken::Unknown(hash)),
            }
        });
        let blocks: Vec<_> = blocks.collect();
        let height = blocks.last().map(|(block, _)| block.header.height);
        let place = if height < Some(self.honest_height()) {
            Place::Behind
        } else {
            Place::Head
        };
        Commit {
            blocks,
            finalization: commit.finalization,
            place,
        }
    }

    /// A height that at least one honest node said it has: that of the f+1-th furthest.
    fn honest_height(&self) -> Height {
        let status = self.parts.chain.status();
        let peers = status.peers.iter().filter(|peer| peer.connected);
        let mut heights: Vec<Height> = peers.filter_map(|peer| peer.height).collect();
        heights.sort_unstable_by(|a, b| b.cmp(a));
        let f = self.parts.chain.founding().set().f();
        heights.get(f).copied().unwrap_or_default()
    }

    fn alarm(&self, alarm: &Alarm) {
        match alarm {
            Alarm::Clock(_) | Alarm::OtherInstance(_) | Alarm::Quarantine => {
                tracing::warn!("alarm: {alarm}");
            }
            Alarm::Divergence(_) | Alarm::Contract(_) => tracing::error!("alarm: {alarm}"),
        }
        let text = alarm.to_string();
        self.parts
            .chain
            .update_status(|status| status.alarm = Some(text));
    }

    fn ban(&self, peer: &Peer, offence: &consensus::Offence) {
        tracing::warn!(peer = %peer.0, offence = %exit::Chain(offence), "peer is disconnected");
        self.parts.chain.counters().offences.increment();
        self.parts.mesh.disconnect(peer, why(offence));
    }
}

/// The kind of an offence, for the mesh's counters.
const fn why(offence: &consensus::Offence) -> &'static str {
    match offence {
        consensus::Offence::Vote(_) => "sent a vote that does not verify",
        consensus::Offence::Certificate(_) => "sent a certificate that does not verify",
        consensus::Offence::Proposal(_) => "sent a proposal that contradicts itself",
        consensus::Offence::Sync(_) => "sent sync blocks that are no finalized chain",
    }
}

/// The executor is gone only if it failed, which ends the process, or when the node stops.
async fn ask(requests: &mpsc::Sender<Request>, request: Request) {
    requests.send(request).await.ok();
}
