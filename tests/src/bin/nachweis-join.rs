//! The program behind `scripts/join`: how long a new node takes to hold and prove a chain of others.
//!
//! Four validators hold a chain of so many records. A node with an empty directory (an observer) fetches it twice from
//! nothing: once as nodes do, and once one block at a time from one peer, on one thread. Beside both, what this
//! machine's processor does at best: SHA-256 of large blocks, Ed25519 one by one and in batches.

use clap::Parser;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ledger::hash::sha256;
use ledger::key::{SigningKey, Zip215Batch};
use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tests::ceremony::Reach;
use tests::delay::Wires;
use tests::http;
use tests::load::{self, Maker};
use tests::network::Network;
use tests::observer::Observer;
use tests::program;

type Failure = Box<dyn Error>;

/// Senders that fill the chain.
const SENDERS: usize = 8;
/// Longest that a join may take.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Measure how long a new node takes to join a chain, at its best and one block at a time
///
/// Example: scripts/join --records 200000 --batch 100
#[derive(Debug, Parser)]
#[command(name = "scripts/join", verbatim_doc_comment)]
struct Arguments {
    /// Records of the chain
    #[arg(long, default_value_t = 200_000)]
    records: u64,
    /// Records of a submission
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    batch: u64,
    /// Records of a request, of eight senders at a time: it makes blocks large or small
    #[arg(long, default_value_t = 2_000)]
    request: u64,
    /// Let everything between nodes take so long, each way, once the chain is made
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u64,
    /// Leave the slow way out
    #[arg(long)]
    only_fast: bool,
}

fn main() -> ExitCode {
    program::end(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("network");
    let mut network = Network::found_with(&dir, 4, Reach::Between)?;
    let wires = Wires::lay(&network)?;
    network.start_all()?;
    let measured = measure(arguments, &network, &wires);
    network.stop_all()?;
    measured
}

fn measure(arguments: &Arguments, network: &Network, wires: &Wires) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let begin = Instant::now();
    fill(network, arguments)?;
    let height = number(network, 0, "height")?;
    let took = begin.elapsed();
    let (records, batch) = (arguments.records, arguments.batch);
    writeln!(
        out,
        "chain     {records} records in submissions of {batch}, {height} blocks, made in {took:.1?}"
    )?;
    wires.stretch(Duration::from_millis(arguments.delay));
    writeln!(out, "wires     {} ms each way", arguments.delay)?;
    let fast = join(network, "fast", (records, batch), &[])?;
    fast.print(&mut out, "join")?;
    if !arguments.only_fast {
        let one = [
            ("peers = 64", "peers = 1"),
            ("ranges = 12", "ranges = 1"),
            ("range_blocks = 512", "range_blocks = 1"),
            ("threads = 4", "threads = 1"),
        ];
        let slow = join(network, "slow", (records, batch), &one)?;
        slow.print(&mut out, "one by one")?;
        let ratio = slow.took.as_secs_f64() / fast.took.as_secs_f64();
        writeln!(out, "ratio     {ratio:.1}")?;
    }
    machine(&mut out)?;
    Ok(())
}

/// What a join took.
struct Joined {
    took: Duration,
    records: u64,
    submissions: u64,
    resident_kib: u64,
    processor: Duration,
}

impl Joined {
    fn print(&self, out: &mut dyn io::Write, name: &str) -> io::Result<()> {
        let rate = |count: u64| count as f64 / self.took.as_secs_f64();
        writeln!(
            out,
            "{name:<10}{:.2?}: {:.0} records/s, {:.0} signatures/s, {:.2?} of processor, at most {} MiB",
            self.took,
            rate(self.records),
            rate(self.submissions),
            self.processor,
            self.resident_kib / 1_024,
        )
    }
}

fn number(network: &Network, at: usize, name: &str) -> Result<u64, Failure> {
    let answer = http::get(network.manifest().nodes[at].api, "/v1/status")?;
    let status: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let number = status.get(name).and_then(serde_json::Value::as_u64);
    number.ok_or_else(|| format!("no {name} in the status").into())
}

/// Registers through all nodes at once.
fn fill(network: &Network, arguments: &Arguments) -> Result<(), Failure> {
    let count = arguments.records.div_ceil(arguments.batch);
    let share = count.div_ceil(SENDERS as u64);
    let mut senders = Vec::new();
    for at in 0..SENDERS {
        let maker = Maker::new(network, at % 4)?;
        let api = network.manifest().nodes[at % 4].api;
        let (batch, request) = (arguments.batch, arguments.request);
        let mine = share.min(count.saturating_sub(share * at as u64));
        senders.push(std::thread::spawn(move || -> io::Result<()> {
            // Few large requests, so that blocks fill.
            let per_request = (request / batch).clamp(1, 200);
            let mut left = mine;
            while left > 0 {
                let now = left.min(per_request);
                let made: io::Result<Vec<_>> =
                    (0..now).map(|_| maker.registrations(batch)).collect();
                let body = load::body(&made?);
                let path = "/v1/submissions?wait=final&timeout_ms=60000";
                let answer = http::post(api, path, "application/octet-stream", &body)?;
                if answer.status != 200 {
                    return Err(io::Error::other(answer.text()));
                }
                left -= now;
            }
            Ok(())
        }));
    }
    for sender in senders {
        sender.join().map_err(|_panic| "a sender failed")??;
    }
    Ok(())
}

/// Lets a new observer join and waits until it can prove the newest record.
fn join(
    network: &Network,
    name: &str,
    (records, batch): (u64, u64),
    changes: &[(&str, &str)],
) -> Result<Joined, Failure> {
    let mut observer = Observer::make(network, 0, name)?;
    let config = observer.dir.join("node.toml");
    let mut text = fs::read_to_string(&config)?;
    for (from, to) in changes {
        if !text.contains(from) {
            return Err(format!("{from} is not in node.toml").into());
        }
        text = text.replace(from, to);
    }
    fs::write(&config, text)?;
    let size = number(network, 0, "log_size")?;
    let begin = Instant::now();
    observer.start()?;
    let mut resident_kib = 0;
    let mut processor = Duration::ZERO;
    loop {
        if let Some(pid) = observer.pid() {
            resident_kib = resident_kib.max(resident(pid).unwrap_or(0));
            processor = spent(pid).unwrap_or(processor);
        }
        if observer.number("log_size") >= Some(size) {
            break;
        }
        if begin.elapsed() > PATIENCE {
            return Err("the node did not join within an hour".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let took = begin.elapsed();
    Ok(Joined {
        took,
        records,
        // Each submission has one signature.
        submissions: records.div_ceil(batch),
        resident_kib,
        processor,
    })
}

/// `VmRSS` of a process.
fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processor time of a process, in ticks of 10 ms.
fn spent(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 10))
}

/// What one core of this machine does.
fn machine(out: &mut dyn io::Write) -> Result<(), Failure> {
    let block = vec![7_u8; 1 << 20];
    let begin = Instant::now();
    for _ in 0..256 {
        std::hint::black_box(sha256(&[std::hint::black_box(&block)]));
    }
    let rate = 256.0 / begin.elapsed().as_secs_f64();
    writeln!(out, "machine   SHA-256 {rate:.0} MiB/s a core")?;
    let key = SigningKey::from_seed(&[1; 32]);
    let messages: Vec<[u8; 8]> = (0_u64..2_048).map(u64::to_le_bytes).collect();
    let signed: Vec<_> = messages.iter().map(|m| key.sign(m)).collect();
    let begin = Instant::now();
    for (message, signature) in messages.iter().zip(&signed) {
        key.key().verify_zip215(message, signature)?;
    }
    let single = messages.len() as f64 / begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    for (messages, signed) in messages.chunks(512).zip(signed.chunks(512)) {
        let mut batch = Zip215Batch::new();
        for (message, signature) in messages.iter().zip(signed) {
            batch.queue(&key.key(), message, signature);
        }
        batch
            .verify(UnwrapErr(SysRng))
            .map_err(|_refused| "a good batch is refused")?;
    }
    let batched = messages.len() as f64 / begin.elapsed().as_secs_f64();
    writeln!(
        out,
        "machine   Ed25519 {single:.0}/s one by one, {batched:.0}/s in batches of 512, a core"
    )?;
    Ok(())
}
