//! Stopped for a restart, and the first view of the epoch that a restart file opens (consensus.md 3.12).

use super::bench::{Bench, Make, NO_BLOCK, epoch};
use super::fixture;
use crate::block::Tip;
use crate::engine::Standing;
use crate::epoch::{EpochInfo, EpochSpec};
use crate::event::Event;
use crate::journal::{JournalState, Record};
use crate::message::{Message, RejoinReq};
use alloc::vec;
use alloc::vec::Vec;
use ledger::hash::{BlockHash, Hash};
use ledger::header::{BlockRef, Flags};
use ledger::id::{Epoch, Height, View};
use ledger::vote::VoteKind::{Notarize, Nullify};

fn stopped() -> Bench {
    let mut make = Make::leader_of(4);
    make.journal = JournalState::Intact;
    make.records = vec![Record::Stopped { epoch: Epoch(0) }];
    let mut bench = make.recover().unwrap();
    bench.begin();
    for other in &bench.others()[..2] {
        bench.seen(*other, &[], false).unwrap_or_default();
    }
    bench
}

#[test]
fn a_stopped_key_signs_nothing_takes_no_certificate_and_vouches_for_nobody() {
    let mut bench = stopped();
    assert_eq!(bench.engine.status().standing, Standing::Stopped);
    bench.work(1);
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap_or_default();
    let from = bench.others()[0];
    let notarization = bench.make(Notarize, 1, block.block_ref());
    let message = Message::Certificate(notarization);
    bench.deliver(from, message).unwrap_or_default();
    assert_eq!(bench.view(), 1);
    bench.wait(5_000);
    let request = RejoinReq {
        nonce: 5,
        epoch: Epoch(0),
    };
    bench.deliver(from, Message::RejoinReq(request)).unwrap();
    assert!(bench.votes().is_empty());
    let answered = |m: &Message| matches!(m, Message::RejoinResp(_));
    assert!(!bench.sent.iter().any(answered));
    // Not even a pruned journal forgets it.
    let snapshot = bench.engine.snapshot().unwrap();
    assert!(snapshot.contains(&Record::Stopped { epoch: Epoch(0) }));
}

/// Epoch 1 as a restart file opens it: on a block that is no SEAL.
fn restarted() -> EpochSpec {
    EpochSpec {
        epoch: Epoch(1),
        anchor: Tip {
            block: BlockRef {
                height: Height(3),
                hash: BlockHash(Hash([3; 32])),
            },
            time_ms: fixture::spec(4).anchor.time_ms,
            flags: Flags::NONE,
        },
        restart: Hash([8; 32]),
        ..fixture::spec(4)
    }
}

/// The journal of a key that was stopped, lost, reported, and installed the file: `past` is what it holds besides.
fn installed(past: Vec<Record>) -> Bench {
    let spec = restarted();
    let info = EpochInfo::new(spec.clone());
    let mut make = Make::leader_of(1);
    make.me = info.leader(View(1)).0;
    make.journal = JournalState::Intact;
    make.records = past;
    make.records.push(Record::Stopped { epoch: Epoch(0) });
    make.records.push(Record::EpochStart {
        epoch: Epoch(1),
        set: info.set_hash(),
        anchor: spec.anchor.block.hash,
        restart: spec.restart,
    });
    make.spec = spec;
    let mut bench = make.recover().unwrap();
    bench.begin();
    for other in &bench.others()[..2] {
        bench.seen(*other, &[], false).unwrap();
    }
    bench
}

#[test]
fn a_restart_ends_the_stop_and_its_first_block_is_an_anchor() {
    let old = fixture::vote(
        &epoch(),
        EpochInfo::new(restarted()).leader(View(1)).0,
        Nullify,
        9,
        NO_BLOCK,
    );
    let old = Record::OwnVote {
        vote: old,
        parent_view: None,
    };
    let mut bench = installed(vec![old]);
    assert!(bench.engine.status().is_voting());
    // No record waits: the block is due all the same.
    bench.wait(100);
    let request = bench.builds[0];
    assert!(request.flags.is_anchor());
    let (view, time) = (request.view, request.time_ms.0);
    let mut block = fixture::block(&bench.epoch, &request.parent, view.0, time, &[]);
    block.header.flags = request.flags;
    bench.give(Event::ProposalReady {
        view,
        block: block.clone(),
    });
    assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
}

#[test]
fn only_the_report_of_this_journal_ends_its_quarantine() {
    let quarantine = Record::Quarantine { number: 2 };
    let bench = installed(vec![quarantine.clone()]);
    assert!(!bench.engine.status().is_voting());
    // What installing a file with its report writes.
    let floor = Record::Floor {
        number: 2,
        epoch: Epoch(1),
        view: View(1),
    };
    assert!(
        installed(vec![quarantine, floor])
            .engine
            .status()
            .is_voting()
    );
}
