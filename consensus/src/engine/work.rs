//! What there is to do, and the parent that a next proposal would have (consensus.md, 3.10 and R1).
//!
//! Without work no timer is armed, no vote cast, no block made.

use super::Engine;
use super::blocks;
use crate::output::Output;
use crate::time::{Mono, Now};
use ledger::header::BlockRef;
use ledger::id::{TimeMs, View};
use ledger::planted;

/// What the caller said about the head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    pub(super) head: Option<BlockRef>,
    /// The caller has looked at this head.
    pub(super) answered: bool,
    pub(super) includable: u32,
}

/// The current view.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    pub(super) view: View,
    /// Since when there has been work, or a proposal, in this view.
    pub(super) armed_at: Option<Mono>,
    pub(super) last_retry: Mono,
    pub(super) was_busy: bool,
    /// How often this view's own Nullify was sent.
    pub(super) nullify_sent: u8,
    /// How often anything was sent again in this view.
    pub(super) retries: u8,
    /// When the entry certificate goes to those who were not seen in this view (R7).
    pub(super) spread_at: Option<Mono>,
}

impl Current {
    pub(super) fn new(view: View) -> Self {
        Self {
            view,
            armed_at: None,
            last_retry: Mono::default(),
            was_busy: false,
            nullify_sent: 0,
            retries: 0,
            spread_at: None,
        }
    }

    /// R0
    pub(super) fn enter(&mut self, view: View, now: Mono) {
        let was_busy = self.was_busy;
        *self = Self::new(view);
        self.last_retry = now;
        self.was_busy = was_busy;
    }
}

/// What a proposal in the current view would build on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parent {
    /// This block of this view: certified, here, valid, and all views since are nullified.
    Found { view: View, block: BlockRef },
    /// This certified block is not here, or not checked yet.
    Missing(BlockRef),
    /// No certificate of this view is held.
    Gap(View),
}

impl Engine {
    /// R1: the highest certified view such that all views since are nullified.
    ///
    /// A certified block that is not here is passed over if its view is nullified too: any parent that R2 accepts is
    /// safe, and one lost body must not stop the chain.
    pub(super) fn parent(&self) -> Parent {
        let lowest = self.run.certificates.lowest_parent_view();
        let finalized = self.run.certificates.finalized_view();
        let mut missing = None;
        for (view, notarization) in self.run.certificates.notarizations() {
            if view >= self.run.current.view {
                continue;
            }
            if view < lowest {
                break;
            }
            let block = notarization.certificate.block();
            if self.blocks.is_valid(&block.hash) {
                return Parent::Found { view, block };
            }
            missing.get_or_insert(block);
        }
        if lowest == finalized {
            let block = self.run.certificates.finalized();
            if self.blocks.is_valid(&block.hash) {
                let view = finalized;
                return Parent::Found { view, block };
            }
            return Parent::Missing(missing.unwrap_or(block));
        }
        missing.map_or(Parent::Gap(lowest), Parent::Missing)
    }

    /// Tells the caller when the head changed; what could be included on it is unknown until the answer.
    pub(super) fn update_head(&mut self) {
        let committed = self.blocks.committed().block;
        let kept = self
            .run
            .work
            .head
            .filter(|head| head.height >= committed.height && self.blocks.is_valid(&head.hash));
        let head = match self.parent() {
            Parent::Found { block, .. } => block,
            Parent::Missing(_) => kept.unwrap_or(committed),
            Parent::Gap(_) => committed,
        };
        if self.run.work.head != Some(head) {
            self.run.work = Work {
                head: Some(head),
                answered: false,
                includable: 0,
            };
            self.outbox.now(Output::Head(head));
        }
    }

    /// 3.10: work now, whatever there was before.
    pub(super) fn has_work(&self, now: Now) -> bool {
        if self.diverged || self.run.sealed {
            return false;
        }
        let unfinal = self
            .unfinal_since()
            .is_some_and(|since| now.mono.since(since) >= self.config.unfinal_ms());
        let escorts = self.run.rejoin.escorts(self.run.current.view, now.mono);
        self.has_includable() || unfinal || escorts || self.is_anchor_due(now)
    }

    /// The caller counted something on the present head.
    pub(super) const fn has_includable(&self) -> bool {
        self.run.work.answered && self.run.work.includable > 0
    }

    /// Since when the newest notarization names a block that is not final.
    pub(super) fn unfinal_since(&self) -> Option<Mono> {
        let finalized = self.final_height();
        let (_, newest) = self.run.certificates.notarizations().next()?;
        (newest.certificate.block().height > finalized).then_some(newest.at)
    }

    /// Whether an ANCHOR block would be due on the head.
    pub(super) fn is_anchor_due(&self, now: Now) -> bool {
        let tip = self
            .run
            .work
            .head
            .and_then(|head| self.blocks.tip(&head.hash));
        tip.is_some_and(|tip| {
            let time = next_time(tip.time_ms, now.wall);
            blocks::anchor_due(self.config.rules(), &self.run.epoch, &tip, time)
        })
    }

    /// 3.10: armed since there has been work, or a proposal, in this view; disarmed as soon as there is neither.
    pub(super) fn update_arming(&mut self, now: Now) {
        let view = self.run.current.view;
        let by_work = self.has_work(now) && !planted!(UnarmedByWork);
        if self.run.slots.get(view).is_some() || by_work || planted!(AlwaysArmed) {
            self.run.current.armed_at.get_or_insert(now.mono);
        } else if self.run.work.answered {
            self.run.current.armed_at = None;
        }
    }
}

/// A new block's time (3.16).
pub(super) fn next_time(parent: TimeMs, wall: TimeMs) -> TimeMs {
    parent.saturating_add(1).max(wall)
}
