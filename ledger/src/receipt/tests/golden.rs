//! The bytes of a receipt and of each of its parts, fixed: to change one is to change the format.

use super::openings::published;
use super::related::family;
use super::signers::two_sets;
use super::world::{FILE, NOW, World, digest, later};
use crate::codec;
use crate::document::CommitmentRole;
use crate::id::AuthorityIndex;
use crate::leaf::{LogLeaf, RecordLeaf};
use crate::receipt::{Finding, Receipt, verify};
use crate::record::Record;
use crate::state::{LaterCommitment, Lifecycle};
use alloc::format;
use alloc::string::String;

/// A derived, superseded document with a parent, its successor, a later commitment, details and a consistency.
fn everything() -> (World, String) {
    let (mut world, [first, _, child, next]) = family();
    let commitment = world.commit(&child.id, CommitmentRole::Received, FILE);
    let leaf = RecordLeaf {
        authority: AuthorityIndex(2),
        record: Record::Accept {
            document: child.id,
            prev: child.index,
            of: child.index,
            received: Some(commitment),
        },
        ..child.leaf.clone()
    };
    let index = world.push(&LogLeaf::Record(leaf.clone()));
    let entry = LaterCommitment {
        index,
        role: CommitmentRole::Received,
        commitment,
    };
    world.state(&child).lifecycle = Lifecycle::Superseded { by: next.id };
    world.state(&child).commitments.set(entry).unwrap();
    world.named = alloc::vec![0, 2];
    let closed = world.close();
    world.related = [&first, &next]
        .map(|doc| world.relative(doc, &closed))
        .into();
    let mut larger = world.clone();
    larger.push(&closed.trailer);
    world.consistency = Some(closed.consistency(&larger.close()));
    let mut raw = world.raw_of(&child, &closed);
    let received = later(CommitmentRole::Received, FILE, (index, &leaf), &closed);
    raw.extra.openings.push(received).unwrap();
    for k in [1, 2] {
        raw.extra.details.set(child.details[k].clone()).unwrap();
    }
    (world, raw.text())
}

/// Each part of an extra line, by name, in hex.
fn parts(text: &str) -> String {
    let receipt = Receipt::parse(text.as_bytes()).unwrap();
    let extra = receipt.extra();
    let rows = [
        ("leaf", codec::encode(&extra.leaf)),
        ("body", codec::encode(&extra.body)),
        ("signature", codec::encode(&extra.signature)),
        ("record_index", codec::encode(&extra.record_index)),
        ("record_path", codec::encode(&extra.record_path)),
        ("trailer", codec::encode(&extra.trailer)),
        ("trailer_path", codec::encode(&extra.trailer_path)),
        ("doc", codec::encode(&extra.doc)),
        ("doc_proof", codec::encode(&extra.doc_proof)),
        ("key", codec::encode(&extra.key)),
        ("key_proof", codec::encode(&extra.key_proof)),
        ("authorities", codec::encode(&extra.authorities)),
        ("openings", codec::encode(&extra.openings)),
        ("details", codec::encode(&extra.details)),
        ("related", codec::encode(&extra.related)),
        ("handovers", codec::encode(&extra.handovers)),
        ("consistency", codec::encode(&extra.consistency)),
    ];
    let whole: usize = rows.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(
        codec::encode(extra).len(),
        1 + whole,
        "a version byte and the parts"
    );
    let rows = rows.map(|(name, bytes)| format!("{name} {}\n", hex::encode(bytes)));
    rows.concat()
}

#[test]
fn a_receipt_with_everything_in_it() {
    let (world, text) = everything();
    let verdict = verify(&digest(FILE), text.as_bytes(), &world.trust(), NOW, None);
    assert!(matches!(verdict.finding(), Finding::Superseded { .. }));
    assert!(verdict.are_bytes_checked());
    assert_eq!(text, include_str!("golden/everything.tlog-proof"));
    assert_eq!(parts(&text), include_str!("golden/everything.txt"));
}

#[test]
fn a_receipt_of_the_set_after_the_founders() {
    let chain = two_sets();
    let text = chain.later.raw(&chain.doc).text();
    assert_eq!(text, include_str!("golden/handover.tlog-proof"));
    assert_eq!(parts(&text), include_str!("golden/handover.txt"));
    let verdict = chain.later.verdict(&chain.doc);
    assert_eq!(*verdict.finding(), Finding::Current);
}

#[test]
fn a_plain_receipt() {
    let (world, doc) = World::standard();
    let text = world.raw(&doc).text();
    assert_eq!(text, include_str!("golden/plain.tlog-proof"));
    let golden = include_bytes!("golden/plain.tlog-proof");
    let verdict = verify(&digest(FILE), golden, &world.trust(), NOW, None);
    assert_eq!(*verdict.finding(), Finding::Current);
}

#[test]
fn a_receipt_of_a_published_document() {
    let (world, doc) = published();
    let text = world.raw(&doc).text();
    assert_eq!(text, include_str!("golden/published.tlog-proof"));
    let verdict = verify(&digest(FILE), text.as_bytes(), &world.trust(), NOW, None);
    assert_eq!(*verdict.finding(), Finding::Current);
}

#[test]
fn the_genesis_behind_them() {
    let (world, _) = World::standard();
    let bytes = hex::encode(codec::encode(&world.genesis));
    assert_eq!(format!("{bytes}\n"), include_str!("golden/genesis.txt"));
}
