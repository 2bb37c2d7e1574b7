//! Errors as the API tells them: status, code, message, hint.

use super::types::{ErrorBody, ErrorDetail};
use crate::receipts::ReceiptError;
use crate::storage::archive::ReadError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Kebab-case, stable.
    pub code: &'static str,
    /// One sentence, lower case, with the offending value.
    pub message: String,
    /// What a person can do about it.
    pub hint: Option<&'static str>,
}

impl ApiError {
    /// An error without a hint.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub const fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// 400: the request is not what this route takes.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message)
    }

    /// 503: a block cannot be served, for its place on the disk is damaged or its segment is not here. Others have it.
    /// 500 for anything else.
    pub fn unreadable(error: &ReadError) -> Self {
        let unavailable =
            |code| Self::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string());
        match error {
            ReadError::Damaged(_) => unavailable("archive-damaged")
                .hint("the node fetches it again from the others; meanwhile ask another node"),
            ReadError::Away { .. } => unavailable("segment-missing")
                .hint("the operator moved it away; ask another node, or have the file put back"),
            ReadError::File(_) => Self::internal(error),
        }
    }

    /// The same for what was read to make a receipt or to show a block.
    pub fn of_read(error: &ReceiptError) -> Self {
        match error {
            ReceiptError::Archive(error) => Self::unreadable(error),
            other => Self::internal(other),
        }
    }

    /// 500: a read of the own disk went wrong; the log says more.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %crate::exit::Chain(error), "a request could not be answered");
        let message = "this node could not read its own data; its log says more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// As it stands in a JSON answer.
    pub fn detail(&self) -> ErrorDetail {
        ErrorDetail {
            code: self.code.to_owned(),
            message: self.message.clone(),
            hint: self.hint.map(str::to_owned),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error: self.detail(),
        };
        (self.status, Json(body)).into_response()
    }
}
