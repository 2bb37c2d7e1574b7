//! `nachweis-genesis trust`.

use crate::failure::Failure;
use crate::print_fingerprint;
use clap::Parser;
use genesis::container::Founding;
use genesis::trust;
use genesis::words::Fingerprint;
use ledger::receipt::{MaxAge, Trust};
use std::io::Write;
use std::path::PathBuf;

/// Make the trust files that clients pin, from a signed genesis.
///
/// Checks the genesis like `check`, then writes trust.json, from which `nachweis` verifies receipts, and
/// trust.policy, a C2SP tlog-policy for other tools. Nothing is overwritten. Whoever gets a trust file compares
/// its fingerprint with an authority: everything else follows from it.
#[derive(Debug, Parser)]
#[command(after_help = "Example: nachweis-genesis trust genesis.nachweis --out .")]
pub(crate) struct Args {
    /// The genesis file, signed by every authority
    #[arg(value_name = "GENESIS")]
    genesis: PathBuf,
    /// Folder to write trust.json and trust.policy to; must exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let founding = Founding::load(&args.genesis)?;
    let trust = Trust::new(founding.into_genesis(), None, MaxAge::default())
        .map_err(trust::TrustFileError::from)?;
    trust::create(&trust, &args.out)?;
    let folder = args.out.display();
    writeln!(out, "{folder}/{}: for nachweis", trust::FILE)?;
    writeln!(out, "{folder}/{}: for other tools", trust::POLICY_FILE)?;
    print_fingerprint(Fingerprint::of(trust.genesis().chain()), out)?;
    writeln!(
        out,
        "Whoever gets these files compares the fingerprint with an authority before relying on them."
    )?;
    Ok(())
}
