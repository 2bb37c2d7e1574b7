//! From frames to verified messages, in the order of each lane.
//!
//! Decoding and signature checks run here, beside the driver's loop: a frame is decoded, the engine admits it (in the
//! loop, before any cryptography), its signatures are checked, and only then does the engine see it. What is not the
//! engine's goes to the pool and the cosigner, which never hold a lane up: proposals travel beside submissions. What no
//! honest node sends ends the connection.

use super::checks::{Checks, Passage};
use crate::admission::{self, Bearer, Present};
use crate::chain::Chain;
use crate::clock;
use crate::cosigner;
use crate::executor::Gossip;
use crate::gossip;
use crate::library::Library;
use crate::mempool::{Origin, Pending};
use crate::mesh::Mesh;
use crate::network::{FromObserver, Inbound, Receiver, Receivers, Room};
use consensus::message::Lane;
use consensus::verify::Offence;
use consensus::{Admitted, Ed25519, Message, Peer, VerifiedMessage};
use ledger::admission::CheckedEvidence;
use ledger::body::{Item, ItemBytes};
use ledger::evidence::Evidence;
use ledger::refusal::Refusal;
use ledger::submission::Submission;
use ledger::validator_set::MAX_VALIDATORS;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

/// Inputs that may wait for the driver; their lanes wait with them. Their bytes are bounded by their [`Room`].
const INPUTS: usize = 256;
/// Lists of submissions that may wait for their signature check …
const LISTS: usize = 256;
/// … and their bytes. What is too much is dropped; its sender names it again.
const LIST_BYTES: usize = 32 << 20;

/// What comes to the driver from the network.
#[derive(Debug)]
pub enum Input {
    /// A connection stands.
    Up(Peer),
    /// It is gone.
    Down(Peer),
    /// A round trip was measured, in milliseconds.
    RoundTrip(Peer, u64),
    /// A message, decoded and nothing more.
    Decoded(Peer, Box<Message>, Room),
}

/// Messages that passed the third door, or did not.
#[derive(Debug)]
pub struct Checked {
    /// Whose it is; its room is kept until the engine has it.
    pub passage: Passage,
    /// What came of it.
    pub result: Result<VerifiedMessage, Offence>,
}

/// The driver's ends.
#[derive(Debug)]
pub struct Port {
    /// What comes in.
    pub inputs: mpsc::Receiver<Input>,
    /// What was verified.
    pub checked: mpsc::Receiver<Checked>,
    /// What is to be verified.
    pub checks: Checks<Admitted>,
}

/// The way in; clones share it.
#[derive(Clone, Debug)]
pub struct Ingress {
    chain: Chain,
    mesh: Arc<dyn Mesh>,
    inputs: mpsc::Sender<Input>,
    gossip: mpsc::Sender<Gossip>,
    cosigner: mpsc::Sender<cosigner::Input>,
    lists: mpsc::Sender<List>,
    library: Library,
    room: Arc<Semaphore>,
}

/// Submissions of a peer that wait for their signature check.
#[derive(Debug)]
struct List {
    from: Peer,
    items: Vec<ItemBytes>,
    _room: OwnedSemaphorePermit,
}

/// Makes the way in, and starts the signature checks on `tasks`.
pub fn open(
    chain: Chain,
    mesh: Arc<dyn Mesh>,
    gossip: mpsc::Sender<Gossip>,
    cosigner: mpsc::Sender<cosigner::Input>,
    tasks: &mut JoinSet<()>,
) -> (Ingress, Port) {
    let (sender, inputs) = mpsc::channel(INPUTS);
    let (results, checked) = mpsc::channel(INPUTS);
    let checks = Checks::default();
    for lane in [Lane::Votes, Lane::Bodies] {
        tasks.spawn(check_signatures(lane, checks.clone(), results.clone()));
    }
    let (lists, waiting) = mpsc::channel(LISTS);
    let taker = Taker {
        chain: chain.clone(),
        mesh: Arc::clone(&mesh),
        gossip: gossip.clone(),
    };
    tasks.spawn(taker.run(waiting));
    let ingress = Ingress {
        chain: chain.clone(),
        mesh: Arc::clone(&mesh),
        inputs: sender,
        gossip,
        cosigner,
        lists,
        library: Library::new(chain, mesh),
        room: Arc::new(Semaphore::new(LIST_BYTES)),
    };
    let port = Port {
        inputs,
        checked,
        checks,
    };
    (ingress, port)
}

/// One lane: each peer's in order.
async fn check_signatures(lane: Lane, checks: Checks<Admitted>, results: mpsc::Sender<Checked>) {
    loop {
        let (passage, admitted) = checks.next(lane).await;
        let result = admitted.verify(&Ed25519);
        let checked = Checked { passage, result };
        if results.send(checked).await.is_err() {
            return;
        }
    }
}

/// Reads both lanes of the network until it ends.
pub fn read(ingress: &Ingress, receivers: Receivers, tasks: &mut JoinSet<()>) {
    for receiver in [receivers.consensus, receivers.bulk] {
        tasks.spawn(read_lane(ingress.clone(), receiver));
    }
}

async fn read_lane(ingress: Ingress, mut receiver: Receiver) {
    while let Some((inbound, room)) = receiver.recv_with_room().await {
        match inbound {
            Inbound::Up(peer) => ingress.up(peer).await,
            Inbound::Down(peer) => ingress.tell(Input::Down(peer)).await,
            Inbound::RoundTrip { peer, rtt_ms } => {
                ingress.tell(Input::RoundTrip(peer, rtt_ms)).await;
            }
            Inbound::Frame { from, bytes, .. } => ingress.frame(from, &bytes, room).await,
            Inbound::Observer(FromObserver::Up(peer)) => ingress.library.up(&peer),
            Inbound::Observer(FromObserver::Down(peer)) => ingress.library.down(&peer),
            Inbound::Observer(FromObserver::Frame { from, bytes }) => {
                ingress.of_observer(from, &bytes);
            }
        }
    }
}

impl Ingress {
    /// What serves those who follow.
    pub fn library(&self) -> Library {
        self.library.clone()
    }

    /// A connection to a peer stands.
    pub async fn up(&self, peer: Peer) {
        self.tell(Input::Up(peer)).await;
        // Whoever is full asks again by itself.
        self.gossip.try_send(Gossip::Up(peer)).ok();
        self.cosigner.try_send(cosigner::Input::Up(peer)).ok();
    }

    /// Something for the driver. It is gone only when the node stops.
    pub async fn tell(&self, input: Input) {
        self.inputs.send(input).await.ok();
    }

    /// A frame from an authenticated peer, and the room that it takes.
    pub async fn frame(&self, from: Peer, bytes: &[u8], room: Room) {
        let kind = bytes.first().copied().unwrap_or_default();
        if gossip::Message::is_gossip(kind) {
            match gossip::Message::decode(bytes) {
                Ok(message) => self.gossip(from, message),
                Err(_) => self.offence(&from, "sent a malformed pool message or cosignature"),
            }
            return;
        }
        match Message::decode(bytes) {
            Ok(Message::SyncResp(response)) => {
                // What a repair asked for is not the engine's.
                if let Some(response) = self.chain.repairs().take(&from, response) {
                    let message = Box::new(Message::SyncResp(response));
                    self.tell(Input::Decoded(from, message, room)).await;
                }
            }
            Ok(message) => {
                let message = Box::new(message);
                self.tell(Input::Decoded(from, message, room)).await;
            }
            Err(_) => self.offence(&from, "sent a malformed consensus message"),
        }
    }

    /// An observer may ask for blocks and restart files, and hand in submissions. It takes no part in anything else.
    fn of_observer(&self, from: Peer, bytes: &[u8]) {
        let kind = bytes.first().copied().unwrap_or_default();
        if !gossip::Message::is_gossip(kind) {
            self.offence(&from, "an observer takes part in consensus");
            return;
        }
        match gossip::Message::decode(bytes) {
            Ok(
                message @ (gossip::Message::PoolIds(_)
                | gossip::Message::Items(_)
                | gossip::Message::EpochReq(_)
                | gossip::Message::RangeReq(_)),
            ) => self.gossip(from, message),
            Ok(_) => self.offence(&from, "an observer sends what only validators may"),
            Err(_) => self.offence(&from, "sent a malformed pool message or cosignature"),
        }
    }

    fn offence(&self, from: &Peer, why: &'static str) {
        self.chain.counters().offences.increment();
        self.mesh.disconnect(from, why);
    }

    /// Never waits: what is dropped is named or asked for again.
    fn gossip(&self, from: Peer, message: gossip::Message) {
        let taken = match message {
            gossip::Message::PoolIds(ids) => {
                let ids = ids.into_vec();
                self.gossip.try_send(Gossip::PoolIds { from, ids }).is_ok()
            }
            gossip::Message::ItemReq(ids) => {
                let ids = ids.into_vec();
                self.gossip.try_send(Gossip::ItemReq { from, ids }).is_ok()
            }
            gossip::Message::Items(items) => self.items(from, items.into_vec()),
            gossip::Message::Cosig(cosig) => {
                let input = cosigner::Input::Received { from, cosig };
                self.cosigner.try_send(input).is_ok()
            }
            gossip::Message::CosigReq(size) => {
                let input = cosigner::Input::Asked { from, size };
                self.cosigner.try_send(input).is_ok()
            }
            gossip::Message::RangeReq(request) => {
                self.library.serve(from, request);
                true
            }
            gossip::Message::EpochReq(from_epoch) => {
                self.library.serve_restart(from, from_epoch);
                true
            }
            // What a repair asked for.
            gossip::Message::Range(range) => {
                self.chain.repairs().take_range(&from, range).is_none()
            }
            // For those who follow; they read the network elsewhere.
            gossip::Message::Note(_) | gossip::Message::EpochResp(_) => false,
        };
        if !taken {
            self.chain.counters().dropped_frames.increment();
            self.chain.conduct().dropped(&from, super::TOO_FAST);
        }
    }

    fn items(&self, from: Peer, items: Vec<ItemBytes>) -> bool {
        let bytes: usize = items.iter().map(|item| item.as_bytes().len()).sum();
        let Ok(bytes) = u32::try_from(bytes) else {
            return false;
        };
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(bytes) else {
            return false;
        };
        let list = List {
            from,
            items,
            _room: room,
        };
        self.lists.try_send(list).is_ok()
    }
}

/// Takes peers' submissions in: one list after the other, each on a blocking thread.
#[derive(Clone, Debug)]
struct Taker {
    chain: Chain,
    mesh: Arc<dyn Mesh>,
    gossip: mpsc::Sender<Gossip>,
}

impl Taker {
    async fn run(self, mut waiting: mpsc::Receiver<List>) {
        while let Some(list) = waiting.recv().await {
            let taker = self.clone();
            // It only fails if it panicked, which ends the process.
            tokio::task::spawn_blocking(move || taker.take(list))
                .await
                .ok();
        }
    }

    fn take(&self, list: List) {
        let List { from, items, _room } = list;
        let set = self.chain.founding().set();
        let validator = set.position(|member| member.network == from.0);
        // What an observer brings counts as what clients bring: per authority, and in all.
        let origin = validator.map_or(Origin::Api, Origin::Peer);
        match self.admit(items) {
            Some((submissions, evidence)) if submissions.len() + evidence.len() > 0 => {
                let gossip = Gossip::Items {
                    origin,
                    submissions,
                    evidence,
                };
                // Without an executor the node stops.
                self.gossip.blocking_send(gossip).ok();
            }
            Some(_) => {}
            None => {
                self.chain.counters().offences.increment();
                let why = "sent an item that no honest node takes in";
                self.mesh.disconnect(&from, why);
            }
        }
    }

    /// `None` if one of them could never have been taken in by an honest node.
    fn admit(&self, items: Vec<ItemBytes>) -> Option<(Vec<Pending>, Vec<CheckedEvidence>)> {
        let mut submissions = Vec::with_capacity(items.len());
        let mut evidence = Vec::new();
        for item in items {
            match item.parse() {
                Ok(Item::Submission(submission)) => submissions.push(submission),
                Ok(Item::Evidence(one)) => evidence.push(one),
                Err(_) => return None,
            }
        }
        let wanted = self.screen(submissions);
        let checked = admission::verify(self.chain.founding(), wanted);
        let submissions = checked
            .into_iter()
            .map(|one| one.ok().map(Pending::new))
            .collect::<Option<_>>()?;
        Some((submissions, self.check_evidence(evidence)?))
    }

    /// `None` if a vote was not signed by whom it accuses: an honest node verified both.
    fn check_evidence(&self, evidence: Vec<Evidence>) -> Option<Vec<CheckedEvidence>> {
        let epoch = Arc::clone(&self.chain.head().tip.epoch);
        let mut checked = Vec::new();
        for one in evidence.into_iter().take(MAX_VALIDATORS) {
            match CheckedEvidence::new(&epoch, one) {
                Ok(one) => checked.push(one),
                // An honest node may be ahead or behind.
                Err(Refusal::EvidenceEpoch { .. }) => {}
                Err(_) => return None,
            }
        }
        Some(checked)
    }

    /// Those that are worth a signature check now.
    fn screen(&self, submissions: Vec<Submission>) -> Vec<Submission> {
        let founding = self.chain.founding();
        let now = clock::wall();
        let screened = self.chain.with_final(|view, tip| {
            let present = Present {
                founding,
                view,
                tip,
                now,
            };
            let wanted = submissions.into_iter();
            wanted
                .filter(|one| admission::screen(&present, Bearer::Validator, one).is_ok())
                .collect()
        });
        // The index is closed only when the node stops.
        screened.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
