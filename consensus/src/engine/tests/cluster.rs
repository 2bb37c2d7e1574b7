//! Several engines in virtual time, each with a driver as the crate's contract wants it: outputs in order, one sync at
//! a time, what was not synced is lost in a crash. No randomness: delays are fixed, faults are scripted.

use super::fixture::{self, EPOCH_MS, Toy, ToyCheck};
use crate::block::{Block, Tip};
use crate::config::Config;
use crate::engine::{Archived, Engine, Identity, Setup};
use crate::epoch::{EpochInfo, EpochSpec, Peer, Sealed};
use crate::event::{Event, Verdict};
use crate::items::Item;
use crate::journal::{JournalState, Record};
use crate::message::{Message, SyncResp};
use crate::outbox::Seq;
use crate::output::{Alarm, BuildRequest, Output, ServeRequest};
use crate::time::{Mono, Now};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use ledger::certificate::Certificate;
use ledger::hash::{BlockHash, sha256};
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height, TimeMs};
use ledger::vote::Vote;

/// One way of a message, and one sync, in ms.
pub(super) const DELAY: u64 = 5;
const SYNC: u64 = 1;

/// An item from here on ends its epoch: it makes its block a SEAL block.
pub(super) const SEAL: u64 = 1_000_000;

type Frame = (Block, Option<Certificate>);

/// A node's disk.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) records: Vec<Record>,
    pub(super) archive: Vec<Frame>,
}

pub(super) struct Node {
    pub(super) engine: Option<Engine>,
    pub(super) disk: Disk,
    pool: BTreeSet<u64>,
    /// Parent and items of every block that was built or found valid here.
    states: BTreeMap<BlockHash, (BlockHash, Vec<u64>)>,
    head: BlockRef,
    buffer: Vec<Record>,
    newest: Seq,
    syncing: Option<(Seq, Vec<Record>)>,
    timer: Option<Mono>,
    life: u64,
    started_at: u64,
    /// Added to the wall clock.
    pub(super) skew: i64,
    pub(super) alarms: Vec<Alarm>,
    pub(super) evidence: Vec<(Vote, Vote)>,
    pub(super) persists: usize,
    /// The epoch that the process is in.
    epoch: Epoch,
}

enum Happening {
    /// From whom, in which of its lives, and what: a connection ends with its process.
    Deliver(usize, u64, Box<Message>),
    Synced(u64),
    Wake(u64),
}

/// What left a node: when, from whom, to whom, what.
pub(super) type Sent = (u64, usize, usize, Message);

pub(super) struct Cluster {
    pub(super) config: Config,
    /// The first epoch.
    pub(super) epoch: EpochInfo,
    /// Members of each epoch; the last set stays.
    pub(super) plan: Vec<Vec<u16>>,
    pub(super) nodes: Vec<Node>,
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), (usize, Happening)>,
    counter: Rc<Cell<u64>>,
    /// Links that lose everything.
    pub(super) cut: BTreeSet<(usize, usize)>,
    pub(super) sent: Vec<Sent>,
}

impl Cluster {
    pub(super) fn new(n: u16) -> Self {
        Self::with(n, fixture::config())
    }

    pub(super) fn with(n: u16, config: Config) -> Self {
        Self::planned(&[&(0..n).collect::<Vec<_>>()], config)
    }

    /// As many nodes as the plan names, with the sets of the epochs to come.
    pub(super) fn planned(plan: &[&[u16]], config: Config) -> Self {
        let plan: Vec<Vec<u16>> = plan.iter().map(|members| members.to_vec()).collect();
        let mut first = fixture::spec(4);
        first.set = fixture::set_of(&plan[0]);
        let epoch = EpochInfo::new(first);
        let last = plan.iter().flatten().max().unwrap();
        let nodes = (0..=*last).map(|_| Node::new(&epoch)).collect();
        Self {
            config,
            epoch,
            plan,
            nodes,
            now: 0,
            queue: BTreeMap::new(),
            counter: Rc::new(Cell::new(0)),
            cut: BTreeSet::new(),
            sent: Vec::new(),
        }
    }

    /// All nodes, fresh, connected.
    pub(super) fn started(n: u16) -> Self {
        let mut cluster = Self::new(n);
        for index in 0..usize::from(n) {
            cluster.start(index, JournalState::Fresh);
        }
        cluster
    }

    /// All nodes of the plan, fresh, connected.
    pub(super) fn started_with(plan: &[&[u16]]) -> Self {
        let mut cluster = Self::planned(plan, fixture::config());
        for index in 0..cluster.nodes.len() {
            cluster.start(index, JournalState::Fresh);
        }
        cluster
    }

    /// The members of an epoch.
    fn members(&self, epoch: Epoch) -> &[u16] {
        let at = usize::try_from(epoch.0).unwrap();
        self.plan.get(at).or_else(|| self.plan.last()).unwrap()
    }

    /// The epoch that follows on a SEAL block.
    fn after(&self, epoch: &EpochInfo, seal: &Tip) -> EpochInfo {
        let members = self.members(epoch.epoch().next().unwrap());
        EpochInfo::new(fixture::next_spec(epoch, seal, members))
    }

    /// All epochs that a disk's archive shows, with the end of each.
    fn epochs(&self, index: usize) -> (EpochInfo, Option<Sealed>) {
        let mut epoch = self.epoch.clone();
        let mut previous = None;
        for (block, finalization) in &self.nodes[index].disk.archive {
            if block.header.flags.is_seal() {
                let spec = spec_of(&epoch);
                let finalization = finalization.clone().expect("a SEAL block has its own");
                previous = Some(Sealed { spec, finalization });
                epoch = self.after(&epoch, &Tip::from(&block.header));
            }
        }
        (epoch, previous)
    }

    /// The epoch that a node is in.
    fn epoch_of(&self, index: usize) -> EpochInfo {
        let mut epoch = self.epoch.clone();
        let archive = &self.nodes[index].disk.archive;
        for (block, _) in archive {
            if epoch.epoch() < self.nodes[index].epoch && block.header.flags.is_seal() {
                epoch = self.after(&epoch, &Tip::from(&block.header));
            }
        }
        epoch
    }

    pub(super) fn start(&mut self, index: usize, journal: JournalState) {
        let (epoch, previous) = self.epochs(index);
        let node = &mut self.nodes[index];
        node.life += 1;
        node.started_at = self.now;
        node.buffer.clear();
        node.newest = Seq(0);
        node.syncing = None;
        node.timer = None;
        node.states.clear();
        let mut tip = *self.epoch.anchor();
        for (block, _) in &node.disk.archive {
            node.states.insert(
                block.hash(),
                (block.header.parent, fixture::items(&block.body)),
            );
            tip = Tip::from(&block.header);
        }
        node.head = tip.block;
        let finalization = node.disk.archive.iter().rev().find_map(|(_, c)| c.clone());
        node.epoch = epoch.epoch();
        let signer = u16::try_from(index).unwrap();
        let setup = Setup {
            config: self.config,
            layout: fixture::LAYOUT,
            epoch: spec_of(&epoch),
            previous,
            identity: Identity {
                signer: Some(Box::new(Toy(fixture::vote_key(signer)))),
                instance: 1_000 * u64::from(signer) + self.nodes[index].life,
            },
            journal,
            records: self.nodes[index].disk.records.clone(),
            archived: Archived { tip, finalization },
        };
        self.nodes[index].engine = Some(Engine::recover(setup, &ToyCheck).unwrap());
        self.give(index, Event::Start);
        for other in 0..self.nodes.len() {
            if other != index && self.nodes[other].engine.is_some() {
                self.give(other, Event::PeerUp { peer: peer(index) });
                self.give(index, Event::PeerUp { peer: peer(other) });
            }
        }
    }

    /// Ends a process: what was not synced is gone.
    pub(super) fn crash(&mut self, index: usize) {
        self.nodes[index].engine = None;
        self.nodes[index].pool.clear();
        for other in 0..self.nodes.len() {
            if self.nodes[other].engine.is_some() {
                self.give(other, Event::PeerDown { peer: peer(index) });
            }
        }
    }

    pub(super) fn restart(&mut self, index: usize) {
        self.start(index, JournalState::Intact);
    }

    /// An item reaches every running node's pool, after one delay as gossip would bring it.
    pub(super) fn submit(&mut self, item: u64) {
        self.submit_to(|_| true, item);
    }

    /// An item reaches the pools of some running nodes.
    pub(super) fn submit_to(&mut self, whom: impl Fn(usize) -> bool, item: u64) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].engine.is_some() && whom(index) {
                self.nodes[index].pool.insert(item);
                self.work_changed(index);
            }
        }
    }

    pub(super) fn run_for(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(entry) = self.queue.first_entry() {
            let (at, _) = *entry.key();
            if at > end {
                break;
            }
            let (index, happening) = entry.remove();
            self.now = self.now.max(at);
            self.happen(index, happening);
        }
        self.now = end;
    }

    /// Runs until something holds; the time that it took. Panics after `limit` ms.
    pub(super) fn run_until(&mut self, limit: u64, done: impl Fn(&Self) -> bool) -> u64 {
        let begin = self.now;
        while !done(self) {
            assert!(
                self.now - begin < limit,
                "not within {limit} ms; statuses: {:#?}",
                self.statuses()
            );
            self.run_for(1);
        }
        self.now - begin
    }

    pub(super) fn statuses(&self) -> Vec<crate::engine::EngineStatus> {
        let engines = self.nodes.iter().filter_map(|node| node.engine.as_ref());
        engines.map(Engine::status).collect()
    }

    /// Whether every running node has this item in its archive.
    pub(super) fn has_everywhere(&self, item: u64) -> bool {
        let mut running = self.nodes.iter().filter(|node| node.engine.is_some());
        running.all(|node| node.committed().contains(&item))
    }

    /// Same hash per height on all disks, no gaps, no item twice.
    pub(super) fn check_agreement(&self) {
        let longest = self
            .nodes
            .iter()
            .map(|node| &node.disk.archive)
            .max_by_key(|archive| archive.len())
            .unwrap();
        for node in &self.nodes {
            for (at, ((mine, _), (theirs, _))) in node.disk.archive.iter().zip(longest).enumerate()
            {
                assert_eq!(mine.hash(), theirs.hash(), "fork at {at}");
                assert_eq!(mine.header.height.0, at as u64 + 1, "gap");
            }
            let items = node.committed();
            let distinct: BTreeSet<_> = items.iter().collect();
            assert_eq!(distinct.len(), items.len(), "an item twice");
        }
    }

    /// Messages since `from` that are no heartbeats.
    pub(super) fn traffic_since(&self, from: u64) -> Vec<&Sent> {
        let sent = self.sent.iter().filter(|(at, ..)| *at >= from);
        sent.filter(|(.., message)| !matches!(message, Message::Status(_)))
            .collect()
    }

    fn clock(&self, index: usize) -> Now {
        let node = &self.nodes[index];
        Now {
            mono: Mono(self.now - node.started_at),
            wall: TimeMs((EPOCH_MS + self.now).checked_add_signed(node.skew).unwrap()),
        }
    }

    fn schedule(&mut self, at: u64, index: usize, happening: Happening) {
        let order = self.counter.get();
        self.counter.set(order + 1);
        self.queue.insert((at, order), (index, happening));
    }

    fn happen(&mut self, index: usize, happening: Happening) {
        if self.nodes[index].engine.is_none() {
            return;
        }
        match happening {
            Happening::Deliver(from, life, message) => {
                if self.nodes[from].life == life {
                    self.deliver(from, index, *message);
                }
            }
            Happening::Synced(life) => {
                let node = &mut self.nodes[index];
                if node.life != life {
                    return;
                }
                let (seq, records) = node.syncing.take().unwrap();
                node.disk.records.extend(records);
                self.give(index, Event::Persisted { seq });
                self.sync(index);
            }
            Happening::Wake(at) => {
                let node = &mut self.nodes[index];
                if node
                    .timer
                    .is_some_and(|timer| timer.0 + node.started_at == at)
                {
                    node.timer = None;
                    self.give(index, Event::Tick);
                }
            }
        }
    }

    pub(super) fn deliver(&mut self, from: usize, to: usize, message: Message) {
        let now = self.clock(to);
        let bytes = message.encode();
        let message = Message::decode(&bytes).unwrap();
        let engine = self.nodes[to].engine.as_mut().unwrap();
        if let Ok(admitted) = engine.admit(now, peer(from), message) {
            let message = admitted.verify(&ToyCheck).unwrap();
            self.give(
                to,
                Event::Message {
                    from: peer(from),
                    message,
                },
            );
        } else {
            self.drain(to);
        }
    }

    pub(super) fn give(&mut self, index: usize, event: Event) {
        let now = self.clock(index);
        self.nodes[index]
            .engine
            .as_mut()
            .unwrap()
            .handle(now, event);
        self.drain(index);
    }

    fn drain(&mut self, index: usize) {
        let mut answers = VecDeque::new();
        while let Some(output) = self.nodes[index].engine.as_mut().unwrap().poll_output() {
            answers.extend(self.carry_out(index, output));
        }
        self.sync(index);
        for event in answers {
            self.give(index, event);
        }
    }

    fn sync(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.syncing.is_none() && !node.buffer.is_empty() {
            node.syncing = Some((node.newest, core::mem::take(&mut node.buffer)));
            let life = node.life;
            self.schedule(self.now + SYNC, index, Happening::Synced(life));
        }
    }

    fn post(&mut self, from: usize, to: usize, message: Message) {
        self.sent.push((self.now, from, to, message.clone()));
        if !self.cut.contains(&(from, to)) {
            let life = self.nodes[from].life;
            let happening = Happening::Deliver(from, life, Box::new(message));
            self.schedule(self.now + DELAY, to, happening);
        }
    }

    fn carry_out(&mut self, index: usize, output: Output) -> Option<Event> {
        match output {
            Output::Persist { seq, records } => {
                let node = &mut self.nodes[index];
                node.persists += 1;
                node.buffer.extend(records);
                node.newest = seq;
            }
            Output::Broadcast(message) => {
                for to in (0..self.nodes.len()).filter(|to| *to != index) {
                    self.post(index, to, message.clone());
                }
            }
            Output::Send { to, message } => {
                self.post(index, index_of(&to), message);
            }
            Output::SetTimer { at } => {
                self.nodes[index].timer = Some(at);
                let due = self.nodes[index].started_at + at.0;
                self.schedule(due, index, Happening::Wake(due));
            }
            Output::Head(head) => {
                self.nodes[index].head = head;
                return Some(self.nodes[index].work());
            }
            Output::Build(request) => return Some(self.build(index, &request)),
            Output::Validate { hash, block } => {
                let epoch = self.epoch_of(index);
                let verdict = self.nodes[index].validate(&block, &epoch);
                return Some(Event::BlockValidated {
                    block: hash,
                    verdict,
                });
            }
            Output::Gather { block, ids, .. } => {
                let pool = self.nodes[index].pool.iter();
                let pool = pool.map(|item| Item::from(&item.to_le_bytes()[..]));
                let pool: BTreeMap<_, _> = pool.map(|item| (item.id(), item)).collect();
                let items = ids.iter().map(|id| pool.get(id).cloned()).collect();
                return Some(Event::Gathered { block, items });
            }
            Output::Commit(commit) => {
                let node = &mut self.nodes[index];
                let last = commit.blocks.len() - 1;
                for (at, block) in commit.blocks.into_iter().enumerate() {
                    let own = commit.finalization.clone().filter(|_| at == last);
                    assert_eq!(block.header.height, node.next_height(), "commit order");
                    node.disk.archive.push((block, own));
                }
            }
            Output::Serve { to, request } => self.serve(index, &to, &request),
            Output::Evidence { a, b } => self.nodes[index].evidence.push((a, b)),
            Output::Alarm(alarm) => self.nodes[index].alarms.push(alarm),
            Output::Sealed(tip) => {
                let next = self.after(&self.epoch_of(index), &tip);
                self.nodes[index].epoch = next.epoch();
                return Some(Event::EpochOpened(Box::new(spec_of(&next))));
            }
            Output::Forget(_) | Output::Ban { .. } | Output::Park(_) => {}
        }
        None
    }

    fn build(&mut self, index: usize, request: &BuildRequest) -> Event {
        let (view, time) = (request.view, request.time_ms.0);
        let items = self.nodes[index].includable(request.parent.block.hash);
        if items.is_empty() && !request.flags.is_anchor() {
            return Event::BuildEmpty { view };
        }
        let epoch = self.epoch_of(index);
        let mut block = fixture::block(&epoch, &request.parent, view.0, time, &items);
        block.header.flags = request.flags;
        if items.iter().any(|item| *item >= SEAL) {
            block = fixture::seal(block, self.members(request.epoch.next().unwrap()));
        }
        let state = (block.header.parent, items);
        self.nodes[index].states.insert(block.hash(), state);
        Event::ProposalReady { view, block }
    }

    fn serve(&mut self, index: usize, to: &Peer, request: &ServeRequest) {
        let to = index_of(to);
        let archive = &self.nodes[index].disk.archive;
        let message = match request {
            ServeRequest::Block(block) => archive
                .iter()
                .find(|(held, _)| held.block_ref() == *block)
                .map(|(held, _)| Message::Block(held.clone())),
            ServeRequest::Sync(request) => {
                let from = usize::try_from(request.from.0 - 1).unwrap();
                SyncResp::collect(request, archive.iter().skip(from).cloned())
                    .map(Message::SyncResp)
            }
        };
        if let Some(message) = message {
            self.post(index, to, message);
        }
    }

    fn work_changed(&mut self, index: usize) {
        let event = self.nodes[index].work();
        self.give(index, event);
    }
}

impl Node {
    fn new(epoch: &EpochInfo) -> Self {
        Self {
            engine: None,
            disk: Disk::default(),
            pool: BTreeSet::new(),
            states: BTreeMap::new(),
            head: epoch.anchor().block,
            buffer: Vec::new(),
            newest: Seq(0),
            syncing: None,
            timer: None,
            life: 0,
            started_at: 0,
            skew: 0,
            alarms: Vec::new(),
            evidence: Vec::new(),
            persists: 0,
            epoch: epoch.epoch(),
        }
    }

    pub(super) fn status(&self) -> crate::engine::EngineStatus {
        self.engine.as_ref().unwrap().status()
    }

    pub(super) fn committed(&self) -> Vec<u64> {
        let blocks = self.disk.archive.iter();
        blocks
            .flat_map(|(block, _)| fixture::items(&block.body))
            .collect()
    }

    fn next_height(&self) -> Height {
        Height(self.disk.archive.len() as u64 + 1)
    }

    fn included(&self, head: BlockHash) -> BTreeSet<u64> {
        let mut items = BTreeSet::new();
        let mut at = head;
        while let Some((parent, own)) = self.states.get(&at) {
            items.extend(own);
            at = *parent;
        }
        items
    }

    fn includable(&self, head: BlockHash) -> Vec<u64> {
        let included = self.included(head);
        let open = self.pool.iter().filter(|item| !included.contains(*item));
        open.copied().collect()
    }

    fn work(&self) -> Event {
        Event::WorkChanged {
            head: self.head.hash,
            includable: u32::try_from(self.includable(self.head.hash).len()).unwrap(),
        }
    }

    fn validate(&mut self, block: &Block, epoch: &EpochInfo) -> Verdict {
        let parent = block.header.parent;
        assert!(
            parent == epoch.anchor().block.hash || self.states.contains_key(&parent),
            "asked to validate on an unknown parent"
        );
        if sha256(&[&block.body]) != block.header.body_root {
            return Verdict::BadDelivery;
        }
        let items = fixture::items(&block.body);
        if items.iter().any(|item| *item >= SEAL) != block.header.flags.is_seal() {
            return Verdict::Invalid;
        }
        let included = self.included(parent);
        let repeated = items.iter().any(|item| included.contains(item));
        if repeated || (items.is_empty() && !block.header.flags.is_anchor()) {
            return Verdict::Invalid;
        }
        self.states.insert(block.hash(), (parent, items));
        Verdict::Valid
    }
}

fn spec_of(epoch: &EpochInfo) -> EpochSpec {
    EpochSpec {
        chain: epoch.chain(),
        epoch: epoch.epoch(),
        set: epoch.set().clone(),
        anchor: *epoch.anchor(),
        restart: epoch.restart(),
    }
}

fn index_of(peer: &Peer) -> usize {
    let [low, high, ..] = *peer.0.as_bytes();
    usize::from(u16::from_le_bytes([low, high]))
}

pub(super) fn peer(index: usize) -> Peer {
    Peer(fixture::network_key(u16::try_from(index).unwrap()))
}
