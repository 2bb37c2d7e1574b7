//! Each stage refuses what it is for, and nothing that may heal is lost.

use super::*;
use crate::testkit::{self, CREATED, founding, key};
use ledger::codec;
use ledger::document::DocumentId;
use ledger::genesis::Purpose;
use ledger::hash::{ChainId, Hash};
use ledger::id::{AuthorityIndex, LeafIndex};
use ledger::record::{Record, RevokeReason};
use ledger::submission::{Draft, VerifiedSubmission};
use ledger::view::MemoryState;

const NOW: TimeMs = TimeMs(CREATED.0 + 100_000);

fn with_present<T>(ask: impl FnOnce(&Present<'_>) -> T) -> T {
    let founding = founding(4);
    let tip = founding.tip();
    let mut view = MemoryState::new();
    view.apply(founding.effects(), tip.time_ms);
    ask(&Present {
        founding: &founding,
        view: &view,
        tip: &tip,
        now: NOW,
    })
}

fn draft(authority: u16, number: u32) -> Draft {
    let founding = founding(4);
    let registration = testkit::register(&founding, 1, number);
    Draft {
        chain: founding.chain(),
        authority: AuthorityIndex(authority),
        not_before_ms: NOW,
        not_after_ms: NOW.saturating_add(10_000),
        records: registration.submission.records().to_vec(),
    }
}

fn sign(draft: Draft, by: u16) -> VerifiedSubmission {
    Submission::sign(draft, &key(by, Purpose::Registrar)).unwrap()
}

fn screened(submission: &Submission) -> Result<(), AdmissionError> {
    with_present(|present| screen(present, Bearer::Client, submission))
}

fn verified(submission: VerifiedSubmission) -> CheckedSubmission {
    let mut all = verify(&founding(4), vec![submission.into_inner()]);
    all.remove(0).unwrap()
}

fn code(error: AdmissionError) -> &'static str {
    match error {
        AdmissionError::Refused(refused) => refused.refusal.code(),
        AdmissionError::Malformed(_) => "malformed",
        AdmissionError::Pool(_) => "pool",
        AdmissionError::Unavailable(_) => "unavailable",
    }
}

#[test]
fn a_right_submission_passes_every_stage() {
    let submission = sign(draft(1, 1), 1);
    assert_eq!(screened(&submission), Ok(()));
    let checked = verified(submission);
    let hash = checked.hash();
    let pending = with_present(|p| check_rules(p, Bearer::Client, checked)).unwrap();
    assert_eq!(pending.hash, hash);
}

#[test]
fn another_chain_is_refused_before_any_signature() {
    let mut other = draft(1, 1);
    other.chain = ChainId(Hash([9; 32]));
    assert_eq!(code(screened(&sign(other, 1)).unwrap_err()), "wrong-chain");
}

#[test]
fn windows_are_kept_and_one_that_begins_soon_is_waited_for() {
    let mut late = draft(1, 1);
    (late.not_before_ms, late.not_after_ms) = (NOW.saturating_sub(10), NOW.saturating_sub(1));
    let expired = screened(&sign(late, 1)).unwrap_err();
    let expected = PoolError::Expired {
        not_after: NOW.saturating_sub(1),
        now: NOW,
    };
    assert_eq!(expired, AdmissionError::Pool(expected));
    let mut soon = draft(1, 1);
    soon.not_before_ms = NOW.saturating_add(mempool::MAX_EARLY_MS);
    soon.not_after_ms = soon.not_before_ms.saturating_add(1);
    let soon = sign(soon, 1);
    assert_eq!(screened(&soon), Ok(()));
    with_present(|p| check_rules(p, Bearer::Client, verified(soon))).unwrap();
}

#[test]
fn an_unknown_key_is_refused_to_clients_and_waited_for_from_validators() {
    let stranger = Submission::sign(draft(1, 1), &key(1, Purpose::Network)).unwrap();
    assert_eq!(code(screened(&stranger).unwrap_err()), "unknown-key");
    assert_eq!(
        with_present(|p| screen(p, Bearer::Validator, &stranger)),
        Ok(())
    );
}

#[test]
fn keys_of_others_and_authorities_that_are_none_are_refused_to_everybody() {
    let (foreign, none) = (sign(draft(1, 1), 2), sign(draft(9, 1), 1));
    for bearer in [Bearer::Client, Bearer::Validator] {
        let refused = |submission| with_present(|p| screen(p, bearer, submission)).unwrap_err();
        assert_eq!(code(refused(&foreign)), "foreign-key");
        assert_eq!(code(refused(&none)), "unknown-authority");
    }
}

#[test]
fn one_bad_signature_does_not_harm_its_neighbours() {
    let (good, other) = (sign(draft(1, 1), 1), sign(draft(1, 2), 1));
    let mut forged = other.encoded().to_vec();
    let at = forged.len() - codec::encode(other.signature()).len();
    forged.truncate(at);
    codec::write_to(&mut forged, good.signature());
    let forged = Submission::decode(&forged).unwrap();
    let all = vec![good.into_inner(), forged, sign(draft(1, 3), 1).into_inner()];
    let results = verify(&founding(4), all);
    let codes: Vec<_> = results
        .into_iter()
        .map(|result| result.err().map(code))
        .collect();
    assert_eq!(codes, [None, Some("bad-signature"), None]);
}

#[test]
fn an_id_that_does_not_follow_from_its_nonce_is_refused_without_the_state() {
    let mut wrong = draft(1, 1);
    if let Some(Record::Register { document, .. }) = wrong.records.first_mut() {
        *document = DocumentId([1; 16]);
    }
    let mut refused = verify(&founding(4), vec![sign(wrong, 1).into_inner()]);
    assert_eq!(code(refused.remove(0).unwrap_err()), "wrong-document-id");
}

#[test]
fn a_rule_is_told_to_clients_and_what_may_heal_waits_for_validators() {
    let mut revoking = draft(1, 1);
    revoking.records = vec![Record::Revoke {
        document: DocumentId([1; 16]),
        prev: LeafIndex(3),
        code: RevokeReason::CourtOrder,
    }];
    let check = |bearer| {
        let checked = verified(sign(revoking.clone(), 1));
        with_present(|p| check_rules(p, bearer, checked))
    };
    assert_eq!(code(check(Bearer::Client).unwrap_err()), "unknown-document");
    check(Bearer::Validator).unwrap();
}
