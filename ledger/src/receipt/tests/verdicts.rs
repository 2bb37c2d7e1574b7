//! Every row of the verdict table, its order, what else is listed, and freshness.

use super::openings::published;
use super::related::family;
use super::world::{CLOSED, COPY, COSIGNED, Doc, FILE, NOW, Raw, World, digest, opening};
use crate::cosignature::CosignedAt;
use crate::document::{CommitmentRole, DocumentId};
use crate::id::{AuthorityIndex, LeafIndex, TimeMs, TreeSize};
use crate::receipt::{
    Finding, Freshness, MaxAge, Online, Stale, Trust, Verdict, revoke_reason, suspend_reason,
    verify, verify_status,
};
use crate::record::{Outcome, RevokeReason};
use crate::state::{DocState, Lifecycle, OpenDispute};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// The words of a verdict: the first, then what is listed.
fn words(verdict: &Verdict) -> Vec<&'static str> {
    let also = verdict.also().iter().map(Finding::word);
    [verdict.word()].into_iter().chain(also).collect()
}

/// The verdict on FILE after the document's state was changed.
fn in_state(change: impl FnOnce(&mut DocState)) -> Verdict {
    let (mut world, doc) = World::standard();
    change(world.state(&doc));
    world.verdict(&doc)
}

fn dispute(state: &mut DocState) {
    let dispute = OpenDispute {
        index: LeafIndex(7),
        by: AuthorityIndex(3),
        code: 1,
    };
    state.disputes.set(dispute).unwrap();
}

#[test]
fn wrong_receipt_is_told_by_the_located_id() {
    let (world, doc) = World::standard();
    let text = world.raw(&doc).text();
    let located = |id| {
        verify(
            &digest(FILE),
            text.as_bytes(),
            &world.trust(),
            NOW,
            Some(id),
        )
    };
    assert_eq!(words(&located(doc.id)), ["CURRENT"]);
    let wrong = located(DocumentId([9; 16]));
    assert_eq!(
        (words(&wrong), wrong.exit_code()),
        (vec!["WRONG RECEIPT"], 1)
    );
    let both = verify(
        &digest(COPY),
        text.as_bytes(),
        &world.trust(),
        NOW,
        Some(DocumentId([9; 16])),
    );
    assert_eq!(words(&both), ["WRONG RECEIPT", "MODIFIED"]);
}

#[test]
fn other_bytes_are_modified_and_the_status_is_listed() {
    let (mut world, doc) = World::standard();
    let modified = |world: &World| {
        let text = world.raw(&doc).text();
        verify(
            &digest(b"other"),
            text.as_bytes(),
            &world.trust(),
            NOW,
            None,
        )
    };
    let verdict = modified(&world);
    assert_eq!(
        (words(&verdict), verdict.exit_code()),
        (vec!["MODIFIED"], 1)
    );
    world.state(&doc).lifecycle = Lifecycle::Revoked { code: 1 };
    assert_eq!(words(&modified(&world)), ["MODIFIED", "REVOKED"]);
}

#[test]
fn a_document_that_is_not_in_force_says_why() {
    let revoked = in_state(|state| state.lifecycle = Lifecycle::Revoked { code: 4 });
    assert_eq!(format!("{}", revoked.finding()), "REVOKED (court order)");
    assert_eq!((words(&revoked), revoked.exit_code()), (vec!["REVOKED"], 1));
    assert!(revoked.are_bytes_checked());
    let by = DocumentId([5; 16]);
    let superseded = in_state(|state| state.lifecycle = Lifecycle::Superseded { by });
    assert_eq!(
        format!("{}", superseded.finding()),
        format!("SUPERSEDED (by {by})")
    );
    assert_eq!(
        (words(&superseded), superseded.exit_code()),
        (vec!["SUPERSEDED"], 1)
    );
    let archived = in_state(|state| state.retired = Some(Outcome::Archived));
    assert_eq!(format!("{}", archived.finding()), "RETIRED (archived)");
    assert_eq!(
        (words(&archived), archived.exit_code()),
        (vec!["RETIRED"], 1)
    );
    let suspended = in_state(|state| state.suspended = Some(2));
    assert_eq!(
        format!("{}", suspended.finding()),
        "SUSPENDED (under review)"
    );
    assert_eq!(
        (words(&suspended), suspended.exit_code()),
        (vec!["SUSPENDED"], 1)
    );
    let erased = in_state(|state| state.retired = Some(Outcome::Erased));
    assert_eq!(
        (words(&erased), erased.exit_code()),
        (vec!["EVIDENCE ERASED"], 3)
    );
}

#[test]
fn the_first_row_that_holds_is_the_word_and_the_others_are_listed() {
    let verdict = in_state(|state| {
        state.lifecycle = Lifecycle::Revoked { code: 1 };
        state.retired = Some(Outcome::Archived);
        state.suspended = Some(1);
        dispute(state);
    });
    assert_eq!(words(&verdict), ["REVOKED", "RETIRED", "SUSPENDED"]);
    assert_eq!(verdict.facts().unwrap().state.disputes.len(), 1);
    // Erased is evidence lost only while the document was in force.
    let verdict = in_state(|state| {
        state.lifecycle = Lifecycle::Revoked { code: 1 };
        state.retired = Some(Outcome::Erased);
    });
    assert_eq!(words(&verdict), ["REVOKED"]);
    let verdict = in_state(|state| {
        state.suspended = Some(1);
        state.retired = Some(Outcome::Erased);
    });
    assert_eq!(words(&verdict), ["SUSPENDED", "EVIDENCE ERASED"]);
}

#[test]
fn codes_outside_the_tables_are_shown_and_do_not_fail() {
    let revoked = in_state(|state| state.lifecycle = Lifecycle::Revoked { code: 77 });
    assert_eq!(format!("{}", revoked.finding()), "REVOKED (code 77)");
    let suspended = in_state(|state| state.suspended = Some(78));
    assert_eq!(format!("{}", suspended.finding()), "SUSPENDED (code 78)");
    for reason in RevokeReason::ALL {
        assert!(!revoke_reason(reason.code()).starts_with("code"));
    }
    assert_eq!(suspend_reason(255), "other reason");
}

#[test]
fn without_an_opening_the_bytes_are_not_checked() {
    let (mut world, doc) = World::standard();
    let locator = |world: &World| {
        let mut raw = world.raw(&doc);
        raw.extra.openings = vec![].try_into().unwrap();
        world.judge(&raw)
    };
    let verdict = locator(&world);
    assert_eq!(words(&verdict), ["LOCATOR KNOWN, BYTES NOT CHECKED"]);
    assert_eq!(verdict.exit_code(), 3);
    world.state(&doc).lifecycle = Lifecycle::Revoked { code: 1 };
    let revoked = locator(&world);
    assert_eq!(
        words(&revoked),
        ["REVOKED", "LOCATOR KNOWN, BYTES NOT CHECKED"]
    );
    assert!(!revoked.are_bytes_checked());
}

#[test]
fn a_status_is_never_current() {
    let (mut world, doc) = World::standard();
    let receipt = crate::receipt::Receipt::parse(world.raw(&doc).text().as_bytes()).unwrap();
    let text = receipt.without_openings().encode();
    let status = |id, text: &str| verify_status(id, text.as_bytes(), &world.trust(), NOW);
    assert_eq!(
        words(&status(doc.id, &text)),
        ["LOCATOR KNOWN, BYTES NOT CHECKED"]
    );
    let with_openings = world.raw(&doc).text();
    assert_eq!(
        words(&status(doc.id, &with_openings)),
        ["LOCATOR KNOWN, BYTES NOT CHECKED"]
    );
    let other = status(DocumentId([1; 16]), &text);
    assert_eq!(
        words(&other),
        ["WRONG RECEIPT", "LOCATOR KNOWN, BYTES NOT CHECKED"]
    );
    let (public, doc_public) = published();
    let text = public.raw(&doc_public).text();
    let known = verify_status(doc_public.id, text.as_bytes(), &public.trust(), NOW);
    assert_eq!(words(&known), ["LOCATOR KNOWN, BYTES NOT CHECKED"]);
    world.state(&doc).suspended = Some(1);
    let text = world.raw(&doc).text();
    let suspended = verify_status(doc.id, text.as_bytes(), &world.trust(), NOW);
    assert_eq!(
        words(&suspended),
        ["SUSPENDED", "LOCATOR KNOWN, BYTES NOT CHECKED"]
    );
}

#[test]
fn a_disputed_document_is_neither_current_nor_out_of_force() {
    let disputed = in_state(dispute);
    assert_eq!(
        (words(&disputed), disputed.exit_code()),
        (vec!["DISPUTED"], 6)
    );
    let (mut world, doc) = World::standard();
    dispute(world.state(&doc));
    let mut raw = world.raw(&doc);
    let late = TimeMs(NOW.0 + 100_000_000);
    let stale = verify(
        &digest(FILE),
        raw.text().as_bytes(),
        &world.trust(),
        late,
        None,
    );
    assert_eq!(words(&stale), ["DISPUTED", "IN FORCE AS OF"]);
    // A dispute is about the document that was checked, and about one in force.
    raw.extra.openings = vec![].try_into().unwrap();
    assert_eq!(
        words(&world.judge(&raw)),
        ["LOCATOR KNOWN, BYTES NOT CHECKED"]
    );
    let ended = in_state(|state| {
        dispute(state);
        state.lifecycle = Lifecycle::Revoked { code: 1 };
    });
    assert_eq!(words(&ended), ["REVOKED"]);
}

#[test]
fn a_revoked_original_makes_its_copy_disputed() {
    let (mut world, [first, second, child, _]) = family();
    world.state(&first).lifecycle = Lifecycle::Revoked { code: 3 };
    let relatives = |world: &mut World, docs: &[&Doc]| {
        let closed = world.close();
        let all = docs.iter().map(|doc| world.relative(doc, &closed));
        world.related = all.collect();
        world.verdict(&child)
    };
    let verdict = relatives(&mut world, &[&first, &second]);
    assert_eq!(
        format!("{}", verdict.finding()),
        "DISPUTED (original revoked)"
    );
    assert_eq!(
        *verdict.finding(),
        Finding::Disputed {
            open: 0,
            revoked_parents: vec![first.id]
        }
    );
    // Not proved, not told.
    assert_eq!(words(&relatives(&mut world, &[&second])), ["CURRENT"]);
    // A superseded original is no reason.
    world.state(&first).lifecycle = Lifecycle::Superseded { by: second.id };
    assert_eq!(words(&relatives(&mut world, &[&first])), ["CURRENT"]);
}

#[test]
fn a_revoked_successor_is_no_revoked_original() {
    let (mut world, [_, _, child, next]) = family();
    world.state(&child).lifecycle = Lifecycle::Superseded { by: next.id };
    world.state(&next).lifecycle = Lifecycle::Revoked { code: 3 };
    let closed = world.close();
    world.related = vec![world.relative(&next, &closed)];
    assert_eq!(words(&world.verdict(&child)), ["SUPERSEDED"]);
}

// Freshness.

/// The verdict on FILE by this clock and trust.
fn at(raw: &Raw, trust: &Trust, now_ms: u64) -> Verdict {
    verify(
        &digest(FILE),
        raw.text().as_bytes(),
        trust,
        TimeMs(now_ms),
        None,
    )
}

/// Time of the third newest of the standard cosignatures, in milliseconds.
const T_Q: u64 = COSIGNED * 1000;

#[test]
fn the_quorums_oldest_cosignature_decides_the_age() {
    let (mut world, doc) = World::standard();
    // A fourth one that is older does not count: the quorum is three.
    world.cosigners.push((2, COSIGNED - 50_000));
    let (raw, trust) = (world.raw(&doc), world.trust());
    let limit = 86_400_000;
    let fresh = at(&raw, &trust, T_Q + limit);
    assert_eq!((words(&fresh), fresh.exit_code()), (vec!["CURRENT"], 0));
    let as_of = fresh.as_of().unwrap();
    assert_eq!(as_of.cosigned_at, Some(CosignedAt(COSIGNED)));
    assert_eq!(as_of.moment_ms(), TimeMs(T_Q));
    assert_eq!((as_of.size, as_of.block_time_ms), (TreeSize(4), CLOSED));
    assert_eq!((as_of.early_ms, as_of.late_ms), (320_000, 1000));
    let stale = at(&raw, &trust, T_Q + limit + 1);
    assert_eq!(
        (words(&stale), stale.exit_code()),
        (vec!["IN FORCE AS OF"], 5)
    );
    assert_eq!(
        stale.freshness(),
        Some(Freshness::Stale(Stale::Age {
            age_ms: limit + 1,
            limit_s: 86_400
        }))
    );
    assert_eq!(
        stale.as_of().unwrap().cosigned_at,
        Some(CosignedAt(COSIGNED))
    );
}

#[test]
fn online_a_proof_ages_faster() {
    let (world, doc) = World::standard();
    let raw = world.raw(&doc);
    let trust = world.trust().with_online(Online::Online);
    assert_eq!(words(&at(&raw, &trust, T_Q + 600_000)), ["CURRENT"]);
    assert_eq!(words(&at(&raw, &trust, T_Q + 600_001)), ["IN FORCE AS OF"]);
    let none = MaxAge {
        offline_s: 0,
        online_s: 0,
    };
    let strict = Trust::new(world.genesis.clone(), None, none).unwrap();
    assert_eq!(words(&at(&raw, &strict, T_Q)), ["CURRENT"]);
    assert_eq!(words(&at(&raw, &strict, T_Q + 1)), ["IN FORCE AS OF"]);
    let endless = MaxAge {
        offline_s: u64::MAX,
        online_s: u64::MAX,
    };
    let endless = Trust::new(world.genesis, None, endless).unwrap();
    assert_eq!(words(&at(&raw, &endless, u64::MAX)), ["CURRENT"]);
}

#[test]
fn cosignatures_from_the_future_do_not_count_and_tell_of_a_slow_clock() {
    let (world, doc) = World::standard();
    let (raw, trust) = (world.raw(&doc), world.trust());
    // All three count up to 300 s ahead of this clock; the newest is 2 s newer than t_q.
    let newest = (COSIGNED + 2) * 1000;
    assert_eq!(words(&at(&raw, &trust, newest - 300_000)), ["CURRENT"]);
    let slow = at(&raw, &trust, newest - 300_001);
    assert_eq!(words(&slow), ["IN FORCE AS OF"]);
    assert_eq!(slow.freshness(), Some(Freshness::Stale(Stale::SlowClock)));
    let as_of = slow.as_of().unwrap();
    assert_eq!((as_of.cosigned_at, as_of.moment_ms()), (None, CLOSED));
    assert_eq!(
        format!("{}", Stale::SlowClock),
        "this computer's clock seems slow"
    );
    // One cosigner's clock runs far ahead: the others and a fourth make the quorum.
    let (mut world, doc) = World::standard();
    world.cosigners = vec![
        (0, u64::MAX >> 1),
        (1, COSIGNED),
        (2, COSIGNED),
        (3, COSIGNED),
    ];
    let verdict = at(&world.raw(&doc), &trust, NOW.0);
    assert_eq!(words(&verdict), ["CURRENT"]);
    world.cosigners.pop();
    let verdict = at(&world.raw(&doc), &trust, NOW.0);
    assert_eq!(
        verdict.freshness(),
        Some(Freshness::Stale(Stale::SlowClock))
    );
}

#[test]
fn a_smaller_tree_than_one_seen_is_stale() {
    let (world, doc) = World::standard();
    let raw = world.raw(&doc);
    let seen = |size| world.trust().with_seen_size(TreeSize(size));
    assert_eq!(words(&at(&raw, &seen(4), NOW.0)), ["CURRENT"]);
    let stale = at(&raw, &seen(5), NOW.0);
    assert_eq!(words(&stale), ["IN FORCE AS OF"]);
    let seen = TreeSize(5);
    assert_eq!(
        stale.freshness(),
        Some(Freshness::Stale(Stale::NewerSeen { seen }))
    );
}

#[test]
fn staleness_does_not_hide_a_status() {
    let (mut world, doc) = World::standard();
    world.state(&doc).lifecycle = Lifecycle::Revoked { code: 1 };
    let raw = world.raw(&doc);
    let verdict = at(&raw, &world.trust(), NOW.0 + 1_000_000_000);
    assert_eq!(words(&verdict), ["REVOKED"]);
    assert!(matches!(
        verdict.freshness(),
        Some(Freshness::Stale(Stale::Age { .. }))
    ));
}

#[test]
fn exit_codes_are_those_of_the_table() {
    let name = crate::receipt::AuthorityName::NotProved(AuthorityIndex(2));
    let id = DocumentId([1; 16]);
    let rows: Vec<(Finding, &str, u8)> = vec![
        (
            Finding::WrongReceipt {
                receipt: id,
                document: id,
            },
            "WRONG RECEIPT",
            1,
        ),
        (Finding::Modified, "MODIFIED", 1),
        (
            Finding::OlderThanPin {
                size: TreeSize(1),
                pin: TreeSize(2),
            },
            "PROOF OLDER THAN PIN",
            3,
        ),
        (Finding::Revoked { code: 1 }, "REVOKED", 1),
        (Finding::Superseded { by: id }, "SUPERSEDED", 1),
        (Finding::Retired, "RETIRED", 1),
        (Finding::Suspended { code: 1 }, "SUSPENDED", 1),
        (Finding::EvidenceErased, "EVIDENCE ERASED", 3),
        (Finding::ReceivedBy(name), "RECEIVED BY", 3),
        (Finding::LocatorKnown, "LOCATOR KNOWN, BYTES NOT CHECKED", 3),
        (
            Finding::Disputed {
                open: 1,
                revoked_parents: Vec::new(),
            },
            "DISPUTED",
            6,
        ),
        (Finding::InForceAsOf(Stale::PinAlone), "IN FORCE AS OF", 5),
        (Finding::Current, "CURRENT", 0),
    ];
    for (finding, word, code) in rows {
        assert_eq!((finding.word(), finding.exit_code()), (word, code));
        let shown: String = format!("{finding}");
        assert!(shown.starts_with(word), "{shown}");
    }
}

#[test]
fn a_citizens_copy_is_checked_too() {
    let (world, doc) = World::standard();
    let mut raw = world.raw(&doc);
    let both = [
        (CommitmentRole::Internal, FILE),
        (CommitmentRole::Citizen, COPY),
    ];
    let openings: Vec<_> = both.map(|(role, file)| opening(role, file)).into();
    raw.extra.openings = openings.try_into().unwrap();
    for file in [FILE, COPY] {
        let text = raw.text();
        let verdict = verify(&digest(file), text.as_bytes(), &world.trust(), NOW, None);
        assert_eq!(words(&verdict), ["CURRENT"]);
    }
}
