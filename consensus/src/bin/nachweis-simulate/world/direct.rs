//! What a directed scenario does to the world.

use super::World;
use super::happen::Happening;
use crate::clock::Time;
use crate::crypto::fold;
use crate::filter::{Fate, Kind};
use crate::node::Landed;
use crate::plan::Weather;
use consensus::Message;
use ledger::hash::{BlockHash, Hash};
use ledger::header::BlockRef;
use ledger::vote::{Statement, Vote, VoteKind};
use std::sync::Arc;

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

    /// A byzantine validator shows two votes of the current view that exclude each other to one node alone.
    pub(crate) fn contradict(&mut self, node: usize, to: usize) {
        let Some(process) = &self.nodes[to].process else {
            return;
        };
        let status = process.engine.status();
        let Some(info) = self.roster.epoch(status.epoch) else {
            return;
        };
        let Some(index) = self.roster.index_in(info, node) else {
            return;
        };
        let signer = self.roster.signer(node);
        let votes = [1, 2].map(|byte| {
            let statement = Statement {
                kind: VoteKind::Notarize,
                view: status.view,
                block: BlockRef {
                    height: status.committed.height.saturating_add(1),
                    hash: BlockHash(Hash([byte; 32])),
                },
            };
            Vote {
                epoch: status.epoch,
                view: statement.view,
                kind: statement.kind,
                block: statement.block,
                signer: index,
                signature: signer.sign(&statement.sign_bytes(info.context())),
            }
        });
        for vote in votes {
            let bytes: Arc<[u8]> = Message::Vote(vote).encode().into();
            self.transmit(node, to, &bytes, fold(0, &bytes));
        }
    }

    /// A node dies, and its journal is gone when it starts again.
    pub(crate) fn lose_journal(&mut self, node: usize) {
        self.crash(node);
        self.nodes[node].disk.lose_journal();
        self.oracle.expect_quarantine(node);
    }

    /// Power is cut at a node while its journal is written: of the batch's pages, those in `lost` are not there.
    pub(crate) fn tear(&mut self, node: usize, lost: u64) {
        self.nodes[node].crash(Landed::Without(lost), 0);
        self.lose_connections(node);
    }
}
