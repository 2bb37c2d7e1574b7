//! What is sent again, and to whom help is due: R8, R9 and the heartbeat (consensus.md, 3.7).

use super::Engine;
use super::catch_up::certificate_len;
use crate::epoch::Peer;
use crate::message::{Message, Status};
use crate::output::Output;
use crate::time::{Mono, Now};
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::id::View;
use ledger::planted;
use ledger::vote::{PROTOCOL, Vote, VoteKind};

/// Own Finalize votes that are sent again.
const MAX_FINALIZES: usize = 16;
/// Certificates that are sent again, by number and bytes.
const MAX_CERTIFICATES: usize = 16;
const MAX_BYTES: usize = 64 << 10;
/// So often an own Nullify is sent in a view without work.
const MAX_NULLIFY: u8 = 3;
/// So often anything is sent again for a proposal whose block is final already: the others may have nothing to do any more,
/// and never answer.
const MAX_STALE: u8 = 16;

impl Engine {
    /// R8: there is something that only others can bring on. Looks at work now, never at what was.
    pub(super) fn is_busy(&self, now: Now) -> bool {
        if self.diverged || self.run.sealed {
            return false;
        }
        let view = self.run.current.view;
        let given_up = self.guard.votes(view).nullify.is_some();
        self.has_work(now)
            || self.unfinal_since().is_some()
            || self.is_to_be_decided(view)
            || (given_up && self.run.current.nullify_sent < MAX_NULLIFY)
    }

    /// There is a proposal in this view; of a final block, for as long as lost messages may explain it.
    fn is_to_be_decided(&self, view: View) -> bool {
        let finalized = self.run.certificates.finalized().height;
        let slot = self.run.slots.get(view);
        slot.is_some_and(|slot| {
            slot.block.height > finalized || self.run.current.retries < MAX_STALE
        })
    }

    // R8
    pub(super) fn retry(&mut self, now: Now) {
        let busy = self.is_busy(now);
        if busy && !self.run.current.was_busy {
            self.run.current.last_retry = now.mono;
        }
        self.run.current.was_busy = busy;
        let due = now.mono.since(self.run.current.last_retry) >= self.config.retry_ms();
        if !busy || !due || planted!(NoRetry) {
            return;
        }
        self.run.current.last_retry = now.mono;
        self.run.current.retries = self.run.current.retries.saturating_add(1);
        self.resend_votes();
        self.resend_certificates();
        self.resend_proposal();
    }

    /// My votes of the current view, then my newest Finalize votes.
    pub(super) fn resend_votes(&mut self) {
        let view = self.run.current.view;
        let own = self.guard.votes(view);
        if own.nullify.is_some() {
            self.run.current.nullify_sent = self.run.current.nullify_sent.saturating_add(1);
        }
        let finalizes = self.guard.newest_first();
        let finalizes = finalizes.filter(|(at, _)| *at > self.run.certificates.finalized_view());
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
        let finalization = self
            .run
            .certificates
            .finalization()
            .map(|c| c.get().clone());
        let finalization = finalization.filter(|c| Some(c) != entry.as_ref());
        let mut bytes = 0_usize;
        let others = self.run.certificates.newest_first();
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
        let view = self.run.current.view;
        let own = self.guard.votes(view);
        let (Some(vote), Some(parent_view)) = (own.notarize, own.parent_view) else {
            return;
        };
        let Some(entry) = self.blocks.get(&vote.block.hash) else {
            return;
        };
        let block = entry.block.clone();
        let voted = self.run.tally.signers(view, VoteKind::Notarize);
        let voted: Vec<Peer> = voted
            .filter_map(|signer| self.run.epoch.peer_of(signer))
            .collect();
        let lacking: Vec<Peer> = self
            .peers
            .members()
            .map(|(peer, _)| peer)
            .filter(|peer| !voted.contains(peer))
            .collect();
        if lacking.is_empty() {
            return;
        }
        let proposal = self.draft(view, parent_view, block).sign(vote);
        for peer in lacking {
            self.send(&peer, proposal.clone());
        }
    }

    /// R9: a peer that lags gets the highest finalization and the entry certificate, once per Δ.
    pub(super) fn help(&mut self, now: Mono, peer: &Peer) {
        if !self.may_help(now, peer) {
            return;
        }
        let finalization = self
            .run
            .certificates
            .finalization()
            .map(|c| c.get().clone());
        let entry = self
            .entry_certificate()
            .filter(|c| Some(c) != finalization.as_ref());
        for certificate in finalization.into_iter().chain(entry) {
            self.send(peer, Message::Certificate(certificate));
        }
    }

    /// Unasked help goes to a peer once per Δ.
    pub(super) fn may_help(&mut self, now: Mono, peer: &Peer) -> bool {
        let delta = self.config.timing().delta_ms;
        let state = self.peers.get_mut(peer);
        state.is_some_and(|state| state.may_be_helped(now, delta))
    }

    /// A heartbeat came: note it, and help if its sender lags (R9).
    pub(super) fn heartbeat_came(&mut self, now: Now, peer: &Peer, status: Status) {
        let mono = now.mono;
        self.peers.heard_instance(peer, status.instance, mono);
        if let Some(state) = self.peers.get_mut(peer) {
            // Of a later epoch, too: it tells how far the chain is.
            state.status = Some((status, mono));
        }
        if status.epoch != self.run.epoch.epoch() {
            self.help_over(mono, peer, status.epoch);
            return;
        }
        self.peers.seen_in(peer, status.view);
        let lags = status.view < self.run.current.view
            || status.finalized_view < self.run.certificates.finalized_view()
            || status.finalized.height < self.blocks.committed().block.height;
        if lags {
            self.help(mono, peer);
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
            epoch: self.run.epoch.epoch(),
            view: self.run.current.view,
            finalized: self.blocks.committed().block,
            finalized_view: self.run.certificates.finalized_view(),
            notarized_view: self.run.certificates.top_notarized_view(),
            pending: self.run.work.includable,
            wall: now.wall,
        }
    }

    /// A vote far ahead came: this node lags.
    pub(super) fn hint_of_view(&mut self, now: Now, peer: &Peer, view: View) {
        self.peers.seen_in(peer, view);
        self.ask_for_help(now, peer);
    }

    /// This node lags, and its Status asks for help (R9 on the other side).
    pub(super) fn ask_for_help(&mut self, now: Now, peer: &Peer) {
        if self.may_help(now.mono, peer) {
            let status = self.own_status(now);
            self.send(peer, Message::Status(status));
        }
    }

    /// Sends what may follow from a vote or certificate: only once all that is durable (R10).
    pub(super) fn send(&mut self, to: &Peer, message: Message) {
        let to = *to;
        self.outbox.after_durable(Output::Send { to, message });
    }

    /// As [`Engine::send`], to all others.
    pub(super) fn broadcast(&mut self, message: Message) {
        self.outbox.after_durable(Output::Broadcast(message));
    }

    /// Asks a question, which depends on nothing.
    pub(super) fn ask(&mut self, to: &Peer, message: Message) {
        let to = *to;
        self.outbox.now(Output::Send { to, message });
    }
}
