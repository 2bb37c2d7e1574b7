//! What may follow what: states after each record, lanes, windows, roles, key lives, refusals.

mod refusals;

pub(crate) use refusals::codes as refusal_codes;

use crate::world::{
    A, ALL, B, Chain, E, IDS, REGISTRARS, START, STEP, document, enrol, key, key_of, publish,
    register, signing_key,
};
use ledger::admission::CheckedItem;
use ledger::codec::encode;
use ledger::document::DocumentId;
use ledger::execute::includable;
use ledger::hash::Hash;
use ledger::id::{AuthorityIndex, LeafIndex, TimeMs};
use ledger::record::{EndorseKind, Outcome, Record, RevokeReason, Role};
use ledger::refusal::{Refusal, Refused};
use ledger::state::{
    AuthState, DocState, Handover, KeyState, Lane, Lifecycle, Registration, RegistrationKind,
};
use ledger::submission::{Draft, MAX_WINDOW_MS, Submission, SubmissionError};
use ledger::view::{Effects, StateView as _};
use std::collections::BTreeSet;
use std::fmt::Write as _;

pub(super) const fn supersede(
    document: DocumentId,
    prev: LeafIndex,
    successor: DocumentId,
) -> Record {
    Record::Supersede {
        document,
        prev,
        successor,
    }
}

pub(super) const fn revoke(document: DocumentId, prev: LeafIndex) -> Record {
    Record::Revoke {
        document,
        prev,
        code: RevokeReason::LegalBasisGone,
    }
}

pub(super) const fn endorse(document: DocumentId, prev: LeafIndex) -> Record {
    Record::Endorse {
        document,
        prev,
        kind: EndorseKind::Checked,
    }
}

pub(super) fn retire(key: ledger::key::Key) -> Record {
    Record::RetireKey {
        key,
        compromised_since: None,
    }
}

/// A chain with one document of authority A, and where it was registered.
pub(super) fn with_document() -> (Chain, DocumentId, LeafIndex) {
    let mut chain = Chain::new();
    let first = register(&chain.founding, A, "doc");
    let at = chain.write((A, "issue"), vec![first]);
    let id = document(&chain.founding, A, "doc");
    (chain, id, at)
}

/// An effect that no record of this version has: `to` is asked for its opinion on the document.
pub(super) fn consulted(chain: &Chain, id: DocumentId, to: AuthorityIndex) -> Effects {
    let registration = chain.state.registration(&id).unwrap().unwrap();
    let mut state = DocState::registered(id, &registration);
    let handover = Handover {
        index: LeafIndex(1),
        from: A,
        to,
        mode: 2,
    };
    state.handovers.set(handover).unwrap();
    Effects {
        documents: [(id, state)].into(),
        ..Effects::default()
    }
}

fn lane(authority: AuthorityIndex, head: LeafIndex) -> Lane {
    Lane { authority, head }
}

/// The states of formats.md, section 5, after each record that is built.
#[test]
fn each_record_leaves_the_state_that_the_format_says() {
    let (mut chain, id, at) = with_document();
    let registration = Registration {
        index: at,
        height: chain.tip.height,
        time_ms: chain.tip.time_ms,
        authority: A,
        kind: RegistrationKind::Register,
    };
    assert_eq!(chain.state.registration(&id), Ok(Some(registration)));
    assert_eq!(
        chain.state.doc_state(&id),
        Ok(None),
        "absent while as registered"
    );

    let mut expected = DocState::registered(id, &registration);
    assert_eq!(expected.holders.to_vec(), [A]);
    assert_eq!(expected.lanes.to_vec(), [lane(A, at)]);
    assert_eq!((expected.issuer, expected.responsible), (A, A));

    let endorsed = chain.write((A, "exchange"), vec![endorse(id, at)]);
    expected.lanes.set(lane(A, endorsed)).unwrap();
    assert_eq!(chain.state.doc_state(&id), Ok(Some(expected.clone())));

    let next = register(&chain.founding, A, "next");
    let successor = document(&chain.founding, A, "next");
    let both = vec![next, supersede(id, endorsed, successor)];
    let superseded = chain.write((A, "issue"), both).saturating_add(1);
    expected.lanes.set(lane(A, superseded)).unwrap();
    expected.lifecycle = Lifecycle::Superseded { by: successor };
    assert_eq!(chain.state.doc_state(&id), Ok(Some(expected.clone())));
    assert_eq!(
        chain.state.doc_state(&successor),
        Ok(None),
        "being a successor creates no state"
    );

    let head = superseded.prev().unwrap();
    let revoked = chain.write((A, "issue"), vec![revoke(successor, head)]);
    let state = chain.state.doc_state(&successor).unwrap().unwrap();
    assert_eq!(state.lifecycle, Lifecycle::Revoked { code: 2 });
    assert_eq!(state.lanes.to_vec(), [lane(A, revoked)]);
    assert!(chain.state.history(&id).eq([at, endorsed, superseded]));
    assert!(chain.state.history(&successor).eq([head, revoked]));

    // An endorsement of what has ended moves its lane alone.
    let late = chain.write((A, "exchange"), vec![endorse(id, superseded)]);
    expected.lanes.set(lane(A, late)).unwrap();
    assert_eq!(chain.state.doc_state(&id), Ok(Some(expected)));
}

/// The same states as bytes; part of the golden file.
pub(crate) fn golden_states() -> String {
    let mut lines = String::new();
    let (mut chain, id, at) = with_document();
    let mut show = |name: &str, chain: &Chain, id: &DocumentId| {
        let state = chain.state.doc_state(id).unwrap().unwrap();
        writeln!(
            lines,
            "state after {name} = {}",
            hex::encode(encode(&state))
        )
        .unwrap();
        let root = chain.tip.trie.root();
        writeln!(lines, "status root after {name} = {root}").unwrap();
        writeln!(lines, "log root after {name} = {}", chain.tip.log.root()).unwrap();
        writeln!(lines, "block after {name} = {}", chain.tip.hash).unwrap();
    };
    let endorsed = chain.write((A, "exchange"), vec![endorse(id, at)]);
    show("endorse", &chain, &id);
    let next = register(&chain.founding, A, "next");
    let successor = document(&chain.founding, A, "next");
    let second = chain.write((A, "issue"), vec![next, supersede(id, endorsed, successor)]);
    show("supersede", &chain, &id);
    chain.write((A, "issue"), vec![revoke(successor, second)]);
    show("revoke", &chain, &successor);
    let form = publish(&chain.founding, B, "form");
    let published = chain.write((B, "public"), vec![form]);
    let form = document(&chain.founding, B, "form");
    chain.write((B, "public"), vec![revoke(form, published)]);
    show("revoke of a published document", &chain, &form);
    let new = signing_key("aa/second");
    let record = enrol(&chain.founding, A, &new, Role::ISSUE, START + 99_000);
    chain.write((A, "admin"), vec![record]);
    let state = |chain: &Chain| chain.state.key_state(&new.key()).unwrap().unwrap();
    let enrolled = hex::encode(encode(&state(&chain)));
    chain.write((A, "admin"), vec![retire(new.key())]);
    let retired = hex::encode(encode(&state(&chain)));
    writeln!(lines, "key state after enrol = {enrolled}").unwrap();
    writeln!(lines, "key state after retire-key = {retired}").unwrap();
    lines
}

#[test]
fn a_published_document_is_found_by_its_hash_and_ended_by_the_public_role() {
    let mut chain = Chain::new();
    let (form, again) = (
        publish(&chain.founding, A, "form"),
        publish(&chain.founding, B, "form"),
    );
    let at = chain.write((A, "public"), vec![form]);
    chain.write((B, "public"), vec![again]);
    let ids = [A, B].map(|authority| document(&chain.founding, authority, "form"));
    let hash: Hash = crate::world::seed_of("file");
    let all: BTreeSet<_> = chain.state.published(&hash).unwrap().into_iter().collect();
    assert_eq!(all, BTreeSet::from(ids));
    chain.write((A, "public"), vec![revoke(ids[0], at)]);
    let state = chain.state.doc_state(&ids[0]).unwrap().unwrap();
    assert_eq!(state.lifecycle, Lifecycle::Revoked { code: 2 });
}

/// Which registrar key may sign which record, one by one (formats.md 3.2).
#[test]
fn each_record_needs_its_role() {
    let (mut chain, id, at) = with_document();
    let form = publish(&chain.founding, A, "form");
    let form_at = chain.write((A, "public"), vec![form]);
    let form = document(&chain.founding, A, "form");
    let next = register(&chain.founding, A, "next");
    chain.write((A, "issue"), vec![next]);
    let next = document(&chain.founding, A, "next");
    let (issue, public, exchange) = (Role::ISSUE, Role::PUBLIC, Role::EXCHANGE);
    let founding = chain.founding.clone();
    let cases = [
        (register(&founding, A, "other"), issue),
        (publish(&founding, A, "other"), public),
        (supersede(id, at, next), issue),
        (supersede(form, form_at, next), issue.with(public)),
        (revoke(id, at), issue),
        (revoke(form, form_at), issue.with(public)),
        (endorse(id, at), exchange),
        (endorse(form, form_at), exchange),
    ];
    for (record, needed) in cases {
        for (purpose, role) in REGISTRARS {
            let item = chain.submit((A, purpose), vec![record.clone()]).unwrap();
            let answer = chain.ask(&item);
            if role.intersects(needed) {
                assert_eq!(answer, Ok(()), "{purpose} {record:?}");
            } else {
                let refused = answer.expect_err("another role");
                assert_eq!(refused.refusal.code(), "wrong-role", "{purpose} {record:?}");
            }
        }
        let refused = chain.refusal((A, "admin"), vec![record]);
        assert_eq!(
            refused.refusal.code(),
            "wrong-role",
            "the admin signs key changes only"
        );
    }
    let new = enrol(&founding, A, &signing_key("new"), ALL, 0);
    for record in [new, retire(key("aa/issue"))] {
        for (purpose, _) in REGISTRARS {
            let refused = chain.refusal((A, purpose), vec![record.clone()]);
            assert_eq!(refused.refusal.code(), "wrong-role");
        }
        let item = chain.submit((A, "admin"), vec![record]).unwrap();
        assert_eq!(chain.ask(&item), Ok(()));
    }
    for purpose in ["vote", "cosigner", "log", "network"] {
        let refused = chain.refusal((A, purpose), vec![register(&founding, A, "x")]);
        assert_eq!(
            refused.refusal,
            Refusal::UnknownKey(key_of(A, purpose).key())
        );
    }
}

#[test]
fn records_whose_rules_are_not_built_are_refused_by_name() {
    let mut chain = Chain::new();
    let built = [
        "register",
        "publish",
        "supersede",
        "revoke",
        "endorse",
        "enrol",
        "retire-key",
    ];
    for record in crate::samples::records(&chain.founding.clone()) {
        let name = record.name();
        let answer = chain.submit((A, "all"), vec![record]);
        let not_enabled = answer.is_err_and(|refused| {
            refused
                == Refused {
                    record: Some(0),
                    refusal: Refusal::NotEnabled(name),
                }
        });
        assert_eq!(not_enabled, !built.contains(&name), "{name}");
    }
}

#[test]
fn a_lane_takes_one_record_per_block_and_goes_on_from_its_head() {
    let (mut chain, id, at) = with_document();
    let both = vec![endorse(id, at), endorse(id, at.saturating_add(2))];
    let refused = chain.refusal((A, "all"), both);
    assert_eq!(
        refused,
        Refused {
            record: Some(1),
            refusal: Refusal::LaneTaken(id)
        }
    );

    let fresh = register(&chain.founding, A, "fresh");
    let fresh_id = document(&chain.founding, A, "fresh");
    let index = LeafIndex(chain.tip.log.size());
    let refused = chain.refusal((A, "all"), vec![fresh, endorse(fresh_id, index)]);
    assert_eq!(
        refused.refusal,
        Refusal::LaneTaken(fresh_id),
        "the registration counts"
    );

    // Two submissions in one block: the second finds the lane taken, and is the only one refused.
    let first = chain.submit((A, "all"), vec![endorse(id, at)]).unwrap();
    let second = chain
        .submit((A, "exchange"), vec![endorse(id, at)])
        .unwrap();
    let index = LeafIndex(chain.tip.log.size());
    let items = [first.clone(), second.clone()];
    let built = chain.try_build(&items);
    assert_eq!(
        built.refused,
        [(
            second.id(),
            Refused {
                record: Some(0),
                refusal: Refusal::LaneTaken(id)
            }
        )]
    );
    chain.block(&[first]);
    let wrong = Refusal::Lane {
        found: at,
        head: index,
    };
    assert_eq!(
        chain.ask(&second),
        Err(Refused {
            record: Some(0),
            refusal: wrong
        })
    );
    let item = chain.submit((A, "all"), vec![endorse(id, index)]).unwrap();
    assert_eq!(chain.ask(&item), Ok(()));
}

#[test]
fn another_authoritys_lane_starts_at_the_registration_and_does_not_move_the_first() {
    let (mut chain, id, at) = with_document();
    let asked = consulted(&chain, id, E);
    let item = chain
        .submit((E, "exchange"), vec![endorse(id, at)])
        .unwrap();
    assert_eq!(
        chain.ask(&item).map_err(|refused| refused.refusal),
        Err(Refusal::NotInvolved {
            document: id,
            authority: E
        })
    );
    assert_eq!(chain.ask_in(&chain.overlaid(&asked), &item), Ok(()));
    chain.state.apply(asked, chain.tip.time_ms);
    let foreign = LeafIndex(chain.tip.log.size());
    chain.block(&[item]);
    let state = chain.state.doc_state(&id).unwrap().unwrap();
    assert_eq!(state.lanes.to_vec(), [lane(A, at), lane(E, foreign)]);
    // Not outrun: the issuer still follows its own head.
    let own = chain.submit((A, "issue"), vec![revoke(id, at)]).unwrap();
    assert_eq!(chain.ask(&own), Ok(()));
    let mistaken = chain.refusal((A, "issue"), vec![revoke(id, foreign)]);
    assert_eq!(
        mistaken.refusal,
        Refusal::Lane {
            found: foreign,
            head: at
        }
    );
}

#[test]
fn a_submission_is_included_once() {
    let mut chain = Chain::new();
    let first = register(&chain.founding, A, "doc");
    let item = chain.submit((A, "issue"), vec![first]).unwrap();
    let CheckedItem::Submission(submission) = &item else {
        panic!("a submission");
    };
    chain.block(std::slice::from_ref(&item));
    let inclusion = chain.state.inclusion(&submission.hash()).unwrap().unwrap();
    assert_eq!((inclusion.first, inclusion.count), (LeafIndex(0), 1));
    let again = Refused::from(Refusal::AlreadyIncluded(chain.tip.height));
    assert_eq!(chain.ask(&item), Err(again.clone()));
    // The same in one block: the hash covers the signed body, not the signature.
    let other = register(&chain.founding, A, "other");
    let item = chain.submit((A, "issue"), vec![other]).unwrap();
    let items = [item.clone(), item.clone()];
    let built = chain.try_build(&items);
    let next = chain.tip.height.next().unwrap();
    assert_eq!(
        built.refused,
        [(item.id(), Refusal::AlreadyIncluded(next).into())]
    );
    // Forgotten only when its window is over, and then the window refuses it.
    let Refused {
        refusal: Refusal::AlreadyIncluded(_),
        ..
    } = again
    else {
        panic!("already included");
    };
    let mut later = chain.tip.clone();
    later.time_ms = TimeMs(submission.body().not_after_ms.0);
    chain
        .state
        .apply(Effects::default(), later.time_ms.next().unwrap());
    assert_eq!(chain.state.inclusion(&submission.hash()), Ok(None));
}

#[test]
fn a_window_includes_both_its_ends() {
    let chain = Chain::new();
    let (from, to) = (TimeMs(START + 10), TimeMs(START + 20));
    let draft = |chain: &Chain| Draft {
        chain: chain.founding.chain(),
        authority: A,
        not_before_ms: from,
        not_after_ms: to,
        records: vec![register(&chain.founding, A, "doc")],
    };
    let submission = Submission::sign(draft(&chain), &key_of(A, "issue")).unwrap();
    let item = ledger::body::Item::Submission(submission.into_inner());
    let item = CheckedItem::check(&chain.founding, &chain.tip.epoch, item).unwrap();
    let ask = |time_ms: TimeMs| {
        let answer = includable(&chain.founding, &chain.state, &chain.tip, time_ms, &item);
        answer.map_err(|error| error.to_string())
    };
    for time in [from, to, TimeMs(START + 15)] {
        assert_eq!(ask(time), Ok(()));
    }
    assert!(
        ask(from.prev().unwrap())
            .unwrap_err()
            .contains("valid from")
    );
    assert!(ask(to.next().unwrap()).unwrap_err().contains("valid until"));
    let longest = |length: u64| {
        let mut draft = draft(&chain);
        draft.not_after_ms = TimeMs(from.0 + length);
        Submission::sign(draft, &key_of(A, "issue")).map(|_| ())
    };
    assert_eq!(longest(0), Ok(()));
    assert_eq!(longest(MAX_WINDOW_MS), Ok(()));
    let window = SubmissionError::Window {
        not_before: from,
        not_after: TimeMs(from.0 + MAX_WINDOW_MS + 1),
    };
    assert_eq!(longest(MAX_WINDOW_MS + 1), Err(window));
    let mut backwards = draft(&chain);
    backwards.not_after_ms = from.prev().unwrap();
    assert!(matches!(
        Submission::sign(backwards, &key_of(A, "issue")),
        Err(SubmissionError::Window { .. })
    ));
}

#[test]
fn a_successor_may_come_in_the_same_submission_but_not_after_its_naming() {
    let (mut chain, id, at) = with_document();
    let next = register(&chain.founding, A, "next");
    let successor = document(&chain.founding, A, "next");
    let naming = supersede(id, at, successor);
    let wrong_order = vec![naming.clone(), next.clone()];
    let refused = chain.refusal((A, "issue"), wrong_order);
    let expected = Refused {
        record: Some(0),
        refusal: Refusal::UnknownSuccessor(successor),
    };
    assert_eq!(refused, expected);
    // Also across two submissions of one block.
    let first = chain.submit((A, "issue"), vec![next]).unwrap();
    let second = chain.submit((A, "all"), vec![naming]).unwrap();
    chain.block(&[first, second]);
    let state = chain.state.doc_state(&id).unwrap().unwrap();
    assert_eq!(state.lifecycle, Lifecycle::Superseded { by: successor });
}

/// States that only records of later versions write bind already: the rules look at all of them.
#[test]
fn suspended_retired_and_handed_over_documents_are_seen() {
    let (mut chain, id, at) = with_document();
    let next = register(&chain.founding, A, "next");
    chain.write((A, "issue"), vec![next]);
    let successor = document(&chain.founding, A, "next");
    let state_of = |chain: &Chain, id: DocumentId| {
        let registration = chain.state.registration(&id).unwrap().unwrap();
        DocState::registered(id, &registration)
    };
    let with = |chain: &Chain, id: DocumentId, change: fn(&mut DocState)| {
        let mut state = state_of(chain, id);
        change(&mut state);
        Effects {
            documents: [(id, state)].into(),
            ..Effects::default()
        }
    };
    let code = |chain: &Chain, effects: &Effects, item: &CheckedItem| {
        let answer = chain.ask_in(&chain.overlaid(effects), item);
        answer.map_err(|refused| refused.refusal.code())
    };
    let replacing = chain
        .submit((A, "issue"), vec![supersede(id, at, successor)])
        .unwrap();
    let suspended = with(&chain, successor, |state| state.suspended = Some(1));
    assert_eq!(
        code(&chain, &suspended, &replacing),
        Err("successor-not-in-force")
    );
    let retired = |state: &mut DocState| state.retired = Some(Outcome::Archived);
    let effects = with(&chain, successor, retired);
    assert_eq!(
        code(&chain, &effects, &replacing),
        Err("successor-not-in-force")
    );
    let revoking = chain.submit((A, "issue"), vec![revoke(id, at)]).unwrap();
    assert_eq!(
        code(&chain, &with(&chain, id, retired), &revoking),
        Err("document-ended")
    );
    let suspended = with(&chain, id, |state| state.suspended = Some(1));
    assert_eq!(
        code(&chain, &suspended, &revoking),
        Ok(()),
        "suspended is not ended"
    );
    let moved = with(&chain, id, |state| state.responsible = B);
    assert_eq!(
        code(&chain, &moved, &revoking),
        Err("not-responsible"),
        "it moved on"
    );
    let foreign = with(&chain, successor, |state| state.responsible = B);
    assert_eq!(code(&chain, &foreign, &replacing), Err("foreign-successor"));
    // Asked for an opinion, or given a copy: only the first may answer as such.
    let endorsing = chain
        .submit((E, "exchange"), vec![endorse(id, at)])
        .unwrap();
    for mode in 1..=4 {
        let mut effects = consulted(&chain, id, E);
        let state = effects.documents.get_mut(&id).unwrap();
        let open = Handover {
            mode,
            ..state.handovers[0]
        };
        state.handovers.set(open).unwrap();
        let answer = code(&chain, &effects, &endorsing);
        assert_eq!(answer.is_ok(), mode == 2, "mode {mode}");
    }
    let holding = with(&chain, id, |state| state.holders.set(E).unwrap());
    assert_eq!(code(&chain, &holding, &endorsing), Ok(()));
}

#[test]
fn documents_never_supersede_each_other_in_a_circle() {
    let (mut chain, id, at) = with_document();
    let next = register(&chain.founding, A, "next");
    let next_at = chain.write((A, "issue"), vec![next]);
    let successor = document(&chain.founding, A, "next");
    let there = supersede(id, at, successor);
    let back = supersede(successor, next_at, id);
    let refused = chain.refusal((A, "issue"), vec![there.clone(), back.clone()]);
    assert_eq!(
        refused,
        Refused {
            record: Some(1),
            refusal: Refusal::SuccessorNotInForce(id)
        }
    );
    chain.write((A, "issue"), vec![there]);
    assert_eq!(
        chain.refusal((A, "issue"), vec![back]).refusal,
        Refusal::SuccessorNotInForce(id)
    );
}

#[test]
fn a_submission_is_accepted_whole_or_not_at_all() {
    let (mut chain, id, at) = with_document();
    let other = register(&chain.founding, A, "other");
    let good_then_bad = vec![other.clone(), revoke(id, at.saturating_add(9))];
    let item = chain.submit((A, "issue"), good_then_bad).unwrap();
    let fine = chain.submit((A, "issue"), vec![other]).unwrap();
    let items = [item.clone(), fine.clone()];
    let built = chain.try_build(&items);
    assert_eq!(built.refused.len(), 1);
    assert_eq!(built.refused[0].0, item.id());
    let (executed, body) = built.block.unwrap();
    assert_eq!(
        body.items(),
        [fine.bytes()],
        "the same document by the second submission"
    );
    assert_eq!(executed.effects.registrations.len(), 1);
}

#[test]
fn a_key_lives_from_its_enrolment_to_its_retirement_or_end() {
    let mut chain = Chain::new();
    let founding = chain.founding.clone();
    let new = signing_key("aa/fresh");
    let record = register(&founding, A, "doc");
    let refused = chain.refusal((A, "fresh"), vec![record.clone()]);
    assert_eq!(refused.refusal, Refusal::UnknownKey(new.key()));
    let end = TimeMs(START + 3 * STEP);
    let record_enrol = enrol(&founding, A, &new, Role::ISSUE, end.0);
    let at = chain.write((A, "admin"), vec![record_enrol]);
    let state = chain.state.key_state(&new.key()).unwrap().unwrap();
    let expected = KeyState {
        authority: A,
        role: Role::ISSUE,
        enrolled: at,
        not_after_ms: end,
        retired: None,
        compromised_since: None,
    };
    assert_eq!(state, expected);
    chain.write((A, "fresh"), vec![record]);
    // Block time 3 is the last one.
    let item = chain
        .submit((A, "fresh"), vec![register(&founding, A, "two")])
        .unwrap();
    assert_eq!(chain.next_time(), end);
    assert_eq!(chain.ask(&item), Ok(()));
    chain.write((B, "issue"), vec![register(&founding, B, "x")]);
    let expired = Refusal::KeyExpired {
        key: new.key(),
        not_after: end,
        time: TimeMs(end.0 + STEP),
    };
    assert_eq!(chain.ask(&item), Err(expired.into()));
    // Retired in this very block, by an earlier submission: refused from that index on.
    let old = key("aa/issue");
    let by_admin = chain.submit((A, "admin"), vec![retire(old)]).unwrap();
    let by_old = chain
        .submit((A, "issue"), vec![register(&founding, A, "three")])
        .unwrap();
    let index = LeafIndex(chain.tip.log.size());
    let ask = |items: &[CheckedItem]| chain.try_build(items).refused;
    let retired = Refusal::KeyRetired {
        key: old,
        at: index,
    };
    assert_eq!(
        ask(&[by_admin.clone(), by_old.clone()]),
        [(by_old.id(), retired.into())]
    );
    assert_eq!(
        ask(&[by_old, by_admin]),
        [],
        "before it the key still signs"
    );
}

#[test]
fn a_retired_key_never_comes_back() {
    let mut chain = Chain::new();
    let founding = chain.founding.clone();
    let new = signing_key("aa/fresh");
    let record = enrol(&founding, A, &new, ALL, 0);
    let at = chain.write((A, "admin"), vec![record]);
    let next = LeafIndex(chain.tip.log.size());
    let since = |index: LeafIndex| Record::RetireKey {
        key: new.key(),
        compromised_since: Some(index),
    };
    let given = next.saturating_add(1);
    let refused = chain.refusal((A, "admin"), vec![since(given)]);
    assert_eq!(
        refused.refusal,
        Refusal::CompromisedSince { given, index: next }
    );
    let now = chain.submit((A, "admin"), vec![since(next)]).unwrap();
    assert_eq!(chain.ask(&now), Ok(()));
    let compromised = since(at);
    let gone = chain.write((A, "admin"), vec![compromised]);
    let state = chain.state.key_state(&new.key()).unwrap().unwrap();
    assert_eq!(
        (state.retired, state.compromised_since),
        (Some(gone), Some(at))
    );
    for authority in [A, B] {
        let record = enrol(&founding, authority, &new, ALL, 0);
        let refused = chain.refusal((authority, "admin"), vec![record]);
        assert_eq!(refused.refusal, Refusal::KeyKnown(new.key()));
    }
    let refused = chain.refusal((A, "admin"), vec![retire(new.key())]);
    let again = Refusal::KeyRetired {
        key: new.key(),
        at: gone,
    };
    assert_eq!(refused.refusal, again);
    // No key of the genesis, in any role, is enrolled.
    for id in IDS.iter().take(4) {
        for purpose in ["admin", "issue", "vote", "cosigner", "log", "network"] {
            let known = signing_key(&format!("{id}/{purpose}"));
            let record = enrol(&founding, A, &known, ALL, 0);
            let refused = chain.refusal((A, "admin"), vec![record]);
            assert_eq!(refused.refusal, Refusal::KeyKnown(known.key()));
        }
    }
}

#[test]
fn a_changed_admin_key_takes_the_place_of_that_of_the_genesis() {
    let mut chain = Chain::new();
    let new = signing_key("aa/new admin");
    let state = AuthState {
        id: chain.founding.genesis().authorities[0].id.clone(),
        name: chain.founding.genesis().authorities[0].name.clone(),
        admin: new.key(),
        joined: LeafIndex(0),
        succeeded_by: None,
    };
    let changed = Effects {
        authorities: [(A, state)].into(),
        ..Effects::default()
    };
    let record = retire(key("aa/issue"));
    let by_old = chain.submit((A, "admin"), vec![record.clone()]).unwrap();
    let by_new = chain.submit((A, "new admin"), vec![record]).unwrap();
    let view = chain.overlaid(&changed);
    assert_eq!(chain.ask_in(&view, &by_new), Ok(()));
    let unknown = Refusal::UnknownKey(key_of(A, "admin").key());
    assert_eq!(chain.ask_in(&view, &by_old), Err(unknown.into()));
    assert_eq!(chain.ask(&by_old), Ok(()));
}
