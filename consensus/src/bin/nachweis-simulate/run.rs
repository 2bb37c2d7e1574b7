//! One seed from beginning to end: trouble, then good weather until all is final, then rest, then one more record.

use crate::clock::Time;
use crate::network::GOOD;
use crate::plan::{Fault, Plan};
use crate::trace::{Trace, Words};
use crate::violation::{Checked, Failure, Invariant, broken, check};
use crate::world::{Figures, LIVENESS, World};
use ledger::id::View;

/// Dead leaders are skipped and everything calms down within this time after the last block.
const SETTLE: Time = 40_000;
/// Whoever lags by dozens of short epochs is given so much more: each of them is a question, and of these a peer answers four
/// at once and then one in half a second.
const CATCH_UP: Time = 180_000;
/// Then nothing may happen for this long.
const REST: Time = 30_000;
/// Whoever is below its floor asks for eight view time-outs of six delays, the longest of which is the cap, and the last
/// answer is work for as long again. The next effort is ten minutes away.
const EFFORT: Time = 2 * 8 * 6;
/// For one member an idle chain is moved four times in ten minutes: whoever lost its journal again and again in that time may
/// be there only with the next effort.
const NEXT_EFFORT: Time = 600_000;
/// After the rest, processes that were just started find each other within this time.
const FIND: Time = 1_000;
/// A record after the rest is final everywhere within this time, however slow and far apart everything is.
const WAKE: Time = 30_000;

/// What came of a seed.
pub(crate) struct Outcome {
    pub(crate) hash: u64,
    pub(crate) figures: Figures,
    pub(crate) height: u64,
    /// Epochs that ended.
    pub(crate) epochs: u64,
    pub(crate) result: Result<(), Failure>,
    /// The last events in words, if they were asked for.
    pub(crate) last: Vec<String>,
}

/// Runs a plan. The same plan always gives the same hash.
pub(crate) fn run(plan: Plan, words: Words) -> Outcome {
    let mut world = World::new(plan, Trace::new(words));
    let result = whole(&mut world);
    Outcome::of(world, result)
}

impl Outcome {
    pub(crate) fn of(world: World, result: Result<(), Failure>) -> Self {
        Self {
            hash: world.trace.hash(),
            figures: world.figures,
            height: world.oracle.chain.height(),
            epochs: world.oracle.chain.epoch().0,
            result,
            last: world.trace.last(),
        }
    }
}

fn whole(world: &mut World) -> Result<(), Failure> {
    let gst = world.plan.gst;
    if !world.plan.is_live {
        return world.run_until(gst + LIVENESS);
    }
    finish(world, gst + LIVENESS + 2_000)?;
    let last = world.plan.load.last().map_or(0, |(at, _)| *at);
    world.figures.settled = world.now - gst.max(last);
    if world.oracle.has_anchors() {
        return Ok(());
    }
    rest(world)?;
    power_cut(world)?;
    rely_on_returned(world)?;
    wake(world, waking(world))?;
    prune_again(world)
}

/// Everything submitted becomes final everywhere before the deadline.
pub(crate) fn finish(world: &mut World, deadline: Time) -> Result<(), Failure> {
    let is_final = world.run_until_final(deadline)?;
    check(is_final, Invariant::Liveness, || world.standing())
        .map_err(|violation| world.failure(violation))
}

/// I16: once all is final, there is one view change per dead leader, and then nothing.
pub(crate) fn rest(world: &mut World) -> Result<(), Failure> {
    // Byzantine validators could go on for ever; what is asked here is that honest ones do not.
    for node in 0..world.plan.nodes() {
        if !world.oracle.is_honest(node) {
            world
                .fault(Fault::Die { node })
                .map_err(|violation| world.failure(violation))?;
        }
    }
    world.run_until(world.now + SETTLE)?;
    if !world.has_caught_up() {
        let has_caught_up = world.run_until_caught_up(world.now + CATCH_UP)?;
        check(has_caught_up, Invariant::Liveness, || world.standing())
            .map_err(|violation| world.failure(violation))?;
        world.run_until(world.now + SETTLE)?;
    }
    let (mut before, mut after) = quiet(world)?;
    if before != after && world.oracle.rejoins > 0 {
        // Whoever has answered a rejoin has work for so long, even if the others have given up. Also a byzantine
        // validator may have to rejoin, for what it signed outside its journal.
        world.run_until(world.now + EFFORT * world.plan.timing.delta_max_ms)?;
        (before, after) = quiet(world)?;
    }
    check(before == after, Invariant::Quiescence, || {
        format!(
            "messages, records written, views before {before:?}, after {after:?}\n{}",
            world.standing()
        )
    })
    .and_then(|()| skipped(world))
    .map_err(|violation| world.failure(violation))
}

/// I16: the views that were left since the last block became final everywhere. The first of them had begun with work and may
/// have ended in any way; each later one had a dead leader, so it is at most one for each of these.
fn skipped(world: &World) -> Checked {
    let since = world.worked_in;
    if world.oracle.rejoins > 0 {
        // Whoever has answered a rejoin moves on until the other is above its floor, whoever leads.
        return Ok(());
    }
    let (epoch, view, finalized) = world.furthest();
    let begun = if epoch == since.0 { since.1.0 } else { 0 };
    let first = begun.max(finalized.0 + 1);
    let is_dead = |view: View| {
        let info = world.roster.epoch(epoch);
        let leader = info.and_then(|info| world.roster.validator_at(epoch, info.leader(view)));
        leader.is_some_and(|leader| world.nodes[leader].gone)
    };
    let alive = (first + 1..view.0).map(View).find(|view| !is_dead(*view));
    check(alive.is_none(), Invariant::Quiescence, || {
        format!(
            "views {first} to {view} of epoch {epoch} were left at rest, {alive:?} with a leader that runs\n{}",
            world.standing()
        )
    })
}

/// What was sent, written and skipped before and after some time without work.
fn quiet(world: &mut World) -> Result<(Silence, Silence), Failure> {
    let before = silence(world);
    world.run_until(world.now + REST)?;
    Ok((before, silence(world)))
}

/// Most records that recovery needs once all is final: the epoch, the finalization, own votes of its view, what is
/// known of lost journals; besides, for each view that was given up while nothing was to do, its nullification and the
/// own vote; and one pair of votes for each epoch in which a validator misbehaved.
const NEEDED: usize = 8;

/// Every second seed: all journals are pruned to what is needed, which is little; then all processes die and start.
fn power_cut(world: &mut World) -> Result<(), Failure> {
    if !world.plan.seed.is_multiple_of(2) {
        return Ok(());
    }
    for node in 0..world.plan.nodes() {
        prune(world, node)?;
        world.crash(node);
    }
    for node in 0..world.plan.nodes() {
        world
            .start(node)
            .map_err(|violation| world.failure(violation))?;
    }
    Ok(())
}

/// What is needed of an idle node's journal is little.
fn prune(world: &mut World, node: usize) -> Result<(), Failure> {
    let pruned = world.prune_at_rest(node)?;
    let status = world.nodes[node].process.as_ref().map(|p| p.last_status);
    let open = status.map_or(0, |status| status.view.0 - status.finalized_view.0);
    let open = usize::try_from(open).unwrap_or(usize::MAX);
    check(
        pruned.is_none_or(|records| records <= NEEDED + 2 * open + world.oracle.misdeeds()),
        Invariant::Bounds,
        || {
            format!(
                "#{node} still needs {pruned:?} records when all is final: {:?}",
                world.nodes[node].disk.journal()
            )
        },
    )
    .map_err(|violation| world.failure(violation))
}

/// All journals are pruned once more, by processes that began with a pruned one: what binds their keys stays (I17).
fn prune_again(world: &mut World) -> Result<(), Failure> {
    if !world.plan.seed.is_multiple_of(2) {
        return Ok(());
    }
    (0..world.plan.nodes()).try_for_each(|node| world.prune_at_rest(node).map(|_| ()))
}

/// Whoever lost its journal votes again, without any work: as many others may die now.
fn rely_on_returned(world: &mut World) -> Result<(), Failure> {
    let lost = |node: usize| world.plan.loses_journal(node);
    if !(0..world.plan.n).any(lost) {
        return Ok(());
    }
    let effort = EFFORT * world.plan.timing.delta_max_ms;
    let mut all_vote = world.run_until_all_vote(world.now + effort)?;
    if !all_vote && (0..world.plan.n).any(|node| world.plan.losses(node) > 1) {
        all_vote = world.run_until_all_vote(world.now + NEXT_EFFORT + effort)?;
    }
    check(all_vote, Invariant::Liveness, || world.standing())
        .map_err(|violation| world.failure(violation))?;
    let members: Vec<_> = world
        .watched()
        .map(|node| node.index)
        .filter(|node| {
            world
                .roster
                .newest()
                .index_of(&world.roster.peers[*node])
                .is_some()
        })
        .collect();
    let (returned, others): (Vec<_>, Vec<_>) = members
        .into_iter()
        .partition(|node| world.plan.loses_journal(*node));
    for node in others.into_iter().take(returned.len()) {
        world
            .fault(Fault::Die { node })
            .map_err(|violation| world.failure(violation))?;
    }
    Ok(())
}

/// How long a record may take after the rest, by the argument for liveness (consensus.md, 3.21). Views may fail until the
/// time-out for a proposal, three of the back-off's steps, has room for four messages with their syncs and the
/// application's answers, and a view also for waiting until a clock that runs ahead is only the drift ahead. Of the f + 1
/// views that follow one has a leader that is neither dead nor has a wrong clock.
fn waking(world: &World) -> Time {
    let plan = &world.plan;
    let (_, view, finalized) = world.furthest();
    let f = (world.roster.newest().set().n() as u64 - 1) / 3;
    let delta = |failed: u64| {
        let grown = (f..failed).fold(plan.timing.delta_ms, |delta, _| {
            (delta + delta / 2).min(plan.timing.delta_max_ms)
        });
        grown.min(plan.timing.delta_max_ms)
    };
    let delay = (0..plan.nodes())
        .map(|node| plan.slowness_of(node))
        .map(|slow| GOOD.1 + slow.sync + slow.answer + slow.workers)
        .max();
    let offsets = plan.clocks.iter().map(|clock| clock.offset);
    let apart = offsets.clone().max().unwrap_or(0) - offsets.min().unwrap_or(0);
    let wait = u64::try_from(apart)
        .unwrap_or(0)
        .saturating_sub(plan.rules.drift_ms);
    let enough = (4 * delay.unwrap_or(0) / 3 + wait / 6).min(plan.timing.delta_max_ms);
    let failed = view.0 - 1 - finalized.0;
    let grown = (failed..).find(|failed| delta(*failed) >= enough);
    let last = grown.unwrap_or(failed) + f;
    let views = (failed..=last).map(|failed| 6 * delta(failed));
    (FIND + views.sum::<Time>()).min(WAKE)
}

/// One more record is final everywhere in time.
pub(crate) fn wake(world: &mut World, within: Time) -> Result<(), Failure> {
    let Some(node) = world.watched().map(|node| node.index).next() else {
        return broken(Invariant::Liveness, "nobody is left")
            .map_err(|violation| world.failure(violation));
    };
    world.submit(node);
    finish(world, world.now + within)
}

/// Messages that are not heartbeats, records written, views of all.
type Silence = (u64, u64, Vec<u64>);

/// What an idle network has no more of: messages that are not heartbeats, records written, view changes.
pub(crate) fn silence(world: &World) -> Silence {
    let views = world
        .watched()
        .filter_map(|node| node.process.as_ref())
        .map(|process| process.engine.status().view.0)
        .collect();
    (world.oracle.traffic, world.oracle.written, views)
}
