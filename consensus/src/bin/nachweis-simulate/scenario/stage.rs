//! Carries the commands of a scenario out on a world.

use super::language::{Command, Nodes, Number, PATIENCE};
use crate::clock::{Clock, Time};
use crate::filter::{Fate, Kind, Rule};
use crate::items::{Change, Item};
use crate::plan::{Fault, Plan, Slowness, Weather};
use crate::run;
use crate::violation::{Failure, Invariant, Violation, check};
use crate::world::{NEVER, World};
use consensus::{EngineStatus, Record};
use ledger::id::{Epoch, View};
use ledger::vote::VoteKind;
use std::collections::BTreeSet;

/// At the end, one more record is final everywhere within this time.
const ALIVE: Time = 60_000;
/// The shortest step of a wait.
const STEP: Time = 1;

/// A scenario that is being played: first its plan, then its world.
pub(super) struct Stage {
    plan: Plan,
    world: Option<World>,
}

type Done = Result<(), Failure>;

impl Stage {
    pub(super) fn new(run: u64) -> Self {
        Self {
            plan: Plan::calm(run, 4),
            world: None,
        }
    }

    pub(super) fn into_world(self) -> Option<World> {
        self.world
    }

    pub(super) fn carry_out(&mut self, command: &Command) -> Done {
        if self.world.is_none() && self.sets(command) {
            return Ok(());
        }
        let world = self.world();
        act(world, command)?;
        look_again(world)
    }

    /// Nothing stands in the way any more, everybody who is not gone runs: a last record becomes final.
    pub(super) fn prove_liveness(&mut self) -> Done {
        let world = self.world();
        world.filter.clear();
        world.calm();
        act(world, &Command::Start(Nodes::All))?;
        act(world, &Command::Wake(ALIVE))
    }

    fn world(&mut self) -> &mut World {
        let plan = &self.plan;
        self.world.get_or_insert_with(|| {
            let mut world = super::begin(plan.clone());
            for node in &mut world.nodes {
                node.gone = plan.starts[node.index] == NEVER;
            }
            world
        })
    }

    /// Commands that are part of the plan. False if it is another one, which begins the world.
    fn sets(&mut self, command: &Command) -> bool {
        let plan = &mut self.plan;
        match command {
            Command::Nodes(n) => {
                let fresh = Plan::calm(plan.seed, *n);
                plan.n = fresh.n;
                plan.clocks = fresh.clocks;
                plan.starts = fresh.starts;
            }
            Command::Delta(delta, cap) => {
                plan.timing.delta_ms = *delta;
                plan.timing.delta_max_ms = *cap;
                plan.timing.min_block_interval_ms =
                    plan.timing.min_block_interval_ms.min(*delta / 2);
            }
            Command::Epochs(length) => plan.epoch_length = *length,
            Command::Joiner(authority) => {
                plan.joiners
                    .push(u16::try_from(*authority).unwrap_or(u16::MAX));
                plan.clocks.push(Clock::default());
                plan.starts.push(0);
            }
            Command::Compact(bytes) => plan.compaction.above_bytes = *bytes,
            Command::Anchors(interval) => plan.rules.anchor_interval_ms = *interval,
            Command::Byzantine(node, mischief) => {
                plan.byzantine.insert(*node, mischief.clone());
            }
            Command::Absent(nodes) => {
                // Nobody waits for it before it starts.
                for node in listed(nodes) {
                    plan.starts[node] = NEVER;
                }
            }
            Command::Clock(nodes, offset) => {
                for node in self.resolve_plain(nodes) {
                    self.plan.clocks[node].offset = *offset;
                }
            }
            _ => return false,
        }
        true
    }

    /// Before the world begins there is no leader.
    fn resolve_plain(&self, nodes: &Nodes) -> Vec<usize> {
        match nodes {
            Nodes::Listed(_) => listed(nodes),
            Nodes::All | Nodes::Leader | Nodes::Others => (0..self.plan.n).collect(),
        }
    }
}

fn listed(nodes: &Nodes) -> Vec<usize> {
    match nodes {
        Nodes::Listed(nodes) => nodes.iter().copied().collect(),
        Nodes::All | Nodes::Leader | Nodes::Others => Vec::new(),
    }
}

fn statuses(world: &World) -> impl Iterator<Item = (usize, EngineStatus)> + '_ {
    world.nodes.iter().filter_map(|node| {
        let process = node.process.as_ref()?;
        Some((node.index, process.engine.status()))
    })
}

/// The newest epoch that a running node is in, and its highest view.
fn highest(world: &World) -> (Epoch, View) {
    let views = statuses(world).map(|(_, status)| (status.epoch, status.view));
    views.max().unwrap_or((Epoch(0), View(1)))
}

fn leader(world: &World) -> usize {
    let (epoch, view) = highest(world);
    let info = world
        .roster
        .epoch(epoch)
        .unwrap_or_else(|| world.roster.newest());
    let leader = world.roster.validator_at(info.epoch(), info.leader(view));
    leader.expect("the leader is a member")
}

fn resolve(world: &World, nodes: &Nodes) -> BTreeSet<usize> {
    let all = 0..world.nodes.len();
    let leader = leader(world);
    match nodes {
        Nodes::All => all.collect(),
        Nodes::Leader => BTreeSet::from([leader]),
        Nodes::Others => all.filter(|node| *node != leader).collect(),
        Nodes::Listed(nodes) => nodes.clone(),
    }
}

/// Checks something that the scenario demands.
fn demand(world: &World, holds: bool, invariant: Invariant, what: &str) -> Done {
    check(holds, invariant, || format!("{what}\n{}", world.standing()))
        .map_err(|violation| world.failure(violation))
}

fn told(world: &World, result: Result<(), Violation>) -> Done {
    result.map_err(|violation| world.failure(violation))
}

/// All nodes are looked at once more.
fn look_again(world: &mut World) -> Done {
    for node in 0..world.nodes.len() {
        let seen = world.watch(node);
        told(world, seen)?;
    }
    Ok(())
}

fn act(world: &mut World, command: &Command) -> Done {
    match command {
        Command::Crash(_)
        | Command::Start(_)
        | Command::Kill(_)
        | Command::LoseJournal(_)
        | Command::LoseDisk(_)
        | Command::Prune(_)
        | Command::Stop(..)
        | Command::Tear(..)
        | Command::Jump(..) => upset(world, command),
        Command::UntilView(..)
        | Command::UntilLeader(..)
        | Command::UntilEpoch(..)
        | Command::UntilVoting(_)
        | Command::UntilWriting(..)
        | Command::Final(_)
        | Command::Waits(_)
        | Command::Silent(_)
        | Command::Wake(_)
        | Command::EpochIs(_)
        | Command::ViewAtLeast(_)
        | Command::ViewAtMost(_)
        | Command::Nullified(_)
        | Command::SomeEvidence
        | Command::SomeCompact => expect(world, command),
        _ => {
            arrange(world, command);
            match command {
                Command::Run(time) => world.run_until(world.now + time),
                _ => Ok(()),
            }
        }
    }
}

/// What the world is like from now on.
fn arrange(world: &mut World, command: &Command) {
    match command {
        Command::Latency(low, high) => world.latency(*low, *high),
        Command::Sync(time, nodes) => slow(world, nodes, |slowness| slowness.sync = *time),
        Command::Answer(time, nodes) => slow(world, nodes, |slowness| slowness.answer = *time),
        Command::Loss(loss) => world.storm(Weather {
            delay: (4, 54),
            loss: *loss,
            ..Weather::default()
        }),
        Command::Calm => world.calm(),
        Command::Load { count, every } => world.load(*count, *every),
        Command::Submit { node, count } => {
            for node in resolve(world, node) {
                for _ in 0..*count {
                    world.submit(node);
                }
            }
        }
        Command::Change {
            number,
            leaves,
            joins,
        } => {
            let bits =
                |nodes: &BTreeSet<usize>| nodes.iter().fold(0, |bits, node| bits | 1 << node);
            let number = u32::try_from(*number).unwrap_or(u32::MAX);
            let change = Item::Change(Change::decide(number, bits(leaves), bits(joins)));
            world.push(0, change);
        }
        Command::Park(nodes) => {
            for node in resolve(world, nodes) {
                world.ask_work(node);
            }
        }
        Command::Contradict { node, to } => world.contradict(*node, *to),
        Command::Split(one, other) => {
            let mut kinds = Kind::all();
            kinds.remove(&Kind::Records);
            for (from, to) in [(one, other), (other, one)] {
                world.filter.add(Rule {
                    kinds: kinds.clone(),
                    from: from.clone(),
                    to: to.clone(),
                    fate: Fate::Lost,
                });
            }
        }
        Command::Filter {
            kinds,
            from,
            to,
            late,
        } => {
            let rule = Rule {
                kinds: kinds.clone(),
                from: resolve(world, from),
                to: resolve(world, to),
                fate: late.map_or(Fate::Lost, Fate::Late),
            };
            world.filter.add(rule);
        }
        Command::Pass => world.filter.clear(),
        _ => {}
    }
}

fn slow(world: &mut World, nodes: &Nodes, change: impl Fn(&mut Slowness)) {
    for node in resolve(world, nodes) {
        let usual = world.plan.slowness;
        change(world.plan.slow.entry(node).or_insert(usual));
    }
}

/// What happens to processes, disks and clocks.
fn upset(world: &mut World, command: &Command) -> Done {
    let nodes = match command {
        Command::Crash(nodes)
        | Command::Start(nodes)
        | Command::Kill(nodes)
        | Command::LoseJournal(nodes)
        | Command::LoseDisk(nodes)
        | Command::Prune(nodes)
        | Command::Stop(nodes, _)
        | Command::Tear(nodes, _)
        | Command::Jump(nodes, _) => resolve(world, nodes),
        _ => BTreeSet::new(),
    };
    for node in nodes {
        let done = match command {
            Command::Start(_) => {
                world.nodes[node].gone = world.plan.dead.contains(&node);
                world.start(node)
            }
            Command::Stop(_, down) => world.fault(Fault::Stop { node, down: *down }),
            Command::Jump(_, by) => world.fault(Fault::Jump { node, by: *by }),
            Command::LoseJournal(_) => {
                world.lose_journal(node);
                world.nodes[node].gone = true;
                Ok(())
            }
            Command::LoseDisk(_) => {
                world.lose_journal(node);
                world.nodes[node].disk.archive.clear();
                world.nodes[node].gone = true;
                Ok(())
            }
            Command::Prune(_) => {
                let pruned = world.prune_at_rest(node)?;
                check(pruned.is_some(), Invariant::Contract, || {
                    format!("#{node} has something under way, and cannot prune")
                })
            }
            Command::Tear(_, mask) => {
                let mask = match mask {
                    Number::Of(mask) => *mask,
                    Number::Run => world.plan.seed,
                };
                world.tear(node, mask);
                world.nodes[node].gone = true;
                Ok(())
            }
            // Until it starts again nobody waits for it.
            _ => {
                if matches!(command, Command::Kill(_)) {
                    world.plan.dead.insert(node);
                }
                world.fault(Fault::Die { node })
            }
        };
        told(world, done)?;
    }
    Ok(())
}

fn expect(world: &mut World, command: &Command) -> Done {
    match command {
        Command::Final(time) => run::finish(world, world.now + time),
        Command::Waits(time) => {
            let is_final = world.run_until_final(world.now + time)?;
            demand(
                world,
                !is_final,
                Invariant::Liveness,
                "final without a quorum",
            )
        }
        Command::Silent(time) => {
            let before = run::silence(world);
            world.run_until(world.now + time)?;
            let after = run::silence(world);
            let what =
                format!("messages, records written, views before {before:?}, after {after:?}");
            demand(world, before == after, Invariant::Quiescence, &what)
        }
        Command::Wake(time) => run::wake(world, *time),
        Command::UntilView(view, time) => wait(world, *time, |world| highest(world).1.0 >= *view),
        Command::UntilVoting(nodes) => {
            let nodes = resolve(world, nodes);
            wait(world, PATIENCE, |world| {
                let voting = statuses(world).filter(|(_, status)| status.is_voting());
                let voting: BTreeSet<_> = voting.map(|(node, _)| node).collect();
                nodes.is_subset(&voting)
            })
        }
        Command::UntilEpoch(epoch, time) => {
            wait(world, *time, |world| highest(world).0.0 >= *epoch)
        }
        Command::UntilLeader(node, time) => wait(world, *time, |world| {
            resolve(world, &Nodes::Leader).contains(node)
        }),
        Command::UntilWriting(count, time) => wait(world, *time, |world| {
            let writing = world.nodes.iter().filter(|node| node.is_writing_a_block());
            writing.count() >= *count
        }),
        Command::EpochIs(epoch) => {
            let holds = highest(world).0.0 == *epoch;
            demand(world, holds, Invariant::Liveness, "this is another epoch")
        }
        Command::ViewAtLeast(view) => {
            let holds = highest(world).1.0 >= *view;
            demand(world, holds, Invariant::Liveness, "the view is too low")
        }
        Command::ViewAtMost(view) => {
            let holds = highest(world).1.0 <= *view;
            demand(world, holds, Invariant::Liveness, "the view is too high")
        }
        Command::Nullified(nodes) => {
            let nodes = resolve(world, nodes);
            let without = nodes.into_iter().find(|node| !has_nullified(world, *node));
            let what = format!("{without:?} has no Nullify of its own on its disk");
            demand(world, without.is_none(), Invariant::Liveness, &what)
        }
        Command::SomeCompact => some(world, world.oracle.compact, "nothing was proposed by ids"),
        _ => some(world, world.oracle.evidence, "there is no evidence"),
    }
}

fn some(world: &World, count: u64, otherwise: &str) -> Done {
    demand(world, count > 0, Invariant::Evidence, otherwise)
}

fn has_nullified(world: &World, node: usize) -> bool {
    let journal = world.nodes[node].disk.journal();
    journal.iter().any(
        |record| matches!(record, Record::OwnVote { vote, .. } if vote.kind == VoteKind::Nullify),
    )
}

fn wait(world: &mut World, time: Time, done: impl Fn(&World) -> bool) -> Done {
    let deadline = world.now + time;
    while !done(world) && world.now < deadline {
        world.run_until(world.now + STEP)?;
    }
    let holds = done(world);
    demand(
        world,
        holds,
        Invariant::Liveness,
        "what was waited for did not come",
    )
}
