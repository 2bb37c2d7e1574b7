//! Replays what it has seen: other validators' messages as its own, old ones, and in any order, also of epochs that are over.

use super::{Behaviour, Hand, MEMORY, remember};
use consensus::Message;
use std::collections::VecDeque;

#[derive(Default)]
pub(super) struct Replay {
    seen: VecDeque<Message>,
    /// Of all times and epochs.
    hoard: Vec<Message>,
}

impl Behaviour for Replay {
    fn incoming(&mut self, hand: &mut Hand<'_>, _from: usize, message: &Message) {
        remember(&mut self.seen, message.clone());
        if hand.random.chance(20) {
            if self.hoard.len() == MEMORY {
                let at = hand.random.index(MEMORY);
                self.hoard.swap_remove(at);
            }
            self.hoard.push(message.clone());
        }
    }

    fn tick(&mut self, hand: &mut Hand<'_>) {
        for _ in 0..8 {
            if self.seen.is_empty() {
                return;
            }
            let message = if !self.hoard.is_empty() && hand.random.chance(300) {
                self.hoard[hand.random.index(self.hoard.len())].clone()
            } else {
                self.seen[hand.random.index(self.seen.len())].clone()
            };
            let to = hand.somebody();
            hand.send(to, &message);
        }
    }
}
