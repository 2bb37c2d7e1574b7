//! As leader, goes on after a SEAL block: proposes a child of it in the epoch that it ends.

use super::{Behaviour, Hand};
use consensus::Message;
use consensus::message::Proposal;

pub(super) struct BeyondSeal;

impl Behaviour for BeyondSeal {
    fn outgoing(&mut self, hand: &mut Hand<'_>, _to: usize, message: Message) -> Option<Message> {
        let Message::Proposal(proposal) = &message else {
            return Some(message);
        };
        let header = &proposal.block.header;
        if !header.flags.is_seal() || header.view == proposal.view {
            return Some(message);
        }
        child(hand, proposal).or(Some(message))
    }
}

fn child(hand: &Hand<'_>, proposal: &Proposal) -> Option<Message> {
    let seal = &proposal.block;
    let mut request = hand.request_of(seal);
    request.view = proposal.view;
    request.proposer = proposal.vote.signer;
    request.height = seal.header.height.next()?;
    request.parent = consensus::Tip::from(&seal.header);
    request.time_ms = seal.header.time_ms.saturating_add(1).max(hand.wall);
    request.flags = ledger::header::Flags::ANCHOR;
    let child = hand.application.seal(&request, &[])?;
    Some(hand.propose(proposal, child))
}
