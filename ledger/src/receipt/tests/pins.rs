//! Binding 1 under a pin: above, at and below it; and how it moves.

use super::refused;
use super::signers::{edit_blob, handover, two_sets};
use super::world::{CLOSED, COSIGNED, Closed, Doc, FILE, NOW, Validators, World, digest};
use crate::hash::{Hash, SetHash};
use crate::header::Flags;
use crate::id::{AuthorityIndex, LeafIndex, TreeSize};
use crate::key::Key;
use crate::leaf::LogLeaf;
use crate::log::{Path, ProofError};
use crate::receipt::{
    Advance, BadSigners, Failure, Fault, Finding, Freshness, Pin, Stale, Step, TrustError, Verdict,
    verify,
};
use crate::state::Lifecycle;
use crate::validator_set::{Member, ValidatorSet};
use alloc::vec;
use alloc::vec::Vec;

#[test]
fn a_pin_of_nothing_is_refused() {
    let (world, _) = World::standard();
    let closed = world.close();
    let pin = Pin {
        size: TreeSize(0),
        ..closed.pin(&world.validators)
    };
    assert_eq!(world.trust().with_pin(pin).err(), Some(TrustError::PinSize));
}

/// The verdict on FILE under a pin.
fn pinned(world: &World, doc: &Doc, pin: Pin) -> Verdict {
    let text = world.raw(doc).text();
    verify(
        &digest(FILE),
        text.as_bytes(),
        &world.pinned(pin),
        NOW,
        None,
    )
}

#[test]
fn above_the_pin_its_set_signs_and_genesis_does_not() {
    let chain = two_sets();
    let pin = chain.seal.pin(&chain.next);
    // The pinned trailer is a SEAL, so the pin holds the next set: no handover is needed.
    let mut later = chain.later.clone();
    later.handovers.clear();
    assert_eq!(
        *pinned(&later, &chain.doc, pin.clone()).finding(),
        Finding::Current
    );
    // The handover at the pin's own size does not count, however bad.
    later.handovers = vec![handover(&chain.seal, &chain.next)];
    later.handovers[0].path = Path::default();
    assert_eq!(
        *pinned(&later, &chain.doc, pin.clone()).finding(),
        Finding::Current
    );
    // Founders sign a larger tree in the name of their own set: genesis is no signing set under a pin.
    let mut fork = chain.later.clone();
    fork.handovers.clear();
    fork.validators = Validators::new("founder", &[0, 1, 2, 3]);
    refused!(pinned(&fork, &chain.doc, pin), Signers, Fault::OtherSet);
    assert_eq!(*fork.verdict(&chain.doc).finding(), Finding::Current);
}

#[test]
fn from_an_older_pin_handovers_lead_on() {
    let chain = two_sets();
    let (early, _) = World::standard();
    let mut early = early;
    early.leaves.truncate(1);
    let pin = early.close().pin(&early.validators);
    assert_eq!(pin.size, TreeSize(2));
    assert_eq!(
        *pinned(&chain.later, &chain.doc, pin.clone()).finding(),
        Finding::Current
    );
    let mut without = chain.later.clone();
    without.handovers.clear();
    refused!(pinned(&without, &chain.doc, pin), Signers, Fault::OtherSet);
}

#[test]
fn at_the_pin_the_root_is_the_pinned_one_and_a_quorum_makes_it_fresh() {
    let (mut world, doc) = World::standard();
    let closed = world.close();
    let pin = closed.pin(&world.validators);
    assert_eq!(
        *pinned(&world, &doc, pin.clone()).finding(),
        Finding::Current
    );
    let other = Pin {
        root: Hash([1; 32]),
        ..pin.clone()
    };
    refused!(
        pinned(&world, &doc, other),
        Signers,
        Fault::OtherRoot(TreeSize(4))
    );
    // Without a quorum or a log line the pin vouches, and the proof is stale.
    world.cosigners.truncate(2);
    let verdict = pinned(&world, &doc, pin.clone());
    assert_eq!(*verdict.finding(), Finding::InForceAsOf(Stale::PinAlone));
    assert_eq!(verdict.freshness(), Some(Freshness::Stale(Stale::PinAlone)));
    let as_of = verdict.as_of().unwrap();
    assert_eq!((as_of.cosigned_at, as_of.moment_ms()), (None, CLOSED));
    assert!(verdict.facts().unwrap().cosigners.is_empty());
    world.cosigners.push((3, COSIGNED));
    world.logs.clear();
    let verdict = pinned(&world, &doc, pin.clone());
    assert_eq!(*verdict.finding(), Finding::InForceAsOf(Stale::PinAlone));
    // A bad line of the pinned set still voids the note.
    let mut raw = world.raw(&doc);
    edit_blob(&mut raw, 0, |blob| blob[20] ^= 1);
    let text = raw.text();
    let verdict = verify(
        &digest(FILE),
        text.as_bytes(),
        &world.pinned(pin),
        NOW,
        None,
    );
    refused!(verdict, Signers, Fault::BadLine(_));
}

#[test]
fn at_a_pinned_seal_the_next_set_did_not_sign() {
    // The trailer is of the founders, the pin of the next set: the pin alone vouches, whoever signed.
    let chain = two_sets();
    let pin = chain.seal.pin(&chain.next);
    let verdict = pinned(&chain.sealed, &chain.doc, pin.clone());
    assert_eq!(*verdict.finding(), Finding::InForceAsOf(Stale::PinAlone));
    // Even if members of the next set cosigned that checkpoint.
    let mut cosigned = chain.sealed.clone();
    cosigned.validators = chain.next.clone();
    cosigned.trailer_set = Some(Validators::new("founder", &[0, 1, 2, 3]).set.hash());
    let verdict = pinned(&cosigned, &chain.doc, pin);
    assert_eq!(*verdict.finding(), Finding::InForceAsOf(Stale::PinAlone));
}

#[test]
fn below_the_pin_only_a_consistency_to_exactly_it_helps() {
    let chain = two_sets();
    let larger = chain.later.close();
    let pin = larger.pin(&chain.next);
    let mut world = chain.sealed.clone();
    // None: could not tell, and no status.
    let older = pinned(&world, &chain.doc, pin.clone());
    let sizes = Finding::OlderThanPin {
        size: TreeSize(4),
        pin: larger.size,
    };
    assert_eq!((older.finding(), older.exit_code()), (&sizes, 3));
    assert!(older.also().is_empty() && older.facts().is_none() && older.as_of().is_none());
    assert_eq!(older.freshness(), None);
    // For another size: skipped.
    let mut other = chain.seal.consistency(&larger);
    other.size = TreeSize(larger.size.0 + 1);
    world.consistency = Some(other);
    assert_eq!(*pinned(&world, &chain.doc, pin.clone()).finding(), sizes);
    // Bad: invalid.
    let mut bad = chain.seal.consistency(&larger);
    bad.path = Path::new(vec![Hash([1; 32]); bad.path.hashes().len()]).unwrap();
    world.consistency = Some(bad);
    refused!(
        pinned(&world, &chain.doc, pin.clone()),
        Signers,
        Fault::Inconsistent(_)
    );
    // Good: the pin vouches, without any quorum, and the proof is stale.
    world.consistency = Some(chain.seal.consistency(&larger));
    world.cosigners.clear();
    let verdict = pinned(&world, &chain.doc, pin.clone());
    assert_eq!(*verdict.finding(), Finding::InForceAsOf(Stale::PinAlone));
    // To another tree of that size: invalid.
    let fork = Pin {
        root: Hash([1; 32]),
        ..pin
    };
    refused!(
        pinned(&world, &chain.doc, fork),
        Signers,
        Fault::Inconsistent(_)
    );
}

#[test]
fn below_the_pin_modified_still_shows_and_no_status_does() {
    let chain = two_sets();
    let pin = chain.later.close().pin(&chain.next);
    let mut world = chain.sealed.clone();
    world.state(&chain.doc).lifecycle = Lifecycle::Revoked { code: 1 };
    let text = world.raw(&chain.doc).text();
    let verdict = verify(
        &digest(b"other"),
        text.as_bytes(),
        &world.pinned(pin.clone()),
        NOW,
        None,
    );
    assert_eq!(*verdict.finding(), Finding::Modified);
    assert!(matches!(verdict.also(), [Finding::OlderThanPin { .. }]));
    assert!(verdict.facts().is_none());
    let verdict = pinned(&world, &chain.doc, pin.clone());
    assert!(matches!(verdict.finding(), Finding::OlderThanPin { .. }));
    assert!(verdict.also().is_empty());
    // A bad line of the pinned set voids even a note that the pin does not vouch for.
    let mut signed = chain.sealed.clone();
    signed.validators = chain.next.clone();
    let mut raw = signed.raw(&chain.doc);
    edit_blob(&mut raw, 1, |blob| blob[20] ^= 1);
    let text = raw.text();
    let verdict = verify(
        &digest(FILE),
        text.as_bytes(),
        &world.pinned(pin),
        NOW,
        None,
    );
    refused!(verdict, Signers, Fault::BadLine(_));
}

#[test]
fn a_consistency_is_not_needed_above_the_pin_and_not_believed() {
    let (mut world, doc) = World::standard();
    let closed = world.close();
    let mut useless = closed.consistency(&closed);
    useless.path = Path::new(vec![Hash([1; 32])]).unwrap();
    world.consistency = Some(useless);
    assert_eq!(*world.verdict(&doc).finding(), Finding::Current);
}

// Moving the pin.

#[test]
fn a_pin_moves_to_a_newer_checkpoint_and_over_a_seal_to_the_next_set() {
    let chain = two_sets();
    let trust = chain.sealed.trust();
    let advance = |world: &World, closed: &Closed, next: Option<&Validators>| {
        let handovers = world.handovers.clone();
        trust.advance(&Advance {
            note: &closed.note,
            trailer: &closed.trailer,
            trailer_path: &closed.path(LeafIndex(closed.size.0 - 1)),
            handovers: &handovers,
            next: next.map(|next| &next.set),
        })
    };
    let later = chain.later.close();
    let moved = advance(&chain.later, &later, None).unwrap();
    assert_eq!(moved, later.pin(&chain.next));
    let sealed = advance(&chain.sealed, &chain.seal, Some(&chain.next)).unwrap();
    assert_eq!(sealed, chain.seal.pin(&chain.next));
    // A SEAL without the set that it names.
    let founders = &chain.sealed.validators;
    for next in [None, Some(founders)] {
        let refusal = advance(&chain.sealed, &chain.seal, next);
        let fault = Fault::HandoverSet(TreeSize(4));
        let step = Step::Signers;
        assert_eq!(refusal, Err(Failure { step, fault }));
    }
    // Nothing newer, no quorum, another log.
    let at_pin = chain.sealed.pinned(later.pin(&chain.next));
    let again = at_pin.advance(&Advance {
        note: &later.note,
        trailer: &later.trailer,
        trailer_path: &later.path(LeafIndex(later.size.0 - 1)),
        handovers: &[],
        next: None,
    });
    assert!(matches!(
        again,
        Err(Failure {
            fault: Fault::NotNewer(_),
            ..
        })
    ));
    let mut few = chain.later.clone();
    few.cosigners.truncate(2);
    assert!(matches!(
        advance(&few, &few.close(), None),
        Err(Failure {
            fault: Fault::Quorum { .. },
            ..
        })
    ));
    let mut other = chain.later.clone();
    other.origin.push('x');
    assert!(matches!(
        advance(&other, &other.close(), None),
        Err(Failure {
            fault: Fault::Origin(_),
            ..
        })
    ));
}

/// Moves the trust in genesis to the founders' checkpoint, closed by this trailer and followed by this set.
fn advance_to(
    world: &World,
    closed: &Closed,
    trailer: &LogLeaf,
    next: Option<&ValidatorSet>,
) -> Result<Pin, Failure> {
    world.trust().advance(&Advance {
        note: &closed.note,
        trailer,
        trailer_path: &closed.path(LeafIndex(closed.size.0 - 1)),
        handovers: &[],
        next,
    })
}

#[test]
fn a_pin_does_not_move_by_a_trailer_of_others() {
    // The last leaf names another set than the one that signed.
    let (mut world, doc) = World::standard();
    world.trailer_set = Some(SetHash(Hash([1; 32])));
    let closed = world.close();
    let moved = advance_to(&world, &closed, &closed.trailer, None);
    assert_eq!(moved, Err(Step::Signers.fails(Fault::OtherSet)));
    // A trailer that is not in the log hands over to a thief.
    world.trailer_set = None;
    let closed = world.close();
    let thief = Validators::new("thief", &[0, 1, 2, 3]).set;
    let LogLeaf::Trailer(mut trailer) = closed.trailer else {
        panic!("closed by a trailer")
    };
    trailer.flags = Flags::SEAL;
    trailer.next_set = thief.hash();
    let moved = advance_to(&world, &closed, &LogLeaf::Trailer(trailer), Some(&thief));
    assert!(matches!(
        moved,
        Err(Failure {
            step: Step::Trailer,
            fault: Fault::Log(ProofError::Root { .. })
        })
    ));
    let record = LogLeaf::Record(doc.leaf);
    let moved = advance_to(&world, &closed, &record, None);
    assert_eq!(moved, Err(Step::Trailer.fails(Fault::LeafKind)));
}

#[test]
fn a_pin_does_not_move_to_a_set_with_a_key_that_may_not_enter() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut members: Vec<Member> = Validators::new("next", &[1, 2, 3, 4])
        .set
        .members()
        .to_vec();
    members[0].log = Key::from_bytes(neutral);
    let weak = ValidatorSet::new(members).unwrap();
    let (mut world, _) = World::standard();
    world.trailer.flags = Flags::SEAL;
    world.trailer.next_set = weak.hash();
    let closed = world.close();
    let moved = advance_to(&world, &closed, &closed.trailer, Some(&weak));
    assert!(matches!(
        moved,
        Err(Failure {
            fault: Fault::BadSigners(BadSigners::Key { .. }),
            ..
        })
    ));
}

#[test]
fn a_moved_pin_verifies_what_comes_after_it() {
    let chain = two_sets();
    let later = chain.later.close();
    let trust = chain.sealed.pinned(later.pin(&chain.next));
    let mut newest = chain.later.clone();
    newest.push(&later.trailer);
    newest.handovers.clear();
    let doc = Doc {
        ..chain.doc.clone()
    };
    let text = newest.raw(&doc).text();
    let verdict = verify(&digest(FILE), text.as_bytes(), &trust, NOW, None);
    assert_eq!(*verdict.finding(), Finding::Current);
    assert_eq!(chain.doc.leaf.authority, AuthorityIndex(0));
}
