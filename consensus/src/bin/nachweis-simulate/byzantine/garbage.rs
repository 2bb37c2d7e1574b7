//! Sends frames that are no messages: random bytes, length bombs, cut, padded and flipped messages.

use super::{Behaviour, Hand};
use consensus::Message;

/// Message kinds have numbers below this one; some of them are the node's, or nobody's.
const KINDS: u8 = 29;

pub(super) struct Garbage;

impl Behaviour for Garbage {
    fn tick(&mut self, hand: &mut Hand<'_>) {
        let to = hand.somebody();
        let mut bytes = vec![0; hand.random.index(300)];
        hand.random.fill(&mut bytes);
        if let Some(kind) = bytes.first_mut() {
            *kind %= KINDS;
        }
        if hand.random.chance(300) {
            // A list that claims four billion items.
            let bomb = bytes.len().min(5);
            bytes[bomb.min(1)..bomb].fill(0xff);
        }
        hand.send_bytes(to, bytes);
    }

    fn outgoing(&mut self, hand: &mut Hand<'_>, to: usize, message: Message) -> Option<Message> {
        if hand.random.chance(30) {
            let mut bytes = message.encode();
            match hand.random.below(3) {
                0 => {
                    let at = hand.random.index(bytes.len());
                    bytes[at] ^= 1 << hand.random.below(8);
                }
                1 => bytes.truncate(hand.random.index(bytes.len())),
                _ => bytes.push(0),
            }
            hand.send_bytes(to, bytes);
        }
        Some(message)
    }
}
