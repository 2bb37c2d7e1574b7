//! R1: when a leader proposes, and on what.

use super::bench::{Bench, Make, NO_BLOCK, tip};
use super::fixture;
use crate::event::{Event, Verdict};
use crate::message::Message;
use crate::output::{Alarm, Output};
use alloc::vec::Vec;
use ledger::header::Flags;
use ledger::id::View;
use ledger::vote::VoteKind::{Finalize, Notarize, Nullify};

/// Answers the last Build with a block of one item.
fn build(bench: &mut Bench) -> ledger::header::BlockRef {
    let request = *bench.builds.last().expect("a Build");
    let mut block = fixture::block(
        &bench.epoch,
        &request.parent,
        request.view.0,
        request.time_ms.0,
        &[9],
    );
    block.header.flags = request.flags;
    let named = block.block_ref();
    bench.give(Event::ProposalReady {
        view: request.view,
        block,
    });
    named
}

#[test]
fn r1_a_leader_with_work_proposes_once() {
    let mut bench = Bench::leader();
    bench.work(1);
    assert_eq!(bench.builds.len(), 1);
    let block = build(&mut bench);
    assert_eq!(bench.proposals().len(), 1);
    assert_eq!(bench.votes(), [(Notarize, 1, block)]);
    bench.work(2);
    bench.wait(100);
    assert_eq!((bench.builds.len(), bench.proposals().len()), (1, 1));
}

#[test]
fn r1_nobody_proposes_without_work_or_out_of_turn() {
    let mut bench = Bench::leader();
    bench.wait(10_000);
    assert!(bench.builds.is_empty());
    let mut bench = Bench::follower();
    bench.work(1);
    assert!(bench.builds.is_empty());
}

#[test]
fn r1_the_proposal_shows_why_views_were_skipped() {
    let mut bench = Make::leader_of(3).run();
    bench.nullified(1);
    bench.nullified(2);
    bench.work(1);
    build(&mut bench);
    let proposal = bench.proposals()[0];
    assert_eq!((proposal.view, proposal.parent_view), (View(3), View(0)));
    let shown: Vec<_> = proposal.justification.iter().map(|c| c.view().0).collect();
    assert_eq!(shown, [2, 1]);
}

#[test]
fn r1_nothing_is_proposed_over_a_gap() {
    let mut bench = Make::leader_of(3).run();
    bench.nullified(2);
    bench.work(1);
    assert_eq!(bench.view(), 3);
    assert!(
        bench.builds.is_empty(),
        "view 1 is not known to be nullified"
    );
    let asked = bench
        .sent
        .iter()
        .any(|message| matches!(message, Message::CertReq(request) if request.to == View(1)));
    assert!(asked, "the gap is asked about at once");
    bench.nullified(1);
    assert_eq!(bench.builds.len(), 1);
}

#[test]
fn r1_an_unfinalized_tip_is_proposed_again_after_four_deltas() {
    let mut bench = Make::leader_of(2).run();
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    bench.forget();
    bench.wait(599);
    assert!(bench.proposals().is_empty());
    bench.wait(1);
    let proposal = bench.proposals()[0];
    assert_eq!(proposal.block.block_ref(), block.block_ref());
    assert_eq!((proposal.view, proposal.parent_view), (View(2), View(1)));
    // Had it become final, there would be nothing to propose.
    let mut bench = Make::leader_of(2).run();
    let block = bench.notarized(1, 0, &anchor);
    bench.certificate(Finalize, 1, block.block_ref());
    bench.forget();
    bench.wait(10_000);
    assert!(bench.proposals().is_empty());
}

#[test]
fn r1_an_empty_build_repeats_the_tip_instead_of_making_empty_blocks() {
    let mut bench = Make::leader_of(2).run();
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    bench.pass(10);
    bench.work(1);
    bench.give(Event::BuildEmpty { view: View(2) });
    assert!(bench.proposals().is_empty(), "no work is left");
    bench.wait(600);
    assert_eq!(bench.proposals()[0].block.block_ref(), block.block_ref());
}

#[test]
fn r1_deeper_than_eight_the_tip_is_proposed_again() {
    let mut bench = Make::leader_of(10).run();
    let mut parent = bench.anchor();
    for view in 1..=9 {
        // In views 2 and 6 it is this validator's own turn; their blocks come from the certificate's signers.
        let block = bench.block(&parent, view);
        if bench.leads(view) == bench.me {
            bench.certificate(Notarize, view, block.block_ref());
            bench.wait(100);
            bench
                .deliver(bench.others()[0], Message::Block(block.clone()))
                .unwrap();
        } else {
            bench.propose(view, view - 1, &block, Vec::new()).unwrap();
            bench.certificate(Notarize, view, block.block_ref());
        }
        parent = tip(&block);
    }
    bench.forget();
    bench.wait(20);
    bench.work(1);
    assert!(bench.builds.is_empty());
    assert_eq!(bench.proposals()[0].block.block_ref(), parent.block);
}

#[test]
fn r1_what_could_be_included_on_the_old_head_says_nothing_of_the_new_one() {
    let mut bench = Make::leader_of(2).run();
    bench.verdict = None;
    bench.work(1);
    bench.includable = 0;
    let block = bench.block(&bench.anchor(), 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    let leader = bench.leads(1);
    let third = bench.others().into_iter().find(|other| *other != leader);
    bench
        .vote(third.unwrap(), Notarize, 1, block.block_ref())
        .unwrap();
    bench.pass(100);
    // Its own vote completes the quorum: the view, the parent and so the head change within this event.
    bench.give(Event::BlockValidated {
        block: block.hash(),
        verdict: Verdict::Valid,
    });
    assert_eq!(bench.view(), 2);
    assert!(bench.builds.is_empty());
}

#[test]
fn r1_a_child_waits_until_its_parent_is_old_enough() {
    let mut bench = Make::leader_of(2).run();
    bench.includable = 1;
    let anchor = bench.anchor();
    bench.notarized(1, 0, &anchor);
    assert!(bench.builds.is_empty());
    bench.wait(9);
    assert!(bench.builds.is_empty());
    bench.wait(1);
    assert_eq!(bench.builds.len(), 1);
}

#[test]
fn r1_a_block_that_was_not_asked_for_so_is_refused() {
    let mut bench = Bench::leader();
    bench.work(1);
    let request = bench.builds[0];
    let block = fixture::block(&bench.epoch, &request.parent, 1, 5, &[1]);
    bench.give(Event::ProposalReady {
        view: View(1),
        block,
    });
    assert!(bench.proposals().is_empty());
    assert!(matches!(bench.alarms()[..], [Alarm::Contract(_)]));
}

#[test]
fn r1_a_late_build_is_dropped() {
    let mut bench = Bench::leader();
    bench.work(1);
    bench.nullified(1);
    build(&mut bench);
    assert!(bench.proposals().is_empty() && bench.alarms().is_empty());
}

#[test]
fn r1_a_clock_that_is_off_does_not_date_blocks() {
    let mut bench = Bench::leader();
    for other in bench.others() {
        let peer = super::bench::peer(other);
        bench.give(Event::RoundTrip { peer, rtt_ms: 0 });
        let mut status = bench.status_of(other);
        status.wall = status.wall.saturating_add(600);
        bench.deliver(other, Message::Status(status)).unwrap();
    }
    assert_eq!(bench.alarms(), [Alarm::Clock(600)]);
    bench.work(1);
    assert!(bench.builds.is_empty());
    assert_eq!(bench.votes(), [(Nullify, 1, NO_BLOCK)], "R3(f)");
    // From more failed views than f on, every leader proposes.
    for view in 1..=4 {
        bench.nullified(view);
    }
    assert_eq!(bench.builds.len(), 1);
}

#[test]
fn a_seal_block_is_only_repeated_and_ends_the_epoch() {
    let mut bench = Make::leader_of(2).run();
    bench.includable = 1;
    let anchor = bench.anchor();
    let mut seal = bench.block(&anchor, 1);
    seal.header.flags = Flags::SEAL;
    bench.propose(1, 0, &seal, Vec::new()).unwrap();
    bench.certificate(Notarize, 1, seal.block_ref());
    bench.wait(20);
    assert!(bench.builds.is_empty());
    assert_eq!(bench.proposals()[0].block.block_ref(), seal.block_ref());
    bench.certificate(Finalize, 1, seal.block_ref());
    assert_eq!(bench.commits(), [seal.block_ref()]);
    let sealed = bench
        .outputs
        .iter()
        .any(|output| matches!(output, Output::Sealed(sealed) if *sealed == tip(&seal)));
    assert!(sealed && !bench.engine.status().is_voting());
    bench.forget();
    bench.work(1);
    bench.wait(10_000);
    assert!(bench.votes().is_empty());
}

#[test]
fn an_anchor_block_is_due_when_the_tip_is_old() {
    let rules = crate::config::Rules {
        anchor_interval_ms: 2_000_000,
        ..crate::config::Rules::default()
    };
    let mut make = Make::leader_of(1);
    make.config = crate::config::Config::new(rules, crate::config::Timing::default()).unwrap();
    let mut bench = make.run();
    bench.wait(999_999);
    assert!(bench.builds.is_empty());
    bench.wait(1);
    assert!(bench.builds[0].flags.is_anchor());
}
