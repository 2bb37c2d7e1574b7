//! Binding 1: who vouches for a checkpoint, with and without a pin, across changes of the validator set.

use super::refused;
use super::world::{
    CLOSED, COSIGNED, Closed, Doc, Edits, FILE, NOW, Raw, Validators, World, digest, genesis, key,
};
use crate::codec::Bytes;
use crate::hash::{Hash, SetHash};
use crate::header::Flags;
use crate::id::{Height, LeafIndex, TimeMs, TreeSize};
use crate::key::{BadKey, Key};
use crate::leaf::LogLeaf;
use crate::log::{Path, ProofError};
use crate::note::VerifierKey;
use crate::receipt::signers::Signers;
use crate::receipt::{
    BadSigners, Fault, Finding, Framed, Handover, MaxAge, Pin, Trust, TrustError, Verdict, verify,
};
use crate::validator_set::{Member, ValidatorSet};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

#[test]
fn another_network_is_refused() {
    let (world, doc) = World::standard();
    let other = Trust::new(genesis("other.test"), None, MaxAge::default()).unwrap();
    let text = world.raw(&doc).text();
    refused!(
        verify(&digest(FILE), text.as_bytes(), &other, NOW, None),
        Origin,
        Fault::Origin(_)
    );
    // Everything is right but the origin.
    let (mut world, doc) = World::standard();
    world.origin = format!("{}x", world.origin);
    refused!(world.verdict(&doc), Origin, Fault::Origin(_));
}

#[test]
fn the_quorum_is_n_minus_f_distinct_cosigners_and_a_log_line() {
    let (mut world, doc) = World::standard();
    world.cosigners.truncate(2);
    refused!(
        world.verdict(&doc),
        Signers,
        Fault::Quorum {
            found: 2,
            needed: 3
        }
    );
    world.cosigners.push((1, COSIGNED + 60));
    refused!(world.verdict(&doc), Signers, Fault::RepeatedLine(_));
    let (mut world, doc) = World::standard();
    world.logs.clear();
    refused!(world.verdict(&doc), Signers, Fault::NoLogLine);
    world.logs = vec![2];
    assert_eq!(*world.verdict(&doc).finding(), Finding::Current);
    world.logs = vec![0, 1, 2, 3];
    world.cosigners = (0..4).map(|at| (at, COSIGNED)).collect();
    let verdict = world.verdict(&doc);
    assert_eq!(*verdict.finding(), Finding::Current);
    assert_eq!(verdict.facts().unwrap().cosigners.len(), 4);
}

#[test]
fn log_lines_are_no_cosignatures() {
    let (mut world, doc) = World::standard();
    world.logs = vec![0, 1, 2, 3];
    world.cosigners = vec![(0, COSIGNED)];
    refused!(
        world.verdict(&doc),
        Signers,
        Fault::Quorum {
            found: 1,
            needed: 3
        }
    );
}

#[test]
fn a_repeated_line_is_refused() {
    let (world, doc) = World::standard();
    for line in [0, 1] {
        let mut raw = world.raw(&doc);
        raw.edit_lines(|lines| lines.push(lines[line].clone()));
        refused!(world.judge(&raw), Signers, Fault::RepeatedLine(_));
    }
}

/// Changes the bytes behind the key id of one line.
pub(super) fn edit_blob(raw: &mut Raw, at: usize, edit: impl FnOnce(&mut Vec<u8>)) {
    raw.edit_lines(|lines| {
        let (name, blob) = lines[at].rsplit_once(' ').unwrap();
        let mut blob = STANDARD.decode(blob).unwrap();
        edit(&mut blob);
        lines[at] = format!("{name} {}", STANDARD.encode(blob));
    });
}

#[test]
fn a_known_line_that_does_not_verify_voids_the_note() {
    let (mut world, doc) = World::standard();
    world.cosigners.push((2, COSIGNED));
    let raw = world.raw(&doc);
    // Four cosigners, three needed: the bad one could be left out.
    for at in 0..5 {
        let edits: [fn(&mut Vec<u8>); 4] = [
            |blob| *blob.last_mut().unwrap() ^= 1,
            |blob| blob[7] ^= 1,
            |blob| blob.truncate(blob.len() - 1),
            |blob| blob.push(0),
        ];
        for edit in edits {
            let mut raw = raw.clone();
            edit_blob(&mut raw, at, edit);
            refused!(world.judge(&raw), Signers, Fault::BadLine(_));
        }
    }
}

#[test]
fn unknown_lines_are_ignored_but_well_formed_and_few() {
    let (world, doc) = World::standard();
    let stranger = |at: u8| {
        format!(
            "\u{2014} witness-{at}.example {}",
            STANDARD.encode([at; 76])
        )
    };
    let mut raw = world.raw(&doc);
    // One with a known name and another id, twice.
    let mut other_id = String::new();
    raw.edit_lines(|lines| other_id = lines[1].clone());
    let mut forged = raw.clone();
    edit_blob(&mut forged, 1, |blob| blob[0] ^= 1);
    forged.edit_lines(|lines| {
        lines.push(other_id);
        lines.push(lines[1].clone());
    });
    assert_eq!(*world.judge(&forged).finding(), Finding::Current);
    raw.edit_lines(|lines| lines.extend((0..96).map(stranger)));
    assert_eq!(*world.judge(&raw).finding(), Finding::Current);
    raw.edit_lines(|lines| lines.push(stranger(97)));
    refused!(world.judge(&raw), Form, Fault::Form(_));
    for bad in [
        "\u{2014} name",
        "- a AAAAAAA=",
        "\u{2014} a+b AAAAAAA=",
        "\u{2014} a AAAAAAB=",
        "",
    ] {
        let mut raw = world.raw(&doc);
        raw.edit_lines(|lines| lines.push(bad.to_string()));
        refused!(world.judge(&raw), Form, Fault::Form(_));
    }
}

#[test]
fn a_checkpoint_of_another_size_or_root_is_not_what_was_signed() {
    let (world, doc) = World::standard();
    let raw = world.raw(&doc);
    let mut resized = raw.clone();
    resized.note = raw.note.replacen("\n4\n", "\n5\n", 1);
    refused!(world.judge(&resized), Trailer, Fault::Log(_));
}

#[test]
fn a_checkpoint_of_another_set_than_its_trailers_is_refused() {
    let (mut world, doc) = World::standard();
    world.trailer_set = Some(SetHash(Hash([1; 32])));
    refused!(world.verdict(&doc), Signers, Fault::OtherSet);
}

#[test]
fn strangers_that_cosign_in_the_names_of_the_set_are_unknown() {
    let (mut world, doc) = World::standard();
    let founders = world.validators.set.hash();
    world.validators = Validators::new("stranger", &[0, 1, 2, 3]);
    world.trailer_set = Some(founders);
    refused!(world.verdict(&doc), Signers, Fault::NoLogLine);
    // They name their own set in the trailer.
    world.trailer_set = None;
    refused!(world.verdict(&doc), Signers, Fault::OtherSet);
}

// Handovers.

/// A chain of two sets: the end of the founders' epoch, and a checkpoint of the next set.
pub(super) struct TwoSets {
    /// As it stood at the end of the epoch.
    pub(super) sealed: World,
    pub(super) seal: Closed,
    /// Some blocks later, signed by the next set.
    pub(super) later: World,
    pub(super) doc: Doc,
    pub(super) next: Validators,
}

fn seal_with(edit: impl FnOnce(&mut World, &Validators)) -> TwoSets {
    let (mut sealed, doc) = World::standard();
    let next = Validators::new("next", &[1, 2, 3, 4]);
    sealed.trailer.flags = Flags::SEAL;
    sealed.trailer.next_set = next.set.hash();
    sealed.trailer.time_ms = TimeMs(CLOSED.0 - 50_000);
    sealed.trailer.height = Height(7);
    edit(&mut sealed, &next);
    let seal = sealed.close();
    let mut later = sealed.clone();
    later.push(&seal.trailer);
    let (record, _) = later.record(3, "in the next epoch");
    later.log_record(3, record, Edits::default());
    later.trailer = World::new().trailer;
    later.validators = next.clone();
    later.handovers = vec![handover(&seal, &next)];
    TwoSets {
        sealed,
        seal,
        later,
        doc,
        next,
    }
}

pub(super) fn two_sets() -> TwoSets {
    seal_with(|_, _| {})
}

pub(super) fn handover(seal: &Closed, next: &Validators) -> Handover {
    Handover {
        note: Bytes::try_from(seal.note.encode().into_bytes()).unwrap(),
        trailer: Framed::new(seal.trailer.clone()).unwrap(),
        path: seal.path(LeafIndex(seal.size.0 - 1)),
        set: Framed::new(next.set.clone()).unwrap(),
    }
}

#[test]
fn a_handover_leads_from_genesis_to_the_next_set() {
    let chain = two_sets();
    let verdict = chain.later.verdict(&chain.doc);
    assert_eq!(*verdict.finding(), Finding::Current, "{verdict:?}");
    let cosigners = &verdict.facts().unwrap().cosigners;
    assert_eq!(cosigners[2].as_str(), "authority-4");
    // The end of the epoch itself is still the founders'.
    assert_eq!(
        *chain.sealed.verdict(&chain.doc).finding(),
        Finding::Current
    );
}

#[test]
fn without_the_handover_the_next_set_is_unknown() {
    let mut chain = two_sets();
    chain.later.handovers.clear();
    refused!(chain.later.verdict(&chain.doc), Signers, Fault::OtherSet);
}

#[test]
fn old_signers_do_not_sign_after_their_handover() {
    // Retired keys make a checkpoint of their own after the end of their epoch.
    let mut chain = two_sets();
    chain.later.validators = Validators::new("founder", &[0, 1, 2, 3]);
    refused!(chain.later.verdict(&chain.doc), Signers, Fault::OtherSet);
    chain.later.trailer_set = Some(chain.next.set.hash());
    refused!(chain.later.verdict(&chain.doc), Signers, Fault::NoLogLine);
}

#[test]
fn a_handover_needs_the_quorum_and_a_log_of_the_set_before() {
    let few = seal_with(|world, _| world.cosigners.truncate(2));
    let verdict = relabelled(few).0;
    refused!(
        verdict,
        Signers,
        Fault::Quorum {
            found: 2,
            needed: 3
        }
    );
    let unlogged = seal_with(|world, _| world.logs.clear());
    refused!(relabelled(unlogged).0, Signers, Fault::NoLogLine);
    let twice = seal_with(|world, _| world.cosigners.push((0, COSIGNED + 9)));
    refused!(relabelled(twice).0, Signers, Fault::RepeatedLine(_));
}

/// The later checkpoint of a chain whose seal was signed badly, with good signatures of its own.
fn relabelled(mut chain: TwoSets) -> (Verdict, TwoSets) {
    let (good, _) = World::standard();
    chain.later.logs = good.logs;
    chain.later.cosigners = good.cosigners;
    (chain.later.verdict(&chain.doc), chain)
}

#[test]
fn a_handover_is_the_end_of_an_epoch_of_the_set_before() {
    let plain = seal_with(|world, _| {
        world.trailer.flags = Flags::ANCHOR;
        world.trailer.next_set = SetHash::default();
    });
    refused!(
        plain.later.verdict(&plain.doc),
        Signers,
        Fault::HandoverNotSeal(TreeSize(4))
    );
    let foreign = seal_with(|world, _| world.trailer_set = Some(SetHash(Hash([1; 32]))));
    let mut later = foreign.later;
    later.trailer_set = None;
    refused!(
        later.verdict(&foreign.doc),
        Signers,
        Fault::HandoverNotSeal(TreeSize(4))
    );
}

#[test]
fn a_handover_carries_the_set_that_its_trailer_names() {
    let mut chain = two_sets();
    let thief = Validators::new("thief", &[0, 1, 2, 3]);
    chain.later.handovers = vec![handover(&chain.seal, &thief)];
    chain.later.validators = thief;
    refused!(
        chain.later.verdict(&chain.doc),
        Signers,
        Fault::HandoverSet(TreeSize(4))
    );
}

#[test]
fn a_handovers_trailer_is_the_last_leaf_of_its_checkpoint() {
    let mut chain = two_sets();
    let thief = Validators::new("thief", &[0, 1, 2, 3]);
    let LogLeaf::Trailer(mut trailer) = chain.seal.trailer else {
        panic!("closed by a trailer")
    };
    trailer.next_set = thief.set.hash();
    let mut forged = handover(&chain.seal, &thief);
    forged.trailer = Framed::new(LogLeaf::Trailer(trailer)).unwrap();
    chain.later.handovers = vec![forged];
    chain.later.validators = thief;
    refused!(
        chain.later.verdict(&chain.doc),
        Signers,
        Fault::Log(ProofError::Root { .. })
    );
    let mut chain = two_sets();
    let mut record = handover(&chain.seal, &chain.next);
    record.trailer = Framed::new(LogLeaf::Record(chain.doc.leaf.clone())).unwrap();
    chain.later.handovers = vec![record];
    refused!(chain.later.verdict(&chain.doc), Signers, Fault::LeafKind);
}

#[test]
fn handovers_are_ascending_and_decoded_even_where_they_do_not_count() {
    let chain = two_sets();
    let good = handover(&chain.seal, &chain.next);
    let mut world = chain.later.clone();
    world.handovers = vec![good.clone(), good.clone()];
    refused!(
        world.verdict(&chain.doc),
        Signers,
        Fault::HandoverOrder(TreeSize(4))
    );
    // On the receipt of the seal itself the handover does not count: neither signatures nor path matter.
    let mut sealed = chain.sealed.clone();
    let mut bad = good.clone();
    bad.path = Path::default();
    sealed.handovers = vec![bad.clone()];
    assert_eq!(*sealed.verdict(&chain.doc).finding(), Finding::Current);
    world.handovers = vec![bad];
    refused!(world.verdict(&chain.doc), Signers, Fault::Log(_));
    // But it is decoded.
    let mut broken = good.clone();
    broken.note = Bytes::try_from(b"no note".to_vec()).unwrap();
    sealed.handovers = vec![broken];
    refused!(sealed.verdict(&chain.doc), Signers, Fault::HandoverNote(_));
    let mut text = good.clone();
    let note = chain.seal.note.encode().replacen("\n4\n", "\n04\n", 1);
    text.note = Bytes::try_from(note.into_bytes()).unwrap();
    sealed.handovers = vec![text];
    refused!(
        sealed.verdict(&chain.doc),
        Signers,
        Fault::HandoverCheckpoint
    );
    let mut origin = good;
    let note = chain
        .seal
        .note
        .encode()
        .replacen("nachweis.test", "other.test", 1);
    origin.note = Bytes::try_from(note.into_bytes()).unwrap();
    sealed.handovers = vec![origin];
    refused!(sealed.verdict(&chain.doc), Signers, Fault::Origin(_));
}

#[test]
fn a_set_with_a_key_that_may_not_enter_is_refused() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let weak = |set: &ValidatorSet| {
        let mut members: Vec<Member> = set.members().to_vec();
        members[0].cosigner = Key::from_bytes(neutral);
        ValidatorSet::new(members).unwrap()
    };
    let chain = seal_with(|world, next| world.trailer.next_set = weak(&next.set).hash());
    let mut world = chain.later.clone();
    world.handovers[0].set = Framed::new(weak(&chain.next.set)).unwrap();
    refused!(
        world.verdict(&chain.doc),
        Signers,
        Fault::BadSigners(BadSigners::Key {
            source: BadKey::SmallOrder(_),
            ..
        })
    );
    let pin = Pin {
        set: weak(&chain.next.set),
        ..chain.seal.pin(&chain.next)
    };
    assert!(matches!(
        world.trust().with_pin(pin),
        Err(TrustError::Signers(BadSigners::Key { .. }))
    ));
}

#[test]
fn a_set_in_which_two_logs_look_the_same_is_refused() {
    // Found by trying 86,589 keys: their ids of 32 bits are equal for this origin.
    let logs = [56_600, 86_589].map(|number| key(&format!("same-{number}")).key());
    let ids = logs.map(|log| VerifierKey::log("log.example", log).id());
    assert_eq!(ids[0], ids[1]);
    let founders = Validators::new("founder", &[0, 1, 2, 3]).set;
    let mut members: Vec<Member> = founders.members().to_vec();
    (members[0].log, members[1].log) = (logs[0], logs[1]);
    let set = ValidatorSet::new(members).unwrap();
    let refusal = Signers::enter("log.example", &set).err();
    assert_eq!(refusal, Some(BadSigners::SameNoteId("log.example".into())));
    assert!(Signers::enter("other.example", &set).is_ok_and(|s| s.set().n() == 4));
}
