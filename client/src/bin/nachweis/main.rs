//! `nachweis`: documents registered and proved, on the command line.
//!
//! Parses, calls the library, prints. One file per command; its doc comment is its help. Standard output is
//! data, standard error is words.

mod act;
mod audit;
mod failure;
mod history;
mod key;
mod receipt;
mod register;
mod revoke;
mod screen;
mod session;
mod show;
mod supersede;
mod trust;
mod verdict;
mod verify;

use clap::{Parser, Subcommand, ValueEnum};
use client::exit::Exit;
use failure::Failure;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Register documents on the ledger of your authorities, and prove them.
///
/// A registered document gets a receipt beside it, FILE.tlog-proof: with it anyone can check offline that these
/// bytes are the ones that were registered, by whom and when. The document itself never leaves this computer.
#[derive(Debug, Parser)]
#[command(name = "nachweis", version, propagate_version = true, after_help = EXITS, verbatim_doc_comment)]
struct Cli {
    /// Configuration: node, trust, key and state [default: ~/.config/nachweis/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Language of the explanations beside verdicts
    #[arg(long, global = true, value_enum, default_value_t = Language::En)]
    lang: Language,
    #[command(subcommand)]
    command: Command,
}

/// Language of explanations; the words of verdicts are the same in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Deutsch
    De,
    /// English
    En,
}

const EXITS: &str = "\
Exit codes: 0 done, current; 1 no; 2 wrong usage; 3 could not tell; 4 refused; 5 in force as of an older proof;
6 disputed; 7 some files could not be processed; 70 internal

Example: nachweis register akte/ && nachweis verify --offline akte/";

#[derive(Debug, Subcommand)]
enum Command {
    Register(register::Args),
    Verify(verify::Args),
    Show(show::Args),
    History(history::Args),
    Supersede(supersede::Args),
    Revoke(revoke::Args),
    Receipt(receipt::Args),
    Audit(audit::Args),
    /// Pin the network that is trusted, or show it
    #[command(subcommand)]
    Trust(trust::Command),
    /// Make, show, enrol or retire a registrar's key
    #[command(subcommand)]
    Key(key::Command),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Without a terminal there is nobody to tell.
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let mut out = io::BufWriter::new(Pipe(io::stdout().lock()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = runtime
        .map_err(Failure::Runtime)
        .and_then(|runtime| runtime.block_on(run(cli, &mut out)));
    let flushed = out.flush().map_err(Failure::Output);
    match done.and_then(|exit| flushed.map(|()| exit)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.report(&mut io::stderr().lock());
            failure.exit().into()
        }
    }
}

/// Standard output, which may be closed early: what nobody reads is not printed, and the answer stays the same.
struct Pipe<W>(W);

impl<W: Write> Write for Pipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

async fn run(cli: Cli, out: &mut dyn Write) -> Result<Exit, Failure> {
    let global = session::Global {
        config: cli.config,
        language: cli.lang,
    };
    match cli.command {
        Command::Register(args) => register::run(&global, &args, out).await,
        Command::Verify(args) => verify::run(&global, &args, out).await,
        Command::Show(args) => show::run(&global, &args, out).await,
        Command::History(args) => history::run(&global, &args, out).await,
        Command::Supersede(args) => supersede::run(&global, &args, out).await,
        Command::Revoke(args) => revoke::run(&global, &args, out).await,
        Command::Receipt(args) => receipt::run(&global, &args, out).await,
        Command::Audit(args) => audit::run(&global, &args, out).await,
        Command::Trust(command) => trust::run(&global, &command, out),
        Command::Key(command) => key::run(&global, &command, out).await,
    }
}
