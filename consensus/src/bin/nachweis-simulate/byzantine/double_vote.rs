//! Votes twice: two Notarize in one view, Finalize together with Nullify, in both orders.

use super::{Behaviour, Hand};
use consensus::Message;
use ledger::vote::VoteKind;

pub(super) struct DoubleVote;

impl Behaviour for DoubleVote {
    fn outgoing(&mut self, hand: &mut Hand<'_>, to: usize, message: Message) -> Option<Message> {
        let Message::Vote(vote) = &message else {
            return Some(message);
        };
        let seen: Vec<_> = hand.lore.blocks.keys().copied().collect();
        let other = (!seen.is_empty()).then(|| seen[hand.random.index(seen.len())]);
        let second = match (vote.kind, other) {
            (VoteKind::Notarize | VoteKind::Finalize, Some(other)) if hand.random.chance(500) => {
                hand.vote(vote.kind, vote.view, other)
            }
            (VoteKind::Nullify, Some(other)) => hand.vote(VoteKind::Finalize, vote.view, other),
            (VoteKind::Notarize | VoteKind::Finalize, _) => {
                hand.vote(VoteKind::Nullify, vote.view, vote.block)
            }
            (VoteKind::Nullify, None) => return Some(message),
        };
        hand.send(to, &Message::Vote(second));
        Some(message)
    }
}
