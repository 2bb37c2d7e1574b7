//! `nachweis-node status`: what the running node says about itself.

use super::Failure;
use crate::api::probe;
use crate::api::types::{DiskInfo, Status};
use crate::config::{Config, ConfigError};
use crate::exit::Exit;
use genesis::when::Utc;
use ledger::id::TimeMs;
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

/// What is free on the data disk, and whether that is enough.
fn free(disk: &DiskInfo) -> String {
    let least = disk.min_free_bytes >> 20;
    match disk.free_bytes {
        None => format!("unknown; at least {least} MiB are needed"),
        Some(free) if free < disk.min_free_bytes => {
            format!(
                "{} MiB, TOO LITTLE: below {least} MiB no submissions are taken",
                free >> 20
            )
        }
        Some(free) => format!("{} MiB, of which {least} MiB are needed", free >> 20),
    }
}

fn print(status: &Status, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "authority   {}", status.authority)?;
    writeln!(out, "chain       {}", status.chain)?;
    writeln!(
        out,
        "final       block {} of {}, {} log entries",
        status.height,
        Utc(TimeMs(status.time_ms)),
        status.log_size
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
    writeln!(out, "standing    {}", status.standing)?;
    if let Some(alarm) = &status.alarm {
        writeln!(out, "ALARM       {alarm}")?;
    }
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
    writeln!(out, "free        {}", free(&status.disk))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_who_votes_what_is_free_and_when_the_block_was() {
        let mut status: Status = serde_json::from_value(serde_json::json!({
            "chain": "c", "authority": "amt", "height": 7, "time_ms": 1_790_000_000_000_u64,
            "log_size": 3, "provable_size": 3, "view": 9, "epoch": 0, "pool": 0, "version": "v",
            "standing": "in quarantine, asks to rejoin: 1 others have answered",
            "disk": { "free_bytes": 9 << 20, "min_free_bytes": 8 << 20 },
            "peers": [],
            "archive": {
                "damaged": [], "away": [], "repaired_blocks": 0, "scrub_height": 0,
                "scrub_passes": 0, "scrub_findings": 0
            },
        }))
        .unwrap();
        let shown = |status: &Status| {
            let mut out = Vec::new();
            print(status, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let text = shown(&status);
        for line in [
            "final       block 7 of 2026-09-21 14:13:20 UTC, 3 log entries",
            "standing    in quarantine, asks to rejoin: 1 others have answered",
            "free        9 MiB, of which 8 MiB are needed",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        status.disk.free_bytes = Some(7 << 20);
        let low = "free        7 MiB, TOO LITTLE: below 8 MiB no submissions are taken";
        assert!(shown(&status).contains(low));
    }
}
