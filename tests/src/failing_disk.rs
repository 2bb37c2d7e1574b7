//! Every write of a commit, failed once: full disk, I/O error, short write.
//!
//! One node of four runs with `faults/failing.c` preloaded, which fails exactly one call, chosen by its number. The script
//! between the first and the last counted call is always the same: one submission handed to this node until it is
//! provable, then SIGTERM. So every write, sync, truncation and change of a name of a commit and of the clean stop is hit
//! in its turn. The node must end with its own exit code or go on unharmed; started again without faults it must be ready
//! by itself, vote, cosign, and have everything that anybody was told is final.

use crate::campaign;
use crate::http;
use crate::load::{self, Maker};
use crate::network::Network;
use ledger::hash::SubmissionHash;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The node whose disk fails.
const VICTIM: usize = 0;
/// How long it may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// What a node says when its journal or its guard cannot be relied on.
const LOST: [&str; 3] = ["does not vote", "cosigns no more", "damage:"];

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The disk is full from this call on; the first write is half written.
    Full,
    /// This call gives EIO.
    Error,
    /// This write writes half of its bytes and says so: no fault, just a rare answer.
    Short,
}

impl Kind {
    /// As the shim calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "enospc",
            Self::Error => "eio",
            Self::Short => "short",
        }
    }
}

/// What became of one failed call.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its number.
    pub number: u64,
    /// Which call on which file.
    pub call: String,
    /// How it failed.
    pub kind: Kind,
    /// Exit code of the process.
    pub exit: i32,
}

/// Fails one call after the other (or every `step`-th), each kind in turn, until a run makes fewer calls than its number.
///
/// # Errors
/// The first case that does not end as it should.
pub fn enumerate(network: &mut Network, kinds: &[Kind], step: usize) -> Result<Vec<Case>> {
    let shim = build(network.dir())?;
    let maker = Maker::new(network, VICTIM)?;
    let mut acknowledged = BTreeSet::new();
    let mut cases = Vec::new();
    network.kill(VICTIM)?;
    for number in (1..).step_by(step) {
        let before = cases.len();
        for kind in kinds {
            let case = fail(network, &shim, &maker, (number, *kind), &mut acknowledged)?;
            cases.extend(case);
        }
        if cases.len() == before {
            break;
        }
    }
    network.start(VICTIM)?;
    campaign::agree(network)?;
    campaign::audit(network, &acknowledged)?;
    Ok(cases)
}

/// One run with one failing call; `None` if the run made fewer calls.
fn fail(
    network: &mut Network,
    shim: &Path,
    maker: &Maker,
    (number, kind): (u64, Kind),
    acknowledged: &mut BTreeSet<SubmissionHash>,
) -> Result<Option<Case>> {
    let (arm, log) = (network.dir().join("armed"), network.dir().join("calls"));
    for file in [&arm, &log] {
        fs::remove_file(file).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
    }
    let dir = network.manifest().nodes[VICTIM].dir.join("data");
    let text = |path: &Path| path.display().to_string();
    let environment = [
        ("LD_PRELOAD", text(shim)),
        ("FAULT_DIR", text(&dir)),
        ("FAULT_ARM", text(&arm)),
        ("FAULT_LOG", text(&log)),
        ("FAULT_AT", number.to_string()),
        ("FAULT_KIND", kind.name().to_owned()),
    ];
    network.start_with(VICTIM, &environment)?;
    network.wait_ready(VICTIM)?;
    // What the start itself writes is over: a checkpoint's note waits a second before it is written.
    campaign::agree(network)?;
    fs::write(&arm, [])?;
    let submission = maker.registrations(2)?;
    let api = network.manifest().nodes[VICTIM].api;
    let route = "/v1/submissions?wait=provable&timeout_ms=10000";
    let body = load::body([&submission]);
    let answer = http::post(api, route, "application/octet-stream", &body);
    let told = answer.is_ok_and(|answer| {
        answer.status == 200
            && (answer.text().contains("\"final\"") || answer.text().contains("\"provable\""))
    });
    if told {
        acknowledged.insert(submission.hash());
    }
    let exit = end(network, number, kind)?;
    let calls = fs::read_to_string(&log).unwrap_or_default();
    let hit = calls.lines().find_map(|line| line.strip_suffix(" *"));
    let call = hit.map(|line| {
        line.split_once(' ')
            .map_or(line, |(_, call)| call)
            .to_owned()
    });
    come_back(network, number, kind)?;
    let Some(call) = call else {
        return if exit == 0 {
            Ok(None)
        } else {
            Err(Error::other(format!("exit {exit} without any fault")))
        };
    };
    let allowed: &[i32] = match kind {
        Kind::Full | Kind::Error => &[0, 74],
        Kind::Short => &[0],
    };
    if !allowed.contains(&exit) {
        let what = format!("call {number}, {call}, {}: exit {exit}", kind.name());
        return Err(Error::other(what));
    }
    Ok(Some(Case {
        number,
        call,
        kind,
        exit,
    }))
}

/// Ends the node, if it did not end by itself: its exit code.
fn end(network: &Network, number: u64, kind: Kind) -> Result<i32> {
    network.signal(VICTIM, rustix::process::Signal::TERM);
    let deadline = Instant::now() + ENDS_WITHIN;
    // The thread that waits for the process may be a moment behind its end.
    while network.is_running(VICTIM) || network.exit_code(VICTIM).is_none() {
        if Instant::now() > deadline {
            let what = format!(
                "call {number} {}: it hangs, or a signal ended it",
                kind.name()
            );
            return Err(Error::other(what));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(network.exit_code(VICTIM).unwrap_or_default())
}

/// Starts the node on a whole disk: it must be ready by itself, vote and cosign.
fn come_back(network: &mut Network, number: u64, kind: Kind) -> Result<()> {
    let path = network.manifest().nodes[VICTIM].dir.join("log");
    fs::write(&path, [])?;
    network.start(VICTIM)?;
    network.wait_ready(VICTIM)?;
    let log = fs::read_to_string(&path)?;
    if let Some(line) = log
        .lines()
        .find(|line| LOST.iter().any(|lost| line.contains(lost)))
    {
        return Err(Error::other(format!(
            "after call {number} {}: {line}",
            kind.name()
        )));
    }
    network.stop(VICTIM)
}

fn build(dir: &Path) -> Result<PathBuf> {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("faults/failing.c");
    let shim = dir.join("failing.so");
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-O2", "-o"])
        .arg(&shim)
        .arg(source);
    if gcc.args(["-ldl", "-lpthread"]).status()?.success() {
        Ok(shim)
    } else {
        Err(Error::other("gcc could not build the shim"))
    }
}
