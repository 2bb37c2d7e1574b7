//! Who listens on the wire: it sits in the place of a validator that does not run, with that one's network key, and
//! keeps every vote that is sent to it.
//!
//! Real libp2p: the other validators and their observers connect to it as to any member, and send it what they send to
//! all. It says nothing itself, and believes nothing but signatures: what counts as signed twice is decided here, by
//! two votes of one key, and not by any node. Votes are taken out of everything that carries them: votes, proposals,
//! certificates (a quorum's signatures each), answers, evidence.

use crate::network::Network;
use consensus::{Message, Peer};
use genesis::container;
use genesis::keyfile::KeyFile;
use ledger::body::Item;
use ledger::certificate::Certificate;
use ledger::genesis::Purpose;
use ledger::id::{ValidatorIndex, View};
use ledger::tip::{EpochInfo, Founding};
use ledger::vote::{Vote, VoteKind};
use node::gossip;
use node::network::{
    self, FrameLimits, FromObserver, Handle, Inbound, MemberAddress, Receiver, Role, Settings,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Runtime;

/// Two statements of one key that it never makes both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twice {
    /// Heard first.
    pub first: Vote,
    /// Heard later.
    pub second: Vote,
}

/// What was heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// Every vote, whoever brought it.
    votes: BTreeMap<(View, ValidatorIndex), Vec<Vote>>,
    /// Votes that their own signers sent, in the order in which they came.
    said: Vec<Vote>,
    /// Messages by sender and first byte.
    messages: BTreeMap<(Peer, u8), u64>,
    observers: BTreeSet<Peer>,
    twice: Vec<Twice>,
    forged: u64,
    foreign: u64,
}

impl Heard {
    /// Contradictions of a key with itself.
    pub fn twice(&self) -> &[Twice] {
        &self.twice
    }

    /// Votes whose signature is not their signer's.
    pub const fn forged(&self) -> u64 {
        self.forged
    }

    /// Votes of other epochs than the first, which are not looked at.
    pub const fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Different votes in all, however they came.
    pub fn votes(&self) -> usize {
        self.votes.values().map(Vec::len).sum()
    }

    /// Votes that a validator sent itself, in the order in which they came.
    pub fn said_by(&self, signer: ValidatorIndex) -> impl Iterator<Item = &Vote> {
        self.said.iter().filter(move |vote| vote.signer == signer)
    }

    /// All votes of a validator, also those in certificates that others sent.
    pub fn votes_of(&self, signer: ValidatorIndex) -> impl Iterator<Item = &Vote> {
        let votes = self.votes.iter().filter(move |((_, by), _)| *by == signer);
        votes.flat_map(|(_, votes)| votes)
    }

    /// How many messages a sender sent, by their first byte.
    pub fn messages(&self, from: Peer) -> BTreeMap<u8, u64> {
        let of = self.messages.iter().filter(|((by, _), _)| *by == from);
        of.map(|((_, kind), count)| (*kind, *count)).collect()
    }

    /// Whoever showed an observer's certificate.
    pub const fn observers(&self) -> &BTreeSet<Peer> {
        &self.observers
    }
}

/// See the module. Ends when it is dropped.
#[derive(Debug)]
pub struct Recorder {
    heard: Arc<Mutex<Heard>>,
    founding: Founding,
    handle: Option<Handle>,
    runtime: Option<Runtime>,
}

impl Recorder {
    /// Takes the place of the network's `at`-th validator, which must not run.
    ///
    /// # Errors
    /// If its keys cannot be read, or its address is in use.
    pub fn sit(network: &Network, at: usize) -> Result<Self> {
        let genesis = network.dir().join("genesis.nachweis");
        let founding = container::Founding::load(&genesis).map_err(Error::other)?;
        let founding = Founding::new(founding.into_genesis()).map_err(Error::other)?;
        let seat = &network.manifest().nodes[at];
        let keys = network.dir().join("keys").join(&seat.authority);
        let key = KeyFile::load(&keys.join("network.key"), Purpose::Network);
        let settings = Settings {
            members: MemberAddress::all(founding.genesis()),
            role: Role::Member {
                listen: seat.listen.clone(),
                observers: Some(founding.clone()),
            },
            key: key.map_err(Error::other)?,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let started = runtime.block_on(network::start(settings, FrameLimits::PROTOCOL));
        let (handle, receivers) = started.map_err(Error::other)?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        for receiver in [receivers.consensus, receivers.bulk] {
            let ear = Ear {
                founding: founding.clone(),
                epoch: founding.epoch(),
                heard: Arc::clone(&heard),
            };
            runtime.spawn(ear.listen(receiver));
        }
        Ok(Self {
            heard,
            founding,
            handle: Some(handle),
            runtime: Some(runtime),
        })
    }

    /// Looks at what was heard until now.
    pub fn with<R>(&self, look: impl FnOnce(&Heard) -> R) -> R {
        look(&lock(&self.heard))
    }

    /// How many validators are connected.
    pub fn connected(&self) -> usize {
        self.handle.as_ref().map_or(0, |it| it.connected().len())
    }

    /// A validator's position in the set, by its authority.
    pub fn validator(&self, authority: &str) -> Option<ValidatorIndex> {
        let set = self.founding.set();
        set.position(|member| member.id.as_str() == authority)
    }

    /// Whom a validator is in the mesh.
    pub fn peer(&self, validator: ValidatorIndex) -> Option<Peer> {
        Some(Peer(self.founding.set().get(validator)?.network))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let (Some(handle), Some(runtime)) = (self.handle.take(), self.runtime.take()) {
            runtime.block_on(handle.shutdown());
            runtime.shutdown_background();
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens to one lane.
struct Ear {
    founding: Founding,
    epoch: EpochInfo,
    heard: Arc<Mutex<Heard>>,
}

impl Ear {
    async fn listen(self, mut receiver: Receiver) {
        while let Some(inbound) = receiver.recv().await {
            match inbound {
                Inbound::Frame { from, bytes, .. }
                | Inbound::Observer(FromObserver::Frame { from, bytes }) => {
                    self.frame(from, &bytes);
                }
                Inbound::Observer(FromObserver::Up(peer)) => {
                    lock(&self.heard).observers.insert(peer);
                }
                Inbound::Up(_)
                | Inbound::Down(_)
                | Inbound::RoundTrip { .. }
                | Inbound::Observer(FromObserver::Down(_)) => {}
            }
        }
    }

    fn frame(&self, from: Peer, bytes: &[u8]) {
        let Some(kind) = bytes.first() else {
            return;
        };
        let votes = votes(bytes);
        let mut heard = lock(&self.heard);
        *heard.messages.entry((from, *kind)).or_default() += 1;
        for vote in votes {
            self.vote(&mut heard, from, vote);
        }
    }

    fn vote(&self, heard: &mut Heard, from: Peer, vote: Vote) {
        if vote.epoch != self.epoch.epoch {
            heard.foreign += 1;
            return;
        }
        let before = heard.votes.entry((vote.view, vote.signer)).or_default();
        if !before.contains(&vote) {
            if vote.verify(&self.epoch.set, &self.epoch.context).is_err() {
                heard.forged += 1;
                return;
            }
            let first = before.iter().find(|first| excludes(first, &vote)).copied();
            before.push(vote);
            heard.twice.extend(first.map(|first| Twice {
                first,
                second: vote,
            }));
        }
        let signer = self.founding.set().get(vote.signer);
        if signer.is_some_and(|signer| Peer(signer.network) == from) {
            heard.said.push(vote);
        }
    }
}

/// Whether two votes of one key in one view exclude each other; a second signature under the same words does, too: no
/// honest key makes one.
fn excludes(one: &Vote, other: &Vote) -> bool {
    let both = |a, b| (one.kind, other.kind) == (a, b) || (one.kind, other.kind) == (b, a);
    one.kind == other.kind || both(VoteKind::Nullify, VoteKind::Finalize)
}

/// Every vote that a frame carries.
fn votes(bytes: &[u8]) -> Vec<Vote> {
    if let Ok(message) = Message::decode(bytes) {
        return match message {
            Message::Vote(vote) => vec![vote],
            Message::Proposal(proposal) => {
                let shown = proposal.justification.iter().flat_map(signed);
                shown.chain([proposal.vote]).collect()
            }
            Message::CompactProposal(proposal) => {
                let shown = proposal.justification.iter().flat_map(signed);
                shown.chain([proposal.vote]).collect()
            }
            Message::Certificate(certificate) => signed(&certificate).collect(),
            Message::CertResp(certificates) => certificates.iter().flat_map(signed).collect(),
            Message::SyncResp(blocks) => signed(&blocks.certificate).collect(),
            Message::RejoinResp(answer) => answer.entry.iter().flat_map(signed).collect(),
            Message::Seen(seen) => seen.votes.iter().copied().collect(),
            Message::Hello(_)
            | Message::Status(_)
            | Message::Fetch(_)
            | Message::Block(_)
            | Message::CertReq(_)
            | Message::SyncReq(_)
            | Message::RejoinReq(_)
            | Message::BodyReq(_)
            | Message::BodyItems(_) => Vec::new(),
        };
    }
    match gossip::Message::decode(bytes) {
        Ok(gossip::Message::Range(range)) => range.certificates.iter().flat_map(signed).collect(),
        Ok(gossip::Message::Items(items)) => {
            let items = items.iter().filter_map(|item| item.parse().ok());
            let pairs = items.filter_map(|item| match item {
                Item::Evidence(pair) => Some(pair),
                Item::Submission(_) => None,
            });
            pairs
                .flat_map(|pair| {
                    let (first, second) = pair.votes();
                    [*first, *second]
                })
                .collect()
        }
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// The votes of a certificate.
fn signed(certificate: &Certificate) -> impl Iterator<Item = Vote> {
    let (epoch, statement) = (certificate.epoch(), certificate.statement());
    let signers = certificate.signers();
    signers.map(move |(signer, signature)| Vote {
        epoch,
        view: statement.view,
        kind: statement.kind,
        block: statement.block,
        signer,
        signature: *signature,
    })
}
