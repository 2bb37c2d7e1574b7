//! How long a record takes, counted in message delays, and what an idle network does: figures for people
//! (one dead validator costs at most one message delay more; an idle network is silent).
//!
//! Every message takes the same time, syncs and answers take none, and records come in at random moments, one after the
//! other or while others are under way; so what is left is the protocol.

use crate::clock::Time;
use crate::plan::{Fault, Plan};
use crate::random::{Random, Stream};
use crate::run;
use crate::trace::{Trace, Words};
use crate::violation::{Failure, Invariant, check};
use crate::world::World;
use std::io::{self, Write};

/// One message, in ms. Timers ring and pools are asked up to 3 ms late, which this makes little of.
const DELAY: Time = 60;
/// Records of a distribution.
const RECORDS: usize = 2_000;
/// A dead validator is noticed within this time.
const NOTICED: Time = 20_000;
/// A record takes no longer than this.
const PATIENCE: Time = 60_000;
/// An idle network is watched for so long.
const IDLE: Time = 600_000;

/// How many validators there are, and who of them is dead: up to f.
const FLEETS: [(usize, &[usize]); 5] = [(4, &[]), (4, &[1]), (7, &[]), (7, &[1]), (7, &[1, 2])];

/// Latencies in ms, ascending.
struct Distribution(Vec<Time>);

/// How long after one record the next comes in, in ms: from, to.
type Gap = (Time, Time);

/// Long enough for a record to be final before the next.
const APART: Gap = (300, 3_000);
/// So short that a record meets every moment of the one before, and its view changes.
const UNDER_LOAD: Gap = (0, 4 * DELAY);

/// What an idle network did.
struct Idle {
    views: u64,
    blocks: u64,
    syncs: u64,
    heartbeats: u64,
    others: u64,
    /// The first record after it, in ms.
    first: Time,
}

/// Measures and prints everything.
pub(crate) fn report(out: &mut dyn Write) -> io::Result<bool> {
    writeln!(
        out,
        "{RECORDS} records; every message takes {DELAY} ms. Message delays from submission until final at the validator"
    )?;
    writeln!(out, "that took it in:\n")?;
    writeln!(
        out,
        "| validators | records | p50 | p90 | p99 | max |\n| --- | --- | --- | --- | --- | --- |"
    )?;
    for (records, gap) in [("apart", APART), ("under load", UNDER_LOAD)] {
        for (n, dead) in FLEETS {
            let name = match dead.len() {
                0 => format!("{n}, all alive"),
                1 => format!("{n}, one dead for ever"),
                2 => format!("{n}, two dead for ever"),
                count => format!("{n}, {count} dead for ever"),
            };
            match distribution(n, dead, gap) {
                Ok(all) => {
                    let [p50, p90, p99, max] =
                        [500, 900, 990, 1_000].map(|at| in_delays(all.at(at)));
                    writeln!(
                        out,
                        "| {name} | {records} | {p50} | {p90} | {p99} | {max} |"
                    )?;
                }
                Err(failure) => return writeln!(out, "{name}: {failure}").map(|()| false),
            }
        }
    }
    match idle() {
        Ok(idle) => {
            writeln!(
                out,
                "\nFour validators idle for {} minutes:\n",
                IDLE / 60_000
            )?;
            writeln!(
                out,
                "| view changes | blocks | syncs | heartbeats | other messages | next record |"
            )?;
            writeln!(out, "| --- | --- | --- | --- | --- | --- |")?;
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} delays |",
                idle.views,
                idle.blocks,
                idle.syncs,
                idle.heartbeats,
                idle.others,
                in_delays(idle.first)
            )?;
            Ok(true)
        }
        Err(failure) => writeln!(out, "idle: {failure}").map(|()| false),
    }
}

/// With one decimal.
fn in_delays(ms: Time) -> String {
    let tenths = (ms * 10 + DELAY / 2) / DELAY;
    format!("{}.{}", tenths / 10, tenths % 10)
}

impl Distribution {
    /// The latency that so many thousandths do not exceed.
    fn at(&self, per_mille: usize) -> Time {
        let at = (self.0.len() * per_mille).div_ceil(1_000).saturating_sub(1);
        self.0.get(at).copied().unwrap_or(0)
    }
}

fn world(n: usize) -> World {
    let mut plan = Plan::calm(n as u64, n);
    plan.slowness.sync = 0;
    plan.slowness.answer = 0;
    let mut world = World::new(plan, Trace::new(Words::None));
    world.latency(DELAY, DELAY);
    world
}

/// Submits records to nodes, each so long after the one before; how long each takes to be final where it came in.
fn latencies(
    world: &mut World,
    records: impl IntoIterator<Item = (Time, usize)>,
) -> Result<Vec<Time>, Failure> {
    let mut records = records.into_iter();
    let mut next = |now: Time| records.next().map(|(gap, node)| (now + gap, node));
    let mut coming = next(world.now);
    let mut under_way = Vec::new();
    let mut all = Vec::new();
    while coming.is_some() || !under_way.is_empty() {
        while let Some((at, node)) = coming.filter(|(at, _)| *at <= world.now) {
            under_way.push((world.now, node, world.submit(node)));
            coming = next(at);
        }
        world.run_until(world.now + 1)?;
        let final_now = under_way.extract_if(.., |(_, node, item)| {
            let process = world.nodes[*node].process.as_ref();
            process.is_some_and(|process| process.application.has(item))
        });
        all.extend(final_now.map(|(began, ..)| world.now - began));
        let oldest = under_way.first().map_or(world.now, |(began, ..)| *began);
        let in_time = world.now - oldest <= PATIENCE;
        check(in_time, Invariant::Liveness, || world.standing())
            .map_err(|broken| world.failure(broken))?;
    }
    Ok(all)
}

fn distribution(n: usize, dead: &[usize], gap: Gap) -> Result<Distribution, Failure> {
    let mut world = world(n);
    let mut random = Random::new(n as u64, Stream::Plan);
    world.run_until(2_000)?;
    for &node in dead {
        let dies = world.fault(Fault::Die { node });
        dies.map_err(|broken| world.failure(broken))?;
    }
    if !dead.is_empty() {
        world.run_until(world.now + NOTICED)?;
    }
    let alive: Vec<usize> = (0..n).filter(|node| !dead.contains(node)).collect();
    let records = (0..RECORDS).map(|_| {
        let after = random.between(gap.0, gap.1);
        (after, alive[random.index(alive.len())])
    });
    let mut all = latencies(&mut world, records)?;
    all.sort_unstable();
    Ok(Distribution(all))
}

fn idle() -> Result<Idle, Failure> {
    let mut world = world(4);
    world.run_until(2_000)?;
    latencies(&mut world, [(0, 0)])?;
    world.run_until(world.now + 10_000)?;
    let (_, _, views) = run::silence(&world);
    let (before, blocks) = (world.figures, world.oracle.chain.height());
    world.run_until(world.now + IDLE)?;
    let (_, _, views_after) = run::silence(&world);
    let after = world.figures;
    let heartbeats = after.heartbeats - before.heartbeats;
    Ok(Idle {
        views: views_after.iter().sum::<u64>() - views.iter().sum::<u64>(),
        blocks: world.oracle.chain.height() - blocks,
        syncs: after.syncs - before.syncs,
        heartbeats,
        others: after.messages - before.messages - heartbeats,
        first: latencies(&mut world, [(0, 0)])?.into_iter().sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dead_validator_costs_at_most_one_message_delay_once_noticed() {
        costs(4, &[1]);
    }

    #[test]
    fn each_of_f_dead_validators_costs_at_most_one_message_delay_once_noticed() {
        costs(7, &[1, 2]);
    }

    /// One message delay more for each of the dead at most, and with f of them half of the records take five at most
    /// (consensus.md, 5.5).
    fn costs(n: usize, dead: &[usize]) {
        for gap in [APART, UNDER_LOAD] {
            let alive = distribution(n, &[], gap).expect("keeps all promises");
            let some_dead = distribution(n, dead, gap).expect("keeps all promises");
            for per_mille in [500, 900, 990, 1_000] {
                let (usual, then) = (alive.at(per_mille), some_dead.at(per_mille));
                assert!(
                    then <= usual + dead.len() as u64 * (DELAY + DELAY / 10),
                    "{gap:?} apart, {per_mille}: {then} ms after {usual} ms"
                );
            }
            assert!(some_dead.at(500) <= 5 * DELAY, "{gap:?} apart");
        }
    }

    #[test]
    fn an_idle_network_does_nothing_and_then_takes_four_message_delays() {
        let idle = idle().expect("keeps all promises");
        assert_eq!(
            (idle.views, idle.blocks, idle.syncs, idle.others),
            (0, 0, 0, 0)
        );
        assert!(idle.heartbeats > 0);
        assert!(idle.first <= 4 * DELAY + DELAY / 10, "{} ms", idle.first);
    }
}
