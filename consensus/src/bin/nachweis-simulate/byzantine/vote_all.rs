//! Votes for everything that it sees, with every kind of vote, once each.

use super::{Behaviour, Hand};
use consensus::Message;
use ledger::header::BlockRef;
use ledger::id::View;
use ledger::vote::VoteKind;
use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct VoteAll {
    done: BTreeSet<(View, BlockRef)>,
}

impl Behaviour for VoteAll {
    fn incoming(&mut self, hand: &mut Hand<'_>, _from: usize, message: &Message) {
        let (view, block) = match message {
            Message::Proposal(proposal) => (proposal.view, proposal.block.block_ref()),
            Message::CompactProposal(proposal) => (proposal.view, proposal.header.block_ref()),
            Message::Vote(vote) if hand.random.chance(300) => (vote.view, vote.block),
            Message::Certificate(c) if hand.random.chance(300) => (c.view(), c.block()),
            _ => return,
        };
        if !self.done.insert((view, block)) {
            return;
        }
        for kind in VoteKind::ALL {
            let empty = block == BlockRef::default();
            if *kind == VoteKind::Nullify || !empty {
                let vote = hand.vote(*kind, view, block);
                hand.send_all(&Message::Vote(vote));
            }
        }
    }
}
