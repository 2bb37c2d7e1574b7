//! The program behind `scripts/kills`, `powercut`, `bitrot` and `failing-disk`: faults over a network of its own, then an audit.

use clap::{Args, Parser, Subcommand};
use ledger::genesis::Params;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tests::bitrot::{self, Fate};
use tests::campaign::{self, Outcome};
use tests::failing_disk::{self, Breadth};
use tests::network::Network;
use tests::program;

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
    /// Flip one bit after the other in all files of a stopped node
    #[command(name = "bitrot")]
    BitRot {
        /// Flips in all
        #[arg(long, default_value_t = 100)]
        flips: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Fail every write and sync of a commit once: full disk, I/O error, short write
    #[command(name = "writes")]
    Writes {
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
    program::end(run(Arguments::parse().command))
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    let (Command::Kills { common, .. }
    | Command::PowerCut { common, .. }
    | Command::BitRot { common, .. }
    | Command::Writes { common }) = &command;
    let folder = tempfile::tempdir()?;
    let params = match &command {
        Command::BitRot { .. } => bitrot::params(),
        Command::Kills { .. } | Command::PowerCut { .. } | Command::Writes { .. } => {
            Params::default()
        }
    };
    let dir = folder.path().join("network");
    let mut network = Network::found_with_params(&dir, common.validators, &params)?;
    let start = Instant::now();
    let outcome = match command {
        Command::Kills { kills, common } => network
            .start_all()
            .and_then(|()| campaign::kills(&mut network, kills, common.seed))
            .map(Report::Audited),
        Command::PowerCut { cuts, common } => network
            .start_all()
            .and_then(|()| campaign::power_cuts(&mut network, cuts, common.seed))
            .map(Report::Audited),
        Command::BitRot { flips, common } => {
            let tell = |done: u64| {
                if done.is_multiple_of(50) {
                    writeln!(io::stderr(), "{done} of {flips} flips").ok();
                }
            };
            bitrot::run(&mut network, flips, common.seed, tell).map(Report::Flipped)
        }
        Command::Writes { .. } => network
            .start_all()
            .and_then(|()| {
                failing_disk::enumerate(&mut network, Breadth::Whole, |case, (done, of)| {
                    writeln!(io::stderr(), "{done} of {of}: {case:?}").ok();
                })
            })
            .map(Report::Failed),
    };
    match outcome {
        Ok(done) => {
            (0..common_nodes(&network)).for_each(|at| network.kill(at).unwrap_or_default());
            match done {
                Report::Audited(outcome) => report(&outcome, start.elapsed())?,
                Report::Flipped(table) => report_flips(&table, start.elapsed())?,
                Report::Failed(cases) => report_cases(&cases, start.elapsed())?,
            }
        }
        Err(error) => {
            (0..common_nodes(&network)).for_each(|at| network.kill(at).unwrap_or_default());
            // The evidence stays.
            let kept = folder.keep();
            return Err(format!("{error} (everything is kept in {})", kept.display()).into());
        }
    }
    Ok(())
}

/// What came of it.
enum Report {
    Audited(Outcome),
    Flipped(bitrot::Table),
    Failed(Vec<failing_disk::Case>),
}

fn report_flips(table: &bitrot::Table, took: Duration) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let kinds: BTreeSet<&str> = table.keys().map(|(kind, _)| *kind).collect();
    writeln!(out, "| file | harmless | repaired | named | refused |")?;
    writeln!(out, "| --- | ---: | ---: | ---: | ---: |")?;
    for kind in kinds {
        let count = |fate| table.get(&(kind, fate)).copied().unwrap_or_default();
        let [harmless, repaired, named, refused] =
            [Fate::Harmless, Fate::Repaired, Fate::Named, Fate::Refused].map(count);
        writeln!(
            out,
            "| `{kind}` | {harmless} | {repaired} | {named} | {refused} |"
        )?;
    }
    let flips: u32 = table.values().sum();
    let seconds = took.as_secs_f64();
    writeln!(
        out,
        "{flips} flips in {seconds:.0} s: nothing wrong was served, nothing was signed twice"
    )
}

/// One line for each file, kind of call and fault: how many calls, and how the node ended.
fn report_cases(cases: &[failing_disk::Case], took: Duration) -> io::Result<()> {
    let mut rows: BTreeMap<_, (u64, BTreeMap<i32, u64>)> = BTreeMap::new();
    for case in cases {
        let point = &case.point;
        let row = (point.phase, &point.file, &point.call, case.fault);
        let (calls, exits) = rows.entry(row).or_default();
        *calls += 1;
        *exits.entry(case.exit).or_default() += 1;
    }
    let mut out = io::stdout().lock();
    writeln!(out, "| in | file | call | fault | calls | exit |")?;
    writeln!(out, "| --- | --- | --- | --- | ---: | --- |")?;
    for ((phase, file, call, fault), (calls, exits)) in rows {
        let exits: Vec<_> = exits
            .iter()
            .map(|(code, times)| format!("{code} × {times}"))
            .collect();
        let (phase, fault, exits) = (phase.name(), fault.name(), exits.join(", "));
        writeln!(
            out,
            "| {phase} | `{file}` | {call} | {fault} | {calls} | {exits} |"
        )?;
    }
    let (count, seconds) = (cases.len(), took.as_secs_f64());
    writeln!(
        out,
        "{count} cases in {seconds:.0} s, each proved hit: every restart was clean, nothing acknowledged was lost"
    )
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
