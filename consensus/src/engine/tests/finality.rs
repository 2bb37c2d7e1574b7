//! R6: commits, missing blocks, catch-up, divergence.

use super::bench::{Bench, NO_BLOCK, peer, tip};
use super::fixture;
use crate::block::Block;
use crate::event::Event;
use crate::message::{Message, SyncReq, SyncResp};
use crate::output::{Alarm, Output, ServeRequest};
use crate::verify::{Dropped, Offence};
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height};
use ledger::vote::VoteKind::{Finalize, Notarize, Nullify};

/// A chain of blocks, one per view from 1 on.
fn chain(bench: &Bench, length: u64) -> Vec<Block> {
    let mut parent = bench.anchor();
    (1..=length)
        .map(|view| {
            let block = bench.block(&parent, view);
            parent = tip(&block);
            block
        })
        .collect()
}

fn asks(bench: &Bench) -> Vec<Message> {
    let questions = bench.sent.iter().filter(|message| {
        matches!(
            message,
            Message::Fetch(_) | Message::SyncReq(_) | Message::CertReq(_)
        )
    });
    questions.cloned().collect()
}

fn answer(blocks: &[Block], headers: &[Block], bench: &Bench, view: u64) -> Message {
    let last = headers
        .last()
        .or_else(|| blocks.last())
        .unwrap()
        .block_ref();
    let headers: Vec<_> = headers.iter().map(|block| block.header.clone()).collect();
    Message::SyncResp(SyncResp {
        blocks: blocks.to_vec().try_into().unwrap(),
        headers: headers.try_into().unwrap(),
        certificate: bench.make(Finalize, view, last),
    })
}

/// Whom the last SyncReq went to.
fn asked_peer(bench: &Bench) -> u16 {
    let asked = bench.outputs.iter().rev().find_map(|output| match output {
        Output::Send {
            to,
            message: Message::SyncReq(_),
        } => bench.epoch.index_of(to),
        _ => None,
    });
    asked.expect("a SyncReq").0
}

#[test]
fn r6_a_finalization_commits_the_block_and_its_ancestors_in_order() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let first = bench.notarized(1, 0, &anchor);
    let second = bench.notarized(2, 1, &tip(&first));
    assert!(bench.commits().is_empty(), "a notarization is no finality");
    bench.certificate(Finalize, 2, second.block_ref());
    let expected = [first.block_ref(), second.block_ref()];
    assert_eq!(bench.commits(), expected);
    let finalization = bench.outputs.iter().find_map(|output| match output {
        Output::Commit(commit) => commit.finalization.clone(),
        _ => None,
    });
    assert_eq!(finalization.unwrap().block(), second.block_ref());
    assert_eq!(bench.engine.status().committed, second.block_ref());
}

#[test]
fn r6_a_quorum_of_finalize_votes_is_a_finalization() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    let others = bench.others();
    bench
        .vote(others[0], Finalize, 1, block.block_ref())
        .unwrap();
    assert!(bench.commits().is_empty(), "own vote and one other");
    bench
        .vote(others[1], Finalize, 1, block.block_ref())
        .unwrap();
    assert_eq!(bench.commits(), [block.block_ref()]);
}

#[test]
fn r6_a_missing_final_block_is_fetched() {
    let mut bench = Bench::follower();
    let block = bench.block(&bench.anchor(), 1);
    bench.certificate(Finalize, 1, block.block_ref());
    assert!(bench.commits().is_empty());
    bench.wait(40);
    assert!(asks(&bench).contains(&Message::Fetch(block.block_ref())));
    let wrong = bench.block(&bench.anchor(), 3);
    let from = bench.others()[0];
    let unasked = bench.deliver(from, Message::Block(wrong));
    assert_eq!(unasked, Err(Dropped::Unasked));
    bench.deliver(from, Message::Block(block.clone())).unwrap();
    assert_eq!(bench.commits(), [block.block_ref()]);
}

#[test]
fn a_fetch_goes_to_the_next_peer_and_then_to_two() {
    let mut bench = Bench::follower();
    let block = bench.block(&bench.anchor(), 1);
    bench.certificate(Finalize, 1, block.block_ref());
    bench.wait(40);
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.push(asks(&bench).len());
        bench.forget();
        bench.wait(300);
    }
    assert_eq!((asked, asks(&bench).len()), ([1, 1, 2].to_vec(), 2));
}

#[test]
fn r6_a_longer_stretch_is_asked_for_and_committed() {
    let mut bench = Bench::follower();
    let blocks = chain(&bench, 6);
    bench.certificate(Finalize, 6, blocks[5].block_ref());
    let from = Height(1);
    let max_bytes = crate::config::MAX_SYNC;
    assert!(asks(&bench).contains(&Message::SyncReq(SyncReq { from, max_bytes })));
    let server = asked_peer(&bench);
    let message = answer(&blocks[..3], &blocks[3..4], &bench, 4);
    bench.deliver(server, message).unwrap();
    let refs: Vec<BlockRef> = blocks.iter().map(Block::block_ref).collect();
    assert_eq!(bench.commits(), refs[..3]);
    let server = asked_peer(&bench);
    let message = answer(&blocks[3..], &[], &bench, 6);
    bench.deliver(server, message).unwrap();
    assert_eq!(bench.commits(), refs);
    assert_eq!(bench.view(), 7);
}

#[test]
fn a_peer_that_is_ahead_is_asked_and_a_silent_one_passed_over() {
    let mut bench = Bench::follower();
    let others = bench.others();
    let mut status = bench.status_of(others[0]);
    status.finalized.height = Height(1 << 63);
    bench.deliver(others[0], Message::Status(status)).unwrap();
    assert_eq!(asked_peer(&bench), others[0]);
    bench.forget();
    bench.wait(6_000);
    let asked = bench.sent.iter().any(|m| matches!(m, Message::SyncReq(_)));
    assert!(
        !asked,
        "nobody else claims to be ahead, and it did not answer"
    );
}

#[test]
fn blocks_without_an_unbroken_chain_to_their_certificate_are_an_offence() {
    let bench = Bench::follower();
    let blocks = chain(&bench, 4);
    let broken = [blocks[0].clone(), blocks[2].clone()];
    let other_certificate = answer(&blocks[..2], &blocks[3..], &bench, 4);
    for message in [answer(&broken, &[], &bench, 3), other_certificate] {
        let admitted = crate::verify::Admitted {
            message,
            epoch: alloc::sync::Arc::new(super::bench::epoch()),
            held: Vec::new(),
            lagging: false,
        };
        let offence = admitted.verify(&fixture::ToyCheck).unwrap_err();
        assert_eq!(offence, Offence::Sync(Height(1)));
    }
}

#[test]
fn an_answer_to_nobodys_question_is_dropped() {
    let mut bench = Bench::follower();
    let blocks = chain(&bench, 3);
    let message = answer(&blocks, &[], &bench, 3);
    let result = bench.deliver(bench.others()[0], message);
    assert_eq!(result, Err(Dropped::Unasked));
}

#[test]
fn blocks_of_a_later_epoch_that_nothing_here_leads_to_are_dropped() {
    let mut bench = Bench::follower();
    let mut blocks = chain(&bench, 6);
    bench.certificate(Finalize, 6, blocks[5].block_ref());
    let server = asked_peer(&bench);
    blocks[0].header.epoch = Epoch(1);
    let message = answer(&blocks[..1], &[], &bench, 1);
    assert_eq!(bench.deliver(server, message), Err(Dropped::Epoch));
}

#[test]
fn two_final_blocks_at_one_height_are_a_divergence() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    bench.certificate(Finalize, 1, block.block_ref());
    let fork = bench.block(&anchor, 2);
    bench.certificate(Finalize, 2, fork.block_ref());
    assert_eq!(bench.alarms(), [Alarm::Divergence(fork.block_ref())]);
    assert!(!bench.engine.status().is_voting());
    assert_eq!(bench.commits(), [block.block_ref()]);
}

#[test]
fn a_finalized_and_nullified_view_is_a_divergence() {
    let mut bench = Bench::follower();
    bench.nullified(1);
    let block = bench.block(&bench.anchor(), 1);
    bench.certificate(Finalize, 1, block.block_ref());
    assert_eq!(bench.alarms(), [Alarm::Divergence(block.block_ref())]);
}

#[test]
fn blocks_that_lost_are_forgotten() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let lost = bench.block(&anchor, 1);
    bench.propose(1, 0, &lost, Vec::new()).unwrap();
    bench.nullified(1);
    let won = bench.notarized(2, 0, &anchor);
    bench.certificate(Finalize, 2, won.block_ref());
    let forgotten =
        |output: &Output| matches!(output, Output::Forget(hash) if *hash == lost.hash());
    assert!(bench.outputs.iter().any(forgotten));
    assert!(bench.engine.block(&won.block_ref()).is_some());
    assert!(bench.engine.block(&lost.block_ref()).is_none());
}

#[test]
fn served_blocks_were_validated_here_or_come_from_the_archive() {
    let mut bench = Bench::follower();
    bench.verdict = None;
    let anchor = bench.anchor();
    let block = bench.block(&anchor, 1);
    bench.propose(1, 0, &block, Vec::new()).unwrap();
    let from = bench.others()[0];
    let served = |bench: &Bench| bench.sent.iter().any(|m| matches!(m, Message::Block(_)));
    bench
        .deliver(from, Message::Fetch(block.block_ref()))
        .unwrap();
    assert!(!served(&bench), "not validated");
    bench.give(Event::BlockValidated {
        block: block.hash(),
        verdict: crate::event::Verdict::Valid,
    });
    bench
        .deliver(from, Message::Fetch(block.block_ref()))
        .unwrap();
    assert!(served(&bench));
    bench.deliver(from, Message::Fetch(anchor.block)).unwrap();
    let to = peer(from);
    let archived = bench.outputs.iter().any(|output| {
        matches!(output, Output::Serve { to: asker, request: ServeRequest::Block(block) }
            if *asker == to && *block == anchor.block)
    });
    assert!(archived);
}

#[test]
fn certificates_of_skipped_views_are_served_with_the_finalization_below() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    let block = bench.notarized(1, 0, &anchor);
    bench.certificate(Finalize, 1, block.block_ref());
    for view in 2..=5 {
        bench.nullified(view);
    }
    let from = bench.others()[0];
    let request = |from, to| {
        Message::CertReq(crate::message::CertReq {
            epoch: Epoch(0),
            from: ledger::id::View(from),
            to: ledger::id::View(to),
        })
    };
    bench.deliver(from, request(1, 4)).unwrap();
    let Some(Message::CertResp(list)) = bench.sent.last() else {
        panic!("no answer");
    };
    let views: Vec<_> = list.iter().map(|c| (c.kind(), c.view().0)).collect();
    let expected = [(Finalize, 1), (Nullify, 4), (Nullify, 3), (Nullify, 2)];
    assert_eq!(views, expected);
    bench.forget();
    bench.deliver(from, request(9, 3)).unwrap();
    assert!(bench.sent.is_empty(), "nothing to say about an empty range");
}

#[test]
fn held_blocks_and_votes_are_bounded() {
    let mut bench = Bench::follower();
    let anchor = bench.anchor();
    for view in 1..=200 {
        if bench.leads(view) != bench.me {
            let block = bench.block(&anchor, view);
            bench.propose(view, 0, &block, Vec::new()).unwrap();
        }
        for signer in bench.others() {
            let _known = bench.vote(signer, Nullify, view, NO_BLOCK);
        }
    }
    assert_eq!(bench.view(), 201);
    assert!(bench.engine.blocks.iter().count() <= 64);
    let block = bench.block(&anchor, 209);
    let far = bench.vote(bench.others()[0], Notarize, 210, block.block_ref());
    assert_eq!(far, Err(Dropped::Window(ledger::id::View(210))));
    let old = bench.vote(bench.others()[0], Notarize, 184, block.block_ref());
    assert_eq!(old, Err(Dropped::Window(ledger::id::View(184))));
}

#[test]
fn whoever_answers_little_and_late_holds_a_catch_up_up_for_its_own_turns_only() {
    let mut bench = Bench::follower();
    let blocks = chain(&bench, 200);
    bench.certificate(Finalize, 200, blocks[199].block_ref());
    let mut slow = None;
    for round in 0..4 {
        for other in bench.others() {
            let mut status = bench.status_of(other);
            status.finalized = blocks[199].block_ref();
            bench.deliver(other, Message::Status(status)).unwrap();
        }
        let server = asked_peer(&bench);
        let slow = *slow.get_or_insert(server);
        let height = usize::try_from(bench.engine.status().committed.height.0).unwrap();
        if server == slow {
            // Just before its time of 4 s and 4Δ is over.
            bench.pass(4_500);
            let block = &blocks[height..=height];
            let message = answer(block, &[], &bench, block[0].header.view.0);
            bench.deliver(server, message).unwrap();
        } else if round == 1 {
            // An honest one gives as much as fits.
            let message = answer(&blocks[height..100], &[], &bench, 100);
            bench.deliver(server, message).unwrap();
        } else {
            let message = answer(&blocks[height..], &[], &bench, 200);
            bench.deliver(server, message).unwrap();
            break;
        }
    }
    assert_eq!(bench.engine.status().committed, blocks[199].block_ref());
}

/// What a server's archive has of them: the last one's finalization is the only one.
fn frames(blocks: &[Block], finalization: &Certificate) -> Vec<(Block, Option<Certificate>)> {
    let last = blocks.last().map(Block::block_ref);
    let own = |block: &Block| (Some(block.block_ref()) == last).then(|| finalization.clone());
    let all = blocks.iter();
    all.map(|block| (block.clone(), own(block))).collect()
}

/// consensus.md 5.5: together they are longer than any answer, and only the last proves itself.
#[test]
fn six_full_blocks_under_one_finalization_reach_a_joiner_one_after_the_other() {
    let mut bench = Bench::follower();
    let hard = fixture::config().rules().block_hard;
    let full: Vec<u64> = (0..u64::from(hard) / 8).collect();
    let mut parent = bench.anchor();
    let mut blocks = Vec::new();
    for view in 1..=6 {
        let block = bench.block_of(&parent, view, &full);
        parent = tip(&block);
        blocks.push(block);
    }
    let last = blocks[5].block_ref();
    let finalization = bench.make(Finalize, 6, last);
    let archive = frames(&blocks, &finalization);
    for behind in 0..5_u64 {
        assert_eq!(bench.engine.status().committed.height, Height(behind));
        for other in bench.others() {
            let mut status = bench.status_of(other);
            status.finalized = last;
            bench.deliver(other, Message::Status(status)).unwrap();
        }
        let server = asked_peer(&bench);
        let Some(Message::SyncReq(request)) = asks(&bench).pop() else {
            panic!("{:?}", asks(&bench));
        };
        assert_eq!(request.from, Height(behind + 1));
        let from = usize::try_from(behind).unwrap();
        let answer = SyncResp::collect(&request, archive[from..].to_vec()).unwrap();
        assert_eq!(answer.blocks.len(), 1);
        bench.deliver(server, Message::SyncResp(answer)).unwrap();
    }
    // What is known by its hash alone is asked for by it.
    bench.wait(1_000);
    let asked = asks(&bench).pop();
    assert!(matches!(asked, Some(Message::Fetch(_))), "{asked:?}");
    let server = bench.others()[0];
    bench
        .deliver(server, Message::Block(blocks[5].clone()))
        .unwrap();
    assert_eq!(bench.engine.status().committed, last);
}

#[test]
fn silent_liars_are_asked_in_turn_and_not_again_before_all_others() {
    let mut bench = Bench::follower();
    let far = BlockRef {
        height: Height(1_000),
        ..NO_BLOCK
    };
    let mut asked = Vec::new();
    for _ in 0..6 {
        for other in bench.others() {
            let mut status = bench.status_of(other);
            status.finalized = far;
            bench.deliver(other, Message::Status(status)).unwrap();
        }
        asked.push(asked_peer(&bench));
        // Longer than a failure is remembered.
        bench.wait(11_000);
    }
    let (first, second) = asked.split_at(3);
    let mut all = first.to_vec();
    all.sort_unstable();
    assert_eq!(all, bench.others());
    assert_eq!(first, second);
}
