//! Whatever bytes come in, nothing panics and nothing runs away.

use super::bench::{Bench, Make};
use super::fixture::{self, ToyCheck};
use crate::event::{Event, Verdict};
use crate::message::Message;
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::codec;
use ledger::header::BlockRef;
use ledger::id::{Height, TimeMs, View};
use ledger::vote::VoteKind;
use proptest::prelude::*;

/// The first byte of every kind of message there is.
const KINDS: [u8; 12] = [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13];

proptest! {
    #[test]
    fn any_bytes_are_taken_in_or_refused(
        messages in prop::collection::vec(
            (0_u16..5, 0_usize..12, prop::collection::vec(any::<u8>(), 0..400)),
            0..30,
        ),
    ) {
        let mut bench = Bench::follower();
        for (from, kind, mut bytes) in messages {
            bytes.insert(0, KINDS[kind]);
            if let Ok(message) = Message::decode(&bytes) {
                feed(&mut bench, from, message);
            }
        }
        prop_assert!(bench.engine.status().is_voting());
    }

    #[test]
    fn any_well_formed_message_is_taken_in_or_refused(
        steps in prop::collection::vec(
            (0_u16..4, 0_u8..10, edge(), edge(), edge(), 0_u64..4_000),
            0..60,
        ),
    ) {
        let mut bench = Make::leader_of(2).run();
        bench.includable = 1;
        for (from, kind, x, y, z, ms) in steps {
            let message = message(&bench, from, kind, x, y, z);
            feed(&mut bench, from, message);
            bench.wait(ms);
        }
    }
}

/// Small numbers, and those at the end of the range.
fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..6,
        0_u64..6,
        Just(u64::MAX),
        Just(u64::MAX - 1),
        any::<u64>()
    ]
}

fn feed(bench: &mut Bench, from: u16, message: Message) {
    let from = super::bench::peer(from);
    let Ok(admitted) = bench.engine.admit(bench.now, from, message) else {
        return;
    };
    if let Ok(message) = admitted.verify(&ToyCheck) {
        bench.give(Event::Message { from, message });
    }
}

fn message(bench: &Bench, from: u16, kind: u8, x: u64, y: u64, z: u64) -> Message {
    let block = fixture::block(&bench.epoch, &bench.anchor(), x, y, &[z]);
    let named = BlockRef {
        height: Height(z),
        ..block.block_ref()
    };
    let signed = |kind: VoteKind| -> Certificate {
        let block = if kind == VoteKind::Nullify {
            BlockRef::default()
        } else {
            block.block_ref()
        };
        let signers: Vec<u16> = (0..4).filter(|index| *index != bench.me).collect();
        fixture::certificate(&bench.epoch, &signers, kind, x, block).into_inner()
    };
    match kind {
        0 => bench.proposal(x, y, &block, Vec::new()),
        1 => Message::Vote(fixture::vote(
            &bench.epoch,
            from,
            VoteKind::Notarize,
            x,
            named,
        )),
        2 => Message::Certificate(signed(VoteKind::Nullify)),
        3 => Message::Certificate(signed(VoteKind::Notarize)),
        4 => Message::Block(block),
        5 => {
            let mut status = bench.status_of(from);
            status.view = View(x);
            status.finalized.height = Height(y);
            status.wall = TimeMs(z);
            Message::Status(status)
        }
        6 => Message::Fetch(named),
        7 => Message::CertReq(crate::message::CertReq {
            epoch: bench.epoch.epoch(),
            from: View(x),
            to: View(y),
        }),
        8 => Message::SyncReq(crate::message::SyncReq {
            from: Height(x),
            max_bytes: u32::try_from(y).unwrap_or(u32::MAX),
        }),
        _ => Message::SyncResp(crate::message::SyncResp {
            blocks: alloc::vec![block.clone()].try_into().unwrap(),
            headers: codec::List::new(),
            certificate: signed(VoteKind::Finalize),
        }),
    }
}

#[test]
fn answers_about_blocks_that_are_not_here_are_ignored() {
    let mut bench = Bench::follower();
    let block = bench.block(&bench.anchor(), 1);
    for verdict in [Verdict::Valid, Verdict::Invalid, Verdict::BadDelivery] {
        let hash = block.hash();
        bench.give(Event::BlockValidated {
            block: hash,
            verdict,
        });
    }
    bench.give(Event::BuildEmpty { view: View(1) });
    bench.give(Event::ProposalReady {
        view: View(1),
        block,
    });
    assert!(bench.votes().is_empty() && bench.alarms().is_empty());
}
