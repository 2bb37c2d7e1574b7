//! Following the chain without voting: what an observer does for ever, and a validator that is far behind until it has
//! caught up.
//!
//! Ranges of final blocks are asked of several peers at the same time ([`plan`]), believed by their certificates and
//! opened on several threads ([`crate::range`]), executed in order ([`apply`]) and archived by the same archivist as
//! everywhere. What is archived stays: after any crash it goes on there. Nothing here can sign anything. Where a restart
//! went on that is not known here, its file comes from peers too ([`restart`]), and the node starts again behind it.
//!
//! ```text
//! peers ─ ranges ─▶ certify, open (threads) ─▶ execute in order ─▶ archivist ─▶ publisher
//! ```

mod apply;
mod plan;
mod quest;
mod restart;
#[cfg(test)]
mod tests;

use crate::archivist::{Commit, Place};
use crate::chain::{Chain, PeerStatus};
use crate::config;
use crate::cosigner;
use crate::executor::{self, Gossip};
use crate::gossip::Message;
use crate::mesh::Mesh;
use crate::network::{Inbound, Receiver, Receivers, Room};
use crate::range::{self, Certified, Opened, Range, RangeFault};
use crate::repair;
use crate::storage::DataDir;
use crate::storage::restarts::Restarts;
use apply::{Applied, Applier, Job};
use consensus::Peer;
use ledger::id::{Epoch, Height};
use ledger::restart::RestartFile;
use ledger::tip::EpochInfo;
use plan::{Limits, Plan};
pub use quest::Files;
use quest::Quest;
use restart::Found;
pub use restart::left_behind;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Inputs that may wait.
const INPUTS: usize = 256;
/// Ranges that may wait to be executed.
const JOBS: usize = 2;
/// Blocks behind which a node joins instead of following.
const BEHIND: u64 = 64;
/// How often overdue answers are looked for.
const LOOK: Duration = Duration::from_millis(250);
/// How often a node that joins says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// When a follower ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When it is as far as the others.
    CaughtUp,
    /// Only when it is told to.
    Stopped,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is as far as the others.
    CaughtUp,
    /// It was told to.
    Stopped,
    /// A restart goes on from its last block: the epoch behind it is known from the next start on.
    Restarted,
}

/// What comes from the network.
#[derive(Debug)]
pub enum Input {
    /// A validator is connected.
    Up(Peer),
    /// It is gone.
    Down(Peer),
    /// It says how far it is.
    Height(Peer, Height, Epoch),
    /// A restart file, decoded, and what its bytes have reserved.
    Restart(Peer, Box<RestartFile>, Room),
    /// Blocks, decoded, how many bytes they were, and what those have reserved.
    Range(Peer, Box<Range>, usize, Room),
    /// What no honest node sends.
    Offence(Peer, &'static str),
}

/// What a follower is made from.
#[derive(Debug)]
pub struct Parts {
    /// The chain.
    pub chain: Chain,
    /// The network.
    pub mesh: Arc<dyn Mesh>,
    /// To the archivist.
    pub commits: mpsc::Sender<Commit>,
    /// To the executor, which keeps the pool.
    pub requests: mpsc::Sender<executor::Request>,
    /// Bounds.
    pub sync: config::Sync,
    /// When it ends.
    pub until: Until,
    /// Who may install restart files.
    pub files: Files,
    /// Where they are kept.
    pub data: Arc<DataDir>,
    /// Ends it.
    pub stop: CancellationToken,
}

/// Where the network's readers put what they read.
#[derive(Clone, Debug)]
pub struct Ports {
    /// To the follower.
    pub inputs: mpsc::Sender<Input>,
    /// To the pool.
    pub gossip: mpsc::Sender<Gossip>,
    /// To whoever collects checkpoints.
    pub notes: mpsc::Sender<cosigner::Input>,
    /// Ranges that a repair asked for.
    pub repairs: repair::Desk,
}

/// A range on its way through the checks.
type Checked = (Peer, Height, Result<Opened, RangeFault>);

/// See the module.
#[derive(Debug)]
pub struct Follower {
    parts: Parts,
    inputs: mpsc::Receiver<Input>,
    plan: Plan,
    /// Whose epoch is not known yet, or for whom no thread is free.
    raw: BTreeMap<Height, (Peer, Range)>,
    checking: usize,
    checked: (mpsc::Sender<Checked>, mpsc::Receiver<Checked>),
    /// Of the known epoch, and not certified to their end: a restart may go on from there.
    tails: BTreeMap<Height, (Peer, Range, Instant)>,
    restarts: Arc<Restarts>,
    quest: Option<Quest>,
    found: (mpsc::Sender<Found>, mpsc::Receiver<Found>),
    ready: BTreeMap<Height, (Peer, Opened)>,
    /// Handed to the applier up to here.
    handed: Height,
    jobs: mpsc::Sender<Job>,
    applied: watch::Receiver<Applied>,
    epoch: Arc<EpochInfo>,
    said: Said,
}

/// What was said last about a long way.
#[derive(Debug)]
struct Said {
    at: Instant,
    height: Height,
    leaves: u64,
    bar: Option<crate::commands::progress::Progress>,
}

/// Makes a follower, and the thread that executes for it.
///
/// # Errors
/// If the system refuses a thread.
pub fn open(parts: Parts) -> std::io::Result<(Follower, mpsc::Sender<Input>, JoinHandle<()>)> {
    let (sender, inputs) = mpsc::channel(INPUTS);
    let (jobs, work) = mpsc::channel(JOBS);
    let tip = parts.chain.states().final_tip();
    let (applied_in, applied) = watch::channel(Applied {
        height: tip.height,
        epoch: Arc::clone(&tip.epoch),
    });
    let applier = Applier {
        chain: parts.chain.clone(),
        commits: parts.commits.clone(),
        requests: parts.requests.clone(),
        applied: applied_in,
    };
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new()
        .name("applier".into())
        .spawn(move || applier.run(&runtime, work))?;
    let limits = Limits {
        ranges: parts.sync.ranges,
        blocks: parts.sync.range_blocks,
        peers: parts.sync.peers,
    };
    let set = parts.chain.founding().set();
    let peers = set.indices().filter_map(|validator| {
        Some(PeerStatus {
            validator,
            authority: set.get(validator)?.id.clone(),
            connected: false,
            height: None,
            epoch: None,
        })
    });
    let peers = peers.collect();
    let plan = Plan::new(tip.height, set.f(), limits);
    parts.chain.update_status(|status| {
        status.peers = peers;
        status.epoch = tip.epoch.epoch;
        status.standing = match parts.until {
            Until::Stopped => "observes: it follows, and never votes",
            Until::CaughtUp => "follows until it has caught up, and does not vote meanwhile",
        }
        .to_owned();
    });
    let said = Said {
        at: Instant::now(),
        height: tip.height,
        leaves: tip.log_size().0,
        bar: None,
    };
    let follower = Follower {
        inputs,
        plan,
        raw: BTreeMap::new(),
        checking: 0,
        checked: mpsc::channel(INPUTS),
        tails: BTreeMap::new(),
        restarts: Arc::clone(parts.chain.restarts()),
        quest: None,
        found: mpsc::channel(1),
        ready: BTreeMap::new(),
        handed: tip.height,
        jobs,
        applied,
        epoch: tip.epoch,
        said,
        parts,
    };
    Ok((follower, sender, thread))
}

impl Follower {
    /// Works until it has caught up or is told to stop.
    pub async fn run(mut self) -> End {
        let mut tick = tokio::time::interval(LOOK);
        let stop = self.parts.stop.clone();
        loop {
            let busy = self.jobs.capacity() == 0;
            tokio::select! {
                () = stop.cancelled() => return End::Stopped,
                Some(input) = self.inputs.recv() => self.input(input),
                Some(checked) = self.checked.1.recv() => self.opened(checked),
                Some(found) = self.found.1.recv() => self.found(found),
                Ok(()) = self.applied.changed() => self.progressed(),
                _ = tick.tick() => {
                    let late = self.plan.look_at_the_clock(Instant::now());
                    if late > 0 {
                        tracing::debug!(late, "ranges did not come in time: asked of others");
                    }
                    self.drop_old_tails();
                    self.say();
                }
                permit = self.jobs.clone().reserve_owned(), if busy => drop(permit),
            }
            self.work();
            if quest::goes_on(&self.restarts, &self.parts.chain.head().tip) {
                return End::Restarted;
            }
            if self.parts.until == Until::CaughtUp && self.has_caught_up() {
                return End::CaughtUp;
            }
        }
    }

    /// Everything that can be begun now.
    fn work(&mut self) {
        self.hand_over();
        self.check();
        self.seek();
        while let Some((peer, request)) = self.plan.ask(Instant::now()) {
            let bytes = Message::RangeReq(request).encode();
            self.parts.mesh.send(&peer, bytes.into());
        }
    }

    fn has_caught_up(&self) -> bool {
        let target = self.plan.target();
        let head = self.parts.chain.head();
        let is_there = head.tip.height.saturating_add(1) >= target;
        target > Height(0) && is_there && head.tip.epoch.epoch >= self.plan.target_epoch()
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Up(peer) => {
                self.plan.up(peer);
                self.peer_status(&peer, |status| status.connected = true);
            }
            Input::Down(peer) => {
                self.plan.down(&peer);
                self.peer_status(&peer, |status| status.connected = false);
            }
            Input::Height(peer, height, epoch) => {
                self.plan.heard(peer, height, epoch);
                self.peer_status(&peer, |status| {
                    status.height = Some(height);
                    status.epoch = Some(epoch);
                });
            }
            Input::Restart(peer, file, _room) => self.restart_came(peer, *file),
            Input::Range(peer, range, bytes, _room) => self.came(peer, *range, bytes),
            Input::Offence(peer, why) => self.offence(&peer, why),
        }
    }

    fn offence(&self, peer: &Peer, why: &'static str) {
        self.parts.chain.counters().offences.increment();
        self.parts.mesh.disconnect(peer, why);
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

    fn came(&mut self, peer: Peer, range: Range, bytes: usize) {
        let Some(from) = range.blocks.first().map(|block| block.header.height) else {
            self.offence(&peer, "sent an empty range of blocks");
            return;
        };
        if self.plan.answered(&peer, from, range.blocks.len(), bytes) {
            self.raw.insert(from, (peer, range));
        } else {
            self.parts.chain.counters().dropped_messages.increment();
        }
    }

    /// Ranges of the known epoch go to free threads, lowest first.
    fn check(&mut self) {
        self.set_tails_aside();
        while self.checking < self.parts.sync.threads {
            let epoch = Arc::clone(&self.epoch);
            let mut raw = self.raw.iter();
            let fits = raw.find(|(_, (_, range))| {
                let first = range.blocks.first();
                // One of an epoch that is over is a lie, and is found out by the check.
                first.is_none_or(|block| block.header.epoch <= epoch.epoch)
            });
            let Some(from) = fits.map(|(from, _)| *from) else {
                return;
            };
            let Some((peer, range)) = self.raw.remove(&from) else {
                return;
            };
            self.checking = self.checking.saturating_add(1);
            let founding = self.parts.chain.founding().clone();
            let results = self.checked.0.clone();
            let restarts = Arc::clone(&self.restarts);
            tokio::task::spawn_blocking(move || {
                let certified: Result<Certified, RangeFault> =
                    range::certify(range, from, &epoch, &restarts);
                let opened = certified.and_then(|it| range::open(it, &founding, &epoch));
                // There is room for more results than threads.
                results.blocking_send((peer, from, opened)).ok();
            });
        }
    }

    fn opened(&mut self, (peer, from, opened): Checked) {
        self.checking = self.checking.saturating_sub(1);
        match opened {
            Ok(opened) => {
                self.ready.insert(from, (peer, opened));
            }
            Err(fault) => {
                tracing::warn!(peer = %peer.0, fault = %crate::exit::Chain(&fault), "a range of blocks is refused");
                self.plan.again(from);
                self.offence(&peer, "sent blocks that no quorum finalized");
            }
        }
    }

    /// What follows next goes to the applier, if it has room.
    fn hand_over(&mut self) {
        loop {
            let next = self.handed.saturating_add(1);
            let Some((from, _)) = self.ready.first_key_value() else {
                return;
            };
            let from = *from;
            if from > next {
                return;
            }
            let Ok(permit) = self.jobs.try_reserve() else {
                return;
            };
            let Some((_, (_, mut opened))) = self.ready.pop_first() else {
                return;
            };
            opened.blocks.retain(|one| one.block.header.height >= next);
            let Some(last) = opened.blocks.last() else {
                continue;
            };
            self.handed = last.block.header.height;
            let left = self.plan.target().0.saturating_sub(self.handed.0);
            let place = if left > BEHIND {
                Place::Joining
            } else {
                Place::Head
            };
            permit.send(Job { opened, place });
        }
    }

    fn progressed(&mut self) {
        let applied = self.applied.borrow_and_update().clone();
        self.plan.applied(applied.height);
        if self.epoch.epoch != applied.epoch.epoch {
            let epoch = applied.epoch.epoch;
            self.parts
                .chain
                .update_status(|status| status.epoch = epoch);
        }
        self.epoch = applied.epoch;
    }

    /// Says how far a long way is: a line now and then, a bar on a terminal.
    fn say(&mut self) {
        let head = self.parts.chain.head();
        let (height, leaves) = (head.tip.height, head.tip.log_size().0);
        let target = self.plan.target();
        let left = target.0.saturating_sub(height.0);
        self.parts.chain.update_target(target);
        if left <= BEHIND {
            if self.said.bar.take().is_some() {
                tracing::info!(block = %height, "has caught up");
            }
            return;
        }
        let begun = self.said.height;
        let bar = self.said.bar.get_or_insert_with(|| {
            let of = target.0.saturating_sub(begun.0);
            crate::commands::progress::Progress::new("joining, block", of)
        });
        bar.at(height.0.saturating_sub(begun.0));
        let since = self.said.at.elapsed();
        if since >= SAY_EVERY {
            let new = leaves.saturating_sub(self.said.leaves);
            let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
            let rate = new.saturating_mul(1_000) / millis;
            tracing::info!(block = %height, of = %target, entries_per_second = rate, "joining");
            self.said.at = Instant::now();
            self.said.leaves = leaves;
        }
    }
}

/// Reads both lanes of the network until it ends.
pub fn read(ports: &Ports, receivers: Receivers, tasks: &mut JoinSet<()>) {
    for receiver in [receivers.consensus, receivers.bulk] {
        tasks.spawn(read_lane(ports.clone(), receiver));
    }
}

async fn read_lane(ports: Ports, mut receiver: Receiver) {
    while let Some((inbound, room)) = receiver.recv_with_room().await {
        match inbound {
            Inbound::Up(peer) => ports.up(peer).await,
            Inbound::Down(peer) => ports.tell(Input::Down(peer)).await,
            // Who follows serves no observers over the mesh.
            Inbound::RoundTrip { .. } | Inbound::Observer(_) => {}
            Inbound::Frame { from, bytes, .. } => ports.frame(from, &bytes, room).await,
        }
    }
}

impl Ports {
    /// A validator is connected.
    pub async fn up(&self, peer: Peer) {
        self.tell(Input::Up(peer)).await;
        self.gossip.try_send(Gossip::Up(peer)).ok();
    }

    /// Something for the follower. It is gone only when the node stops.
    async fn tell(&self, input: Input) {
        self.inputs.send(input).await.ok();
    }

    /// Only what a follower wants is decoded; votes and proposals pass by.
    async fn frame(&self, from: Peer, bytes: &[u8], room: Room) {
        const STATUS: u8 = 6;
        let wanted = match bytes.first() {
            Some(&STATUS) => match consensus::Message::decode(bytes) {
                Ok(consensus::Message::Status(status)) => {
                    Some(Input::Height(from, status.finalized.height, status.epoch))
                }
                Ok(_) => None,
                Err(_) => Some(Input::Offence(from, "sent a malformed consensus message")),
            },
            Some(15 | 17 | 23 | 25) => match Message::decode(bytes) {
                Ok(Message::Range(range)) => {
                    let range = self.repairs.take_range(&from, range);
                    range.map(|range| Input::Range(from, Box::new(range), bytes.len(), room))
                }
                Ok(Message::EpochResp(file)) => Some(Input::Restart(from, Box::new(file), room)),
                Ok(Message::Note(note)) => {
                    let text = String::from_utf8(note.into_vec());
                    let note = text.map(|text| cosigner::Input::Note { from, text });
                    if let Ok(note) = note {
                        self.notes.try_send(note).ok();
                    }
                    None
                }
                Ok(Message::ItemReq(ids)) => {
                    let ids = ids.into_vec();
                    self.gossip.try_send(Gossip::ItemReq { from, ids }).ok();
                    None
                }
                Ok(_) => None,
                Err(_) => Some(Input::Offence(
                    from,
                    "sent a malformed range, note or restart file",
                )),
            },
            Some(_) | None => None,
        };
        if let Some(input) = wanted {
            self.tell(input).await;
        }
    }
}

/// Returns once at least one honest validator is known to be so many blocks ahead.
pub async fn far_behind(chain: &Chain, blocks: u64) {
    let mut status = chain.watch_status();
    loop {
        let furthest = {
            let node = status.borrow_and_update();
            let peers = node.peers.iter().filter(|peer| peer.connected);
            let mut heights: Vec<Height> = peers.filter_map(|peer| peer.height).collect();
            heights.sort_unstable_by(|a, b| b.cmp(a));
            let f = chain.head().tip.epoch.set.f();
            heights.get(f).copied().unwrap_or_default()
        };
        if furthest.0 > chain.head().tip.height.0.saturating_add(blocks) {
            return;
        }
        if status.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
