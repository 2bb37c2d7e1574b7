//! Withholds bodies: its proposals reach f+1 nodes at most, and nobody can fetch a block from it.

use super::{Behaviour, Hand};
use consensus::Message;
use consensus::block::Body;

pub(super) struct Withholding;

impl Behaviour for Withholding {
    fn outgoing(&mut self, hand: &mut Hand<'_>, to: usize, message: Message) -> Option<Message> {
        match message {
            Message::Block(_) | Message::SyncResp(_) => None,
            Message::Proposal(mut proposal) => {
                let n = hand.n();
                let distance = (to + n - hand.me) % n;
                let f = (n - 1) / 3;
                if distance <= f + 1 {
                    return Some(Message::Proposal(proposal));
                }
                if hand.random.chance(300) {
                    // The header with its vote is genuine, the body is not what it names.
                    proposal.block.body = Body::from(vec![0; 8]);
                    return Some(Message::Proposal(proposal));
                }
                Some(Message::Vote(proposal.vote))
            }
            other => Some(other),
        }
    }
}
