//! The world of one run: virtual time, the nodes, the network between them, and the oracle that watches.

mod carry;
mod deliver;
mod direct;
mod faults;
mod happen;

use crate::byzantine::{Frames, Scene, Shell};
use crate::clock::Time;
use crate::crypto::fold;
use crate::disk::Disk;
use crate::filter::Filter;
use crate::items::{Item, Record};
use crate::network::Network;
use crate::node::Node;
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::queue::Queue;
use crate::random::{Random, Stream};
use crate::roster::Roster;
use crate::trace::Trace;
use crate::twins::Script;
use crate::violation::{Checked, Failure, Invariant, Violation, check};
use consensus::{Config, Event};
pub(crate) use direct::NEVER;
use happen::Happening;
use ledger::id::{Epoch, View};

/// After GST everything must be final everywhere within this time.
pub(crate) const LIVENESS: Time = 60_000;

/// Figures of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) events: u64,
    pub(crate) messages: u64,
    pub(crate) dropped: u64,
    pub(crate) starts: u64,
    pub(crate) offences: u64,
    /// Ended syncs of journals and archives.
    pub(crate) syncs: u64,
    /// Writes that failed and ended their process.
    pub(crate) failed_writes: u64,
    /// Heartbeats sent.
    pub(crate) heartbeats: u64,
    /// Virtual ms from GST, or the last record submitted, until everything was final everywhere.
    pub(crate) settled: u64,
}

/// One run.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) plan: Plan,
    pub(crate) roster: Roster,
    pub(crate) nodes: Vec<Node>,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
    pub(crate) figures: Figures,
    /// Who hears whom in the Twins campaign.
    pub(crate) script: Option<Script>,
    /// What a directed scenario does to messages.
    pub(crate) filter: Filter,
    config: Config,
    network: Network,
    shells: Vec<Option<Shell>>,
    queue: Queue<Happening>,
    chance: Random,
    writes: Random,
    records: u32,
    loaded: usize,
    /// The furthest view when an honest node last learned that a block is final: until then there was work.
    pub(crate) worked_in: (Epoch, View),
}

impl World {
    /// Epoch and view of the honest node that is furthest, and that epoch's finalized view.
    pub(crate) fn furthest(&self) -> (Epoch, View, View) {
        let running = self.watched().filter_map(|node| node.process.as_ref());
        let all = running.map(|process| {
            let status = process.engine.status();
            (status.epoch, status.view, status.finalized_view)
        });
        all.max().unwrap_or_default()
    }

    pub(crate) fn new(plan: Plan, trace: Trace) -> Self {
        let roster = Roster::new(&plan);
        let count = roster.nodes();
        let mut queue = Queue::new();
        let mut byzantine = Random::new(plan.seed, Stream::Byzantine);
        let shells = (0..count)
            .map(|node| {
                let mischief = plan.byzantine.get(&node).filter(|all| !all.is_empty())?;
                let own = Random::new(byzantine.next(), Stream::Byzantine);
                Some(Shell::new(node, mischief, &roster, own))
            })
            .collect();
        for (node, at) in plan.starts.iter().enumerate() {
            queue.plan(*at, Happening::Start { node });
        }
        for (at, fault) in &plan.faults {
            queue.plan(*at, Happening::Fault(fault.clone()));
        }
        for (at, node) in &plan.load {
            queue.plan(*at, Happening::Submit { node: *node });
        }
        for (at, change) in &plan.changes {
            queue.plan(*at, Happening::Decide { change: *change });
        }
        for node in plan.byzantine.keys() {
            queue.plan(500, Happening::Mischief { node: *node });
        }
        queue.plan(plan.gst, Happening::Gst);
        let network = Random::new(plan.seed, Stream::Network);
        Self {
            now: 0,
            nodes: (0..count)
                .map(|node| {
                    let folder = plan
                        .files
                        .as_ref()
                        .map(|files| files.join(node.to_string()));
                    Node::new(node, plan.clocks[node], Disk::new(folder))
                })
                .collect(),
            oracle: Oracle::new(&plan, &roster),
            network: Network::new(count, plan.weather, network),
            config: Config::new(plan.rules, plan.timing)
                .expect("parameters fit together")
                .with_compaction(plan.compaction),
            chance: Random::new(plan.seed, Stream::Disk),
            writes: Random::new(plan.seed, Stream::Writes),
            plan,
            roster,
            trace,
            figures: Figures::default(),
            script: None,
            filter: Filter::default(),
            shells,
            queue,
            records: 0,
            loaded: 0,
            worked_in: Default::default(),
        }
    }

    /// Runs until everything submitted is final everywhere, at the latest until `deadline`. True if it is.
    pub(crate) fn run_until_final(&mut self, deadline: Time) -> Result<bool, Failure> {
        self.run(deadline, Self::is_final)
    }

    /// Runs until every honest node that is not gone has the whole chain; false if that takes longer.
    pub(crate) fn run_until_caught_up(&mut self, deadline: Time) -> Result<bool, Failure> {
        self.run(deadline, Self::has_caught_up)
    }

    /// Whether every honest node that is not gone has the whole chain.
    pub(crate) fn has_caught_up(&self) -> bool {
        let height = self.oracle.chain.height();
        let mut running = self.watched().filter_map(|node| node.process.as_ref());
        running.all(|process| process.engine.status().committed.height.0 >= height)
    }

    /// Runs until all honest members of the newest epoch that run vote; false if that takes longer.
    pub(crate) fn run_until_all_vote(&mut self, deadline: Time) -> Result<bool, Failure> {
        self.run(deadline, Self::all_vote)
    }

    /// Runs until somebody honest has left that view, for so many ms at most.
    pub(crate) fn run_until_view(&mut self, ms: Time, last: View) -> Result<(), Failure> {
        let left = |world: &Self| {
            let mut engines = world.watched().filter_map(|node| node.process.as_ref());
            engines.any(|process| process.last_status.view > last)
        };
        self.run(self.now + ms, left).map(|_| ())
    }

    /// Runs until that time.
    pub(crate) fn run_until(&mut self, time: Time) -> Result<(), Failure> {
        self.run(time, |_| false).map(|_| ())
    }

    fn run(&mut self, until: Time, done: impl Fn(&Self) -> bool) -> Result<bool, Failure> {
        while !done(self) {
            let Some((at, happening)) = self.queue.next(until) else {
                self.now = until;
                return Ok(false);
            };
            self.now = at;
            self.figures.events += 1;
            self.happen(happening)
                .map_err(|violation| self.failure(violation))?;
        }
        Ok(true)
    }

    pub(crate) const fn failure(&self, violation: Violation) -> Failure {
        Failure {
            at: self.now,
            violation,
        }
    }

    /// Whether every honest node that is not gone has every record, and no more will come.
    pub(crate) fn is_final(&self) -> bool {
        let load = self.plan.load.len() + self.plan.changes.len();
        if self.now < self.plan.gst || self.loaded < load {
            return false;
        }
        let all = self.oracle.chain.expected();
        self.unrecorded() == 0
            && self.watched().all(|node| {
                node.process
                    .as_ref()
                    .is_some_and(|process| process.application.count() == all)
            })
    }

    fn unrecorded(&self) -> usize {
        self.oracle.unrecorded(|node| !self.nodes[node].gone)
    }

    /// Honest nodes that take part.
    pub(crate) fn watched(&self) -> impl Iterator<Item = &Node> {
        self.nodes
            .iter()
            .filter(|node| !node.gone && self.oracle.is_honest(node.index))
    }

    /// Whether all honest members of the newest epoch that run vote.
    pub(crate) fn all_vote(&self) -> bool {
        let info = self.roster.newest();
        let mut members = self
            .watched()
            .filter(|node| self.roster.index_in(info, node.index).is_some());
        members.all(|node| {
            let process = node.process.as_ref();
            process.is_some_and(|process| process.engine.status().is_voting())
        })
    }

    /// Where everybody stands, for people.
    pub(crate) fn standing(&self) -> String {
        let all = self.oracle.chain.expected();
        let mut text = format!(
            "{all} records and changes submitted, {} misdeeds not on the chain",
            self.unrecorded()
        );
        for node in &self.nodes {
            let state = match &node.process {
                None if node.gone => "dead".to_owned(),
                None => "down".to_owned(),
                Some(process) => {
                    let status = process.engine.status();
                    format!(
                        "{} records, epoch {}, view {}, finalized view {}, height {} of {}, {:?}",
                        process.application.count(),
                        status.epoch,
                        status.view,
                        status.finalized_view,
                        status.committed.height,
                        status.finalized_height,
                        status.standing
                    )
                }
            };
            let kind = match self.plan.byzantine.get(&node.index) {
                Some(mischief) => format!(" byzantine {mischief:?}"),
                None => String::new(),
            };
            text.push_str(&format!("\n  #{}{kind}: {state}", node.index));
        }
        text
    }

    /// Gives a node's engine one event and carries out what comes of it.
    pub(super) fn feed(&mut self, node: usize, kind: u64, event: Event) -> Checked {
        self.trace.event(self.now, node, kind, || match &event {
            Event::Message { .. } => "handles the message".to_owned(),
            other => format!("{other:?}"),
        });
        let outputs = self.nodes[node].feed(self.now, event)?;
        self.carry(node, outputs)
    }

    /// A record is submitted to a node, which pushes it to all.
    pub(crate) fn submit(&mut self, node: usize) -> Item {
        let record = Item::Record(Record::submit(self.records));
        self.records += 1;
        self.push(node, record);
        record
    }

    /// An item comes in at one node, which pushes it to all.
    pub(crate) fn push(&mut self, node: usize, item: Item) {
        self.oracle.chain.submitted(item);
        for to in 0..self.nodes.len() {
            let mut after = 0;
            if to != node {
                // Lost pushes are repeated every second.
                let again = |world: &mut Self, after| {
                    world.now + after < world.plan.gst
                        && world.network.route(world.now, node, to)[0].is_none()
                };
                while again(self, after) {
                    after += 1_000;
                }
                let (low, high) = self.network.usual_delay();
                after += self.chance.between(low, high);
            }
            self.queue
                .plan(self.now + after, Happening::Gossip { node: to, item });
        }
    }

    fn gossip(&mut self, node: usize, item: &Item) -> Checked {
        if self.filter.stops_records_to(node) {
            // Pushed again until it arrives.
            let item = *item;
            let again = Happening::Gossip { node, item };
            self.queue.plan(self.now + 1_000, again);
            return Ok(());
        }
        let Some(process) = &mut self.nodes[node].process else {
            return Ok(());
        };
        if process.application.offer(item) {
            let number = fold(0, &ledger::codec::encode(item));
            self.trace
                .event(self.now, node, 5 ^ number, || format!("learns of {item:?}"));
            self.ask_work(node);
            if matches!(item, Item::Evidence(_)) {
                self.push_evidence_later(node);
            }
        }
        Ok(())
    }

    fn mischief(&mut self, node: usize) -> Checked {
        let frames = self.with_shell(node, |shell, scene| shell.tick(scene));
        if let Some(shell) = &mut self.shells[node] {
            let next = self.now + shell.pause();
            self.queue.plan(next, Happening::Mischief { node });
        }
        self.send_frames(node, frames);
        Ok(())
    }

    /// Lets a byzantine node act; nothing if it is honest or down.
    fn with_shell(
        &mut self,
        node: usize,
        act: impl FnOnce(&mut Shell, &Scene<'_>) -> Frames,
    ) -> Frames {
        let wall = self.nodes[node].now(self.now).wall;
        match (&mut self.shells[node], &self.nodes[node].process) {
            (Some(shell), Some(process)) => {
                let scene = Scene {
                    roster: &self.roster,
                    application: &process.application,
                    wall,
                };
                act(shell, &scene)
            }
            _ => Vec::new(),
        }
    }

    /// What must hold of a node after each event.
    pub(crate) fn watch(&mut self, node: usize) -> Checked {
        let honest = self.oracle.is_honest(node);
        let Some(process) = self.nodes[node].process.as_mut().filter(|_| honest) else {
            return Ok(());
        };
        let (before, after) = (process.last_status, process.engine.status());
        process.last_status = after;
        let grows = (after.epoch, after.view) >= (before.epoch, before.view)
            && (after.epoch, after.finalized_view) >= (before.epoch, before.finalized_view)
            && after.committed.height >= before.committed.height;
        check(grows, Invariant::Prefix, || {
            format!("#{node} goes back from {before:?} to {after:?}")
        })?;
        check(
            after.view > after.finalized_view
                && after.committed.height >= process.application.tip().height,
            Invariant::Prefix,
            || {
                format!(
                    "#{node} is in {after:?} with {:?} committed",
                    process.application.tip()
                )
            },
        )
    }
}
