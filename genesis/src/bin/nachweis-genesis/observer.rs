//! `nachweis-genesis observer`.

use crate::apply::now;
use crate::failure::Failure;
use clap::Parser;
use genesis::container::Founding;
use genesis::files::NewFolder;
use genesis::keyfile::KeyFile;
use genesis::observer;
use ledger::genesis::Purpose;
use std::io::{self, Write};
use std::path::PathBuf;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Certify an observer: a node that follows the chain and serves it, and never votes.
///
/// Creates a new folder with observer.cert and, unless an observer's key is given to be certified again, a new
/// network.key. Validators let in at most four observers of an authority at a time, each until its certificate
/// expires. The admin key is only read: do this where it is kept, and carry the folder to the observer.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The genesis file, signed by every authority
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// The authority's admin key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Network key of an observer whose certificate expires [default: a new one]
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
    /// Days that the certificate is good for, at most a year
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=365))]
    days: u64,
    /// Folder to create
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

const EXAMPLE: &str = "Examples:
  nachweis-genesis observer --genesis genesis.nachweis --key keys/admin.key --out observer-1
  nachweis-genesis observer --genesis genesis.nachweis --key keys/admin.key \\
    --network node/observer-1/keys/network.key --out renewed";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let founding = Founding::load(&args.genesis)?;
    let admin = KeyFile::load(&args.key, Purpose::Admin)?;
    let network = match &args.network {
        Some(path) => KeyFile::load(path, Purpose::Network)?,
        None => KeyFile::generate(Purpose::Network, admin.authority().clone())?,
    };
    let not_after = now()?.saturating_add(args.days.saturating_mul(DAY_MS));
    let certificate = observer::certify(founding.genesis(), &admin, network.key(), not_after)?;
    let create = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => Failure::Exists(args.out.clone()),
        _ => Failure::Create {
            path: args.out.clone(),
            source,
        },
    };
    let folder = NewFolder::begin(&args.out).map_err(create)?;
    if args.network.is_none() {
        network.create(&folder.path().join("network.key"))?;
    }
    observer::create(&certificate, &folder.path().join(observer::FILE))?;
    folder.finish().map_err(create)?;
    let (shown, id, days) = (args.out.display(), admin.authority(), args.days);
    writeln!(
        out,
        "{shown}/ certifies an observer of {id} for {days} days"
    )?;
    if args.network.is_none() {
        writeln!(
            out,
            "next: nachweis-node init --observer --keys {shown} --genesis {} --dir DIR",
            args.genesis.display()
        )?;
    } else {
        writeln!(
            out,
            "next: put {shown}/{} into the observer's keys, and restart it",
            observer::FILE
        )?;
    }
    Ok(())
}
