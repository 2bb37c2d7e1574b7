//! From one epoch to the next: the switch, members that leave and join, crashes in between, help for those behind.

use super::bench::{Bench, Make, NO_BLOCK, epoch, peer, tip};
use super::cluster::{Cluster, SEAL};
use super::fixture::{self, Toy};
use crate::block::Block;
use crate::engine::guard::{Refused, SafetyGuard};
use crate::engine::{Archived, Standing};
use crate::epoch::{EpochInfo, EpochSpec, Sealed};
use crate::event::Event;
use crate::journal::{JournalState, Record};
use crate::message::{CertReq, Message, SyncReq, SyncResp};
use crate::outbox::Outbox;
use crate::output::{Alarm, Output};
use crate::verify::{Dropped, Offence};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::id::{Epoch, Height, View};
use ledger::vote::VoteKind::{Finalize, Notarize, Nullify};

const ALL: [u16; 4] = [0, 1, 2, 3];

/// A bench whose first epoch has ended in view 1, and the SEAL block with its finalization.
fn sealed() -> (Bench, Block, Certificate) {
    let mut bench = Bench::follower();
    let seal = fixture::seal(bench.block(&bench.anchor(), 1), &ALL);
    bench.propose(1, 0, &seal, Vec::new()).unwrap();
    bench.certificate(Notarize, 1, seal.block_ref());
    let finalization = bench.make(Finalize, 1, seal.block_ref());
    bench.certificate(Finalize, 1, seal.block_ref());
    assert_eq!(bench.engine.status().standing, Standing::Sealed);
    (bench, seal, finalization)
}

fn spec_after(seal: &Block, members: &[u16]) -> EpochSpec {
    fixture::next_spec(&epoch(), &tip(seal), members)
}

/// The bench goes on in this epoch.
fn open(bench: &mut Bench, spec: EpochSpec) {
    bench.epoch = EpochInfo::new(spec.clone());
    bench.forget();
    bench.give(Event::EpochOpened(Box::new(spec)));
}

fn journal_of(bench: &Bench, spec: EpochSpec, seal: Option<&Block>) -> Make {
    let mut make = Make::leader_of(4);
    make.journal = JournalState::Intact;
    make.records = bench.records.clone();
    make.spec = spec;
    make.archived = seal.map(|seal| Archived {
        tip: tip(seal),
        finalization: None,
    });
    make
}

#[test]
fn a_sealed_epoch_is_followed_by_the_next_from_view_1() {
    let (mut bench, seal, _) = sealed();
    let spec = spec_after(&seal, &ALL);
    open(&mut bench, spec);
    let status = bench.engine.status();
    assert_eq!((status.epoch, status.view), (Epoch(1), View(1)));
    assert_eq!(status.standing, Standing::Voting, "no new start check");
    let started = bench.records.iter().any(|record| {
        matches!(
            record,
            Record::EpochStart {
                epoch: Epoch(1),
                ..
            }
        )
    });
    assert!(started);
    // 3.15: an ANCHOR block is due at once.
    assert!(bench.engine.run.current.armed_at.is_some());
    let mut first = bench.block(&tip(&seal), 1);
    first.header.flags = ledger::header::Flags::ANCHOR;
    bench.propose(1, 0, &first, Vec::new()).unwrap();
    assert_eq!(bench.votes(), [(Notarize, 1, first.block_ref())]);
    bench.certificate(Finalize, 1, first.block_ref());
    assert_eq!(bench.commits(), [first.block_ref()]);
}

/// A leader that lies proposes a block of the next epoch to who does not know yet that its own ends. Judged by the old
/// epoch it would be invalid for ever, and its finalization a divergence (seed 10,424,224).
#[test]
fn a_block_that_comes_before_its_epoch_is_judged_in_it() {
    let mut bench = Bench::follower();
    let old = bench.epoch.clone();
    let seal = fixture::seal(bench.block(&bench.anchor(), 1), &ALL);
    let spec = spec_after(&seal, &ALL);
    bench.epoch = EpochInfo::new(spec.clone());
    let mut next = bench.block(&tip(&seal), 1);
    next.header.flags = ledger::header::Flags::ANCHOR;
    bench.epoch = old;
    bench.propose(2, 1, &next, Vec::new()).unwrap();
    assert!(bench.engine.blocks.is_here(&next.hash()));
    bench.propose(1, 0, &seal, Vec::new()).unwrap();
    bench.certificate(Finalize, 1, seal.block_ref());
    assert_eq!(bench.engine.status().standing, Standing::Sealed);

    open(&mut bench, spec);
    bench.certificate(Finalize, 1, next.block_ref());
    assert_eq!(bench.commits(), [next.block_ref()]);
    assert_eq!(bench.engine.status().standing, Standing::Voting);
}

#[test]
fn votes_of_one_epoch_never_count_in_another() {
    let (mut bench, seal, _) = sealed();
    let old = bench.epoch.clone();
    let late = fixture::vote(&old, bench.others()[0], Nullify, 2, NO_BLOCK);
    // Checked for the old epoch, given after the switch.
    let message = Message::Vote(late);
    let from = peer(bench.others()[0]);
    let admitted = bench.engine.admit(bench.now, from, message).unwrap();
    let message = admitted.verify(&fixture::ToyCheck).unwrap();
    open(&mut bench, spec_after(&seal, &ALL));
    bench.give(Event::Message { from, message });
    let refused = bench.deliver(bench.others()[0], Message::Vote(late));
    assert_eq!(refused, Err(Dropped::Epoch));
    let counted = bench.engine.run.tally.signers(View(2), Nullify).count();
    assert_eq!(counted, 0);
}

#[test]
fn a_late_answer_of_the_epoch_before_is_no_offence_and_one_of_both_is() {
    let (mut bench, seal, _) = sealed();
    let old = bench.make(Nullify, 1, NO_BLOCK);
    open(&mut bench, spec_after(&seal, &ALL));
    // View 2 is given up, of view 1 nothing is known: somebody is asked again, in this epoch.
    bench.nullified(2);
    let asked = bench.outputs.iter().find_map(|output| match output {
        Output::Send {
            to,
            message: Message::CertReq(_),
        } => Some(*to),
        _ => None,
    });
    let asked = asked.expect("a CertReq");
    let now = bench.now;
    let mut answer = |list: &[&Certificate]| {
        let list: Vec<_> = list.iter().copied().cloned().collect();
        let message = Message::CertResp(list.try_into().unwrap());
        let admitted = bench.engine.admit(now, asked, message);
        admitted.map(|admitted| admitted.verify(&fixture::ToyCheck).map(|_| ()))
    };
    assert_eq!(answer(&[&old]), Err(Dropped::Epoch));
    let new = fixture::certificate(
        &EpochInfo::new(spec_after(&seal, &ALL)),
        &[0, 1, 2],
        Nullify,
        1,
        NO_BLOCK,
    );
    for both in [[&old, &new], [&new, &old]] {
        assert!(matches!(answer(&both), Ok(Err(Offence::Certificate(_)))));
    }
    assert_eq!(answer(&[&new]), Ok(Ok(())));
}

#[test]
fn an_epoch_opens_only_on_its_committed_seal_block() {
    let (mut bench, seal, _) = sealed();
    let right = spec_after(&seal, &ALL);
    let mut skips = right.clone();
    skips.epoch = Epoch(2);
    let mut elsewhere = right.clone();
    elsewhere.anchor = bench.anchor();
    let other_set = spec_after(&seal, &[0, 1, 2, 4]);
    for wrong in [skips, elsewhere, other_set] {
        bench.forget();
        bench.give(Event::EpochOpened(Box::new(wrong)));
        assert!(matches!(bench.alarms()[..], [Alarm::Contract(_)]));
        assert_eq!(bench.engine.status().epoch, Epoch(0));
    }
    open(&mut bench, right.clone());
    bench.give(Event::EpochOpened(Box::new(right)));
    assert!(matches!(bench.alarms()[..], [Alarm::Contract(_)]), "twice");
}

#[test]
fn r10_nothing_is_signed_in_an_epoch_that_was_left() {
    let signer = Toy(fixture::vote_key(0));
    let mut guard = SafetyGuard::new(Some(Box::new(signer)), Arc::new(epoch()));
    let mut out = Outbox::default();
    guard.nullify(View(5), &mut out).unwrap();
    let (_, seal, _) = sealed();
    let next = Arc::new(EpochInfo::new(spec_after(&seal, &ALL)));
    assert!(guard.enter(Arc::clone(&next)));
    guard.nullify(View(1), &mut out).unwrap();
    assert!(!guard.enter(Arc::new(epoch())), "never back");
    assert!(!guard.enter(next), "nor anew");
    assert_eq!(guard.nullify(View(1), &mut out), Err(Refused::Twice));
    // A journal that was in a later epoch already: the archive lags.
    let signer = Toy(fixture::vote_key(0));
    let mut guard = SafetyGuard::new(Some(Box::new(signer)), Arc::new(epoch()));
    guard.has_entered(Epoch(1));
    assert_eq!(guard.nullify(View(9), &mut out), Err(Refused::Left));
}

#[test]
fn r10_a_floor_holds_for_its_epoch_and_all_before() {
    let (_, seal, _) = sealed();
    let signer = Toy(fixture::vote_key(0));
    let mut guard = SafetyGuard::new(Some(Box::new(signer)), Arc::new(epoch()));
    let mut out = Outbox::default();
    guard.raise_floor((Epoch(1), View(4)));
    assert_eq!(guard.nullify(View(9), &mut out), Err(Refused::Past));
    guard.enter(Arc::new(EpochInfo::new(spec_after(&seal, &ALL))));
    assert_eq!(guard.nullify(View(3), &mut out), Err(Refused::Past));
    guard.nullify(View(4), &mut out).unwrap();
}

#[test]
fn a_crash_before_the_epoch_start_is_durable_opens_it_again() {
    let (bench, seal, finalization) = sealed();
    let next = spec_after(&seal, &ALL);
    // The caller knows the set already, or learns it after the start.
    let mut make = journal_of(&bench, next.clone(), Some(&seal));
    make.previous = Some(Sealed {
        spec: fixture::spec(4),
        finalization,
    });
    let mut known = make.recover().unwrap();
    known.begin();
    assert_eq!(known.engine.status().epoch, Epoch(1));
    let mut unknown = journal_of(&bench, fixture::spec(4), Some(&seal))
        .recover()
        .unwrap();
    unknown.begin();
    let asks = |output: &Output| matches!(output, Output::Sealed(end) if *end == tip(&seal));
    assert!(unknown.outputs.iter().any(asks));
    open(&mut unknown, next);
    assert_eq!(unknown.engine.status().epoch, Epoch(1));
    for bench in [&mut known, &mut unknown] {
        assert_eq!(bench.engine.status().standing, Standing::StartCheck);
        assert_eq!(bench.engine.status().view, View(1));
        let own = bench.engine.guard.newest_first().count();
        assert_eq!(
            own, 0,
            "the votes of the old epoch are no votes of this one"
        );
        bench.seen(bench.others()[0], &[], false).unwrap();
        bench.seen(bench.others()[1], &[], false).unwrap();
        assert!(bench.engine.status().is_voting());
    }
}

#[test]
fn votes_of_an_epoch_that_the_archive_has_not_reached_bind_once_it_has() {
    let (mut bench, seal, _) = sealed();
    let next = spec_after(&seal, &ALL);
    open(&mut bench, next.clone());
    bench.wait(450);
    assert_eq!(bench.votes(), [(Nullify, 1, NO_BLOCK)]);
    // The archive lost its last block, or was slower than the journal.
    let mut bench = journal_of(&bench, fixture::spec(4), None)
        .recover()
        .unwrap();
    bench.begin();
    assert_eq!(bench.commits(), [seal.block_ref()], "committed again");
    let kept = bench.engine.snapshot().unwrap();
    let later =
        |record: &Record| matches!(record, Record::OwnVote { vote, .. } if vote.epoch == Epoch(1));
    assert!(kept.iter().any(later), "a snapshot keeps what is to come");
    open(&mut bench, next);
    assert_eq!(bench.votes(), [(Nullify, 1, NO_BLOCK)], "sent again");
    for other in &bench.others()[..2] {
        bench.seen(*other, &[], false).unwrap();
    }
    bench.forget();
    let mut first = bench.block(&tip(&seal), 1);
    first.header.flags = ledger::header::Flags::ANCHOR;
    bench.propose(1, 0, &first, Vec::new()).unwrap();
    bench.certificate(Notarize, 1, first.block_ref());
    let finalized = bench.votes().iter().any(|(kind, ..)| *kind == Finalize);
    assert!(!finalized, "view 1 was given up in the former life");
}

#[test]
fn a_snapshot_holds_the_current_epoch_alone() {
    let (mut bench, seal, _) = sealed();
    open(&mut bench, spec_after(&seal, &ALL));
    bench.wait(450);
    let kept = bench.engine.snapshot().unwrap();
    let (block, votes) = (tip(&seal), bench.engine.guard.votes(View(1)));
    let expected = vec![
        Record::EpochStart {
            epoch: Epoch(1),
            set: bench.epoch.set_hash(),
            anchor: block.block.hash,
            restart: ledger::hash::Hash::ZERO,
        },
        Record::OwnVote {
            vote: votes.nullify.unwrap(),
            parent_view: None,
        },
    ];
    assert_eq!(kept, expected);
}

#[test]
fn whoever_is_still_in_the_old_epoch_gets_its_end() {
    let (mut bench, seal, finalization) = sealed();
    let from = bench.others()[0];
    let old = bench.epoch.clone();
    let mut status = bench.status_of(from);
    status.view = View(1);
    open(&mut bench, spec_after(&seal, &ALL));
    let help = Message::Certificate(finalization.clone());
    let late = fixture::vote(&old, from, Finalize, 1, seal.block_ref());
    let request = CertReq {
        epoch: Epoch(0),
        from: View(1),
        to: View(1),
    };
    let asks = [
        Message::Status(status),
        Message::Vote(late),
        Message::CertReq(request),
        Message::Certificate(finalization),
    ];
    for message in asks {
        bench.pass(150);
        bench.forget();
        bench.deliver(from, message.clone()).unwrap_or_default();
        assert!(bench.sent.iter().eq([&help]), "after {message:?}");
        bench.forget();
        bench.deliver(from, message).unwrap_or_default();
        assert!(bench.sent.is_empty(), "once per delta");
    }
    // Whoever is further behind asks for blocks, and gets them.
    let request = SyncReq {
        from: Height(1),
        max_bytes: 1_000,
    };
    bench.deliver(from, Message::SyncReq(request)).unwrap();
    let served = |output: &Output| matches!(output, Output::Serve { .. });
    assert!(bench.outputs.iter().any(served));
}

#[test]
fn a_vote_of_a_later_epoch_asks_for_help() {
    let (mut bench, seal, _) = sealed();
    open(&mut bench, spec_after(&seal, &ALL));
    let ahead = bench.epoch.clone();
    let mut behind = Bench::follower();
    let from = behind.others()[0];
    let vote = fixture::vote(&ahead, from, Nullify, 1, NO_BLOCK);
    let dropped = behind.deliver(from, Message::Vote(vote));
    assert_eq!(dropped, Err(Dropped::Epoch));
    assert!(matches!(behind.sent[..], [Message::Status(_)]));
    // Its heartbeat tells how far the chain is: blocks are asked for.
    let mut status = bench.status_of(from);
    (status.epoch, status.finalized.height) = (Epoch(1), Height(7));
    behind.deliver(from, Message::Status(status)).unwrap();
    let asks = |message: &Message| matches!(message, Message::SyncReq(_));
    assert!(behind.sent.iter().any(asks));
}

#[test]
fn an_answer_never_goes_past_a_seal_block() {
    let (bench, seal, finalization) = sealed();
    let mut next = bench.block(&tip(&seal), 1);
    next.header.epoch = Epoch(1);
    let request = SyncReq {
        from: Height(1),
        max_bytes: 1 << 20,
    };
    let certified = Some(finalization.clone());
    let frames = [(seal.clone(), certified.clone()), (next, certified)];
    let answer = SyncResp::collect(&request, frames).unwrap();
    assert!(answer.blocks.iter().eq([&seal]));
    assert_eq!(answer.certificate, finalization);
    assert!(SyncResp::collect(&request, [(seal, None)]).is_none());
}

#[test]
fn a_member_that_leaves_follows_and_serves_but_votes_no_more() {
    let mut bench = Bench::follower();
    let me = bench.me;
    let others = bench.others();
    let members = [others[0], others[1], others[2], 4];
    let seal = fixture::seal(bench.block(&bench.anchor(), 1), &members);
    bench.propose(1, 0, &seal, Vec::new()).unwrap();
    bench.certificate(Notarize, 1, seal.block_ref());
    bench.certificate(Finalize, 1, seal.block_ref());
    open(&mut bench, spec_after(&seal, &members));
    assert_eq!(bench.engine.status().standing, Standing::Observer);
    let mut first = bench.block(&tip(&seal), 1);
    first.header.flags = ledger::header::Flags::ANCHOR;
    let leader = bench.leads(1);
    let leader = members[usize::from(leader)];
    bench.give(Event::PeerUp { peer: peer(4) });
    let vote = fixture::vote_by(&bench.epoch, leader, Notarize, 1, first.block_ref());
    let proposal = crate::message::Proposal {
        view: View(1),
        parent_view: View(0),
        block: first.clone(),
        justification: ledger::codec::List::new(),
        vote,
    };
    bench.deliver(leader, Message::Proposal(proposal)).unwrap();
    let finalization =
        fixture::certificate_by(&bench.epoch, &members[..3], Finalize, 1, first.block_ref());
    bench
        .deliver(4, Message::Certificate(finalization.into_inner()))
        .unwrap();
    assert_eq!(bench.commits(), [first.block_ref()]);
    assert!(bench.votes().is_empty(), "#{me} is no member any more");
    bench.deliver(4, Message::Fetch(first.block_ref())).unwrap();
    let served = |message: &Message| matches!(message, Message::Block(_));
    assert!(bench.sent.iter().any(served));
}

/// After a while without a word from anybody: the SEAL block of view 1 that swaps its leader for validator 4, and the
/// two others that stay.
fn swapped() -> (Bench, Block, [u16; 2]) {
    let mut bench = Bench::follower();
    bench.pass(5_000);
    let mut stay = bench.others();
    stay.retain(|other| *other != bench.leads(1));
    let members = [bench.me, stay[0], stay[1], 4];
    let seal = fixture::seal(bench.block(&bench.anchor(), 1), &members);
    bench.give(Event::NextSet {
        block: seal.hash(),
        set: Box::new(fixture::set_of(&members)),
    });
    bench.propose(1, 0, &seal, Vec::new()).unwrap();
    (bench, seal, [stay[0], stay[1]])
}

#[test]
fn r2_no_vote_for_another_set_before_a_quorum_of_it_is_there() {
    let (mut bench, seal, stay) = swapped();
    assert!(
        bench.votes().is_empty(),
        "its leader leaves, and does not count"
    );
    bench.beat(stay[0]);
    assert!(bench.votes().is_empty(), "two of three");
    bench.beat(stay[1]);
    assert_eq!(bench.votes(), [(Notarize, 1, seal.block_ref())]);
}

#[test]
fn a_certified_seal_block_stands_whoever_is_there() {
    let (mut bench, seal, _) = swapped();
    bench.certificate(Notarize, 1, seal.block_ref());
    assert_eq!(bench.votes(), [(Finalize, 1, seal.block_ref())]);
}

#[test]
fn r1_a_change_whose_members_are_not_there_is_parked() {
    let mut bench = Bench::leader();
    let members = [bench.me, bench.others()[0], 4, 5];
    bench.work(1);
    let request = bench.builds[0];
    let build = |bench: &mut Bench| {
        let built = bench.block(&request.parent, 1);
        let mut seal = fixture::seal(built, &members);
        seal.header.time_ms = request.time_ms;
        bench.give(Event::NextSet {
            block: seal.hash(),
            set: Box::new(fixture::set_of(&members)),
        });
        let block = seal.clone();
        bench.give(Event::ProposalReady {
            view: View(1),
            block,
        });
        seal.hash()
    };
    let seal = build(&mut bench);
    let parked = |bench: &Bench, seal| {
        let parks = |output: &Output| matches!(output, Output::Park(hash) if *hash == seal);
        bench.outputs.iter().any(parks)
    };
    assert!(parked(&bench, seal) && bench.proposals().is_empty());
    assert_eq!(bench.builds.len(), 1, "not again until there is news");
    // Now they are there; but the others hear too few of them, and give the view up.
    for other in [bench.others()[0], 4, 5] {
        bench.give(Event::PeerUp { peer: peer(other) });
        bench.beat(other);
    }
    bench.work(1);
    bench.forget();
    let seal = build(&mut bench);
    assert_eq!(bench.proposals().len(), 1);
    assert!(!parked(&bench, seal));
    bench.nullified(1);
    assert!(parked(&bench, seal));
}

#[test]
fn a_stopped_node_signs_nothing_and_accepts_no_certificate() {
    let (mut bench, seal, _) = sealed();
    open(&mut bench, spec_after(&seal, &ALL));
    let mut make = journal_of(&bench, spec_after(&seal, &ALL), Some(&seal));
    make.records.push(Record::Stopped { epoch: Epoch(0) });
    let mut stopped = make.recover().unwrap();
    stopped.begin();
    for other in stopped.others() {
        stopped.seen(other, &[], false).unwrap_or_default();
    }
    assert_eq!(stopped.engine.status().standing, Standing::Stopped);
    stopped.certificate(Nullify, 1, NO_BLOCK);
    stopped.wait(2_000);
    assert!(stopped.votes().is_empty());
    assert_eq!(stopped.view(), 1);
    let kept = stopped.engine.snapshot().unwrap();
    assert!(kept.contains(&Record::Stopped { epoch: Epoch(1) }));
    // A restart file opens a later epoch, and ends it.
    let mut spec = spec_after(&seal, &ALL);
    (spec.epoch, spec.restart) = (Epoch(2), ledger::hash::Hash([3; 32]));
    let mut make = journal_of(&bench, spec.clone(), Some(&seal));
    let restarted = EpochInfo::new(spec);
    make.records.extend(kept);
    make.records.push(Record::EpochStart {
        epoch: Epoch(2),
        set: restarted.set_hash(),
        anchor: restarted.anchor().block.hash,
        restart: restarted.restart(),
    });
    let mut restarted = make.recover().unwrap();
    restarted.begin();
    assert_eq!(restarted.engine.status().standing, Standing::StartCheck);
}

#[test]
fn whoever_is_no_member_is_heard_only_where_it_does_no_harm() {
    let mut bench = Bench::follower();
    let status = bench.status_of(9);
    let refused = bench.deliver(9, Message::Status(status));
    assert_eq!(refused, Err(Dropped::Stranger), "not connected");
    bench.give(Event::PeerUp { peer: peer(9) });
    bench.deliver(9, Message::Status(status)).unwrap();
    let request = SyncReq {
        from: Height(0),
        max_bytes: 1_000,
    };
    bench.deliver(9, Message::SyncReq(request)).unwrap();
    let hello = crate::message::Hello {
        instance: 1,
        nonce: 1,
    };
    let refused = bench.deliver(9, Message::Hello(hello));
    assert_eq!(refused, Err(Dropped::Stranger));
    for other in 10..100 {
        bench.give(Event::PeerUp { peer: peer(other) });
    }
    assert!(bench.engine.peers.iter().count() <= 3 + 64);
    bench.give(Event::PeerDown { peer: peer(9) });
    let refused = bench.deliver(9, Message::Status(status));
    assert_eq!(refused, Err(Dropped::Stranger));
}

#[test]
fn load_goes_on_over_several_epochs_with_members_that_leave_and_join() {
    let plan: [&[u16]; 4] = [
        &[0, 1, 2, 3],
        &[1, 2, 3, 4],
        &[1, 2, 4, 5],
        &[0, 1, 2, 4, 5],
    ];
    let mut cluster = Cluster::started_with(&plan);
    for epoch in 0..4_u64 {
        for item in 0..5 {
            cluster.submit(10 * epoch + item);
            cluster.run_for(20);
        }
        cluster.submit(SEAL + epoch);
        cluster.submit(10 * epoch + 7);
        cluster.run_until(5_000, |cluster| {
            let all = cluster.has_everywhere(SEAL + epoch);
            all && cluster.has_everywhere(10 * epoch + 7)
        });
    }
    cluster.run_until(1_000, |cluster| {
        let statuses = cluster.statuses();
        statuses.iter().all(|status| status.epoch == Epoch(4))
    });
    cluster.check_agreement();
    assert!(cluster.nodes.iter().all(|node| node.alarms.is_empty()));
    assert!(cluster.nodes.iter().all(|node| node.evidence.is_empty()));
    let voting: Vec<bool> = cluster.statuses().iter().map(|s| s.is_voting()).collect();
    assert_eq!(voting, [true, true, true, false, true, true]);
}

#[test]
fn all_nodes_crash_in_the_middle_of_the_switch() {
    for wait in 0..40 {
        let plan: [&[u16]; 2] = [&[0, 1, 2, 3], &[0, 1, 2, 4]];
        let mut cluster = Cluster::started_with(&plan);
        cluster.run_for(100);
        cluster.submit(SEAL);
        cluster.run_for(wait);
        for index in 0..5 {
            cluster.crash(index);
        }
        for index in 0..5 {
            cluster.restart(index);
        }
        cluster.submit(SEAL);
        cluster.run_until(10_000, |cluster| cluster.has_everywhere(SEAL));
        cluster.submit(2);
        cluster.run_until(10_000, |cluster| cluster.has_everywhere(2));
        cluster.check_agreement();
        assert!(cluster.nodes.iter().all(|node| node.alarms.is_empty()));
        assert!(cluster.nodes.iter().all(|node| node.evidence.is_empty()));
    }
}

#[test]
fn a_node_that_slept_through_two_epochs_catches_up_and_votes() {
    let mut cluster = Cluster::started(4);
    cluster.run_for(100);
    cluster.crash(3);
    for epoch in 0..2 {
        cluster.submit(SEAL + epoch);
        cluster.run_until(5_000, |cluster| cluster.has_everywhere(SEAL + epoch));
        cluster.submit(epoch);
        cluster.run_until(5_000, |cluster| cluster.has_everywhere(epoch));
    }
    cluster.restart(3);
    cluster.run_until(10_000, |cluster| {
        let status = cluster.nodes[3].status();
        status.epoch == Epoch(2) && status.is_voting()
    });
    cluster.submit(9);
    cluster.run_until(3_000, |cluster| cluster.has_everywhere(9));
    cluster.check_agreement();
}

#[test]
fn an_idle_network_is_silent_after_the_switch() {
    let mut cluster = Cluster::started(4);
    cluster.run_for(3_000);
    cluster.submit(SEAL);
    cluster.run_for(3_000);
    let heights: Vec<u64> = cluster
        .statuses()
        .iter()
        .map(|status| status.committed.height.0)
        .collect();
    assert_eq!(heights, [2; 4], "the SEAL block and the epoch's first");
    let begin = cluster.now;
    cluster.run_for(30_000);
    assert!(cluster.traffic_since(begin).is_empty());
}
