//! I9: evidence is against misbehaving validators only, and none that an honest node could see gets lost.

use crate::application::accused;
use crate::items::Item;
use crate::roster::Roster;
use crate::trace;
use crate::violation::{Checked, Invariant, check};
use consensus::{Block, EngineStatus, Record};
use ledger::evidence::Evidence;
use ledger::id::{Epoch, ValidatorIndex, View};
use ledger::vote::Vote;
use std::collections::{BTreeMap, BTreeSet};

/// Votes of views so far below the current one may be forgotten.
const KEPT: u64 = 16;
/// Evidence of so many epochs back may still be recorded.
const MAX_AGE: u64 = 8;

/// What one process took in of misbehaving validators' votes.
#[derive(Default)]
pub(super) struct Heard {
    votes: BTreeMap<(Epoch, View, ValidatorIndex), Vec<Vote>>,
    /// Against whom it wrote evidence down, or had it in its journal.
    written: BTreeSet<(Epoch, ValidatorIndex)>,
}

impl Heard {
    /// Records are written, or stand in the journal at a start.
    pub(super) fn writes(&mut self, record: &Record) {
        if let Record::Evidence { a, .. } = record {
            self.written.insert((a.epoch, a.signer));
        }
    }

    /// Evidence on the chain is known without the journal.
    pub(super) fn recorded(&mut self, all: impl IntoIterator<Item = (Epoch, ValidatorIndex)>) {
        self.written.extend(all);
    }

    /// A verified vote went into the engine, which stands like this now; all that came of it is written.
    pub(super) fn took_in(&mut self, node: usize, after: &EngineStatus, vote: &Vote) -> Checked {
        let lowest = after.view.saturating_sub(KEPT).max(after.finalized_view);
        self.votes
            .retain(|(epoch, view, _), _| *epoch == after.epoch && *view > lowest);
        if vote.epoch != after.epoch || vote.view <= lowest {
            return Ok(());
        }
        let key = (vote.epoch, vote.view, vote.signer);
        let known = self.votes.entry(key).or_default();
        let other = known
            .iter()
            .find(|other| Evidence::new(**other, *vote).is_some())
            .copied();
        if !known.contains(vote) {
            known.push(*vote);
        }
        let Some(other) = other else {
            return Ok(());
        };
        let accused = (vote.epoch, vote.signer);
        check(self.written.contains(&accused), Invariant::Evidence, || {
            format!(
                "#{node} took in {} and {} and wrote nothing down",
                trace::vote(&other),
                trace::vote(vote)
            )
        })
    }
}

/// Evidence that honest nodes have handed out.
#[derive(Default)]
pub(super) struct Misdeeds {
    /// With the nodes that have each in their journals.
    shown: BTreeMap<(Epoch, ValidatorIndex), BTreeSet<usize>>,
}

impl Misdeeds {
    /// A node shows that a validator voted twice.
    pub(super) fn shown(
        &mut self,
        node: usize,
        roster: &Roster,
        honest: &[bool],
        (a, b): (&Vote, &Vote),
    ) -> Checked {
        let evidence = Evidence::new(*a, *b);
        check(
            evidence.is_some_and(|evidence| evidence.votes() == (a, b)),
            Invariant::Evidence,
            || format!("#{node} shows as evidence what is none: {a:?}, {b:?}"),
        )?;
        against(roster, honest, (a.epoch, a.signer), || {
            format!("#{node} shows {} and {}", trace::vote(a), trace::vote(b))
        })?;
        let witnesses = self.shown.entry((a.epoch, a.signer)).or_default();
        witnesses.insert(node);
        Ok(())
    }

    /// How many were shown.
    pub(super) fn count(&self) -> usize {
        self.shown.len()
    }

    /// A node's journal is gone, and with it what it alone knew.
    pub(super) fn forgets(&mut self, node: usize) {
        for witnesses in self.shown.values_mut() {
            witnesses.remove(&node);
        }
    }

    /// How many are not on the chain, although they still may be put there and somebody is left who knows of them.
    pub(super) fn missing(
        &self,
        recorded: &BTreeSet<(Epoch, ValidatorIndex)>,
        epoch: Epoch,
        is_left: impl Fn(usize) -> bool,
    ) -> usize {
        self.shown
            .iter()
            .filter(|(misdeed, _)| !recorded.contains(misdeed))
            .filter(|((at, _), _)| at.0 + MAX_AGE > epoch.0 + 1)
            .filter(|(_, witnesses)| witnesses.iter().any(|node| is_left(*node)))
            .count()
    }
}

/// Evidence in a committed block.
pub(super) fn committed(roster: &Roster, honest: &[bool], block: &Block) -> Checked {
    for item in crate::items::items(&block.body).unwrap_or_default() {
        if let Item::Evidence(evidence) = item {
            against(roster, honest, accused(&evidence), || {
                format!("in block {}", trace::block(&block.block_ref()))
            })?;
        }
    }
    Ok(())
}

fn against(
    roster: &Roster,
    honest: &[bool],
    (epoch, signer): (Epoch, ValidatorIndex),
    what: impl FnOnce() -> String,
) -> Checked {
    let accused = roster.validator_at(epoch, signer);
    check(
        accused.is_some_and(|accused| !honest[accused]),
        Invariant::Evidence,
        || format!("evidence against {accused:?}: {}", what()),
    )
}
