//! `nachweis revoke`.

use crate::act;
use crate::failure::Failure;
use crate::screen::{Plain, Screen};
use crate::session::{Global, Session};
use clap::ValueEnum;
use client::desk::{self, Signatory};
use client::exit::Exit;
use ledger::receipt::{Finding, revoke_reason};
use ledger::record::{Record, RevokeReason};
use std::io::Write;
use std::time::Duration;

/// Revoke a document
///
/// It stays on the ledger, and every later check says REVOKED and why. The receipt beside the file is refreshed.
///
/// Example: nachweis revoke bescheid.pdf --reason issued-in-error
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A file, or a document id (NW-…)
    #[arg(value_name = "FILE|ID")]
    document: String,
    /// Why
    #[arg(long, value_enum, value_name = "CODE")]
    reason: Reason,
    /// Give up when nothing becomes final for so long
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    wait: u64,
}

/// The revoke table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reason {
    /// Issued in error
    IssuedInError,
    /// Its legal basis is gone
    LegalBasisGone,
    /// Obtained by deception
    Deception,
    /// A court ordered it
    CourtOrder,
    /// A formal defect
    FormalDefect,
    /// Another reason, told off the ledger
    Other,
}

impl Reason {
    const fn code(self) -> RevokeReason {
        match self {
            Self::IssuedInError => RevokeReason::IssuedInError,
            Self::LegalBasisGone => RevokeReason::LegalBasisGone,
            Self::Deception => RevokeReason::Deception,
            Self::CourtOrder => RevokeReason::CourtOrder,
            Self::FormalDefect => RevokeReason::FormalDefect,
            Self::Other => RevokeReason::Other,
        }
    }
}

pub(crate) async fn run(
    global: &Global,
    args: &Args,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let session = Session::open(global)?;
    let signatory = Signatory::registrar(&session.config, &session.trust)?;
    let api = desk::api(&session.config)?;
    let registrations = session.registrations()?;
    let named = session.named(&args.document, registrations.as_ref())?;
    let (_, verdict) = act::fetch(&session, &api, &named).await?;
    let code = args.reason.code();
    let again = matches!(verdict.finding(), Finding::Revoked { code: old } if *old == code.code());
    if !again {
        let document = named.document();
        let prev = act::lane_head(&verdict, &signatory, document)?;
        let record = Record::Revoke {
            document,
            prev,
            code,
        };
        let wait = Duration::from_secs(args.wait);
        let screen = Screen::new(Plain::Nothing);
        act::act(&session, &api, (&signatory, vec![record]), wait, &screen).await?;
    }
    act::refresh(&session, &api, &named).await?;
    let (id, file, why) = (named.document(), &args.document, revoke_reason(code.code()));
    writeln!(out, "REVOKED ({why})  {id}  {file}")?;
    Ok(Exit::Done)
}
