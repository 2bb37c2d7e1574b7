//! `GET /v1/authorities` and `GET /v1/keys/{key}`: who may say something, in the newest final block.

use super::App;
use super::error::ApiError;
use super::types::{AuthorityInfo, KeyInfo, ValidatorInfo};
use super::words::Names;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ledger::genesis::Validator;
use ledger::key::Key;
use ledger::view::StateUnavailable;

pub(super) async fn key(
    State(app): State<App>,
    Path(text): Path<String>,
) -> Result<Json<KeyInfo>, ApiError> {
    let key: Key = text.parse().map_err(|error| {
        ApiError::malformed(format!("not a key: {error}")).hint("a key has 64 hex digits")
    })?;
    app.blocking(move |app| {
        let founding = app.chain.founding();
        let found = app.chain.with_final(|view, _| {
            let Some(state) = view.key_state(&key)? else {
                return Ok(None);
            };
            let names = Names { founding, view };
            Ok(Some(KeyInfo {
                key: key.to_string(),
                authority: names.of(state.authority)?,
                role: state.role.bits(),
                enrolled: state.enrolled.0,
                not_after_ms: state.not_after_ms.0,
                retired: state.retired.map(|at| at.0),
                compromised_since: state.compromised_since.map(|at| at.0),
            }))
        });
        let found: Result<_, StateUnavailable> =
            found.map_err(|error| ApiError::internal(&error))?;
        let found = found.map_err(|error| ApiError::internal(&error))?;
        found.map(Json).ok_or_else(|| {
            let message = format!("key {key} is not, and never was, a registrar's");
            ApiError::new(StatusCode::NOT_FOUND, "unknown-key", message)
        })
    })
    .await
}

pub(super) async fn authorities(
    State(app): State<App>,
) -> Result<Json<Vec<AuthorityInfo>>, ApiError> {
    app.blocking(|app| {
        let founding = app.chain.founding();
        let all = app.chain.with_final(|view, _| {
            let info = |(index, founder): (_, &ledger::genesis::Authority)| {
                let changed = view.auth_state(index)?;
                let (id, name, admin) = match changed {
                    Some(state) => (state.id, state.name, state.admin),
                    None => (founder.id.clone(), founder.name.clone(), founder.admin),
                };
                Ok(AuthorityInfo {
                    index: index.0,
                    id: id.to_string(),
                    name: name.as_str().to_owned(),
                    admin: admin.to_string(),
                    validator: founder.validator.as_ref().map(validator),
                })
            };
            founding.genesis().indexed().map(info).collect()
        });
        let all: Result<Vec<_>, StateUnavailable> =
            all.map_err(|error| ApiError::internal(&error))?;
        all.map(Json).map_err(|error| ApiError::internal(&error))
    })
    .await
}

fn validator(of: &Validator) -> ValidatorInfo {
    let addresses = of.addresses.iter();
    ValidatorInfo {
        vote: of.vote.to_string(),
        cosigner: of.cosigner.to_string(),
        log: of.log.to_string(),
        network: of.network.to_string(),
        addresses: addresses
            .map(|address| address.as_str().to_owned())
            .collect(),
    }
}
