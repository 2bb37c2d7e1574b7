//! `nachweis-genesis sign`.

use crate::failure::Failure;
use crate::print_fingerprint;
use clap::{ArgGroup, Parser};
use genesis::application::{self, Applicant};
use genesis::ceremony;
use genesis::container::Container;
use genesis::files::folder_of;
use genesis::keyfile::KeyFile;
use genesis::words::Fingerprint;
use ledger::genesis::Purpose;
use ledger::id::AuthorityId;
use std::io::{self, Write};
use std::path::PathBuf;

/// Sign a genesis for an authority, or add signatures that others made.
///
/// Before it signs, it compares what the genesis says about this authority with the authority's own application.
/// The signature is added to the genesis file; with --out it goes into a new file of the same kind, which is sent
/// to whoever collects and added there with --add.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE, group = ArgGroup::new("what").required(true).args(["key", "add"]))]
pub(crate) struct Args {
    /// The genesis file
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// The authority's admin key
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The authority's own application [default: application.json beside the key]
    #[arg(long, value_name = "FILE", requires = "key")]
    application: Option<PathBuf>,
    /// Files with signatures of others
    #[arg(long, value_name = "FILE", num_args = 1..)]
    add: Vec<PathBuf>,
    /// File to create instead of adding to the genesis file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

const EXAMPLE: &str = "Examples:
  nachweis-genesis sign --genesis genesis.nachweis --key keys/admin.key
  nachweis-genesis sign --genesis genesis.nachweis --key keys/admin.key --out bamf.signature
  nachweis-genesis sign --genesis genesis.nachweis --add *.signature";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let mut container = Container::load(&args.genesis)?;
    for path in &args.add {
        container.merge(&Container::load(path)?)?;
    }
    if let Some(path) = &args.key {
        let key = KeyFile::load(path, Purpose::Admin)?;
        let beside = || folder_of(path).join(application::FILE);
        let own = Applicant::load(&args.application.clone().unwrap_or_else(beside))?;
        ceremony::sign(&mut container, &key, &own)?;
    }
    match &args.out {
        Some(path) => container.create(path)?,
        None => container.replace(&args.genesis)?,
    }
    print(args, &container, out).map_err(Failure::Output)
}

fn print(args: &Args, container: &Container, out: &mut dyn Write) -> io::Result<()> {
    let genesis = container.genesis();
    let (signed, of) = (container.signatures().len(), genesis.authorities.len());
    let path = args.out.as_ref().unwrap_or(&args.genesis);
    writeln!(out, "{}: signed by {signed} of {of}", path.display())?;
    print_fingerprint(Fingerprint::of(genesis.chain()), out)?;
    let missing = container.missing();
    if missing.is_empty() {
        return writeln!(out, "All have signed.");
    }
    let missing: Vec<_> = missing.iter().map(AuthorityId::as_str).collect();
    writeln!(out, "Missing: {}", missing.join(", "))
}
