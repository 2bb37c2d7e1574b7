//! `nachweis-genesis assemble`.

use crate::failure::Failure;
use crate::print_fingerprint;
use clap::Parser;
use genesis::application::Applicant;
use genesis::ceremony;
use genesis::container::Container;
use genesis::words::Fingerprint;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Put applications together to a genesis that nobody has signed yet.
///
/// Verifies every application. The same applications make the same genesis, in whatever order and on whatever
/// computer, so everyone can do this and needs to compare nothing but the fingerprint.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The application.json of every authority
    #[arg(required = true, value_name = "APPLICATION")]
    applications: Vec<PathBuf>,
    /// File to create
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

const EXAMPLE: &str =
    "Example: nachweis-genesis assemble applications/*.json --out genesis.nachweis";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let applicants = args.applications.iter().map(|path| Applicant::load(path));
    let genesis = ceremony::assemble(applicants.collect::<Result<_, _>>()?)?;
    let container = Container::new(genesis);
    container.check_rules()?;
    container.create(&args.out)?;
    print(&container, &args.out, out).map_err(Failure::Output)
}

fn print(container: &Container, path: &Path, out: &mut dyn Write) -> io::Result<()> {
    let genesis = container.genesis();
    let validators = genesis.authorities.iter().filter(|a| a.validator.is_some());
    writeln!(
        out,
        "{}: {} authorities, {} validators, not signed yet",
        path.display(),
        genesis.authorities.len(),
        validators.count()
    )?;
    print_fingerprint(Fingerprint::of(genesis.chain()), out)?;
    writeln!(
        out,
        "Compare the fingerprint with every authority; then each signs."
    )
}
