//! Verdicts as people and machines read them: one line a file, details below, JSON.
//!
//! The words are the table's, in every language; German adds an explanation.

use crate::Language;
use crate::screen;
use client::exit::Exit;
use client::verification::{Outcome, Source, chain};
use client::when::Utc;
use ledger::receipt::{AuthorityName, Facts, Finding, Freshness, Kinship, Verdict};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;

/// How verdicts are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) language: Language,
    pub(crate) detail: Detail,
}

/// How much of a verdict is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// One line.
    Line,
    /// The line, the facts and every step.
    Steps,
    /// One JSON object on a line.
    Json,
}

/// The exit code of an outcome.
pub(crate) fn exit(outcome: &Outcome) -> Exit {
    match outcome {
        Outcome::Verdict(verdict, _) => exit_of(verdict),
        Outcome::NotFound => Exit::CouldNotTell,
        Outcome::Failed(_) => Exit::Partly,
    }
}

/// The exit code of a verdict.
pub(crate) fn exit_of(verdict: &Verdict) -> Exit {
    let code = verdict.exit_code();
    let known = Exit::WORST_FIRST.into_iter();
    known
        .rev()
        .find(|exit| exit.code() == code)
        .unwrap_or(Exit::Internal)
}

/// Prints an outcome.
pub(crate) fn print(
    path: &Path,
    outcome: &Outcome,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    if style.detail == Detail::Json {
        return writeln!(out, "{}", to_json(path, outcome));
    }
    let file = path.display();
    match outcome {
        Outcome::NotFound => {
            let word = paint("NOT FOUND", Exit::CouldNotTell);
            let german = gloss(style, "kein Beleg, was nichts beweist");
            writeln!(
                out,
                "{word}{german}  {file}  no receipt beside it, which proves nothing about it"
            )
        }
        Outcome::Failed(trouble) => {
            let word = paint("NOT CHECKED", Exit::Partly);
            writeln!(
                out,
                "{word}{}  {file}  {trouble}",
                gloss(style, "nicht geprüft")
            )
        }
        Outcome::Verdict(verdict, source) => {
            writeln!(out, "{}", line(&file.to_string(), verdict, style))?;
            if style.detail == Detail::Steps {
                details(verdict, out)?;
                writeln!(out, "  checked with {}", source_text(*source))?;
                steps(verdict, out)?;
            }
            Ok(())
        }
    }
}

/// `WORD  file  id  as of …  and what belongs to it`.
pub(crate) fn line(file: &str, verdict: &Verdict, style: Style) -> String {
    let mut text = format!("{}  {file}", word(verdict, style));
    if let Some(id) = verdict.document() {
        text.push_str(&format!("  {id}"));
    }
    text + &rest(verdict)
}

/// `WORD  as of …  and what belongs to it`.
pub(crate) fn status(verdict: &Verdict, style: Style) -> String {
    word(verdict, style) + &rest(verdict)
}

fn word(verdict: &Verdict, style: Style) -> String {
    let finding = verdict.finding();
    let word = paint(&finding.to_string(), exit_of(verdict));
    word + &gloss(style, german(finding))
}

fn rest(verdict: &Verdict) -> String {
    let mut text = String::new();
    let finding = verdict.finding();
    if let Some(as_of) = verdict.as_of() {
        text.push_str(&format!("  as of {}", Utc(as_of.moment_ms())));
    }
    match finding {
        Finding::ProofInvalid(failure) => {
            text.push_str(&format!("  {}", chain(&failure.fault)));
        }
        Finding::Modified => {
            text.push_str("  changed since registration, or the receipt is another document's");
        }
        Finding::OlderThanPin { .. } => text.push_str("  refresh it: nachweis receipt FILE"),
        Finding::InForceAsOf(stale) => text.push_str(&format!("  {stale}")),
        Finding::WrongReceipt { document, .. } => {
            text.push_str(&format!("  the document names {document}"));
        }
        Finding::Disputed {
            open,
            revoked_parents,
        } if !revoked_parents.is_empty() => {
            let parents: Vec<_> = revoked_parents.iter().map(ToString::to_string).collect();
            text.push_str(&format!("  {open} open, revoked: {}", parents.join(", ")));
        }
        Finding::Disputed { open, .. } => text.push_str(&format!("  {open} open")),
        Finding::Revoked { .. }
        | Finding::Superseded { .. }
        | Finding::Retired
        | Finding::Suspended { .. }
        | Finding::EvidenceErased
        | Finding::ReceivedBy(_)
        | Finding::LocatorKnown
        | Finding::Current => {}
    }
    let also: Vec<_> = verdict.also().iter().map(ToString::to_string).collect();
    if !also.is_empty() {
        text.push_str(&format!("  also: {}", also.join(", ")));
    }
    text
}

/// Green for current, yellow for could not tell and older proofs, red for no.
fn paint(word: &str, exit: Exit) -> String {
    let colour = match exit {
        Exit::Done => 32,
        Exit::Stale | Exit::Disputed | Exit::CouldNotTell => 33,
        Exit::No | Exit::Usage | Exit::Refused | Exit::Partly | Exit::Internal => 31,
    };
    if screen::colours() {
        format!("\u{1b}[{colour}m{word}\u{1b}[0m")
    } else {
        word.to_owned()
    }
}

fn gloss(style: Style, german: &str) -> String {
    match style.language {
        Language::En => String::new(),
        Language::De => format!(" [{german}]"),
    }
}

const fn german(finding: &Finding) -> &'static str {
    match finding {
        Finding::ProofInvalid(_) => "Beleg ungültig",
        Finding::WrongReceipt { .. } => "falscher Beleg",
        Finding::Modified => "verändert",
        Finding::OlderThanPin { .. } => "Beleg älter als der verankerte Stand",
        Finding::Revoked { .. } => "widerrufen",
        Finding::Superseded { .. } => "ersetzt",
        Finding::Retired => "archiviert",
        Finding::Suspended { .. } => "ausgesetzt",
        Finding::EvidenceErased => "Nachweis gelöscht",
        Finding::ReceivedBy(_) => "so empfangen",
        Finding::LocatorKnown => "Eintrag bekannt, Inhalt nicht geprüft",
        Finding::Disputed { .. } => "bestritten",
        Finding::InForceAsOf(_) => "gültig nach älterem Stand",
        Finding::Current => "gültig",
    }
}

const fn source_text(source: Source) -> &'static str {
    match source {
        Source::AtHand => "the receipt beside it",
        Source::Fresh => "a fresh receipt of the node, opened with the one beside it",
    }
}

/// The proved facts, indented.
pub(crate) fn details(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    let Some(facts) = verdict.facts() else {
        return Ok(());
    };
    for (name, value) in fields(facts, verdict) {
        writeln!(out, "  {name:<13}{value}")?;
    }
    Ok(())
}

fn fields(facts: &Facts, verdict: &Verdict) -> Vec<(&'static str, String)> {
    let registration = &facts.registration;
    let mut fields = vec![
        ("issued by", authority(&facts.issuer())),
        ("responsible", authority(&facts.responsible())),
        (
            "registered",
            format!(
                "{} (block {}, log index {})",
                Utc(registration.time_ms),
                registration.height,
                registration.index
            ),
        ),
        ("by key", facts.key.to_string()),
    ];
    if let Some(since) = facts.compromised_since {
        fields.push((
            "warning",
            format!("the key is doubtful from log index {since} on"),
        ));
    }
    for related in &facts.related {
        let name = match related.kinship {
            Kinship::Parent => "made from",
            Kinship::Successor => "replaced by",
        };
        let state = match &related.proved {
            None => "not checked",
            Some((_, state)) if state.is_in_force() => "in force",
            Some(_) => "not in force",
        };
        fields.push((name, format!("{}, {state}", related.document)));
    }
    for detail in &facts.details {
        fields.push(("detail", format!("{}: {}", detail.name(), detail.value)));
    }
    for received in &facts.received {
        let by = authority(&facts.authority(received.by));
        fields.push(("received", format!("{} by {by}", Utc(received.time_ms))));
    }
    if let Some(as_of) = verdict.as_of() {
        let cosigners: Vec<_> = facts.cosigners.iter().map(ToString::to_string).collect();
        fields.push((
            "as of",
            format!(
                "{} (log of {} entries, block time {}, cosigned by {})",
                Utc(as_of.moment_ms()),
                as_of.size,
                Utc(as_of.block_time_ms),
                cosigners.join(", ")
            ),
        ));
    }
    fields
}

fn authority(name: &AuthorityName) -> String {
    match name {
        AuthorityName::Proved { id, name, .. } => format!("{name} ({id})"),
        AuthorityName::NotProved(_) => name.to_string(),
    }
}

fn steps(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    for passed in verdict.steps() {
        writeln!(out, "  {}: {}", passed.step, passed.what)?;
    }
    if let Finding::ProofInvalid(failure) = verdict.finding() {
        writeln!(out, "  {}: FAILED, {}", failure.step, chain(&failure.fault))?;
    }
    Ok(())
}

/// An outcome for machines. The members are pinned by a test.
fn to_json(path: &Path, outcome: &Outcome) -> Value {
    let file = path.display().to_string();
    let exit = exit(outcome).code();
    match outcome {
        Outcome::NotFound => json!({ "file": file, "word": "NOT FOUND", "exit": exit }),
        Outcome::Failed(trouble) => json!({
            "file": file, "word": "NOT CHECKED", "exit": exit, "reason": trouble.to_string(),
        }),
        Outcome::Verdict(verdict, source) => {
            let mut object = verdict_json(verdict);
            object["file"] = file.into();
            object["source"] = match source {
                Source::AtHand => "receipt".into(),
                Source::Fresh => "node".into(),
            };
            object
        }
    }
}

/// A verdict for machines.
pub(crate) fn verdict_json(verdict: &Verdict) -> Value {
    let finding = verdict.finding();
    let mut object = json!({
        "word": finding.word(),
        "text": finding.to_string(),
        "exit": verdict.exit_code(),
        "document": verdict.document().map(|id| id.to_string()),
        "also": verdict.also().iter().map(Finding::word).collect::<Vec<_>>(),
        "fresh": verdict.freshness().map(|freshness| freshness == Freshness::Fresh),
        "as_of": verdict.as_of().map(|as_of| json!({
            "size": as_of.size.0,
            "block_time_ms": as_of.block_time_ms.0,
            "cosigned_at_s": as_of.cosigned_at.map(|at| at.0),
        })),
    });
    if let Finding::ProofInvalid(failure) = finding {
        object["step"] = failure.step.number().into();
        object["reason"] = chain(&failure.fault).into();
    }
    if let Finding::Superseded { by } = finding {
        object["successor"] = by.to_string().into();
    }
    if let Some(facts) = verdict.facts() {
        object["issuer"] = facts.issuer().to_string().into();
        object["registered_ms"] = facts.registration.time_ms.0.into();
        object["index"] = facts.registration.index.0.into();
    }
    object
}
