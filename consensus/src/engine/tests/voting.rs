//! R2 to R5: Notarize, Nullify, Finalize.

use super::bench::{Bench, Make, NO_BLOCK, tip};
use super::fixture;
use crate::event::{Event, Verdict};
use crate::message::Message;
use crate::output::{Alarm, Output};
use crate::verify::{Dropped, Offence};
use alloc::vec;
use alloc::vec::Vec;
use ledger::header::Flags;
use ledger::id::View;
use ledger::vote::VoteKind::{Finalize, Notarize, Nullify};

#[test]
fn r2_a_valid_proposal_is_notarized() {
    let mut bench = Bench::follower();
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
}

#[test]
fn r2_nothing_is_notarized_before_it_is_valid() {
    let mut bench = Bench::follower();
    bench.verdict = None;
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    assert!(bench.votes().is_empty());
    bench.give(Event::BlockValidated {
        block: block.hash(),
        verdict: Verdict::Valid,
    });
    assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
}

#[test]
fn r2_a_proposal_counts_from_its_leader_alone() {
    let mut bench = Bench::follower();
    let block = bench.block(&bench.anchor(), 1);
    let message = bench.proposal(1, 0, &block, Vec::new());
    let relayed = bench.deliver(bench.leads(2), message);
    assert_eq!(relayed, Err(Dropped::NotLeader(View(1))));
    let foreign = bench.block(&bench.anchor(), 2);
    let message = bench.proposal(2, 0, &foreign, Vec::new());
    let wrong = bench.deliver(bench.leads(1), message);
    assert_eq!(wrong, Err(Dropped::NotLeader(View(2))));
    assert!(bench.votes().is_empty());
}

#[test]
fn r2_a_new_block_needs_every_view_between_nullified() {
    let mut bench = Bench::follower();
    bench.nullified(2);
    let block = bench.block(&bench.anchor(), 3);
    bench.propose(3, 0, &block, Vec::new()).unwrap();
    assert!(bench.votes().is_empty(), "view 1 is open");
    bench.nullified(1);
    assert_eq!(bench.votes(), [(Notarize, 3, block.block_ref())]);
}

#[test]
fn r2_a_repeated_block_needs_every_view_between_nullified() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    let other = bench.block(&tip(&block), 2);
    bench.certificate(Notarize, 2, other.block_ref());
    bench.forget();
    bench.propose(3, 1, &block, Vec::new()).unwrap();
    assert!(
        bench.votes().is_empty(),
        "view 2 is notarized, not nullified"
    );
    bench.nullified(2);
    assert_eq!(bench.votes(), [(Notarize, 3, block.block_ref())]);
}

#[test]
fn r2_the_justification_is_enough() {
    let mut bench = Bench::follower();
    let block = bench.block(&bench.anchor(), 3);
    let nullifications = vec![
        bench.make(Nullify, 2, NO_BLOCK),
        bench.make(Nullify, 1, NO_BLOCK),
    ];
    bench.propose(3, 0, &block, nullifications).unwrap();
    assert_eq!(bench.votes(), [(Notarize, 3, block.block_ref())]);
}

#[test]
fn r2_a_parent_must_be_notarized() {
    let mut bench = Bench::follower();
    let parent = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &parent, Vec::new()).unwrap();
    bench.nullified(1);
    bench.forget();
    let child = bench.block(&tip(&parent), 2);
    bench.propose(2, 1, &child, Vec::new()).unwrap();
    assert!(bench.votes().is_empty(), "view 1 has no notarization");
    bench.certificate(Notarize, 1, parent.block_ref());
    assert_eq!(
        bench.votes().last(),
        Some(&(Notarize, 2, child.block_ref()))
    );
}

#[test]
fn r2_notarize_is_allowed_after_the_own_nullify() {
    let mut bench = Bench::follower();
    bench.work(1);
    bench.wait(450);
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    let expected = [(Nullify, 1, NO_BLOCK), (Notarize, 1, block.block_ref())];
    assert_eq!(bench.votes(), expected);
}

#[test]
fn r2_the_time_rule_makes_wait_or_abstain_but_never_invalid() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let early = fixture::block(&bench.epoch, &anchor, 1, bench.now.wall.0 + 1_100, &[1]);
    bench.propose(1, 0, &early, Vec::new()).unwrap();
    assert!(bench.votes().is_empty());
    bench.wait(100);
    assert_eq!(bench.votes(), [(Notarize, 1, early.block_ref())]);
    let mut bench = Bench::follower();
    let late = fixture::block(&bench.epoch, &anchor, 1, bench.now.wall.0 - 5_001, &[1]);
    bench.propose(1, 0, &late, Vec::new()).unwrap();
    bench.wait(800);
    assert!(bench.votes().is_empty());
    bench.wait(100);
    assert_eq!(bench.votes()[0], (Nullify, 1, NO_BLOCK), "R3(b), not R3(e)");
}

#[test]
fn r2_nothing_new_is_accepted_on_a_seal_block() {
    let mut bench = Bench::follower();
    let mut seal = bench.block(&bench.anchor(), 1);
    seal.header.flags = Flags::SEAL;
    bench.propose(1, 0, &seal, Vec::new()).unwrap();
    bench.certificate(Notarize, 1, seal.block_ref());
    bench.forget();
    let child = bench.block(&tip(&seal), 2);
    bench.propose(2, 1, &child, Vec::new()).unwrap();
    assert_eq!(bench.votes(), [(Nullify, 2, NO_BLOCK)]);
    bench.nullified(2);
    bench.forget();
    bench.propose(3, 1, &seal, Vec::new()).unwrap();
    assert_eq!(bench.votes(), [(Notarize, 3, seal.block_ref())]);
}

#[test]
fn r3a_no_proposal_in_time() {
    let mut bench = Bench::follower();
    bench.wait(5_000);
    assert!(bench.votes().is_empty(), "not armed without work");
    bench.work(1);
    bench.wait(449);
    assert!(bench.votes().is_empty());
    bench.wait(1);
    assert_eq!(bench.votes(), [(Nullify, 1, NO_BLOCK)]);
}

#[test]
fn r3a_work_that_vanishes_disarms() {
    let mut bench = Bench::follower();
    bench.work(1);
    bench.wait(400);
    bench.work(0);
    bench.wait(400);
    bench.work(1);
    bench.wait(400);
    assert!(bench.votes().is_empty());
}

#[test]
fn r3b_no_notarization_in_time() {
    let mut bench = Bench::follower();
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    bench.wait(899);
    bench.forget();
    bench.wait(1);
    assert_eq!(bench.votes()[0], (Nullify, 1, NO_BLOCK));
}

#[test]
fn r3c_a_silent_leader_is_skipped_also_while_idle() {
    let mut bench = Bench::follower();
    let leader = bench.leads(1);
    for _ in 0..3 {
        bench.wait(2_000);
        let others = bench.others();
        for other in others.into_iter().filter(|other| *other != leader) {
            bench.beat(other);
        }
    }
    assert_eq!(bench.votes()[0], (Nullify, 1, NO_BLOCK));
    // Nobody else heard either: then it is this node that is cut off.
    let mut bench = Bench::follower();
    bench.wait(10_000);
    assert!(bench.votes().is_empty());
}

#[test]
fn r3d_the_leader_or_one_honest_validator_gives_up() {
    let mut bench = Bench::follower();
    bench.vote(bench.leads(2), Nullify, 1, NO_BLOCK).unwrap();
    assert!(bench.votes().is_empty(), "one that is not the leader");
    bench.vote(bench.leads(3), Nullify, 1, NO_BLOCK).unwrap();
    assert!(bench.votes().contains(&(Nullify, 1, NO_BLOCK)));
    let mut bench = Bench::follower();
    bench.vote(bench.leads(1), Nullify, 1, NO_BLOCK).unwrap();
    assert_eq!(bench.votes(), [(Nullify, 1, NO_BLOCK)]);
    // Not after an own Notarize.
    let mut bench = Bench::follower();
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    bench.vote(bench.leads(1), Nullify, 1, NO_BLOCK).unwrap();
    assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
}

#[test]
fn r3e_an_invalid_proposal() {
    let mut bench = Bench::follower();
    bench.verdict = Some(Verdict::Invalid);
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    assert_eq!(bench.votes(), [(Nullify, 1, NO_BLOCK)]);
    // A header that cannot be never reaches the caller.
    let mut bench = Bench::follower();
    let mut block = bench.block(&bench.anchor(), 1);
    block.header.time_ms = bench.anchor().time_ms;
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    assert_eq!(bench.votes(), [(Nullify, 1, NO_BLOCK)]);
    let asked = |output: &Output| matches!(output, Output::Validate { .. });
    assert!(!bench.outputs.iter().any(asked));
}

#[test]
fn r3f_a_leader_that_stops_gives_its_view_up() {
    let mut bench = Bench::leader();
    bench.give(Event::Stopping);
    assert_eq!(bench.votes(), [(Nullify, 1, NO_BLOCK)]);
    let mut bench = Bench::follower();
    bench.give(Event::Stopping);
    assert!(bench.votes().is_empty());
}

#[test]
fn a_wrong_body_is_fetched_from_somebody_else() {
    let mut bench = Bench::follower();
    bench.verdict = Some(Verdict::BadDelivery);
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    let fetches = |bench: &Bench| {
        let asked = bench.outputs.iter().filter_map(|output| match output {
            Output::Send {
                to,
                message: Message::Fetch(_),
            } => bench.epoch.index_of(to),
            _ => None,
        });
        asked.map(|index| index.0).collect::<Vec<_>>()
    };
    let asked = fetches(&bench);
    assert_eq!(asked.len(), 1);
    assert_ne!(asked[0], bench.leads(1));
    bench.verdict = Some(Verdict::Valid);
    let again = bench.propose(1, 0, &block, Vec::new());
    assert_eq!(again, Err(Dropped::Known), "the leader had its chance");
    let unasked = bench.deliver(bench.leads(1), Message::Block(block.clone()));
    assert_eq!(unasked, Err(Dropped::Unasked));
    bench
        .deliver(asked[0], Message::Block(block.clone()))
        .unwrap();
    assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
}

#[test]
fn a_wrong_body_is_not_taken_again_before_its_view_has_come() {
    let mut bench = Bench::follower();
    bench.verdict = Some(Verdict::BadDelivery);
    let block = bench.block(&bench.anchor(), 2);
    bench.propose(2, 0, &block, Vec::new()).unwrap();
    let again = bench.propose(2, 0, &block, Vec::new());
    assert_eq!(again, Err(Dropped::Known), "nothing is checked twice");
}

#[test]
fn r4_a_notarized_block_is_finalized() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    let named = block.block_ref();
    assert_eq!(bench.votes(), [(Notarize, 1, named), (Finalize, 1, named)]);
    assert_eq!(bench.view(), 2);
}

#[test]
fn r4_not_after_the_own_nullify() {
    let mut bench = Bench::follower();
    bench.work(1);
    bench.wait(450);
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    let finalize = (Finalize, 1, block.block_ref());
    assert!(!bench.votes().contains(&finalize));
}

#[test]
fn r4_not_once_the_view_is_nullified() {
    let mut bench = Bench::follower();
    bench.nullified(1);
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    bench.certificate(Notarize, 1, block.block_ref());
    assert!(bench.votes().is_empty());
}

#[test]
fn r4_late_when_the_block_comes_late() {
    let mut bench = Bench::follower();
    let block = bench.block(&bench.anchor(), 1);
    bench.certificate(Notarize, 1, block.block_ref());
    assert_eq!(bench.view(), 2, "view entry never waits for data");
    assert!(bench.votes().is_empty());
    bench.nullified(2);
    bench.wait(40);
    let from = bench.others()[0];
    bench.deliver(from, Message::Block(block.clone())).unwrap();
    assert_eq!(bench.votes(), [(Finalize, 1, block.block_ref())]);
}

#[test]
fn r4_a_notarized_block_that_is_invalid_here_is_a_divergence() {
    let mut bench = Bench::follower();
    bench.verdict = Some(Verdict::Invalid);
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    bench.certificate(Notarize, 1, block.block_ref());
    assert_eq!(bench.alarms(), [Alarm::Divergence(block.block_ref())]);
    assert!(!bench.engine.status().is_voting());
}

#[test]
fn r5_a_nullification_moves_on_and_a_later_notarization_still_counts() {
    let mut bench = Bench::follower();
    for signer in bench.others() {
        bench.vote(signer, Nullify, 1, NO_BLOCK).unwrap();
    }
    assert_eq!(bench.view(), 2);
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    bench.certificate(Notarize, 1, block.block_ref());
    let child = bench.block(&tip(&block), 2);
    bench.propose(2, 1, &child, Vec::new()).unwrap();
    assert!(bench.votes().contains(&(Notarize, 2, child.block_ref())));
}

#[test]
fn two_proposals_of_one_leader_are_evidence_once() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let leader = bench.leads(1);
    for item in 1..=3 {
        let block = fixture::block(&bench.epoch, &anchor, 1, bench.now.wall.0, &[item]);
        let result = bench.propose(1, 0, &block, Vec::new());
        assert_eq!(result.is_err(), item == 3);
    }
    let evidence: Vec<_> = bench
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Evidence { a, b } => Some((a.signer.0, b.signer.0)),
            _ => None,
        })
        .collect();
    assert_eq!(evidence, [(leader, leader)]);
    assert_eq!(bench.votes().len(), 1, "the first one took the slot");
    let kept =
        |record: &crate::journal::Record| matches!(record, crate::journal::Record::Evidence { .. });
    assert_eq!(
        bench.records.iter().filter(|record| kept(record)).count(),
        1
    );
}

#[test]
fn nullify_and_finalize_of_one_view_are_evidence_but_nullify_and_notarize_are_not() {
    let mut bench = Bench::follower();
    let block = bench.block(&bench.anchor(), 1).block_ref();
    let signer = bench.leads(2);
    bench.vote(signer, Notarize, 1, block).unwrap();
    bench.vote(signer, Nullify, 1, NO_BLOCK).unwrap();
    let is_evidence = |output: &Output| matches!(output, Output::Evidence { .. });
    assert!(!bench.outputs.iter().any(is_evidence));
    bench.vote(signer, Finalize, 1, block).unwrap();
    assert!(bench.outputs.iter().any(is_evidence));
}

#[test]
fn a_proposal_that_contradicts_itself_is_an_offence() {
    let mut bench = Bench::follower();
    let block = bench.block(&bench.anchor(), 1);
    let Message::Proposal(mut proposal) = bench.proposal(1, 0, &block, Vec::new()) else {
        unreachable!()
    };
    proposal.block.header.time_ms = proposal.block.header.time_ms.saturating_add(1);
    let leader = bench.leads(1);
    assert!(bench.deliver(leader, Message::Proposal(proposal)).is_err());
    let banned = bench.outputs.iter().any(|output| {
        matches!(output, Output::Ban { offence: Offence::Proposal(view), .. } if *view == View(1))
    });
    assert!(banned);
}

#[test]
fn backoff_grows_with_views_since_the_last_finalization() {
    // f = 1: from the second failed view on, 3Δ grows by half each view, up to the cap of 3 · 2,400.
    let expected = [(1, 450), (2, 450), (3, 675), (4, 1_011), (20, 7_200)];
    for (view, limit) in expected {
        let mut bench = Make::leader_of(view + 1).run();
        for skipped in 1..view {
            bench.nullified(skipped);
        }
        bench.forget();
        bench.work(1);
        bench.wait(limit - 5);
        let given_up = |bench: &Bench| bench.votes().iter().any(|vote| vote.0 == Nullify);
        assert!(!given_up(&bench), "view {view}");
        bench.wait(5);
        assert!(given_up(&bench), "view {view}");
    }
}

#[test]
fn r5_a_chain_goes_on_after_however_many_views_that_were_given_up() {
    const HELD: u64 = crate::engine::certificates::MAX_HELD as u64;
    let mut bench = Bench::follower();
    let signers = bench.others();
    for view in 1..=HELD + 9 {
        let given_up = fixture::certificate(&bench.epoch, &signers, Nullify, view, NO_BLOCK);
        bench.engine.accept(bench.now, given_up);
        if view.is_multiple_of(1_000) {
            bench.give(Event::Tick);
            bench.forget();
            bench.records.clear();
        }
    }
    bench.give(Event::Tick);
    let view = HELD + 10;
    assert_eq!(bench.view(), view);
    // What was dropped stays known here: a block may build on the anchor.
    let block = bench.block(&bench.anchor(), view);
    bench.forget();
    bench.propose(view, 0, &block, Vec::new()).unwrap();
    bench.certificate(Notarize, view, block.block_ref());
    let votes = [
        (Notarize, view, block.block_ref()),
        (Finalize, view, block.block_ref()),
    ];
    assert_eq!(bench.votes(), votes);
    // It comes again, and is older than all that is held.
    bench.nullified(1);
    assert_eq!(bench.engine.run.certificates.of_view(View(1)).count(), 0);
    bench.certificate(Finalize, view, block.block_ref());
    assert_eq!(bench.commits(), [block.block_ref()]);
}
