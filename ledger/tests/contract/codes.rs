//! `docs/codes.md` and the program's tables say the same.

use crate::samples::{founded, leaves, records};
use ledger::document::CommitmentRole;
use ledger::genesis::Purpose;
use ledger::receipt::{revoke_reason, suspend_reason};
use ledger::record::{
    AnswerCode, DisputeCode, EndorseKind, HoldReason, Outcome, Record, ReinstateReason,
    RejectReason, Relation, Retention, RevokeReason, Role, SuspendReason, TransferMode,
};
use ledger::refusal::Refusal;
use ledger::rules::Act;
use ledger::state::{Lifecycle, RegistrationKind};
use ledger::vote::VoteKind;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Rows below a heading that names a type: the cells of each, but for the table's head.
fn page() -> BTreeMap<String, Vec<Vec<String>>> {
    let text = include_str!("../../../docs/codes.md");
    let mut tables: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let name = heading.split('`').nth(1).expect("a heading names its type");
            assert!(!tables.contains_key(name), "{name} twice");
            current = Some(tables.entry(name.to_owned()).or_default());
        } else if let (Some(table), true) = (current.as_mut(), line.starts_with('|')) {
            let cells = line.trim_matches('|').split('|');
            table.push(cells.map(|cell| cell.trim().replace('`', "")).collect());
        }
    }
    for (name, table) in &mut tables {
        assert!(table.len() > 2, "{name} has rows");
        table.drain(..2);
        for row in table {
            assert!(row.iter().all(|cell| !cell.is_empty()), "{name}: {row:?}");
        }
    }
    tables
}

fn expected<T: Copy + Debug>(all: &[T], code: impl Fn(T) -> u8) -> Vec<(String, String)> {
    let row = |one: &T| (code(*one).to_string(), format!("{one:?}"));
    all.iter().map(row).collect()
}

fn plain(rows: &[(u8, &str)]) -> Vec<(String, String)> {
    let row = |(code, name): &(u8, &str)| (code.to_string(), (*name).to_owned());
    rows.iter().map(row).collect()
}

fn tables() -> BTreeMap<&'static str, Vec<(String, String)>> {
    let all = records(&founded());
    let names: Vec<(u8, &str)> = all.iter().map(|one| (one.code(), one.name())).collect();
    let roles = [
        (Role::ISSUE.bits(), "issue"),
        (Role::EXCHANGE.bits(), "exchange"),
        (Role::PUBLIC.bits(), "public"),
        (Role::NODE.bits(), "node"),
    ];
    let [record, trailer, evidence] = leaves(&founded()).map(|leaf| leaf.encode()[1]);
    let leaf_kinds = [
        (record, "Record"),
        (trailer, "Trailer"),
        (evidence, "Evidence"),
    ];
    let by = ledger::document::DocumentId([0; 16]);
    let lifecycles = [
        (Lifecycle::InForce, "InForce"),
        (Lifecycle::Superseded { by }, "Superseded"),
        (Lifecycle::Revoked { code: 1 }, "Revoked"),
    ];
    let lifecycles = lifecycles.map(|(one, name)| (ledger::codec::encode(&one)[0], name));
    BTreeMap::from([
        ("Record", plain(&names)),
        ("Role", plain(&roles)),
        ("LogLeaf", plain(&leaf_kinds)),
        ("Lifecycle", plain(&lifecycles)),
        (
            "CommitmentRole",
            expected(CommitmentRole::ALL, CommitmentRole::code),
        ),
        ("Relation", expected(Relation::ALL, Relation::code)),
        (
            "TransferMode",
            expected(TransferMode::ALL, TransferMode::code),
        ),
        ("Outcome", expected(Outcome::ALL, Outcome::code)),
        (
            "RevokeReason",
            expected(RevokeReason::ALL, RevokeReason::code),
        ),
        ("Retention", expected(Retention::ALL, Retention::code)),
        ("EndorseKind", expected(EndorseKind::ALL, EndorseKind::code)),
        (
            "RejectReason",
            expected(RejectReason::ALL, RejectReason::code),
        ),
        ("DisputeCode", expected(DisputeCode::ALL, DisputeCode::code)),
        ("AnswerCode", expected(AnswerCode::ALL, AnswerCode::code)),
        (
            "SuspendReason",
            expected(SuspendReason::ALL, SuspendReason::code),
        ),
        (
            "ReinstateReason",
            expected(ReinstateReason::ALL, ReinstateReason::code),
        ),
        ("HoldReason", expected(HoldReason::ALL, HoldReason::code)),
        (
            "RegistrationKind",
            expected(RegistrationKind::ALL, RegistrationKind::code),
        ),
        ("Purpose", expected(Purpose::ALL, Purpose::code)),
        ("VoteKind", expected(VoteKind::ALL, VoteKind::code)),
    ])
}

#[test]
fn the_page_of_codes_is_the_programs() {
    let mut page = page();
    let refusals = page.remove("Refusal").expect("a table of refusals");
    let tables = tables();
    let on_page: Vec<&str> = page.keys().map(String::as_str).collect();
    assert_eq!(on_page, tables.keys().copied().collect::<Vec<_>>());
    for (name, rows) in &page {
        let found: Vec<_> = rows
            .iter()
            .map(|row| (row[0].clone(), row[1].clone()))
            .collect();
        assert_eq!(&found, &tables[name.as_str()], "{name}");
        assert!(
            rows.iter().all(|row| row.len() == 4),
            "{name} in both languages"
        );
    }
    let found: Vec<&str> = refusals.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(found, crate::rules::refusal_codes());
    assert!(
        refusals.iter().all(|row| row.len() == 3),
        "in both languages"
    );
}

/// A table of the source that this page forgot: every coded enum is here.
#[test]
fn no_coded_enum_is_missing_on_the_page() {
    let sources = [
        include_str!("../../src/record.rs"),
        include_str!("../../src/document.rs"),
        include_str!("../../src/state.rs"),
        include_str!("../../src/genesis.rs"),
        include_str!("../../src/vote.rs"),
    ];
    let page = page();
    for source in sources {
        for block in source.split("coded_enum! {").skip(1) {
            let (_, after) = block.split_once("pub enum ").expect("an enum");
            let name = after.split(' ').next().expect("its name");
            assert!(page.contains_key(name), "{name} is not on the page");
        }
    }
}

#[test]
fn the_page_says_which_records_are_not_yet_enabled() {
    let page = page();
    for (record, row) in records(&founded()).iter().zip(&page["Record"]) {
        let enabled = match Act::of(record) {
            Ok(_) => true,
            Err(refusal) => {
                assert_eq!(refusal, Refusal::NotEnabled(record.name()));
                false
            }
        };
        assert_eq!(row[2].ends_with("(not yet enabled)"), !enabled, "{row:?}");
        assert_eq!(
            row[3].ends_with("(noch nicht freigegeben)"),
            !enabled,
            "{row:?}"
        );
    }
    let codes: Vec<u8> = records(&founded()).iter().map(Record::code).collect();
    assert_eq!(codes.len(), page["Record"].len());
}

/// A verdict's words are the page's.
#[test]
fn verdicts_use_the_words_of_the_page() {
    let page = page();
    for row in &page["RevokeReason"] {
        assert_eq!(revoke_reason(row[0].parse().unwrap()), row[2]);
    }
    for row in &page["SuspendReason"] {
        assert_eq!(suspend_reason(row[0].parse().unwrap()), row[2]);
    }
    assert_eq!(
        [revoke_reason(99), suspend_reason(99)],
        ["code 99", "code 99"]
    );
}
