//! The program `nachweis-node`: arguments in, a command, an exit code out.

use clap::{Parser, Subcommand};
use node::commands::{Failure, init, run, status};
use node::exit::{Chain, Exit};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Run a validator of a Nachweis network
///
/// Example: nachweis-node init --keys keys/bamf --genesis genesis.nachweis --dir node/bamf
#[derive(Debug, Parser)]
#[command(name = "nachweis-node", version, verbatim_doc_comment)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a node's directory from keys and genesis
    Init {
        /// Folder with the authority's keys, journal and guard
        #[arg(long)]
        keys: PathBuf,
        /// Genesis signed by all authorities
        #[arg(long)]
        genesis: PathBuf,
        /// Directory to make
        #[arg(long)]
        dir: PathBuf,
        /// libp2p multiaddress to listen at [default: the first in the genesis]
        #[arg(long)]
        listen: Option<String>,
        /// Address of the HTTP API
        #[arg(long, default_value = "127.0.0.1:8080")]
        api: SocketAddr,
    },
    /// Run the validator until SIGTERM or SIGINT
    ///
    /// NACHWEIS_LOG filters the log, for example NACHWEIS_LOG=node=debug
    #[command(verbatim_doc_comment)]
    Run {
        /// The node's directory
        #[arg(long)]
        dir: PathBuf,
        /// How the log on stderr is written
        #[arg(long, value_enum, default_value = "text")]
        log: run::LogFormat,
    },
    /// Show how the running node is
    Status {
        /// The node's directory
        #[arg(long)]
        dir: PathBuf,
        /// Print what the node answers, for machines
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(()) => Exit::Stopped.into(),
        Err(failure) => {
            let mut err = std::io::stderr().lock();
            // A closed stream leaves the exit code to tell.
            writeln!(err, "error: {}", Chain(&*failure.error)).ok();
            if let Some(hint) = &failure.hint {
                writeln!(err, "hint: {hint}").ok();
            }
            failure.exit.into()
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Init {
            keys,
            genesis,
            dir,
            listen,
            api,
        } => {
            let options = init::Options {
                keys,
                genesis,
                dir,
                listen,
                api,
            };
            init::init(&options)?;
            let mut out = std::io::stdout().lock();
            let dir = options.dir.display();
            writeln!(
                out,
                "{dir} is ready; settings: {dir}/{}",
                node::config::FILE
            )
            .ok();
            writeln!(out, "next: nachweis-node run --dir {dir}").ok();
            Ok(())
        }
        Command::Run { dir, log } => {
            run::start_log(log);
            run::run(&dir)
        }
        Command::Status { dir, json } => {
            let form = if json {
                status::Form::Json
            } else {
                status::Form::Text
            };
            status::status(&dir, form, &mut std::io::stdout().lock())
        }
    }
}
