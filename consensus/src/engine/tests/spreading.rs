//! R7 to R9, heartbeats, and what a peer may ask.

use super::bench::{Bench, NO_BLOCK, epoch, peer};
use super::fixture;
use crate::event::Event;
use crate::message::{Hello, Message, SyncReq};
use crate::output::Output;
use crate::verify::Dropped;
use alloc::vec;
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::id::{Epoch, Height, View};
use ledger::vote::VoteKind::{Finalize, Notarize, Nullify};

fn certificates(bench: &Bench) -> Vec<&Certificate> {
    let sent = bench.sent.iter().filter_map(|message| match message {
        Message::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    sent.collect()
}

fn heartbeats(bench: &Bench) -> usize {
    let sent = bench.sent.iter();
    sent.filter(|message| matches!(message, Message::Status(_)))
        .count()
}

#[test]
fn r0_one_certificate_is_enough_to_jump_and_views_never_go_back() {
    let mut bench = Bench::follower();
    bench.nullified(7);
    assert_eq!(bench.view(), 8);
    bench.nullified(3);
    assert_eq!(bench.view(), 8);
}

#[test]
fn r7_the_entry_certificate_is_broadcast_once() {
    let mut bench = Bench::follower();
    bench.nullified(1);
    assert_eq!(certificates(&bench).len(), 1);
    let again = bench.make(Nullify, 1, NO_BLOCK);
    let result = bench.deliver(bench.others()[1], Message::Certificate(again));
    assert_eq!(result, Err(Dropped::Known));
    assert_eq!(certificates(&bench).len(), 1);
}

#[test]
fn r8_a_busy_node_sends_its_votes_and_certificates_again() {
    let mut bench = Bench::follower();
    bench.nullified(1);
    let block = bench.block(&bench.anchor(), 2);
    bench.propose(2, 0, &block, Vec::new()).unwrap();
    bench.forget();
    bench.wait(899);
    assert!(bench.votes().is_empty());
    bench.wait(1);
    assert!(bench.votes().contains(&(Notarize, 2, block.block_ref())));
    assert_eq!(certificates(&bench)[0].view(), View(1));
}

#[test]
fn r8_a_leader_sends_its_proposal_to_those_whose_vote_it_lacks() {
    let mut bench = Bench::leader();
    bench.work(1);
    let request = bench.builds[0];
    let time = request.time_ms.0;
    let block = fixture::block(&bench.epoch, &request.parent, 1, time, &[1]);
    let named = block.block_ref();
    bench.give(Event::ProposalReady {
        view: View(1),
        block,
    });
    let voted = bench.others()[0];
    bench.vote(voted, Notarize, 1, named).unwrap();
    bench.forget();
    bench.wait(900);
    let to: Vec<_> = bench
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Send {
                to,
                message: Message::Proposal(_),
            } => bench.epoch.index_of(to),
            _ => None,
        })
        .map(|index| index.0)
        .collect();
    assert_eq!(to, bench.others()[1..]);
}

#[test]
fn r8_an_idle_node_is_silent_and_an_own_nullify_is_sent_three_times() {
    let mut bench = Bench::follower();
    bench.work(1);
    bench.wait(450);
    bench.work(0);
    let mut sent = bench.votes().len();
    for _ in 0..20 {
        bench.wait(900);
        sent = bench.votes().len();
    }
    assert_eq!(sent, 3);
}

/// Others may never have seen it, and have nothing to do: whoever repeats it for ever is never silent (seeds 10,178,232 and
/// 10,290,566).
#[test]
fn r8_a_proposal_of_a_final_block_is_not_repeated_for_ever() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    let notarization = bench.make(Notarize, 1, block.block_ref());
    bench.propose(2, 1, &block, vec![notarization]).unwrap();
    bench.certificate(Finalize, 1, block.block_ref());
    assert!(bench.engine.run.slots.get(View(2)).is_some());
    let mut repeats = 0;
    for _ in 0..40 {
        bench.forget();
        bench.wait(900);
        repeats += usize::from(bench.sent.len() > heartbeats(&bench));
    }
    assert_eq!(repeats, 16);
    // With work it goes on at once.
    bench.forget();
    bench.work(1);
    bench.wait(900);
    assert!(bench.sent.len() > heartbeats(&bench));
}

#[test]
fn an_idle_node_sends_heartbeats_only_and_writes_nothing() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    bench.certificate(Finalize, 1, block.block_ref());
    bench.wait(1_000);
    bench.forget();
    let written = bench.records.len();
    for _ in 0..10 {
        bench.wait(2_000);
    }
    assert_eq!((heartbeats(&bench), bench.sent.len()), (10, 10));
    assert_eq!(bench.records.len(), written);
}

#[test]
fn r9_a_lagging_peer_is_helped_once_per_delta() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    bench.certificate(Finalize, 1, block.block_ref());
    bench.nullified(2);
    let from = bench.others()[0];
    let mut behind = bench.status_of(from);
    behind.view = View(1);
    behind.finalized = anchor.block;
    behind.finalized_view = View(0);
    bench.forget();
    bench.deliver(from, Message::Status(behind)).unwrap();
    let helped: Vec<_> = certificates(&bench)
        .iter()
        .map(|c| (c.kind(), c.view().0))
        .collect();
    assert_eq!(helped, [(Finalize, 1), (Nullify, 2)]);
    bench.deliver(from, Message::Status(behind)).unwrap();
    assert_eq!(certificates(&bench).len(), 2, "not again within a delta");
    bench.wait(150);
    bench.deliver(from, Message::Status(behind)).unwrap();
    assert_eq!(certificates(&bench).len(), 4);
    bench.forget();
    bench.wait(150);
    bench.beat(bench.others()[1]);
    assert!(certificates(&bench).is_empty(), "that one does not lag");
}

#[test]
fn r9_a_repeated_vote_below_finality_asks_for_help() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    bench.certificate(Finalize, 1, block.block_ref());
    bench.forget();
    let from = bench.others()[0];
    let late = bench.vote(from, Finalize, 1, block.block_ref());
    assert_eq!(late, Err(Dropped::Window(View(1))));
    bench.vote(from, Finalize, 1, block.block_ref()).unwrap();
    assert_eq!(certificates(&bench)[0].kind(), Finalize);
}

#[test]
fn a_vote_far_ahead_is_dropped_but_makes_this_node_ask_for_help() {
    let mut bench = Bench::follower();
    let from = bench.others()[0];
    let far = bench.vote(from, Nullify, 10, NO_BLOCK);
    assert_eq!(far, Err(Dropped::Window(View(10))));
    assert_eq!(heartbeats(&bench), 1);
    let absurd = bench.vote(from, Nullify, u64::MAX, NO_BLOCK);
    assert_eq!(absurd, Err(Dropped::Window(View(u64::MAX))));
    assert_eq!(heartbeats(&bench), 1, "once per delta");
}

#[test]
fn strangers_other_epochs_and_repetitions_are_dropped_before_any_cryptography() {
    let mut bench = Bench::follower();
    let mut vote = fixture::vote(&epoch(), bench.others()[0], Nullify, 1, NO_BLOCK);
    assert_eq!(
        bench
            .engine
            .admit(bench.now, peer(9), Message::Vote(vote))
            .unwrap_err(),
        Dropped::Stranger
    );
    bench.vote(vote.signer.0, Nullify, 1, NO_BLOCK).unwrap();
    let again = bench.vote(vote.signer.0, Nullify, 1, NO_BLOCK);
    assert_eq!(again, Err(Dropped::Known));
    vote.epoch = Epoch(1);
    let other = bench.deliver(vote.signer.0, Message::Vote(vote));
    assert_eq!(other, Err(Dropped::Epoch));
    let own = fixture::vote(&epoch(), bench.me, Nullify, 1, NO_BLOCK);
    let own = bench.deliver(bench.others()[0], Message::Vote(own));
    assert_eq!(own, Err(Dropped::Known));
}

#[test]
fn heartbeats_greetings_and_requests_are_limited_per_peer() {
    let mut bench = Bench::follower();
    let from = bench.others()[0];
    let status = Message::Status(bench.status_of(from));
    let mut passed = 0;
    while bench.deliver(from, status.clone()).is_ok() {
        passed += 1;
    }
    assert_eq!(passed, 16);
    bench.pass(2_000);
    let refilled = (0..10)
        .filter(|_| bench.deliver(from, status.clone()).is_ok())
        .count();
    assert_eq!(refilled, 4);
    let hello = Message::Hello(Hello {
        instance: 1,
        nonce: 1,
    });
    assert_eq!(bench.deliver(from, hello.clone()), Ok(()));
    assert_eq!(bench.deliver(from, hello), Err(Dropped::Rate));
    let sync = Message::SyncReq(SyncReq {
        from: Height(0),
        max_bytes: u32::MAX,
    });
    let passed = (0..10)
        .filter(|_| bench.deliver(from, sync.clone()).is_ok())
        .count();
    assert_eq!(passed, 4, "16 MiB at once");
    let other = bench.deliver(bench.others()[1], sync);
    assert_eq!(other, Ok(()), "others are not held to account");
}
