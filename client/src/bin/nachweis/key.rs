//! `nachweis key`.

use crate::act;
use crate::failure::Failure;
use crate::screen::{Plain, Screen};
use crate::session::{Global, Session};
use clap::{Subcommand, ValueEnum};
use client::api::ApiError;
use client::config::Config;
use client::desk::{self, Signatory};
use client::exit::Exit;
use client::when::Utc;
use genesis::keyfile::{KeyFile, purpose_name};
use ledger::genesis::Purpose;
use ledger::id::{LeafIndex, TimeMs};
use ledger::key::Key;
use ledger::record::{Record, Role, enrol_possession};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    New(NewArgs),
    Show(ShowArgs),
    Enrol(EnrolArgs),
    Retire(RetireArgs),
}

/// Make a registrar key; it may sign nothing until it is enrolled
///
/// Example: nachweis key new registratur-2.key
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct NewArgs {
    /// The new key file; an existing file is never overwritten
    file: PathBuf,
}

/// Show a key: what it is for, its public half, and what the ledger says of it
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// Key file, or 64 hex digits of a public key [default: the configured key]
    #[arg(value_name = "FILE|KEY")]
    key: Option<String>,
    /// Ask no node
    #[arg(long)]
    offline: bool,
}

/// Enrol a registrar key with the admin key
///
/// Example: nachweis key enrol registratur-2.key --role issue,exchange --days 365
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct EnrolArgs {
    /// The key file
    file: PathBuf,
    /// What it may sign
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "issue,exchange"
    )]
    role: Vec<RoleName>,
    /// For how long it may sign [default: no end]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: Option<u64>,
}

/// Retire a registrar key with the admin key: it signs nothing any more, for good
///
/// Example: nachweis key retire registratur-1.key
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RetireArgs {
    /// Key file, or 64 hex digits of a public key
    #[arg(value_name = "FILE|KEY")]
    key: String,
    /// From this log index on its signatures are doubtful
    #[arg(long, value_name = "INDEX")]
    compromised_since: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleName {
    /// Registering, superseding, revoking
    Issue,
    /// Passing documents between authorities
    Exchange,
    /// Public documents
    Public,
    /// The node's access log
    Node,
}

impl RoleName {
    const fn role(self) -> Role {
        match self {
            Self::Issue => Role::ISSUE,
            Self::Exchange => Role::EXCHANGE,
            Self::Public => Role::PUBLIC,
            Self::Node => Role::NODE,
        }
    }
}

pub(crate) async fn run(
    global: &Global,
    command: &Command,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    match command {
        Command::New(args) => new(global, args, out),
        Command::Show(args) => show(global, args, out).await,
        Command::Enrol(args) => enrol(global, args, out).await,
        Command::Retire(args) => retire(global, args, out).await,
    }
}

fn new(global: &Global, args: &NewArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let config = Config::load(global.config.as_deref())?;
    let key = KeyFile::generate(Purpose::Registrar, config.authority()?.clone())?;
    key.create(&args.file)?;
    let file = args.file.display();
    writeln!(out, "{}  {file}", key.key())?;
    Screen::new(Plain::Nothing).line(&format!("enrol it with: nachweis key enrol {file}"));
    Ok(Exit::Done)
}

async fn show(global: &Global, args: &ShowArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let session = Session::open(global)?;
    let configured = || session.config.key().map(Path::to_path_buf);
    let key = match &args.key {
        None => print_file(&configured()?, out)?,
        Some(text) if Path::new(text).exists() => print_file(Path::new(text), out)?,
        Some(text) => public(text)?,
    };
    if args.offline {
        return Ok(Exit::Done);
    }
    let api = desk::api(&session.config)?;
    match api.key(&key).await {
        Err(ApiError::NotFound { .. }) => {
            writeln!(out, "not enrolled, says {}", api.node())?;
        }
        Err(error) => return Err(error.into()),
        Ok(info) => {
            let roles = role_words(info.role);
            writeln!(
                out,
                "enrolled for {} with role {roles}, says {}",
                info.authority,
                api.node()
            )?;
            if info.not_after_ms != 0 {
                writeln!(out, "until {}", Utc(TimeMs(info.not_after_ms)))?;
            }
            if let Some(at) = info.retired {
                writeln!(out, "retired at log index {at}")?;
            }
            if let Some(since) = info.compromised_since {
                writeln!(out, "doubtful from log index {since} on")?;
            }
        }
    }
    Ok(Exit::Done)
}

fn print_file(path: &Path, out: &mut dyn Write) -> Result<Key, Failure> {
    let file = KeyFile::load_any(path)?;
    let purpose = purpose_name(file.purpose());
    writeln!(out, "{}  {purpose} key of {}", file.key(), file.authority())?;
    Ok(file.key())
}

fn role_words(bits: u8) -> String {
    let all = [
        (Role::ISSUE, "issue"),
        (Role::EXCHANGE, "exchange"),
        (Role::PUBLIC, "public"),
        (Role::NODE, "node"),
    ];
    let held = all.iter().filter(|(role, _)| role.bits() & bits != 0);
    let names: Vec<_> = held.map(|(_, name)| *name).collect();
    names.join(", ")
}

fn public(text: &str) -> Result<Key, Failure> {
    text.parse().map_err(|error| {
        Failure::Usage(format!(
            "there is no file {text}, and it is not the 64 hex digits of a public key: {error}"
        ))
    })
}

async fn enrol(global: &Global, args: &EnrolArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let session = Session::open(global)?;
    let admin = Signatory::admin(&session.config, &session.trust)?;
    let file = KeyFile::load(&args.file, Purpose::Registrar)?;
    let expected = session.config.authority()?;
    if file.authority() != expected {
        let (found, expected) = (file.authority().clone(), expected.clone());
        return Err(desk::DeskError::OtherAuthority { found, expected }.into());
    }
    let roles = args.role.iter().map(|name| name.role());
    let Some(role) = roles.reduce(Role::with) else {
        return Err(Failure::Usage("a key needs at least one role".into()));
    };
    let not_after_ms = match args.days {
        None => TimeMs(0),
        Some(days) => session.now.saturating_add(days.saturating_mul(DAY_MS)),
    };
    let key = file.key();
    let chain = session.trust.chain();
    let signed = enrol_possession(&chain, admin.authority, role, &key, not_after_ms);
    let record = Record::Enrol {
        key,
        role,
        not_after_ms,
        possession: file.signing_key().sign(&signed),
    };
    submit(&session, admin, record).await?;
    writeln!(out, "ENROLLED  {key}  {}", role_words(role.bits()))?;
    Ok(Exit::Done)
}

async fn retire(global: &Global, args: &RetireArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let session = Session::open(global)?;
    let admin = Signatory::admin(&session.config, &session.trust)?;
    let key = if Path::new(&args.key).exists() {
        KeyFile::load(Path::new(&args.key), Purpose::Registrar)?.key()
    } else {
        public(&args.key)?
    };
    let record = Record::RetireKey {
        key,
        compromised_since: args.compromised_since.map(LeafIndex),
    };
    submit(&session, admin, record).await?;
    writeln!(out, "RETIRED  {key}")?;
    Ok(Exit::Done)
}

async fn submit(session: &Session, admin: Signatory, record: Record) -> Result<(), Failure> {
    let api = desk::api(&session.config)?;
    let wait = Duration::from_secs(600);
    act::act(
        session,
        &api,
        (&admin, vec![record]),
        wait,
        &Screen::new(Plain::Nothing),
    )
    .await
}
