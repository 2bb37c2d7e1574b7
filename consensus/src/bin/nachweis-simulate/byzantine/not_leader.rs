//! Proposes out of turn, and relays the leader's proposals, with the parent view changed or not.

use super::{Behaviour, Hand};
use consensus::Message;
use ledger::id::View;

#[derive(Default)]
pub(super) struct NotLeader {
    /// The last view in which it did so.
    done: View,
}

impl Behaviour for NotLeader {
    fn incoming(&mut self, hand: &mut Hand<'_>, _from: usize, message: &Message) {
        let Message::Proposal(proposal) = message else {
            return;
        };
        if proposal.view <= self.done {
            return;
        }
        self.done = proposal.view;
        if hand.random.chance(500) {
            let mut relayed = proposal.clone();
            if hand.random.chance(500) {
                relayed.parent_view = relayed.parent_view.saturating_sub(1);
            }
            hand.send_all(&Message::Proposal(relayed));
        } else {
            let own = hand.propose(proposal, proposal.block.clone());
            hand.send_all(&own);
        }
    }
}
