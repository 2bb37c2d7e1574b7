//! As leader, proposes on an old parent, or proposes an old block again, without the nullifications between.

use super::{Behaviour, Hand};
use crate::application::records;
use consensus::Message;
use consensus::message::Proposal;
use ledger::id::View;

pub(super) struct StaleParent;

impl Behaviour for StaleParent {
    fn outgoing(&mut self, hand: &mut Hand<'_>, _to: usize, message: Message) -> Option<Message> {
        let Message::Proposal(proposal) = &message else {
            return Some(message);
        };
        // Old blocks differ from peer to peer, so that this is an equivocation too.
        let known: Vec<_> = hand.lore.blocks.values().cloned().collect();
        let old = known[hand.random.index(known.len())].clone();
        let mut stale: Proposal = proposal.clone();
        match hand.random.below(4) {
            0 => stale.parent_view = View(0),
            1 => stale.justification = <_>::default(),
            2 => {
                stale.parent_view = old.header.view;
                stale.vote = hand.vote(
                    ledger::vote::VoteKind::Notarize,
                    stale.view,
                    old.block_ref(),
                );
                stale.block = old;
            }
            _ => {
                let mut request = hand.request_of(&old);
                request.view = stale.view;
                let content = records(&old.body)?;
                let block = hand.application.seal(&request, &content)?;
                stale.parent_view = old.header.view.saturating_sub(1);
                return Some(hand.propose(&stale, block));
            }
        }
        Some(Message::Proposal(stale))
    }
}
