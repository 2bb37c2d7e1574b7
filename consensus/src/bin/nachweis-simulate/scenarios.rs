//! Directed scenarios (consensus.md, 5.5): what random seeds do not find, or not often enough. Each ends by proving
//! liveness from its last state, with the oracle watching all the way.

use crate::byzantine::Mischief;
use crate::plan::{Fault, Plan, Weather};
use crate::run::{finish, rest};
use crate::trace::{Trace, Words};
use crate::violation::Failure;
use crate::world::World;
use consensus::{Message, Record};
use ledger::vote::VoteKind;
use std::collections::VecDeque;
use std::ops::Range;

/// An hour, in ms.
const HOUR: i64 = 3_600_000;
/// Seeds of a scenario that has chance in it.
const SEEDS: Range<u64> = 0..12;

fn world(plan: Plan) -> World {
    World::new(plan, Trace::new(Words::Last(VecDeque::new())))
}

/// Ends the test with the last events if a promise was broken.
fn good<T>(world: World, result: Result<T, Failure>) -> (World, T) {
    match result {
        Ok(value) => (world, value),
        Err(failure) => {
            let seed = world.plan.seed;
            panic!("seed {seed}: {}\n{failure}", world.trace.last().join("\n"))
        }
    }
}

fn run_until(mut world: World, time: u64) -> World {
    let result = world.run_until(time);
    good(world, result).0
}

/// Everything submitted is final everywhere within so many ms from now.
fn final_within(mut world: World, ms: u64) -> World {
    let deadline = world.now + ms;
    let result = finish(&mut world, deadline);
    good(world, result).0
}

fn start(mut world: World, nodes: &[usize]) -> World {
    for node in nodes {
        let started = world
            .start(*node)
            .map_err(|violation| world.failure(violation));
        world = good(world, started).0;
    }
    world
}

/// A record every `pause` ms, to one node after the other.
fn load(plan: &mut Plan, count: usize, pause: u64) {
    plan.load = (0..count)
        .map(|i| (300 + i as u64 * pause, i % plan.n))
        .collect();
}

#[test]
fn a_calm_network_commits_and_falls_silent() {
    for n in [4, 5, 7, 10] {
        let mut plan = Plan::calm(n as u64, n);
        load(&mut plan, 20, 100);
        let mut world = final_within(world(plan), 5_000);
        let result = rest(&mut world);
        good(world, result);
    }
}

#[test]
fn after_a_blackout_own_nullify_votes_from_the_disk_count() {
    for seed in SEEDS {
        let mut world = run_until(world(Plan::calm(seed, 4)), 1_000);
        world.gate = Some(Box::new(|_, _, message| {
            matches!(
                message,
                Message::Hello(_) | Message::Seen(_) | Message::Status(_)
            )
        }));
        world.submit(0);
        world = run_until(world, 8_000);
        for node in 0..4 {
            world.crash(node);
            let nullified = world.nodes[node].disk.journal.iter().any(|record| {
                matches!(record, Record::OwnVote { vote, .. } if vote.kind == VoteKind::Nullify)
            });
            assert!(nullified, "seed {seed}: the blackout makes #{node} nullify");
        }
        world.gate = None;
        world = start(world, &[0, 1, 2, 3]);
        final_within(world, 10_000);
    }
}

#[test]
fn a_network_cut_in_two_halves_for_ten_minutes_heals() {
    for seed in SEEDS {
        let mut plan = Plan::calm(seed, 4);
        plan.gst = 600_000;
        plan.weather.delay = (4, 54);
        let groups = vec![0, 1, 0, 1];
        let lasts = 598_000;
        plan.faults
            .push((2_000, Fault::Partition { groups, lasts }));
        load(&mut plan, 10, 1_000);
        let world = run_until(world(plan), 600_000);
        final_within(world, 10_000);
    }
}

#[test]
fn two_thirds_of_all_messages_lost_for_ten_minutes_then_none() {
    for seed in SEEDS {
        let mut plan = Plan::calm(seed, 4);
        plan.gst = 600_000;
        plan.weather = Weather {
            delay: (4, 54),
            loss: 667,
            ..Weather::default()
        };
        load(&mut plan, 60, 9_990);
        let world = run_until(world(plan), 600_000);
        final_within(world, 5_000);
    }
}

#[test]
fn with_two_of_four_dead_registration_waits_and_one_coming_back_ends_the_wait() {
    for seed in SEEDS {
        let mut plan = Plan::calm(seed, 4);
        load(&mut plan, 5, 100);
        let mut world = final_within(world(plan), 5_000);
        world.crash(0);
        world.crash(1);
        world.submit(2);
        let deadline = world.now + 120_000;
        let waits = world.run_until_final(deadline);
        let (world, is_final) = good(world, waits);
        assert!(!is_final, "two of four are no quorum");
        let mut world = start(world, &[1]);
        // The one that stays away is not waited for.
        world.nodes[0].gone = true;
        final_within(world, 10_000);
    }
}

#[test]
fn with_f_dead_for_ever_every_record_is_final_soon() {
    for (n, dead) in [(4, vec![2]), (7, vec![1, 5]), (10, vec![0, 1, 2])] {
        let mut plan = Plan::calm(7, n);
        for node in dead {
            plan.faults.push((200, Fault::Die { node }));
        }
        load(&mut plan, 50, 400);
        let mut world = final_within(world(plan), 25_000);
        let result = rest(&mut world);
        good(world, result);
    }
}

#[test]
fn nodes_that_start_late_or_all_at_once_take_part() {
    for seed in SEEDS {
        let mut plan = Plan::calm(seed, 4);
        plan.starts = vec![0, 20_000, 5, 10];
        load(&mut plan, 30, 1_000);
        final_within(world(plan), 40_000);
    }
}

#[test]
fn all_power_off_and_on_again_loses_nothing() {
    for seed in SEEDS {
        let mut plan = Plan::calm(seed, 4);
        plan.gst = 12_000;
        plan.weather.delay = (4, 54);
        plan.slowness.sync = 15;
        for round in 0..10 {
            for node in 0..4 {
                let down = 50 + seed * 10;
                plan.faults
                    .push((1_000 * (round + 1), Fault::Crash { node, down }));
            }
        }
        load(&mut plan, 60, 190);
        let world = run_until(world(plan), 12_000);
        final_within(world, 10_000);
    }
}

#[test]
fn relayed_proposals_with_a_false_parent_view_take_no_slot() {
    with_byzantine(Mischief::NotLeader, SEEDS, 20_000);
}

#[test]
fn an_equivocating_leader_leaves_evidence_and_stops_nothing() {
    let evidence = with_byzantine(Mischief::Equivocation, SEEDS, 20_000);
    assert!(evidence > 0, "two Notarize of one leader are evidence");
}

#[test]
fn withheld_bodies_are_fetched_elsewhere() {
    with_byzantine(Mischief::Withholding, SEEDS, 20_000);
}

#[test]
fn each_misbehaviour_alone_stops_nothing() {
    for mischief in crate::byzantine::ALL {
        with_byzantine(mischief, 0..4, 40_000);
    }
}

/// One of four misbehaves under load; returns how much evidence there is.
fn with_byzantine(mischief: Mischief, seeds: Range<u64>, ms: u64) -> u64 {
    let mut evidence = 0;
    for seed in seeds {
        let mut plan = Plan::calm(seed, 4);
        plan.byzantine.insert(1, vec![mischief]);
        if mischief == Mischief::Amnesia {
            let forgets = Fault::Forget { node: 1, down: 300 };
            plan.faults = (1..8).map(|i| (1_000 * i, forgets.clone())).collect();
        }
        load(&mut plan, 40, 200);
        let world = final_within(world(plan), ms);
        evidence += world.oracle.evidence;
    }
    evidence
}

#[test]
fn a_leader_that_proposes_after_all_have_given_up_stops_nothing() {
    with_byzantine(Mischief::Late, SEEDS, 20_000);
}

#[test]
fn partitions_that_change_with_every_time_out_heal() {
    for seed in SEEDS {
        let mut plan = Plan::calm(seed, 4);
        plan.gst = 60_000;
        plan.weather.delay = (4, 54);
        let halves = [[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0], [0, 0, 0, 1]];
        for (round, groups) in halves.iter().cycle().take(64).enumerate() {
            let groups = groups.to_vec();
            let lasts = 899;
            let at = 2_000 + 900 * round as u64;
            plan.faults.push((at, Fault::Partition { groups, lasts }));
        }
        load(&mut plan, 60, 980);
        let world = run_until(world(plan), 60_000);
        final_within(world, 5_000);
    }
}

#[test]
fn slow_disks_slow_things_down_and_stop_nothing() {
    for seed in SEEDS {
        let mut plan = Plan::calm(seed, 4);
        plan.slowness.sync = 300;
        plan.slowness.answer = 100;
        load(&mut plan, 30, 300);
        final_within(world(plan), 20_000);
    }
}

#[test]
fn after_hundreds_of_skipped_views_a_newcomer_catches_up() {
    let mut plan = Plan::calm(5, 4);
    plan.timing.delta_ms = 30;
    plan.timing.delta_max_ms = 60;
    plan.starts = vec![0, 0, 0, 200_000];
    let mut world = world(plan);
    world.gate = Some(Box::new(|_, _, message| {
        !matches!(message, Message::Proposal(_))
    }));
    world.submit(0);
    world = run_until(world, 199_000);
    let view = world.nodes[0]
        .process
        .as_ref()
        .map(|p| p.engine.status().view);
    assert!(view > Some(ledger::id::View(600)), "{view:?}");
    world = run_until(world, 220_000);
    world.gate = None;
    final_within(world, 10_000);
}

#[test]
fn clocks_of_all_stepped_back_an_hour_while_the_leader_is_dead() {
    for seed in SEEDS {
        let mut plan = Plan::calm(seed, 4);
        for node in 0..4 {
            plan.faults.push((3_000, Fault::Jump { node, by: -HOUR }));
        }
        plan.faults.push((2_990, Fault::Die { node: 0 }));
        load(&mut plan, 20, 400);
        final_within(world(plan), 30_000);
    }
}

#[test]
fn ten_idle_minutes_are_silent_and_the_next_record_is_final_at_once() {
    for n in [4, 7] {
        let mut plan = Plan::calm(3, n);
        load(&mut plan, 3, 100);
        let world = final_within(world(plan), 5_000);
        let settled = world.now + 60_000;
        let world = run_until(world, settled);
        let before = (world.oracle.traffic, world.oracle.written);
        let rested = world.now + 600_000;
        let mut world = run_until(world, rested);
        assert_eq!(before, (world.oracle.traffic, world.oracle.written));
        world.submit(0);
        // Four messages of 54 ms at most, with syncs and answers between.
        final_within(world, 300);
    }
}

#[test]
fn a_leader_that_dies_after_half_of_its_proposals_delays_one_view() {
    for seed in SEEDS {
        let mut world = run_until(world(Plan::calm(seed, 4)), 1_000);
        world.gate = Some(Box::new(|_, to, message| {
            !matches!(message, Message::Proposal(_)) || to.is_multiple_of(2)
        }));
        world.submit(0);
        world = run_until(world, 1_150);
        let leader = world.roster.first().leader(ledger::id::View(1));
        world.gate = None;
        world.crash(usize::from(leader.0));
        world.nodes[usize::from(leader.0)].gone = true;
        final_within(world, 10_000);
    }
}
