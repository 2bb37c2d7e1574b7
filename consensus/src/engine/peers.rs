//! What is known of the other nodes: who was heard, how far they are, and what they may still ask (3.8, 3.18).
//!
//! Nodes go by their network key, which outlives epochs. Some of them are members of the epoch's set; the others are
//! connected all the same: they joined with a later epoch, left with an earlier one, or only observe.

use crate::config::Timing;
use crate::epoch::{EpochInfo, Peer};
use crate::message::Status;
use crate::time::{Mono, Now};
use alloc::collections::BTreeMap;
use core::ops::Bound;
use ledger::id::View;

/// Bytes served to one peer: so many at once, and half of that each second.
const SERVED_BURST: u64 = 16 << 20;
const SERVED_PER_MS: u64 = (8 << 20) / 1_000;
/// Heartbeats taken from one peer: so many at once, and four per heartbeat interval.
const STATUS_BURST: u64 = 16;
const STATUS_PER_HEARTBEAT: u64 = 4;
/// Most connected nodes that are no members of the set.
const MAX_OTHERS: usize = 64;
/// A peer that rejoins moves an idle chain so often at once, and once more per so many ms.
const ESCORT_BURST: u64 = 4;
const ESCORT_MS: u64 = 150_000;
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

/// One node as seen from here.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerState {
    /// It is a validator of the current epoch.
    is_member: bool,
    pub(super) up: bool,
    up_at: Option<Mono>,
    heard_at: Option<Mono>,
    /// Highest view of the current epoch that it was seen in.
    pub(super) view: View,
    pub(super) status: Option<(Status, Mono)>,
    pub(super) rtt_ms: Option<u64>,
    instance: Option<Instance>,
    other: Option<Instance>,
    served: Bucket,
    statuses: Bucket,
    hello_at: Option<Mono>,
    rejoin_at: Option<Mono>,
    escorts: Bucket,
    helped_at: Option<Mono>,
    failed_at: Option<Mono>,
    /// Highest view of which a Finalize came after the finalization.
    late: View,
}

/// All members but this node, and whoever else is connected.
#[derive(Debug, Default)]
pub(super) struct Peers {
    all: BTreeMap<Peer, PeerState>,
    started: Mono,
    /// Who was asked last.
    cursor: Option<Peer>,
    /// Who was asked last for a stretch of the chain.
    server: Option<Peer>,
}

impl Peers {
    pub(super) const fn start(&mut self, now: Mono) {
        self.started = now;
    }

    /// An epoch begins. What is known of a node stays, but for what it did in the epoch before.
    pub(super) fn enter_epoch(&mut self, epoch: &EpochInfo, me: Option<Peer>) {
        for member in epoch.set().members() {
            self.all.entry(Peer(member.network)).or_default();
        }
        if let Some(me) = me {
            self.all.remove(&me);
        }
        for (peer, state) in &mut self.all {
            state.is_member = epoch.index_of(peer).is_some();
            state.view = View(0);
            state.late = View(0);
            // Epochs do not end on an idle chain, and what a floor was in the last one it is no more.
            state.escorts = Bucket::default();
        }
        self.all.retain(|_, state| state.is_member || state.up);
    }

    pub(super) fn get(&self, peer: &Peer) -> Option<&PeerState> {
        self.all.get(peer)
    }

    pub(super) fn get_mut(&mut self, peer: &Peer) -> Option<&mut PeerState> {
        self.all.get_mut(peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Peer, &PeerState)> {
        self.all.iter().map(|(peer, state)| (*peer, state))
    }

    /// The other validators of the epoch.
    pub(super) fn members(&self) -> impl Iterator<Item = (Peer, &PeerState)> {
        self.iter().filter(|(_, state)| state.is_member)
    }

    /// Anything authenticated came from it.
    pub(super) fn heard(&mut self, peer: &Peer, now: Mono) {
        if let Some(state) = self.all.get_mut(peer) {
            state.heard_at = Some(now);
        }
    }

    /// A connection stands.
    pub(super) fn up(&mut self, peer: Peer, now: Mono) {
        let others = self.all.values().filter(|state| !state.is_member).count();
        if others >= MAX_OTHERS && !self.all.contains_key(&peer) {
            return;
        }
        let state = self.all.entry(peer).or_default();
        state.up = true;
        state.up_at = Some(now);
        state.failed_at = None;
    }

    pub(super) fn down(&mut self, peer: &Peer) {
        if let Some(state) = self.all.get_mut(peer) {
            state.up = false;
            state.instance = None;
            state.other = None;
        }
        self.all.retain(|_, state| state.is_member || state.up);
    }

    /// It was seen acting in this view of the current epoch.
    pub(super) fn seen_in(&mut self, peer: &Peer, view: View) {
        if let Some(state) = self.all.get_mut(peer) {
            state.view = state.view.max(view);
        }
    }

    /// Since when it is silent: last heard, own start or connection, whichever is latest.
    pub(super) fn silent_since(&self, peer: &Peer) -> Mono {
        let state = self.all.get(peer);
        let heard = state.and_then(|state| state.heard_at.max(state.up_at));
        heard.unwrap_or_default().max(self.started)
    }

    /// How many members were heard within `ms`.
    pub(super) fn alive(&self, now: Mono, ms: u64) -> usize {
        let heard = self.members().filter(|(_, state)| state.is_alive(now, ms));
        heard.count()
    }

    /// Whom to ask next: `first` if it is connected, else the connected ones in turn, members before others. Those in
    /// `asked` come last, those that `refused` names never.
    pub(super) fn pick(
        &mut self,
        now: Mono,
        first: Option<Peer>,
        asked: &[Peer],
        refused: impl Fn(&Peer) -> bool,
    ) -> Option<Peer> {
        let may = |peer: &Peer, state: &PeerState| state.up && !refused(peer);
        let first = first.filter(|first| !asked.contains(first));
        if let Some(first) = first
            && let Some(state) = self.all.get(&first)
            && may(&first, state)
        {
            return Some(first);
        }
        let (chosen, _) = self
            .in_turn(self.cursor)
            .filter(|(peer, state)| may(peer, state))
            .min_by_key(|(peer, state)| {
                (
                    asked.contains(peer),
                    state.has_failed(now),
                    !state.is_member,
                )
            })?;
        let chosen = *chosen;
        self.cursor = Some(chosen);
        Some(chosen)
    }

    /// All, from the one behind `last` on.
    fn in_turn(&self, last: Option<Peer>) -> impl Iterator<Item = (&Peer, &PeerState)> {
        let (after, until) = match last {
            Some(last) => (Bound::Excluded(last), Bound::Included(last)),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let first = self.all.range((after, Bound::Unbounded));
        first.chain(self.all.range((Bound::Unbounded, until)))
    }

    /// Whom to ask for the next stretch of the chain: those of which `has` is true in turn, members before others.
    /// Each answer ends a turn, also a good one: who gives little, late or nothing costs no more than its own turns.
    pub(super) fn pick_server(&mut self, has: impl Fn(&PeerState) -> bool) -> Option<Peer> {
        let (chosen, _) = self
            .in_turn(self.server)
            .filter(|(_, state)| state.up && has(state))
            .min_by_key(|(_, state)| !state.is_member)?;
        let chosen = *chosen;
        self.server = Some(chosen);
        Some(chosen)
    }

    /// A request to it came to nothing.
    pub(super) fn failed(&mut self, peer: &Peer, now: Mono) {
        if let Some(state) = self.all.get_mut(peer) {
            state.failed_at = Some(now);
        }
    }

    /// Notes which process of the peer spoke.
    pub(super) fn heard_instance(&mut self, peer: &Peer, id: u64, now: Mono) {
        if let Some(peer) = self.all.get_mut(peer) {
            if let Some(last) = peer.instance
                && last.id != id
            {
                peer.other = Some(last);
            }
            peer.instance = Some(Instance { id, heard: now });
        }
    }

    /// Whether another process than `id` spoke for this peer within `ms`, without a disconnect since.
    pub(super) fn has_other_instance(&self, peer: &Peer, id: u64, now: Mono, ms: u64) -> bool {
        let peer = self.all.get(peer);
        peer.into_iter()
            .flat_map(|peer| [peer.instance, peer.other])
            .flatten()
            .any(|other| other.id != id && now.since(other.heard) <= ms)
    }
}

impl PeerState {
    /// It was heard within `ms`.
    pub(super) fn is_alive(&self, now: Mono, ms: u64) -> bool {
        self.heard_at.is_some_and(|heard| now.since(heard) <= ms)
    }

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

    /// Lets one question about a rejoin through per `ms`.
    pub(super) fn may_rejoin(&mut self, now: Mono, ms: u64) -> bool {
        once_per(&mut self.rejoin_at, now, ms)
    }

    /// Lets four rejoins in ten minutes move an idle chain.
    pub(super) fn may_be_escorted(&mut self, now: Mono) -> bool {
        self.escorts.take(now, 1, ESCORT_BURST, 1, ESCORT_MS)
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
