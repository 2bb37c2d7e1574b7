//! Binding 7: parents and successor.

use super::refused;
use super::world::{CLOSED, Doc, Edits, World};
use crate::document::{DocumentId, Nonce};
use crate::id::{AuthorityIndex, LeafIndex, TimeMs};
use crate::log::Path;
use crate::receipt::{Fault, Finding, Framed, Related};
use crate::record::{Parents, Record, Relation, RevokeReason, Role};
use crate::state::Lifecycle;
use crate::trie::TrieError;
use alloc::vec;

/// A world in which "decision" is derived from two of three earlier documents, and superseded by a third.
pub(super) fn family() -> (World, [Doc; 4]) {
    let mut world = World::new();
    let signer = |signer| Edits {
        signer,
        ..Edits::default()
    };
    let first = world.register(1, "first", signer("registrar-1"));
    let second = world.register(2, "second", signer("registrar-2"));
    let mut parents = vec![first.id, second.id];
    parents.sort();
    let (record, details) = world.record(0, "decision");
    let Record::Register {
        document,
        nonce,
        internal,
        citizen,
        detail,
        retention,
    } = record
    else {
        panic!("a register record")
    };
    let derive = Record::Derive {
        document,
        nonce,
        internal,
        citizen,
        detail,
        retention,
        parents: Parents::new(parents).unwrap(),
        relation: Relation::Translation,
    };
    let child = Doc {
        details,
        ..world.log_record(0, derive, Edits::default())
    };
    let next = world.register(0, "next", Edits::default());
    (world, [first, second, child, next])
}

#[test]
fn parents_and_successor_are_shown_with_their_state_or_as_not_checked() {
    let (mut world, [first, second, child, next]) = family();
    world.state(&child).lifecycle = Lifecycle::Superseded { by: next.id };
    let closed = world.close();
    let relatives = [&first, &next].map(|doc| world.relative(doc, &closed));
    world.related = relatives.into();
    let verdict = world.verdict(&child);
    assert_eq!(*verdict.finding(), Finding::Superseded { by: next.id });
    let facts = verdict.facts().unwrap();
    assert_eq!(facts.relation, Some(Relation::Translation));
    let proved = |id| {
        let mut related = facts.related.iter();
        related
            .find(|fact| fact.document == id)
            .unwrap()
            .proved
            .is_some()
    };
    assert_eq!(facts.related.len(), 3);
    assert!(proved(first.id) && proved(next.id) && !proved(second.id));
}

#[test]
fn derive_is_also_for_the_exchange_role() {
    let (mut world, [_, _, child, _]) = family();
    world.key_state("registrar-0").role = Role::EXCHANGE;
    assert_eq!(*world.verdict(&child).finding(), Finding::Current);
    world.key_state("registrar-0").role = Role::PUBLIC.with(Role::NODE);
    refused!(world.verdict(&child), Key, Fault::Role(_));
}

#[test]
fn an_unrelated_document_or_one_twice_is_refused() {
    let (mut world, [first, _, child, next]) = family();
    let closed = world.close();
    world.related = vec![world.relative(&next, &closed)];
    refused!(world.verdict(&child), Related, Fault::NotRelated(_));
    let parent = world.relative(&first, &closed);
    world.related = vec![parent.clone(), parent];
    refused!(world.verdict(&child), Related, Fault::RelatedTwice(_));
}

#[test]
fn a_related_document_passes_bindings_2_and_5() {
    let judge = |change: fn(&mut World, &Doc), edit: fn(&mut Related)| {
        let (mut world, [first, _, child, _]) = family();
        change(&mut world, &first);
        let closed = world.close();
        let mut related = world.relative(&first, &closed);
        edit(&mut related);
        world.related = vec![related];
        world.verdict(&child)
    };
    let good = judge(|_, _| {}, |_| {});
    assert_eq!(*good.finding(), Finding::Current);
    refused!(
        judge(|_, _| {}, |related| related.index = LeafIndex(1)),
        Related,
        Fault::Log(_)
    );
    refused!(
        judge(|_, _| {}, |related| related.path = Path::default()),
        Related,
        Fault::Log(_)
    );
    refused!(
        judge(
            |world, doc| world.state(doc).id = DocumentId([1; 16]),
            |_| {}
        ),
        Related,
        Fault::OtherState
    );
    refused!(
        judge(
            |world, doc| world.state(doc).registration = LeafIndex(1),
            |_| {}
        ),
        Related,
        Fault::OtherState
    );
    refused!(
        judge(
            |world, doc| world.state(doc).issuer = AuthorityIndex(3),
            |_| {}
        ),
        Related,
        Fault::OtherState
    );
    let revoke = |world: &mut World, doc: &Doc| {
        world.state(doc).lifecycle = Lifecycle::Revoked { code: 3 };
    };
    refused!(
        judge(revoke, |related| related.doc = None),
        Related,
        Fault::Trie(TrieError::Kind(_))
    );
    refused!(
        judge(revoke, |related| {
            let mut state = (**related.doc.as_ref().unwrap()).clone();
            state.lifecycle = Lifecycle::InForce;
            related.doc = Some(Framed::new(state).unwrap());
        }),
        Related,
        Fault::Trie(TrieError::Root { .. })
    );
}

#[test]
fn a_related_leaf_of_a_later_block_or_with_a_false_id_is_refused() {
    let judge = |edits: Edits| {
        let mut world = World::new();
        let first = world.register(
            1,
            "first",
            Edits {
                signer: "registrar-1",
                ..edits
            },
        );
        let (record, _) = world.record(0, "decision");
        let Record::Register {
            document,
            nonce,
            internal,
            citizen,
            detail,
            retention,
        } = record
        else {
            panic!("a register record")
        };
        let derive = Record::Derive {
            document,
            nonce,
            internal,
            citizen,
            detail,
            retention,
            parents: Parents::new(vec![first.id]).unwrap(),
            relation: Relation::Scan,
        };
        let child = world.log_record(0, derive, Edits::default());
        let closed = world.close();
        world.related = vec![world.relative(&first, &closed)];
        world.verdict(&child)
    };
    assert_eq!(*judge(Edits::default()).finding(), Finding::Current);
    let later = Edits {
        leaf: |leaf| leaf.time_ms = TimeMs(CLOSED.0 + 1),
        ..Edits::default()
    };
    refused!(judge(later), Related, Fault::LaterThanCheckpoint(_));
    let false_id = Edits {
        record: |record| {
            if let Record::Register { nonce, .. } = record {
                *nonce = Nonce([1; 32]);
            }
        },
        ..Edits::default()
    };
    refused!(judge(false_id), Related, Fault::DocumentId(_));
    let kind = Edits {
        leaf: |leaf| {
            leaf.record = Record::Revoke {
                document: *leaf.record.document().unwrap(),
                prev: LeafIndex(0),
                code: RevokeReason::Other,
            };
        },
        ..Edits::default()
    };
    refused!(judge(kind), Related, Fault::LeafKind);
}
