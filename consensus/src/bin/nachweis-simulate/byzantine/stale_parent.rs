//! As leader, passes over the newest certified block: a sibling of it, or its parent again, without the nullifications
//! that would allow it. Shows its own Finalize votes to one victim only, so that the others may not know better.

use super::{Behaviour, Hand};
use crate::items::items;
use consensus::Message;
use consensus::message::Proposal;
use ledger::header::BlockRef;
use ledger::id::View;
use ledger::vote::VoteKind;

#[derive(Default)]
pub(super) struct StaleParent {
    chosen: Option<(View, Message)>,
    victim: Option<usize>,
}

impl Behaviour for StaleParent {
    fn outgoing(&mut self, hand: &mut Hand<'_>, to: usize, message: Message) -> Option<Message> {
        match &message {
            Message::Vote(vote) if vote.kind == VoteKind::Finalize => {
                let victim = *self.victim.get_or_insert_with(|| hand.somebody());
                (to == victim).then_some(message)
            }
            Message::Proposal(proposal) => {
                let known = self.chosen.as_ref();
                if known.is_none_or(|(view, _)| *view != proposal.view) {
                    let stale = stale(hand, proposal).unwrap_or_else(|| message.clone());
                    self.chosen = Some((proposal.view, stale));
                }
                self.chosen.as_ref().map(|(_, stale)| stale.clone())
            }
            _ => Some(message),
        }
    }
}

fn stale(hand: &mut Hand<'_>, proposal: &Proposal) -> Option<Message> {
    let header = &proposal.block.header;
    let is_again = header.view < proposal.view;
    // What an honest leader builds on, or proposes again.
    let newest = BlockRef {
        height: header.height.saturating_sub(1),
        hash: header.parent,
    };
    let newest = if is_again {
        proposal.block.block_ref()
    } else {
        newest
    };
    let passed = hand.lore.blocks.get(&newest)?.clone();
    let before = BlockRef {
        height: passed.header.height.saturating_sub(1),
        hash: passed.header.parent,
    };
    let mut stale = proposal.clone();
    match hand.random.below(5) {
        0 => {
            stale.parent_view = View(0);
            Some(Message::Proposal(stale))
        }
        1 => {
            stale.justification = <_>::default();
            Some(Message::Proposal(stale))
        }
        2 => {
            stale.parent_view = hand.lore.view_of(hand.epoch(), &before)?;
            let again = hand.lore.blocks.get(&before)?.clone();
            Some(hand.propose(&stale, again))
        }
        _ => {
            stale.parent_view = hand.lore.view_of(hand.epoch(), &before)?;
            let mut request = hand.request_of(&passed);
            request.view = stale.view;
            request.proposer = header.proposer;
            request.time_ms = header.time_ms;
            let content = items(&passed.body)?;
            let sibling = hand.application.seal(&request, &content)?;
            Some(hand.propose(&stale, sibling))
        }
    }
}
