//! Votes of all validators, first come, and the certificates that they make up (consensus.md, 3.6 and 3.17).

use crate::epoch::EpochInfo;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use ledger::certificate::VerifiedCertificate;
use ledger::evidence::Evidence;
use ledger::id::{ValidatorIndex, View};
use ledger::vote::{Statement, Vote, VoteKind};

type Slots = BTreeMap<(VoteKind, ValidatorIndex), Vote>;

/// Verified votes: one per view, kind and signer. Bounded by the window of views that admission lets in.
#[derive(Debug, Default)]
pub(super) struct Tally {
    views: BTreeMap<View, Slots>,
    /// The highest vote of each kind and signer, for the start check of others.
    highest: BTreeMap<(ValidatorIndex, VoteKind), Vote>,
    /// Against whom there is evidence already: one pair per signer and epoch is enough.
    accused: BTreeSet<ValidatorIndex>,
}

/// What became of a vote.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// It counts.
    New,
    /// It, or its like, was there before.
    Known,
    /// It contradicts an earlier one, which still counts.
    Conflict(Box<Evidence>),
}

impl Tally {
    /// Counts a vote whose signature was checked.
    pub(super) fn add(&mut self, vote: Vote) -> Counted {
        if let Some(evidence) = self.conflict(&vote) {
            if self.accused.insert(vote.signer) {
                return Counted::Conflict(Box::new(evidence));
            }
            return Counted::Known;
        }
        self.remember(vote);
        let slots = self.views.entry(vote.view).or_default();
        if slots.contains_key(&(vote.kind, vote.signer)) {
            return Counted::Known;
        }
        slots.insert((vote.kind, vote.signer), vote);
        Counted::New
    }

    /// Whether a vote is worth checking its signature.
    pub(super) fn wants(&self, vote: &Vote) -> bool {
        if self.conflict(vote).is_some() {
            return !self.accused.contains(&vote.signer);
        }
        let slots = self.views.get(&vote.view);
        !slots.is_some_and(|slots| slots.contains_key(&(vote.kind, vote.signer)))
    }

    /// The certificate for a statement, once a quorum has signed it.
    pub(super) fn certificate(
        &self,
        statement: Statement,
        epoch: &EpochInfo,
    ) -> Option<VerifiedCertificate> {
        let slots = self.views.get(&statement.view)?;
        let votes: Vec<Vote> = slots
            .values()
            .filter(|vote| vote.statement() == statement)
            .copied()
            .collect();
        VerifiedCertificate::assemble(statement, epoch.epoch(), epoch.set(), &votes)
    }

    /// Who voted so in a view.
    pub(super) fn signers(
        &self,
        view: View,
        kind: VoteKind,
    ) -> impl Iterator<Item = ValidatorIndex> {
        let slots = self.views.get(&view).into_iter().flatten();
        slots
            .filter(move |((voted, _), _)| *voted == kind)
            .map(|((_, signer), _)| *signer)
    }

    /// The highest votes of one validator, at most one of a kind.
    pub(super) fn highest_of(&self, signer: ValidatorIndex) -> Vec<Vote> {
        let kinds = VoteKind::ALL.iter();
        kinds
            .filter_map(|kind| self.highest.get(&(signer, *kind)).copied())
            .collect()
    }

    /// Keeps the highest vote of each kind and signer, whatever else is pruned.
    pub(super) fn remember(&mut self, vote: Vote) {
        let highest = self.highest.entry((vote.signer, vote.kind)).or_insert(vote);
        if vote.view > highest.view {
            *highest = vote;
        }
    }

    /// Evidence that is known from before.
    pub(super) fn accuse(&mut self, signer: ValidatorIndex) {
        self.accused.insert(signer);
    }

    pub(super) fn len(&self) -> usize {
        self.views.values().map(BTreeMap::len).sum()
    }

    pub(super) fn views(&self) -> usize {
        self.views.len()
    }

    /// Drops the votes below a view.
    pub(super) fn prune(&mut self, below: View) {
        self.views = self.views.split_off(&below);
    }

    fn conflict(&self, vote: &Vote) -> Option<Evidence> {
        let slots = self.views.get(&vote.view)?;
        let of = |kind| slots.get(&(kind, vote.signer)).copied();
        let excluded = match vote.kind {
            VoteKind::Notarize => None,
            VoteKind::Nullify => of(VoteKind::Finalize),
            VoteKind::Finalize => of(VoteKind::Nullify),
        };
        [of(vote.kind), excluded]
            .into_iter()
            .flatten()
            .find_map(|other| Evidence::new(other, *vote))
    }
}
