//! R1: this node's turn to propose (consensus.md, 3.7, 3.16 and 3.22).

use super::Engine;
use super::blocks::State;
use super::slots::Slot;
use super::work::{self, Parent};
use crate::block::{Block, Tip};
use crate::output::{Alarm, BuildRequest, Output};
use crate::time::{Mono, Now};
use ledger::header::{BlockRef, Flags};
use ledger::id::View;
use ledger::planted;

/// So deep may the unfinalized part of the chain be; then an honest leader proposes its tip again (R1).
const MAX_DEPTH: u64 = 8;

/// A block that the caller was asked to build.
#[derive(Clone, Copy, Debug)]
pub(super) struct Building {
    request: BuildRequest,
    parent_view: View,
    /// The caller found nothing to include.
    pub(super) empty: bool,
}

impl Engine {
    // R1
    pub(super) fn propose(&mut self, now: Now) -> bool {
        let view = self.run.current.view;
        let is_turn = self.guard.me() == Some(self.run.epoch.leader(view))
            && self.guard.may_vote(view)
            && self.guard.votes(view).all().next().is_none();
        if !is_turn || self.stopping || !self.has_work(now) || self.refuses_to_propose(now) {
            return false;
        }
        let Parent::Found {
            view: parent_view,
            block: parent,
        } = self.parent()
        else {
            return false;
        };
        if self.run.work.head != Some(parent) {
            // What could be included, and whether an ANCHOR is due, is known of another block.
            return false;
        }
        let Some(tip) = self.blocks.tip(&parent.hash) else {
            return false;
        };
        let is_empty = self.run.build.is_some_and(|build| build.empty);
        let nothing = is_empty
            || (self.run.work.answered
                && self.run.work.includable == 0
                && !self.is_anchor_due(now));
        if self.must_repeat(&tip) || nothing {
            // An empty block would only make more work: the tip itself is proposed again, unless it is final here.
            return parent.height > self.final_height()
                && !planted!(NoReproposal)
                && self.release_proposal(now, parent_view, parent);
        }
        if self.run.work.answered && self.paced_until(&parent).is_none_or(|at| at <= now.mono) {
            self.ask_to_build(now, parent_view, tip);
        }
        false
    }

    /// R1: on a SEAL block, or too deep, there is nothing new.
    fn must_repeat(&self, tip: &Tip) -> bool {
        let depth = tip.block.height.0.saturating_sub(self.final_height().0);
        let on_open_seal = self.run.epoch.ends_with(tip) && !planted!(NewOnSeal);
        on_open_seal || depth > MAX_DEPTH
    }

    /// 3.22: until when the parent is too young for a child.
    pub(super) fn paced_until(&self, parent: &BlockRef) -> Option<Mono> {
        let entry = self.blocks.get(&parent.hash)?;
        let interval = self.config.timing().min_block_interval_ms;
        Some(entry.since.plus(interval))
    }

    fn ask_to_build(&mut self, now: Now, parent_view: View, parent: Tip) {
        let view = self.run.current.view;
        let is_asked = self
            .run
            .build
            .is_some_and(|build| build.request.view == view && build.request.parent == parent);
        let (Some(height), false) = (parent.block.height.next(), is_asked) else {
            return;
        };
        let anchor = self.is_anchor_due(now);
        let request = BuildRequest {
            chain: self.run.epoch.chain(),
            epoch: self.run.epoch.epoch(),
            view,
            parent,
            height,
            proposer: self.run.epoch.leader(view),
            time_ms: work::next_time(parent.time_ms, now.wall),
            flags: if anchor { Flags::ANCHOR } else { Flags::NONE },
            validator_set: self.run.epoch.set_hash(),
        };
        self.run.build = Some(Building {
            request,
            parent_view,
            empty: false,
        });
        self.outbox.now(Output::Build(request));
    }

    /// The caller built a block. Late answers are dropped: their submissions are still in the pool.
    pub(super) fn proposal_ready(&mut self, now: Now, view: View, block: Block) {
        let Some(build) = self.run.build.filter(|build| build.request.view == view) else {
            return;
        };
        let request = build.request;
        let header = &block.header;
        let is_current = view == self.run.current.view
            && header.parent == request.parent.block.hash
            && self.blocks.is_valid(&header.parent)
            && self.run.certificates.is_gapless_above(build.parent_view);
        if !is_current {
            return;
        }
        self.run.build = None;
        let as_asked = header.view == view
            && header.time_ms == request.time_ms
            && super::blocks::header_fits(
                self.config.rules(),
                &self.run.epoch,
                &request.parent,
                header,
            );
        if !as_asked {
            let what = "the built block's header is not as requested";
            self.outbox.now(Output::Alarm(Alarm::Contract(what)));
            return;
        }
        let built = block.block_ref();
        if !self.is_set_ready(now, &built.hash) {
            self.run.build = Some(Building {
                empty: true,
                ..build
            });
            self.run.work.includable = 0;
            self.outbox.now(Output::Park(built.hash));
            return;
        }
        self.blocks.insert(block, None, now.mono);
        self.blocks.mark(&built.hash, State::Valid);
        self.release_proposal(now, build.parent_view, built);
    }

    /// Nothing can be included after all, until the caller says otherwise.
    pub(super) fn build_empty(&mut self, view: View) {
        if let Some(build) = &mut self.run.build
            && build.request.view == view
        {
            build.empty = true;
            self.run.work.includable = 0;
        }
    }

    /// R1's tail: block and vote are durable before the proposal leaves; what justifies it was written when it came.
    fn release_proposal(&mut self, now: Now, parent_view: View, block: BlockRef) -> bool {
        let view = self.run.current.view;
        let Some(entry) = self.blocks.get(&block.hash) else {
            return false;
        };
        let proposed = entry.block.clone();
        let header = proposed.header.clone();
        self.journal_block(&header.parent);
        self.journal_block(&block.hash);
        let draft = self.draft(view, parent_view, proposed);
        let cast = self
            .guard
            .propose(view, block, parent_view, &mut self.outbox, |vote| {
                draft.sign(vote)
            });
        let Ok(vote) = cast else {
            return false;
        };
        let slot = Slot {
            block,
            header,
            parent_view,
            vote,
            refused: false,
        };
        self.run.slots.fill(view, slot);
        self.count(now, vote);
        true
    }
}
