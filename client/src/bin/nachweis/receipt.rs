//! `nachweis receipt`.

use crate::act;
use crate::failure::Failure;
use crate::session::{Global, Named, Session};
use crate::verdict::{self, Detail, Style};
use client::desk;
use client::exit::Exit;
use client::identity;
use std::io::Write;
use std::path::PathBuf;

/// Refresh the receipt beside a file: newest status, newest checkpoint
///
/// What opens the commitment is taken from the receipt at hand, or from this computer's state where that is lost;
/// it is sent to nobody. The new receipt is checked before it takes the old one's place.
///
/// Example: nachweis receipt bescheid.pdf
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) async fn run(
    global: &Global,
    args: &Args,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let session = Session::open(global)?;
    let registrations = session.registrations()?;
    let api = desk::api(&session.config)?;
    let style = Style {
        language: global.language,
        detail: Detail::Line,
    };
    let mut exit = Exit::Done;
    for file in &args.files {
        let identified =
            identity::identify(file, registrations.as_ref(), &session.trust, session.now)?;
        let verdict = act::refresh(&session, &api, &Named::File(Box::new(identified))).await?;
        let name = file.display().to_string();
        writeln!(out, "{}", verdict::line(&name, &verdict, style))?;
        exit = exit.worst(verdict::exit_of(&verdict));
    }
    Ok(exit)
}
