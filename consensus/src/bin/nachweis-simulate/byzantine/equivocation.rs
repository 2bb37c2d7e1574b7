//! An equivocating leader: two blocks for two halves, or one block on two parents.

use super::{Behaviour, Hand};
use crate::items::items;
use consensus::message::Proposal;
use consensus::{Block, Message};
use ledger::id::View;

#[derive(Default)]
pub(super) struct Equivocation {
    other: Option<(View, Message)>,
}

impl Behaviour for Equivocation {
    fn outgoing(&mut self, hand: &mut Hand<'_>, to: usize, message: Message) -> Option<Message> {
        let Message::Proposal(proposal) = &message else {
            return Some(message);
        };
        if self
            .other
            .as_ref()
            .is_none_or(|(view, _)| *view != proposal.view)
        {
            let other = another(hand, proposal)?;
            self.other = Some((proposal.view, other));
        }
        let (_, other) = self.other.as_ref()?;
        let both = hand.random.chance(200);
        if to.is_multiple_of(2) && !both {
            return Some(other.clone());
        }
        if both {
            let other = other.clone();
            hand.send(to, &other);
        }
        Some(message)
    }
}

/// Another valid block, or the same block said to stand on another view.
fn another(hand: &mut Hand<'_>, proposal: &Proposal) -> Option<Message> {
    let block = &proposal.block;
    if block.header.view != proposal.view || hand.random.chance(150) {
        let mut other = proposal.clone();
        other.parent_view = other.parent_view.saturating_sub(1);
        return Some(Message::Proposal(other));
    }
    let mut content = items(&block.body)?;
    let mut request = hand.request_of(block);
    if content.len() > 1 && hand.random.chance(500) {
        content.pop();
    } else {
        request.time_ms = request.time_ms.saturating_add(1);
    }
    let other: Block = hand.application.seal(&request, &content)?;
    Some(hand.propose(proposal, other))
}
