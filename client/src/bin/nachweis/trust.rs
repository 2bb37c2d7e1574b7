//! `nachweis trust`.

use crate::failure::Failure;
use crate::session::Global;
use clap::Subcommand;
use client::config::Config;
use client::exit::Exit;
use genesis::files::{self, Access};
use genesis::words::Fingerprint;
use ledger::receipt::Trust;
use std::io::{self, Write};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Add(AddArgs),
    Show(ShowArgs),
}

/// Pin a network: keep its trust file where the configuration names it
///
/// Get the file from your own authority, not from a node, and compare the fingerprint with a second authority
/// by telephone. The trust of another network is never overwritten.
///
/// Example: nachweis trust add trust.json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct AddArgs {
    /// The trust file of the network
    file: PathBuf,
    /// Refuse any other network than this one (64 hex digits)
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
}

/// Show the pinned network: fingerprint, authorities, quorum
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {}

pub(crate) fn run(
    global: &Global,
    command: &Command,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let config = Config::load(global.config.as_deref())?;
    match command {
        Command::Show(ShowArgs {}) => print(&genesis::trust::load(config.trust())?, out)?,
        Command::Add(args) => {
            let trust = add(args, &config)?;
            print(&trust, out)?;
        }
    }
    Ok(Exit::Done)
}

fn add(args: &AddArgs, config: &Config) -> Result<Trust, Failure> {
    let trust = genesis::trust::load(&args.file)?;
    if let Some(expected) = &args.fingerprint
        && *expected != trust.chain().to_string()
    {
        return Err(Failure::Usage(format!(
            "{} is of network {}, not of {expected}",
            args.file.display(),
            trust.chain()
        )));
    }
    let path = config.trust();
    if path.exists() {
        let old = genesis::trust::load(path)?;
        if old.chain() != trust.chain() {
            return Err(Failure::Exists(path.into()));
        }
    }
    let text = genesis::trust::to_text(&trust);
    let written = if path.exists() {
        files::replace(path, text.as_bytes(), Access::Public)
    } else {
        files::create(path, text.as_bytes(), Access::Public)
    };
    written.map_err(|source| Failure::Write {
        path: path.into(),
        source,
    })?;
    Ok(trust)
}

fn print(trust: &Trust, out: &mut dyn Write) -> io::Result<()> {
    let genesis = trust.genesis();
    writeln!(out, "network {}", genesis.domain)?;
    writeln!(out, "fingerprint (compare it with another authority):")?;
    for line in Fingerprint::of(trust.chain()).to_string().lines() {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "log {}", trust.origin())?;
    let validators = genesis.authorities.iter().filter(|a| a.validator.is_some());
    let count = validators.count();
    let quorum = count - count.saturating_sub(1) / 3;
    writeln!(out, "{count} validators, {quorum} of which must cosign")?;
    for (index, authority) in genesis.indexed() {
        let role = if authority.validator.is_some() {
            "validator"
        } else {
            "no validator"
        };
        // Debug writes characters that do not show as escapes: a name cannot fake a line.
        writeln!(
            out,
            "  #{index} {} {:?}, {role}",
            authority.id, authority.name
        )?;
    }
    match trust.pin() {
        Some(pin) => writeln!(out, "pinned at size {} with root {}", pin.size, pin.root)?,
        None => writeln!(out, "pinned at the genesis alone")?,
    }
    let age = trust.max_age();
    writeln!(
        out,
        "a proof is fresh for {} s, and for {} s where a node answers",
        age.offline_s, age.online_s
    )
}
