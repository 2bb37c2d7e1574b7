//! Processes and connections come and go; clocks jump.

use super::World;
use super::happen::{Happening, Inside};
use crate::network::{Connected, Generation};
use crate::node::{Landed, Node};
use crate::plan::{Fault, WHOLE};
use crate::violation::Checked;
use consensus::Event;

/// A crash is noticed by the peers within this time, in ms.
const NOTICED: u64 = 300;
/// Connections stand within this time after a start, in ms.
const CONNECTED: u64 = 200;

impl World {
    pub(crate) fn fault(&mut self, fault: Fault) -> Checked {
        match fault {
            Fault::Crash { node, down } => self.crash_for(node, down),
            Fault::Stop { node, down } => {
                if self.nodes[node].process.is_some() {
                    self.feed(node, 7, Event::Stopping)?;
                    let crash = Happening::Fault(Fault::Crash { node, down });
                    self.queue.plan(self.now + self.chance.below(60), crash);
                }
            }
            Fault::Forget { node, down } => {
                self.crash_for(node, down);
                let disk = &mut self.nodes[node].disk;
                let kept = self.chance.index(disk.journal().len() + 1);
                disk.forget(kept);
            }
            Fault::Lose { node, down } => {
                self.crash_for(node, down);
                self.nodes[node].disk.lose_journal();
                self.oracle.expect_quarantine(node);
            }
            Fault::Clone { from, to } => {
                if let Ok([from, to]) = self.nodes.get_disjoint_mut([from, to]) {
                    to.disk.copy(&from.disk);
                }
                self.start(to)?;
            }
            Fault::Die { node } => {
                self.crash(node);
                self.nodes[node].gone = true;
            }
            Fault::Partition { groups, lasts } => {
                self.trace
                    .event(self.now, 0, 8, || format!("network parts into {groups:?}"));
                self.network.partition(Some(groups));
                self.queue.plan(self.now + lasts, Happening::Heal);
            }
            Fault::Disconnect { a, b, lasts } => {
                if let Some(generation) = self.network.standing(a, b) {
                    self.disconnect(a, b, generation)?;
                    self.queue
                        .plan(self.now + lasts, Happening::Connect { a, b });
                }
            }
            Fault::Jump { node, by } => {
                self.trace
                    .event(self.now, node, 9, || format!("clock jumps by {by} ms"));
                self.nodes[node].clock.offset += by;
            }
        }
        Ok(())
    }

    fn crash_for(&mut self, node: usize, down: u64) {
        if self.nodes[node].process.is_some() {
            self.crash(node);
            self.queue.plan(self.now + down, Happening::Start { node });
        }
    }

    /// A process dies. Everything that it had not synced is lost, unless the disk was just about to be done.
    pub(crate) fn crash(&mut self, node: usize) {
        if self.nodes[node].process.is_none() {
            return;
        }
        self.trace
            .event(self.now, node, 10, || "crashes".to_owned());
        let landed = if self.chance.chance(500) {
            Landed::All
        } else {
            Landed::Nothing
        };
        let archived = self.chance.index(4);
        self.nodes[node].crash(landed, archived);
        self.lose_connections(node);
    }

    /// Whether a write that would end now fails instead.
    pub(super) fn write_fails(&mut self) -> bool {
        // Runs without this draw nothing.
        self.plan.failing_writes > 0
            && self.now < self.plan.gst
            && self.writes.chance(self.plan.failing_writes)
    }

    /// A write fails: the process ends at once, and is started again later. Nobody is told of what was being written;
    /// any part of it may be on the disk.
    pub(super) fn fail_write(&mut self, node: usize) {
        self.figures.failed_writes += 1;
        self.trace
            .event(self.now, node, 20, || "a write fails".to_owned());
        let landed = Landed::Without(self.writes.next());
        let archived = self.writes.index(4);
        self.nodes[node].crash(landed, archived);
        self.lose_connections(node);
        let down = self.writes.between(50, 2_550);
        self.queue.plan(self.now + down, Happening::Start { node });
    }

    /// A process is gone; its peers notice soon.
    pub(super) fn lose_connections(&mut self, node: usize) {
        for peer in 0..self.nodes.len() {
            if peer == node {
                continue;
            }
            if let Some(generation) = self.network.standing(node, peer) {
                let at = self.now + self.chance.below(NOTICED);
                let gone = Happening::Disconnect {
                    a: node,
                    b: peer,
                    generation,
                };
                self.queue.plan(at, gone);
            }
        }
    }

    pub(crate) fn start(&mut self, node: usize) -> Checked {
        if self.nodes[node].process.is_some() || self.nodes[node].gone {
            return Ok(());
        }
        self.figures.starts += 1;
        let (records, frames) = {
            let disk = &self.nodes[node].disk;
            (disk.journal().len(), disk.archive.len())
        };
        self.trace.event(self.now, node, 11, || {
            format!("starts from {records} records and {frames} archived blocks")
        });
        let disk = &self.nodes[node].disk;
        self.oracle
            .started(node, &self.roster, disk.journal(), disk.archive.iter())?;
        // Byzantine validators make what they like of whole proposals.
        let config = match self.shells[node] {
            Some(_) => self.config.with_compaction(WHOLE),
            None => self.config,
        };
        self.nodes[node].start(self.now, &self.roster, config)?;
        for peer in self.others(node) {
            let at = self.now + 1 + self.chance.below(CONNECTED);
            self.queue.plan(at, Happening::Connect { a: node, b: peer });
        }
        if self.plan.slowness.prune > 0 {
            let after = self.chance.between(200, self.plan.slowness.prune);
            self.plan_inside(node, after, Inside::Prune);
        }
        self.push_again(node);
        self.feed(node, 12, Event::Start)
    }

    /// A restarted node's pool is empty; the others and the submitters push again.
    fn push_again(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        let missing: Vec<_> = self
            .oracle
            .chain
            .all_submitted()
            .filter(|item| !process.application.has(item))
            .collect();
        for item in missing {
            let at = self.now + self.chance.between(100, 1_500);
            self.queue.plan(at, Happening::Gossip { node, item });
        }
    }

    /// From now on nothing goes wrong any more, except for what byzantine validators do.
    pub(super) fn gst(&mut self) -> Checked {
        self.trace
            .event(self.now, 0, 13, || "GST: the network is good".to_owned());
        self.network.calm();
        for node in 0..self.nodes.len() {
            if self
                .plan
                .starts
                .get(node)
                .is_none_or(|start| *start <= self.now)
            {
                self.start(node)?;
            }
        }
        self.connect_all();
        Ok(())
    }

    /// Connects whoever is not.
    pub(super) fn connect_all(&mut self) {
        for a in 0..self.nodes.len() {
            for b in self.others(a) {
                if a < b && self.network.standing(a, b).is_none() {
                    let at = self.now + self.chance.below(CONNECTED);
                    self.queue.plan(at, Happening::Connect { a, b });
                }
            }
        }
    }

    pub(super) fn connect(&mut self, a: usize, b: usize) -> Checked {
        if self.nodes[a].process.is_none() || self.nodes[b].process.is_none() {
            return Ok(());
        }
        let ends = [a, b].map(|node| (node, self.nodes[node].incarnations));
        let had = [self.has_peer(a, b), self.has_peer(b, a)];
        if self.network.connect(ends[0], ends[1]) == Connected::Already {
            return Ok(());
        }
        for ((node, other), had) in [(a, b), (b, a)].into_iter().zip(had) {
            let peer = self.roster.peers[other];
            if had {
                self.feed(node, 14, Event::PeerDown { peer })?;
            }
            self.feed(node, 15, Event::PeerUp { peer })?;
            let rtt_ms = self.chance.between(2, 60);
            self.feed(node, 16, Event::RoundTrip { peer, rtt_ms })?;
        }
        Ok(())
    }

    pub(super) fn disconnect(&mut self, a: usize, b: usize, generation: Generation) -> Checked {
        let had = [self.has_peer(a, b), self.has_peer(b, a)];
        if !self.network.disconnect(a, b, generation) {
            return Ok(());
        }
        for ((node, other), had) in [(a, b), (b, a)].into_iter().zip(had) {
            if had && !self.has_peer(node, other) {
                let peer = self.roster.peers[other];
                self.feed(node, 14, Event::PeerDown { peer })?;
            }
        }
        Ok(())
    }

    /// Whether a node's present process knows of a connection to that peer, at whichever computer it sits.
    fn has_peer(&self, node: usize, peer: usize) -> bool {
        let Node {
            process,
            incarnations,
            ..
        } = &self.nodes[node];
        let owner = self.roster.owner(peer);
        let mut behind = (0..self.nodes.len()).filter(|other| self.roster.owner(*other) == owner);
        process.is_some()
            && behind.any(|other| {
                let known = self.network.connection(node, *incarnations, other);
                known.is_some()
            })
    }

    /// The nodes that a node has connections to: all but itself and its doubles.
    fn others(&self, node: usize) -> Vec<usize> {
        let owner = self.roster.owner(node);
        let all = 0..self.nodes.len();
        all.filter(|other| self.roster.owner(*other) != owner)
            .collect()
    }
}
