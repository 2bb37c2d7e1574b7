//! What waits to be sent: one bounded queue per peer, connection and lane.

use super::counters::{Meters, PeerMeters};
use super::{Lane, Rank, Sent};
use consensus::Peer;
use libp2p::swarm::ConnectionId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::Notify;

/// Most frames that wait for a lane of a peer.
const MAX_FRAMES: [usize; 2] = [1_024, 256];
/// Most bytes that wait for a lane of a peer; two of the longest messages for bulk.
const MAX_BYTES: [usize; 2] = [1 << 20, 16 << 20];
/// The same for an observer: one answer of the longest kind.
const MAX_OBSERVER_BYTES: [usize; 2] = [64 << 10, 6 << 20];
/// Bytes after which a batch is closed, so that it is written and flushed while more may come.
const BATCH: usize = 64 << 10;

/// The queue of one lane of one connection.
#[derive(Debug)]
pub(super) struct Outbox {
    lane: Lane,
    /// Most bytes that wait.
    most: usize,
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

/// The queues of one connection.
#[derive(Debug)]
pub(super) struct Outboxes(pub(super) [Arc<Outbox>; 2]);

/// The queues of all peers that are up.
#[derive(Debug)]
pub(super) struct Registry {
    meters: Meters,
    peers: RwLock<BTreeMap<Peer, Ways>>,
}

/// The ways to one peer that is up.
#[derive(Debug)]
struct Ways {
    rank: Rank,
    /// In the order in which they became usable; the newest is sent on.
    connections: Vec<(ConnectionId, Outboxes)>,
}

impl Outbox {
    fn new(lane: Lane, rank: Rank) -> Arc<Self> {
        let [consensus, bulk] = match rank {
            Rank::Member => MAX_BYTES,
            Rank::Observer => MAX_OBSERVER_BYTES,
        };
        Arc::new(Self {
            lane,
            most: match lane {
                Lane::Consensus => consensus,
                Lane::Bulk => bulk,
            },
            queue: Mutex::default(),
            filled: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, bytes: Arc<[u8]>, meters: &PeerMeters) -> Sent {
        let mut queue = self.lock();
        let total = queue.bytes.saturating_add(bytes.len());
        let [consensus, bulk] = MAX_FRAMES;
        let frames = match self.lane {
            Lane::Consensus => consensus,
            Lane::Bulk => bulk,
        };
        if queue.frames.len() >= frames || total > self.most {
            drop(queue);
            meters.dropped(self.lane);
            return Sent::Dropped;
        }
        queue.bytes = total;
        queue.frames.push_back(bytes);
        drop(queue);
        self.filled.notify_one();
        Sent::Queued
    }

    /// Waits for frames and takes as many as one flush should carry.
    pub(super) async fn batch(&self) -> Vec<Arc<[u8]>> {
        loop {
            let batch = self.take();
            if !batch.is_empty() {
                return batch;
            }
            self.filled.notified().await;
        }
    }

    fn take(&self) -> Vec<Arc<[u8]>> {
        let mut queue = self.lock();
        let mut batch = Vec::new();
        let mut bytes = 0_usize;
        while bytes < BATCH
            && let Some(frame) = queue.frames.pop_front()
        {
            bytes = bytes.saturating_add(frame.len());
            batch.push(frame);
        }
        queue.bytes = queue.bytes.saturating_sub(bytes);
        batch
    }
}

impl Outboxes {
    pub(super) fn new(rank: Rank) -> Self {
        Self(Lane::ALL.map(|lane| Outbox::new(lane, rank)))
    }

    fn lane(&self, lane: Lane) -> &Outbox {
        let [consensus, bulk] = &self.0;
        match lane {
            Lane::Consensus => consensus,
            Lane::Bulk => bulk,
        }
    }
}

impl Registry {
    pub(super) const fn new(meters: Meters) -> Self {
        Self {
            meters,
            peers: RwLock::new(BTreeMap::new()),
        }
    }

    pub(super) const fn meters(&self) -> &Meters {
        &self.meters
    }

    pub(super) fn send(&self, to: &Peer, lane: Lane, bytes: Arc<[u8]>) -> Sent {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let newest = peers.get(to).and_then(|ways| ways.connections.last());
        match (newest, self.meters.peer(to)) {
            (Some((_, outboxes)), Some(meters)) => outboxes.lane(lane).push(bytes, &meters),
            (_, _) => Sent::NotConnected,
        }
    }

    /// Queues for all of a rank and returns for how many.
    pub(super) fn broadcast(&self, rank: Rank, lane: Lane, bytes: &Arc<[u8]>) -> usize {
        self.connected(rank)
            .iter()
            .filter(|peer| self.send(peer, lane, Arc::clone(bytes)) == Sent::Queued)
            .count()
    }

    pub(super) fn connected(&self, rank: Rank) -> Vec<Peer> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let of_rank = peers.iter().filter(|(_, ways)| ways.rank == rank);
        of_rank.map(|(peer, _)| *peer).collect()
    }

    pub(super) fn is_up(&self, peer: &Peer) -> bool {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.contains_key(peer)
    }

    /// Makes a connection the one to send on.
    pub(super) fn add(&self, peer: Peer, rank: Rank, connection: ConnectionId) -> [Arc<Outbox>; 2] {
        let outboxes = Outboxes::new(rank);
        let queues = outboxes.0.clone();
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let ways = peers.entry(peer).or_insert(Ways {
            rank,
            connections: Vec::new(),
        });
        ways.connections.push((connection, outboxes));
        queues
    }

    pub(super) fn remove(&self, peer: &Peer, connection: ConnectionId) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(ways) = peers.get_mut(peer) {
            ways.connections.retain(|(id, _)| *id != connection);
            if ways.connections.is_empty() {
                peers.remove(peer);
            }
        }
    }
}
