//! The door before the signature check: cheap, and drops what is stale, unasked or too much (3.8, 3.18).

use super::Engine;
use crate::config::MAX_SYNC;
use crate::epoch::Peer;
use crate::message::{CertReq, Message, Proposal};
use crate::output::Output;
use crate::time::Now;
use crate::verify::{Admitted, Dropped, Offence};
use alloc::sync::Arc;
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::id::{ValidatorIndex, View};
use ledger::vote::{Vote, VoteKind};

/// Votes for views this far below the current one are not looked at any more.
const MAX_BEHIND: u64 = 16;
/// Bodies are kept of proposals up to this many views ahead; of later ones only header and vote.
pub(super) const BODIES_AHEAD: u64 = 2;
/// What a block that must come from the archive is taken to weigh.
const BLOCK_BYTES: u64 = 256 << 10;
/// Least that a sync request is taken to weigh.
const MIN_SYNC_BYTES: u32 = 64 << 10;

impl Engine {
    pub(super) fn admit_message(
        &mut self,
        now: Now,
        from: Peer,
        message: Message,
    ) -> Result<Admitted, Dropped> {
        let index = self.epoch.index_of(&from).ok_or(Dropped::Stranger)?;
        if !self.started || self.peers.get(index).is_none() {
            return Err(Dropped::Unasked);
        }
        self.peers.heard(index, now.mono);
        let (message, lagging) = self.screen(now, index, message)?;
        let held = self.already_held(&message);
        Ok(Admitted {
            message,
            epoch: Arc::clone(&self.epoch),
            held,
            lagging,
        })
    }

    fn screen(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        message: Message,
    ) -> Result<(Message, bool), Dropped> {
        match &message {
            Message::Proposal(_) => {}
            Message::Vote(vote) => {
                let lagging = self.screen_vote(now, from, vote)?;
                return Ok((message, lagging));
            }
            Message::Certificate(certificate) => self.screen_certificate(certificate)?,
            Message::Hello(_) | Message::Status(_) => self.screen_report(now, from, &message)?,
            Message::Fetch(_) | Message::CertReq(_) | Message::SyncReq(_) => {
                self.screen_request(now, from, &message)?;
            }
            Message::Seen(seen) => {
                asked(self.is_asking() && seen.nonce == self.start_check.nonce())?;
            }
            Message::Block(block) => asked(self.fetches.wants(&block.hash()))?,
            Message::CertResp(_) => asked(self.catch_up.expects_certificates(from))?,
            Message::SyncResp(response) => {
                let first = response.blocks.first().map(|block| block.header.height);
                asked(first.is_some_and(|first| self.catch_up.expects_blocks(from, first)))?;
            }
        }
        if let Message::Proposal(proposal) = message {
            return self.screen_proposal(now, from, proposal);
        }
        Ok((message, false))
    }

    /// True if the vote is at or below the finalized view: not verified, but its sender needs help (R9).
    fn screen_vote(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        vote: &Vote,
    ) -> Result<bool, Dropped> {
        if vote.epoch != self.epoch.epoch() {
            return Err(Dropped::Epoch);
        }
        let view = vote.view;
        let current = self.current.view;
        if view <= self.certificates.finalized_view() {
            return if vote.signer == from {
                Ok(true)
            } else {
                Err(Dropped::Window(view))
            };
        }
        if view > current.saturating_add(self.config.timing().window) {
            self.hint_of_view(now, from, view);
            return Err(Dropped::Window(view));
        }
        if view.saturating_add(MAX_BEHIND) < current {
            return Err(Dropped::Window(view));
        }
        if Some(vote.signer) == self.guard.me() || !self.tally.wants(vote) {
            return Err(Dropped::Known);
        }
        Ok(false)
    }

    fn screen_certificate(&self, certificate: &Certificate) -> Result<(), Dropped> {
        if certificate.epoch() != self.epoch.epoch() {
            return Err(Dropped::Epoch);
        }
        let (kind, view) = (certificate.kind(), certificate.view());
        if self.is_held(kind, view) {
            return Err(Dropped::Known);
        }
        Ok(())
    }

    /// Hello and Status: one at a time.
    fn screen_report(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        message: &Message,
    ) -> Result<(), Dropped> {
        let timing = *self.config.timing();
        let peer = self.peers.get_mut(from).ok_or(Dropped::Stranger)?;
        let fits = match message {
            Message::Status(status) => {
                let fits = peer.may_report(now.mono, &timing);
                if fits && status.epoch != self.epoch.epoch() {
                    return Err(Dropped::Epoch);
                }
                fits
            }
            Message::Hello(_) => peer.may_greet(now.mono, timing.delta_ms),
            Message::Seen(_)
            | Message::Proposal(_)
            | Message::Vote(_)
            | Message::Certificate(_)
            | Message::Fetch(_)
            | Message::Block(_)
            | Message::CertReq(_)
            | Message::CertResp(_)
            | Message::SyncReq(_)
            | Message::SyncResp(_) => true,
        };
        if fits { Ok(()) } else { Err(Dropped::Rate) }
    }

    /// Requests: by the bytes that the answer may have.
    fn screen_request(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        message: &Message,
    ) -> Result<(), Dropped> {
        let cost = match message {
            Message::Fetch(block) => self
                .blocks
                .get(&block.hash)
                .and_then(|entry| u64::try_from(entry.block.body.len()).ok())
                .unwrap_or(BLOCK_BYTES),
            Message::CertReq(request) => self.cert_cost(request)?,
            Message::SyncReq(request) => {
                u64::from(request.max_bytes.clamp(MIN_SYNC_BYTES, MAX_SYNC))
            }
            Message::Hello(_)
            | Message::Seen(_)
            | Message::Proposal(_)
            | Message::Vote(_)
            | Message::Certificate(_)
            | Message::Status(_)
            | Message::Block(_)
            | Message::CertResp(_)
            | Message::SyncResp(_) => 0,
        };
        let peer = self.peers.get_mut(from).ok_or(Dropped::Stranger)?;
        if peer.may_ask(now.mono, cost.max(1)) {
            Ok(())
        } else {
            Err(Dropped::Rate)
        }
    }

    fn cert_cost(&self, request: &CertReq) -> Result<u64, Dropped> {
        if request.epoch != self.epoch.epoch() {
            return Err(Dropped::Epoch);
        }
        if request.from > request.to {
            return Err(Dropped::Window(request.to));
        }
        let views = request.to.0.saturating_sub(request.from.0).min(256);
        let quorum = u64::try_from(self.epoch.set().quorum()).unwrap_or(u64::MAX);
        let each = quorum.saturating_mul(64).saturating_add(73);
        Ok(views.saturating_add(1).saturating_mul(each).min(1 << 20))
    }

    /// A proposal counts from its leader alone, and the first one takes the slot. Another one's vote may be evidence.
    fn screen_proposal(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        proposal: Proposal,
    ) -> Result<(Message, bool), Dropped> {
        let Proposal {
            view,
            parent_view,
            ref block,
            ref vote,
            ..
        } = proposal;
        if vote.epoch != self.epoch.epoch() {
            return Err(Dropped::Epoch);
        }
        let current = self.current.view;
        let finalized = self.certificates.finalized_view();
        let ahead = view > current.saturating_add(self.config.timing().window);
        if view <= finalized || ahead || view.saturating_add(MAX_BEHIND) < current {
            if ahead {
                self.hint_of_view(now, from, view);
            }
            return Err(Dropped::Window(view));
        }
        let leader = self.epoch.leader(view);
        if from != leader || vote.signer != leader {
            return Err(Dropped::NotLeader(view));
        }
        let header = &block.header;
        let named = block.block_ref();
        let is_new = header.view == view && header.proposer == leader;
        let consistent = vote.kind == VoteKind::Notarize
            && vote.view == view
            && vote.block == named
            && parent_view < view
            && (is_new || header.view < view)
            && header.body_len <= self.config.rules().block_hard;
        if !consistent {
            // Its vote is not worth more than it: an honest leader does not send that.
            if let Some(peer) = self.epoch.peer_of(from) {
                let offence = Offence::Proposal(view);
                self.outbox.now(Output::Ban { peer, offence });
            }
            return Err(Dropped::Unasked);
        }
        let wanted = self.fetches.wants(&named.hash);
        let Some(slot) = self.slots.get(view) else {
            return if wanted || view.saturating_add(1) >= current {
                Ok((Message::Proposal(proposal), false))
            } else {
                Err(Dropped::Window(view))
            };
        };
        if slot.block != named || slot.parent_view != parent_view {
            let vote = proposal.vote;
            let lagging = self.screen_vote(now, from, &vote)?;
            return Ok((Message::Vote(vote), lagging));
        }
        let brings = wanted
            || !self.blocks.is_here(&named.hash)
            || proposal
                .justification
                .iter()
                .any(|certificate| !self.is_held(certificate.kind(), certificate.view()));
        if brings {
            Ok((Message::Proposal(proposal), false))
        } else {
            Err(Dropped::Known)
        }
    }

    /// Certificates of a message that need not be verified again.
    fn already_held(&self, message: &Message) -> Vec<(VoteKind, View)> {
        let certificates: &[Certificate] = match message {
            Message::Proposal(proposal) => &proposal.justification,
            Message::CertResp(certificates) => certificates,
            Message::Certificate(_)
            | Message::Hello(_)
            | Message::Seen(_)
            | Message::Vote(_)
            | Message::Status(_)
            | Message::Fetch(_)
            | Message::Block(_)
            | Message::CertReq(_)
            | Message::SyncReq(_)
            | Message::SyncResp(_) => &[],
        };
        certificates
            .iter()
            .map(|certificate| (certificate.kind(), certificate.view()))
            .filter(|(kind, view)| self.is_held(*kind, *view))
            .collect()
    }

    fn is_held(&self, kind: VoteKind, view: View) -> bool {
        self.certificates.holds(kind, view)
    }
}

const fn asked(yes: bool) -> Result<(), Dropped> {
    if yes { Ok(()) } else { Err(Dropped::Unasked) }
}
