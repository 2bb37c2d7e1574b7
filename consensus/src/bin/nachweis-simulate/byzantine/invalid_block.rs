//! Proposes invalid blocks: wrong roots, forged or repeated records, nothing in it, wrong header fields.

use super::{Behaviour, Hand};
use crate::items::{Change, Item, Record, items};
use consensus::message::Proposal;
use consensus::{Block, Message};
use ledger::hash::{Hash, SetHash};
use ledger::header::Flags;
use ledger::id::{Epoch, Height, View};

#[derive(Default)]
pub(super) struct InvalidBlock {
    spoilt: Option<(View, Message)>,
}

impl Behaviour for InvalidBlock {
    fn outgoing(&mut self, hand: &mut Hand<'_>, _to: usize, message: Message) -> Option<Message> {
        let Message::Proposal(proposal) = &message else {
            return Some(message);
        };
        let known = self
            .spoilt
            .as_ref()
            .is_some_and(|(view, _)| *view == proposal.view);
        if !known {
            if proposal.block.header.view != proposal.view || hand.random.chance(300) {
                return Some(message);
            }
            let block = spoil(hand, proposal)?;
            self.spoilt = Some((proposal.view, hand.propose(proposal, block)));
        }
        self.spoilt.as_ref().map(|(_, spoilt)| spoilt.clone())
    }
}

fn spoil(hand: &mut Hand<'_>, proposal: &Proposal) -> Option<Block> {
    let mut block = proposal.block.clone();
    let request = hand.request_of(&block);
    let content = items(&block.body)?;
    let number = content.iter().find_map(|item| match item {
        Item::Record(record) => Some(record.number()),
        Item::Evidence(_) | Item::Change(_) => None,
    });
    let number = number.unwrap_or(0);
    match hand.random.below(13) {
        0 => block.header.log_root = Hash::ZERO,
        1 => block.header.status_root = Hash::ZERO,
        2 => block.header.height = Height(u64::MAX),
        3 => block.header.epoch = Epoch(1),
        4 => block.header.body_len = u32::MAX,
        5 => block.header.flags = Flags::SEAL,
        6 => block.header.version = 2,
        // A set that the body does not give; an end of the epoch that it does not give, or that it gives and is not
        // said to; a change that nobody decided.
        10 => block.header.next_set = SetHash(Hash([5; 32])),
        11 => {
            block.header.flags = if block.header.flags.is_seal() {
                Flags::NONE
            } else {
                Flags::SEAL
            };
            block.header.next_set = hand.epoch().set_hash();
        }
        12 => {
            let mut change = Change::decide(0, 1, 1 << 5);
            change.leaves = 1 << 1;
            return hand.application.seal(&request, &[Item::Change(change)]);
        }
        7 => {
            return hand
                .application
                .seal(&request, &[Item::Record(Record::forged(number))]);
        }
        8 => {
            return hand
                .application
                .seal(&request, &[Item::Record(Record::submit(number)); 2]);
        }
        _ => return hand.application.seal(&request, &[]),
    }
    Some(block)
}
