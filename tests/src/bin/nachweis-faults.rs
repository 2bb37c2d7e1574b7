//! The program behind `scripts/kills` and `scripts/powercut`: faults over a network of its own, then an audit.

use clap::{Args, Parser, Subcommand};
use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tests::campaign::{self, Outcome};
use tests::network::Network;

/// Hit a network of four validators under load, and audit that nothing acknowledged is lost
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// kill -9 random validators at random moments
    #[command(name = "kills")]
    Kills {
        /// Kills in all
        #[arg(long, default_value_t = 20)]
        kills: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Cut the power at random writes: unsynced pages and growth of files are lost
    #[command(name = "powercut")]
    PowerCut {
        /// Cuts in all
        #[arg(long, default_value_t = 20)]
        cuts: u64,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Clone, Copy, Debug, Args)]
struct Common {
    /// What is drawn: who, when, what is lost
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Validators
    #[arg(long, default_value_t = 4)]
    validators: usize,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "error: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    let (Command::Kills { common, .. } | Command::PowerCut { common, .. }) = &command;
    let folder = tempfile::tempdir()?;
    let mut network = Network::found(&folder.path().join("network"), common.validators)?;
    network.start_all()?;
    let start = Instant::now();
    let outcome = match command {
        Command::Kills { kills, common } => campaign::kills(&mut network, kills, common.seed),
        Command::PowerCut { cuts, common } => campaign::power_cuts(&mut network, cuts, common.seed),
    };
    match outcome {
        Ok(outcome) => report(&outcome, start.elapsed())?,
        Err(error) => {
            (0..common_nodes(&network)).for_each(|at| network.kill(at).unwrap_or_default());
            // The evidence stays.
            let kept = folder.keep();
            return Err(format!("{error} (everything is kept in {})", kept.display()).into());
        }
    }
    Ok(())
}

fn common_nodes(network: &Network) -> usize {
    network.manifest().nodes.len()
}

fn report(outcome: &Outcome, took: Duration) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let Outcome {
        faults,
        acknowledged,
        chain,
        recoveries,
    } = outcome;
    writeln!(
        out,
        "{faults} faults in {:.0} s: {acknowledged} acknowledged submissions, 0 lost; {} blocks, {} registrations, one chain",
        took.as_secs_f64(),
        chain.height,
        chain.registrations
    )?;
    if let (Some(median), Some(worst)) = (recoveries.get(recoveries.len() / 2), recoveries.last()) {
        writeln!(
            out,
            "ready again after: median {median:.0?}, worst {worst:.0?}"
        )?;
    }
    Ok(())
}
