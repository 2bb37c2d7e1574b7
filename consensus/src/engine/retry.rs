//! What is sent again, and to whom help is due: R8, R9 and the heartbeat (consensus.md, 3.7).

use super::Engine;
use super::catch_up::certificate_len;
use crate::message::{Message, Proposal, Status};
use crate::output::Output;
use crate::time::{Mono, Now};
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::id::{ValidatorIndex, View};
use ledger::vote::{PROTOCOL, Vote, VoteKind};

/// Own Finalize votes that are sent again.
const MAX_FINALIZES: usize = 16;
/// Certificates that are sent again, by number and bytes.
const MAX_CERTIFICATES: usize = 16;
const MAX_BYTES: usize = 64 << 10;
/// So often an own Nullify is sent in a view without work.
const MAX_NULLIFY: u8 = 3;

impl Engine {
    /// R8: there is something that only others can bring on. Looks at work now, never at what was.
    pub(super) fn is_busy(&self, now: Now) -> bool {
        if self.diverged || self.sealed {
            return false;
        }
        let view = self.current.view;
        let given_up = self.guard.votes(view).nullify.is_some();
        self.has_work(now)
            || self.unfinal_since().is_some()
            || self.slots.get(view).is_some()
            || (given_up && self.current.nullify_sent < MAX_NULLIFY)
    }

    // R8
    pub(super) fn retry(&mut self, now: Now) {
        let busy = self.is_busy(now);
        if busy && !self.current.was_busy {
            self.current.last_retry = now.mono;
        }
        self.current.was_busy = busy;
        let due = now.mono.since(self.current.last_retry) >= self.config.retry_ms();
        if !busy || !due {
            return;
        }
        self.current.last_retry = now.mono;
        self.resend_votes();
        self.resend_certificates();
        self.resend_proposal();
    }

    /// My votes of the current view, then my newest Finalize votes.
    pub(super) fn resend_votes(&mut self) {
        let view = self.current.view;
        let own = self.guard.votes(view);
        if own.nullify.is_some() {
            self.current.nullify_sent = self.current.nullify_sent.saturating_add(1);
        }
        let finalizes = self.guard.newest_first();
        let finalizes = finalizes.filter(|(at, _)| *at > self.certificates.finalized_view());
        let finalizes = finalizes.filter_map(|(_, votes)| votes.finalize);
        let votes: Vec<Vote> = [own.notarize, own.nullify]
            .into_iter()
            .flatten()
            .chain(finalizes.take(MAX_FINALIZES))
            .collect();
        for vote in votes {
            self.broadcast(Message::Vote(vote));
        }
    }

    /// The entry certificate, the highest finalization, then others, newest first, within the budget.
    fn resend_certificates(&mut self) {
        let entry = self.entry_certificate();
        let finalization = self.certificates.finalization().map(|c| c.get().clone());
        let finalization = finalization.filter(|c| Some(c) != entry.as_ref());
        let mut bytes = 0_usize;
        let others = self.certificates.newest_first();
        let others: Vec<Certificate> = others
            .filter(|c| Some(*c) != entry.as_ref())
            .take(MAX_CERTIFICATES)
            .take_while(|certificate| {
                bytes = bytes.saturating_add(certificate_len(certificate));
                bytes <= MAX_BYTES
            })
            .cloned()
            .collect();
        for certificate in entry.into_iter().chain(finalization).chain(others) {
            self.broadcast(Message::Certificate(certificate));
        }
    }

    /// My proposal, to those whose Notarize I lack.
    pub(super) fn resend_proposal(&mut self) {
        let view = self.current.view;
        let own = self.guard.votes(view);
        let (Some(vote), Some(parent_view)) = (own.notarize, own.parent_view) else {
            return;
        };
        let Some(entry) = self.blocks.get(&vote.block.hash) else {
            return;
        };
        let block = entry.block.clone();
        let voted: Vec<ValidatorIndex> = self.tally.signers(view, VoteKind::Notarize).collect();
        let lacking: Vec<ValidatorIndex> = self
            .peers
            .iter()
            .map(|(index, _)| index)
            .filter(|index| !voted.contains(index))
            .collect();
        let justification = self.certificates.justification(parent_view, view);
        for index in lacking {
            let proposal = Proposal {
                view,
                parent_view,
                block: block.clone(),
                justification: justification.clone(),
                vote,
            };
            self.send(index, Message::Proposal(proposal));
        }
    }

    /// R9: a peer that lags gets the highest finalization and the entry certificate, once per Δ.
    pub(super) fn help(&mut self, now: Mono, index: ValidatorIndex) {
        let delta = self.config.timing().delta_ms;
        let due = self
            .peers
            .get_mut(index)
            .is_some_and(|peer| peer.may_be_helped(now, delta));
        if !due {
            return;
        }
        let finalization = self.certificates.finalization().map(|c| c.get().clone());
        let entry = self
            .entry_certificate()
            .filter(|c| Some(c) != finalization.as_ref());
        for certificate in finalization.into_iter().chain(entry) {
            self.send(index, Message::Certificate(certificate));
        }
    }

    /// A heartbeat came: note it, and help if its sender lags (R9).
    pub(super) fn heartbeat_came(&mut self, now: Now, index: ValidatorIndex, status: Status) {
        let mono = now.mono;
        self.peers.heard_instance(index, status.instance, mono);
        self.peers.seen_in(index, status.view);
        if let Some(peer) = self.peers.get_mut(index) {
            peer.status = Some((status, mono));
        }
        let lags = status.view < self.current.view
            || status.finalized_view < self.certificates.finalized_view()
            || status.finalized.height < self.blocks.committed().block.height;
        if lags {
            self.help(mono, index);
        }
    }

    /// The heartbeat, every T_hb and whenever something says so.
    pub(super) fn heartbeat(&mut self, now: Now) {
        let due = now.mono.since(self.last_status) >= self.config.timing().heartbeat_ms;
        if due || self.status_due {
            self.status_due = false;
            self.last_status = now.mono;
            let status = self.own_status(now);
            self.broadcast(Message::Status(status));
        }
    }

    pub(super) fn own_status(&self, now: Now) -> Status {
        Status {
            protocol: PROTOCOL,
            instance: self.instance,
            epoch: self.epoch.epoch(),
            view: self.current.view,
            finalized: self.blocks.committed().block,
            finalized_view: self.certificates.finalized_view(),
            notarized_view: self.certificates.top_notarized_view(),
            pending: self.work.includable,
            wall: now.wall,
        }
    }

    /// A vote far ahead came: this node lags, and its Status asks for help (R9 on the other side).
    pub(super) fn hint_of_view(&mut self, now: Now, index: ValidatorIndex, view: View) {
        self.peers.seen_in(index, view);
        let delta = self.config.timing().delta_ms;
        let due = self
            .peers
            .get_mut(index)
            .is_some_and(|peer| peer.may_be_helped(now.mono, delta));
        if due {
            let status = self.own_status(now);
            self.send(index, Message::Status(status));
        }
    }

    /// Sends what may follow from a vote or certificate: only once all that is durable (R10).
    pub(super) fn send(&mut self, index: ValidatorIndex, message: Message) {
        if let Some(to) = self.epoch.peer_of(index) {
            self.outbox.after_durable(Output::Send { to, message });
        }
    }

    /// As [`Engine::send`], to all others.
    pub(super) fn broadcast(&mut self, message: Message) {
        self.outbox.after_durable(Output::Broadcast(message));
    }

    /// Asks a question, which depends on nothing.
    pub(super) fn ask(&mut self, index: ValidatorIndex, message: Message) {
        if let Some(to) = self.epoch.peer_of(index) {
            self.outbox.now(Output::Send { to, message });
        }
    }
}
