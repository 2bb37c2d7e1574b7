//! `nachweis-genesis apply`.

use crate::failure::Failure;
use clap::Parser;
use genesis::application::{self, Applicant, Plan};
use genesis::birth::{Duty, GUARD, JOURNAL, Keys, key_name};
use genesis::files::NewFolder;
use ledger::id::{AuthorityId, Domain, TimeMs};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

/// Make the keys of an authority and its signed application.
///
/// Creates a new folder with one file per key (mode 0600), the validator's empty journal and guard file, and
/// application.json, which is the only file to send to the others. Nothing is created if anything fails.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Short id, for life: 2 to 32 characters of a-z, 0-9 and hyphen
    #[arg(long, value_name = "ID")]
    authority: String,
    /// Name as people know the authority, at most 128 bytes
    #[arg(long)]
    name: String,
    /// Domain of the network, the same for all
    #[arg(long)]
    domain: String,
    /// Where the others reach its validator, /ip4/…/tcp/PORT or /dns4/…/tcp/PORT; up to 8 times
    #[arg(long, value_name = "MULTIADDR")]
    address: Vec<String>,
    /// Folder to create
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The authority registers only and runs no validator
    #[arg(long)]
    no_validator: bool,
}

const EXAMPLE: &str = "Example: nachweis-genesis apply --authority bamf --name \"Bundesamt\" \
                       --domain nachweis.example --address /dns4/node.bamf.example/tcp/7447 --out keys";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let authority = AuthorityId::new(&args.authority)?;
    let plan = Plan {
        domain: Domain::new(&args.domain)?,
        name: args.name.clone(),
        addresses: args.address.clone(),
        created_ms: now()?,
    };
    let duty = if args.no_validator {
        Duty::RegistrarOnly
    } else {
        Duty::Validator
    };
    let create = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => Failure::Exists(args.out.clone()),
        _ => Failure::Create {
            path: args.out.clone(),
            source,
        },
    };
    let keys = Keys::generate(&authority, duty)?;
    let applicant = Applicant::make(&keys, &plan)?;
    let folder = NewFolder::begin(&args.out).map_err(create)?;
    keys.create_in(folder.path())?;
    applicant.create(&folder.path().join(application::FILE))?;
    folder.finish().map_err(create)?;
    print(args, &keys, out).map_err(Failure::Output)
}

pub(crate) fn now() -> Result<TimeMs, Failure> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since
        .ok()
        .and_then(|time| u64::try_from(time.as_millis()).ok())
        .map(TimeMs)
        .ok_or(Failure::Clock)
}

fn print(args: &Args, keys: &Keys, out: &mut dyn Write) -> io::Result<()> {
    let folder = args.out.display();
    writeln!(
        out,
        "{folder}/ holds what {} needs, and no one else:",
        args.authority
    )?;
    for key in keys.all() {
        writeln!(out, "  {:<14} {}", key_name(key.purpose()), key.key())?;
    }
    if keys.validator.is_some() {
        writeln!(
            out,
            "  {:<14} journal of the vote key",
            format!("{JOURNAL}/")
        )?;
        writeln!(out, "  {GUARD:<14} what the cosigner signed last")?;
    }
    writeln!(
        out,
        "Send {folder}/{} to whoever assembles.",
        application::FILE
    )?;
    writeln!(
        out,
        "Back up the *.key files alone. Never keep a copy of journal or guard: it would let the key sign twice."
    )
}
