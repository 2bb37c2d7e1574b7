//! Sends only a part of its messages: 60 % per peer, and nothing at all to its victims.

use super::{Behaviour, Hand};
use consensus::Message;

#[derive(Default)]
pub(super) struct Selective {
    victims: Option<u64>,
}

impl Behaviour for Selective {
    fn outgoing(&mut self, hand: &mut Hand<'_>, to: usize, message: Message) -> Option<Message> {
        // One node in four is a victim; with two bad draws of four, the validator is silent.
        let victims = *self
            .victims
            .get_or_insert_with(|| hand.random.next() & hand.random.next());
        let cut_off = victims >> (to % 64) & 1 == 1;
        (!cut_off && hand.random.chance(600)).then_some(message)
    }
}
