//! Whom to ask for which blocks: pure, so that tests drive it.
//!
//! Ranges go to all peers in parallel, few to each. Who is slow or says no is passed over for a while; what it was
//! asked for is asked of others. How many blocks a range has follows from how large blocks turned out to be.

use crate::range::{MAX_BLOCKS, RangeReq};
use consensus::Peer;
use ledger::id::{Epoch, Height};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Bytes of blocks that a range should have.
const RANGE_BYTES: usize = 1 << 20;
/// Ranges that one peer is asked for at a time.
const PER_PEER: usize = 2;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a peer that did not answer is passed over.
const PASSED_OVER: Duration = Duration::from_secs(3);
/// Blocks of the first range, before their size is known.
const FIRST: u32 = 16;

/// Bounds, from the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Ranges under way at a time, from being asked for until they are applied.
    pub(super) ranges: usize,
    /// Most blocks of one.
    pub(super) blocks: u32,
    /// Peers that are asked.
    pub(super) peers: usize,
}

/// What is known of a peer.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    height: Height,
    epoch: Epoch,
    asked: usize,
    passed_over_until: Option<Instant>,
}

/// A range that is out.
#[derive(Clone, Copy, Debug)]
struct Out {
    peer: Peer,
    count: u32,
    until: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Plan {
    limits: Limits,
    sources: BTreeMap<Peer, Source>,
    /// Asked for and not here.
    out: BTreeMap<Height, Out>,
    /// Here and not applied: first height, blocks.
    here: BTreeMap<Height, u32>,
    /// Applied up to here.
    applied: Height,
    /// Blocks of the next range.
    count: u32,
    /// Peers that may be wrong.
    faulty: usize,
    turn: usize,
}

impl Plan {
    pub(super) fn new(applied: Height, faulty: usize, limits: Limits) -> Self {
        Self {
            count: FIRST.min(limits.blocks).max(1),
            limits,
            sources: BTreeMap::new(),
            out: BTreeMap::new(),
            here: BTreeMap::new(),
            applied,
            faulty,
            turn: 0,
        }
    }

    pub(super) fn up(&mut self, peer: Peer) {
        self.sources.entry(peer).or_default();
    }

    /// It is gone; what it was asked for is asked of others.
    pub(super) fn down(&mut self, peer: &Peer) {
        self.sources.remove(peer);
        self.out.retain(|_, out| out.peer != *peer);
    }

    pub(super) fn heard(&mut self, peer: Peer, height: Height, epoch: Epoch) {
        let source = self.sources.entry(peer).or_default();
        source.height = height;
        source.epoch = epoch;
    }

    /// An epoch that at least one honest peer is in: that of the f+1-th furthest.
    pub(super) fn target_epoch(&self) -> Epoch {
        let mut epochs: Vec<Epoch> = self.sources.values().map(|it| it.epoch).collect();
        epochs.sort_unstable_by(|a, b| b.cmp(a));
        epochs.get(self.faulty).copied().unwrap_or_default()
    }

    /// A height that at least one honest peer has: that of the f+1-th furthest.
    pub(super) fn target(&self) -> Height {
        let mut heights: Vec<Height> = self.sources.values().map(|it| it.height).collect();
        heights.sort_unstable_by(|a, b| b.cmp(a));
        heights.get(self.faulty).copied().unwrap_or_default()
    }

    /// Blocks up to here are applied.
    pub(super) fn applied(&mut self, height: Height) {
        self.applied = self.applied.max(height);
        let applied = self.applied;
        self.here
            .retain(|from, count| last(*from, *count) > applied);
    }

    /// The next range to ask for, and whom; `None` while nothing is missing or enough is under way.
    pub(super) fn ask(&mut self, now: Instant) -> Option<(Peer, RangeReq)> {
        if self.out.len().saturating_add(self.here.len()) >= self.limits.ranges {
            return None;
        }
        let (from, most) = self.first_gap()?;
        let count = self.count.min(most);
        let peer = self.pick(from, now)?;
        if let Some(source) = self.sources.get_mut(&peer) {
            source.asked = source.asked.saturating_add(1);
        }
        let until = now + PATIENCE;
        self.out.insert(from, Out { peer, count, until });
        Some((peer, RangeReq { from, count }))
    }

    /// The first height that is neither applied, here nor asked for, and how many follow.
    fn first_gap(&self) -> Option<(Height, u32)> {
        let target = self.target();
        let mut next = self.applied.saturating_add(1);
        let out = self.out.iter().map(|(from, out)| (*from, out.count));
        let here = self.here.iter().map(|(from, count)| (*from, *count));
        let taken: BTreeMap<Height, u32> = out.chain(here).collect();
        let mut end = target;
        for (from, count) in taken {
            if from > next {
                end = end.min(from.saturating_sub(1));
                break;
            }
            next = next.max(last(from, count).saturating_add(1));
        }
        let missing = end.0.checked_sub(next.0)?.saturating_add(1);
        Some((next, u32::try_from(missing).unwrap_or(u32::MAX)))
    }

    /// Whoever has it and is asked for least, in turn.
    fn pick(&mut self, from: Height, now: Instant) -> Option<Peer> {
        let usable = self.sources.iter().take(self.limits.peers);
        let able: Vec<(Peer, usize)> = usable
            .filter(|(_, source)| {
                let rests = source.passed_over_until.is_some_and(|until| until > now);
                source.height >= from && source.asked < PER_PEER && !rests
            })
            .map(|(peer, source)| (*peer, source.asked))
            .collect();
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn.checked_rem(able.len())?;
        let (before, after) = able.split_at(first);
        let in_turn = after.iter().chain(before);
        in_turn
            .min_by_key(|(_, asked)| *asked)
            .map(|(peer, _)| *peer)
    }

    /// An answer came: whether it was asked for.
    pub(super) fn answered(
        &mut self,
        peer: &Peer,
        from: Height,
        blocks: usize,
        bytes: usize,
    ) -> bool {
        let asked = self.out.get(&from).is_some_and(|out| out.peer == *peer);
        if !asked {
            return false;
        }
        self.out.remove(&from);
        self.free(peer);
        let count = u32::try_from(blocks).unwrap_or(u32::MAX);
        self.here.insert(from, count);
        let each = bytes.checked_div(blocks).unwrap_or(0).max(1);
        let fit = RANGE_BYTES
            .checked_div(each)
            .unwrap_or(1)
            .clamp(1, MAX_BLOCKS);
        let fit = u32::try_from(fit).unwrap_or(1);
        // Not too far at once: the next blocks may be larger.
        self.count = fit
            .min(self.count.saturating_mul(4))
            .min(self.limits.blocks);
        true
    }

    /// What came was no good, or not whole: it is asked for again.
    pub(super) fn again(&mut self, from: Height) {
        self.here.remove(&from);
    }

    /// A peer's answer came to nothing, and nobody can say that it lied: others are asked for a while.
    pub(super) fn pass_over(&mut self, peer: &Peer, now: Instant) {
        if let Some(source) = self.sources.get_mut(peer) {
            source.passed_over_until = Some(now + PASSED_OVER);
        }
    }

    /// Peers whose answers are overdue are passed over for a while.
    pub(super) fn look_at_the_clock(&mut self, now: Instant) -> usize {
        let late: Vec<(Height, Peer)> = self
            .out
            .iter()
            .filter(|(_, out)| out.until <= now)
            .map(|(from, out)| (*from, out.peer))
            .collect();
        for (from, peer) in &late {
            self.out.remove(from);
            self.free(peer);
            self.pass_over(peer, now);
        }
        late.len()
    }

    fn free(&mut self, peer: &Peer) {
        if let Some(source) = self.sources.get_mut(peer) {
            source.asked = source.asked.saturating_sub(1);
        }
    }
}

/// Last height of a range.
fn last(from: Height, count: u32) -> Height {
    from.saturating_add(u64::from(count)).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::key::Key;

    const LIMITS: Limits = Limits {
        ranges: 8,
        blocks: 64,
        peers: usize::MAX,
    };

    fn peer(at: u8) -> Peer {
        Peer(Key::from_bytes([at; 32]))
    }

    fn plan(heights: &[u64]) -> Plan {
        let mut plan = Plan::new(Height(0), 1, LIMITS);
        for (at, height) in (1_u8..).zip(heights) {
            plan.up(peer(at));
            plan.heard(peer(at), Height(*height), Epoch(*height / 10));
        }
        plan
    }

    #[test]
    fn one_liar_does_not_move_the_target() {
        assert_eq!(plan(&[100, 100, u64::MAX]).target(), Height(100));
        assert_eq!(plan(&[100]).target(), Height(0));
        assert_eq!(plan(&[100, 100, u64::MAX]).target_epoch(), Epoch(10));
    }

    #[test]
    fn ranges_go_to_all_peers_without_gap_or_overlap() {
        let now = Instant::now();
        let mut plan = plan(&[90, 90, 90]);
        let mut next = 1;
        let mut peers = std::collections::BTreeSet::new();
        while let Some((peer, request)) = plan.ask(now) {
            assert_eq!(request.from, Height(next));
            next += u64::from(request.count);
            peers.insert(peer);
        }
        assert_eq!(next, 91);
        assert_eq!(peers.len(), 3);
    }

    #[test]
    fn what_a_peer_leaves_out_is_asked_of_others_and_nobody_is_asked_for_too_much() {
        let now = Instant::now();
        let mut plan = plan(&[1_000, 1_000, 1_000]);
        let mut asked = Vec::new();
        while let Some(one) = plan.ask(now) {
            asked.push(one);
        }
        assert_eq!(asked.len(), 3 * PER_PEER);
        let (_, first) = asked[0];
        assert!(!plan.answered(&peer(9), first.from, 3, 3_000), "not asked");
        let later = now + PATIENCE;
        assert_eq!(plan.look_at_the_clock(later), 3 * PER_PEER);
        let later = later + PASSED_OVER;
        let (again, request) = plan.ask(later).unwrap();
        assert_eq!(request.from, first.from);
        plan.down(&again);
        assert_ne!(plan.ask(later).unwrap().0, again);
    }

    #[test]
    fn a_short_answer_leaves_a_gap_that_is_asked_for_next() {
        let now = Instant::now();
        let mut plan = plan(&[1_000, 1_000]);
        let (peer, first) = plan.ask(now).unwrap();
        let (_, second) = plan.ask(now).unwrap();
        assert!(plan.answered(&peer, first.from, 3, 3 * 1_000));
        let (_, gap) = plan.ask(now).unwrap();
        assert_eq!((gap.from, gap.count), (Height(4), 13));
        assert_eq!(second.from, Height(17));
        plan.applied(Height(3));
        plan.again(Height(1));
        let (_, next) = plan.ask(now).unwrap();
        assert!(next.from > second.from, "{next:?}");
    }

    #[test]
    fn ranges_are_as_long_as_blocks_are_small() {
        let now = Instant::now();
        let mut small = plan(&[10_000, 10_000]);
        let (peer, request) = small.ask(now).unwrap();
        small.answered(&peer, request.from, 16, 16 * 300);
        assert_eq!(small.ask(now).unwrap().1.count, LIMITS.blocks);
        let mut large = plan(&[10_000, 10_000]);
        let (peer, request) = large.ask(now).unwrap();
        large.answered(&peer, request.from, 16, 16 << 20);
        assert_eq!(large.ask(now).unwrap().1.count, 1);
    }
}
