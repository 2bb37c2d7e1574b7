//! A key without its journal: quarantine, the questions, the answers and their guard, the floor.

use super::bench::{Bench, Make, NO_BLOCK, epoch, peer, tip};
use super::cluster::{Cluster, SEAL};
use super::fixture;
use crate::engine::Standing;
use crate::epoch::EpochInfo;
use crate::event::Event;
use crate::journal::{JournalState, Record};
use crate::message::{Message, RejoinReq, RejoinResp};
use crate::output::Alarm;
use crate::verify::Dropped;
use alloc::boxed::Box;
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::id::{Epoch, View};
use ledger::vote::VoteKind::{self, Finalize, Notarize, Nullify};

const ALL: [u16; 4] = [0, 1, 2, 3];

/// A node without its journal, connected, and through the start check.
fn lost() -> Bench {
    let mut make = Make::leader_of(4);
    make.journal = JournalState::Lost;
    let mut bench = make.recover().unwrap();
    bench.begin();
    for other in &bench.others()[..2] {
        bench.seen(*other, &[], false).unwrap();
    }
    bench
}

/// A member proves that it is in the view behind this certificate; without one, in view 1.
fn proves(bench: &mut Bench, from: u16, entry: Option<Certificate>) -> Result<(), Dropped> {
    let answer = RejoinResp {
        nonce: bench.engine.rejoin_nonce(),
        epoch: bench.engine.status().epoch,
        entry,
    };
    bench.deliver(from, Message::RejoinResp(answer))
}

fn floors(records: &[Record]) -> Vec<(Epoch, u64)> {
    let floors = records.iter().filter_map(|record| match record {
        Record::Floor { epoch, view, .. } => Some((*epoch, view.0)),
        _ => None,
    });
    floors.collect()
}

/// Asks, a moment after the last question; the answer.
fn ask(bench: &mut Bench, from: u16) -> Option<RejoinResp> {
    let epoch = bench.engine.status().epoch;
    bench.pass(150);
    bench.forget();
    let request = RejoinReq { nonce: 5, epoch };
    bench.deliver(from, Message::RejoinReq(request)).unwrap();
    bench.sent.iter().find_map(|message| match message {
        Message::RejoinResp(answer) => Some(answer.clone()),
        _ => None,
    })
}

#[test]
fn a_lost_journal_asks_and_votes_again_two_views_above_what_q_others_prove() {
    let mut bench = lost();
    assert_eq!(bench.alarms(), [Alarm::Quarantine]);
    let asked = |m: &&Message| matches!(m, Message::RejoinReq(_));
    assert!(bench.sent.iter().filter(asked).count() >= 3);
    let others = bench.others();
    let entry = bench.make(Nullify, 4, NO_BLOCK);
    proves(&mut bench, others[0], None).unwrap();
    proves(&mut bench, others[1], Some(entry)).unwrap();
    proves(&mut bench, others[1], None).unwrap();
    let standing = Standing::Quarantine { answers: 2 };
    assert_eq!(bench.engine.status().standing, standing);
    assert!(floors(&bench.records).is_empty(), "two are no quorum");
    proves(&mut bench, others[2], None).unwrap();
    assert_eq!(floors(&bench.records), [(Epoch(0), 7)]);
    let standing = Standing::BelowFloor(View(7));
    assert_eq!(bench.engine.status().standing, standing);
    // Nothing below the floor, whatever happens there; then all as ever.
    bench.work(1);
    bench.wait(2_000);
    bench.nullified(5);
    bench.wait(3_000);
    assert!(bench.votes().is_empty());
    bench.nullified(6);
    assert!(bench.engine.status().is_voting());
    bench.wait(4_000);
    assert_eq!(bench.votes()[0], (Nullify, 7, NO_BLOCK));
}

#[test]
fn a_leader_below_its_floor_builds_nothing() {
    let mut make = Make::leader_of(1);
    make.journal = JournalState::Lost;
    let mut bench = make.recover().unwrap();
    bench.begin();
    for other in bench.others() {
        bench.seen(other, &[], false).unwrap_or_default();
        proves(&mut bench, other, None).unwrap();
    }
    let standing = Standing::BelowFloor(View(3));
    assert_eq!(bench.engine.status().standing, standing);
    bench.work(1);
    bench.wait(20);
    assert!(bench.builds.is_empty());
}

#[test]
fn answers_that_were_not_asked_for_or_prove_nothing_do_not_count() {
    let mut bench = lost();
    let others = bench.others();
    let answer = RejoinResp {
        nonce: bench.engine.rejoin_nonce().wrapping_add(1),
        epoch: Epoch(0),
        entry: None,
    };
    let refused = bench.deliver(others[0], Message::RejoinResp(answer));
    assert_eq!(refused, Err(Dropped::Unasked));
    bench.give(Event::PeerUp { peer: peer(9) });
    assert_eq!(proves(&mut bench, 9, None), Err(Dropped::Stranger));
    let mut voting = Bench::follower();
    let refused = proves(&mut voting, others[0], None);
    assert_eq!(refused, Err(Dropped::Unasked), "no quarantine");
}

#[test]
fn quarantine_and_floor_survive_restarts_and_pruning() {
    let mut bench = lost();
    let again = |records: Vec<Record>| {
        let mut make = Make::leader_of(4);
        make.journal = JournalState::Intact;
        make.records = records;
        make.recover().unwrap()
    };
    for records in [bench.records.clone(), bench.engine.snapshot().unwrap()] {
        let mut again = again(records);
        again.begin();
        let standing = Standing::Quarantine { answers: 0 };
        assert_eq!(again.engine.status().standing, standing);
    }
    for other in bench.others() {
        proves(&mut bench, other, None).unwrap();
    }
    for mut records in [bench.records.clone(), bench.engine.snapshot().unwrap()] {
        // Found by seed 3,340,673: a journal pruned twice, each time before a start, had no floor any more.
        for _ in 0..3 {
            assert_eq!(floors(&records), [(Epoch(0), 3)]);
            let mut again = again(records);
            again.begin();
            for other in &again.others()[..2] {
                again.seen(*other, &[], false).unwrap();
            }
            let standing = Standing::BelowFloor(View(3));
            assert_eq!(again.engine.status().standing, standing);
            records = again.engine.snapshot().unwrap();
        }
    }
    // Lost once more: the old floor ends the old quarantine only.
    let mut make = Make::leader_of(4);
    make.journal = JournalState::Lost;
    make.records = bench.engine.snapshot().unwrap();
    let mut bench = make.recover().unwrap();
    bench.begin();
    let mut records = bench.records.clone();
    records.extend(bench.engine.snapshot().unwrap());
    assert_eq!(floors(&records), [(Epoch(0), 3)], "it binds all the same");
    records.reverse();
    let mut bench = again(records);
    bench.begin();
    let standing = Standing::Quarantine { answers: 0 };
    assert_eq!(bench.engine.status().standing, standing);
}

#[test]
fn an_old_copy_is_found_by_the_start_check_and_rejoins() {
    let mut make = Make::leader_of(4);
    make.journal = JournalState::Intact;
    let mut bench = make.recover().unwrap();
    bench.begin();
    let forgotten = fixture::vote(&epoch(), bench.me, Nullify, 3, NO_BLOCK);
    let others = bench.others();
    bench.seen(others[0], &[forgotten], false).unwrap();
    let asked = |m: &&Message| matches!(m, Message::RejoinReq(_));
    assert_eq!(bench.sent.iter().filter(asked).count(), 3);
    let entry = bench.make(Nullify, 3, NO_BLOCK);
    for other in &others {
        proves(&mut bench, *other, Some(entry.clone())).unwrap();
    }
    assert_eq!(floors(&bench.records), [(Epoch(0), 6)]);
    // The same vote again is below the floor: no reason for a second round.
    bench.seen(others[1], &[forgotten], false).unwrap();
    let standing = Standing::BelowFloor(View(6));
    assert_eq!(bench.engine.status().standing, standing);
}

#[test]
fn an_answer_proves_the_view_by_its_entry_certificate() {
    let mut bench = Bench::follower();
    let from = bench.others()[0];
    assert_eq!(ask(&mut bench, from).unwrap().entry, None, "view 1");
    bench.nullified(1);
    bench.nullified(2);
    let answer = ask(&mut bench, from).unwrap();
    let entry = answer.entry.unwrap();
    assert_eq!((answer.nonce, answer.epoch), (5, Epoch(0)));
    assert_eq!((entry.kind(), entry.view()), (Nullify, View(2)));
    bench.forget();
    let request = RejoinReq {
        nonce: 5,
        epoch: Epoch(0),
    };
    let refused = bench.deliver(from, Message::RejoinReq(request));
    assert_eq!(refused, Err(Dropped::Rate));
}

#[test]
fn answer_guard_i_whoever_has_no_past_itself_does_not_answer() {
    let mut bench = lost();
    let others = bench.others();
    assert_eq!(ask(&mut bench, others[0]), None, "in quarantine");
    for other in &others {
        proves(&mut bench, *other, None).unwrap();
    }
    assert_eq!(ask(&mut bench, others[0]), None, "below its floor");
    bench.nullified(1);
    bench.nullified(2);
    assert!(ask(&mut bench, others[0]).is_some());
}

#[test]
fn answer_guard_ii_nobody_answers_while_the_epoch_may_have_ended() {
    let from = Bench::follower().others()[0];
    // A view of which nothing is known: its certificate is asked for.
    let mut bench = Bench::follower();
    let block = bench.block(&bench.anchor(), 2);
    bench.propose(2, 0, &block, Vec::new()).unwrap();
    bench.certificate(Notarize, 2, block.block_ref());
    let asks = |message: &Message| matches!(message, Message::CertReq(r) if r.to == View(1));
    assert!(!bench.sent.iter().any(asks), "nobody waits for it");
    assert_eq!(ask(&mut bench, from), None);
    assert!(bench.sent.iter().any(asks));
    bench.nullified(1);
    assert!(ask(&mut bench, from).is_some());
    // A notarized SEAL block that may be final somewhere, until its view is nullified.
    let mut bench = Bench::follower();
    let seal = fixture::seal(bench.block(&bench.anchor(), 1), &ALL);
    bench.certificate(Notarize, 1, seal.block_ref());
    assert_eq!(ask(&mut bench, from), None, "the block is not here");
    bench.propose(1, 0, &seal, Vec::new()).unwrap();
    assert_eq!(ask(&mut bench, from), None);
    bench.nullified(1);
    assert!(ask(&mut bench, from).is_some());
    // An ordinary one is no reason; a final SEAL block is one until the next epoch.
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    assert!(ask(&mut bench, from).is_some());
    let seal = fixture::seal(bench.block(&tip(&block), 2), &ALL);
    bench.propose(2, 1, &seal, Vec::new()).unwrap();
    bench.certificate(Finalize, 2, seal.block_ref());
    assert_eq!(ask(&mut bench, from), None);
    let spec = fixture::next_spec(&epoch(), &tip(&seal), &ALL);
    bench.give(Event::EpochOpened(Box::new(spec)));
    let answer = ask(&mut bench, from).unwrap();
    assert_eq!((answer.epoch, answer.entry), (Epoch(1), None));
}

#[test]
fn an_answered_question_moves_an_idle_chain_to_the_floor_and_no_further() {
    let mut bench = Bench::follower();
    let from = bench.others()[0];
    ask(&mut bench, from).unwrap();
    for view in 1..3 {
        bench.forget();
        bench.wait(450);
        assert_eq!(bench.votes(), [(Nullify, view, NO_BLOCK)]);
        bench.nullified(view);
    }
    bench.forget();
    bench.wait(2_000);
    assert!(bench.votes().is_empty(), "view 3 is the floor");
    // While the peer goes on asking, three times more; then not before two and a half minutes are over.
    for view in [3, 5, 7] {
        ask(&mut bench, from).unwrap();
        assert!(bench.engine.has_work(bench.now), "view {view}");
        bench.nullified(view);
        ask(&mut bench, from).unwrap();
        assert!(bench.engine.has_work(bench.now), "view {view} + 1");
        bench.nullified(view + 1);
        bench.forget();
        keep_up(&mut bench, 2_000);
        assert!(bench.votes().is_empty(), "two views each time");
    }
    ask(&mut bench, from).unwrap();
    assert!(!bench.engine.has_work(bench.now));
    bench.forget();
    keep_up(&mut bench, 2_000);
    assert!(bench.votes().is_empty());
    bench.pass(150_000);
    ask(&mut bench, from).unwrap();
    keep_up(&mut bench, 2_000);
    assert!(!bench.votes().is_empty());
}

/// Time passes, in which all others are heard.
fn keep_up(bench: &mut Bench, ms: u64) {
    for _ in 0..ms.div_euclid(500) {
        for other in bench.others() {
            bench.beat(other);
        }
        bench.wait(500);
    }
}

#[test]
fn an_escort_that_ran_out_goes_on_to_where_it_led_when_asked_again() {
    let mut bench = Bench::follower();
    let from = bench.others()[0];
    ask(&mut bench, from).unwrap();
    // Nobody else votes: after eight time-outs of 900 ms it is no work any more.
    keep_up(&mut bench, 12_000);
    assert!(!bench.engine.has_work(bench.now));
    ask(&mut bench, from).unwrap();
    assert!(bench.engine.has_work(bench.now));
    bench.nullified(1);
    assert!(bench.engine.has_work(bench.now));
    bench.nullified(2);
    assert!(
        !bench.engine.has_work(bench.now),
        "view 3, not 4, is the floor"
    );
}

/// How many questions to rejoin went out meanwhile.
fn asked_within(bench: &mut Bench, ms: u64) -> usize {
    bench.forget();
    keep_up(bench, ms);
    let asked = |message: &&Message| matches!(message, Message::RejoinReq(_));
    bench.sent.iter().filter(asked).count()
}

#[test]
fn below_its_floor_a_key_goes_on_asking_in_efforts_that_end() {
    let mut bench = lost();
    for other in bench.others() {
        proves(&mut bench, other, None).unwrap();
    }
    let standing = Standing::BelowFloor(View(3));
    assert_eq!(bench.engine.status().standing, standing);
    // Eight time-outs of 900 ms, a question to each of three in one.
    assert!((21..=30).contains(&asked_within(&mut bench, 12_000)));
    assert_eq!(
        asked_within(&mut bench, 500_000),
        0,
        "silent, for ten minutes"
    );
    assert!((21..=30).contains(&asked_within(&mut bench, 110_000)));
    // A member comes back: now it might go.
    assert_eq!(asked_within(&mut bench, 12_000), 0);
    let back = peer(bench.others()[0]);
    bench.give(Event::PeerDown { peer: back });
    bench.give(Event::PeerUp { peer: back });
    assert!((21..=30).contains(&asked_within(&mut bench, 12_000)));
    // An answer still brings its certificate, and nothing more.
    let entry = bench.make(Nullify, 1, NO_BLOCK);
    let other = bench.others()[1];
    proves(&mut bench, other, Some(entry)).unwrap();
    assert_eq!(bench.view(), 2);
    assert_eq!(floors(&bench.records).len(), 1);
    bench.nullified(2);
    assert!(bench.engine.status().is_voting());
    assert_eq!(asked_within(&mut bench, 700_000), 0);
}

#[test]
fn answers_of_an_epoch_that_is_over_do_not_count_in_the_next() {
    let mut bench = lost();
    let others = bench.others();
    proves(&mut bench, others[0], None).unwrap();
    proves(&mut bench, others[1], None).unwrap();
    let seal = fixture::seal(bench.block(&bench.anchor(), 1), &ALL);
    bench.propose(1, 0, &seal, Vec::new()).unwrap();
    bench.certificate(Finalize, 1, seal.block_ref());
    let spec = fixture::next_spec(&epoch(), &tip(&seal), &ALL);
    bench.epoch = EpochInfo::new(spec.clone());
    bench.give(Event::EpochOpened(Box::new(spec)));
    proves(&mut bench, others[2], None).unwrap();
    assert!(floors(&bench.records).is_empty());
    proves(&mut bench, others[0], None).unwrap();
    proves(&mut bench, others[1], None).unwrap();
    assert_eq!(floors(&bench.records), [(Epoch(1), 3)]);
}

/// Loses a node's journal while it is down.
fn loses_its_journal(cluster: &mut Cluster, index: usize) {
    cluster.crash(index);
    cluster.nodes[index].disk.records.clear();
}

fn has_voted_again(cluster: &mut Cluster, index: usize) {
    cluster.run_until(30_000, |cluster| cluster.nodes[index].status().is_voting());
    assert_eq!(cluster.nodes[index].alarms, [Alarm::Quarantine]);
    cluster.nodes[index].alarms.clear();
}

#[test]
fn an_idle_chain_lets_a_node_rejoin() {
    let mut cluster = Cluster::started(4);
    cluster.submit(1);
    cluster.run_for(5_000);
    loses_its_journal(&mut cluster, 2);
    cluster.start(2, JournalState::Lost);
    has_voted_again(&mut cluster, 2);
    // With another node down, its vote is needed.
    cluster.crash(0);
    cluster.submit(2);
    cluster.run_until(10_000, |cluster| cluster.has_everywhere(2));
    cluster.run_for(10_000);
    let begin = cluster.now;
    cluster.run_for(30_000);
    let quiet: Vec<VoteKind> = cluster
        .traffic_since(begin)
        .iter()
        .filter_map(|(.., message)| match message {
            Message::Vote(vote) => Some(vote.kind),
            _ => None,
        })
        .collect();
    assert!(quiet.len() <= 12, "idle again, but for a dead leader");
    cluster.check_agreement();
    assert!(cluster.nodes.iter().all(|node| node.evidence.is_empty()));
}

#[test]
fn a_node_that_lost_all_rejoins_across_a_seal() {
    // The set stays, or one member is swapped in the same step.
    for plan in [[[0, 1, 2, 3], [0, 1, 2, 3]], [[0, 1, 2, 3], [0, 1, 2, 4]]] {
        let [first, second] = &plan;
        let mut cluster = Cluster::started_with(&[first, second]);
        for item in 0..5 {
            cluster.submit(item);
            cluster.run_for(50);
        }
        cluster.crash(1);
        cluster.submit(SEAL);
        cluster.run_until(5_000, |cluster| cluster.has_everywhere(SEAL));
        // Its archive is gone too.
        cluster.nodes[1].disk = super::cluster::Disk::default();
        cluster.start(1, JournalState::Lost);
        has_voted_again(&mut cluster, 1);
        assert_eq!(cluster.nodes[1].status().epoch, Epoch(1));
        cluster.submit(9);
        cluster.run_until(5_000, |cluster| cluster.has_everywhere(9));
        cluster.check_agreement();
        assert!(cluster.nodes.iter().all(|node| node.evidence.is_empty()));
    }
}

#[test]
fn two_amnesias_in_a_row_around_a_seal() {
    for wait in 0..30 {
        let mut cluster = Cluster::started(4);
        cluster.run_for(200);
        cluster.submit(SEAL);
        cluster.run_for(wait);
        // The first forgets in the middle of the switch, the second as soon as the first votes again.
        loses_its_journal(&mut cluster, 1);
        cluster.start(1, JournalState::Lost);
        cluster.submit(SEAL);
        has_voted_again(&mut cluster, 1);
        loses_its_journal(&mut cluster, 2);
        cluster.start(2, JournalState::Lost);
        cluster.submit(SEAL);
        has_voted_again(&mut cluster, 2);
        cluster.submit(2);
        cluster.submit(SEAL + 1);
        cluster.run_until(10_000, |cluster| {
            cluster.has_everywhere(2) && cluster.has_everywhere(SEAL + 1)
        });
        cluster.submit(3);
        cluster.run_until(10_000, |cluster| cluster.has_everywhere(3));
        cluster.check_agreement();
        assert!(cluster.nodes.iter().all(|node| node.alarms.is_empty()));
        assert!(cluster.nodes.iter().all(|node| node.evidence.is_empty()));
    }
}
