//! R2, R3 and the Finalize of R4: when this node votes (consensus.md, 3.7).

use super::Engine;
use super::blocks::State;
use super::slots::Slot;
use crate::time::Now;
use ledger::hash::BlockHash;
use ledger::id::View;
use ledger::planted;
use ledger::vote::VoteKind;

/// A new block further above the finalized tip gets no Notarize here (R2). Local; re-proposals always may.
const MAX_AHEAD: u64 = 32;
/// So many of the newest notarizations are looked at for a late Finalize (R4).
const LATE: usize = 32;

/// What the rules of 3.4 say about a proposal in the current view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acceptance {
    /// A new block on a certified parent, without a gap.
    New,
    /// The certified block itself, proposed again.
    Again,
    /// Certificates are missing, or its parent view is finalized over.
    NotNow,
    /// Whatever comes, it cannot be accepted.
    Never,
}

impl Engine {
    // 3.4: acceptability of a proposal at the current view.
    fn judge(&self, slot: &Slot) -> Acceptance {
        let view = self.run.current.view;
        let at = slot.parent_view;
        let unchecked = if planted!(GapNew) {
            slot.header.view == view
        } else {
            planted!(GapAgain) && slot.header.view < view
        };
        let gapless = unchecked || self.run.certificates.is_gapless_above(at);
        if at < self.run.certificates.finalized_view() || !gapless {
            return Acceptance::NotNow;
        }
        let Some(parent) = self.run.certificates.notarized(at) else {
            return Acceptance::NotNow;
        };
        if slot.block == parent && slot.header.view < view && at > View(0) {
            return Acceptance::Again;
        }
        let tip = self.blocks.tip(&parent.hash);
        let on_open_seal = tip.is_some_and(|tip| self.run.epoch.ends_with(&tip));
        let header = &slot.header;
        let extends = header.parent == parent.hash
            && header.view == view
            && header.proposer == self.run.epoch.leader(view)
            && Some(header.height) == parent.height.next();
        if extends && (!on_open_seal || planted!(NewOnSeal)) {
            Acceptance::New
        } else {
            Acceptance::Never
        }
    }

    // R2
    pub(super) fn notarize(&mut self, now: Now) -> bool {
        let view = self.run.current.view;
        if !self.guard.may_vote(view) || self.guard.votes(view).notarize.is_some() {
            return false;
        }
        let Some(slot) = self.run.slots.get(view) else {
            return false;
        };
        if slot.refused {
            return false;
        }
        let block = slot.block;
        let acceptance = self.judge(slot);
        if acceptance == Acceptance::NotNow {
            return false;
        }
        let unchecked = planted!(NotarizeUnchecked) && self.blocks.is_here(&block.hash);
        let is_invalid = self.blocks.state(&block.hash) == Some(State::Invalid) && !unchecked;
        if acceptance == Acceptance::Never || is_invalid {
            self.run.slots.refuse(view);
            return true;
        }
        if !self.blocks.is_valid(&block.hash) && !unchecked {
            return false;
        }
        if acceptance == Acceptance::New {
            let ahead = block.height.0.saturating_sub(self.final_height().0);
            let waits = !self.is_timely(now, block.hash) || !self.is_set_ready(now, &block.hash);
            if ahead > MAX_AHEAD || waits {
                return false;
            }
        }
        self.journal_block(&block.hash);
        let Ok(vote) = self.guard.notarize(view, block, &mut self.outbox) else {
            return false;
        };
        self.count(now, vote);
        true
    }

    fn is_timely(&self, now: Now, block: BlockHash) -> bool {
        let header = self.blocks.get(&block).map(|entry| &entry.block.header);
        header.is_some_and(|header| {
            let parent = self.blocks.tip(&header.parent);
            parent.is_some_and(|parent| self.time_rule(now, parent.time_ms, header.time_ms))
        })
    }

    // R3
    pub(super) fn nullify(&mut self, now: Now) -> bool {
        let view = if planted!(VoteInOldViews | NullifyAfterFinalize) {
            self.run.current.view.saturating_sub(1).max(View(1))
        } else {
            self.run.current.view
        };
        let own = self.guard.votes(view);
        let may = self.guard.may_vote(view)
            && own.nullify.is_none()
            && (own.finalize.is_none() || planted!(NullifyAfterFinalize));
        if !may || self.run.sealed || !self.gives_up(now, own.notarize.is_some()) {
            return false;
        }
        let Ok(vote) = self.guard.nullify(view, &mut self.outbox) else {
            return false;
        };
        self.run.current.nullify_sent = self.run.current.nullify_sent.saturating_add(1);
        self.count(now, vote);
        true
    }

    fn gives_up(&self, now: Now, has_notarized: bool) -> bool {
        let view = self.run.current.view;
        let leader = self.run.epoch.leader(view);
        let is_leader = self.guard.me() == Some(leader);
        let slot = self.run.slots.get(view);
        let armed_for = self.run.current.armed_at.map(|at| now.mono.since(at));
        let late = |limit| armed_for.is_some_and(|armed| armed >= limit);
        // (a) no proposal in time, (b) no notarization in time
        let no_proposal = slot.is_none() && late(self.propose_timeout());
        let no_notarization = late(self.view_timeout());
        // (d) the leader itself gave up, or one honest validator did
        let amplified = !has_notarized && {
            let others = self.run.tally.signers(view, VoteKind::Nullify);
            let (mut count, mut by_leader) = (0_usize, false);
            for signer in others {
                count = count.saturating_add(1);
                by_leader |= signer == leader;
            }
            by_leader || count > self.run.epoch.set().f()
        };
        // (e) the proposal can never be accepted
        let refused = slot.is_some_and(|slot| slot.refused);
        // (f) as leader: shutting down, or this clock is off
        let yields = is_leader
            && slot.is_none()
            && (self.stopping || (armed_for.is_some() && self.refuses_to_propose(now)));
        no_proposal
            || no_notarization
            || amplified
            || refused
            || yields
            || (!is_leader && slot.is_none() && self.leader_is_silent(now))
    }

    // R3(c), idle or not
    fn leader_is_silent(&self, now: Now) -> bool {
        let leader = self.run.epoch.leader(self.run.current.view);
        let timing = self.config.timing();
        let Some(leader) = self.run.epoch.peer_of(leader) else {
            return false;
        };
        let silent = now.mono.since(self.peers.silent_since(&leader)) >= timing.quiet_ms;
        let others = self.run.epoch.set().quorum().saturating_sub(1);
        silent && self.peers.alive(now.mono, timing.alive_ms) >= others
    }

    // R4, also late
    pub(super) fn finalize_notarized(&mut self, now: Now) -> bool {
        let mut due = None;
        let mut broken = None;
        for (view, notarization) in self.run.certificates.notarizations().take(LATE) {
            let block = notarization.certificate.block();
            if self.blocks.state(&block.hash) == Some(State::Invalid) {
                broken = Some(block);
                break;
            }
            let own = self.guard.votes(view);
            let may =
                (own.nullify.is_none() || planted!(FinalizeAfterNullify)) && own.finalize.is_none();
            let is_open =
                may && self.guard.may_vote(view) && !self.run.certificates.is_nullified(view);
            if due.is_none() && is_open && self.blocks.is_valid(&block.hash) {
                due = Some((view, block));
            }
        }
        if let Some(block) = broken {
            // A notarized block that is invalid here (3.4).
            let is_news = !self.diverged;
            self.diverge(block);
            return is_news;
        }
        let Some((view, block)) = due else {
            return false;
        };
        self.journal_block(&block.hash);
        let Some(notarization) = self.run.certificates.notarization(view) else {
            return false;
        };
        // The notarization was queued for the journal when it was accepted, before this vote.
        let cast = self
            .guard
            .finalize(&notarization.certificate, &mut self.outbox);
        let Ok(vote) = cast else {
            return false;
        };
        self.count(now, vote);
        true
    }
}
