//! Proposes with times at and beyond the edges of what the time rule allows.

use super::{Behaviour, Hand};
use crate::items::items;
use consensus::Message;
use ledger::id::{TimeMs, View};

#[derive(Default)]
pub(super) struct WrongTime {
    chosen: Option<(View, Message)>,
}

impl Behaviour for WrongTime {
    fn outgoing(&mut self, hand: &mut Hand<'_>, _to: usize, message: Message) -> Option<Message> {
        let Message::Proposal(proposal) = &message else {
            return Some(message);
        };
        let known = self
            .chosen
            .as_ref()
            .is_some_and(|(view, _)| *view == proposal.view);
        if !known {
            if proposal.block.header.view != proposal.view {
                return Some(message);
            }
            let content = items(&proposal.block.body)?;
            let mut request = hand.request_of(&proposal.block);
            request.time_ms = match hand.random.below(6) {
                0 => TimeMs(u64::MAX),
                1 => TimeMs(0),
                2 => hand.wall.saturating_add(1_000),
                3 => hand.wall.saturating_add(1_400),
                4 => hand.wall.saturating_sub(5_200),
                _ => hand.wall.saturating_sub(4_800),
            };
            let block = hand.application.seal(&request, &content)?;
            self.chosen = Some((proposal.view, hand.propose(proposal, block)));
        }
        self.chosen.as_ref().map(|(_, chosen)| chosen.clone())
    }
}
