//! `GET /v1/documents/{id}/receipt` and `POST /v1/receipts`: proofs for the newest cosigned checkpoint.

use super::App;
use super::documents::{parse_id, unknown};
use super::error::ApiError;
use super::limits::read_body;
use super::types::{ReceiptResult, ReceiptsAnswer, ReceiptsRequest};
use crate::receipts::{self, ReceiptError};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};

/// Most documents of one request.
const MAX_DOCUMENTS: usize = 1_000;

pub(super) async fn one(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = parse_id(&id)?;
    let receipt = app
        .blocking(move |app| {
            let receipts = receipts::receipts(&app.chain, &[id]).map_err(|e| refused(&e))?;
            let receipt = receipts.into_iter().next();
            receipt
                .unwrap_or(Err(ReceiptError::Unknown(id)))
                .map_err(|error| refused(&error))
        })
        .await?;
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, receipt).into_response())
}

pub(super) async fn many(
    State(app): State<App>,
    body: Body,
) -> Result<Json<ReceiptsAnswer>, ApiError> {
    let bytes = read_body(&app, body).await?;
    let request: ReceiptsRequest = serde_json::from_slice(&bytes).map_err(|error| {
        ApiError::malformed(format!("not the JSON of a receipts request: {error}"))
            .hint("send {\"documents\": [\"NW-…\"]}")
    })?;
    let count = request.documents.len();
    if count == 0 || count > MAX_DOCUMENTS {
        let message = format!("a request names 1 to {MAX_DOCUMENTS} documents, not {count}");
        return Err(ApiError::malformed(message));
    }
    app.blocking(move |app| answer(app, request.documents).map(Json))
        .await
}

fn answer(app: &App, documents: Vec<String>) -> Result<ReceiptsAnswer, ApiError> {
    let parsed: Vec<_> = documents.iter().map(|text| parse_id(text)).collect();
    let ids: Vec<_> = parsed
        .iter()
        .filter_map(|id| id.as_ref().ok().copied())
        .collect();
    let made = match receipts::receipts(&app.chain, &ids) {
        Err(ReceiptError::Archive(_)) => receipts::readable(&app.chain, &ids),
        made => made,
    };
    let mut made = made.map_err(|error| refused(&error))?.into_iter();
    let result = |(document, id): (String, Result<_, ApiError>)| {
        let receipt = id.and_then(|id| {
            let made = made.next().unwrap_or(Err(ReceiptError::Unknown(id)));
            made.map_err(|error| refused(&error))
        });
        let (receipt, error) = match receipt {
            Ok(receipt) => (Some(receipt), None),
            Err(error) => (None, Some(error.detail())),
        };
        ReceiptResult {
            document,
            receipt,
            error,
        }
    };
    Ok(ReceiptsAnswer {
        receipts: documents.into_iter().zip(parsed).map(result).collect(),
    })
}

fn refused(error: &ReceiptError) -> ApiError {
    let unavailable =
        |code| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string());
    match error {
        ReceiptError::Unknown(id) => unknown(id),
        ReceiptError::NotProvable { .. } => unavailable("not-provable")
            .hint("more than a third of the validators may be away; try again"),
        ReceiptError::NotYet { .. } => {
            unavailable("not-provable-yet").hint("try again in a second")
        }
        ReceiptError::Issue(issue) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            let failed = ApiError::new(status, "receipt-too-large", issue.to_string());
            match issue.hint() {
                Some(hint) => failed.hint(hint),
                None => failed,
            }
        }
        ReceiptError::Archive(error) => ApiError::unreadable(error),
        ReceiptError::LogDamaged(_) => {
            unavailable("log-damaged").hint("the node makes them again; meanwhile ask another node")
        }
        ReceiptError::Missing(_)
        | ReceiptError::Malformed(_)
        | ReceiptError::NoRecord(_)
        | ReceiptError::Note(_)
        | ReceiptError::Index(_)
        | ReceiptError::State(_)
        | ReceiptError::Log(_) => ApiError::internal(error),
    }
}
