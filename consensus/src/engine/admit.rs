//! The door before the signature check: cheap, and drops what is stale, unasked or too much (3.8, 3.18).

use super::Engine;
use super::peers::PeerState;
use crate::config::MAX_SYNC;
use crate::epoch::Peer;
use crate::message::{BodyReq, CertReq, Message, Outline};
use crate::output::Output;
use crate::time::Now;
use crate::verify::{Admitted, Dropped, Offence};
use alloc::sync::Arc;
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::id::{ValidatorIndex, View};
use ledger::planted;
use ledger::vote::{Vote, VoteKind};

/// Votes for views this far below the current one are not looked at any more.
const MAX_BEHIND: u64 = 16;
/// Bodies are kept of proposals up to this many views ahead; of later ones only header and vote.
pub(super) const BODIES_AHEAD: u64 = 2;
/// What a block that must come from the archive is taken to weigh.
const BLOCK_BYTES: u64 = 256 << 10;
/// Least that a sync request is taken to weigh.
const MIN_SYNC_BYTES: u32 = 64 << 10;

/// What of a proposal is looked at.
enum Screened {
    Whole,
    /// Its vote alone, as [`Admitted`] says of it.
    Vote {
        lagging: bool,
    },
}

impl Engine {
    pub(super) fn admit_message(
        &mut self,
        now: Now,
        from: Peer,
        message: Message,
    ) -> Result<Admitted, Dropped> {
        if self.peers.get(&from).is_none() {
            return Err(Dropped::Stranger);
        }
        if !self.started {
            return Err(Dropped::Unasked);
        }
        self.peers.heard(&from, now.mono);
        let (message, lagging) = self.screen(now, &from, message)?;
        let held = self.already_held(&message);
        Ok(Admitted {
            message,
            epoch: Arc::clone(&self.run.epoch),
            held,
            lagging,
        })
    }

    fn screen(
        &mut self,
        now: Now,
        from: &Peer,
        message: Message,
    ) -> Result<(Message, bool), Dropped> {
        if let Some(epoch) = message.epoch() {
            self.of_epoch(now, from, epoch)?;
        }
        match &message {
            Message::Proposal(_) | Message::CompactProposal(_) => {}
            Message::Vote(vote) => {
                let lagging = self.screen_vote(now, from, vote)?;
                return Ok((message, lagging));
            }
            Message::Certificate(certificate) => self.screen_certificate(certificate)?,
            Message::Hello(_) => {
                self.member(from)?;
                let delta = self.config.timing().delta_ms;
                in_rate(self.peer(from)?.may_greet(now.mono, delta))?;
            }
            Message::Status(_) => {
                let timing = *self.config.timing();
                in_rate(self.peer(from)?.may_report(now.mono, &timing))?;
            }
            Message::Fetch(block) | Message::BodyReq(BodyReq { block, .. }) => {
                let entry = self.blocks.get(&block.hash);
                let length = entry.and_then(|entry| u64::try_from(entry.block.body.len()).ok());
                let cost = length.unwrap_or(BLOCK_BYTES).max(1);
                in_rate(self.peer(from)?.may_ask(now.mono, cost))?;
            }
            Message::CertReq(request) => {
                let cost = self.cert_cost(request);
                in_rate(self.peer(from)?.may_ask(now.mono, cost))?;
            }
            Message::SyncReq(request) => {
                let cost = u64::from(request.max_bytes.clamp(MIN_SYNC_BYTES, MAX_SYNC));
                in_rate(self.peer(from)?.may_ask(now.mono, cost))?;
            }
            Message::Seen(seen) => {
                self.member(from)?;
                asked(self.is_asking() && seen.nonce == self.run.start_check.nonce())?;
            }
            Message::RejoinReq(_) => {
                self.member(from)?;
                let delta = self.config.timing().delta_ms;
                in_rate(self.peer(from)?.may_rejoin(now.mono, delta))?;
            }
            Message::RejoinResp(answer) => {
                self.member(from)?;
                asked(self.asks_to_rejoin() && answer.nonce == self.rejoin_nonce())?;
            }
            Message::Block(block) => asked(self.run.fetches.wants(&block.hash(), from))?,
            Message::BodyItems(answer) => {
                asked(self.run.assemblies.expects(&answer.block.hash, from))?;
            }
            Message::CertResp(_) => asked(self.run.catch_up.expects_certificates(from))?,
            Message::SyncResp(response) => {
                let first = response.blocks.first().map(|block| &block.header);
                let first = first.filter(|it| self.run.catch_up.expects_blocks(from, it.height));
                let first = first.ok_or(Dropped::Unasked)?;
                if first.epoch > self.run.epoch.epoch() {
                    // A restart that is not known here went on from below it: nobody lied, and nothing can be checked.
                    return Err(Dropped::Epoch);
                }
            }
        }
        let Some(outline) = message.outline() else {
            return Ok((message, false));
        };
        Ok(match self.screen_proposal(now, from, &outline)? {
            Screened::Whole => (message, false),
            Screened::Vote { lagging } => (Message::Vote(*outline.vote), lagging),
        })
    }

    fn peer(&mut self, peer: &Peer) -> Result<&mut PeerState, Dropped> {
        self.peers.get_mut(peer).ok_or(Dropped::Stranger)
    }

    /// What only a validator of this epoch may send.
    fn member(&self, peer: &Peer) -> Result<ValidatorIndex, Dropped> {
        self.run.epoch.index_of(peer).ok_or(Dropped::Stranger)
    }

    /// True if the vote is at or below the finalized view: not verified, but its sender needs help (R9).
    fn screen_vote(&mut self, now: Now, from: &Peer, vote: &Vote) -> Result<bool, Dropped> {
        let view = vote.view;
        let current = self.run.current.view;
        if view <= self.run.certificates.finalized_view() {
            // The last Finalize votes of a view always come after its finalization; their repetition asks for help.
            let is_own = self.run.epoch.index_of(from) == Some(vote.signer);
            let peer = self.peers.get_mut(from).filter(|_| is_own);
            let lags =
                peer.is_some_and(|peer| vote.kind != VoteKind::Finalize || peer.repeats(view));
            return if lags {
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
        if Some(vote.signer) == self.guard.me() || !self.run.tally.wants(vote) {
            return Err(Dropped::Known);
        }
        Ok(false)
    }

    fn screen_certificate(&self, certificate: &Certificate) -> Result<(), Dropped> {
        if self
            .run
            .certificates
            .holds(certificate.kind(), certificate.view())
        {
            return Err(Dropped::Known);
        }
        Ok(())
    }

    /// Most bytes that the answer may have.
    fn cert_cost(&self, request: &CertReq) -> u64 {
        let views = request.to.0.saturating_sub(request.from.0).min(256);
        let quorum = u64::try_from(self.run.epoch.set().quorum()).unwrap_or(u64::MAX);
        let each = quorum.saturating_mul(64).saturating_add(73);
        views.saturating_add(1).saturating_mul(each).min(1 << 20)
    }

    /// A proposal counts from its leader alone, and the first one takes the slot. Another one's vote may be evidence.
    fn screen_proposal(
        &mut self,
        now: Now,
        from: &Peer,
        outline: &Outline<'_>,
    ) -> Result<Screened, Dropped> {
        let Outline {
            view,
            parent_view,
            header,
            vote,
            ..
        } = *outline;
        let current = self.run.current.view;
        let finalized = self.run.certificates.finalized_view();
        let ahead = view > current.saturating_add(self.config.timing().window);
        if view <= finalized || ahead || view.saturating_add(MAX_BEHIND) < current {
            if ahead {
                self.hint_of_view(now, from, view);
            }
            return Err(Dropped::Window(view));
        }
        let leader = self.run.epoch.leader(view);
        let relayed = self.member(from)? != leader && !planted!(RelayedProposal | AnyLeader);
        let foreign = vote.signer != leader && !planted!(AnyLeader);
        if relayed || foreign {
            return Err(Dropped::NotLeader(view));
        }
        let named = header.block_ref();
        let is_new = header.view == view && header.proposer == leader;
        let consistent = vote.kind == VoteKind::Notarize
            && vote.view == view
            && vote.block == named
            && parent_view < view
            && (is_new || header.view < view)
            && header.body_len <= self.config.rules().block_hard;
        if !consistent {
            // Its vote is not worth more than it: an honest leader does not send that.
            let offence = Offence::Proposal(view);
            let peer = *from;
            self.outbox.now(Output::Ban { peer, offence });
            return Err(Dropped::Unasked);
        }
        let is_compact = outline.ids.is_some();
        let wanted = !is_compact && self.run.fetches.wants(&named.hash, from);
        let Some(slot) = self.run.slots.get(view) else {
            return if wanted || view.saturating_add(1) >= current {
                Ok(Screened::Whole)
            } else {
                Err(Dropped::Window(view))
            };
        };
        if slot.block != named || slot.parent_view != parent_view {
            let lagging = self.screen_vote(now, from, vote)?;
            return Ok(Screened::Vote { lagging });
        }
        let is_near = view <= current.saturating_add(BODIES_AHEAD);
        let lacks_body = if is_compact {
            self.wants_ids(now.mono, from, outline)
        } else {
            !self.blocks.is_here(&named.hash) && !self.run.fetches.shuns(&named.hash, from)
        };
        let held = self.held_of(outline.justification).len();
        if wanted || (is_near && lacks_body) || held < outline.justification.len() {
            Ok(Screened::Whole)
        } else {
            Err(Dropped::Known)
        }
    }

    /// Certificates of a message that need not be verified again.
    fn already_held(&self, message: &Message) -> Vec<(VoteKind, View)> {
        if let Some(outline) = message.outline() {
            self.held_of(outline.justification)
        } else if let Message::CertResp(certificates) = message {
            self.held_of(certificates)
        } else {
            Vec::new()
        }
    }

    fn held_of(&self, certificates: &[Certificate]) -> Vec<(VoteKind, View)> {
        certificates
            .iter()
            .map(|certificate| (certificate.kind(), certificate.view()))
            .filter(|(kind, view)| self.run.certificates.holds(*kind, *view))
            .collect()
    }
}

const fn asked(yes: bool) -> Result<(), Dropped> {
    if yes { Ok(()) } else { Err(Dropped::Unasked) }
}

const fn in_rate(yes: bool) -> Result<(), Dropped> {
    if yes { Ok(()) } else { Err(Dropped::Rate) }
}
