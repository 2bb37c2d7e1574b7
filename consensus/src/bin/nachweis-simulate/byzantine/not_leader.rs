//! Proposes out of turn, and relays the leader's proposals, with the parent view changed or not. How it does so it
//! decides once, so that what costs a view costs every view.

use super::{Behaviour, Hand};
use consensus::Message;
use consensus::message::Proposal;
use ledger::id::View;
use ledger::vote::VoteKind;

/// Its habit.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// Relays with another parent view, as fast as it can.
    FalseParent,
    /// Relays unchanged.
    Relay,
    /// Signs the leader's block as its own proposal.
    Usurp,
    /// Proposes an old block as soon as a view begins.
    Early,
}

#[derive(Default)]
pub(super) struct NotLeader {
    habit: Option<Habit>,
    /// The last view in which it did so.
    done: View,
}

impl Behaviour for NotLeader {
    fn incoming(&mut self, hand: &mut Hand<'_>, _from: usize, message: &Message) {
        let habit = *self
            .habit
            .get_or_insert_with(|| match hand.random.below(4) {
                0 => Habit::FalseParent,
                1 => Habit::Relay,
                2 => Habit::Usurp,
                _ => Habit::Early,
            });
        match (habit, message) {
            (Habit::Early, _) => self.begin(hand, hand.lore.view),
            (_, Message::Proposal(proposal)) if proposal.view > self.done => {
                self.done = proposal.view;
                let mut again = proposal.clone();
                let message = match habit {
                    Habit::FalseParent => {
                        again.parent_view = again.parent_view.saturating_sub(1);
                        Message::Proposal(again)
                    }
                    Habit::Usurp => hand.propose(proposal, proposal.block.clone()),
                    Habit::Relay | Habit::Early => Message::Proposal(again),
                };
                hand.send_all(&message);
            }
            _ => {}
        }
    }
}

impl NotLeader {
    /// A view has begun: be faster than its leader.
    fn begin(&mut self, hand: &mut Hand<'_>, view: View) {
        let old = hand.lore.blocks.values().next().cloned();
        let (Some(block), true) = (old, view > self.done && !hand.is_leader(view)) else {
            return;
        };
        self.done = view;
        let proposal = Proposal {
            view,
            parent_view: view.saturating_sub(1),
            vote: hand.vote(VoteKind::Notarize, view, block.block_ref()),
            block,
            justification: <_>::default(),
        };
        hand.send_all(&Message::Proposal(proposal));
    }
}
