//! The client's mirror of the API's JSON is the node's: what one writes, the other reads whole and writes again.

use client::api::types as mirror;
use node::api::types;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Every field of the node's value is in the mirror's, and none is the mirror's alone.
#[track_caller]
fn agree<Mirror: Serialize + DeserializeOwned>(value: &impl Serialize) {
    let written = serde_json::to_value(value).expect("the node's types are JSON");
    let read: Mirror = serde_json::from_value(written.clone()).expect("the client reads it");
    let again = serde_json::to_value(&read).expect("the client's types are JSON");
    assert_eq!(written, again);
}

fn text(what: &str) -> String {
    what.to_owned()
}

fn error() -> types::ErrorDetail {
    types::ErrorDetail {
        code: text("c"),
        message: text("m"),
        hint: Some(text("h")),
    }
}

fn checkpoint() -> types::CheckpointSummary {
    types::CheckpointSummary {
        size: 1,
        time_ms: 2,
        height: 3,
    }
}

#[test]
fn answers_to_submissions() {
    use types::State;
    let states = [
        State::Accepted,
        State::Final,
        State::Provable,
        State::Refused,
        State::Timeout,
    ];
    let full = |state| types::SubmissionResult {
        submission: text("s"),
        state,
        height: Some(1),
        time_ms: Some(2),
        first_index: Some(3),
        count: Some(4),
        size: Some(5),
        error: Some(error()),
    };
    let bare = types::SubmissionResult {
        height: None,
        time_ms: None,
        first_index: None,
        count: None,
        size: None,
        error: None,
        ..full(State::Timeout)
    };
    let results = states.into_iter().map(full).chain([bare]).collect();
    agree::<mirror::SubmissionResults>(&types::SubmissionResults { results });
    agree::<mirror::ErrorBody>(&types::ErrorBody { error: error() });
}

#[test]
fn documents_and_histories() {
    let full = types::Document {
        id: text("i"),
        registration: 1,
        record: text("r"),
        authority: text("a"),
        lifecycle: text("superseded"),
        successor: Some(text("n")),
        reason: Some(4),
        retired: Some(1),
        suspended: Some(2),
        issuer: text("a"),
        responsible: text("b"),
        holders: vec![text("a"), text("b")],
        disputes: 2,
        checkpoint: checkpoint(),
    };
    agree::<mirror::Document>(&full);
    agree::<mirror::Document>(&types::Document {
        successor: None,
        reason: None,
        retired: None,
        suspended: None,
        ..full
    });
    let entry = types::HistoryEntry {
        index: 1,
        height: 2,
        time_ms: 3,
        authority: text("a"),
        key: text("k"),
        record: text("revoke"),
        detail: serde_json::json!({ "prev": 1, "code": 4 }),
    };
    agree::<mirror::History>(&types::History {
        id: text("i"),
        records: vec![entry],
    });
}

#[test]
fn receipts_both_ways() {
    let result = |receipt, error| types::ReceiptResult {
        document: text("d"),
        receipt,
        error,
    };
    agree::<mirror::ReceiptsAnswer>(&types::ReceiptsAnswer {
        receipts: vec![result(Some(text("r")), None), result(None, Some(error()))],
    });
    agree::<types::ReceiptsRequest>(&mirror::ReceiptsRequest {
        documents: vec![text("d")],
    });
}

#[test]
fn members_keys_and_status() {
    let key = types::KeyInfo {
        key: text("k"),
        authority: text("a"),
        role: 3,
        enrolled: 1,
        not_after_ms: 2,
        retired: Some(3),
        compromised_since: Some(4),
    };
    agree::<mirror::KeyInfo>(&key);
    agree::<mirror::KeyInfo>(&types::KeyInfo {
        retired: None,
        compromised_since: None,
        ..key
    });
    let validator = types::ValidatorInfo {
        vote: text("v"),
        cosigner: text("c"),
        log: text("l"),
        network: text("n"),
        addresses: vec![text("/ip4/127.0.0.1/tcp/1")],
    };
    let authority = types::AuthorityInfo {
        index: 1,
        id: text("a"),
        name: text("A"),
        admin: text("k"),
        validator: Some(validator),
    };
    agree::<Vec<mirror::AuthorityInfo>>(&vec![
        authority.clone(),
        types::AuthorityInfo {
            validator: None,
            ..authority
        },
    ]);
    let peer = |height| types::PeerInfo {
        authority: text("b"),
        connected: true,
        height,
    };
    agree::<mirror::Status>(&types::Status {
        chain: text("c"),
        authority: text("a"),
        height: 1,
        time_ms: 2,
        log_size: 3,
        provable_size: 4,
        view: 5,
        epoch: 6,
        peers: vec![peer(Some(7)), peer(None)],
        pool: 8,
        archive: types::ArchiveInfo {
            damaged: vec![text("d")],
            away: vec![text("a")],
            repaired_blocks: 1,
            scrub_height: 2,
            scrub_passes: 3,
            scrub_findings: 4,
        },
        version: text("v"),
    });
}
