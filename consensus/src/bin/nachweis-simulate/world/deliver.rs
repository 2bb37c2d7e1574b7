//! The way of a message into an engine, through the three doors: decode, admit, verify.

use super::World;
use super::happen::{Frame, Happening, Inside};
use crate::trace;
use crate::violation::{Checked, Invariant, Violation, check};
use consensus::message::Lane;
use consensus::{Event, Message, VerifiedMessage};
use ledger::vote::Vote;

/// How long a peer that did what no honest node does stays disconnected, in ms.
const BANNED: u64 = 2_000;

/// The vote that a message carries, if it carries one.
pub(super) type Votes = Option<Vote>;

fn votes_of(message: &Message) -> Votes {
    match message {
        Message::Vote(vote) => Some(*vote),
        other => other.outline().map(|proposal| *proposal.vote),
    }
}

impl World {
    pub(super) fn deliver(&mut self, frame: &Frame) -> Checked {
        let Frame {
            from,
            to,
            generation,
            ref bytes,
            hash,
        } = *frame;
        let incarnation = self.nodes[to].incarnations;
        let arrives = self.nodes[to].process.is_some()
            && self.network.connection(to, incarnation, from) == Some(generation);
        if !arrives {
            return Ok(());
        }
        let message = match Message::decode(bytes) {
            Ok(message) => message,
            Err(error) => return self.ban(to, from, &error.to_string()),
        };
        self.trace.event(self.now, to, hash, || {
            format!("hears from #{from}: {}", trace::message(&message))
        });
        let frames = self.with_shell(to, |shell, scene| shell.incoming(scene, from, &message));
        self.send_frames(to, frames);
        let votes = votes_of(&message);
        // As the node does it: what an ended connection left between the doors is no sign of a running process.
        let connection = (message.lane() == Lane::Votes).then_some(generation);
        let peer = self.roster.peers[from];
        let now = self.nodes[to].now(self.now);
        let verifier = self.roster.crypto().verifier();
        let Some(process) = &mut self.nodes[to].process else {
            return Ok(());
        };
        let admitted = process.engine.admit(now, peer, message);
        let outputs = process.drain()?;
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(reason) => {
                self.figures.dropped += 1;
                self.trace.outcome(20, || format!("dropped: {reason}"));
                return self.carry(to, outputs);
            }
        };
        self.carry(to, outputs)?;
        let message = match admitted.verify(verifier) {
            Ok(message) => message,
            Err(offence) => return self.ban(to, from, &offence.to_string()),
        };
        if self.plan.slowness.workers == 0 {
            return self.take_in(to, from, votes, message);
        }
        let after = self.chance.below(self.plan.slowness.workers + 1);
        let message = Box::new(message);
        let what = Inside::Verified {
            from,
            votes,
            connection,
            message,
        };
        self.plan_inside(to, after, what);
        Ok(())
    }

    /// A verified message goes into the engine.
    pub(super) fn take_in(
        &mut self,
        node: usize,
        from: usize,
        votes: Votes,
        message: VerifiedMessage,
    ) -> Checked {
        let from = self.roster.peers[from];
        self.feed(node, 1, Event::Message { from, message })?;
        let status = self.nodes[node].process.as_ref().map(|p| p.engine.status());
        if let (Some(vote), Some(status)) = (votes, status) {
            self.oracle.took_in(node, &self.roster, &status, &vote)?;
        }
        Ok(())
    }

    /// A node disconnects a peer that did what no honest node does.
    pub(super) fn ban(&mut self, node: usize, peer: usize, reason: &str) -> Checked {
        self.figures.offences += 1;
        self.trace
            .event(self.now, node, 30, || format!("bans #{peer}: {reason}"));
        let both = self.oracle.is_honest(node) && self.oracle.is_honest(peer);
        check::<String>(!both, Invariant::HonestRefused, || {
            format!("#{node} bans #{peer}: {reason}")
        })?;
        let Some(generation) = self.network.standing(node, peer) else {
            return Ok(());
        };
        self.disconnect(node, peer, generation)?;
        let again = Happening::Connect { a: node, b: peer };
        self.queue.plan(self.now + BANNED, again);
        Ok::<(), Violation>(())
    }
}
