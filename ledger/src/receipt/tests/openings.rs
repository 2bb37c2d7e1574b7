//! Binding 6, openings and bytes, and the revealed details.

use super::refused;
use super::world::{CLOSED, COPY, Doc, Edits, FILE, NOW, Raw, World, digest, later, opening, salt};
use crate::codec::{List, Text};
use crate::document::{CommitmentRole, DocumentId};
use crate::hash::sha256;
use crate::id::{AuthorityIndex, LeafIndex};
use crate::leaf::{LogLeaf, RecordLeaf};
use crate::receipt::{Fault, Finding, Framed, Only, Opening, verify};
use crate::record::Record;
use crate::state::LaterCommitment;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

#[test]
fn an_opening_of_another_commitment_is_refused() {
    let (world, doc) = World::standard();
    let mut raw = world.raw(&doc);
    let judge = |raw: &mut Raw, openings: Vec<Opening>| {
        raw.extra.openings = openings.try_into().unwrap();
        world.judge(raw)
    };
    // Another salt, another file, another role.
    let good = opening(CommitmentRole::Internal, FILE);
    let mut salted = good.clone();
    salted.salt = salt("another");
    refused!(
        judge(&mut raw, vec![salted]),
        Openings,
        Fault::NotItsOpening(0)
    );
    let filed = opening(CommitmentRole::Internal, b"a forged decision");
    refused!(
        judge(&mut raw, vec![good.clone(), filed]),
        Openings,
        Fault::NotItsOpening(1)
    );
    let mut role = good;
    role.role = CommitmentRole::Citizen;
    refused!(
        judge(&mut raw, vec![role]),
        Openings,
        Fault::NotItsOpening(0)
    );
}

#[test]
fn an_opening_of_a_citizens_copy_that_was_not_registered_is_refused() {
    let (world, doc) = World::with(Edits {
        record: |record| {
            if let Record::Register { citizen, .. } = record {
                *citizen = None;
            }
        },
        ..Edits::default()
    });
    let mut raw = world.raw(&doc);
    raw.extra.openings = vec![opening(CommitmentRole::Citizen, FILE)]
        .try_into()
        .unwrap();
    refused!(world.judge(&raw), Openings, Fault::NoCommitment(0));
}

/// A world in which authority 2 accepted FILE and COPY stands as renewal.
fn exchanged() -> (World, Doc, [(LeafIndex, RecordLeaf); 2]) {
    let (mut world, doc) = World::standard();
    let received = world.commit(&doc.id, CommitmentRole::Received, FILE);
    let renewed = world.commit(&doc.id, CommitmentRole::Renewed, FILE);
    let accept = Record::Accept {
        document: doc.id,
        prev: doc.index,
        of: doc.index,
        received: Some(received),
    };
    let renew = Record::Renew {
        document: doc.id,
        prev: doc.index,
        commitment: renewed,
    };
    let mut logged = Vec::new();
    for (by, record) in [(2, accept), (0, renew)] {
        let leaf = RecordLeaf {
            authority: AuthorityIndex(by),
            record,
            ..doc.leaf.clone()
        };
        logged.push((world.push(&LogLeaf::Record(leaf.clone())), leaf));
    }
    let logged: [_; 2] = logged.try_into().unwrap();
    let roles = [
        (CommitmentRole::Received, received),
        (CommitmentRole::Renewed, renewed),
    ];
    let indices = [logged[0].0, logged[1].0];
    for ((role, commitment), index) in roles.into_iter().zip(indices) {
        let entry = LaterCommitment {
            index,
            role,
            commitment,
        };
        world.state(&doc).commitments.set(entry).unwrap();
    }
    (world, doc, logged)
}

#[test]
fn what_somebody_received_is_that_and_no_more() {
    let (mut world, doc, logged) = exchanged();
    world.named = vec![0, 2];
    let closed = world.close();
    let mut raw = world.raw_of(&doc, &closed);
    let accept = (logged[0].0, &logged[0].1);
    let received = later(CommitmentRole::Received, FILE, accept, &closed);
    raw.extra.openings = vec![received.clone()].try_into().unwrap();
    let verdict = world.judge(&raw);
    assert_eq!(
        alloc::format!("{}", verdict.finding()),
        "RECEIVED BY Behörde stadt-leipzig"
    );
    assert_eq!((verdict.word(), verdict.exit_code()), ("RECEIVED BY", 3));
    assert!(verdict.also().is_empty() && !verdict.are_bytes_checked());
    // Other bytes: nothing was compared with the registration.
    let other = verify(
        &digest(COPY),
        raw.text().as_bytes(),
        &world.trust(),
        NOW,
        None,
    );
    assert_eq!(*other.finding(), Finding::LocatorKnown);
    // With an opening of the registration that does not fit, the bytes are modified.
    raw.extra.openings = vec![received, opening(CommitmentRole::Citizen, COPY)]
        .try_into()
        .unwrap();
    assert_eq!(*world.judge(&raw).finding(), Finding::Modified);
}

#[test]
fn a_renewal_shows_only_beside_a_checked_opening_of_the_same_file() {
    let (world, doc, logged) = exchanged();
    let closed = world.close();
    let mut raw = world.raw_of(&doc, &closed);
    let renew = (logged[1].0, &logged[1].1);
    let renewed = later(CommitmentRole::Renewed, FILE, renew, &closed);
    raw.extra.openings = vec![renewed.clone()].try_into().unwrap();
    let alone = world.judge(&raw);
    assert_eq!(*alone.finding(), Finding::LocatorKnown);
    assert!(alone.facts().unwrap().renewed.is_empty());
    raw.extra.openings = vec![renewed.clone(), opening(CommitmentRole::Internal, FILE)]
        .try_into()
        .unwrap();
    let beside = world.judge(&raw);
    assert_eq!(*beside.finding(), Finding::Current);
    assert_eq!(beside.facts().unwrap().renewed.len(), 1);
    raw.extra.openings = vec![renewed, opening(CommitmentRole::Citizen, COPY)]
        .try_into()
        .unwrap();
    let copy = verify(
        &digest(COPY),
        raw.text().as_bytes(),
        &world.trust(),
        NOW,
        None,
    );
    assert_eq!(*copy.finding(), Finding::Current);
    assert!(
        copy.facts().unwrap().renewed.is_empty(),
        "it is of another file"
    );
}

#[test]
fn a_later_opening_is_refused_unless_leaf_state_and_log_agree() {
    let (world, doc, logged) = exchanged();
    let closed = world.close();
    let raw = world.raw_of(&doc, &closed);
    let judge = |world: &World, opening: Opening| {
        let closed = world.close();
        let mut raw = world.raw_of(&doc, &closed);
        raw.extra.openings = vec![opening].try_into().unwrap();
        world.judge(&raw)
    };
    let (index, leaf) = (logged[0].0, &logged[0].1);
    let good = later(CommitmentRole::Received, FILE, (index, leaf), &closed);
    assert!(matches!(
        judge(&world, good.clone()).finding(),
        Finding::ReceivedBy(_)
    ));
    // No place, or a place that the role does not have.
    let mut placeless = good.clone();
    placeless.at = None;
    refused!(judge(&world, placeless), Openings, Fault::OpeningPlace(0));
    let mut placed = raw.extra.openings[0].clone();
    placed.at = good.at.clone();
    refused!(judge(&world, placed), Openings, Fault::OpeningPlace(0));
    // A leaf that is not in the log.
    let mut unlogged = good.clone();
    let changed = RecordLeaf {
        time_ms: CLOSED,
        ..leaf.clone()
    };
    unlogged.at.as_mut().unwrap().leaf = Framed::new(LogLeaf::Record(changed)).unwrap();
    refused!(judge(&world, unlogged), Openings, Fault::Log(_));
    // The renewal's leaf, or a trailer, in the place of the acceptance.
    let mut state = world.clone();
    state.state(&doc).commitments.remove(index);
    refused!(
        judge(&state, good.clone()),
        Openings,
        Fault::NoCommitment(0)
    );
    // The state has it under another role.
    let mut state = world.clone();
    let mut entry = *state.state(&doc).commitments.find(index).unwrap();
    entry.role = CommitmentRole::Renewed;
    state.state(&doc).commitments.set(entry).unwrap();
    refused!(
        judge(&state, reproved(&good, index, &state)),
        Openings,
        Fault::NoCommitment(0)
    );
    // The state has another commitment there.
    let mut state = world.clone();
    let mut entry = *state.state(&doc).commitments.find(index).unwrap();
    entry.commitment = state.commit(&doc.id, CommitmentRole::Received, COPY);
    state.state(&doc).commitments.set(entry).unwrap();
    refused!(
        judge(&state, reproved(&good, index, &state)),
        Openings,
        Fault::OpeningLeaf(0)
    );
    // Another salt.
    let mut salted = good;
    salted.salt = salt("another");
    refused!(judge(&world, salted), Openings, Fault::NotItsOpening(0));
}

/// The same opening with its path in the tree of another world, which differs by its trailer.
fn reproved(opening: &Opening, index: LeafIndex, world: &World) -> Opening {
    let mut opening = opening.clone();
    opening.at.as_mut().unwrap().path = world.close().path(index);
    opening
}

#[test]
fn a_later_opening_whose_leaf_is_of_another_document_or_record_is_refused() {
    let edits: [fn(&mut RecordLeaf); 3] = [
        |leaf| {
            if let Record::Accept { document, .. } = &mut leaf.record {
                *document = DocumentId([3; 16]);
            }
        },
        |leaf| {
            if let Record::Accept {
                document,
                received: Some(commitment),
                ..
            } = leaf.record
            {
                leaf.record = Record::Renew {
                    document,
                    prev: LeafIndex(0),
                    commitment,
                };
            }
        },
        |leaf| {
            if let Record::Accept { received, .. } = &mut leaf.record {
                *received = None;
            }
        },
    ];
    for edit in edits {
        let (mut world, doc, logged) = exchanged();
        let (index, mut leaf) = logged[0].clone();
        edit(&mut leaf);
        world.leaves[usize::try_from(index.0).unwrap()] = LogLeaf::Record(leaf.clone()).encode();
        let closed = world.close();
        let mut raw = world.raw_of(&doc, &closed);
        let opening = later(CommitmentRole::Received, FILE, (index, &leaf), &closed);
        raw.extra.openings = vec![opening].try_into().unwrap();
        refused!(world.judge(&raw), Openings, Fault::OpeningLeaf(0));
    }
}

/// A world with FILE published by authority 0.
pub(super) fn published() -> (World, Doc) {
    let mut world = World::new();
    let record = world.publish_record(0);
    let edits = Edits {
        signer: "publisher-0",
        ..Edits::default()
    };
    let doc = world.log_record(0, record, edits);
    (world, doc)
}

#[test]
fn a_published_document_is_compared_by_its_plain_hash_and_has_no_openings() {
    let (world, doc) = published();
    let raw = world.raw(&doc);
    assert_eq!(*world.judge(&raw).finding(), Finding::Current);
    let other = verify(
        &digest(COPY),
        raw.text().as_bytes(),
        &world.trust(),
        NOW,
        None,
    );
    assert_eq!(*other.finding(), Finding::Modified);
    let mut opened = raw.clone();
    opened.extra.openings = vec![opening(CommitmentRole::Internal, FILE)]
        .try_into()
        .unwrap();
    refused!(world.judge(&opened), Openings, Fault::Public);
    let mut detailed = raw;
    let (_, reveals) = world.record(0, "decision");
    detailed.extra.details.set(reveals[1].clone()).unwrap();
    refused!(world.judge(&detailed), Details, Fault::Public);
}

#[test]
fn a_plain_hash_is_no_commitment() {
    // The published hash as if it were the internal commitment.
    let (world, doc) = World::with(Edits {
        record: |record| {
            if let Record::Register { internal, .. } = record {
                *internal = crate::document::Commitment(sha256(&[FILE]));
            }
        },
        ..Edits::default()
    });
    refused!(world.verdict(&doc), Openings, Fault::NotItsOpening(0));
}

// Binding 7: details.

#[test]
fn revealed_details_are_at_their_place() {
    let (world, doc) = World::standard();
    let mut raw = world.raw(&doc);
    for k in [1, 2, 9] {
        raw.extra.details.set(doc.details[k].clone()).unwrap();
    }
    let verdict = world.judge(&raw);
    let facts = verdict.facts().unwrap();
    let shown: Vec<_> = facts
        .details
        .iter()
        .map(|d| (d.name(), &*d.value))
        .collect();
    assert_eq!(
        shown,
        [
            ("file number".into(), "43.2-17/2026"),
            ("title".into(), "Aufenthaltserlaubnis"),
            ("field 9".into(), "reserved for later")
        ]
    );
    let reveal = |edit: fn(&mut crate::receipt::DetailReveal)| {
        let mut raw = world.raw(&doc);
        let mut detail = doc.details[1].clone();
        edit(&mut detail);
        raw.extra.details.set(detail).unwrap();
        world.judge(&raw)
    };
    refused!(reveal(|detail| detail.k = 2), Details, Fault::Log(_));
    refused!(
        reveal(|detail| detail.value = Text::try_from(String::from("43.2-18/2026")).unwrap()),
        Details,
        Fault::Log(_)
    );
    refused!(reveal(|detail| detail.salt[0] ^= 1), Details, Fault::Log(_));
    refused!(
        reveal(|detail| detail.k = 16),
        Details,
        Fault::DetailField(16)
    );
}

#[test]
fn details_that_were_not_registered_are_refused() {
    let (world, doc) = World::with(Edits {
        record: |record| {
            if let Record::Register { detail, .. } = record {
                *detail = None;
            }
        },
        ..Edits::default()
    });
    let mut raw = world.raw(&doc);
    raw.extra.details.set(doc.details[1].clone()).unwrap();
    refused!(world.judge(&raw), Details, Fault::NoDetails);
}

#[test]
fn openings_have_one_algorithm() {
    let (world, doc) = World::standard();
    let raw = world.raw(&doc);
    assert_eq!(raw.extra.openings[0].alg, Only);
    assert_eq!(crate::codec::encode(&raw.extra.openings[0])[..2], [1, 1]);
    let mut bytes = crate::codec::encode(&raw.extra.openings[0]);
    bytes[1] = 2;
    crate::codec::decode::<Opening>(&bytes, 4096).unwrap_err();
    let empty: List<Opening, 16> = List::new();
    assert_eq!(crate::codec::encode(&empty), [0; 4]);
}
