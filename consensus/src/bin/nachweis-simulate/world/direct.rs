//! What a directed scenario does to the world.

use super::World;
use super::happen::Happening;
use crate::clock::Time;
use crate::filter::{Fate, Kind};
use crate::plan::Weather;
use crate::violation::Failure;
use consensus::Message;

/// Past the end of every scenario.
pub(crate) const NEVER: Time = 1 << 50;

impl World {
    /// How much later than usual a message arrives; `None`: never. No rules, no cost.
    pub(super) fn lateness(&self, from: usize, to: usize, bytes: &[u8]) -> Option<Time> {
        if self.filter.is_empty() {
            return Some(0);
        }
        let Ok(message) = Message::decode(bytes) else {
            return Some(0);
        };
        match self.filter.fate(from, to, Kind::of(&message)) {
            Some(Fate::Lost) => None,
            Some(Fate::Late(by)) => Some(by),
            None => Some(0),
        }
    }

    /// Messages take this long from now on.
    pub(crate) const fn latency(&mut self, low: Time, high: Time) {
        self.network.pace(low, high);
    }

    /// The network is bad until [`World::calm`].
    pub(crate) const fn storm(&mut self, weather: Weather) {
        self.network.storm(weather);
        self.plan.gst = NEVER;
    }

    /// The network is good from now on, and everybody who runs is connected.
    pub(crate) fn calm(&mut self) {
        self.network.calm();
        self.plan.gst = self.plan.gst.min(self.now);
        self.connect_all();
    }

    /// A record comes in every so often, at one node after the other.
    pub(crate) fn load(&mut self, count: usize, every: Time) {
        for (at, number) in (0..)
            .step_by(usize::try_from(every).unwrap_or(1))
            .zip(0..count)
        {
            let node = number % self.nodes.len();
            let at = self.now + at;
            self.plan.load.push((at, node));
            self.queue.plan(at, Happening::Submit { node });
        }
    }

    /// Runs until a node has committed so many records. True if it has in time.
    pub(crate) fn run_until_committed(
        &mut self,
        node: usize,
        count: usize,
        deadline: Time,
    ) -> Result<bool, Failure> {
        self.run(deadline, |world| {
            let process = world.nodes[node].process.as_ref();
            process.is_some_and(|process| process.application.count() >= count)
        })
    }

    /// A node dies, and its journal is gone when it starts again.
    pub(crate) fn lose_journal(&mut self, node: usize) {
        self.crash(node);
        self.nodes[node].disk.lose_journal();
        self.oracle.expect_quarantine(node);
    }

    /// Power is cut at a node while its journal is written; see [`crate::node::Node::tear`].
    pub(crate) fn tear(&mut self, node: usize, lost: u64) {
        self.nodes[node].tear(lost);
        self.lose_connections(node);
    }
}
