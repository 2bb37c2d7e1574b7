//! The bytes of compact proposals: golden, strict, and bounded before anything is allocated (docs/protocol.md, 13).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is a failed test"
)]

use consensus::items::{Item, MAX_ITEMS, Positions};
use consensus::message::{BodyItems, BodyReq, CompactProposal, Lane, Message, Priority};
use ledger::codec::{DecodeError, List};
use ledger::hash::{BlockHash, ChainId, Hash, ItemId, SetHash};
use ledger::header::{BlockRef, Flags, HEADER_VERSION, Header};
use ledger::id::{Epoch, Height, TimeMs, TreeSize, ValidatorIndex, View};
use ledger::key::RawSignature;
use ledger::vote::{Vote, VoteKind};

fn filled(byte: u8) -> Hash {
    Hash([byte; 32])
}

fn named() -> BlockRef {
    BlockRef {
        height: Height(0x0102),
        hash: BlockHash(filled(0xbb)),
    }
}

fn proposal(ids: Vec<ItemId>) -> Message {
    let header = Header {
        version: HEADER_VERSION,
        chain: ChainId(filled(1)),
        epoch: Epoch(2),
        view: View(3),
        height: Height(4),
        parent: BlockHash(filled(5)),
        proposer: ValidatorIndex(6),
        time_ms: TimeMs(7),
        body_len: 8,
        body_root: filled(9),
        log_size: TreeSize(10),
        log_root: filled(11),
        status_root: filled(12),
        flags: Flags::NONE,
        validator_set: SetHash(filled(13)),
        next_set: SetHash::default(),
    };
    Message::CompactProposal(CompactProposal {
        view: View(0x0e),
        parent_view: View(0x0d),
        vote: Vote {
            epoch: Epoch(2),
            view: View(0x0e),
            kind: VoteKind::Notarize,
            block: header.block_ref(),
            signer: ValidatorIndex(6),
            signature: RawSignature([0xcc; 64]),
        },
        header,
        ids: ids.try_into().unwrap(),
        justification: List::new(),
    })
}

fn request() -> Message {
    Message::BodyReq(BodyReq {
        block: named(),
        missing: Positions::new(10, [0, 9]),
    })
}

fn answer() -> Message {
    let items = vec![Item::from(vec![0xaa]), Item::from(vec![1, 2])];
    Message::BodyItems(BodyItems {
        block: named(),
        items: items.try_into().unwrap(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn requests_and_answers_have_their_golden_bytes() {
    let block = format!("0201000000000000{}", "bb".repeat(32));
    assert_eq!(
        hex(&request().encode()),
        format!("1b{block}020000000102"),
        "ten items, the first and the last"
    );
    assert_eq!(
        hex(&answer().encode()),
        format!("1c{block}0200000001000000aa020000000102")
    );
}

#[test]
fn a_compact_proposal_has_its_golden_bytes() {
    let ids = vec![ItemId(filled(0xd1)), ItemId(filled(0xd2))];
    let message = proposal(ids);
    let outline = message.outline().unwrap();
    let header = hex(&ledger::codec::encode(outline.header));
    let vote = hex(&ledger::codec::encode(outline.vote));
    let ids = format!("02000000{}{}", "d1".repeat(32), "d2".repeat(32));
    let views = "0e000000000000000d00000000000000";
    assert_eq!(header.len(), 2 * Header::LEN);
    assert_eq!(
        hex(&message.encode()),
        format!("1a{views}{header}{ids}00000000{vote}")
    );
}

#[test]
fn only_the_canonical_bytes_within_their_limit_are_taken_in() {
    for message in [proposal(vec![ItemId(filled(1))]), request(), answer()] {
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes), Ok(message.clone()));
        for length in 0..bytes.len() {
            assert!(
                Message::decode(&bytes[..length]).is_err(),
                "cut at {length}"
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        Message::decode(&longer).unwrap_err();
        let limit = Message::limit(bytes[0]).unwrap();
        let over = [&bytes[..], &vec![0; limit]].concat();
        let refused = Message::decode(&over);
        assert!(matches!(refused, Err(DecodeError::TooLong { .. })));
    }
}

#[test]
fn lists_are_bounded_by_what_they_announce() {
    let most = proposal(vec![ItemId::default(); MAX_ITEMS]).encode();
    Message::decode(&most).unwrap();
    assert!(most.len() <= Message::limit(26).unwrap());
    // One more id than the list may have, whatever the length of the frame.
    let count = 1 + 16 + Header::LEN;
    let mut more = most;
    let announced = u32::try_from(MAX_ITEMS + 1).unwrap();
    more[count..count + 4].copy_from_slice(&announced.to_le_bytes());
    Message::decode(&more).unwrap_err();
    for kind in 26..=28 {
        let mut bomb = vec![kind; 60];
        bomb[41..].fill(0xff);
        assert!(Message::decode(&bomb).is_err(), "kind {kind}");
    }
}

#[test]
fn ids_and_items_travel_with_bodies_and_questions_with_votes() {
    let lanes = [proposal(Vec::new()), request(), answer()].map(|message| message.lane());
    assert_eq!(lanes, [Lane::Bodies, Lane::Votes, Lane::Bodies]);
    let worth = [proposal(Vec::new()), answer()].map(|message| message.priority());
    assert_eq!(worth, [Priority::Proposal, Priority::Fetch]);
}
