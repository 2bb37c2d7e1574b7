//! What is known of the other validators: who was heard, how far they are, and what they may still ask (3.8, 3.18).

use crate::config::Timing;
use crate::message::Status;
use crate::time::{Mono, Now};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use ledger::id::{ValidatorIndex, View};

/// Bytes served to one peer: so many at once, and half of that each second.
const SERVED_BURST: u64 = 16 << 20;
const SERVED_PER_MS: u64 = (8 << 20) / 1_000;
/// Heartbeats taken from one peer: so many at once, and four per heartbeat interval.
const STATUS_BURST: u64 = 16;
const STATUS_PER_HEARTBEAT: u64 = 4;
/// After a request to a peer failed, it is not asked for blocks again for so long, in ms.
const FAILED_MS: u64 = 10_000;

/// A token bucket in milli-tokens, full at first.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    used: u64,
    at: Mono,
}

impl Bucket {
    /// Takes `cost`, if `burst` is not exceeded by it; what was taken before drains by `drain` per `per_ms`.
    fn take(&mut self, now: Mono, cost: u64, burst: u64, drain: u64, per_ms: u64) -> bool {
        let elapsed = now.since(self.at);
        let drained = elapsed
            .saturating_mul(drain)
            .checked_div(per_ms)
            .unwrap_or(u64::MAX);
        if drained > 0 {
            self.used = self.used.saturating_sub(drained);
            self.at = now;
        }
        let used = self.used.saturating_add(cost);
        let fits = used <= burst;
        if fits {
            self.used = used;
        }
        fits
    }
}

/// One process of a peer, by its instance id.
#[derive(Clone, Copy, Debug)]
struct Instance {
    id: u64,
    heard: Mono,
}

/// One validator as seen from here.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerState {
    pub(super) up: bool,
    up_at: Option<Mono>,
    heard_at: Option<Mono>,
    /// Highest view it was seen in.
    pub(super) view: View,
    pub(super) status: Option<(Status, Mono)>,
    pub(super) rtt_ms: Option<u64>,
    instance: Option<Instance>,
    other: Option<Instance>,
    served: Bucket,
    statuses: Bucket,
    hello_at: Option<Mono>,
    helped_at: Option<Mono>,
    failed_at: Option<Mono>,
    /// Highest view of which a Finalize came after the finalization.
    late: View,
}

/// All validators but this node.
#[derive(Debug)]
pub(super) struct Peers {
    all: BTreeMap<ValidatorIndex, PeerState>,
    started: Mono,
    cursor: u16,
}

impl Peers {
    pub(super) fn new(others: impl Iterator<Item = ValidatorIndex>) -> Self {
        Self {
            all: others.map(|index| (index, PeerState::default())).collect(),
            started: Mono::default(),
            cursor: 0,
        }
    }

    pub(super) const fn start(&mut self, now: Mono) {
        self.started = now;
    }

    pub(super) fn get(&self, index: ValidatorIndex) -> Option<&PeerState> {
        self.all.get(&index)
    }

    pub(super) fn get_mut(&mut self, index: ValidatorIndex) -> Option<&mut PeerState> {
        self.all.get_mut(&index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ValidatorIndex, &PeerState)> {
        self.all.iter().map(|(index, peer)| (*index, peer))
    }

    /// Anything authenticated came from it.
    pub(super) fn heard(&mut self, index: ValidatorIndex, now: Mono) {
        if let Some(peer) = self.all.get_mut(&index) {
            peer.heard_at = Some(now);
        }
    }

    pub(super) fn up(&mut self, index: ValidatorIndex, now: Mono) {
        if let Some(peer) = self.all.get_mut(&index) {
            peer.up = true;
            peer.up_at = Some(now);
            peer.failed_at = None;
        }
    }

    pub(super) fn down(&mut self, index: ValidatorIndex) {
        if let Some(peer) = self.all.get_mut(&index) {
            peer.up = false;
            peer.instance = None;
            peer.other = None;
        }
    }

    /// It was seen acting in this view.
    pub(super) fn seen_in(&mut self, index: ValidatorIndex, view: View) {
        if let Some(peer) = self.all.get_mut(&index) {
            peer.view = peer.view.max(view);
        }
    }

    /// Since when it is silent: last heard, own start or connection, whichever is latest.
    pub(super) fn silent_since(&self, index: ValidatorIndex) -> Mono {
        let peer = self.all.get(&index);
        let heard = peer.and_then(|peer| peer.heard_at.max(peer.up_at));
        heard.unwrap_or_default().max(self.started)
    }

    /// How many were heard within `ms`.
    pub(super) fn alive(&self, now: Mono, ms: u64) -> usize {
        let heard = self
            .all
            .values()
            .filter(|peer| peer.heard_at.is_some_and(|heard| now.since(heard) <= ms));
        heard.count()
    }

    /// Whom to ask next: `first` if it is connected, else the connected ones in turn. Those in `asked` come last, those
    /// that `refused` names never.
    pub(super) fn pick(
        &mut self,
        now: Mono,
        first: Option<ValidatorIndex>,
        asked: &[ValidatorIndex],
        refused: impl Fn(ValidatorIndex) -> bool,
    ) -> Option<ValidatorIndex> {
        let up: Vec<ValidatorIndex> = self
            .all
            .iter()
            .filter(|(index, peer)| peer.up && !refused(**index))
            .map(|(index, _)| *index)
            .collect();
        if let Some(first) = first.filter(|first| up.contains(first) && !asked.contains(first)) {
            return Some(first);
        }
        let cursor = self.cursor;
        let in_turn = up
            .iter()
            .filter(|index| index.0 >= cursor)
            .chain(up.iter().filter(|index| index.0 < cursor));
        let has_failed = |index: &ValidatorIndex| {
            let peer = self.all.get(index);
            peer.is_some_and(|peer| peer.has_failed(now))
        };
        let chosen = in_turn
            .min_by_key(|index| (asked.contains(index), has_failed(index)))
            .copied()?;
        self.cursor = chosen.0.saturating_add(1);
        Some(chosen)
    }

    /// A request to it came to nothing.
    pub(super) fn failed(&mut self, index: ValidatorIndex, now: Mono) {
        if let Some(peer) = self.all.get_mut(&index) {
            peer.failed_at = Some(now);
        }
    }

    /// Notes which process of the peer spoke.
    pub(super) fn heard_instance(&mut self, index: ValidatorIndex, id: u64, now: Mono) {
        if let Some(peer) = self.all.get_mut(&index) {
            if let Some(last) = peer.instance
                && last.id != id
            {
                peer.other = Some(last);
            }
            peer.instance = Some(Instance { id, heard: now });
        }
    }

    /// Whether another process than `id` spoke for this peer within `ms`, without a disconnect since.
    pub(super) fn has_other_instance(
        &self,
        index: ValidatorIndex,
        id: u64,
        now: Mono,
        ms: u64,
    ) -> bool {
        let peer = self.all.get(&index);
        peer.into_iter()
            .flat_map(|peer| [peer.instance, peer.other])
            .flatten()
            .any(|other| other.id != id && now.since(other.heard) <= ms)
    }
}

impl PeerState {
    /// Lets a request through whose answer may have `bytes`, at most 8 MiB/s in the long run.
    pub(super) fn may_ask(&mut self, now: Mono, bytes: u64) -> bool {
        self.served.take(now, bytes, SERVED_BURST, SERVED_PER_MS, 1)
    }

    /// Lets a heartbeat through.
    pub(super) fn may_report(&mut self, now: Mono, timing: &Timing) -> bool {
        self.statuses.take(
            now,
            1,
            STATUS_BURST,
            STATUS_PER_HEARTBEAT,
            timing.heartbeat_ms,
        )
    }

    /// Lets one Hello through per `ms`.
    pub(super) fn may_greet(&mut self, now: Mono, ms: u64) -> bool {
        once_per(&mut self.hello_at, now, ms)
    }

    /// Lets one unasked help through per `ms`.
    pub(super) fn may_be_helped(&mut self, now: Mono, ms: u64) -> bool {
        once_per(&mut self.helped_at, now, ms)
    }

    /// Whether a Finalize at or below the finalized view was sent again: the first one is only late, the next one asks
    /// for help.
    pub(super) fn repeats(&mut self, view: View) -> bool {
        let again = view <= self.late;
        self.late = self.late.max(view);
        again
    }

    /// Whether it failed to answer lately.
    pub(super) fn has_failed(&self, now: Mono) -> bool {
        self.failed_at.is_some_and(|at| now.since(at) < FAILED_MS)
    }

    /// How far its clock is ahead of ours, by its last heartbeat and the measured way.
    #[expect(
        clippy::cast_possible_wrap,
        reason = "wrapping_sub of two times gives their signed distance"
    )]
    pub(super) fn clock_offset(&self, now: Now) -> Option<i64> {
        let (status, at) = self.status.as_ref()?;
        let way = self.rtt_ms? / 2;
        let theirs = status
            .wall
            .0
            .saturating_add(way)
            .saturating_add(now.mono.since(*at));
        Some(theirs.wrapping_sub(now.wall.0) as i64)
    }
}

fn once_per(last: &mut Option<Mono>, now: Mono, ms: u64) -> bool {
    let due = last.is_none_or(|last| now.since(last) >= ms);
    if due {
        *last = Some(now);
    }
    due
}
