//! One usable connection: two readers and two writers, from the peer's `Up` to its `Down`.

use super::counters::PeerMeters;
use super::frame::{self, FrameError, FrameLimits};
use super::inbox::{Budget, Gone, Inbox};
use super::lanes::Streams;
use super::outbox::{Outbox, Registry};
use super::{FromObserver, Inbound, Lane, Rank};
use consensus::Peer;
use libp2p::swarm::{ConnectionId, Stream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a peer may leave a written frame unread, beyond the time that the frame itself may take.
const STALL: Duration = Duration::from_secs(30);

/// What a session needs of its mesh and peer.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) peer: Peer,
    pub(super) rank: Rank,
    pub(super) connection: ConnectionId,
    pub(super) limits: FrameLimits,
    pub(super) inbox: Inbox,
    pub(super) budget: Budget,
    pub(super) registry: Arc<Registry>,
    pub(super) meters: Arc<PeerMeters>,
    pub(super) presence: Arc<Presence>,
    /// Ends this session.
    pub(super) stop: CancellationToken,
    /// Ends the mesh.
    pub(super) shutdown: CancellationToken,
}

/// How many sessions a peer has; whoever changes it says `Up` or `Down` before the next one can.
#[derive(Debug, Default)]
pub(super) struct Presence(Mutex<usize>);

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The connection broke, or the mesh ended it.
    Closed,
    /// The peer did not read, or was too slow, for too long.
    Stalled,
    /// No honest peer does that.
    Offence(&'static str),
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Stream => Self::Closed,
            FrameError::Offence(why) => Self::Offence(why),
        }
    }
}

impl From<Gone> for End {
    fn from(_receivers_are_gone: Gone) -> Self {
        Self::Closed
    }
}

impl Session {
    /// Runs until the connection ends; says `Up` before the first frame is read and `Down` after the last.
    pub(super) async fn run(self, streams: Box<Streams>) -> End {
        // Registered first: after `Up` the driver can send.
        let outboxes = self.registry.add(self.peer, self.rank, self.connection);
        let arrived = tokio::select! {
            () = self.stop.cancelled() => Err(Gone),
            arrived = self.arrive() => arrived,
        };
        let end = match arrived {
            Ok(()) => self.serve(*streams, outboxes).await,
            Err(gone) => gone.into(),
        };
        self.registry.remove(&self.peer, self.connection);
        if arrived.is_ok() {
            tokio::select! {
                biased;
                () = self.leave() => {}
                // The driver may have stopped to listen, but only then may it miss a `Down`.
                () = self.shutdown.cancelled() => {}
            }
        }
        end
    }

    const fn up(&self) -> Inbound {
        match self.rank {
            Rank::Member => Inbound::Up(self.peer),
            Rank::Observer => Inbound::Observer(FromObserver::Up(self.peer)),
        }
    }

    const fn down(&self) -> Inbound {
        match self.rank {
            Rank::Member => Inbound::Down(self.peer),
            Rank::Observer => Inbound::Observer(FromObserver::Down(self.peer)),
        }
    }

    async fn arrive(&self) -> Result<(), Gone> {
        let mut sessions = self.presence.0.lock().await;
        if *sessions == 0 {
            self.inbox.notice(self.up()).await?;
        }
        *sessions = sessions.saturating_add(1);
        drop(sessions);
        self.meters.up();
        Ok(())
    }

    async fn leave(&self) {
        let mut sessions = self.presence.0.lock().await;
        if *sessions == 1 {
            // Without receivers nobody asks any more.
            self.inbox.notice(self.down()).await.ok();
        }
        *sessions = sessions.saturating_sub(1);
    }

    async fn serve(&self, streams: Streams, outboxes: [Arc<Outbox>; 2]) -> End {
        let mut tasks = JoinSet::new();
        for (lane, stream) in Lane::ALL.into_iter().zip(streams.inbound) {
            tasks.spawn(self.clone().read(lane, stream));
        }
        for ((lane, stream), outbox) in Lane::ALL.into_iter().zip(streams.outbound).zip(outboxes) {
            tasks.spawn(self.clone().write(lane, stream, outbox));
        }
        let end = tokio::select! {
            () = self.stop.cancelled() => End::Closed,
            first = tasks.join_next() => first.and_then(Result::ok).unwrap_or(End::Closed),
        };
        // Returns when the readers have ended: no frame follows the `Down`.
        tasks.shutdown().await;
        end
    }

    /// Reads frames into the inbox, one at a time, each after its room was reserved.
    async fn read(self, lane: Lane, mut stream: Stream) -> End {
        loop {
            if let Err(end) = self.read_frame(lane, &mut stream).await {
                return end;
            }
        }
    }

    async fn read_frame(&self, lane: Lane, stream: &mut Stream) -> Result<(), End> {
        let head = frame::read_head(stream, lane, self.limits).await?;
        let reserved = self.budget.reserve(lane, head.len).await?;
        let bytes = frame::read_body(stream, head).await?;
        self.meters.received(lane, bytes.len());
        let from = self.peer;
        let inbound = match self.rank {
            Rank::Member => Inbound::Frame { from, lane, bytes },
            Rank::Observer => Inbound::Observer(FromObserver::Frame { from, bytes }),
        };
        let put = self.inbox.frame(lane, inbound, reserved).await;
        Ok(put?)
    }

    /// Writes what the outbox holds, and flushes as soon as it is empty.
    async fn write(self, lane: Lane, mut stream: Stream, outbox: Arc<Outbox>) -> End {
        let mut buffer = Vec::new();
        loop {
            let batch = outbox.batch().await;
            let bytes = batch.iter().map(|frame| frame.len()).sum();
            let limit = STALL.saturating_add(frame::time_for(bytes));
            let written = frame::write_all(&mut stream, &batch, &mut buffer);
            match tokio::time::timeout(limit, written).await {
                Ok(Ok(())) => {}
                Ok(Err(_broken)) => return End::Closed,
                Err(_elapsed) => return End::Stalled,
            }
            for frame in &batch {
                self.meters.sent(lane, frame.len());
            }
        }
    }
}
