//! Opens both lanes on every connection, takes both from the peer, and hands the four streams over together.
//!
//! Each side writes on the streams that it opened and reads from those that it accepted. A connection whose four
//! streams are not there in time, or whose peer opens a lane twice, is reported as failed. With a peer that is no
//! member, a guest, no lane is opened before its certificate was accepted (`introduction`).

use super::Lane;
use super::introduction::{self, Answer};
use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{
    ConnectionEvent, ConnectionHandlerEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler,
    Stream, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready as take_ready};
use std::time::Duration;
use tokio::time::Sleep;

/// How long all four streams may take.
const SETUP: Duration = Duration::from_secs(10);
/// How long a guest may take to show its certificate.
const SHOW: Duration = Duration::from_secs(5);
/// How long a guest that is refused may take to read why, and to go by itself.
const READ: Duration = Duration::from_secs(1);
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
    /// No certificate came in time, or it was refused.
    Guest,
    /// The peer does not let this observer in.
    Refused(introduction::Reason),
}

/// What the behaviour reports of a connection.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) report: Report,
}

/// What a connection's handler reports: of a guest its certificate, then the streams once, then perhaps a fault.
#[derive(Debug)]
pub(super) enum Report {
    /// A guest shows these bytes and waits for [`Lanes::answer`].
    Certificate(Vec<u8>),
    /// All four streams, or none.
    Lanes(Result<Box<Streams>, Fault>),
}

/// Who a node is to its peers.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    /// Opens its lanes with these peers, and waits for the certificate of any other.
    Host(BTreeSet<PeerId>),
    /// Opens its lanes with everybody.
    Member,
    /// Shows this certificate first.
    Guest(Vec<u8>),
}

/// The behaviour: its handlers' reports, and the answers to guests.
#[derive(Debug)]
pub(super) struct Lanes {
    manner: Manner,
    /// What each connection opens; both once, but for a raw peer that wants to know what happens otherwise.
    open: Vec<Lane>,
    events: VecDeque<ToSwarm<Event, Answer>>,
}

/// The handler of one connection.
#[derive(Debug)]
pub(super) struct Handler {
    to_open: VecDeque<Lane>,
    inbound: [Slot; 2],
    outbound: [Slot; 2],
    fault: Option<Fault>,
    stage: Stage,
    reports: VecDeque<Report>,
    /// Until the streams were handed over.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// How far the introduction is.
enum Stage {
    /// There is none, or it is over.
    Introduced,
    /// This side shows its certificate; then it waits for the answer.
    Shows(Option<Vec<u8>>),
    /// The other side has to show its certificate.
    Waits,
    /// The certificate is looked at; the answer goes here.
    Judges(Stream),
    /// The answer is being written.
    Answers(Answer, BoxFuture<()>),
    /// It was no.
    Refused,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Introduced => "Introduced",
            Self::Shows(_) => "Shows",
            Self::Waits => "Waits",
            Self::Judges(_) => "Judges",
            Self::Answers(..) => "Answers",
            Self::Refused => "Refused",
        })
    }
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    Filled(Stream),
    HandedOver,
}

/// Negotiates one of some protocols.
#[derive(Clone, Debug)]
pub(super) struct Upgrade(Vec<Name>);

/// A protocol's name, as libp2p wants it; of an introduction with what is shown.
#[derive(Clone, Debug)]
pub(super) enum Name {
    Lane(Lane),
    Introduction(Vec<u8>),
}

/// A stream, or what it was for.
#[derive(Debug)]
pub(super) enum Negotiated {
    Lane(Lane, Stream),
    Certificate(Vec<u8>, Stream),
    Answer(Answer),
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        match self {
            Self::Lane(Lane::Consensus) => CONSENSUS,
            Self::Lane(Lane::Bulk) => BULK,
            Self::Introduction(_) => introduction::PROTOCOL,
        }
    }
}

impl UpgradeInfo for Upgrade {
    type Info = Name;
    type InfoIter = std::vec::IntoIter<Name>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Upgrade {
    type Output = Negotiated;
    type Error = io::Error;
    type Future = BoxFuture<io::Result<Negotiated>>;

    fn upgrade_inbound(self, stream: Stream, name: Name) -> Self::Future {
        Box::pin(async move {
            match name {
                Name::Lane(lane) => Ok(Negotiated::Lane(lane, stream)),
                Name::Introduction(_) => {
                    let (bytes, stream) = introduction::look(stream).await?;
                    Ok(Negotiated::Certificate(bytes, stream))
                }
            }
        })
    }
}

impl OutboundUpgrade<Stream> for Upgrade {
    type Output = Negotiated;
    type Error = io::Error;
    type Future = BoxFuture<io::Result<Negotiated>>;

    fn upgrade_outbound(self, stream: Stream, name: Name) -> Self::Future {
        Box::pin(async move {
            match name {
                Name::Lane(lane) => Ok(Negotiated::Lane(lane, stream)),
                Name::Introduction(certificate) => {
                    let answer = introduction::show(stream, certificate).await?;
                    Ok(Negotiated::Answer(answer))
                }
            }
        })
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
    pub(super) fn new(manner: Manner, open: &[Lane]) -> Self {
        Self {
            manner,
            open: open.to_vec(),
            events: VecDeque::new(),
        }
    }

    /// Tells a guest what became of its certificate.
    pub(super) fn answer(&mut self, peer_id: PeerId, connection: ConnectionId, event: Answer) {
        self.events.push_back(ToSwarm::NotifyHandler {
            peer_id,
            handler: NotifyHandler::One(connection),
            event,
        });
    }

    fn handler(&self, peer: &PeerId) -> Handler {
        let open = self.open.iter().copied().collect();
        match &self.manner {
            Manner::Host(members) if !members.contains(peer) => {
                Handler::new(open, Stage::Waits, SHOW)
            }
            Manner::Host(_) | Manner::Member => Handler::new(open, Stage::Introduced, SETUP),
            Manner::Guest(certificate) => {
                Handler::new(open, Stage::Shows(Some(certificate.clone())), SETUP)
            }
        }
    }
}

impl Handler {
    fn new(to_open: VecDeque<Lane>, stage: Stage, within: Duration) -> Self {
        Self {
            to_open,
            inbound: Default::default(),
            outbound: Default::default(),
            fault: None,
            stage,
            reports: VecDeque::new(),
            deadline: Some(Box::pin(tokio::time::sleep(within))),
        }
    }

    fn introduced(&mut self) {
        self.stage = Stage::Introduced;
        self.deadline = Some(Box::pin(tokio::time::sleep(SETUP)));
    }

    /// What the introduction wants to say or open next.
    fn poll_introduction(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<ConnectionHandlerEvent<Upgrade, (), Report>> {
        match &mut self.stage {
            Stage::Shows(certificate) => {
                let name = Name::Introduction(certificate.take()?);
                let protocol = SubstreamProtocol::new(Upgrade(vec![name]), ());
                Some(ConnectionHandlerEvent::OutboundSubstreamRequest {
                    protocol: protocol.with_timeout(SETUP),
                })
            }
            Stage::Answers(answer, written) => {
                if written.as_mut().poll(cx).is_ready() {
                    match answer {
                        Answer::Welcome => self.introduced(),
                        Answer::Refused(_) => {
                            // Closed at once, the connection could take the answer with it.
                            self.stage = Stage::Refused;
                            self.deadline = Some(Box::pin(tokio::time::sleep(READ)));
                        }
                    }
                }
                None
            }
            Stage::Introduced | Stage::Waits | Stage::Judges(_) | Stage::Refused => None,
        }
    }

    /// A stream is there, or did what it was for.
    fn negotiated_outbound(&mut self, negotiated: Negotiated) -> Result<(), Fault> {
        match negotiated {
            Negotiated::Lane(lane, stream) => {
                // Only a raw peer opens a lane again; the first stream stays.
                slot(&mut self.outbound, lane).fill(stream).ok();
                Ok(())
            }
            Negotiated::Answer(Answer::Welcome) => {
                self.introduced();
                Ok(())
            }
            Negotiated::Answer(Answer::Refused(reason)) => Err(Fault::Refused(reason)),
            Negotiated::Certificate(..) => Err(Fault::Incomplete),
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
    type FromBehaviour = Answer;
    type ToBehaviour = Report;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        let lanes = || Lane::ALL.map(Name::Lane).into();
        let names = match &self.stage {
            Stage::Waits => vec![Name::Introduction(Vec::new())],
            Stage::Judges(_) | Stage::Refused => Vec::new(),
            Stage::Introduced | Stage::Shows(_) => lanes(),
            Stage::Answers(Answer::Welcome, _) => lanes(),
            Stage::Answers(Answer::Refused(_), _) => Vec::new(),
        };
        SubstreamProtocol::new(Upgrade(names), ()).with_timeout(SETUP)
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Upgrade, (), Report>> {
        if let Some(event) = self.reports.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        if let Some(event) = self.poll_introduction(cx) {
            return Poll::Ready(event);
        }
        if let Some(fault) = self.fault.take() {
            self.deadline = None;
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Report::Lanes(Err(
                fault,
            ))));
        }
        if matches!(self.stage, Stage::Introduced) {
            if let Some(lane) = self.to_open.pop_front() {
                let protocol = SubstreamProtocol::new(Upgrade(vec![Name::Lane(lane)]), ());
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                    protocol: protocol.with_timeout(SETUP),
                });
            }
            if let Some(streams) = self.complete() {
                self.deadline = None;
                return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Report::Lanes(Ok(
                    streams,
                ))));
            }
        }
        let Some(deadline) = &mut self.deadline else {
            return Poll::Pending;
        };
        take_ready!(deadline.as_mut().poll(cx));
        self.deadline = None;
        let fault = match &self.stage {
            Stage::Introduced | Stage::Shows(_) => Fault::Incomplete,
            Stage::Waits | Stage::Judges(_) | Stage::Answers(..) | Stage::Refused => Fault::Guest,
        };
        Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Report::Lanes(Err(
            fault,
        ))))
    }

    fn on_behaviour_event(&mut self, answer: Answer) {
        match std::mem::replace(&mut self.stage, Stage::Waits) {
            Stage::Judges(stream) => {
                let written = Box::pin(introduction::answer(stream, answer));
                self.stage = Stage::Answers(answer, written);
            }
            other => self.stage = other,
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade>) {
        let result = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol,
                info: (),
            }) => match protocol {
                Negotiated::Lane(lane, stream) => slot(&mut self.inbound, lane).fill(stream),
                Negotiated::Certificate(bytes, stream) if matches!(self.stage, Stage::Waits) => {
                    self.stage = Stage::Judges(stream);
                    self.reports.push_back(Report::Certificate(bytes));
                    Ok(())
                }
                // A second one, which the first has made needless.
                Negotiated::Certificate(..) | Negotiated::Answer(_) => Err(Fault::Guest),
            },
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol,
                info: (),
            }) => self.negotiated_outbound(protocol),
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
        peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(&peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _connection: ConnectionId,
        peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(&peer))
    }

    fn on_swarm_event(&mut self, _event: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        report: THandlerOutEvent<Self>,
    ) {
        self.events.push_back(ToSwarm::GenerateEvent(Event {
            peer,
            connection,
            report,
        }));
    }

    fn poll(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // The swarm polls its behaviour again after every event that it passed in.
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
