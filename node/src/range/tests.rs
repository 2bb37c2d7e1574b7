//! Ranges as a server makes them and as a reader believes them, over a chain that four validators finalized.

use super::*;
use crate::testkit;
use crate::testkit::blocks::Blocks;
use ledger::id::View;

type Frame = (Block, Option<Certificate>);

struct World {
    founding: Founding,
    epoch: EpochInfo,
    frames: Vec<Frame>,
}

/// So many blocks of one submission; every `each`-th has its own finalization.
fn world(blocks: u32, each: u32) -> World {
    let mut made = Blocks::new();
    for number in 1..=blocks {
        made.grow();
        if number % each == 0 {
            made.finalize();
        }
    }
    World {
        epoch: made.founding.epoch(),
        founding: made.founding,
        frames: made.frames,
    }
}

impl World {
    fn collect(&self, from: usize, count: u32) -> Option<Range> {
        Range::collect(count, self.frames.iter().skip(from - 1).cloned())
    }

    fn check(&self, range: Range, from: u64) -> Result<Opened, RangeFault> {
        let certified = certify(range, Height(from), &self.epoch, &Restarts::default())?;
        open(certified, &self.founding, &self.epoch)
    }
}

#[test]
fn a_range_is_believed_and_keeps_a_finalization_every_32_blocks() {
    let world = world(100, 1);
    let range = world.collect(1, 90).unwrap();
    assert_eq!((range.blocks.len(), range.certificates.len()), (90, 3));
    let opened = world.check(range, 1).unwrap();
    let certified: Vec<u64> = opened
        .blocks
        .iter()
        .filter(|one| one.finalization.is_some())
        .map(|one| one.block.header.height.0)
        .collect();
    assert_eq!(certified, [32, 64, 90]);
    assert_eq!(opened.blocks[0].body.items().len(), 1);
}

#[test]
fn blocks_without_a_finalization_are_led_on_to_one_or_declined() {
    let sparse = world(80, 40);
    // More than was asked for, up to the one that is certified.
    let range = sparse.collect(1, 10).unwrap();
    assert_eq!((range.blocks.len(), range.headers.len()), (40, 0));
    sparse.check(range, 1).unwrap();
    assert_eq!(sparse.collect(81, 10), None);
    let never = world(5, 100);
    assert_eq!(never.collect(1, 5), None);
    // One block larger than a range, and headers behind it.
    let mut large = world(3, 3);
    large.frames[0].0.body = vec![0; MAX_BYTES].into();
    let range = large.collect(1, 1).unwrap();
    assert_eq!((range.blocks.len(), range.headers.len()), (1, 2));
    certify(range, Height(1), &large.epoch, &Restarts::default()).unwrap();
}

#[test]
#[expect(clippy::too_many_lines, reason = "one list of lies")]
fn each_lie_about_a_range_is_found() {
    let world = world(40, 1);
    let good = || world.collect(1, 40).unwrap();
    world.check(good(), 1).unwrap();
    let fault = |range: Range| world.check(range, 1).unwrap_err();
    let blocks = |change: &dyn Fn(&mut Vec<Block>)| {
        let mut range = good();
        let mut blocks = range.blocks.into_vec();
        change(&mut blocks);
        range.blocks = blocks.try_into().unwrap();
        fault(range)
    };
    let certificates = |change: &dyn Fn(&mut Vec<Certificate>)| {
        let mut range = good();
        let mut certificates = range.certificates.into_vec();
        change(&mut certificates);
        range.certificates = certificates.try_into().unwrap();
        fault(range)
    };
    assert!(matches!(blocks(&|b| b.clear()), RangeFault::Empty));
    assert!(matches!(
        blocks(&|b| drop(b.remove(0))),
        RangeFault::Start { .. }
    ));
    assert!(matches!(
        blocks(&|b| drop(b.remove(7))),
        RangeFault::Link(Height(9))
    ));
    assert!(matches!(blocks(&|b| b.swap(7, 8)), RangeFault::Link(_)));
    // Blocks behind the last certificate, and a forged header.
    assert!(matches!(blocks(&|b| drop(b.pop())), RangeFault::Stray));
    assert!(matches!(
        blocks(&|b| b[39].header.view = View(99)),
        RangeFault::Stray
    ));
    assert!(matches!(
        blocks(&|b| b[3].header.epoch = ledger::id::Epoch(1)),
        RangeFault::Epoch(Height(4))
    ));
    assert!(matches!(
        certificates(&|c| drop(c.pop())),
        RangeFault::NotCertified
    ));
    assert!(matches!(
        certificates(&|c| c.clear()),
        RangeFault::NotCertified
    ));
    assert!(matches!(certificates(&|c| c.swap(0, 1)), RangeFault::Stray));
    let flipped = certificates(&|c| {
        let mut bytes = ledger::codec::encode(&c[1]);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        c[1] = ledger::codec::decode(&bytes, Certificate::MAX_LEN).unwrap();
    });
    assert!(matches!(flipped, RangeFault::Certificate(_)), "{flipped:?}");
    // Another block's body, and a flipped bit in a submission's signature.
    let other = world.frames[4].0.body.clone();
    assert!(matches!(
        blocks(&|b| b[5].body = other.clone()),
        RangeFault::Body {
            height: Height(6),
            ..
        }
    ));
    let broken = blocks(&|b| {
        let mut body = b[5].body.to_vec();
        *body.last_mut().unwrap() ^= 1;
        b[5].body = body.into();
    });
    assert!(matches!(
        broken,
        RangeFault::Body {
            height: Height(6),
            ..
        }
    ));
    // The set of another chain.
    let foreign = Founding::clone(&testkit::founding(5)).epoch();
    certify(good(), Height(1), &foreign, &Restarts::default()).unwrap_err();
}

#[test]
fn blocks_up_to_a_restarts_anchor_are_final_by_its_file_alone() {
    let mut chain = Blocks::new();
    chain.grow_final(3);
    chain.grow();
    chain.grow();
    let (file, other) = (chain.restart_by(&[0, 1, 2]), chain.restart_by(&[1, 2, 3]));
    let (restart, other) = (chain.checked(&file), chain.checked(&other));
    let opened = Arc::clone(restart.epoch());
    chain.go_on_by(&file);
    chain.grow_final(2);
    let (none, mut known) = (Restarts::default(), Restarts::default());
    known.add(file, restart);
    let founders = chain.founding.epoch();
    let collect = |from: usize| {
        let frames = chain.frames.iter().skip(from - 1).cloned();
        Range::collect(10, frames).unwrap()
    };
    let certified = collect(1);
    assert_eq!(certified.blocks.len(), 3, "first what is certified");
    certify(certified, Height(1), &founders, &none).unwrap();
    for from in [4, 5] {
        let (range, height) = (collect(from), Height(from as u64));
        assert_eq!(
            range.end().unwrap().height,
            Height(5),
            "not past the epoch's end"
        );
        assert!(!range.is_led_to_its_end());
        let without = certify(range.clone(), height, &founders, &none);
        assert!(matches!(without, Err(RangeFault::NotCertified)));
        certify(range.clone(), height, &founders, &known).unwrap();
        let mut blocks = range.blocks.into_vec();
        blocks.pop();
        let blocks = blocks.try_into().unwrap();
        let cut = Range { blocks, ..range };
        // Nothing made the block before the anchor final.
        certify(cut, height, &founders, &known).unwrap_err();
    }
    // Behind the anchor its own validators decide, and no other file's.
    certify(collect(6), Height(6), &opened, &none).unwrap();
    let foreign = certify(collect(6), Height(6), other.epoch(), &none);
    assert!(matches!(foreign, Err(RangeFault::Certificate(_))));
}
