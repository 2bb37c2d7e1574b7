//! The certificates that are held: the highest finalization and all above it (consensus.md, 3.6).

use crate::message::{Justification, MAX_JUSTIFICATION};
use crate::time::Mono;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use ledger::certificate::{Certificate, VerifiedCertificate};
use ledger::header::BlockRef;
use ledger::id::View;
use ledger::planted;
use ledger::vote::VoteKind;

/// Most certificates above the finalized view. Each took a quorum a whole time-out, so this is days of stand-still;
/// beyond it the oldest nullifications are dropped.
pub(super) const MAX_HELD: usize = 65_536;

/// A notarization, and when it came.
#[derive(Debug)]
pub(super) struct Notarization {
    pub(super) certificate: VerifiedCertificate,
    pub(super) at: Mono,
}

/// Certificates by view.
#[derive(Debug)]
pub(super) struct Certificates {
    anchor: BlockRef,
    finalization: Option<VerifiedCertificate>,
    notarizations: BTreeMap<View, Notarization>,
    nullifications: BTreeMap<View, VerifiedCertificate>,
    /// All views in `run.0..run.1` are nullified; `run.1` is the current view.
    run: (View, View),
}

impl Certificates {
    pub(super) const fn new(anchor: BlockRef) -> Self {
        Self {
            anchor,
            finalization: None,
            notarizations: BTreeMap::new(),
            nullifications: BTreeMap::new(),
            run: (View(1), View(1)),
        }
    }

    /// Highest view with a finalization; 0 for the anchor.
    pub(super) fn finalized_view(&self) -> View {
        self.finalization.as_ref().map_or(View(0), |c| c.view())
    }

    /// The highest block known to be final.
    pub(super) fn finalized(&self) -> BlockRef {
        self.finalization
            .as_ref()
            .map_or(self.anchor, |c| c.block())
    }

    /// Its certificate.
    pub(super) const fn finalization(&self) -> Option<&VerifiedCertificate> {
        self.finalization.as_ref()
    }

    /// nz(view): the block notarized or finalized there; the anchor for view 0.
    pub(super) fn notarized(&self, view: View) -> Option<BlockRef> {
        if view == self.finalized_view() {
            return Some(self.finalized());
        }
        self.notarization(view).map(|n| n.certificate.block())
    }

    pub(super) fn notarization(&self, view: View) -> Option<&Notarization> {
        self.notarizations.get(&view)
    }

    /// Notarizations above the finalized view, newest first.
    pub(super) fn notarizations(&self) -> impl Iterator<Item = (View, &Notarization)> {
        self.notarizations.iter().rev().map(|(view, n)| (*view, n))
    }

    /// Notarizations and nullifications.
    pub(super) fn len(&self) -> usize {
        let notarizations = self.notarizations.len();
        notarizations.saturating_add(self.nullifications.len())
    }

    pub(super) fn is_nullified(&self, view: View) -> bool {
        self.nullifications.contains_key(&view)
    }

    /// Highest view with a notarization or finalization.
    pub(super) fn top_notarized_view(&self) -> View {
        let top = self.notarizations.last_key_value().map(|(view, _)| *view);
        top.map_or_else(
            || self.finalized_view(),
            |view| view.max(self.finalized_view()),
        )
    }

    /// Highest view with any certificate.
    pub(super) fn top_view(&self) -> View {
        let top = self.nullifications.last_key_value().map(|(view, _)| *view);
        top.map_or_else(
            || self.top_notarized_view(),
            |view| view.max(self.top_notarized_view()),
        )
    }

    /// Whether a certificate would bring nothing new.
    pub(super) fn holds(&self, kind: VoteKind, view: View) -> bool {
        view <= self.finalized_view()
            || match kind {
                VoteKind::Notarize => self.notarizations.contains_key(&view),
                VoteKind::Nullify => self.nullifications.contains_key(&view),
                VoteKind::Finalize => false,
            }
    }

    /// Makes room for a notarization or nullification of this view, at the cost of older ones: the chain must go on
    /// however long it stood still. False if it is older than all that is held.
    ///
    /// What was seen nullified right below the current view stays known (`run`), so this node proposes and votes as
    /// before. A dropped nullification cannot be shown to anybody any more.
    pub(super) fn make_room(&mut self, view: View) -> bool {
        let held = self.notarizations.len();
        if held.saturating_add(self.nullifications.len()) < MAX_HELD {
            return true;
        }
        if let Some(oldest) = self.nullifications.first_entry() {
            let is_older = *oldest.key() < view;
            if is_older {
                oldest.remove();
            }
            return is_older;
        }
        let oldest = self.notarizations.first_entry();
        let oldest = oldest.filter(|oldest| *oldest.key() < view);
        oldest.map(|oldest| oldest.remove()).is_some()
    }

    /// The block that a held certificate of the same view names, if a new one contradicts it: more than f are faulty.
    pub(super) fn contradiction(&self, new: &Certificate) -> Option<BlockRef> {
        let view = new.view();
        let held = self.notarization(view).map(|n| n.certificate.block());
        match new.kind() {
            VoteKind::Notarize | VoteKind::Nullify => None,
            VoteKind::Finalize if self.is_nullified(view) => Some(new.block()),
            VoteKind::Finalize => held.filter(|block| *block != new.block()),
        }
    }

    /// Takes in a certificate; a finalization replaces all that lies at or below its view.
    pub(super) fn insert(&mut self, certificate: VerifiedCertificate, at: Mono) {
        let view = certificate.view();
        match certificate.kind() {
            VoteKind::Notarize => {
                let notarization = Notarization { certificate, at };
                self.notarizations.insert(view, notarization);
            }
            VoteKind::Nullify => {
                self.nullifications.insert(view, certificate);
            }
            VoteKind::Finalize => {
                let above = view.saturating_add(1);
                self.notarizations = self.notarizations.split_off(&above);
                self.nullifications = self.nullifications.split_off(&above);
                self.finalization = Some(certificate);
            }
        }
    }

    /// Finds again which views right below the current one are nullified without a gap.
    pub(super) fn refresh_run(&mut self, current: View) {
        let (old_low, old_top) = self.run;
        let floor = self.finalized_view().saturating_add(1);
        let mut low = current;
        while low > floor {
            if low == old_top && old_low < low {
                low = old_low.max(floor);
                continue;
            }
            let below = low.saturating_sub(1);
            if !self.is_nullified(below) {
                break;
            }
            low = below;
        }
        self.run = (low, current);
    }

    /// Whether all views between `parent_view` and the current one are nullified.
    pub(super) fn is_gapless_above(&self, parent_view: View) -> bool {
        self.run.0 <= parent_view.saturating_add(1)
    }

    /// Lowest view that a proposal in the current view may build on.
    pub(super) fn lowest_parent_view(&self) -> View {
        self.run.0.saturating_sub(1).max(self.finalized_view())
    }

    /// All certificates of a view.
    pub(super) fn of_view(&self, view: View) -> impl Iterator<Item = &Certificate> {
        let finalization = self.finalization.as_ref().filter(|c| c.view() == view);
        let notarization = self.notarizations.get(&view).map(|n| &n.certificate);
        let nullification = self.nullifications.get(&view);
        [finalization, notarization, nullification]
            .into_iter()
            .flatten()
            .map(VerifiedCertificate::get)
    }

    /// All certificates above the finalized view, newest view first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Certificate> {
        let mut notarizations = self.notarizations.values().rev().peekable();
        let mut nullifications = self.nullifications.values().rev().peekable();
        core::iter::from_fn(move || {
            let nullified = nullifications.peek().map(|c| c.view());
            let notarized = notarizations.peek().map(|n| n.certificate.view());
            if nullified > notarized {
                nullifications.next().map(VerifiedCertificate::get)
            } else {
                notarizations.next().map(|n| n.certificate.get())
            }
        })
    }

    /// What justifies a proposal in `view` on `parent_view`: its notarization or finalization, and the newest
    /// nullifications between, as many as fit.
    pub(super) fn justification(&self, parent_view: View, view: View) -> Justification {
        let parent = self
            .of_view(parent_view)
            .find(|certificate| certificate.kind() != VoteKind::Nullify);
        let between = self.nullifications.range(parent_view..view).rev();
        let between = between.filter(|(at, _)| **at > parent_view);
        let list: Vec<Certificate> = parent
            .into_iter()
            .chain(between.map(|(_, certificate)| certificate.get()))
            .take(MAX_JUSTIFICATION)
            .filter(|_| !planted!(NoJustification))
            .cloned()
            .collect();
        list.try_into().unwrap_or_default()
    }
}
