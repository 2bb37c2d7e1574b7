//! `GET /v1/restarts/{epoch}`: the restart file that opened an epoch, or the lowest one above it; what an audit over the API
//! needs to follow the chain through a restart.

use super::App;
use super::error::ApiError;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use ledger::id::Epoch;

pub(super) async fn restart(
    State(app): State<App>,
    Path(epoch): Path<String>,
) -> Result<Response, ApiError> {
    let epoch = epoch.parse().map(Epoch).map_err(|_not| {
        let epoch: String = epoch.chars().take(40).collect();
        ApiError::malformed(format!("{epoch:?} is not an epoch"))
    })?;
    let file = app.chain.restarts().first_from(epoch);
    let file = file.map(ledger::restart::RestartFile::encode);
    file.map(|bytes| ([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
        .ok_or_else(|| {
            let message = format!("no restart opened epoch {epoch} or a later one");
            ApiError::new(StatusCode::NOT_FOUND, "unknown-restart", message)
        })
}
