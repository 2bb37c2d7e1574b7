//! A peer that writes what it likes: a validator's key and its lanes, without a mesh behind them.
//!
//! Made for hostile input: tests connect to a running node as one of its members and send it anything. It keeps no
//! rule of [`super`] but the handshake and the protocol names, never dials again, and ends when it is dropped.

use super::Lane;
use super::frame;
use super::lanes::{self, Fault, Lanes, Manner, Report, Streams};
use super::transport::{self, Names};
use consensus::Peer;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use genesis::keyfile::KeyFile;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{self, NetworkBehaviour, Stream, Swarm, SwarmEvent};
use libp2p::{Multiaddr, ping};
use std::io;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a connection and its lanes may take.
const CONNECT: Duration = Duration::from_secs(15);
/// Longest frame that is received.
const MAX_FRAME: usize = 16 << 20;

/// A connection to a node, with its lanes open.
#[derive(Debug)]
pub struct RawPeer {
    streams: Streams,
    closed: CancellationToken,
    _guard: DropGuard,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// Key or address is none.
    #[error("key or address is not valid")]
    Settings,
    /// The transport cannot be built.
    #[error("no transport")]
    Transport(#[source] io::Error),
    /// The node did not answer, or closed the connection.
    #[error("the node refused the connection: {0}")]
    Refused(String),
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    lanes: Lanes,
    ping: ping::Behaviour,
}

impl RawPeer {
    /// Connects with a network key to the node of a peer at a multiaddress.
    ///
    /// # Errors
    /// [`RawError`]; a node that knows the key as no member's, or keeps its owner out, refuses.
    pub async fn connect(key: &KeyFile, to: &Peer, address: &str) -> Result<Self, RawError> {
        Self::connect_with(key, to, address, &Lane::ALL).await
    }

    /// Connects and opens other lanes than each once.
    ///
    /// # Errors
    /// As [`Self::connect`]; also if the node closes the connection before all lanes are open.
    pub async fn connect_with(
        key: &KeyFile,
        to: &Peer,
        address: &str,
        lanes: &[Lane],
    ) -> Result<Self, RawError> {
        Self::connect_as(key, Manner::Member, to, address, lanes).await
    }

    /// Connects as an observer: shows these bytes as its certificate before it opens its lanes.
    ///
    /// # Errors
    /// As [`Self::connect`]; [`RawError::Refused`] says the reason that the node gave.
    pub async fn connect_observer(
        key: &KeyFile,
        certificate: Vec<u8>,
        to: &Peer,
        address: &str,
    ) -> Result<Self, RawError> {
        Self::connect_as(key, Manner::Guest(certificate), to, address, &Lane::ALL).await
    }

    async fn connect_as(
        key: &KeyFile,
        manner: Manner,
        to: &Peer,
        address: &str,
        lanes: &[Lane],
    ) -> Result<Self, RawError> {
        let keypair = transport::keypair(key.seed()).ok_or(RawError::Settings)?;
        let to = transport::peer_id(to).ok_or(RawError::Settings)?;
        let address: Multiaddr = address.parse().map_err(|_bad| RawError::Settings)?;
        let transport =
            transport::build(&keypair, Names::Unsupported).map_err(RawError::Transport)?;
        let behaviour = Behaviour {
            lanes: Lanes::new(manner, lanes),
            ping: ping::Behaviour::default(),
        };
        let config = swarm::Config::with_tokio_executor();
        let own = keypair.public().to_peer_id();
        let mut swarm = Swarm::new(transport, behaviour, own, config);
        let dial = DialOpts::peer_id(to)
            .addresses(vec![address])
            .allocate_new_port();
        let refused = |why: &dyn std::fmt::Debug| RawError::Refused(format!("{why:?}"));
        swarm.dial(dial.build()).map_err(|error| refused(&error))?;
        let streams = tokio::time::timeout(CONNECT, open(&mut swarm)).await;
        let streams = streams.map_err(|_elapsed| refused(&"no answer"))??;
        let stop = CancellationToken::new();
        let closed = CancellationToken::new();
        tokio::spawn(keep(swarm, stop.clone(), closed.clone().drop_guard()));
        Ok(Self {
            streams: *streams,
            closed,
            _guard: stop.drop_guard(),
        })
    }

    fn outbound(&mut self, lane: Lane) -> &mut Stream {
        let [consensus, bulk] = &mut self.streams.outbound;
        match lane {
            Lane::Consensus => consensus,
            Lane::Bulk => bulk,
        }
    }

    /// Writes bytes as they are, and flushes.
    ///
    /// # Errors
    /// If the node closed the stream.
    pub async fn write(&mut self, lane: Lane, bytes: &[u8]) -> io::Result<()> {
        let stream = self.outbound(lane);
        stream.write_all(bytes).await?;
        stream.flush().await
    }

    /// Writes a well-formed frame, whatever is in it.
    ///
    /// # Errors
    /// If the node closed the stream.
    pub async fn send(&mut self, lane: Lane, frame: &[u8]) -> io::Result<()> {
        let prefix = frame::prefix(frame);
        self.write(lane, &[&prefix, frame].concat()).await
    }

    /// Reads the next frame of the node.
    ///
    /// # Errors
    /// If the node closed the stream, or the frame is over 16 MiB.
    pub async fn recv(&mut self, lane: Lane) -> io::Result<Vec<u8>> {
        let [consensus, bulk] = &mut self.streams.inbound;
        let stream = match lane {
            Lane::Consensus => consensus,
            Lane::Bulk => bulk,
        };
        let mut length = [0; 4];
        stream.read_exact(&mut length).await?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    /// Returns once the connection is closed.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

/// Drives the swarm until both lanes are open in both directions.
async fn open(swarm: &mut Swarm<Behaviour>) -> Result<Box<Streams>, RawError> {
    loop {
        let why = match swarm.select_next_some().await {
            SwarmEvent::Behaviour(BehaviourEvent::Lanes(lanes::Event { report, .. })) => {
                match report {
                    Report::Lanes(Ok(streams)) => return Ok(streams),
                    Report::Lanes(Err(Fault::Refused(reason))) => reason.to_string(),
                    Report::Lanes(Err(fault)) => format!("{fault:?}"),
                    Report::Certificate(_) => continue,
                }
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => error.to_string(),
            SwarmEvent::ConnectionClosed { .. } => "closed".into(),
            _ => continue,
        };
        return Err(RawError::Refused(why));
    }
}

/// Drives the swarm until the connection is closed or the peer is dropped; `closed` says so by being dropped.
async fn keep(mut swarm: Swarm<Behaviour>, stop: CancellationToken, closed: DropGuard) {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            event = swarm.select_next_some() => {
                if matches!(event, SwarmEvent::ConnectionClosed { .. }) {
                    break;
                }
            }
        }
    }
    drop(closed);
}
