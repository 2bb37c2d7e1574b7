//! The mesh's task: owns the swarm, dials, replaces, punishes, and starts a session per usable connection.

use super::counters::Meters;
use super::gate::{Gate, Guests, Refusal};
use super::inbox::{self, Budget, Inbox};
use super::introduction::{self, Answer, Reason};
use super::lanes::{self, Fault, Lanes, Manner, Report, Streams};
use super::member::{Dialler, Link, Member, Standing};
use super::outbox::Registry;
use super::session::{End, Session};
use super::transport::{self, Names};
use super::{
    Command, FrameLimits, Inbound, Lane, MAX_MEMBERS, NetworkError, Rank, Receivers, Role, Settings,
};
use crate::clock;
use consensus::Peer;
use futures::StreamExt as _;
use ledger::genesis::Purpose;
use ledger::tip::Founding;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{
    self, ConnectionId, DialError, ListenError, NetworkBehaviour, Swarm, SwarmEvent,
};
use libp2p::{Multiaddr, PeerId, TransportError, ping};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Interval of the measured round trips.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Silence after which a connection counts as dead.
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// The lanes keep connections open; this only must not be short.
const IDLE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the connections may take to close at the end.
const CLOSE: Duration = Duration::from_secs(2);
/// Least time between two log lines about refused connections.
const REFUSED_LOG: Duration = Duration::from_secs(10);

/// Longest time until it is looked again whether an observer's certificate is over: wall clocks jump.
const LOOK_AT_CERTIFICATES: Duration = Duration::from_secs(30);

/// The gate is first: what it refuses, the others never see.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    gate: Gate,
    lanes: Lanes,
    ping: ping::Behaviour,
}

/// See the module.
pub(super) struct Mesh {
    swarm: Swarm<Behaviour>,
    limits: FrameLimits,
    /// The members, and the observers that are in or kept out.
    members: BTreeMap<PeerId, Member>,
    /// Connections whose peers have not shown a certificate yet.
    guests: BTreeSet<ConnectionId>,
    /// What certificates are checked against.
    observers: Option<Founding>,
    /// A budget that those of observers are made from.
    budget: Budget,
    inbox: Inbox,
    registry: Arc<Registry>,
    orders: mpsc::Receiver<Command>,
    sessions: JoinSet<(PeerId, ConnectionId, End)>,
    stop: CancellationToken,
    refused_logged: Option<Instant>,
}

/// The own key, ready for libp2p.
fn own_keypair(settings: &Settings) -> Result<libp2p::identity::Keypair, NetworkError> {
    let authority = settings.key.authority();
    if settings.key.purpose() != Purpose::Network {
        return Err(NetworkError::Purpose(authority.clone()));
    }
    transport::keypair(settings.key.seed()).ok_or_else(|| NetworkError::Key(authority.clone()))
}

/// The members but the node itself, and whether any of them has a host name as its address.
fn members(
    settings: &Settings,
    own: PeerId,
) -> Result<(BTreeMap<PeerId, Member>, Names), NetworkError> {
    let others = settings.members.len();
    if others > MAX_MEMBERS {
        return Err(NetworkError::TooMany(others));
    }
    let mut members = BTreeMap::new();
    let mut names = Names::Unsupported;
    let now = Instant::now();
    for (member, budget) in settings.members.iter().zip(inbox::budgets(others)) {
        let id = transport::peer_id(&member.peer)
            .ok_or_else(|| NetworkError::Key(member.authority.clone()))?;
        if id == own {
            continue;
        }
        let mut addresses = Vec::new();
        for text in &member.addresses {
            let bad = |_error| NetworkError::Address {
                authority: member.authority.clone(),
                address: text.clone(),
            };
            let address: Multiaddr = text.parse().map_err(bad)?;
            if address.iter().any(|part| is_name(&part)) {
                names = Names::Resolved;
            }
            addresses.push(address);
        }
        let dialler = match &settings.role {
            Role::Member { .. } => (own < id).into(),
            Role::Observer(_) => Dialler::Local,
        };
        members.insert(id, Member::new(member, addresses, budget, dialler, now));
    }
    Ok((members, names))
}

const fn is_name(part: &Protocol<'_>) -> bool {
    matches!(
        part,
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)
    )
}

/// An address to listen at: an IP address and a TCP port.
fn listen_address(text: &str) -> Option<(Multiaddr, SocketAddr)> {
    let address: Multiaddr = text.parse().ok()?;
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    let Protocol::Tcp(port) = parts.next()? else {
        return None;
    };
    if parts.next().is_some() {
        return None;
    }
    Some((address, SocketAddr::new(ip, port)))
}

/// Whether nobody listens at an address yet.
///
/// libp2p sets `SO_REUSEPORT`: a second node of the same user would not notice the first.
pub(super) fn check_free(text: &str) -> Result<Multiaddr, NetworkError> {
    let (address, socket) =
        listen_address(text).ok_or_else(|| NetworkError::Listen(text.to_owned()))?;
    drop(TcpListener::bind(socket).map_err(|source| refused(text, source))?);
    Ok(address)
}

fn refused(address: &str, source: io::Error) -> NetworkError {
    let address = address.to_owned();
    match source.kind() {
        io::ErrorKind::AddrInUse => NetworkError::InUse(address),
        _ => NetworkError::Refused { address, source },
    }
}

impl Mesh {
    /// Puts a mesh together; it does nothing yet.
    pub(super) fn new(
        settings: &Settings,
        limits: FrameLimits,
        orders: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) -> Result<(Self, Receivers), NetworkError> {
        let keypair = own_keypair(settings)?;
        let own = keypair.public().to_peer_id();
        let (members, names) = members(settings, own)?;
        let transport = transport::build(&keypair, names).map_err(NetworkError::Resolver)?;
        let ids = || members.keys().copied();
        let (observers, guests, manner) = match &settings.role {
            Role::Observer(certificate) => {
                (None, Guests::Refused, Manner::Guest(certificate.encode()))
            }
            Role::Member { observers, .. } => match observers {
                Some(founding) => {
                    let manner = Manner::Host(ids().collect());
                    (Some(founding.clone()), Guests::Welcome, manner)
                }
                None => (None, Guests::Refused, Manner::Member),
            },
        };
        let budget = inbox::budgets(1).next().ok_or(NetworkError::TooMany(0))?;
        let behaviour = Behaviour {
            gate: Gate::new(ids(), guests),
            lanes: Lanes::new(manner, &Lane::ALL),
            ping: ping::Behaviour::new(
                ping::Config::new()
                    .with_interval(PING_INTERVAL)
                    .with_timeout(PING_TIMEOUT),
            ),
        };
        let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE);
        let meters = Meters::new(members.values().map(Member::named));
        let (inbox, receivers) = inbox::channels();
        let mesh = Self {
            swarm: Swarm::new(transport, behaviour, own, config),
            limits,
            members,
            guests: BTreeSet::new(),
            observers,
            budget,
            inbox,
            registry: Arc::new(Registry::new(meters)),
            orders,
            sessions: JoinSet::new(),
            stop,
            refused_logged: None,
        };
        Ok((mesh, receivers))
    }

    pub(super) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// Makes this side dial every member at once, whoever else does.
    #[cfg(test)]
    pub(super) fn dial_all(&mut self) {
        for member in self.members.values_mut() {
            member.dial_now();
        }
    }

    /// Listens, and returns at which addresses.
    pub(super) async fn listen(&mut self, text: &str) -> Result<Vec<String>, NetworkError> {
        let bad = || NetworkError::Listen(text.to_owned());
        let address = check_free(text)?;
        self.swarm.listen_on(address).map_err(|error| match error {
            TransportError::MultiaddrNotSupported(_) => bad(),
            TransportError::Other(source) => refused(text, source),
        })?;
        loop {
            match self.swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { address, .. } => {
                    tracing::info!(%address, "listens for peers");
                    return Ok(self.swarm.listeners().map(Multiaddr::to_string).collect());
                }
                SwarmEvent::ListenerClosed {
                    reason: Err(source),
                    ..
                } => return Err(refused(text, source)),
                event => self.on_event(event),
            }
        }
    }

    /// Runs until it is stopped.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        loop {
            let due = self.next_due();
            tokio::select! {
                () = stop.cancelled() => break,
                event = self.swarm.select_next_some() => self.on_event(event),
                Some(Command::Disconnect { peer, why }) = self.orders.recv() => {
                    if let Some(id) = self.id_of(&peer) {
                        self.punish(id, why);
                    }
                }
                Some(ended) = self.sessions.join_next() => {
                    if let Ok((id, connection, end)) = ended {
                        self.on_end(id, connection, end);
                    }
                }
                () = tokio::time::sleep_until(due) => self.on_timer(),
            }
        }
        self.close().await;
    }

    /// Closes what is open, within [`CLOSE`].
    async fn close(mut self) {
        let ids: Vec<_> = self.swarm.connected_peers().copied().collect();
        for id in ids {
            // Fails only for a peer that is gone by itself.
            self.swarm.disconnect_peer_id(id).ok();
        }
        let closing = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        if tokio::time::timeout(CLOSE, closing).await.is_err() {
            tracing::debug!("connections were dropped before they were closed");
        }
        // Their stop is the mesh's; they wait for nothing else.
        while self.sessions.join_next().await.is_some() {}
    }

    fn id_of(&self, peer: &Peer) -> Option<PeerId> {
        let mut members = self.members.iter();
        members.find_map(|(id, member)| (member.peer == *peer).then_some(*id))
    }

    fn next_due(&self) -> Instant {
        let now = Instant::now();
        let wall = clock::wall();
        let over = self.members.values().filter_map(|member| {
            let not_after = member.certified_until()?;
            let left = not_after.0.saturating_sub(wall.0).saturating_add(1);
            Some(now + Duration::from_millis(left).min(LOOK_AT_CERTIFICATES))
        });
        let due = self.members.values().filter_map(Member::due);
        due.chain(over).min().unwrap_or_else(|| now + IDLE)
    }

    /// Ends the connections of observers whose certificates are over, and forgets those that are gone.
    fn look_at_observers(&mut self) {
        let wall = clock::wall();
        let over = self.members.iter().filter(|(_, member)| {
            let until = member.certified_until();
            until.is_some_and(|not_after| not_after < wall)
        });
        let over: Vec<PeerId> = over.map(|(id, _)| *id).collect();
        for id in over {
            if let Some(member) = self.members.get_mut(&id)
                && member.keep_out(Instant::now()).is_some()
            {
                let why = Reason::Expired.name();
                tracing::warn!(authority = %member.authority, why, "observer is disconnected");
                self.registry.meters().refused_observer(why);
                // Fails only if it is disconnected already.
                self.swarm.disconnect_peer_id(id).ok();
            }
        }
        self.forget_observers();
    }

    fn forget_observers(&mut self) {
        let meters = self.registry.meters();
        self.members.retain(|_, member| {
            let gone = member.is_gone();
            if gone {
                meters.remove_observer(&member.peer);
            }
            !gone
        });
    }

    fn on_timer(&mut self) {
        let now = Instant::now();
        self.look_at_observers();
        for (id, member) in &mut self.members {
            if member.let_in_again(now) {
                self.swarm.behaviour_mut().gate.allow(id);
            }
            if let Some(old) = member.long_replaced(now) {
                self.swarm.close_connection(old);
            }
            if !member.start_dial(now) {
                continue;
            }
            let dial = DialOpts::peer_id(*id)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(member.addresses.clone())
                .allocate_new_port()
                .build();
            if let Err(error) = self.swarm.dial(dial) {
                tracing::debug!(authority = %member.authority, %error, "does not dial");
                member.dial_failed(now);
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Lanes(event)) => self.on_lanes(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(&event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                let link = Link::new(endpoint.is_dialer().into(), self.stop.child_token());
                self.on_established(peer_id, connection_id, link);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                cause,
                ..
            } => {
                if let Some(member) = self.members.get_mut(&peer_id) {
                    tracing::debug!(authority = %member.authority, ?cause, "connection closed");
                    member.closed(connection_id, Instant::now());
                    self.forget_observers();
                } else if self.guests.remove(&connection_id) {
                    self.refuse_guest(peer_id, Reason::NoCertificate);
                }
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(id),
                error,
                ..
            } => self.on_failed_dial(&id, &error),
            SwarmEvent::IncomingConnectionError {
                send_back_addr,
                error,
                peer_id,
                ..
            } => self.on_refused(&send_back_addr, &error, peer_id),
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a connection could not be accepted");
            }
            SwarmEvent::ListenerClosed { reason, .. } => {
                tracing::error!(?reason, "no longer listens for peers");
            }
            _ => {}
        }
    }

    fn on_established(&mut self, id: PeerId, connection: ConnectionId, link: Link) {
        let Some(member) = self.members.get_mut(&id) else {
            // Its certificate, or its handler's deadline, comes next.
            self.guests.insert(connection);
            return;
        };
        let too_often =
            link.dialler() == Dialler::Remote && member.arrives_too_often(Instant::now());
        if let Some(old) = member.established(connection, link, Instant::now()) {
            self.swarm.close_connection(old);
        }
        if too_often {
            self.punish(id, "connects too often");
        }
    }

    fn on_failed_dial(&mut self, id: &PeerId, error: &DialError) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let authority = &member.authority;
        if let Some(meters) = self.registry.meters().peer(&member.peer) {
            meters.failed_dial();
        }
        if matches!(error, DialError::WrongPeerId { .. }) {
            tracing::warn!(%authority, %error, "another node answers at its address");
        } else if member.is_first_failure() {
            tracing::info!(%authority, %error, "cannot be reached; goes on trying");
        } else {
            tracing::debug!(%authority, %error, "cannot be reached");
        }
        member.dial_failed(Instant::now());
    }

    fn on_refused(&mut self, from: &Multiaddr, error: &ListenError, peer: Option<PeerId>) {
        let refusal = match error {
            ListenError::Denied { cause } => cause.downcast_ref::<Refusal>(),
            _ => None,
        };
        let meters = self.registry.meters();
        match refusal {
            Some(Refusal::Pending) => meters.refused_pending(),
            Some(Refusal::NotAllowed | Refusal::Guests | Refusal::PerPeer) => {
                meters.refused_stranger();
            }
            None => meters.failed_handshake(),
        }
        if self.may_log_refusal() {
            tracing::warn!(%from, ?peer, ?refusal, "connection refused; more are only counted");
        }
    }

    fn may_log_refusal(&mut self) -> bool {
        let now = Instant::now();
        let since = self.refused_logged.map(|then| now.duration_since(then));
        let may = since.is_none_or(|since| since >= REFUSED_LOG);
        if may {
            self.refused_logged = Some(now);
        }
        may
    }

    /// A guest shows its certificate: it becomes an observer, or it hears why not.
    fn on_certificate(&mut self, id: PeerId, connection: ConnectionId, bytes: &[u8]) {
        self.guests.remove(&connection);
        let answer = match self.let_in(id, connection, bytes) {
            Ok(()) => {
                self.swarm.behaviour_mut().gate.known(connection);
                Answer::Welcome
            }
            Err(why) => {
                // It counts as a guest until it is gone.
                self.refuse_guest(id, why);
                Answer::Refused(why)
            }
        };
        let lanes = &mut self.swarm.behaviour_mut().lanes;
        lanes.answer(id, connection, answer);
    }

    fn refuse_guest(&mut self, id: PeerId, why: Reason) {
        let meters = self.registry.meters();
        meters.refused_stranger();
        meters.refused_observer(why.name());
        if self.may_log_refusal() {
            tracing::warn!(peer = ?id, refusal = %why, "connection refused; more are only counted");
        }
    }

    fn let_in(&mut self, id: PeerId, connection: ConnectionId, bytes: &[u8]) -> Result<(), Reason> {
        let founding = self.observers.as_ref().ok_or(Reason::Unknown)?;
        let admitted = introduction::judge(founding, bytes, clock::wall())?;
        let peer = Peer(admitted.network);
        if transport::peer_id(&peer) != Some(id) {
            return Err(Reason::OtherKey);
        }
        let authority = admitted.authority;
        let standing = Standing::Observer {
            authority,
            not_after: admitted.not_after,
        };
        if let Some(known) = self.members.get_mut(&id) {
            // It came back before the end of its last connection was noticed, and was linked when it did.
            known.standing = standing;
        } else {
            let inside = self.members.values().filter_map(|it| match it.standing {
                Standing::Observer { authority, .. } => Some(authority),
                Standing::Member => None,
            });
            introduction::has_room(authority, inside)?;
            self.registry
                .meters()
                .add_observer(peer, admitted.id.clone());
            let budget = self.budget.for_observer();
            let now = Instant::now();
            let mut new = Member::observer(peer, admitted.id, standing, budget, now);
            let link = Link::new(Dialler::Remote, self.stop.child_token());
            new.established(connection, link, now);
            self.members.insert(id, new);
        }
        Ok(())
    }

    fn on_ping(&mut self, event: &ping::Event) {
        let Some(member) = self.members.get(&event.peer) else {
            return;
        };
        match &event.result {
            Ok(rtt) if self.registry.is_up(&member.peer) => {
                let rtt_ms = u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX);
                let peer = member.peer;
                self.inbox.hint(Inbound::RoundTrip { peer, rtt_ms });
            }
            Ok(_) | Err(ping::Failure::Unsupported) => {}
            Err(error) => {
                tracing::info!(authority = %member.authority, %error, "does not answer: disconnected");
                self.swarm.close_connection(event.connection);
            }
        }
    }

    fn on_lanes(&mut self, event: lanes::Event) {
        let lanes::Event {
            peer: id,
            connection,
            report,
        } = event;
        match report {
            Report::Certificate(bytes) => self.on_certificate(id, connection, &bytes),
            Report::Lanes(Ok(streams)) => self.start_session(id, connection, streams),
            Report::Lanes(Err(fault)) => self.on_fault(id, connection, fault),
        }
    }

    fn on_fault(&mut self, id: PeerId, connection: ConnectionId, fault: Fault) {
        let authority = self.members.get(&id).map(|member| &member.authority);
        match (fault, authority) {
            (Fault::Twice, Some(_)) => self.punish(id, "lane opened twice"),
            (Fault::Refused(reason), Some(authority)) => {
                tracing::error!(%authority, %reason, "the validator does not let this observer in");
            }
            (Fault::Guest | Fault::Unsupported | Fault::Incomplete, Some(authority)) => {
                tracing::debug!(%authority, ?fault, "lanes could not be opened");
            }
            // Counted when it was refused, or when it is closed.
            (_, None) => {}
        }
        self.swarm.close_connection(connection);
    }

    fn start_session(&mut self, id: PeerId, connection: ConnectionId, streams: Box<Streams>) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let Some(meters) = self.registry.meters().peer(&member.peer) else {
            return;
        };
        // None: it was closed meanwhile, and the streams are dropped.
        let Some(stop) = member.usable(connection) else {
            return;
        };
        tracing::info!(authority = %member.authority, "connected");
        let session = Session {
            peer: member.peer,
            rank: match member.standing {
                Standing::Member => Rank::Member,
                Standing::Observer { .. } => Rank::Observer,
            },
            connection,
            limits: self.limits,
            inbox: self.inbox.clone(),
            budget: Budget::clone(&member.budget),
            registry: Arc::clone(&self.registry),
            meters,
            presence: Arc::clone(&member.presence),
            stop,
            shutdown: self.stop.clone(),
        };
        self.sessions
            .spawn(async move { (id, connection, session.run(streams).await) });
    }

    fn on_end(&mut self, id: PeerId, connection: ConnectionId, end: End) {
        if let Some(member) = self.members.get(&id) {
            tracing::info!(authority = %member.authority, ?end, "disconnected");
        }
        match end {
            End::Offence(why) => self.punish(id, why),
            End::Closed | End::Stalled => {
                self.swarm.close_connection(connection);
            }
        }
    }

    fn punish(&mut self, id: PeerId, why: &'static str) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        if let Some(meters) = self.registry.meters().peer(&member.peer) {
            meters.offence(why);
        }
        // None: it was punished already; what is reported now was queued before.
        let Some(time) = member.keep_out(Instant::now()) else {
            return;
        };
        tracing::warn!(
            authority = %member.authority, why, seconds = time.as_secs(),
            "peer misbehaved: disconnected and kept out"
        );
        self.swarm.behaviour_mut().gate.keep_out(id);
        // Fails only if it is disconnected already.
        self.swarm.disconnect_peer_id(id).ok();
    }
}
