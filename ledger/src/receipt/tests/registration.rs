//! Bindings 2 to 5 of formats.md, section 6, and the authorities: for each, a receipt that breaks it and nothing else.

use super::openings::published;
use super::refused;
use super::world::{COPY, Edits, NOW, REGISTERED, World, digest, key, opening, seed};
use crate::codec::Text;
use crate::document::{CommitmentRole, DocumentId};
use crate::hash::{ChainId, Hash, SubmissionHash};
use crate::id::{AuthorityIndex, Height, LeafIndex};
use crate::key::Signature;
use crate::leaf::{LogLeaf, RecordLeaf};
use crate::log::{Path, ProofError};
use crate::receipt::{Failure, Fault, Finding, Framed, ReceiptError, Step, verify};
use crate::record::{Record, Retention, RevokeReason, Role};
use crate::state::{AuthState, DocState, Lifecycle};
use crate::trie::{Terminal, TrieError};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use curve25519_dalek::scalar::Scalar;
use sha2::{Digest as _, Sha512};

#[test]
fn the_standard_receipt_is_current_with_either_file() {
    let (world, doc) = World::standard();
    let verdict = world.verdict(&doc);
    assert_eq!(*verdict.finding(), Finding::Current, "{verdict:?}");
    assert!(verdict.also().is_empty() && verdict.are_bytes_checked());
    let steps: Vec<u8> = verdict.steps().iter().map(|p| p.step.number()).collect();
    assert_eq!(steps, (1..=15).collect::<Vec<u8>>());
    let mut raw = world.raw(&doc);
    raw.extra.openings = vec![opening(CommitmentRole::Citizen, COPY)]
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
}

// Binding 2: document.

#[test]
fn a_leaf_that_registers_nothing_is_refused() {
    let (world, doc) = World::with(Edits {
        leaf: |leaf| {
            leaf.record = Record::Revoke {
                document: *leaf.record.document().unwrap(),
                prev: LeafIndex(0),
                code: RevokeReason::Other,
            };
        },
        ..Edits::default()
    });
    let (other, plain) = World::standard();
    let mut raw = other.raw(&plain);
    raw.extra.leaf = Framed::new(LogLeaf::Record(doc.leaf.clone())).unwrap();
    raw.path = world.close().path(doc.index).hashes().to_vec();
    refused!(
        world.judge(&raw),
        Form,
        Fault::Form(ReceiptError::NotARegistration)
    );
}

#[test]
fn an_id_that_does_not_follow_from_the_nonce_is_refused() {
    let (world, doc) = World::with(Edits {
        record: |record| {
            if let Record::Register { document, .. } = record {
                *document = DocumentId([7; 16]);
            }
        },
        ..Edits::default()
    });
    assert_eq!(doc.id, DocumentId([7; 16]));
    refused!(world.verdict(&doc), Document, Fault::DocumentId(_));
}

#[test]
fn an_id_of_another_author_is_refused() {
    // A foreign nonce, seen in gossip and registered in one's own name.
    let mut world = World::new();
    let (record, _) = world.record(1, "decision");
    let doc = world.log_record(0, record, Edits::default());
    refused!(world.verdict(&doc), Document, Fault::DocumentId(_));
}

#[test]
fn a_state_of_another_document_registration_or_issuer_is_refused() {
    let edits: [fn(&mut DocState); 3] = [
        |state| state.id = DocumentId([1; 16]),
        |state| state.registration = LeafIndex(0),
        |state| state.issuer = AuthorityIndex(2),
    ];
    for edit in edits {
        let (mut world, doc) = World::standard();
        edit(world.state(&doc));
        refused!(world.verdict(&doc), Document, Fault::OtherState);
    }
    let (mut world, doc) = World::standard();
    world.state(&doc);
    assert_eq!(*world.verdict(&doc).finding(), Finding::Current);
}

#[test]
fn a_state_that_the_map_does_not_hold_is_refused() {
    let (mut world, doc) = World::standard();
    world.state(&doc).lifecycle = Lifecycle::Revoked { code: 1 };
    let mut raw = world.raw(&doc);
    // In force, says the receipt; revoked, says the map.
    let mut state = world.state(&doc).clone();
    state.lifecycle = Lifecycle::InForce;
    raw.extra.doc = Some(Framed::new(state).unwrap());
    refused!(
        world.judge(&raw),
        Status,
        Fault::Trie(TrieError::Root { .. })
    );
    // As registered, says the receipt.
    raw.extra.doc = None;
    refused!(
        world.judge(&raw),
        Status,
        Fault::Trie(TrieError::Kind(Terminal::Member))
    );
    // With the absence proof of the map before it was revoked.
    let (before, _) = World::standard();
    raw.extra.doc_proof = before.raw(&doc).extra.doc_proof;
    refused!(
        world.judge(&raw),
        Status,
        Fault::Trie(TrieError::Root { .. })
    );
}

// Binding 3: submission.

fn signed(body: fn(&mut crate::submission::SubmissionBody)) -> Edits {
    Edits {
        body,
        ..Edits::default()
    }
}

#[test]
fn a_submission_of_another_chain_is_refused() {
    let (world, doc) = World::with(signed(|body| body.chain = ChainId(Hash([1; 32]))));
    refused!(world.verdict(&doc), Submission, Fault::OtherChain);
}

#[test]
fn a_leaf_with_another_author_than_its_submission_is_refused() {
    let (world, doc) = World::with(signed(|body| body.authority = AuthorityIndex(1)));
    refused!(
        world.verdict(&doc),
        Submission,
        Fault::NotOfSubmission("authority")
    );
}

#[test]
fn a_leaf_with_another_key_than_its_submission_is_refused() {
    // Signed by a publisher's key, logged as if by the registrar's.
    let (world, doc) = World::with(Edits {
        signer: "publisher-0",
        leaf: |leaf| leaf.key = key("registrar-0").key(),
        ..Edits::default()
    });
    refused!(
        world.verdict(&doc),
        Submission,
        Fault::NotOfSubmission("key")
    );
}

#[test]
fn a_leaf_of_another_submission_is_refused() {
    let (world, doc) = World::with(Edits {
        leaf: |leaf| leaf.submission = SubmissionHash(Hash([1; 32])),
        ..Edits::default()
    });
    refused!(
        world.verdict(&doc),
        Submission,
        Fault::NotOfSubmission("submission hash")
    );
}

#[test]
fn a_record_that_the_submission_does_not_hold_is_refused() {
    let (world, doc) = World::with(Edits {
        leaf: |leaf| {
            if let Record::Register { retention, .. } = &mut leaf.record {
                *retention = Retention::Years2;
            }
        },
        ..Edits::default()
    });
    let at = ProofError::Root { index: 1, size: 3 };
    let verdict = world.verdict(&doc);
    assert_eq!(
        *verdict.finding(),
        Finding::ProofInvalid(Failure {
            step: Step::Submission,
            fault: Fault::Log(at)
        })
    );
}

#[test]
fn a_record_at_another_place_of_the_submission_is_refused() {
    let (world, doc) = World::standard();
    let mut raw = world.raw(&doc);
    raw.extra.record_index = 0;
    refused!(
        world.judge(&raw),
        Submission,
        Fault::Log(ProofError::Root { .. })
    );
    raw.extra.record_index = 3;
    refused!(
        world.judge(&raw),
        Submission,
        Fault::Log(ProofError::Position { index: 3, size: 3 })
    );
    raw.extra.record_index = 1;
    raw.extra.record_path = Path::default();
    refused!(
        world.judge(&raw),
        Submission,
        Fault::Log(ProofError::Length { .. })
    );
}

#[test]
fn the_submissions_count_bounds_the_place() {
    // Place 1 of a submission that says it has one record.
    let (world, doc) = World::with(signed(|body| body.count = 1));
    refused!(
        world.verdict(&doc),
        Submission,
        Fault::Log(ProofError::Position { index: 1, size: 1 })
    );
}

#[test]
fn a_block_outside_the_window_is_refused() {
    let (world, doc) = World::with(signed(|body| {
        body.not_before_ms = REGISTERED.saturating_add(1);
    }));
    refused!(world.verdict(&doc), Submission, Fault::Window);
    let (world, doc) = World::with(signed(|body| {
        body.not_after_ms = REGISTERED.saturating_sub(1);
    }));
    refused!(world.verdict(&doc), Submission, Fault::Window);
    let (world, doc) = World::with(signed(|body| {
        (body.not_before_ms, body.not_after_ms) = (REGISTERED, REGISTERED);
    }));
    assert_eq!(*world.verdict(&doc).finding(), Finding::Current);
}

#[test]
fn a_submission_that_its_key_did_not_sign_is_refused() {
    let (world, doc) = World::with(Edits {
        signer: "publisher-0",
        body: |body| body.key = key("registrar-0").key(),
        ..Edits::default()
    });
    refused!(world.verdict(&doc), Submission, Fault::Signature(_));
    let (world, doc) = World::standard();
    let mut raw = world.raw(&doc);
    let mut bytes = *raw.extra.signature.as_bytes();
    bytes[40] ^= 1;
    raw.extra.signature = Signature::from_bytes(bytes);
    refused!(world.judge(&raw), Submission, Fault::Signature(_));
}

/// A signature by this key of which R has small order: good under ZIP-215, refused by the strict rule.
fn with_small_order_r(label: &str, message: &[u8]) -> Signature {
    // A point of order 8: it vanishes from the cofactored equation, and S = k·a is left.
    let r =
        hex::decode("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a").unwrap();
    let hash = |parts: &[&[u8]]| -> [u8; 64] { Sha512::digest(parts.concat()).into() };
    let mut secret: [u8; 32] = hash(&[&seed(label)])[..32].try_into().unwrap();
    secret[0] &= 248;
    secret[31] = secret[31] & 127 | 64;
    let k = hash(&[&r, key(label).key().as_bytes(), message]);
    let s = Scalar::from_bytes_mod_order_wide(&k) * Scalar::from_bytes_mod_order(secret);
    Signature::from_bytes([r, s.to_bytes().to_vec()].concat().try_into().unwrap())
}

#[test]
fn a_submissions_signature_is_accepted_as_blocks_accept_it() {
    let (world, doc) = World::standard();
    let mut raw = world.raw(&doc);
    let message = raw.extra.body.sign_bytes();
    let signature = with_small_order_r("registrar-0", &message);
    let by = key("registrar-0").key();
    by.verify_strict(&message, &signature.raw()).unwrap_err();
    raw.extra.signature = signature;
    assert_eq!(*world.judge(&raw).finding(), Finding::Current);
}

// Binding 4: key.

#[test]
fn a_key_that_the_map_does_not_have_is_refused() {
    let (mut world, doc) = World::standard();
    world.keys.remove(&key("registrar-0").key());
    refused!(
        world.verdict(&doc),
        Key,
        Fault::Trie(TrieError::Kind(
            Terminal::OtherLeaf { .. } | Terminal::Empty
        ))
    );
}

#[test]
fn a_key_state_that_the_map_does_not_hold_is_refused() {
    let (mut world, doc) = World::standard();
    world.key_state("registrar-0").retired = Some(LeafIndex(0));
    let mut raw = world.raw(&doc);
    let mut state = *world.key_state("registrar-0");
    state.retired = None;
    raw.extra.key = Framed::new(state).unwrap();
    refused!(world.judge(&raw), Key, Fault::Trie(TrieError::Root { .. }));
}

#[test]
fn a_key_of_another_authority_is_refused() {
    let (mut world, doc) = World::standard();
    world.key_state("registrar-0").authority = AuthorityIndex(3);
    refused!(
        world.verdict(&doc),
        Key,
        Fault::ForeignKey(AuthorityIndex(3))
    );
}

#[test]
fn a_key_outside_its_life_is_refused() {
    let (mut world, doc) = World::standard();
    let index = doc.index;
    world.key_state("registrar-0").enrolled = index.saturating_add(1);
    refused!(world.verdict(&doc), Key, Fault::KeyNotAlive(_));
    world.key_state("registrar-0").enrolled = index;
    assert_eq!(*world.verdict(&doc).finding(), Finding::Current);
    world.key_state("registrar-0").retired = Some(index);
    refused!(world.verdict(&doc), Key, Fault::KeyNotAlive(_));
    world.key_state("registrar-0").retired = Some(index.saturating_add(1));
    assert_eq!(*world.verdict(&doc).finding(), Finding::Current);
}

#[test]
fn an_expired_key_is_refused() {
    let (mut world, doc) = World::standard();
    world.key_state("registrar-0").not_after_ms = REGISTERED.saturating_sub(1);
    refused!(world.verdict(&doc), Key, Fault::KeyExpired);
    world.key_state("registrar-0").not_after_ms = REGISTERED;
    assert_eq!(*world.verdict(&doc).finding(), Finding::Current);
}

#[test]
fn a_key_without_the_role_is_refused() {
    let cases = [
        (Role::ISSUE, true),
        (Role::EXCHANGE, false),
        (Role::PUBLIC, false),
        (Role::NODE, false),
    ];
    for (role, good) in cases {
        let (mut world, doc) = World::standard();
        world.key_state("registrar-0").role = role;
        let verdict = world.verdict(&doc);
        if good {
            assert_eq!(*verdict.finding(), Finding::Current);
        } else {
            refused!(verdict, Key, Fault::Role(_));
        }
    }
    let (mut world, doc) = published();
    assert_eq!(*world.verdict(&doc).finding(), Finding::Current);
    world.key_state("publisher-0").role = Role::ISSUE.with(Role::EXCHANGE).with(Role::NODE);
    refused!(world.verdict(&doc), Key, Fault::Role(_));
}

#[test]
fn a_compromised_key_is_a_warning() {
    let (mut world, doc) = World::standard();
    world.key_state("registrar-0").compromised_since = Some(LeafIndex(0));
    let verdict = world.verdict(&doc);
    assert_eq!(*verdict.finding(), Finding::Current);
    let facts = verdict.facts().unwrap();
    assert_eq!(facts.compromised_since, Some(LeafIndex(0)));
}

// Binding 5: trailer.

#[test]
fn a_last_leaf_of_another_kind_is_refused() {
    let (world, doc) = World::standard();
    let (record, _) = world.record(3, "last");
    let closed = world.close();
    let leaf = LogLeaf::Record(RecordLeaf { record, ..doc.leaf });
    let closed = world.close_by(closed.trie, leaf);
    refused!(
        world.judge(&world.raw_of(&doc, &closed)),
        Trailer,
        Fault::LeafKind
    );
}

#[test]
fn a_trailer_that_is_not_the_last_leaf_is_refused() {
    let (mut world, doc) = World::standard();
    let early = world.close();
    let LogLeaf::Trailer(trailer) = &early.trailer else {
        panic!("closed by a trailer")
    };
    let index = world.push(&LogLeaf::Trailer(*trailer));
    world.state(&doc).lifecycle = Lifecycle::Revoked { code: 1 };
    let closed = world.close();
    // The receipt shows the status before the revocation, by a trailer that is in the log, but not last.
    let (before, _) = World::standard();
    let mut raw = world.raw_of(&doc, &closed);
    let old = before.raw_of(&doc, &early);
    raw.extra.doc = old.extra.doc;
    raw.extra.doc_proof = old.extra.doc_proof;
    raw.extra.key_proof = old.extra.key_proof;
    raw.extra.authorities = old.extra.authorities;
    raw.extra.trailer = old.extra.trailer;
    raw.extra.trailer_path = closed.path(index);
    refused!(world.judge(&raw), Trailer, Fault::Log(_));
}

#[test]
fn a_leaf_of_a_later_block_than_the_trailer_is_refused() {
    let (mut world, doc) = World::standard();
    world.trailer.height = Height(4);
    refused!(world.verdict(&doc), Trailer, Fault::LaterThanCheckpoint(_));
    world.trailer.height = Height(5);
    world.trailer.time_ms = REGISTERED.saturating_sub(1);
    refused!(world.verdict(&doc), Trailer, Fault::LaterThanCheckpoint(_));
    world.trailer.time_ms = REGISTERED;
    assert_eq!(*world.verdict(&doc).finding(), Finding::Current);
}

#[test]
fn a_registration_that_is_not_in_the_log_is_refused() {
    let (world, doc) = World::standard();
    let raw = world.raw(&doc);
    let mut moved = raw.clone();
    moved.index = 0;
    refused!(world.judge(&moved), Registration, Fault::Log(_));
    let mut beyond = raw.clone();
    beyond.index = world.close().size.0;
    refused!(
        world.judge(&beyond),
        Registration,
        Fault::Log(ProofError::Position { .. })
    );
    let mut short = raw.clone();
    short.path.pop();
    refused!(
        world.judge(&short),
        Registration,
        Fault::Log(ProofError::Length { .. })
    );
    let mut other = raw;
    other.path[0] = Hash([1; 32]);
    refused!(
        world.judge(&other),
        Registration,
        Fault::Log(ProofError::Root { .. })
    );
}

// Authorities.

#[test]
fn the_author_must_be_among_the_proved_authorities() {
    let (mut world, doc) = World::standard();
    world.named = vec![1, 2];
    refused!(
        world.verdict(&doc),
        Authorities,
        Fault::AuthorityMissing(AuthorityIndex(0))
    );
    world.named = Vec::new();
    refused!(
        world.verdict(&doc),
        Authorities,
        Fault::AuthorityMissing(AuthorityIndex(0))
    );
}

fn admitted(id: &str) -> AuthState {
    AuthState {
        id: crate::id::AuthorityId::new(id).unwrap(),
        name: Text::try_from(String::from("Neue Behörde")).unwrap(),
        admin: key("admin-new").key(),
        joined: LeafIndex(1),
        succeeded_by: None,
    }
}

#[test]
fn names_come_from_the_map_or_from_genesis_and_from_nowhere_else() {
    let (mut world, doc) = World::standard();
    world.named = vec![0, 4];
    refused!(
        world.verdict(&doc),
        Authorities,
        Fault::AuthorityUnknown(AuthorityIndex(4))
    );
    world.auths.insert(AuthorityIndex(4), admitted("neue"));
    let verdict = world.verdict(&doc);
    let facts = verdict.facts().unwrap();
    let name = |at| alloc::format!("{}", facts.authority(AuthorityIndex(at)));
    assert_eq!(name(0), "Behörde bamf");
    assert_eq!(name(4), "Neue Behörde");
    assert_eq!(name(2), "authority #2, name not proved");
    // The genesis name of an authority that was renamed since.
    let before = world.raw(&doc);
    world.auths.insert(AuthorityIndex(0), admitted("umbenannt"));
    let mut renamed = world.raw(&doc);
    assert_eq!(
        alloc::format!("{}", world.judge(&renamed).facts().unwrap().issuer()),
        "Neue Behörde"
    );
    renamed.extra.authorities = before.extra.authorities;
    refused!(world.judge(&renamed), Authorities, Fault::Trie(_));
}
