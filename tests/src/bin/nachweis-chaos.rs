//! The program behind `scripts/chaos`: random faults over networks of its own, an audit, and how long recovery took.

use clap::Parser;
use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tests::ceremony::Reach;
use tests::chaos::recovery::Recovery;
use tests::chaos::{self, Outcome};
use tests::network::Network;
use tests::program;

/// Kill, pause, cut off and slow down validators under load, and measure how they recover
///
/// Real processes on loopback, cut by proxies between them. At most f validators are faulty at a time in most
/// episodes, more in some. Afterwards all archives must hold one chain with every acknowledged record (by replay and
/// by `nachweis audit`): the exit code is 1 if not, and everything is kept.
///
/// Example: scripts/chaos --minutes 2 --seed 7 --nodes 4
#[derive(Debug, Parser)]
#[command(name = "scripts/chaos", verbatim_doc_comment)]
struct Arguments {
    /// Minutes of faults in a run
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    minutes: u64,
    /// What is drawn: who, when, what, how long
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs, each on a network of its own and with the next seed
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    runs: u64,
    /// Validators
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=20))]
    nodes: u8,
}

/// A catch-up after which a run is kept, so that its logs can say why.
const SLOW: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    program::end(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let lasts = Duration::from_secs(arguments.minutes * 60);
    let mut all = Recovery::default();
    for seed in (arguments.seed..).take(usize::try_from(arguments.runs)?) {
        let begun = Instant::now();
        let outcome = one(arguments, lasts, seed)?;
        report(seed, begun.elapsed(), &outcome)?;
        all.add(outcome.recovery);
    }
    writeln!(io::stdout(), "{all}")?;
    Ok(())
}

fn one(arguments: &Arguments, lasts: Duration, seed: u64) -> Result<Outcome, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("network");
    let mut network = Network::found_with(&dir, arguments.nodes.into(), Reach::Between)?;
    let outcome = chaos::run(&mut network, lasts, seed);
    for at in 0..network.manifest().nodes.len() {
        network.kill(at)?;
    }
    // The evidence stays.
    match outcome {
        Ok(outcome) => {
            if outcome
                .recovery
                .slowest
                .is_some_and(|(took, _)| took >= SLOW)
            {
                let kept = folder.keep();
                let mut out = io::stdout();
                writeln!(
                    out,
                    "seed {seed}: slow; everything is kept in {}",
                    kept.display()
                )?;
            }
            Ok(outcome)
        }
        Err(error) => {
            let kept = folder.keep();
            let kept = kept.display();
            Err(format!("seed {seed}: {error} (everything is kept in {kept})").into())
        }
    }
}

fn report(seed: u64, took: Duration, outcome: &Outcome) -> io::Result<()> {
    let Outcome {
        faults,
        acknowledged,
        chain,
        recovery,
    } = outcome;
    let (seconds, blocks) = (took.as_secs_f64(), chain.height);
    writeln!(
        io::stdout(),
        "seed {seed}: {faults} faults in {seconds:.0} s: {acknowledged} acknowledged submissions, 0 lost; {blocks} blocks, one chain"
    )?;
    if let Some((took, fault)) = recovery.slowest {
        let (node, began, lasted) = (fault.node, fault.began, fault.ended - fault.began);
        writeln!(
            io::stdout(),
            "  slowest: node {node} caught up {took:.1?} after {} of {lasted:.1?} at {began:.1?}",
            fault.kind
        )?;
    }
    Ok(())
}
