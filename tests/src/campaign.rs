//! Fault campaigns over a running network under load: kill, cut the power, and audit that nothing acknowledged is lost.
//!
//! A seed decides what happens to whom and when; the processes' own timing stays their own, so a seed repeats the
//! faults, not the schedule. Load is bounded: a fixed number of senders, each with one submission under way.

use crate::binaries::run;
use crate::http;
use crate::load::{self, Maker};
use crate::network::{End, Network};
use crate::replay::{self, Summary};
use ledger::hash::SubmissionHash;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Senders of a campaign's load.
const SENDERS: usize = 3;
/// How long the network may take to serve one checkpoint from all nodes again.
const AGREE_WITHIN: Duration = Duration::from_secs(60);
/// How long a sender rests after a node did not answer.
const REST: Duration = Duration::from_millis(100);
/// How long the end of a process may take to be known.
const REAPED_WITHIN: Duration = Duration::from_secs(10);
/// What a node says of a validator that signed twice.
pub const SIGNED_TWICE: &str = "signed two votes that exclude each other";
/// What a node says when its journal or its guard is not what it had synced: at its start, or when it hears from the others
/// of a vote that its journal does not know.
pub const VOICE_LOST: [&str; 3] = [
    "its journal is lost",
    "guard is lost",
    "this key's journal is not complete",
];
/// What it says when the archive is not.
pub const ARCHIVE_LOST: [&str; 2] = ["damage: ", "blocks behind it had been archived"];

/// A small seeded generator (splitmix64): what a campaign draws from.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The generator of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `least` to `most`, both possible.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    /// A position below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).expect("below a usize")
    }
}

/// Senders that post registrations to random nodes until they are stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Acknowledged>>,
    senders: Vec<JoinHandle<Result<()>>>,
}

/// Submissions that were reported as final, with the place of the node that said so.
pub type Acknowledged = BTreeMap<SubmissionHash, usize>;

impl Load {
    /// Starts them; what they send is drawn from the seed.
    ///
    /// # Errors
    /// If the network's keys cannot be read.
    pub fn start(network: &Network, seed: u64) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(Acknowledged::new()));
        let apis: Vec<SocketAddr> = network.manifest().nodes.iter().map(|n| n.api).collect();
        let mut senders = Vec::new();
        for at in 0..SENDERS {
            let maker = Maker::new(network, at)?;
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            let (apis, mut draw) = (apis.clone(), Draw::new(seed ^ (at as u64 + 1)));
            senders.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let submission = maker.registrations(draw.between(1, 20))?;
                    let body = load::body([&submission]);
                    let through = draw.below(apis.len());
                    if is_final(apis[through], &body) {
                        let mut map = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
                        map.insert(submission.hash(), through);
                    } else {
                        std::thread::sleep(REST);
                    }
                }
                Ok(())
            }));
        }
        Ok(Self {
            stop,
            acknowledged,
            senders,
        })
    }

    /// What was reported as final until now.
    fn so_far(&self) -> Acknowledged {
        let map = self.acknowledged.lock();
        map.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the load; the submissions that a node reported as final.
    ///
    /// # Errors
    /// If a sender failed.
    pub fn stop(self) -> Result<BTreeSet<SubmissionHash>> {
        self.stop.store(true, Ordering::Relaxed);
        for sender in self.senders {
            let ended = sender.join();
            ended.map_err(|_panic| Error::other("a sender of the load failed"))??;
        }
        let map = self.acknowledged.lock();
        let map = map.unwrap_or_else(PoisonError::into_inner);
        Ok(map.keys().copied().collect())
    }
}

/// Whether a node answers that the one submission of this body is final.
fn is_final(api: SocketAddr, body: &[u8]) -> bool {
    let route = "/v1/submissions?wait=final&timeout_ms=5000";
    let Ok(answer) = http::post(api, route, "application/octet-stream", body) else {
        return false;
    };
    let results: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    let state = results.and_then(|r| Some(r.get("results")?.get(0)?.get("state")?.clone()));
    state.is_some_and(|state| state == "final" || state == "provable")
}

/// What a campaign found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Faults that hit.
    pub faults: u64,
    /// Submissions reported as final.
    pub acknowledged: usize,
    /// What every archive came to.
    pub chain: Summary,
    /// Times from a node's restart until it was ready, ascending.
    pub recoveries: Vec<Duration>,
}

/// Kills random nodes (`kill -9`) at random moments, `kills` times in all.
///
/// # Errors
/// A loss, a disagreement, or a node that does not come back by itself.
pub fn kills(network: &mut Network, kills: u64, seed: u64) -> Result<Outcome> {
    let mut draw = Draw::new(seed);
    let load = Load::start(network, seed)?;
    let mut recoveries = Vec::new();
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(draw.between(20, 400)));
        let victim = draw.below(network.manifest().nodes.len());
        all_run(network)?;
        network.kill(victim)?;
        if draw.between(0, 3) > 0 {
            std::thread::sleep(Duration::from_millis(draw.between(0, 300)));
        }
        recoveries.push(come_back(network, victim, &[])?);
    }
    conclude(network, load, kills, recoveries)
}

/// Nobody ended by itself: a kill of who is gone already would hide it.
fn all_run(network: &Network) -> Result<()> {
    let nodes = network.manifest().nodes.iter().enumerate();
    let mut gone = nodes.filter(|(at, _)| !network.is_running(*at));
    match gone.next() {
        Some((at, node)) => {
            let (id, end) = (&node.authority, network.ended(at));
            Err(Error::other(format!("{id} ended by itself: {end:?}")))
        }
        None => Ok(()),
    }
}

/// After so many single cuts for each node, all of them lose their power at once.
const ROUNDS: u64 = 3;

/// Cuts the power until `cuts` of them hit: of single nodes at random writes, where several may be dark at once, and after
/// some of these of all nodes at the same moment. Then what each node had called final must be in its own archive, before
/// anybody could give it back.
///
/// # Errors
/// As [`kills`], and if the shim cannot be built (it needs gcc).
pub fn power_cuts(network: &mut Network, cuts: u64, seed: u64) -> Result<Outcome> {
    let shim = build_shim(network, "powercut")?;
    let mut draw = Draw::new(seed);
    let count = network.manifest().nodes.len();
    for at in 0..count {
        network.kill(at)?;
        network.start_with(at, &cut_after(network, at, &shim, &mut draw))?;
    }
    let load = Load::start(network, seed)?;
    let (mut hit, mut alone, mut recoveries) = (0, 0, Vec::new());
    let mut last = Instant::now();
    while hit < cuts {
        std::thread::sleep(Duration::from_millis(20));
        for at in 0..count {
            if network.is_running(at) {
                continue;
            }
            cut_by_the_shim(network, at)?;
            (hit, alone) = (hit + 1, alone + 1);
            last = Instant::now();
            let environment = cut_after(network, at, &shim, &mut draw);
            // The next cut may come while it still recovers: that counts too.
            network.start_with(at, &environment)?;
        }
        if alone >= ROUNDS * count as u64 {
            alone = 0;
            hit += cut_all(network, &load, &shim, &mut draw)?;
            last = Instant::now();
        }
        if last.elapsed() > AGREE_WITHIN {
            return Err(Error::other(
                "no write for a minute: the network stands still",
            ));
        }
    }
    for at in 0..count {
        network.kill(at)?;
    }
    let back = Instant::now();
    network.start_all()?;
    recoveries.push(back.elapsed());
    conclude(network, load, hit, recoveries)
}

/// All nodes lose their power at one moment under load: how many were hit. They run again afterwards, with cuts to come.
fn cut_all(network: &mut Network, load: &Load, shim: &Path, draw: &mut Draw) -> Result<u64> {
    let count = network.manifest().nodes.len();
    for at in 0..count {
        // Only what works can lose what it promised; a single cut must not come in between.
        network.kill(at)?;
        network.start_with(at, &cut_at(network, at, shim, (0, draw.next())))?;
    }
    (0..count).try_for_each(|at| network.wait_ready(at))?;
    std::thread::sleep(Duration::from_millis(draw.between(100, 1_500)));
    for signal in [Signal::STOP, Signal::USR1, Signal::CONT] {
        for at in 0..count {
            network.signal(at, signal);
        }
    }
    for at in 0..count {
        while network.is_running(at) {
            std::thread::sleep(Duration::from_millis(2));
        }
        cut_by_the_shim(network, at)?;
    }
    let acknowledged = load.so_far();
    for (at, node) in network.manifest().nodes.iter().enumerate() {
        let held = replay::held(&node.dir)?;
        let told = acknowledged.iter().filter(|(_, through)| **through == at);
        let lost = told.filter(|(hash, _)| !held.contains(hash)).count();
        if lost > 0 {
            let message = format!("{} had called {lost} final that it lost", node.authority);
            return Err(Error::other(message));
        }
    }
    for at in 0..count {
        network.start_with(at, &cut_after(network, at, shim, draw))?;
    }
    Ok(count as u64)
}

/// A node that ended by itself is not one whose power was cut: it refuses something that a person would have to mend.
fn cut_by_the_shim(network: &Network, at: usize) -> Result<()> {
    let deadline = Instant::now() + REAPED_WITHIN;
    let id = &network.manifest().nodes[at].authority;
    loop {
        match network.ended(at) {
            Some(End::Signal) if std::fs::remove_file(mark(network, at)).is_ok() => return Ok(()),
            Some(End::Signal) => return Err(Error::other(format!("{id} was ended by a signal"))),
            Some(End::Code(code)) => {
                return Err(Error::other(format!("{id} ended by itself with {code}")));
            }
            None if Instant::now() > deadline => return Err(Error::other("no end is known")),
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// The file with which the shim says that it was the one.
fn mark(network: &Network, at: usize) -> PathBuf {
    network.dir().join(format!("cut-{at}"))
}

fn cut_after(
    network: &Network,
    at: usize,
    shim: &Path,
    draw: &mut Draw,
) -> Vec<(&'static str, String)> {
    // Some cuts hit the start, most hit the work.
    let after = match draw.between(0, 3) {
        0 => draw.between(1, 60),
        _ => draw.between(60, 1_500),
    };
    cut_at(network, at, shim, (after, draw.next()))
}

fn cut_at(
    network: &Network,
    at: usize,
    shim: &Path,
    (after, seed): (u64, u64),
) -> Vec<(&'static str, String)> {
    let data = network.manifest().nodes[at].dir.join("data");
    vec![
        ("LD_PRELOAD", shim.display().to_string()),
        ("CUT_DIR", data.display().to_string()),
        ("CUT_AFTER", after.to_string()),
        ("CUT_SEED", seed.to_string()),
        ("CUT_MARK", mark(network, at).display().to_string()),
    ]
}

/// Builds `faults/NAME.c`, to be preloaded into nodes.
///
/// # Errors
/// If gcc cannot.
pub fn build_shim(network: &Network, name: &str) -> Result<PathBuf> {
    let faults = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("faults");
    let source = faults.join(name).with_extension("c");
    let shim = network.dir().join(name).with_extension("so");
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-O2", "-o"])
        .arg(&shim)
        .arg(source);
    let built = gcc.args(["-ldl", "-lpthread"]).status()?;
    if built.success() {
        Ok(shim)
    } else {
        Err(Error::other(format!("gcc could not build {name}.c")))
    }
}

/// Starts a node and waits until it is ready: how long that took.
fn come_back(network: &mut Network, at: usize, with: &[(&str, String)]) -> Result<Duration> {
    let start = Instant::now();
    network.start_with(at, with)?;
    network.wait_ready(at)?;
    Ok(start.elapsed())
}

/// Ends the load, lets the nodes agree, stops them, and audits every archive.
fn conclude(
    network: &mut Network,
    load: Load,
    faults: u64,
    mut recoveries: Vec<Duration>,
) -> Result<Outcome> {
    let acknowledged = load.stop()?;
    agree(network)?;
    let chain = audit(network, &acknowledged)?;
    nothing_was_lost(network)?;
    recoveries.sort();
    Ok(Outcome {
        faults,
        acknowledged: acknowledged.len(),
        chain,
        recoveries,
    })
}

/// No node said that something was gone which it had synced.
///
/// # Errors
/// The first line that says so.
pub fn nothing_was_lost(network: &Network) -> Result<()> {
    for node in &network.manifest().nodes {
        says_none_of(&node.dir, &VOICE_LOST)?;
        says_none_of(&node.dir, &ARCHIVE_LOST)?;
    }
    Ok(())
}

/// Looks through a node's log for sentences that must not be there.
///
/// # Errors
/// The first line that has one, or the log cannot be read.
pub fn says_none_of(node: &Path, sentences: &[&str]) -> Result<()> {
    let log = std::fs::read(node.join("log"))?;
    let log = String::from_utf8_lossy(&log);
    let mut lines = log.lines();
    match lines.find(|line| sentences.iter().any(|sentence| line.contains(sentence))) {
        Some(line) => Err(Error::other(format!("{}: {line}", node.display()))),
        None => Ok(()),
    }
}

/// Waits until every node serves the same checkpoint.
///
/// # Errors
/// If that takes more than a minute.
pub fn agree(network: &Network) -> Result<()> {
    let deadline = Instant::now() + AGREE_WITHIN;
    let text = |api, path: &str| http::get(api, path).ok().map(|answer| answer.text());
    loop {
        let nodes = network.manifest().nodes.iter();
        let views: Option<BTreeSet<_>> = nodes
            .map(|node| {
                let checkpoint = text(node.api, "/log/checkpoint")?;
                let tree: Vec<_> = checkpoint.lines().take(3).map(str::to_owned).collect();
                let status = text(node.api, "/v1/status")?;
                let status: serde_json::Value = serde_json::from_str(&status).ok()?;
                let number = |name: &str| status.get(name)?.as_u64();
                // Nothing is final that is not provable yet.
                (number("log_size")? == number("provable_size")?).then_some(tree)
            })
            .collect();
        if views.is_some_and(|views| views.len() == 1) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::other("the nodes do not agree within a minute"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Stops every node, replays every archive from genesis, looks for every acknowledged submission and for evidence that a
/// validator signed twice, and has `nachweis audit` come to the same.
///
/// # Errors
/// The first fault, difference or loss.
pub fn audit(network: &mut Network, acknowledged: &BTreeSet<SubmissionHash>) -> Result<Summary> {
    network.stop_all()?;
    let mut first: Option<Summary> = None;
    for (at, node) in network.manifest().nodes.iter().enumerate() {
        let found = replay::archive(&node.dir);
        let found = found.map_err(|e| Error::other(format!("{}: {e}", node.authority)))?;
        let lost = acknowledged.difference(&found.submissions).count();
        if lost > 0 {
            let of = acknowledged.len();
            let message = format!("{} lost {lost} of {of} acknowledged", node.authority);
            return Err(Error::other(message));
        }
        if found.evidence > 0 {
            let message = format!("{} has evidence that somebody signed twice", node.authority);
            return Err(Error::other(message));
        }
        says_none_of(&node.dir, &[SIGNED_TWICE])?;
        same_by_program(network, at, &found)?;
        match &first {
            Some(other) if *other != found => {
                return Err(Error::other(format!(
                    "{} has another chain",
                    node.authority
                )));
            }
            _ => first = Some(found),
        }
    }
    first.ok_or_else(|| Error::other("the network has no node"))
}

/// Runs `nachweis audit` over a stopped node's directory and compares.
fn same_by_program(network: &Network, at: usize, found: &Summary) -> Result<()> {
    let node = &network.manifest().nodes[at];
    let mut audit = network.nachweis(at)?;
    let output = run(audit.arg("audit").arg("--json").arg(&node.dir))?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let same = [
        ("sound", true.into()),
        ("blocks", found.height.into()),
        ("registrations", found.registrations.into()),
        ("log_size", found.log_size.into()),
        ("log_root", found.log_root.to_string().into()),
        ("status_root", found.status_root.to_string().into()),
    ];
    for (name, expected) in same {
        let said = report.get(name);
        if said != Some(&expected) {
            let id = &node.authority;
            let message = format!("nachweis audit of {id}: {name} is {said:?}, not {expected}");
            return Err(Error::other(message));
        }
    }
    Ok(())
}
