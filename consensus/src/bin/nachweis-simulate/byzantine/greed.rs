//! Asks for more than it needs, for ever, and claims heights and views that do not exist.

use super::{Behaviour, Hand};
use consensus::Message;
use consensus::message::{CertReq, Hello, Status, SyncReq};
use ledger::hash::{BlockHash, Hash};
use ledger::header::BlockRef;
use ledger::id::{Height, View};

pub(super) struct Greed;

impl Behaviour for Greed {
    fn tick(&mut self, hand: &mut Hand<'_>) {
        let to = hand.somebody();
        let epoch = hand.epoch().epoch();
        let nowhere = BlockRef {
            height: Height(1 << 63),
            hash: BlockHash(Hash([9; 32])),
        };
        let known = hand
            .lore
            .blocks
            .keys()
            .next_back()
            .copied()
            .unwrap_or(nowhere);
        for _ in 0..20 {
            let message = match hand.random.below(7) {
                0 => Message::Fetch(known),
                1 => Message::Fetch(nowhere),
                2 => Message::SyncReq(SyncReq {
                    from: Height(1),
                    max_bytes: u32::MAX,
                }),
                3 => Message::SyncReq(SyncReq {
                    from: Height(u64::MAX),
                    max_bytes: 0,
                }),
                4 => Message::CertReq(CertReq {
                    epoch,
                    from: View(0),
                    to: View(u64::MAX),
                }),
                5 => Message::Hello(Hello {
                    instance: hand.random.next(),
                    nonce: hand.random.next(),
                }),
                _ => Message::Status(Status {
                    protocol: ledger::vote::PROTOCOL,
                    instance: 1,
                    epoch,
                    view: View(u64::MAX),
                    finalized: nowhere,
                    finalized_view: View(u64::MAX - 1),
                    notarized_view: View(u64::MAX - 1),
                    pending: u32::MAX,
                    wall: hand.wall,
                }),
            };
            hand.send(to, &message);
        }
    }
}
