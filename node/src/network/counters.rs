//! What the mesh counts, live in [`Meters`] and as a snapshot in [`Counters`].

use super::Lane;
use consensus::Peer;
use ledger::id::AuthorityId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Per member.
    pub peers: BTreeMap<Peer, PeerCounters>,
    /// Handshakes completed by keys that are no members', by members kept out, and by members with too many connections.
    pub refused_strangers: u64,
    /// Connections refused before their handshake, because too many were unfinished.
    pub refused_pending: u64,
    /// Handshakes that failed or took too long.
    pub failed_handshakes: u64,
    /// Frames of the own node that were over their limit and not sent.
    pub refused_frames: u64,
    /// Peers that are no members and were not let in as observers, or no longer, by reason.
    pub refused_observers: BTreeMap<&'static str, u64>,
}

/// Of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCounters {
    /// Whose node.
    pub authority: AuthorityId,
    /// On [`Lane::Consensus`].
    pub consensus: LaneCounters,
    /// On [`Lane::Bulk`].
    pub bulk: LaneCounters,
    /// Times that a connection became usable.
    pub ups: u64,
    /// Dials that failed.
    pub failed_dials: u64,
    /// Times that it was disconnected and kept out, by reason.
    pub offences: BTreeMap<&'static str, u64>,
}

/// Of one lane of one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounters {
    /// Frames received.
    pub frames_in: u64,
    /// Bytes received, without lengths.
    pub bytes_in: u64,
    /// Frames written to the stream.
    pub frames_out: u64,
    /// Bytes written, without lengths.
    pub bytes_out: u64,
    /// Frames dropped because the outbound queue was full.
    pub dropped: u64,
}

/// The live counters of a mesh.
#[derive(Debug)]
pub(super) struct Meters {
    peers: BTreeMap<Peer, Arc<PeerMeters>>,
    /// Of the observers that are in: few.
    observers: Mutex<BTreeMap<Peer, Arc<PeerMeters>>>,
    refused_strangers: AtomicU64,
    refused_pending: AtomicU64,
    failed_handshakes: AtomicU64,
    refused_frames: AtomicU64,
    /// Keys are literals in the code: few.
    refused_observers: Mutex<BTreeMap<&'static str, u64>>,
}

/// The live counters of one member.
#[derive(Debug)]
pub(super) struct PeerMeters {
    authority: AuthorityId,
    lanes: [LaneMeters; 2],
    ups: AtomicU64,
    failed_dials: AtomicU64,
    /// Keys are literals in the code: few.
    offences: Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Debug, Default)]
struct LaneMeters {
    frames_in: AtomicU64,
    bytes_in: AtomicU64,
    frames_out: AtomicU64,
    bytes_out: AtomicU64,
    dropped: AtomicU64,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl Meters {
    pub(super) fn new(members: impl IntoIterator<Item = (Peer, AuthorityId)>) -> Self {
        let peer = |(peer, authority)| (peer, Arc::new(PeerMeters::new(authority)));
        Self {
            peers: members.into_iter().map(peer).collect(),
            observers: Mutex::default(),
            refused_observers: Mutex::default(),
            refused_strangers: AtomicU64::new(0),
            refused_pending: AtomicU64::new(0),
            failed_handshakes: AtomicU64::new(0),
            refused_frames: AtomicU64::new(0),
        }
    }

    pub(super) fn peer(&self, peer: &Peer) -> Option<Arc<PeerMeters>> {
        let member = self.peers.get(peer).cloned();
        member.or_else(|| self.lock_observers().get(peer).cloned())
    }

    /// Counts for an observer from now on.
    pub(super) fn add_observer(&self, peer: Peer, authority: AuthorityId) {
        let meters = || Arc::new(PeerMeters::new(authority));
        self.lock_observers().entry(peer).or_insert_with(meters);
    }

    /// Forgets an observer.
    pub(super) fn remove_observer(&self, peer: &Peer) {
        self.lock_observers().remove(peer);
    }

    fn lock_observers(&self) -> MutexGuard<'_, BTreeMap<Peer, Arc<PeerMeters>>> {
        self.observers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refused_observer(&self, why: &'static str) {
        count(&self.refused_observers, why);
    }

    pub(super) fn refused_stranger(&self) {
        add(&self.refused_strangers, 1);
    }

    pub(super) fn refused_pending(&self) {
        add(&self.refused_pending, 1);
    }

    pub(super) fn failed_handshake(&self) {
        add(&self.failed_handshakes, 1);
    }

    pub(super) fn refused_frame(&self) {
        add(&self.refused_frames, 1);
    }

    pub(super) fn read(&self) -> Counters {
        Counters {
            peers: self.peers.iter().map(|(p, m)| (*p, m.read())).collect(),
            refused_strangers: get(&self.refused_strangers),
            refused_pending: get(&self.refused_pending),
            failed_handshakes: get(&self.failed_handshakes),
            refused_frames: get(&self.refused_frames),
            refused_observers: read(&self.refused_observers),
        }
    }
}

fn count(named: &Mutex<BTreeMap<&'static str, u64>>, name: &'static str) {
    let mut named = named.lock().unwrap_or_else(PoisonError::into_inner);
    let count = named.entry(name).or_default();
    *count = count.saturating_add(1);
}

fn read(named: &Mutex<BTreeMap<&'static str, u64>>) -> BTreeMap<&'static str, u64> {
    named.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl PeerMeters {
    fn new(authority: AuthorityId) -> Self {
        Self {
            authority,
            lanes: Default::default(),
            ups: AtomicU64::new(0),
            failed_dials: AtomicU64::new(0),
            offences: Mutex::new(BTreeMap::new()),
        }
    }

    fn lane(&self, lane: Lane) -> &LaneMeters {
        let [consensus, bulk] = &self.lanes;
        match lane {
            Lane::Consensus => consensus,
            Lane::Bulk => bulk,
        }
    }

    pub(super) fn received(&self, lane: Lane, bytes: usize) {
        add(&self.lane(lane).frames_in, 1);
        add(&self.lane(lane).bytes_in, length(bytes));
    }

    pub(super) fn sent(&self, lane: Lane, bytes: usize) {
        add(&self.lane(lane).frames_out, 1);
        add(&self.lane(lane).bytes_out, length(bytes));
    }

    pub(super) fn dropped(&self, lane: Lane) {
        add(&self.lane(lane).dropped, 1);
    }

    pub(super) fn up(&self) {
        add(&self.ups, 1);
    }

    pub(super) fn failed_dial(&self) {
        add(&self.failed_dials, 1);
    }

    pub(super) fn offence(&self, why: &'static str) {
        count(&self.offences, why);
    }

    fn read(&self) -> PeerCounters {
        PeerCounters {
            authority: self.authority.clone(),
            consensus: self.lane(Lane::Consensus).read(),
            bulk: self.lane(Lane::Bulk).read(),
            ups: get(&self.ups),
            failed_dials: get(&self.failed_dials),
            offences: read(&self.offences),
        }
    }
}

impl LaneMeters {
    fn read(&self) -> LaneCounters {
        LaneCounters {
            frames_in: get(&self.frames_in),
            bytes_in: get(&self.bytes_in),
            frames_out: get(&self.frames_out),
            bytes_out: get(&self.bytes_out),
            dropped: get(&self.dropped),
        }
    }
}
