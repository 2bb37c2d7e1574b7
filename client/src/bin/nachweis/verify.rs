//! `nachweis verify`.

use crate::failure::Failure;
use crate::screen::{Plain, Screen, Unit};
use crate::session::{Global, Session};
use crate::verdict::{self, Detail, Style};
use client::api::Api;
use client::documents;
use client::exit::Exit;
use client::state;
use client::verification::{Fresh, Outcome, Verifier, chain};
use ledger::id::TreeSize;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// How long a node may take to give fresh receipts, in seconds.
const PATIENCE_S: u64 = 5;

/// Say of each document whether it is the registered one, and still in force
///
/// The proof is the receipt beside each file, FILE.tlog-proof. Unless --offline is given, the node is asked for
/// the newest status, for 5 seconds at most; if it does not answer, the receipt speaks alone. One line a file;
/// the exit code is that of the worst. In folders, receipts and hidden files are passed over.
///
/// Example: nachweis verify -v bescheid.pdf
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Files and folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Ask no node
    #[arg(long)]
    offline: bool,
    /// Show what was proved, and every step
    #[arg(short, long)]
    verbose: bool,
    /// One JSON object a line
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
}

pub(crate) async fn run(
    global: &Global,
    args: &Args,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let session = Session::open(global)?;
    let found = documents::find(&args.paths, session.config.state().ok());
    let mut screen = Screen::new(Plain::Nothing);
    let total: u64 = found.files.iter().map(|file| file.size).sum();
    screen.begin("hashing", total, Unit::Bytes);
    let digests = documents::hash_all(&found.files, &|count| screen.advance(count));
    screen.end();
    let files = found.files.into_iter().zip(digests).collect();

    let api = api(&session, args, &screen);
    let fresh = api.as_ref().map(|api| Fresh {
        api,
        patience: Duration::from_secs(PATIENCE_S),
    });
    let state = session.config.state().ok();
    let verifier = Verifier {
        trust: &session.trust,
        now: session.now,
        seen: state.map_or(TreeSize(0), state::seen),
    };
    let verification = verifier.verify(files, fresh).await;
    for note in &verification.notes {
        screen.line(&format!("note: {note}; the receipt speaks alone"));
    }
    if let Some(dir) = state {
        // Without it only an older answer of a node would go unnoticed.
        state::remember(dir, verification.newest).ok();
    }
    let style = Style {
        language: global.language,
        detail: match (args.verbose, args.json) {
            (true, _) => Detail::Steps,
            (false, true) => Detail::Json,
            (false, false) => Detail::Line,
        },
    };
    let mut exit = Exit::Done;
    let mut outcomes = verification.outcomes;
    let failed = found.failed.into_iter();
    let failed: Vec<_> = failed
        .map(|failed| (failed.path, Outcome::Failed(failed.trouble)))
        .collect();
    let checked = outcomes
        .drain(..)
        .map(|(file, outcome)| (file.path, outcome));
    for (path, outcome) in checked.chain(failed) {
        exit = exit.worst(verdict::exit(&outcome));
        verdict::print(&path, &outcome, style, out)?;
    }
    Ok(exit)
}

fn api(session: &Session, args: &Args, screen: &Screen) -> Option<Api> {
    if args.offline {
        return None;
    }
    match client::desk::api(&session.config) {
        Ok(api) => Some(api),
        Err(error) => {
            let reason = chain(&error);
            screen.line(&format!("note: no node is asked: {reason}"));
            None
        }
    }
}
