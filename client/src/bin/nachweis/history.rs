//! `nachweis history`.

use crate::failure::Failure;
use crate::screen::{Plain, Screen};
use crate::session::{Global, Session};
use client::api::types::HistoryEntry;
use client::desk;
use client::exit::Exit;
use client::when::Utc;
use ledger::id::TimeMs;
use std::io::Write;

/// List what happened to a document, oldest first
///
/// The list is what the node says; the document's status today is proved by `nachweis verify`.
///
/// Example: nachweis history bescheid.pdf
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A file, or a document id (NW-…)
    #[arg(value_name = "FILE|ID")]
    document: String,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(
    global: &Global,
    args: &Args,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let session = Session::open(global)?;
    let registrations = session.registrations()?;
    let named = session.named(&args.document, registrations.as_ref())?;
    let api = desk::api(&session.config)?;
    let history = api.history(&named.document()).await?;
    if !args.json {
        writeln!(out, "{}", named.document())?;
    }
    for entry in &history.records {
        if args.json {
            let line = serde_json::to_value(entry).unwrap_or_default();
            writeln!(out, "{line}")?;
        } else {
            print(entry, out)?;
        }
    }
    out.flush()?;
    let node = api.node();
    Screen::new(Plain::Nothing).line(&format!(
        "as {node} says; the status is proved by: nachweis verify"
    ));
    Ok(Exit::Done)
}

fn print(entry: &HistoryEntry, out: &mut dyn Write) -> std::io::Result<()> {
    let when = Utc(TimeMs(entry.time_ms));
    let HistoryEntry {
        index,
        authority,
        record,
        detail,
        ..
    } = entry;
    let detail = words(detail);
    writeln!(
        out,
        "  {when}  {record:<10}  by {authority}{detail}  (log index {index})"
    )
}

/// The codes and references of a record: `, name value`. What says nothing to a person is left out.
fn words(detail: &serde_json::Value) -> String {
    let members = detail.as_object().into_iter().flatten();
    let shown = members.filter(|(name, value)| {
        let unspecified = name.as_str() == "retention" && **value == 0;
        !value.is_null() && name.as_str() != "prev" && !unspecified
    });
    shown
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!(", {name} {text}"),
            None => format!(", {name} {value}"),
        })
        .collect()
}
