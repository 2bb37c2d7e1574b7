//! The program behind `scripts/load`: signed records into a running local network, through its public API.
//!
//! Submissions are made and signed before the clock starts. Without a rate, a fixed number of them is
//! always under way; with one, they start on schedule whether or not earlier ones were answered, and
//! latency counts from the scheduled moment.

use clap::Parser;
use client::api::{Api, Standing, Wait};
use ledger::submission::VerifiedSubmission;
use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::load::Maker;
use tests::network::Network;
use tests::program;
use tokio::sync::Semaphore;

/// How long the program waits for one submission, in milliseconds.
const PATIENCE_MS: u64 = 30_000;
/// Submissions under way at once with a rate: beyond it the network counts as overrun.
const MOST_UNDER_WAY: usize = 4096;
/// Most records of one run.
const MOST_RECORDS: u64 = 10_000_000;

/// Send signed records into a running local network and measure when they are final and provable
///
/// Example: scripts/load --records 10000 --batch 100 /tmp/nw
#[derive(Debug, Parser)]
#[command(name = "scripts/load", verbatim_doc_comment)]
struct Arguments {
    /// Records in all, at most 10 million
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=MOST_RECORDS))]
    records: u64,
    /// Records of a submission
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    batch: u64,
    /// Records a second; without it, as fast as answers come
    #[arg(long)]
    rate: Option<u32>,
    /// Submissions under way at once, without a rate
    #[arg(long, default_value_t = 8)]
    parallel: usize,
    /// A folder that `scripts/network up` filled
    dir: PathBuf,
}

/// Final and provable, each since the submission was due.
type Latencies = (Duration, Duration);
type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = runtime
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    program::end(outcome)
}

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let network = Network::open(&arguments.dir)?;
    let submissions = prepare(&network, arguments)?;
    let nodes = network.manifest().nodes.iter();
    let apis: Vec<Api> = nodes
        .map(|node| Api::new(std::slice::from_ref(&node.url), 10))
        .collect::<Result<_, _>>()?;
    let most = match arguments.rate {
        Some(_) => MOST_UNDER_WAY,
        None => arguments.parallel,
    };
    let under_way = Arc::new(Semaphore::new(most));
    let mut tasks = Vec::with_capacity(submissions.len());
    let start = Instant::now();
    let mut due = start;
    for (submission, api) in submissions.into_iter().zip(apis.iter().cycle()) {
        let scheduled = due;
        if let Some(rate) = arguments.rate {
            tokio::time::sleep_until(scheduled.into()).await;
            due += records_take(submission.body().count, rate);
        }
        let permit = Arc::clone(&under_way).acquire_owned().await?;
        let (api, by_rate) = (api.clone(), arguments.rate.is_some());
        tasks.push(tokio::spawn(async move {
            let since = if by_rate { scheduled } else { Instant::now() };
            let latencies = send(&api, &submission, since).await;
            drop(permit);
            latencies
        }));
    }
    let mut latencies = Vec::with_capacity(tasks.len());
    for task in tasks {
        latencies.push(task.await??);
    }
    report(arguments.records, start.elapsed(), &latencies)?;
    Ok(())
}

/// How long so many records take at a rate.
fn records_take(count: u32, rate: u32) -> Duration {
    Duration::from_secs(count.into()) / rate.max(1)
}

async fn send(
    api: &Api,
    submission: &VerifiedSubmission,
    since: Instant,
) -> Result<Latencies, Failure> {
    let encoded = [submission.encoded()];
    let mut reached = [Duration::ZERO; 2];
    for (reached, wait) in reached.iter_mut().zip([Wait::Final, Wait::Provable]) {
        let answers = api.submit(&encoded, wait, PATIENCE_MS).await?;
        let answer = answers.first().ok_or("the node answered nothing")?;
        let far_enough = match wait {
            Wait::Provable => answer.state == Standing::Provable,
            Wait::Accepted | Wait::Final => {
                matches!(answer.state, Standing::Final | Standing::Provable)
            }
        };
        if !far_enough {
            return Err(format!("not {wait:?}: {answer:?}").into());
        }
        *reached = since.elapsed();
    }
    Ok(reached.into())
}

fn prepare(network: &Network, arguments: &Arguments) -> Result<Vec<VerifiedSubmission>, Failure> {
    let maker = Maker::new(network, 0)?;
    let mut left = arguments.records;
    let mut submissions = Vec::new();
    while left > 0 {
        let count = left.min(arguments.batch);
        submissions.push(maker.registrations(count)?);
        left -= count;
    }
    Ok(submissions)
}

fn report(records: u64, took: Duration, latencies: &[Latencies]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let rate = records.saturating_mul(1_000_000) / micros;
    writeln!(out, "{records} records in {took:.2?}: {rate} records/s")?;
    let finals: Vec<_> = latencies.iter().map(|(last, _)| *last).collect();
    let provables: Vec<_> = latencies.iter().map(|(_, provable)| *provable).collect();
    for (what, mut sorted) in [("final", finals), ("provable", provables)] {
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let at = |percent: usize| {
            sorted
                .get(last * percent / 100)
                .copied()
                .unwrap_or_default()
        };
        writeln!(
            out,
            "{what:<9} p50 {:.1?}   p99 {:.1?}   max {:.1?}",
            at(50),
            at(99),
            at(100)
        )?;
    }
    Ok(())
}
