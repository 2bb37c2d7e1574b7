//! `nachweis-genesis check`.

use crate::failure::Failure;
use crate::print_fingerprint;
use clap::Parser;
use genesis::container::Founding;
use genesis::words::Fingerprint;
use std::io::Write;
use std::path::PathBuf;

/// Check a signed genesis before relying on it.
///
/// At least four validators; every authority's signature; every key canonical, not weak, used once; no two keys
/// that look the same in a checkpoint. Then compare the printed fingerprint with the other authorities.
#[derive(Debug, Parser)]
#[command(after_help = "Example: nachweis-genesis check genesis.nachweis")]
pub(crate) struct Args {
    /// The genesis file
    #[arg(value_name = "GENESIS")]
    genesis: PathBuf,
}

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let founding = Founding::load(&args.genesis)?;
    let genesis = founding.genesis();
    writeln!(
        out,
        "{}: good, signed by all {} authorities; {} validators, quorum {}",
        args.genesis.display(),
        genesis.authorities.len(),
        founding.validators().n(),
        founding.validators().quorum()
    )?;
    print_fingerprint(Fingerprint::of(genesis.chain()), out)?;
    Ok(())
}
