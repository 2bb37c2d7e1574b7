//! The program behind `scripts/network`: a local network, up, status, down.

use clap::{Parser, Subcommand};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tests::http;
use tests::network::Network;
use tests::program;

/// Run a local network of validators on loopback
#[derive(Debug, Parser)]
#[command(name = "scripts/network")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Found a network in DIR, if there is none, and start all its nodes
    ///
    /// Example: scripts/network up /tmp/nw --validators 4
    Up {
        /// Where keys, data, logs and configurations go
        dir: PathBuf,
        /// Number of authorities with a validator, at least 4
        #[arg(long, default_value_t = 4)]
        validators: usize,
    },
    /// Say what each node of DIR says of itself
    Status {
        /// A folder that `up` filled
        dir: PathBuf,
    },
    /// End the processes that `up` or `start` started in DIR, and no others
    Down {
        /// A folder that `up` filled
        dir: PathBuf,
    },
    /// Start one node of DIR
    Start {
        /// A folder that `up` filled
        dir: PathBuf,
        /// Short id of its authority
        authority: String,
    },
    /// End one node of DIR with kill -9
    Kill {
        /// A folder that `up` filled
        dir: PathBuf,
        /// Short id of its authority
        authority: String,
    },
}

fn main() -> ExitCode {
    program::end(run(Arguments::parse().command))
}

fn run(command: Command) -> io::Result<()> {
    match command {
        Command::Up { dir, validators } => up(&dir, validators),
        Command::Status { dir } => status(&dir),
        Command::Down { dir } => Network::open(&dir)?.stop_all(),
        Command::Start { dir, authority } => {
            let mut network = Network::open(&dir)?;
            let at = position(&network, &authority)?;
            network.start(at)?;
            network.wait_ready(at)
        }
        Command::Kill { dir, authority } => {
            let mut network = Network::open(&dir)?;
            let at = position(&network, &authority)?;
            network.kill(at)
        }
    }
}

fn position(network: &Network, authority: &str) -> io::Result<usize> {
    let at = network
        .manifest()
        .nodes
        .iter()
        .position(|node| node.authority == authority);
    at.ok_or_else(|| io::Error::other(format!("no node of {authority} in this network")))
}

fn up(dir: &Path, validators: usize) -> io::Result<()> {
    let exists = dir.join("network.json").exists();
    let mut network = if exists {
        Network::open(dir)?
    } else {
        Network::found(dir, validators)?
    };
    network.start_all()?;
    let mut out = io::stdout().lock();
    for node in &network.manifest().nodes {
        writeln!(
            out,
            "{:<14} {}  nachweis --config {}",
            node.authority,
            node.url,
            node.client.display()
        )?;
    }
    Ok(())
}

fn status(dir: &Path) -> io::Result<()> {
    let network = Network::open(dir)?;
    let mut out = io::stdout().lock();
    for (at, node) in network.manifest().nodes.iter().enumerate() {
        let says = match http::get(node.api, "/v1/status") {
            Ok(answer) => answer.text().trim().to_owned(),
            Err(_) if network.is_running(at) => "runs, but does not answer".to_owned(),
            Err(_) => "down".to_owned(),
        };
        writeln!(out, "{:<14} {says}", node.authority)?;
    }
    Ok(())
}
