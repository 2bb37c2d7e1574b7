//! `GET /v1/documents/{id}` and its history: what the newest final block says, without proof.

use super::App;
use super::error::ApiError;
use super::types::{CheckpointSummary, Document, History, HistoryEntry};
use super::words::{self, Names};
use crate::receipts::leaves::{self, Wanted};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ledger::document::DocumentId;
use ledger::id::{Height, LeafIndex};
use ledger::state::{DocState, Lifecycle, Registration, RegistrationKind};
use ledger::tip::Tip;
use ledger::view::StateUnavailable;
use std::collections::BTreeMap;

/// Most records of a history.
const MAX_HISTORY: usize = 1_000;

/// Parses the id in a path.
pub(super) fn parse_id(text: &str) -> Result<DocumentId, ApiError> {
    text.parse().map_err(|error: ledger::document::IdError| {
        ApiError::malformed(error.to_string())
            .hint("a document id looks like NW-0000-0000-0000-0000-0000-0000-0000")
    })
}

/// 404 for a document that is not registered.
pub(super) fn unknown(id: &DocumentId) -> ApiError {
    let message = format!("document {id} is not registered");
    ApiError::new(StatusCode::NOT_FOUND, "unknown-document", message)
        .hint("a document that was registered a moment ago at another node may follow")
}

pub(super) async fn document(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Document>, ApiError> {
    let id = parse_id(&id)?;
    app.blocking(move |app| {
        let founding = app.chain.founding();
        let seen = app.chain.with_final(|view, tip| {
            let Some(registration) = view.registration(&id)? else {
                return Ok(None);
            };
            let state = view.doc_state(&id)?;
            let state = state.unwrap_or_else(|| DocState::registered(id, &registration));
            let names = Names { founding, view };
            Ok(Some(describe(&registration, &state, &names, tip)?))
        });
        let seen: Result<Option<Document>, StateUnavailable> =
            seen.map_err(|error| ApiError::internal(&error))?;
        let seen = seen.map_err(|error| ApiError::internal(&error))?;
        seen.map(Json).ok_or_else(|| unknown(&id))
    })
    .await
}

fn describe(
    registration: &Registration,
    state: &DocState,
    names: &Names<'_>,
    tip: &Tip,
) -> Result<Document, StateUnavailable> {
    let record = match registration.kind {
        RegistrationKind::Register => "register",
        RegistrationKind::Derive => "derive",
        RegistrationKind::Publish => "publish",
    };
    let (lifecycle, successor, reason) = match state.lifecycle {
        Lifecycle::InForce => ("in-force", None, None),
        Lifecycle::Superseded { by } => ("superseded", Some(by.to_string()), None),
        Lifecycle::Revoked { code } => ("revoked", None, Some(code)),
    };
    let holders = state.holders.iter().map(|holder| names.of(*holder));
    Ok(Document {
        id: state.id.to_string(),
        registration: registration.index.0,
        record: record.to_owned(),
        authority: names.of(registration.authority)?,
        lifecycle: lifecycle.to_owned(),
        successor,
        reason,
        retired: state.retired.map(|outcome| outcome.code()),
        suspended: state.suspended,
        issuer: names.of(state.issuer)?,
        responsible: names.of(state.responsible)?,
        holders: holders.collect::<Result<_, _>>()?,
        disputes: u64::try_from(state.disputes.iter().count()).unwrap_or(u64::MAX),
        checkpoint: summary(tip),
    })
}

fn summary(tip: &Tip) -> CheckpointSummary {
    CheckpointSummary {
        size: tip.log_size().0,
        time_ms: tip.time_ms.0,
        height: tip.height.0,
    }
}

pub(super) async fn history(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<History>, ApiError> {
    let id = parse_id(&id)?;
    app.blocking(move |app| {
        let wanted = history_of(app, &id)?;
        if wanted.is_empty() {
            return Err(unknown(&id));
        }
        let found = leaves::read(&app.chain.archive(), &wanted);
        let found: BTreeMap<_, _> = found
            .map_err(|error| ApiError::of_read(&error))?
            .into_iter()
            .collect();
        let founding = app.chain.founding();
        let entries = app.chain.with_final(|view, _| {
            let names = Names { founding, view };
            let entry = |(index, one): (LeafIndex, leaves::Found)| {
                Ok(HistoryEntry {
                    index: index.0,
                    height: one.header.height.0,
                    time_ms: one.header.time_ms.0,
                    authority: names.of(one.signed.body.authority)?,
                    key: one.signed.body.key.to_string(),
                    record: one.record.name().to_owned(),
                    detail: words::detail(&one.record, &names)?,
                })
            };
            found.into_iter().map(entry).collect()
        });
        let entries: Result<Vec<HistoryEntry>, StateUnavailable> =
            entries.map_err(|error| ApiError::internal(&error))?;
        Ok(Json(History {
            id: id.to_string(),
            records: entries.map_err(|error| ApiError::internal(&error))?,
        }))
    })
    .await
}

/// Log indices of a document's records, by block: those in the index, then those of later final blocks.
fn history_of(app: &App, id: &DocumentId) -> Result<Wanted, ApiError> {
    let states = app.chain.states();
    // Taken before the index is looked at, so that no block falls between.
    let later = states.finals_up_to(Height(u64::MAX));
    let mut wanted = Wanted::new();
    let read = || {
        let view = states.index().view()?;
        let mut indexed = Vec::new();
        for leaf in view.history(id, 0, MAX_HISTORY)? {
            indexed.extend(view.block_of(leaf)?.map(|(height, _)| (height, leaf)));
        }
        Ok(indexed)
    };
    let indexed: Result<Vec<_>, crate::storage::index::ReadError> = read();
    let indexed = indexed.map_err(|error| ApiError::internal(&error))?;
    let above = later.iter().flat_map(|post| {
        let records = post.effects().history.iter();
        let of_it = records.filter(|(of, _)| of == id);
        of_it.map(|(_, leaf)| (post.header().height, *leaf))
    });
    for (height, leaf) in indexed.into_iter().chain(above).take(MAX_HISTORY) {
        let indices: &mut std::collections::BTreeSet<_> = wanted.entry(height).or_default();
        indices.insert(leaf);
    }
    Ok(wanted)
}
