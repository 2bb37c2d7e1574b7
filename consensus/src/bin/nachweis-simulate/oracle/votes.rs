//! I3, on the wire: what honest validators ever sent, over all their incarnations.

use crate::roster::Roster;
use crate::trace;
use crate::violation::{Checked, Invariant, check};
use ledger::id::{Epoch, View};
use ledger::vote::{Vote, VoteKind};
use std::collections::BTreeMap;

/// Votes by validator, epoch and view, in the order Notarize, Nullify, Finalize.
#[derive(Default)]
pub(super) struct Votes(BTreeMap<(usize, Epoch, View), [Option<Vote>; 3]>);

impl Votes {
    pub(super) fn sent(&mut self, node: usize, roster: &Roster, vote: &Vote) -> Checked {
        check(
            roster.validator_at(vote.epoch, vote.signer) == Some(roster.owner(node)),
            Invariant::HonestVotes,
            || format!("#{node} sends a vote of position {}", vote.signer),
        )?;
        let slots = self.0.entry((node, vote.epoch, vote.view)).or_default();
        let own = usize::from(vote.kind.code()) - 1;
        let conflict = match (slots[own], vote.kind) {
            (Some(before), _) => Some(before).filter(|b| b.statement() != vote.statement()),
            (None, VoteKind::Nullify) => slots[2],
            (None, VoteKind::Finalize) => slots[1],
            (None, VoteKind::Notarize) => None,
        };
        slots[own] = Some(*vote);
        check(conflict.is_none(), Invariant::HonestVotes, || {
            let before = conflict.as_ref().map(trace::vote).unwrap_or_default();
            format!("#{node} sends {} after {before}", trace::vote(vote))
        })
    }
}
