//! `nachweis show`.

use crate::act;
use crate::failure::Failure;
use crate::session::{Global, Named, Session};
use crate::verdict::{self, Detail, Style};
use client::desk;
use client::exit::Exit;
use client::proof::{self, Subject};
use client::verification::Source;
use ledger::receipt::{Finding, Verdict};
use std::io::Write;

/// Show what is proved about a document
///
/// A file is shown by the receipt beside it, without asking anyone; a document id by a fresh receipt of the
/// node, which is checked first.
///
/// Example: nachweis show bescheid.pdf
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A file, or a document id (NW-…)
    #[arg(value_name = "FILE|ID")]
    document: String,
    /// One JSON object
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
    let (verdict, source) = match &named {
        Named::File(file) => match &file.at_hand {
            Some(receipt) => {
                let text = receipt.encode();
                let subject = Subject::Bytes(&file.digest);
                let verdict = proof::check(subject, text.as_bytes(), &session.trust, session.now);
                (verdict, Source::AtHand)
            }
            None => fresh(&session, &named).await?,
        },
        Named::Id(_) => fresh(&session, &named).await?,
    };
    if args.json {
        writeln!(out, "{}", verdict::verdict_json(&verdict))?;
    } else {
        let style = Style {
            language: global.language,
            detail: Detail::Steps,
        };
        writeln!(out, "{}", named.document())?;
        let status = verdict::status(&verdict, style);
        writeln!(out, "  {:<13}{status}", "status")?;
        verdict::details(&verdict, out)?;
        let source = match source {
            Source::AtHand => "receipt beside the file",
            Source::Fresh => "fresh receipt of the node, checked",
        };
        writeln!(out, "  {:<13}{source}", "proved by")?;
    }
    Ok(match verdict.finding() {
        Finding::ProofInvalid(_) => Exit::No,
        _ => Exit::Done,
    })
}

async fn fresh(session: &Session, named: &Named) -> Result<(Verdict, Source), Failure> {
    let api = desk::api(&session.config)?;
    let (_, verdict) = act::fetch(session, &api, named).await?;
    Ok((verdict, Source::Fresh))
}
