//! Replays what it has seen: other validators' messages as its own, old ones, and in any order.

use super::{Behaviour, Hand, remember};
use consensus::Message;
use std::collections::VecDeque;

#[derive(Default)]
pub(super) struct Replay {
    seen: VecDeque<Message>,
}

impl Behaviour for Replay {
    fn incoming(&mut self, _hand: &mut Hand<'_>, _from: usize, message: &Message) {
        remember(&mut self.seen, message.clone());
    }

    fn tick(&mut self, hand: &mut Hand<'_>) {
        for _ in 0..8 {
            if self.seen.is_empty() {
                return;
            }
            let at = hand.random.index(self.seen.len());
            let message = self.seen[at].clone();
            let to = hand.somebody();
            hand.send(to, &message);
        }
    }
}
