//! The full mesh of the validators: libp2p over TCP, Noise and Yamux, and nothing else.
//!
//! It moves frames: bytes of at most a known length, from one authenticated member to another, on one of two
//! [`Lane`]s. It decodes no message; it only looks at a frame's first byte, whose kind bounds its length
//! ([`FrameLimits`]), before anything is allocated. Only this module names libp2p.
//!
//! # What the driver can rely on
//!
//! - [`start`] returns when the node listens. Everything ends with [`Handle::shutdown`], or when the last handle is
//!   dropped; [`Receiver::recv`] returns `None` then.
//! - Small and urgent messages travel on [`Lane::Consensus`] (votes, certificates, status, the start check, requests,
//!   cosignatures), those with bodies or long lists on [`Lane::Bulk`] (proposals, blocks, sync, submissions, pool ids).
//!   [`Lane::of`] is the rule. Each lane has its own stream per peer and direction and its own [`Receiver`], so that
//!   bulk never holds up a vote.
//! - [`Inbound::Up`] and [`Inbound::Down`] come on the consensus receiver, strictly in order with the peer's consensus
//!   frames: `Up`, frames, `Down`. Bulk frames of a peer may be received shortly before its `Up` or after its `Down`.
//!   After `Up`, [`Handle::send`] to the peer is taken. [`Inbound::RoundTrip`] is a hint and may come at any time.
//! - A lane keeps order while a connection lives; nothing is promised across lanes or connections. What was queued
//!   for a peer that goes down is gone.
//! - A full outbound queue drops the *newest* frame and counts it: consensus sends again anyway (R8).
//! - Frames that wait in the receivers, and behind them as long as their [`Room`] is kept, hold at most 64 MiB together
//!   (`inbox`). Whoever does not drain them makes the mesh stop reading, peer by peer; after 30 s of that the peers give
//!   the connection up.
//!
//! # What is done about peers
//!
//! Peer ids follow from the network keys in the genesis. Who is no member shows an observer's certificate right after
//! the handshake, before any lane is open, or is refused (`introduction`); unfinished handshakes and introductions are
//! bounded in all and per address (`gate`). An observer is told of and heard apart from the members
//! ([`Inbound::Observer`], [`Handle::inform`]), at most four of an authority, each until its certificate expires.
//! The smaller peer id dials; the other side dials too only
//! after three seconds without connection, which helps when just one direction works. A peer that breaks framing, that
//! connects all the time, or that the driver reports with [`Handle::disconnect`], is disconnected, logged, counted and
//! kept out for a growing time. Identify is not spoken: the genesis says all that it could.
//!
//! libp2p-stream is not used: it opens streams on a random one of a peer's connections and does not say on which, so
//! that a stale connection could not be told from its replacement. `lanes` does the same with connection ids.

mod counters;
mod frame;
mod gate;
mod inbox;
mod introduction;
mod lanes;
mod member;
mod mesh;
mod outbox;
pub mod raw;
mod session;
mod transport;

#[cfg(test)]
mod tests;

pub use counters::{Counters, LaneCounters, PeerCounters};
pub use frame::{CONSENSUS_MAX, FrameLimits};
pub use inbox::{Receiver, Receivers, Room};
#[cfg(test)]
pub(crate) use inbox::{budgets, channels};
pub use introduction::Reason;

use crate::identity::{Identity, Part};
use consensus::Peer;
use genesis::keyfile::KeyFile;
use ledger::genesis::Genesis;
use ledger::id::AuthorityId;
use ledger::observer::Certificate;
use mesh::Mesh;
use outbox::Registry;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Most commands that wait for the mesh.
const MAX_COMMANDS: usize = 256;
/// Most members of a mesh.
pub const MAX_MEMBERS: usize = ledger::validator_set::MAX_VALIDATORS;

/// What a mesh starts from.
#[derive(Debug)]
pub struct Settings {
    /// All members; the node itself may be among them and is passed over.
    pub members: Vec<MemberAddress>,
    /// What the node is to them.
    pub role: Role,
    /// The node's network key.
    pub key: KeyFile,
}

/// What a node is in the mesh.
#[derive(Clone, Debug)]
pub enum Role {
    /// A member.
    Member {
        /// Multiaddress to listen at: `/ip4/…/tcp/…` or `/ip6/…/tcp/…`.
        listen: String,
        /// What certificates of observers are checked against; without it none is let in.
        observers: Option<ledger::tip::Founding>,
    },
    /// No member: it dials them all, listens nowhere, and shows them this certificate.
    Observer(Box<Certificate>),
}

/// Who a connected peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A member.
    Member,
    /// An observer.
    Observer,
}

/// A member of the mesh and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAddress {
    /// By its network key.
    pub peer: Peer,
    /// Whose node it is; for logs.
    pub authority: AuthorityId,
    /// Multiaddresses as in the genesis.
    pub addresses: Vec<String>,
}

/// One of the two streams to each peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Small and urgent: frames of at most [`CONSENSUS_MAX`] bytes.
    Consensus,
    /// Bodies, lists, submissions, sync.
    Bulk,
}

/// What comes in from the mesh.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound {
    /// The peer is connected and both lanes are open in both directions.
    Up(Peer),
    /// The peer is gone; nothing of it follows on this lane before the next `Up`.
    Down(Peer),
    /// A frame.
    Frame {
        /// The authenticated sender.
        from: Peer,
        /// The lane that it came on.
        lane: Lane,
        /// Its bytes, 1 to the limit of their kind.
        bytes: Vec<u8>,
    },
    /// A measured round trip, every few seconds.
    RoundTrip {
        /// With whom.
        peer: Peer,
        /// In whole milliseconds, rounded down.
        rtt_ms: u64,
    },
    /// Of an observer.
    Observer(FromObserver),
}

/// What comes in from an observer, ordered as for members.
#[derive(Debug, PartialEq, Eq)]
pub enum FromObserver {
    /// It is connected.
    Up(Peer),
    /// It is gone.
    Down(Peer),
    /// A frame.
    Frame {
        /// The authenticated sender, whose certificate is good.
        from: Peer,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// What became of a frame that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It waits for its stream.
    Queued,
    /// The peer's queue is full; counted.
    Dropped,
    /// The peer is not connected.
    NotConnected,
    /// Its kind is unknown on this lane, or it is over its kind's limit: a peer would punish it.
    Refused,
}

/// Why a mesh does not start.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The address to listen at is none, or not `/ip4|ip6/…/tcp/…`.
    #[error("{0:?} is no address to listen at")]
    Listen(String),
    /// Somebody listens there already.
    #[error("address {0} is in use")]
    InUse(String),
    /// The operating system refuses to listen there.
    #[error("cannot listen at {address}")]
    Refused {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A member's address is none.
    #[error("{address:?} of {authority} is no address")]
    Address {
        /// Whose.
        authority: AuthorityId,
        /// What stands there.
        address: String,
    },
    /// A network key is no Ed25519 key.
    #[error("the network key of {0} is no key")]
    Key(AuthorityId),
    /// The own key is for something else.
    #[error("the key of {0} is no network key")]
    Purpose(AuthorityId),
    /// More members than [`MAX_MEMBERS`].
    #[error("{0} members are over the limit of {MAX_MEMBERS}")]
    TooMany(usize),
    /// A member has a host name as its address, and names cannot be resolved here.
    #[error("no resolver for host names")]
    Resolver(#[source] std::io::Error),
}

impl NetworkError {
    /// What a person can do about it.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Listen(_) => Some("give an address like /ip4/0.0.0.0/tcp/7447"),
            Self::InUse(_) => Some(
                "does this node run already? otherwise free the port, or set network.listen in node.toml",
            ),
            Self::Refused { .. } => {
                Some("does this machine have that address? ports below 1024 need a privilege")
            }
            Self::Purpose(_) => Some("the file is usually called network.key"),
            Self::Resolver(_) => Some("look at /etc/resolv.conf"),
            Self::Address { .. } | Self::Key(_) | Self::TooMany(_) => None,
        }
    }
}

/// A command to the mesh's task.
#[derive(Debug)]
enum Command {
    Disconnect { peer: Peer, why: &'static str },
}

/// The running mesh. Clones are the same mesh; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Running>);

#[derive(Debug)]
struct Running {
    registry: Arc<Registry>,
    limits: FrameLimits,
    commands: mpsc::Sender<Command>,
    listening: Vec<String>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
    /// Ends the mesh with the last handle.
    _guard: DropGuard,
}

/// Starts to listen and to dial; returns once the node listens.
///
/// # Errors
/// [`NetworkError`]: nothing was started then.
pub async fn start(
    settings: Settings,
    limits: FrameLimits,
) -> Result<(Handle, Receivers), NetworkError> {
    let (running, mesh, receivers) = prepare(&settings, limits)?;
    let listen = match &settings.role {
        Role::Member { listen, .. } => Some(listen.as_str()),
        Role::Observer(_) => None,
    };
    Ok((running.run(mesh, listen).await?, receivers))
}

/// Looks whether nobody listens at an address yet, before anything is started.
///
/// # Errors
/// [`NetworkError`], as [`start`] would say.
pub fn check_free(listen: &str) -> Result<(), NetworkError> {
    mesh::check_free(listen).map(drop)
}

fn prepare(
    settings: &Settings,
    limits: FrameLimits,
) -> Result<(Running, Mesh, Receivers), NetworkError> {
    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    let (commands, orders) = mpsc::channel(MAX_COMMANDS);
    let (mesh, receivers) = Mesh::new(settings, limits, orders, stop.clone())?;
    let running = Running {
        registry: mesh.registry(),
        limits,
        commands,
        listening: Vec::new(),
        stop,
        task: Mutex::new(None),
        _guard: guard,
    };
    Ok((running, mesh, receivers))
}

impl Running {
    async fn run(mut self, mut mesh: Mesh, listen: Option<&str>) -> Result<Handle, NetworkError> {
        if let Some(listen) = listen {
            self.listening = mesh.listen(listen).await?;
        }
        self.task = Mutex::new(Some(tokio::spawn(mesh.run())));
        Ok(Handle(Arc::new(self)))
    }
}

impl Settings {
    /// The mesh of a genesis' validators, as one of them or as an observer.
    pub fn new(identity: &Identity, founding: &ledger::tip::Founding, listen: &str) -> Self {
        let (role, key) = match &identity.part {
            Part::Validator { keys, .. } => {
                let role = Role::Member {
                    listen: listen.to_owned(),
                    observers: Some(founding.clone()),
                };
                (role, &keys.network)
            }
            Part::Observer {
                network,
                certificate,
            } => (Role::Observer(Box::new(*certificate)), network),
        };
        Self {
            members: MemberAddress::all(identity.founding.genesis()),
            role,
            key: key.clone(),
        }
    }
}

impl MemberAddress {
    /// All validators of a genesis.
    pub fn all(genesis: &Genesis) -> Vec<Self> {
        let members = genesis.authorities.iter().filter_map(|authority| {
            let validator = authority.validator.as_ref()?;
            let addresses = validator.addresses.iter();
            Some(Self {
                peer: Peer(validator.network),
                authority: authority.id.clone(),
                addresses: addresses.map(|text| text.as_str().to_owned()).collect(),
            })
        });
        members.collect()
    }
}

impl Lane {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Consensus, Self::Bulk];

    /// The lane of a message, by the limits of its first byte.
    pub fn of(bytes: &[u8]) -> Self {
        let small = bytes
            .first()
            .and_then(|kind| FrameLimits::PROTOCOL.of(Self::Consensus, *kind));
        small.map_or(Self::Bulk, |_limit| Self::Consensus)
    }
}

impl Handle {
    /// Queues a frame for a peer; never waits.
    pub fn send(&self, to: &Peer, lane: Lane, bytes: Arc<[u8]>) -> Sent {
        if !self.0.limits.allow(lane, &bytes) {
            return self.refuse(lane, &bytes);
        }
        self.0.registry.send(to, lane, bytes)
    }

    /// Queues a frame for every connected member and returns for how many; never waits.
    pub fn broadcast(&self, lane: Lane, bytes: Arc<[u8]>) -> usize {
        self.to_all(Rank::Member, lane, &bytes)
    }

    /// Queues a frame for every connected observer and returns for how many; never waits.
    pub fn inform(&self, lane: Lane, bytes: Arc<[u8]>) -> usize {
        self.to_all(Rank::Observer, lane, &bytes)
    }

    fn to_all(&self, rank: Rank, lane: Lane, bytes: &Arc<[u8]>) -> usize {
        if !self.0.limits.allow(lane, bytes) {
            self.refuse(lane, bytes);
            return 0;
        }
        self.0.registry.broadcast(rank, lane, bytes)
    }

    fn refuse(&self, lane: Lane, bytes: &[u8]) -> Sent {
        let kind = bytes.first();
        tracing::error!(?lane, ?kind, len = bytes.len(), "frame is over its limit");
        self.0.registry.meters().refused_frame();
        Sent::Refused
    }

    /// Disconnects a peer that misbehaved and keeps it out for a time that grows with each offence.
    ///
    /// `why` is counted and logged with the authority's id.
    pub fn disconnect(&self, peer: &Peer, why: &'static str) {
        let command = Command::Disconnect { peer: *peer, why };
        if self.0.commands.try_send(command).is_err() {
            tracing::warn!(why, "too many disconnects at once: one is passed over");
        }
    }

    /// The members that are up.
    pub fn connected(&self) -> Vec<Peer> {
        self.0.registry.connected(Rank::Member)
    }

    /// The observers that are up.
    pub fn observers(&self) -> Vec<Peer> {
        self.0.registry.connected(Rank::Observer)
    }

    /// The addresses that the node listens at.
    pub fn listening(&self) -> &[String] {
        &self.0.listening
    }

    /// All counters at this moment.
    pub fn counters(&self) -> Counters {
        self.0.registry.meters().read()
    }

    /// Ends all connections and tasks, and returns when they have ended.
    pub async fn shutdown(self) {
        self.0.stop.cancel();
        let task = self.0.task.lock().await.take();
        if let Some(task) = task {
            // It only fails if it panicked or was aborted; then it has ended as well.
            drop(task.await);
        }
    }
}
