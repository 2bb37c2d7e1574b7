//! Who may connect: members that are not kept out, and a few guests; and how many handshakes may be unfinished.
//!
//! A stranger is known only after the Noise handshake, so what comes before it is bounded, in all and per address.
//! One address that fills its share cannot keep members at other addresses out. A guest is whoever is no member: it
//! may be an observer that has not shown its certificate yet (`introduction`). Guests are bounded in the same way.

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};

/// Most unfinished inbound handshakes.
const MAX_PENDING: usize = 128;
/// Most unfinished inbound handshakes from one address.
const MAX_PENDING_PER_ADDRESS: usize = 32;
/// Most connections whose peers have not shown a certificate yet.
const MAX_GUESTS: usize = 16;
/// Most of them from one address.
const MAX_GUESTS_PER_ADDRESS: usize = 8;
/// Connections of one peer at a time: two when both sides dial at once, and one that replaces a dead one.
const MAX_PER_PEER: usize = 3;

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Too many unfinished handshakes.
    #[error("too many unfinished handshakes")]
    Pending,
    /// No member where guests are not let in, or kept out.
    #[error("the peer is not allowed")]
    NotAllowed,
    /// Too many guests.
    #[error("too many peers have not shown a certificate yet")]
    Guests,
    /// Too many connections of this peer.
    #[error("too many connections of this peer")]
    PerPeer,
}

/// Whether others than members may come as far as to show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Guests {
    #[default]
    Refused,
    Welcome,
}

/// The behaviour that refuses.
#[derive(Debug, Default)]
pub(super) struct Gate {
    members: BTreeSet<PeerId>,
    guests: Guests,
    /// Members and observers that misbehaved.
    kept_out: BTreeSet<PeerId>,
    unknown: BTreeMap<ConnectionId, Option<IpAddr>>,
    pending: BTreeMap<ConnectionId, Option<IpAddr>>,
    established: BTreeMap<PeerId, BTreeSet<ConnectionId>>,
}

impl Gate {
    pub(super) fn new(members: impl IntoIterator<Item = PeerId>, guests: Guests) -> Self {
        Self {
            members: members.into_iter().collect(),
            guests,
            ..Self::default()
        }
    }

    /// Lets a peer in again from now on.
    pub(super) fn allow(&mut self, peer: &PeerId) {
        self.kept_out.remove(peer);
    }

    /// Keeps a peer out from now on; what it has open is for the caller to close.
    pub(super) fn keep_out(&mut self, peer: PeerId) {
        self.kept_out.insert(peer);
    }

    /// The peer of this connection has shown a good certificate.
    pub(super) fn known(&mut self, connection: ConnectionId) {
        self.unknown.remove(&connection);
    }

    fn admit(&self, peer: &PeerId) -> Result<dummy::ConnectionHandler, ConnectionDenied> {
        if self.kept_out.contains(peer) {
            return Err(ConnectionDenied::new(Refusal::NotAllowed));
        }
        let connections = self.established.get(peer).map_or(0, BTreeSet::len);
        if connections >= MAX_PER_PEER {
            return Err(ConnectionDenied::new(Refusal::PerPeer));
        }
        Ok(dummy::ConnectionHandler)
    }

    fn admit_guest(
        &mut self,
        connection: ConnectionId,
        from: Option<IpAddr>,
    ) -> Result<(), ConnectionDenied> {
        if self.guests == Guests::Refused {
            return Err(ConnectionDenied::new(Refusal::NotAllowed));
        }
        let same = self.unknown.values().filter(|other| **other == from);
        if self.unknown.len() >= MAX_GUESTS || same.count() >= MAX_GUESTS_PER_ADDRESS {
            return Err(ConnectionDenied::new(Refusal::Guests));
        }
        self.unknown.insert(connection, from);
        Ok(())
    }
}

fn ip(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    })
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let from = ip(remote);
        let same = self
            .pending
            .values()
            .filter(|other| **other == from)
            .count();
        if self.pending.len() >= MAX_PENDING || same >= MAX_PENDING_PER_ADDRESS {
            return Err(ConnectionDenied::new(Refusal::Pending));
        }
        self.pending.insert(connection, from);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.pending.remove(&connection);
        let handler = self.admit(&peer)?;
        if !self.members.contains(&peer) {
            self.admit_guest(connection, ip(remote))?;
        }
        Ok(handler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _connection: ConnectionId,
        peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if !self.members.contains(&peer) {
            return Err(ConnectionDenied::new(Refusal::NotAllowed));
        }
        self.admit(&peer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(it) => {
                let connections = self.established.entry(it.peer_id).or_default();
                connections.insert(it.connection_id);
            }
            FromSwarm::ConnectionClosed(it) => {
                self.unknown.remove(&it.connection_id);
                if let Some(connections) = self.established.get_mut(&it.peer_id) {
                    connections.remove(&it.connection_id);
                    if connections.is_empty() {
                        self.established.remove(&it.peer_id);
                    }
                }
            }
            FromSwarm::ListenFailure(it) => {
                self.pending.remove(&it.connection_id);
                self.unknown.remove(&it.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        _connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
