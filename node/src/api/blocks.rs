//! `GET /v1/blocks/{height}`: a final block, in numbers or as the archive keeps it.

use super::App;
use super::error::ApiError;
use super::limits;
use super::log::IMMUTABLE;
use super::types::{Accusation, BlockSummary};
use super::words::Names;
use crate::receipts::ReceiptError;
use crate::receipts::leaves;
use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use ledger::block::Block;
use ledger::body::Item;
use ledger::evidence::Evidence;
use ledger::id::{AuthorityIndex, Height};
use ledger::validator_set::ValidatorSet;
use ledger::vote::VoteKind;

const OCTETS: &str = "application/octet-stream";

pub(super) async fn block(
    State(app): State<App>,
    Path(height): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let height = height.parse().map(Height).map_err(|_not| {
        let height: String = height.chars().take(40).collect();
        ApiError::malformed(format!("{height:?} is not a height"))
    })?;
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let raw = query.as_deref() == Some("raw") || accepted == Some(OCTETS);
    if raw {
        let payload = app.blocking(move |app| raw_block(app, height)).await?;
        let headers = [(CONTENT_TYPE, OCTETS), (CACHE_CONTROL, IMMUTABLE)];
        return Ok((headers, payload).into_response());
    }
    // Who proposed it is told by name, and names are in the index.
    limits::needs_index(&app)?;
    let summary = app.blocking(move |app| summary(app, height)).await?;
    Ok(([(CACHE_CONTROL, IMMUTABLE)], Json(summary)).into_response())
}

fn raw_block(app: &App, height: Height) -> Result<Vec<u8>, ApiError> {
    let payload = app.chain.archive().read_encoded(height);
    let payload = payload.map_err(|error| ApiError::unreadable(&error))?;
    payload.ok_or_else(|| no_block(app, height))
}

fn summary(app: &App, height: Height) -> Result<BlockSummary, ApiError> {
    let block = leaves::open(&app.chain.archive(), height).map_err(|error| match error {
        ReceiptError::Missing(_) => no_block(app, height),
        other => ApiError::of_read(&other),
    })?;
    describe(app, &block)
}

fn describe(app: &App, block: &Block) -> Result<BlockSummary, ApiError> {
    let header = &block.header;
    let founding = app.chain.founding();
    let mut submissions = Vec::new();
    let mut evidence = Vec::new();
    let items = block
        .body
        .parse()
        .map_err(|error| ApiError::internal(&error))?;
    for item in items {
        match item {
            Item::Submission(submission) => submissions.push(submission.hash().to_string()),
            Item::Evidence(one) => evidence.push(accusation(founding.set(), &one)),
        }
    }
    let member = founding.set().get(header.proposer);
    let proposer = member.map_or(AuthorityIndex(u16::MAX), |member| member.authority);
    let named = app
        .chain
        .with_final(|view, _| Names { founding, view }.of(proposer));
    let named = named.map_err(|error| ApiError::internal(&error))?;
    Ok(BlockSummary {
        height: header.height.0,
        hash: header.hash().to_string(),
        parent: header.parent.to_string(),
        epoch: header.epoch.0,
        view: header.view.0,
        proposer: named.map_err(|error| ApiError::internal(&error))?,
        time_ms: header.time_ms.0,
        log_size: header.log_size.0,
        log_root: header.log_root.to_string(),
        status_root: header.status_root.to_string(),
        body_len: header.body_len,
        submissions,
        evidence,
    })
}

fn accusation(set: &ValidatorSet, evidence: &Evidence) -> Accusation {
    let (a, b) = evidence.votes();
    let member = set.get(a.signer);
    Accusation {
        authority: member.map_or_else(String::new, |member| member.id.to_string()),
        validator: a.signer.0,
        epoch: a.epoch.0,
        view: a.view.0,
        votes: [a, b].map(|vote| word(vote.kind).to_owned()),
    }
}

const fn word(kind: VoteKind) -> &'static str {
    match kind {
        VoteKind::Notarize => "notarize",
        VoteKind::Nullify => "nullify",
        VoteKind::Finalize => "finalize",
    }
}

fn no_block(app: &App, height: Height) -> ApiError {
    let last = app.chain.head().tip.height;
    let message = format!("there is no block {height}, the newest is {last}");
    ApiError::new(StatusCode::NOT_FOUND, "unknown-block", message)
}
