//! What was received and is not worked off: one queue per lane, bounded in bytes for all peers together.
//!
//! A frame reserves its length *before* it is read: its [`Room`], which goes with the message through whatever queues
//! stand between the socket and the engine, and is given back with it. Nothing left to reserve: the stream is not
//! read, the window fills, and the sender waits. No lane takes room of the other, no peer that of another's own part,
//! and nobody who holds room waits for more, so that bulk holds up no vote and one peer no other. 64 MiB in all:
//!
//! - consensus: 8 MiB, 1/64 of it for each peer;
//! - bulk: 32 MiB in equal parts for the peers, whose smaller frames each peer thus has for certain, and 24 MiB for
//!   frames larger than such a part, first come, first served. With up to four peers a part holds any frame.
//!
//! An observer has little of its own beside that, because it only asks and hands submissions in: at most 32 of them,
//! 9 MiB in all.

use super::{Inbound, Lane, MAX_MEMBERS};
use std::sync::Arc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes of consensus frames that one peer may have waiting.
const CONSENSUS_PER_PEER: usize = (8 << 20) / MAX_MEMBERS;
/// Bytes of bulk frames that are parted equally.
const BULK_PARTED: usize = 32 << 20;
/// Bytes of bulk frames that are larger than a part.
const BULK_SHARED: usize = 24 << 20;
/// Bytes of consensus and bulk frames that an observer may have waiting.
const OBSERVER: [usize; 2] = [32 << 10, 256 << 10];
/// The least that a frame counts, so that many tiny ones are bounded too.
const LEAST: [usize; 2] = [512, 4 << 10];
/// `Up`, `Down` and `RoundTrip` that may wait besides frames, per member.
const NOTICES: usize = 16;
/// Most that waits in a queue: all reservations at their least, and the notices.
const SLOTS: [usize; 2] = [
    MAX_MEMBERS * (CONSENSUS_PER_PEER / 512 + NOTICES),
    (BULK_PARTED + BULK_SHARED) / (4 << 10),
];

/// The driver's ends of both lanes.
#[derive(Debug)]
pub struct Receivers {
    /// Consensus frames, and the peers' ups and downs.
    pub consensus: Receiver,
    /// Bulk frames only.
    pub bulk: Receiver,
}

/// The driver's end of one lane.
#[derive(Debug)]
pub struct Receiver(mpsc::Receiver<Waiting>);

#[derive(Debug)]
struct Waiting {
    inbound: Inbound,
    room: Room,
}

/// The bytes that a frame has reserved, given back when this is dropped: whoever keeps the message keeps it too. Of
/// what is no frame, or came over no network: nothing.
#[derive(Debug, Default)]
pub struct Room(#[expect(dead_code, reason = "it is only held")] Option<OwnedSemaphorePermit>);

/// The mesh's end of both lanes.
#[derive(Clone, Debug)]
pub(crate) struct Inbox([mpsc::Sender<Waiting>; 2]);

/// What one peer may have waiting.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    own: [Arc<Semaphore>; 2],
    /// Size of the own bulk part.
    part: usize,
    shared: Arc<Semaphore>,
}

/// The receivers are gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

/// Both ends of both lanes.
pub(crate) fn channels() -> (Inbox, Receivers) {
    let [consensus_slots, bulk_slots] = SLOTS;
    let (consensus_in, consensus) = mpsc::channel(consensus_slots);
    let (bulk_in, bulk) = mpsc::channel(bulk_slots);
    let receivers = Receivers {
        consensus: Receiver(consensus),
        bulk: Receiver(bulk),
    };
    (Inbox([consensus_in, bulk_in]), receivers)
}

/// The budgets of a mesh of so many peers.
pub(crate) fn budgets(peers: usize) -> impl Iterator<Item = Budget> {
    let shared = Arc::new(Semaphore::new(BULK_SHARED));
    let part = BULK_PARTED / peers.max(1);
    std::iter::repeat_with(move || Budget {
        own: [
            Arc::new(Semaphore::new(CONSENSUS_PER_PEER)),
            Arc::new(Semaphore::new(part)),
        ],
        part,
        shared: Arc::clone(&shared),
    })
    .take(peers)
}

impl Budget {
    /// The budget of an observer, beside those of the members.
    pub(crate) fn for_observer(&self) -> Self {
        let [_, part] = OBSERVER;
        Self {
            own: OBSERVER.map(|bytes| Arc::new(Semaphore::new(bytes))),
            part,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Receiver {
    /// The next in order, for whoever is done with it before it takes another; `None` once the mesh has ended. Nothing is
    /// lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Inbound> {
        self.recv_with_room().await.map(|(inbound, _room)| inbound)
    }

    /// The same, with the room that it has reserved, for whoever lets it wait.
    pub async fn recv_with_room(&mut self) -> Option<(Inbound, Room)> {
        let Waiting { inbound, room } = self.0.recv().await?;
        Some((inbound, room))
    }

    /// The next if one waits.
    pub fn try_recv(&mut self) -> Option<Inbound> {
        self.0.try_recv().ok().map(|waiting| waiting.inbound)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Budget {
    /// Waits until a frame of this length may be read.
    pub(crate) async fn reserve(
        &self,
        lane: Lane,
        len: usize,
    ) -> Result<OwnedSemaphorePermit, Gone> {
        let [consensus, bulk] = &self.own;
        let [consensus_least, bulk_least] = LEAST;
        let (semaphore, bytes) = match lane {
            Lane::Consensus => (consensus, len.max(consensus_least)),
            Lane::Bulk if len <= self.part => (bulk, len.max(bulk_least)),
            Lane::Bulk => (&self.shared, len),
        };
        // No limit lets a frame be longer than what it is reserved from; if one did, it would be refused here.
        let bytes = u32::try_from(bytes).map_err(|_long| Gone)?;
        let permit = Arc::clone(semaphore).acquire_many_owned(bytes).await;
        permit.map_err(|_closed| Gone)
    }
}

impl Inbox {
    const fn lane(&self, lane: Lane) -> &mpsc::Sender<Waiting> {
        let [consensus, bulk] = &self.0;
        match lane {
            Lane::Consensus => consensus,
            Lane::Bulk => bulk,
        }
    }

    /// Puts a frame into its lane.
    pub(crate) async fn frame(
        &self,
        lane: Lane,
        inbound: Inbound,
        reserved: OwnedSemaphorePermit,
    ) -> Result<(), Gone> {
        let waiting = Waiting {
            inbound,
            room: Room(Some(reserved)),
        };
        let sent = self.lane(lane).send(waiting).await;
        sent.map_err(|_closed| Gone)
    }

    /// Puts `Up` or `Down` into the consensus lane.
    pub(crate) async fn notice(&self, inbound: Inbound) -> Result<(), Gone> {
        let waiting = Waiting {
            inbound,
            room: Room::default(),
        };
        let sent = self.lane(Lane::Consensus).send(waiting).await;
        sent.map_err(|_closed| Gone)
    }

    /// Puts something into the consensus lane that may as well be lost.
    pub(crate) fn hint(&self, inbound: Inbound) {
        let waiting = Waiting {
            inbound,
            room: Room::default(),
        };
        match self.lane(Lane::Consensus).try_send(waiting) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {}
        }
    }
}
