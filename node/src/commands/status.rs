//! `nachweis-node status`: what the running node says about itself.

use super::Failure;
use crate::api::probe;
use crate::api::types::Status;
use crate::config::{Config, ConfigError};
use crate::exit::Exit;
use std::io::Write;
use std::path::Path;

/// How the answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// As the node sent it.
    Json,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The configuration is refused.
    #[error("the node's configuration is refused")]
    Config(#[from] ConfigError),
    /// Nobody answers.
    #[error("no node answers at {0}")]
    Unavailable(std::net::SocketAddr, #[source] std::io::Error),
    /// The answer is not one of this program.
    #[error("the answer is not a node's status")]
    Answer(#[source] serde_json::Error),
}

impl From<StatusError> for Failure {
    fn from(error: StatusError) -> Self {
        match error {
            StatusError::Config(_) => Self::new(Exit::Usage, error),
            StatusError::Unavailable(..) => Self::new(Exit::Unavailable, error)
                .hint(String::from("is it running? nachweis-node run --dir …")),
            StatusError::Answer(_) => Self::new(Exit::Failed, error),
        }
    }
}

/// Asks the node that runs from this directory.
///
/// # Errors
/// [`StatusError`] as a [`Failure`].
pub fn status(dir: &Path, form: Form, out: &mut dyn Write) -> Result<(), Failure> {
    let config = Config::load(dir).map_err(StatusError::from)?;
    let address = config.api.listen;
    let body = probe::get(address, "/v1/status")
        .map_err(|source| StatusError::Unavailable(address, source))?;
    let status: Status = serde_json::from_slice(&body).map_err(StatusError::Answer)?;
    // A closed pipe is not an error.
    match form {
        Form::Json => writeln!(out, "{}", String::from_utf8_lossy(&body)).ok(),
        Form::Text => print(&status, out).ok(),
    };
    Ok(())
}

fn print(status: &Status, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "authority   {}", status.authority)?;
    writeln!(out, "chain       {}", status.chain)?;
    writeln!(
        out,
        "final       block {} of {} ms, {} log entries",
        status.height, status.time_ms, status.log_size
    )?;
    let lag = status.log_size.saturating_sub(status.provable_size);
    let provable = if lag == 0 {
        "all".to_owned()
    } else {
        format!("all but {lag}")
    };
    writeln!(
        out,
        "provable    {provable} ({} log entries)",
        status.provable_size
    )?;
    if let Some(why) = &status.unguarded {
        writeln!(out, "NO GUARD    {why}")?;
    }
    if !status.missing_cosigners.is_empty() {
        writeln!(
            out,
            "not cosigned by {}: look at their status",
            status.missing_cosigners.join(", ")
        )?;
    }
    writeln!(out, "view        {} of epoch {}", status.view, status.epoch)?;
    writeln!(out, "pending     {} submissions", status.pool)?;
    for hole in &status.archive.damaged {
        writeln!(out, "DAMAGED     {hole}")?;
    }
    for away in &status.archive.away {
        writeln!(out, "away        {away}")?;
    }
    for peer in &status.peers {
        let state = if peer.connected {
            "connected"
        } else {
            "NOT CONNECTED"
        };
        let height = peer
            .height
            .map_or_else(String::new, |h| format!(", block {h}"));
        writeln!(out, "peer        {} {state}{height}", peer.authority)?;
    }
    writeln!(out, "version     {}", status.version)
}
