//! Opens both lanes on every connection, takes both from the peer, and hands the four streams over together.
//!
//! Each side writes on the streams that it opened and reads from those that it accepted. A connection whose four
//! streams are not there in time, or whose peer opens a lane twice, is reported as failed.

use super::Lane;
use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{
    ConnectionEvent, ConnectionHandlerEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionId, FromSwarm, NetworkBehaviour, Stream,
    SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll, ready as take_ready};
use std::time::Duration;
use tokio::time::Sleep;

/// How long all four streams may take.
const SETUP: Duration = Duration::from_secs(10);
/// Protocol name of [`Lane::Consensus`].
const CONSENSUS: &str = "/nachweis/consensus/1";
/// Protocol name of [`Lane::Bulk`].
const BULK: &str = "/nachweis/bulk/1";

/// The streams of a connection, in the order of [`Lane::ALL`].
#[derive(Debug)]
pub(super) struct Streams {
    /// To read from.
    pub(super) inbound: [Stream; 2],
    /// To write to.
    pub(super) outbound: [Stream; 2],
}

/// Why a connection gets no lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The peer does not speak this protocol.
    Unsupported,
    /// They were not there in time, or broke.
    Incomplete,
    /// The peer opened one twice.
    Twice,
}

/// What the behaviour reports of a connection.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) outcome: Outcome,
}

/// What a connection's handler reports: the streams once, then perhaps a fault.
pub(super) type Outcome = Result<Box<Streams>, Fault>;

/// The behaviour: nothing but its handlers' reports.
#[derive(Debug)]
pub(super) struct Lanes {
    /// What each connection opens; both once, but for a raw peer that wants to know what happens otherwise.
    open: Vec<Lane>,
    events: VecDeque<Event>,
}

/// The handler of one connection.
#[derive(Debug)]
pub(super) struct Handler {
    to_open: VecDeque<Lane>,
    inbound: [Slot; 2],
    outbound: [Slot; 2],
    fault: Option<Fault>,
    /// Until the streams were handed over.
    deadline: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    Filled(Stream),
    HandedOver,
}

/// Negotiates one of some lanes.
#[derive(Clone, Debug)]
pub(super) struct Upgrade(Vec<Lane>);

/// A lane's protocol name, as libp2p wants it.
#[derive(Clone, Debug)]
pub(super) struct Name(Lane);

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        match self.0 {
            Lane::Consensus => CONSENSUS,
            Lane::Bulk => BULK,
        }
    }
}

impl UpgradeInfo for Upgrade {
    type Info = Name;
    type InfoIter = std::vec::IntoIter<Name>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0
            .iter()
            .copied()
            .map(Name)
            .collect::<Vec<_>>()
            .into_iter()
    }
}

impl InboundUpgrade<Stream> for Upgrade {
    type Output = (Lane, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: Name) -> Self::Future {
        ready(Ok((name.0, stream)))
    }
}

impl OutboundUpgrade<Stream> for Upgrade {
    type Output = (Lane, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, name: Name) -> Self::Future {
        ready(Ok((name.0, stream)))
    }
}

impl Slot {
    fn take(&mut self) -> Option<Stream> {
        match std::mem::replace(self, Self::HandedOver) {
            Self::Filled(stream) => Some(stream),
            Self::Empty | Self::HandedOver => None,
        }
    }

    const fn is_filled(&self) -> bool {
        matches!(self, Self::Filled(_))
    }

    /// Fills the slot, or says that it was filled before.
    fn fill(&mut self, stream: Stream) -> Result<(), Fault> {
        match self {
            Self::Empty => {
                *self = Self::Filled(stream);
                Ok(())
            }
            Self::Filled(_) | Self::HandedOver => Err(Fault::Twice),
        }
    }
}

impl Lanes {
    pub(super) fn new(open: &[Lane]) -> Self {
        Self {
            open: open.to_vec(),
            events: VecDeque::new(),
        }
    }

    fn handler(&self) -> Handler {
        Handler::new(self.open.iter().copied().collect())
    }
}

impl Handler {
    fn new(to_open: VecDeque<Lane>) -> Self {
        Self {
            to_open,
            inbound: Default::default(),
            outbound: Default::default(),
            fault: None,
            deadline: Some(Box::pin(tokio::time::sleep(SETUP))),
        }
    }

    /// All four streams, once.
    fn complete(&mut self) -> Option<Box<Streams>> {
        let mut all = self.inbound.iter().chain(&self.outbound);
        if !all.all(Slot::is_filled) {
            return None;
        }
        let [consensus_in, bulk_in] = &mut self.inbound;
        let [consensus_out, bulk_out] = &mut self.outbound;
        Some(Box::new(Streams {
            inbound: [consensus_in.take()?, bulk_in.take()?],
            outbound: [consensus_out.take()?, bulk_out.take()?],
        }))
    }
}

fn slot(slots: &mut [Slot; 2], lane: Lane) -> &mut Slot {
    let [consensus, bulk] = slots;
    match lane {
        Lane::Consensus => consensus,
        Lane::Bulk => bulk,
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Outcome;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        SubstreamProtocol::new(Upgrade(Lane::ALL.into()), ())
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Upgrade, (), Outcome>> {
        if let Some(fault) = self.fault.take() {
            self.deadline = None;
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Err(fault)));
        }
        if let Some(lane) = self.to_open.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(Upgrade(vec![lane]), ()).with_timeout(SETUP),
            });
        }
        if let Some(streams) = self.complete() {
            self.deadline = None;
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Ok(streams)));
        }
        let Some(deadline) = &mut self.deadline else {
            return Poll::Pending;
        };
        take_ready!(deadline.as_mut().poll(cx));
        self.deadline = None;
        Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Err(
            Fault::Incomplete,
        )))
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade>) {
        let result = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (lane, stream),
                info: (),
            }) => slot(&mut self.inbound, lane).fill(stream),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (lane, stream),
                info: (),
            }) => {
                // Only a raw peer opens a lane again; the first stream stays.
                slot(&mut self.outbound, lane).fill(stream).ok();
                Ok(())
            }
            ConnectionEvent::DialUpgradeError(failed) => match failed.error {
                libp2p::swarm::StreamUpgradeError::NegotiationFailed => Err(Fault::Unsupported),
                _ => Err(Fault::Incomplete),
            },
            _ => Ok(()),
        };
        if let Err(fault) = result {
            self.fault = Some(fault);
        }
    }
}

impl NetworkBehaviour for Lanes {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _connection: ConnectionId,
        _peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _connection: ConnectionId,
        _peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, _event: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        outcome: THandlerOutEvent<Self>,
    ) {
        self.events.push_back(Event {
            peer,
            connection,
            outcome,
        });
    }

    fn poll(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // The swarm polls its behaviour again after every event that it passed in.
        self.events.pop_front().map_or(Poll::Pending, |event| {
            Poll::Ready(ToSwarm::GenerateEvent(event))
        })
    }
}
