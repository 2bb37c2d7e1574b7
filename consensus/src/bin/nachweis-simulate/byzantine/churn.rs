//! As leader, gives every view up at once, and proposes all the same.

use super::{Behaviour, Hand};
use consensus::Message;
use ledger::header::BlockRef;
use ledger::vote::VoteKind;

pub(super) struct Churn;

impl Behaviour for Churn {
    fn incoming(&mut self, hand: &mut Hand<'_>, _from: usize, message: &Message) {
        let Message::Certificate(certificate) = message else {
            return;
        };
        let view = certificate.view().saturating_add(1);
        if hand.is_leader(view) {
            let vote = hand.vote(VoteKind::Nullify, view, BlockRef::default());
            hand.send_all(&Message::Vote(vote));
        }
    }

    fn outgoing(&mut self, hand: &mut Hand<'_>, to: usize, message: Message) -> Option<Message> {
        if let Message::Proposal(proposal) = &message {
            let vote = hand.vote(VoteKind::Nullify, proposal.view, BlockRef::default());
            hand.send(to, &Message::Vote(vote));
        }
        Some(message)
    }
}
