//! I10: what must be on the disk before a message leaves (consensus.md, 3.11).

use crate::trace;
use crate::violation::{Checked, Invariant, check};
use consensus::{Block, Record};
use ledger::certificate::Certificate;
use ledger::hash::BlockHash;
use ledger::header::BlockRef;
use ledger::id::{Epoch, View};
use ledger::vote::{Vote, VoteKind};
use std::collections::BTreeSet;

/// What one node's disk held at some time since its process started, as far as the process was told.
#[derive(Default)]
pub(super) struct Durable {
    votes: BTreeSet<(Epoch, View, VoteKind, BlockRef)>,
    certificates: BTreeSet<(Epoch, VoteKind, View, BlockRef)>,
    blocks: BTreeSet<BlockHash>,
}

impl Durable {
    pub(super) fn add(&mut self, records: &[Record]) {
        for record in records {
            match record {
                Record::Block(block) => {
                    self.blocks.insert(block.hash());
                }
                Record::Certificate(certificate) => self.certificate(certificate),
                Record::OwnVote { vote, .. } => {
                    self.votes
                        .insert((vote.epoch, vote.view, vote.kind, vote.block));
                }
                Record::EpochStart { .. }
                | Record::Quarantine { .. }
                | Record::Floor { .. }
                | Record::Stopped { .. }
                | Record::FinTip { .. }
                | Record::Evidence { .. } => {}
            }
        }
    }

    pub(super) fn archived(&mut self, block: &Block, finalization: Option<&Certificate>) {
        self.blocks.insert(block.hash());
        if let Some(certificate) = finalization {
            self.certificate(certificate);
        }
    }

    pub(super) fn allows_vote(&self, node: usize, vote: &Vote) -> Checked {
        let own = self
            .votes
            .contains(&(vote.epoch, vote.view, vote.kind, vote.block));
        let block = vote.kind == VoteKind::Nullify || self.blocks.contains(&vote.block.hash);
        let reason = vote.kind != VoteKind::Finalize
            || self
                .certificates
                .contains(&(vote.epoch, VoteKind::Notarize, vote.view, vote.block));
        check(own && block && reason, Invariant::Durability, || {
            format!(
                "#{node} sends {} with the vote durable: {own}, its block: {block}, its notarization: {reason}",
                trace::vote(vote)
            )
        })
    }

    pub(super) fn allows_certificate(&self, node: usize, certificate: &Certificate) -> Checked {
        check(
            self.certificates.contains(&key(certificate)),
            Invariant::Durability,
            || format!("#{node} sends {}", trace::certificate(certificate)),
        )
    }

    /// The blocks, and a finalization of the last of them or of a block above it.
    pub(super) fn allows_commit(&self, node: usize, blocks: &[Block]) -> Checked {
        let highest = blocks.last().map(|block| block.header.height);
        let here = blocks
            .iter()
            .all(|block| self.blocks.contains(&block.hash()));
        let is_final = self.certificates.iter().any(|(_, kind, _, block)| {
            *kind == VoteKind::Finalize && Some(block.height) >= highest
        });
        check(here && is_final, Invariant::Durability, || {
            format!(
                "#{node} commits up to {highest:?} with the blocks durable: {here}, a finalization: {is_final}"
            )
        })
    }

    fn certificate(&mut self, certificate: &Certificate) {
        self.certificates.insert(key(certificate));
    }
}

fn key(certificate: &Certificate) -> (Epoch, VoteKind, View, BlockRef) {
    (
        certificate.epoch(),
        certificate.kind(),
        certificate.view(),
        certificate.block(),
    )
}
