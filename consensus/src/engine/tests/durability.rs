//! R10, persistence gating, recovery, start check.

use super::bench::{Bench, Make, NO_BLOCK, epoch, peer};
use super::fixture::{self, Toy};
use crate::engine::guard::{Bar, Refused, SafetyGuard};
use crate::engine::{Archived, RecoverError, Standing};
use crate::event::Event;
use crate::journal::{JournalState, Record};
use crate::message::{Hello, Message};
use crate::outbox::{Outbox, Seq};
use crate::output::{Alarm, Output};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height, ValidatorIndex, View};
use ledger::vote::VoteKind::{self, Finalize, Notarize, Nullify};

const A: BlockRef = BlockRef {
    height: Height(1),
    hash: ledger::hash::BlockHash(ledger::hash::Hash([1; 32])),
};

fn guard() -> (SafetyGuard, Outbox) {
    let signer = Toy(fixture::vote_key(0));
    let guard = SafetyGuard::new(Some(Box::new(signer)), Arc::new(epoch()));
    (guard, Outbox::default())
}

fn notarization(view: u64) -> ledger::certificate::VerifiedCertificate {
    fixture::certificate(&epoch(), &[1, 2, 3], Notarize, view, A)
}

#[test]
fn r10_one_notarize_per_view() {
    let (mut guard, mut out) = guard();
    guard.notarize(View(1), A, &mut out).unwrap();
    let again = guard.notarize(View(1), A, &mut out);
    assert_eq!(again, Err(Refused::Twice));
    let wrap = Message::Vote;
    let again = guard.propose(View(1), A, View(0), &mut out, wrap);
    assert_eq!(again, Err(Refused::Twice));
    guard.notarize(View(2), A, &mut out).unwrap();
}

#[test]
fn r10_never_nullify_and_finalize() {
    let (mut guard, mut out) = guard();
    guard.finalize(&notarization(1), &mut out).unwrap();
    let after = guard.nullify(View(1), &mut out);
    assert_eq!(after, Err(Refused::Excluded));
    guard.nullify(View(2), &mut out).unwrap();
    let after = guard.finalize(&notarization(2), &mut out);
    assert_eq!(after, Err(Refused::Excluded));
    guard.notarize(View(2), A, &mut out).unwrap();
}

#[test]
fn r10_nothing_at_or_below_finality_or_the_floor_or_in_a_view_left() {
    let (mut guard, mut out) = guard();
    guard.finalized(View(3));
    let result = guard.nullify(View(3), &mut out);
    assert_eq!(result, Err(Refused::Finalized));
    guard.raise_floor((Epoch(0), View(7)));
    let result = guard.nullify(View(6), &mut out);
    assert_eq!(result, Err(Refused::Past));
    guard.nullify(View(8), &mut out).unwrap();
    let result = guard.notarize(View(7), A, &mut out);
    assert_eq!(result, Err(Refused::Past), "view 8 was voted in");
    guard.finalize(&notarization(7), &mut out).unwrap();
}

#[test]
fn r10_a_finalize_needs_its_notarization() {
    let (mut guard, mut out) = guard();
    let nullification = fixture::certificate(&epoch(), &[1, 2, 3], Nullify, 1, NO_BLOCK);
    let result = guard.finalize(&nullification, &mut out);
    assert_eq!(result, Err(Refused::NotNotarized));
}

#[test]
fn r10_nothing_while_barred_or_without_a_key() {
    let (mut guard, mut out) = guard();
    guard.bar(Bar::Stopped);
    let result = guard.nullify(View(1), &mut out);
    assert_eq!(result, Err(Refused::Barred(Bar::Stopped)));
    let stranger = Toy(fixture::vote_key(9));
    let mut guard = SafetyGuard::new(Some(Box::new(stranger)), Arc::new(epoch()));
    assert_eq!(guard.nullify(View(1), &mut out), Err(Refused::Observer));
}

#[test]
fn r10_recalled_votes_bind_like_own_ones() {
    let (mut guard, mut out) = guard();
    guard.recall(fixture::vote(&epoch(), 0, Finalize, 1, A), None);
    let result = guard.nullify(View(1), &mut out);
    assert_eq!(result, Err(Refused::Excluded));
}

#[test]
fn nothing_leaves_before_its_record_is_durable() {
    let mut bench = Bench::follower();
    bench.synced = false;
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    let written = |bench: &Bench, test: &dyn Fn(&Record) -> bool| bench.records.iter().any(test);
    assert!(written(&bench, &|r| matches!(r, Record::OwnVote { .. })));
    assert!(written(&bench, &|r| matches!(r, Record::Block(_))));
    assert!(bench.sent.is_empty(), "the vote waits");
    bench.sync();
    assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
    bench.forget();
    bench.records.clear();
    bench.certificate(Notarize, 1, block.block_ref());
    assert!(bench.sent.is_empty());
    let order: Vec<_> = bench
        .records
        .iter()
        .map(|record| match record {
            Record::Certificate(certificate) => certificate.kind(),
            Record::OwnVote { vote, .. } => vote.kind,
            _ => Nullify,
        })
        .collect();
    assert_eq!(order, [Notarize, Finalize], "certificate, then vote");
    bench.sync();
    bench.certificate(Finalize, 1, block.block_ref());
    assert!(bench.commits().is_empty());
    bench.sync();
    assert_eq!(bench.commits(), [block.block_ref()]);
}

#[test]
fn a_batch_that_was_never_issued_is_a_breach_of_contract() {
    let mut bench = Bench::follower();
    bench.give(Event::Persisted { seq: Seq(99) });
    assert!(matches!(bench.alarms()[..], [Alarm::Contract(_)]));
    bench.forget();
    bench.give(Event::Start);
    assert!(matches!(bench.alarms()[..], [Alarm::Contract(_)]));
}

/// A follower that notarized and finalized view 1, nullified view 2, and its journal.
fn past() -> (Bench, Vec<Record>) {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    bench.give(Event::WorkChanged {
        head: block.hash(),
        includable: 1,
    });
    bench.wait(450);
    let records = bench.records.clone();
    (bench, records)
}

fn restarted(records: Vec<Record>) -> Bench {
    let mut make = Make::leader_of(4);
    make.journal = JournalState::Intact;
    make.records = records;
    make.recover().unwrap()
}

#[test]
fn recovery_is_a_maximum_over_records_in_any_order() {
    let (before, mut records) = past();
    let twice = records.clone();
    records.reverse();
    records.extend(twice);
    let bench = restarted(records);
    assert_eq!(bench.engine.status().view, before.engine.status().view);
    let own = |bench: &Bench| -> Vec<_> {
        let votes = bench.engine.guard.newest_first();
        votes.map(|(view, votes)| (view, *votes)).collect()
    };
    assert_eq!(own(&bench), own(&before));
    assert_eq!(own(&bench).len(), 2);
}

#[test]
fn recovered_votes_are_sent_again_and_count() {
    let (_, records) = past();
    let mut bench = restarted(records);
    bench.begin();
    assert!(bench.votes().contains(&(Nullify, 2, NO_BLOCK)));
    let others = bench.others();
    for signer in &others[..2] {
        bench.vote(*signer, Nullify, 2, NO_BLOCK).unwrap();
    }
    assert_eq!(bench.view(), 3, "the own vote made the quorum");
}

#[test]
fn a_restarted_leader_sends_the_same_proposal_again() {
    let mut bench = Bench::leader();
    bench.work(1);
    let request = bench.builds[0];
    let time = request.time_ms.0;
    let block = fixture::block(&bench.epoch, &request.parent, 1, time, &[1]);
    bench.give(Event::ProposalReady {
        view: View(1),
        block: block.clone(),
    });
    let mut make = Make::leader_of(1);
    make.journal = JournalState::Intact;
    make.records = bench.records.clone();
    let mut bench = make.recover().unwrap();
    bench.includable = 1;
    bench.begin();
    assert!(bench.builds.is_empty());
    assert_eq!(bench.proposals().len(), 3);
    assert_eq!(bench.proposals()[0].block, block);
}

#[test]
fn a_final_block_that_was_not_archived_is_committed_again() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    bench.certificate(Finalize, 1, block.block_ref());
    let records = bench.records.clone();
    let mut bench = restarted(records.clone());
    bench.begin();
    assert_eq!(bench.commits(), [block.block_ref()]);
    let mut make = Make::leader_of(4);
    make.journal = JournalState::Intact;
    make.records = records;
    make.archived = Some(Archived {
        tip: super::bench::tip(&block),
        finalization: None,
    });
    let mut bench = make.recover().unwrap();
    bench.begin();
    assert!(bench.commits().is_empty());
    assert_eq!(bench.engine.status().committed, block.block_ref());
}

#[test]
fn a_snapshot_recovers_the_same_state() {
    let (mut bench, records) = past();
    bench.synced = false;
    let snapshot = bench.engine.snapshot().unwrap();
    assert!(snapshot.len() <= records.len());
    let first = restarted(records);
    let second = restarted(snapshot);
    assert_eq!(first.engine.status(), second.engine.status());
    let own = |bench: &Bench| -> Vec<_> {
        let votes = bench.engine.guard.newest_first();
        votes.map(|(view, votes)| (view, *votes)).collect()
    };
    assert_eq!(own(&first), own(&second));
    let held = |bench: &Bench| -> Vec<_> {
        let held = bench.engine.run.certificates.newest_first();
        held.cloned().collect()
    };
    assert_eq!(held(&first), held(&second));
    bench.nullified(2);
    assert!(bench.engine.snapshot().is_none(), "a sync is under way");
}

#[test]
fn a_foreign_vote_or_a_forged_certificate_on_disk_stops_the_recovery() {
    let vote = fixture::vote(&epoch(), 9, Nullify, 1, NO_BLOCK);
    let mut make = Make::leader_of(4);
    make.records = vec![Record::OwnVote {
        vote,
        parent_view: None,
    }];
    let error = make.recover().map(|_| ()).unwrap_err();
    assert_eq!(error, RecoverError::ForeignVote(ValidatorIndex(9)));
    let mut bytes = notarization(1).encode();
    *bytes.last_mut().unwrap() ^= 1;
    let forged = ledger::codec::decode(&bytes, bytes.len()).unwrap();
    let mut make = Make::leader_of(4);
    make.records = vec![Record::Certificate(forged)];
    let error = make.recover().map(|_| ()).unwrap_err();
    assert!(matches!(
        error,
        RecoverError::Certificate { view: View(1), .. }
    ));
}

#[test]
fn a_node_votes_once_q_minus_one_others_have_answered() {
    let mut bench = restarted(Vec::new());
    bench.begin();
    let greeted = bench
        .sent
        .iter()
        .any(|message| matches!(message, Message::Hello(_)));
    assert!(greeted);
    let others = bench.others();
    bench.seen(others[0], &[], false).unwrap();
    bench.seen(others[0], &[], false).unwrap();
    assert!(!bench.engine.status().is_voting(), "one peer, twice");
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    assert!(bench.votes().is_empty());
    bench.seen(others[1], &[], false).unwrap();
    assert!(bench.engine.status().is_voting());
    assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
}

#[test]
fn a_vote_that_the_journal_does_not_know_means_quarantine_for_ever() {
    let lost = |bench: &Bench| fixture::vote(&epoch(), bench.me, Nullify, 5, NO_BLOCK);
    let mut bench = restarted(Vec::new());
    bench.begin();
    let vote = lost(&bench);
    bench.seen(bench.others()[0], &[vote], false).unwrap();
    bench.seen(bench.others()[1], &[], false).unwrap();
    assert_eq!(bench.alarms(), [Alarm::Quarantine]);
    assert!(!bench.engine.status().is_voting());
    let records = bench.records.clone();
    assert!(records.contains(&Record::Quarantine { number: 1 }));
    let mut bench = restarted(records.clone());
    bench.begin();
    for other in bench.others() {
        bench.seen(other, &[], false).unwrap_or_default();
    }
    assert!(!bench.engine.status().is_voting());
    // A floor ends it, from its view on.
    let floor = Record::Floor {
        number: 1,
        epoch: Epoch(0),
        view: View(9),
    };
    let mut bench = restarted([records, vec![floor]].concat());
    bench.begin();
    for other in bench.others() {
        bench.seen(other, &[], false).unwrap_or_default();
    }
    let below = Standing::BelowFloor(View(9));
    assert_eq!(bench.engine.status().standing, below);
    bench.work(1);
    bench.wait(2_000);
    assert!(bench.votes().is_empty());
    // A fresh journal is not doubted, and votes that the journal holds raise no doubt.
    let mut bench = Make::leader_of(4).recover().unwrap();
    bench.begin();
    let vote = lost(&bench);
    for other in &bench.others()[..2] {
        bench.seen(*other, &[vote], false).unwrap();
    }
    assert!(bench.engine.status().is_voting());
    let (before, records) = past();
    let known = fixture::vote(&epoch(), before.me, Nullify, 2, NO_BLOCK);
    let mut bench = restarted(records);
    bench.begin();
    for other in &bench.others()[..2] {
        bench.seen(*other, &[known], false).unwrap();
    }
    assert!(bench.engine.status().is_voting());
}

#[test]
fn a_lost_journal_only_observes() {
    let mut make = Make::leader_of(4);
    make.journal = JournalState::Lost;
    let mut bench = make.recover().unwrap();
    bench.begin();
    for other in bench.others() {
        bench.seen(other, &[], false).unwrap_or_default();
    }
    assert_eq!(bench.alarms(), [Alarm::Quarantine]);
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    bench.certificate(Notarize, 1, block.block_ref());
    bench.certificate(Finalize, 1, block.block_ref());
    assert!(bench.votes().is_empty());
    assert_eq!(bench.commits(), [block.block_ref()], "it still follows");
}

#[test]
fn another_living_instance_counts_when_more_than_f_report_it() {
    let mut bench = restarted(Vec::new());
    bench.begin();
    let others = bench.others();
    bench.seen(others[0], &[], true).unwrap();
    bench.seen(others[1], &[], false).unwrap();
    assert!(bench.engine.status().is_voting(), "one may lie");
    let mut bench = restarted(Vec::new());
    bench.begin();
    bench.seen(others[0], &[], true).unwrap();
    bench.seen(others[1], &[], true).unwrap();
    assert_eq!(bench.alarms(), [Alarm::OtherInstance(2)]);
    assert!(!bench.engine.status().is_voting());
    bench.forget();
    bench.wait(29_999);
    let hello = |message: &Message| matches!(message, Message::Hello(_));
    assert!(!bench.sent.iter().any(hello));
    bench.wait(1);
    assert!(bench.sent.iter().any(hello), "asks again");
}

#[test]
fn a_starting_node_is_told_its_votes_and_whether_it_lives_elsewhere() {
    let mut bench = Bench::follower();
    let from = bench.others()[0];
    let votes: [(VoteKind, u64, BlockRef); 3] = [
        (Notarize, 1, A),
        (Nullify, 1, NO_BLOCK),
        (Nullify, 2, NO_BLOCK),
    ];
    for (kind, view, block) in votes {
        bench.vote(from, kind, view, block).unwrap();
    }
    let ask = |bench: &mut Bench, instance| {
        bench.pass(150);
        bench.forget();
        let hello = Hello { instance, nonce: 3 };
        bench.deliver(from, Message::Hello(hello)).unwrap();
        let seen = bench.sent.iter().find_map(|message| match message {
            Message::Seen(seen) => Some(seen.clone()),
            _ => None,
        });
        seen.expect("an answer")
    };
    let seen = ask(&mut bench, 1);
    let told: Vec<_> = seen.votes.iter().map(|v| (v.kind, v.view.0)).collect();
    assert_eq!(
        (seen.nonce, told),
        (3, [(Notarize, 1), (Nullify, 2)].to_vec())
    );
    assert!(!seen.other_instance);
    assert!(ask(&mut bench, 2).other_instance, "1 was heard just now");
    bench.pass(6_001);
    assert!(!ask(&mut bench, 2).other_instance);
    assert!(ask(&mut bench, 1).other_instance);
    bench.give(Event::PeerDown { peer: peer(from) });
    assert!(!ask(&mut bench, 5).other_instance, "a restart in between");
}

/// A validator that has voted for two blocks of a view; the second one.
fn contradicted() -> (Bench, u16, BlockRef) {
    let mut bench = Bench::follower();
    let signer = bench.others()[0];
    bench.vote(signer, Notarize, 1, A).unwrap();
    let other = BlockRef {
        height: Height(2),
        ..A
    };
    bench.vote(signer, Notarize, 1, other).unwrap();
    (bench, signer, other)
}

#[test]
fn evidence_comes_out_again_after_a_restart_and_not_twice_in_one_process() {
    let (bench, signer, other) = contradicted();
    let mut bench = restarted(bench.records);
    bench.begin();
    let is_evidence = |output: &&Output| matches!(output, Output::Evidence { .. });
    let count = |bench: &Bench| bench.outputs.iter().filter(is_evidence).count();
    assert_eq!(count(&bench), 1, "the pool that it waited in is gone");
    bench.vote(signer, Notarize, 1, A).unwrap();
    assert!(bench.vote(signer, Notarize, 1, other).is_err());
    assert_eq!(count(&bench), 1);
}

/// Found by seed 3,287,546: each start from a journal whose pruning was cut off doubled the evidence in it.
#[test]
fn evidence_that_the_journal_holds_twice_is_kept_once() {
    let (bench, ..) = contradicted();
    let needed = bench.engine.snapshot().unwrap();
    let half_pruned = [bench.records, needed].concat();
    let mut restarted = restarted(half_pruned);
    restarted.begin();
    let is_evidence = |record: &&Record| matches!(record, Record::Evidence { .. });
    let needed = restarted.engine.snapshot().unwrap();
    assert_eq!(needed.iter().filter(is_evidence).count(), 1);
}
