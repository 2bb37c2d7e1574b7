//! The program behind `scripts/figures`: what many records cost in time, memory and disk, beside this machine's rates.

use clap::Parser;
use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use tests::binaries::command;
use tests::http;
use tests::machine::Machine;
use tests::measure::{self, Used};
use tests::network::Network;
use tests::program;
use tests::{campaign, synthetic};

/// Records of a submission of the load.
const BATCH: &str = "100";
/// How long a node may take to make its index again.
const PATIENCE: Duration = Duration::from_secs(7_200);

/// Measure what records cost: load, disk, restart, index rebuild and audit
///
/// Starts four validators on loopback, loads them over their public API, then stops, starts, kills and rebuilds one.
/// With --rebuild the blocks are made without a network, and only rebuild and audit are measured: for numbers
/// of records that would take hours to load.
///
/// Example: scripts/figures --records 100000
#[derive(Debug, Parser)]
#[command(name = "scripts/figures", verbatim_doc_comment)]
struct Arguments {
    /// Records to load
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    records: u64,
    /// Make an archive of so many records without a network instead
    #[arg(long, value_name = "RECORDS", conflicts_with = "records", value_parser = clap::value_parser!(u64).range(1_000..=20_000_000))]
    rebuild: Option<u64>,
    /// Leave the network, stopped, in this folder (new or empty)
    #[arg(long, value_name = "DIR")]
    keep: Option<std::path::PathBuf>,
}

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    program::end(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let dir = match &arguments.keep {
        Some(dir) => dir.clone(),
        None => folder.path().join("network"),
    };
    say(
        "this machine",
        &format!("\n{}\n", Machine::measure(folder.path())?),
    )?;
    let mut network = Network::found(&dir, 4)?;
    let measured = match arguments.rebuild {
        Some(records) => made(&mut network, records),
        None => loaded(&mut network, arguments.records),
    };
    for at in 0..network.manifest().nodes.len() {
        network.kill(at)?;
    }
    measured
}

fn say(what: &str, value: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{what:<24}{value}")
}

/// An archive without a network: rebuild and audit.
fn made(network: &mut Network, records: u64) -> Result<(), Failure> {
    let start = Instant::now();
    synthetic::fill(network, 0, records, |_| ())?;
    say("archive made in", &format!("{:.1?}", start.elapsed()))?;
    rebuild(network, records)?;
    start_without_index(network, records)?;
    audit(network, records)?;
    disk(&network.manifest().nodes[0].dir, records)
}

/// Load over the API, then everything that can happen to a node that holds so much.
fn loaded(network: &mut Network, records: u64) -> Result<(), Failure> {
    network.start_all()?;
    let mut load = command("nachweis-load")?;
    load.args(["--records", &records.to_string(), "--batch", BATCH]);
    let status = load.arg(network.dir()).status()?;
    if !status.success() {
        return Err(format!("the load ended with {status}").into());
    }
    campaign::agree(network)?;
    for node in &network.manifest().nodes {
        let process = node.process.ok_or("a node was not started")?;
        let used = measure::used(process.pid).ok_or("a node ended by itself")?;
        say(&node.authority, &both(used, records))?;
    }
    let stop = Instant::now();
    network.stop_all()?;
    say("all stopped in", &format!("{:.2?}", stop.elapsed()))?;
    disk(&network.manifest().nodes[0].dir, records)?;
    restarts(network, records)?;
    network.stop_all()?;
    rebuild(network, records)?;
    audit(network, records)
}

/// A start after a clean stop, and one after `kill -9`, which makes the index again.
fn restarts(network: &mut Network, records: u64) -> Result<(), Failure> {
    let start = Instant::now();
    for at in 0..network.manifest().nodes.len() {
        network.start(at)?;
    }
    network.wait_ready_within(0, PATIENCE)?;
    say(
        "ready, clean stop",
        &format!("{:.2?} (four at once)", start.elapsed()),
    )?;
    for at in 1..network.manifest().nodes.len() {
        network.wait_ready_within(at, PATIENCE)?;
    }
    network.kill(0)?;
    let start = Instant::now();
    network.start(0)?;
    network.wait_ready_within(0, PATIENCE)?;
    let took = start.elapsed();
    let process = network.manifest().nodes[0].process.ok_or("not started")?;
    let used = measure::used(process.pid).ok_or("the node ended by itself")?;
    say(
        "ready, kill -9",
        &format!("{took:.2?}, {}", both(used, records)),
    )?;
    Ok(())
}

/// A start that has the whole index to make: it has a process of its own for that.
fn start_without_index(network: &mut Network, records: u64) -> Result<(), Failure> {
    let node = network.manifest().nodes[0].clone();
    fs::remove_dir_all(node.dir.join("data/index"))?;
    let start = Instant::now();
    network.start(0)?;
    let process = network.manifest().nodes[0].process.ok_or("not started")?;
    let mut maker = Used::default();
    let stands = || http::get(node.api, "/v1/authorities").is_ok_and(|answer| answer.status == 200);
    while !stands() {
        if !network.is_running(0) || start.elapsed() > PATIENCE {
            return Err("the node did not make its index".into());
        }
        let used = measure::index_maker(process.pid).and_then(measure::used);
        maker = used.unwrap_or(maker);
        std::thread::sleep(Duration::from_millis(50));
    }
    let took = start.elapsed();
    let used = measure::used(process.pid).ok_or("the node ended by itself")?;
    let (node, maker) = (both(used, records), both(maker, records));
    say(
        "start, index to make",
        &format!("{took:.2?}; node {node}; maker {maker}"),
    )?;
    network.stop(0)?;
    Ok(())
}

fn rebuild(network: &Network, records: u64) -> Result<(), Failure> {
    let mut reindex = command("nachweis-node")?;
    reindex
        .arg("reindex")
        .arg("--dir")
        .arg(&network.manifest().nodes[0].dir);
    timed("reindex", &mut reindex, records)
}

fn audit(network: &Network, records: u64) -> Result<(), Failure> {
    let mut audit = network.nachweis(0)?;
    audit.arg("audit").arg(&network.manifest().nodes[0].dir);
    timed("nachweis audit", &mut audit, records)
}

fn timed(what: &str, command: &mut Command, records: u64) -> Result<(), Failure> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (took, used) = measure::run(command)?;
    let rate = per_second(records, took);
    let used = both(used, records);
    say(what, &format!("{took:.2?}, {rate} records/s, {used}"))?;
    Ok(())
}

fn both(used: Used, records: u64) -> String {
    let micros = u64::try_from(used.processor.as_micros()).unwrap_or(u64::MAX) / records;
    format!(
        "peak memory {} MiB, processor {micros} µs/record",
        used.peak_kib / 1024
    )
}

fn per_second(records: u64, took: Duration) -> u64 {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    records * 1_000_000 / micros.max(1)
}

fn disk(node: &Path, records: u64) -> Result<(), Failure> {
    let parts = measure::disk(&fs::canonicalize(node)?)?;
    for (kind, bytes) in parts {
        say(kind, &format!("{} bytes/record", bytes / records))?;
    }
    let all: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    say("disk of a node", &format!("{} bytes/record", all / records))?;
    Ok(())
}
