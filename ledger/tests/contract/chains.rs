//! Blocks built, checked and broken; whole chains replayed, and every fault found where it is.

mod replayed;

use crate::logs::{hashes, mth};
use crate::world::{
    A, Chain, Finality, STEP, TestRng, evidence, finalize, genesis_with, leader, register,
};
use ledger::admission::CheckedItem;
use ledger::block::{BadDelivery, Block, CheckedBody, ReceiveError};
use ledger::body::{Body, BodyError, ItemBytes};
use ledger::codec::encode;
use ledger::execute::{self, BlockError, Fault, Slot, anchor_due, build, check_block};
use ledger::frame::Payload;
use ledger::genesis::Params;
use ledger::hash::{BlockHash, ChainId, Hash, SetHash};
use ledger::header::{Flags, Header};
use ledger::id::{Epoch, Height, TimeMs, TreeSize, ValidatorIndex, View};
use ledger::leaf::{LogLeaf, Trailer};
use ledger::log::leaf_hash;
use ledger::refusal::{Refusal, Refused};
use ledger::view::StateView as _;

pub(super) const ISSUE: (ledger::id::AuthorityIndex, &str) = (A, "issue");

/// A submission that registers so many documents.
pub(super) fn batch(chain: &mut Chain, label: &str, count: usize) -> CheckedItem {
    let records = (0..count).map(|at| register(&chain.founding, A, &format!("{label}/{at}")));
    let records = records.collect();
    chain.submit(ISSUE, records).unwrap()
}

/// A chain of one block, and a valid block behind it that was not written.
pub(super) fn pending() -> (Chain, Header, Body) {
    let mut chain = Chain::new();
    let first = batch(&mut chain, "first", 2);
    chain.block(&[first]);
    let item = batch(&mut chain, "second", 3);
    let accused = evidence(&chain.tip.epoch, ValidatorIndex(1));
    let built = chain.try_build(&[accused, item]);
    assert_eq!(built.refused, []);
    let (executed, body) = built.block.unwrap();
    (chain, executed.header, body)
}

fn receive(chain: &Chain, header: &Header, body: &Body) -> Result<CheckedBody, ReceiveError> {
    let rng = TestRng::new("receive");
    CheckedBody::receive(
        &chain.founding,
        &chain.tip.epoch,
        header,
        body,
        |_| None,
        rng,
    )
}

fn check(chain: &Chain, header: &Header, body: &CheckedBody) -> Result<(), BlockError> {
    let answer = check_block(&chain.founding, &chain.state, &chain.tip, header, body);
    answer.map(|_| ())
}

type Change = fn(&mut Header);

/// Each header field, and a wrong value for it.
pub(super) const CHANGES: [(&str, Change); 16] = [
    ("version", |header| header.version = 2),
    ("chain", |header| header.chain = ChainId(Hash([1; 32]))),
    ("epoch", |header| header.epoch = Epoch(1)),
    ("height", |header| header.height = Height(9)),
    ("parent", |header| header.parent = BlockHash(Hash([1; 32]))),
    ("proposer", |header| header.proposer = ValidatorIndex(4)),
    ("time_ms", |header| header.time_ms = TimeMs(1)),
    ("body_len", |header| header.body_len += 1),
    ("body_root", |header| header.body_root = Hash([1; 32])),
    ("log_size", |header| {
        header.log_size = TreeSize(header.log_size.0 + 1);
    }),
    ("log_root", |header| header.log_root = Hash([1; 32])),
    ("status_root", |header| header.status_root = Hash([1; 32])),
    ("flags", |header| header.flags = Flags::ANCHOR),
    ("flags", |header| header.flags = Flags::SEAL),
    ("validator_set", |header| {
        header.validator_set = SetHash(Hash([1; 32]));
    }),
    ("next_set", |header| {
        header.next_set = SetHash(Hash([1; 32]));
    }),
];

#[test]
fn a_wrong_header_field_is_named() {
    let (chain, header, body) = pending();
    let checked = receive(&chain, &header, &body).unwrap();
    assert_eq!(check(&chain, &header, &checked), Ok(()));
    for (name, change) in CHANGES {
        let mut wrong = header.clone();
        change(&mut wrong);
        let refused = Err(BlockError::Invalid(Fault::Header(name)));
        assert_eq!(check(&chain, &wrong, &checked), refused, "{name}");
    }
    // The time is the parent's or earlier: not even executed.
    for time_ms in [chain.tip.time_ms, chain.tip.time_ms.prev().unwrap()] {
        let wrong = Header {
            time_ms,
            ..header.clone()
        };
        assert_eq!(
            check(&chain, &wrong, &checked),
            Err(BlockError::Invalid(Fault::Header("time_ms")))
        );
    }
    // A later time is another block: its leaves carry it.
    let later = Header {
        time_ms: header.time_ms.next().unwrap(),
        ..header
    };
    assert_eq!(
        check(&chain, &later, &checked),
        Err(BlockError::Invalid(Fault::Header("log_root")))
    );
}

/// consensus.md 5.5: the same bytes as other items are another body, wherever they are cut.
#[test]
fn items_that_are_split_elsewhere_have_another_root() {
    let (chain, header, body) = pending();
    let whole: Vec<&[u8]> = body.items().iter().map(|item| item.as_bytes()).collect();
    let (first, bytes) = (whole[0].len(), whole.concat());
    assert_eq!(whole.len(), 2);
    let item = |bytes: &[u8]| {
        let bytes = encode(&bytes.to_vec());
        ledger::codec::decode::<ItemBytes>(&bytes, bytes.len()).unwrap()
    };
    for at in 0..=bytes.len() {
        let (one, other) = bytes.split_at(at);
        let split = Body::new(vec![item(one), item(other)]).unwrap();
        assert_eq!(split.len(), u64::from(header.body_len));
        let received = receive(&chain, &header, &split);
        if at == first {
            received.unwrap();
        } else {
            assert!(
                matches!(
                    received,
                    Err(ReceiveError::BadDelivery(BadDelivery::Root { .. }))
                ),
                "{at}"
            );
        }
    }
    let one = Body::new(vec![item(&bytes)]).unwrap();
    assert_ne!(one.root(), header.body_root);
    // Nor is what the tree hashes of two items an item.
    let hashes: Vec<u8> = whole
        .iter()
        .flat_map(|it| leaf_hash(it).0.to_vec())
        .collect();
    let inner = Body::new(vec![item(&hashes)]).unwrap();
    assert_ne!(inner.root(), header.body_root);
}

/// Bytes that are not the header's body are fetched elsewhere; the header's own body with a fault is invalid.
#[test]
fn a_bad_delivery_is_told_from_an_invalid_block() {
    let (mut chain, header, body) = pending();
    let shorter = Body::new(body.items()[..1].to_vec()).unwrap();
    assert!(matches!(
        receive(&chain, &header, &shorter),
        Err(ReceiveError::BadDelivery(BadDelivery::Length { .. }))
    ));
    let mut items = body.items().to_vec();
    items.swap(0, 1);
    let swapped = Body::new(items).unwrap();
    assert!(matches!(
        receive(&chain, &header, &swapped),
        Err(ReceiveError::BadDelivery(BadDelivery::Root { .. }))
    ));
    let for_body = |body: &Body| Header {
        body_len: u32::try_from(body.len()).unwrap(),
        body_root: body.root(),
        ..header.clone()
    };
    // Its own body, in the wrong order: such bytes are no body at all.
    assert_eq!(
        receive(&chain, &for_body(&swapped), &swapped),
        Err(ReceiveError::BadDelivery(BadDelivery::Body(
            BodyError::Order
        )))
    );
    // A good form with a bad signature is a fault of the block, at that item.
    let submission = chain.sign(ISSUE, vec![register(&chain.founding.clone(), A, "x")]);
    let mut bytes = submission.encoded().to_vec();
    *bytes.last_mut().unwrap() ^= 0x10;
    let forged = ledger::submission::Submission::decode(&bytes).unwrap();
    let forged = Body::new(vec![
        body.items()[0].clone(),
        ItemBytes::submission(&forged),
    ])
    .unwrap();
    let refused = receive(&chain, &for_body(&forged), &forged).unwrap_err();
    let ReceiveError::Invalid(Fault::Item { at: 1, refused }) = refused else {
        panic!("{refused}");
    };
    assert_eq!(refused.refusal.code(), "bad-signature");
    // The same with a right signature and a rule broken by the state.
    let twice = Body::new(vec![body.items()[0].clone(), body.items()[0].clone()]).unwrap();
    let header = for_body(&twice);
    let checked = receive(&chain, &header, &twice).unwrap();
    let again = Refused::from(Refusal::AlreadyIncluded(Height(2)));
    assert_eq!(
        check(&chain, &header, &checked),
        Err(BlockError::Invalid(Fault::Item {
            at: 1,
            refused: again
        }))
    );
}

#[test]
fn what_was_checked_before_is_not_checked_again_but_counts_the_same() {
    let (chain, header, body) = pending();
    let fresh = receive(&chain, &header, &body).unwrap();
    let known = |id: &ledger::hash::ItemId| {
        fresh.items().iter().find_map(|item| match item {
            CheckedItem::Submission(submission) if submission.id() == *id => {
                Some(submission.clone())
            }
            CheckedItem::Submission(_) | CheckedItem::Evidence(_) => None,
        })
    };
    let rng = TestRng::new("receive");
    let (founding, epoch) = (&chain.founding, &chain.tip.epoch);
    let again = CheckedBody::receive(founding, epoch, &header, &body, known, rng).unwrap();
    assert_eq!(again, fresh);
    assert_eq!(again.to_body(), body);
    assert_eq!(CheckedBody::assemble(fresh.items().to_vec()), Some(fresh));
}

#[test]
fn a_block_without_items_needs_an_anchor_to_be_due() {
    let mut chain = Chain::new();
    let built = chain.try_build(&[]);
    assert_eq!((built.block, built.refused), (None, vec![]));
    let empty = CheckedBody::assemble(vec![]).unwrap();
    let slot = |chain: &Chain| Slot {
        view: View(1),
        proposer: ValidatorIndex(0),
        time_ms: chain.next_time(),
    };
    let refused = execute::execute(
        &chain.founding,
        &chain.state,
        &chain.tip,
        slot(&chain),
        &empty,
    );
    assert_eq!(refused, Err(BlockError::Invalid(Fault::Empty)));
    let params = Params {
        anchor_interval_ms: 5 * STEP,
        ..Params::default()
    };
    chain = Chain::founded(genesis_with(params));
    let at = |steps: u64| TimeMs(chain.tip.time_ms.0 + steps * STEP);
    assert!(!anchor_due(&chain.founding, &chain.tip, at(4)));
    assert!(anchor_due(&chain.founding, &chain.tip, at(5)));
    let anchored = chain.clone().block_at(at(5), &[], Finality::Certified);
    assert!(anchored.header.flags.is_anchor());
    assert_eq!(anchored.leaves.len(), 1, "the trailer alone");
    assert_eq!(anchored.header.body_root, mth(&[]));
    // With records it carries the flag too, once it is due.
    let item = batch(&mut chain, "a", 1);
    let late = TimeMs(chain.tip.time_ms.0 + 7 * STEP);
    assert!(
        chain
            .block_at(late, &[item], Finality::Certified)
            .header
            .flags
            .is_anchor()
    );
}

#[test]
fn an_epoch_ends_after_its_length_and_the_next_begins_with_an_anchor() {
    let params = Params {
        epoch_length: 3,
        ..Params::default()
    };
    let mut chain = Chain::founded(genesis_with(params));
    let first_context = chain.tip.epoch.context;
    for height in 1..=7_u64 {
        let item = batch(&mut chain, &height.to_string(), 1);
        let sealed = chain.block(&[item]).header;
        assert_eq!(sealed.flags.is_seal(), height % 3 == 0, "height {height}");
        assert_eq!(sealed.next_set != SetHash::default(), height % 3 == 0);
        assert_eq!(sealed.flags.is_anchor(), height == 4 || height == 7);
        assert_eq!(sealed.epoch, Epoch((height - 1) / 3));
        assert_eq!(chain.tip.epoch.epoch, Epoch(height / 3));
    }
    assert_ne!(
        chain.tip.epoch.context, first_context,
        "votes of another epoch never count"
    );
    assert_eq!(chain.tip.epoch.anchor.height, Height(6));
}

#[test]
fn a_leader_closes_a_block_at_the_target() {
    let params = Params {
        block_target: 2_000,
        block_hard: 4_000,
        ..Params::default()
    };
    let mut chain = Chain::founded(genesis_with(params));
    let small: Vec<_> = (0..9)
        .map(|at| batch(&mut chain, &format!("s{at}"), 4))
        .collect();
    let one = small[0].body_len();
    let built = chain.try_build(&small);
    let (_, body) = built.block.unwrap();
    assert_eq!(body.items().len(), 2_000 / one);
    // A larger one gets a block of its own, and only as the first.
    let large = batch(&mut chain, "large", 40);
    assert!(large.body_len() > 2_000);
    let (_, body) = chain
        .try_build(&[large.clone(), small[0].clone()])
        .block
        .unwrap();
    assert_eq!(body.items(), [large.bytes()]);
    let (_, body) = chain.try_build(&[small[0].clone(), large]).block.unwrap();
    assert_eq!(body.items(), [small[0].bytes()]);
    // A refused item does not close it.
    let spent = small[1].clone();
    chain.block(std::slice::from_ref(&spent));
    let built = chain.try_build(&[spent, small[0].clone()]);
    assert_eq!(built.block.unwrap().1.items(), [small[0].bytes()]);
    assert_eq!(built.refused.len(), 1);
}

/// A body over the hard limit is invalid, however it came about.
#[test]
fn the_hard_limit_binds_every_block() {
    let params = Params {
        block_target: 2_000,
        block_hard: 4_000,
        ..Params::default()
    };
    let mut chain = Chain::founded(genesis_with(params));
    let items: Vec<_> = (0..3)
        .map(|at| batch(&mut chain, &format!("s{at}"), 20))
        .collect();
    let body = CheckedBody::assemble(items).unwrap();
    assert!(body.len() > 4_000);
    let slot = Slot {
        view: View(1),
        proposer: ValidatorIndex(0),
        time_ms: chain.next_time(),
    };
    let refused = execute::execute(&chain.founding, &chain.state, &chain.tip, slot, &body);
    assert_eq!(refused, Err(BlockError::Invalid(Fault::Header("body_len"))));
    let stranger = Slot {
        proposer: ValidatorIndex(4),
        ..slot
    };
    let one = CheckedBody::assemble(vec![batch(&mut chain, "one", 1)]).unwrap();
    let refused = execute::execute(&chain.founding, &chain.state, &chain.tip, stranger, &one);
    assert_eq!(refused, Err(BlockError::Invalid(Fault::Header("proposer"))));
}

#[test]
fn evidence_comes_last_and_once_per_validator_and_epoch() {
    let mut chain = Chain::new();
    let accused = evidence(&chain.tip.epoch, ValidatorIndex(1));
    let item = batch(&mut chain, "a", 1);
    let both = [accused.clone(), accused.clone(), item.clone()];
    let built = chain.try_build(&both);
    let known = Refusal::EvidenceKnown {
        epoch: Epoch(0),
        signer: ValidatorIndex(1),
    };
    assert_eq!(built.refused, [(accused.id(), known.into())]);
    let (executed, body) = built.block.unwrap();
    assert_eq!(body.items(), [item.bytes(), accused.bytes()]);
    let kinds: Vec<u8> = executed.leaves.iter().map(|leaf| leaf.bytes[1]).collect();
    assert_eq!(kinds, [1, 3, 2], "record, evidence, trailer");
    chain.block(&[item, accused]);
    assert_eq!(
        chain.state.has_evidence(Epoch(0), ValidatorIndex(1)),
        Ok(true)
    );
    assert_eq!(
        chain.state.has_evidence(Epoch(0), ValidatorIndex(2)),
        Ok(false)
    );
}

#[test]
fn evidence_is_recorded_in_later_epochs_up_to_its_age() {
    let params = Params {
        epoch_length: 1,
        evidence_age: 2,
        ..Params::default()
    };
    let mut chain = Chain::founded(genesis_with(params));
    let first = std::sync::Arc::clone(&chain.tip.epoch);
    let [early, late] = [1, 2].map(|signer| evidence(&first, ValidatorIndex(signer)));
    for name in ["a", "b"] {
        let item = batch(&mut chain, name, 1);
        chain.block(&[item]);
    }
    assert_eq!(chain.tip.epoch.epoch, Epoch(2));
    // Whoever receives the block checks its votes against the epoch that they are of.
    chain.block(std::slice::from_ref(&early));
    assert_eq!(
        chain.state.has_evidence(Epoch(0), ValidatorIndex(1)),
        Ok(true)
    );
    let too_old = Refusal::EvidenceEpoch {
        found: Epoch(0),
        expected: Epoch(3),
    };
    assert_eq!(chain.ask(&late), Err(too_old.into()));
    assert!(chain.tip.epoch.back_to(Epoch(1)).is_some());
    assert!(chain.tip.epoch.back_to(Epoch(4)).is_none());
}

/// The log that blocks make is the RFC's tree over their leaves, and a block's own bytes give them again.
#[test]
fn the_log_is_the_tree_over_all_leaves() {
    let mut chain = Chain::new();
    for at in 0..5 {
        let items = [batch(&mut chain, &format!("{at}"), at + 1)];
        let executed = chain.block(&items);
        let header = executed.header;
        assert_eq!(header.log_size, TreeSize(chain.leaves.len() as u64));
        assert_eq!(header.log_root, mth(&hashes(&chain.leaves)));
        let frame = &chain.frames[at];
        let block = Block::decode(&frame.block).unwrap();
        let own: Vec<Vec<u8>> = executed.leaves.into_iter().map(|leaf| leaf.bytes).collect();
        assert_eq!(block.leaves(), Ok(own.clone()));
        let trailer = LogLeaf::decode(own.last().unwrap()).unwrap();
        assert_eq!(trailer, LogLeaf::Trailer(Trailer::of(&header)));
        for (leaf, record) in own.iter().take(at + 1).zip(0_u64..) {
            let LogLeaf::Record(leaf) = LogLeaf::decode(leaf).unwrap() else {
                panic!("a record leaf");
            };
            assert_eq!((leaf.height, leaf.authority), (header.height, A));
            let document = *leaf.record.document().unwrap();
            let found = chain.state.registration(&document).unwrap().unwrap();
            let before = header.log_size.0 - (at as u64 + 2);
            assert_eq!(found.index.0, before + record);
        }
    }
}

/// A block made from wrong fields by a majority of validators: signed as it is.
pub(super) fn signed(chain: &Chain, header: &Header, body: &Body) -> Payload {
    let block = Block {
        header: header.clone(),
        body: body.clone(),
    };
    Payload {
        block: block.encode().try_into().unwrap(),
        finalization: Some(finalize(&chain.tip.epoch, header.view, header.block_ref())),
    }
}

#[test]
fn execution_does_not_depend_on_who_proposes_but_the_header_says_it() {
    let mut chain = Chain::new();
    let item = batch(&mut chain, "a", 1);
    let made = |proposer: u16, view: u64| {
        let slot = Slot {
            view: View(view),
            proposer: ValidatorIndex(proposer),
            time_ms: chain.next_time(),
        };
        let (founding, items) = (&chain.founding, std::slice::from_ref(&item));
        let built = build(founding, &chain.state, &chain.tip, slot, items).unwrap();
        built.block.unwrap().0
    };
    let (one, other) = (made(0, 1), made(3, 8));
    assert_eq!(one.effects, other.effects);
    assert_eq!(one.header.status_root, other.header.status_root);
    assert_ne!(
        one.header.log_root, other.header.log_root,
        "the trailer names the proposer"
    );
    assert_eq!(made(0, 1), one, "the same again");
    assert_eq!(encode(&one.header).len(), Header::LEN);
    let first = leader(&chain.tip.epoch, View(1));
    assert!(chain.tip.epoch.has(first) && !chain.tip.epoch.has(ValidatorIndex(4)));
}
