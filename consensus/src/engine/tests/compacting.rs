//! Compact proposals: what a leader sends, how a receiver puts the body together, and what a lying leader costs.

use super::bench::{Bench, Make};
use super::cluster::Cluster;
use super::fixture;
use crate::block::Block;
use crate::config::Compaction;
use crate::event::{Event, Verdict};
use crate::items::{Item, MAX_ITEMS, Positions, id_of};
use crate::message::{BodyItems, BodyReq, CompactProposal, Message};
use crate::output::Output;
use crate::verify::Dropped;
use alloc::vec;
use alloc::vec::Vec;
use ledger::hash::ItemId;
use ledger::id::{ValidatorIndex, View};
use ledger::vote::VoteKind::{Finalize, Notarize};

/// Bodies of over two items are compact.
const SMALL: Compaction = Compaction {
    above_members: 10,
    above_bytes: 16,
};

/// Leads `view`, with compact proposals.
fn bench_of(view: u64) -> Bench {
    let mut make = Make::leader_of(view);
    make.config = make.config.with_compaction(SMALL);
    make.run()
}

/// A block of view 1 with these items.
fn block_of(bench: &Bench, items: &[u64]) -> Block {
    let anchor = bench.anchor();
    fixture::block(&bench.epoch, &anchor, 1, bench.now.wall.0, items)
}

fn item(number: u64) -> Item {
    Item::from(&number.to_le_bytes()[..])
}

fn ids(items: &[u64]) -> Vec<ItemId> {
    items.iter().map(|number| item(*number).id()).collect()
}

/// The leader of view 1 proposes a block by these ids.
fn compact(bench: &Bench, block: &Block, ids: Vec<ItemId>) -> Message {
    let vote = fixture::vote(&bench.epoch, bench.leads(1), Notarize, 1, block.block_ref());
    Message::CompactProposal(CompactProposal {
        view: View(1),
        parent_view: View(0),
        header: block.header.clone(),
        ids: ids.try_into().unwrap(),
        justification: Default::default(),
        vote,
    })
}

fn propose(bench: &mut Bench, block: &Block, ids: Vec<ItemId>) -> Result<(), Dropped> {
    let message = compact(bench, block, ids);
    bench.deliver(bench.leads(1), message)
}

/// The pool holds these.
fn gathered(bench: &mut Bench, block: &Block, held: &[Option<u64>]) {
    let items = held.iter().map(|held| held.map(item)).collect();
    let block = block.hash();
    bench.give(Event::Gathered { block, items });
}

fn answer(bench: &mut Bench, from: u16, block: &Block, items: &[u64]) -> Result<(), Dropped> {
    let items: Vec<Item> = items.iter().map(|number| item(*number)).collect();
    let items = items.try_into().unwrap();
    let block = block.block_ref();
    bench.deliver(from, Message::BodyItems(BodyItems { block, items }))
}

/// What was asked of whom: positions of items, or nothing for the whole block.
fn asked(bench: &Bench, count: usize) -> Vec<(u16, Vec<usize>)> {
    let sent = bench.outputs.iter().filter_map(|output| match output {
        Output::Send { to, message } => {
            let ValidatorIndex(to) = bench.epoch.index_of(to)?;
            match message {
                Message::BodyReq(request) => Some((to, request.missing.among(count)?)),
                Message::Fetch(_) => Some((to, Vec::new())),
                _ => None,
            }
        }
        _ => None,
    });
    sent.collect()
}

fn gathers(bench: &Bench) -> usize {
    let outputs = bench.outputs.iter();
    outputs
        .filter(|output| matches!(output, Output::Gather { .. }))
        .count()
}

#[test]
fn a_large_body_is_proposed_by_the_ids_of_its_items_and_a_small_one_whole() {
    for (items, is_compact) in [(&[1, 2][..], false), (&[1, 2, 3], true)] {
        let mut bench = bench_of(1);
        bench.work(1);
        let request = bench.builds[0];
        let time = request.time_ms.0;
        let block = fixture::block(&bench.epoch, &request.parent, 1, time, items);
        let view = View(1);
        bench.give(Event::ProposalReady {
            view,
            block: block.clone(),
        });
        let compact = bench.sent.iter().find_map(|message| match message {
            Message::CompactProposal(proposal) => Some(proposal.clone()),
            _ => None,
        });
        assert_eq!(compact.is_some(), is_compact);
        assert_eq!(bench.proposals().len(), usize::from(!is_compact));
        if let Some(proposal) = compact {
            assert_eq!(proposal.header, block.header);
            assert_eq!(*proposal.ids, ids(items));
            assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
        }
    }
}

#[test]
fn r8_a_compact_proposal_is_sent_again_as_such_also_after_a_restart() {
    let mut bench = bench_of(1);
    bench.work(1);
    let time = bench.builds[0].time_ms.0;
    let block = fixture::block(&bench.epoch, &bench.anchor(), 1, time, &[1, 2, 3]);
    let view = View(1);
    bench.give(Event::ProposalReady { view, block });
    let mut make = Make::leader_of(1);
    make.config = make.config.with_compaction(SMALL);
    make.journal = crate::journal::JournalState::Intact;
    make.records = bench.records.clone();
    let mut bench = make.run();
    bench.wait(900);
    let again = bench.sent.iter();
    let again = again.filter(|message| matches!(message, Message::CompactProposal(_)));
    assert_eq!(again.count(), 3, "one to each of the others");
    assert!(bench.proposals().is_empty());
}

#[test]
fn a_body_of_what_the_pool_holds_is_voted_for_without_a_question() {
    let mut bench = bench_of(4);
    let block = block_of(&bench, &[1, 2, 3]);
    propose(&mut bench, &block, ids(&[1, 2, 3])).unwrap();
    let gather = bench.outputs.iter().find_map(|output| match output {
        Output::Gather { block, ids, bytes } => Some((*block, ids.clone(), *bytes)),
        _ => None,
    });
    assert_eq!(gather, Some((block.hash(), ids(&[1, 2, 3]), 24)));
    assert!(asked(&bench, 3).is_empty(), "the pool is asked first");
    gathered(&mut bench, &block, &[Some(1), Some(2), Some(3)]);
    assert!(asked(&bench, 3).is_empty());
    assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
    assert_eq!(bench.engine.block(&block.block_ref()), Some(&block));
}

#[test]
fn what_is_missing_is_asked_of_the_leader_once() {
    let mut bench = bench_of(4);
    let leader = bench.leads(1);
    let block = block_of(&bench, &[1, 2, 3, 4]);
    propose(&mut bench, &block, ids(&[1, 2, 3, 4])).unwrap();
    gathered(&mut bench, &block, &[Some(1), None, Some(3), None]);
    assert_eq!(asked(&bench, 4), [(leader, vec![1, 3])]);
    bench.wait(299);
    assert_eq!(asked(&bench, 4).len(), 1, "one round");
    let other = bench.others().into_iter().find(|one| *one != leader);
    let unasked = answer(&mut bench, other.unwrap(), &block, &[2, 4]);
    assert_eq!(unasked, Err(Dropped::Unasked));
    answer(&mut bench, leader, &block, &[2, 4]).unwrap();
    assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
    let late = answer(&mut bench, leader, &block, &[2, 4]);
    assert_eq!(late, Err(Dropped::Unasked));
}

#[test]
fn without_an_answer_the_whole_block_is_fetched_and_a_late_answer_counts() {
    let mut bench = bench_of(4);
    let leader = bench.leads(1);
    let block = block_of(&bench, &[1, 2, 3]);
    propose(&mut bench, &block, ids(&[1, 2, 3])).unwrap();
    gathered(&mut bench, &block, &[None, Some(2), Some(3)]);
    bench.forget();
    bench.wait(300);
    assert_eq!(asked(&bench, 3), [(leader, vec![])], "first its proposer");
    bench.wait(300);
    assert_eq!(asked(&bench, 3).len(), 2);
    assert_ne!(asked(&bench, 3)[1].0, leader, "then others");
    let again = propose(&mut bench, &block, ids(&[1, 2, 3]));
    assert_eq!(again, Err(Dropped::Known), "its ids had their chance");
    answer(&mut bench, leader, &block, &[1]).unwrap();
    assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
}

#[test]
fn a_pool_that_does_not_answer_holds_nothing_up() {
    let mut bench = bench_of(4);
    let block = block_of(&bench, &[1, 2, 3]);
    propose(&mut bench, &block, ids(&[1, 2, 3])).unwrap();
    bench.wait(300);
    assert_eq!(asked(&bench, 3), [(bench.leads(1), vec![])]);
    bench
        .deliver(bench.leads(1), Message::Block(block.clone()))
        .unwrap();
    assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
    gathered(&mut bench, &block, &[None, None, None]);
    assert_eq!(asked(&bench, 3).len(), 1, "the block is here");
}

#[test]
fn items_that_do_not_fit_cost_one_question_and_the_block_is_fetched() {
    for wrong in [&[9][..], &[], &[2], &[1, 9]] {
        let mut bench = bench_of(4);
        let leader = bench.leads(1);
        let block = block_of(&bench, &[1, 2, 3]);
        propose(&mut bench, &block, ids(&[1, 2, 3])).unwrap();
        gathered(&mut bench, &block, &[None, Some(2), Some(3)]);
        bench.forget();
        answer(&mut bench, leader, &block, wrong).unwrap();
        if wrong.contains(&1) {
            assert_eq!(bench.votes().len(), 1, "what was not asked for is left out");
            continue;
        }
        assert!(bench.votes().is_empty());
        assert_eq!(asked(&bench, 3), [(leader, vec![])], "at once");
        let again = answer(&mut bench, leader, &block, &[1]);
        assert_eq!(again, Err(Dropped::Unasked), "one answer");
        bench
            .deliver(leader, Message::Block(block.clone()))
            .unwrap();
        assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
    }
}

#[test]
fn a_body_of_other_length_than_the_header_says_is_not_put_together() {
    let mut bench = bench_of(4);
    let leader = bench.leads(1);
    let block = block_of(&bench, &[1, 2, 3]);
    // One more than the body has, one less, and so many that memory would suffer.
    for named in [&[1, 2, 3, 4][..], &[1, 2]] {
        let mut bench = bench_of(4);
        propose(&mut bench, &block, ids(named)).unwrap();
        let held: Vec<Option<u64>> = named.iter().copied().map(Some).collect();
        bench.verdict = None;
        gathered(&mut bench, &block, &held);
        let checked = |output: &Output| matches!(output, Output::Validate { .. });
        assert!(!bench.outputs.iter().any(checked));
        assert_eq!(asked(&bench, 3), [(leader, vec![])]);
    }
    propose(&mut bench, &block, ids(&[1, 2, 3, 4])).unwrap();
    gathered(&mut bench, &block, &[Some(1), Some(2), Some(3), None]);
    assert_eq!(
        asked(&bench, 4),
        [(leader, vec![])],
        "full, and one missing"
    );
}

#[test]
fn ids_in_another_order_are_a_bad_delivery_of_the_leader() {
    let mut bench = bench_of(4);
    let leader = bench.leads(1);
    let block = block_of(&bench, &[1, 2, 3]);
    bench.verdict = Some(Verdict::BadDelivery);
    propose(&mut bench, &block, ids(&[3, 2, 1])).unwrap();
    gathered(&mut bench, &block, &[Some(3), Some(2), Some(1)]);
    bench.verdict = Some(Verdict::Valid);
    let whole = asked(&bench, 3);
    assert_eq!(whole.len(), 1);
    assert_ne!(whole[0].0, leader);
    let again = propose(&mut bench, &block, ids(&[1, 2, 3]));
    assert_eq!(again, Err(Dropped::Known));
    bench
        .deliver(whole[0].0, Message::Block(block.clone()))
        .unwrap();
    assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
}

#[test]
fn a_list_that_no_body_has_is_as_good_as_none() {
    for list in [vec![], ids(&[1, 2, 1])] {
        let mut bench = bench_of(4);
        let block = block_of(&bench, &[1, 2, 3]);
        propose(&mut bench, &block, list.clone()).unwrap();
        assert_eq!(gathers(&bench), 0);
        assert_eq!(asked(&bench, 3), [(bench.leads(1), vec![])]);
        assert_eq!(propose(&mut bench, &block, list), Err(Dropped::Known));
        assert_eq!(gathers(&bench), 0);
    }
}

#[test]
fn one_block_is_put_together_once_whatever_the_leader_repeats() {
    let mut bench = bench_of(4);
    let block = block_of(&bench, &[1, 2, 3]);
    for _ in 0..5 {
        let _known = propose(&mut bench, &block, ids(&[1, 2, 3]));
        let _known = propose(&mut bench, &block, ids(&[4, 5, 6]));
    }
    assert_eq!(gathers(&bench), 1);
    let relayed = compact(&bench, &block, ids(&[1, 2, 3]));
    let other = bench
        .others()
        .into_iter()
        .find(|one| *one != bench.leads(1));
    let relayed = bench.deliver(other.unwrap(), relayed);
    assert_eq!(relayed, Err(Dropped::NotLeader(View(1))));
}

#[test]
fn a_whole_proposal_overtakes_its_compact_one() {
    let mut bench = bench_of(4);
    let block = block_of(&bench, &[1, 2, 3]);
    propose(&mut bench, &block, ids(&[1, 2, 3])).unwrap();
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    assert_eq!(bench.votes(), [(Notarize, 1, block.block_ref())]);
    gathered(&mut bench, &block, &[None, None, None]);
    assert!(asked(&bench, 3).is_empty());
}

#[test]
fn two_compact_proposals_of_a_view_are_evidence() {
    let mut bench = bench_of(4);
    let block = block_of(&bench, &[1, 2, 3]);
    let other = block_of(&bench, &[1, 2, 4]);
    propose(&mut bench, &block, ids(&[1, 2, 3])).unwrap();
    propose(&mut bench, &other, ids(&[1, 2, 4])).unwrap();
    let shown = |output: &Output| matches!(output, Output::Evidence { .. });
    assert!(bench.outputs.iter().any(shown));
    assert_eq!(gathers(&bench), 1, "the first one has the slot");
}

#[test]
fn a_block_that_was_certified_meanwhile_is_fetched_once_its_view_is_long_over() {
    let mut bench = bench_of(4);
    let block = block_of(&bench, &[1, 2, 3]);
    propose(&mut bench, &block, ids(&[1, 2, 3])).unwrap();
    gathered(&mut bench, &block, &[None, Some(2), Some(3)]);
    bench.certificate(Finalize, 1, block.block_ref());
    bench.forget();
    bench.wait(290);
    assert!(asked(&bench, 3).is_empty(), "the leader has its time");
    bench.wait(50);
    bench.wait(40);
    assert!(!asked(&bench, 3).is_empty(), "then anybody is asked");
    let leader = bench.leads(1);
    answer(&mut bench, leader, &block, &[1]).unwrap();
    assert_eq!(bench.commits(), [block.block_ref()]);
}

#[test]
fn items_are_served_by_position_of_a_valid_block_alone() {
    let mut bench = bench_of(4);
    bench.verdict = None;
    let block = block_of(&bench, &[1, 2, 3]);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    let asker = bench.others()[0];
    let ask = |bench: &mut Bench, missing: Positions| {
        bench.forget();
        let request = BodyReq {
            block: block.block_ref(),
            missing,
        };
        bench.deliver(asker, Message::BodyReq(request)).unwrap();
        bench.sent.iter().find_map(|message| match message {
            Message::BodyItems(answer) => Some(answer.items.to_vec()),
            _ => None,
        })
    };
    let two = || Positions::new(3, [0, 2]);
    assert_eq!(ask(&mut bench, two()), None, "not validated");
    let hash = block.hash();
    bench.give(Event::BlockValidated {
        block: hash,
        verdict: Verdict::Valid,
    });
    assert_eq!(ask(&mut bench, two()), Some(vec![item(1), item(3)]));
    assert_eq!(ask(&mut bench, Positions::new(9, [0])), None, "of another");
    assert_eq!(ask(&mut bench, Positions::new(3, [])), None);
}

#[test]
fn a_body_of_too_many_items_travels_whole() {
    let mut make = Make::leader_of(1);
    make.config = make.config.with_compaction(SMALL);
    let bench = make.run();
    let most: Vec<u64> = (0..MAX_ITEMS as u64).collect();
    let more: Vec<u64> = (0..=MAX_ITEMS as u64).collect();
    let draft = |items: &[u64]| {
        let block = block_of(&bench, items);
        bench.engine.draft(View(1), View(0), block).ids
    };
    assert_eq!(draft(&most).unwrap().len(), MAX_ITEMS);
    assert!(draft(&more).is_none());
    assert!(draft(&[]).is_none());
}

#[test]
fn thirteen_validators_with_different_pools_go_on_by_ids() {
    let mut cluster = Cluster::started(13);
    for number in 0..30 {
        // Every item is in the pools of two thirds; whoever leads proposes what it has.
        cluster.submit_to(|node| node % 3 != number % 3, number as u64);
        cluster.run_for(40);
    }
    cluster.run_for(3_000);
    assert!((0..30).all(|number| cluster.has_everywhere(number)));
    cluster.check_agreement();
    let sent = |wanted: fn(&Message) -> bool| {
        let sent = cluster.sent.iter();
        sent.filter(|(.., message)| wanted(message)).count()
    };
    assert_eq!(sent(|message| matches!(message, Message::Proposal(_))), 0);
    assert!(sent(|message| matches!(message, Message::CompactProposal(_))) > 0);
    assert!(sent(|message| matches!(message, Message::BodyItems(_))) > 0);
    assert!(
        cluster
            .nodes
            .iter()
            .all(|node| node.alarms.is_empty() && node.evidence.is_empty())
    );
}

#[test]
fn ids_are_of_the_complete_bytes() {
    let sha256_of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(alloc::format!("{}", id_of(b"abc")), sha256_of_abc);
}
