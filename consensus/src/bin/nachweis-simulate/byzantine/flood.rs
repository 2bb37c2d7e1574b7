//! Floods everybody with votes for far views, absurd ones among them, and for blocks that nobody knows.

use super::{Behaviour, Hand};
use consensus::Message;
use ledger::hash::{BlockHash, Hash};
use ledger::header::BlockRef;
use ledger::id::{Height, View};
use ledger::vote::VoteKind;

pub(super) struct Flood;

impl Behaviour for Flood {
    fn tick(&mut self, hand: &mut Hand<'_>) {
        let to = hand.somebody();
        for _ in 0..30 {
            let view = match hand.random.below(5) {
                0 => View(u64::MAX),
                1 => View(hand.random.next()),
                2 => View(hand.random.below(hand.lore.view.0 + 1)),
                _ => hand.lore.view.saturating_add(hand.random.below(70)),
            };
            let kind = VoteKind::ALL[hand.random.index(VoteKind::ALL.len())];
            let block = BlockRef {
                height: Height(1 + hand.random.below(1 << 40)),
                hash: BlockHash(Hash([7; 32])),
            };
            let vote = hand.vote(kind, view, block);
            hand.send(to, &Message::Vote(vote));
        }
    }
}
