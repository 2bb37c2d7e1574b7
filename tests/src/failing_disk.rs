//! Every write of a commit and of a clean stop, failed once: full disk, I/O error, short write.
//!
//! One node of four runs with `faults/failing.c` preloaded, which fails one call, chosen by the file it is on, its kind and
//! its number: calls on one file come from one thread, so that such a number means the same call whatever the others do.
//! Whole commits are watched first; what they call is what is enumerated. A case is a point and a fault: submissions are handed
//! to this node until the shim says that it has injected the fault (or the node is stopped, for the calls of a stop). A case
//! that was not hit is an error of the enumeration. The node must end with its own exit code or go on unharmed; started again
//! it must be ready by itself, and have what it had synced and everything that anybody was told is final.

use crate::campaign;
use crate::http;
use crate::load::{self, Maker};
use crate::network::{End, Network};
use ledger::hash::SubmissionHash;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The node whose disk fails.
const VICTIM: usize = 0;
/// How long it may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// The disk is quiet when nothing was called for so long: a checkpoint's note waits a second before it is written.
const QUIET: Duration = Duration::from_millis(1_300);
/// Commits until a point must have come: as many as a segment of the archive lasts, and some.
const MAX_COMMITS: u32 = 16;
/// Stops until a point must have come.
const MAX_STOPS: u32 = 4;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The disk is full from this call on; the first write is half written.
    Full,
    /// This call gives EIO.
    Error,
    /// This write writes half of its bytes and says so: no fault, just a rare answer.
    Short,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Full, Self::Error, Self::Short];

    /// As the shim calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "enospc",
            Self::Error => "eio",
            Self::Short => "short",
        }
    }

    /// Whether a call can fail so: a full disk does not refuse what needs no room, and only writes are short.
    fn befalls(self, call: &str) -> bool {
        match self {
            Self::Full => !["truncate", "rename", "unlink"].contains(&call),
            Self::Error => true,
            Self::Short => call == "write",
        }
    }
}

/// When a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// From a submission until its block is provable and the disk is quiet.
    Commit,
    /// From SIGTERM to the end.
    Stop,
}

impl Phase {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Stop => "stop",
        }
    }
}

/// One call: the so-many-th of its kind on its file in its phase.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// When.
    pub phase: Phase,
    /// First part of the path below the data folder.
    pub file: String,
    /// Kind of call.
    pub call: String,
    /// Counted from 1.
    pub number: u64,
}

/// What became of one failed call.
#[derive(Clone, Debug)]
pub struct Case {
    /// Which call.
    pub point: Point,
    /// How it failed.
    pub fault: Fault,
    /// Exit code of the process.
    pub exit: i32,
}

/// How much of it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// Every case.
    Whole,
    /// Few, for the test command: another one of each ten.
    Slice,
}

impl Breadth {
    /// Commits and stops that are watched.
    const fn watched(self) -> (u32, u32) {
        match self {
            Self::Whole => (8, 3),
            Self::Slice => (2, 1),
        }
    }

    const fn step(self) -> usize {
        match self {
            Self::Whole => 1,
            Self::Slice => 10,
        }
    }
}

/// Watches commits and stops, then fails every one of their calls in every way that can befall it.
///
/// # Errors
/// The first case that does not end as it should, or that was not hit.
pub fn enumerate(
    network: &mut Network,
    breadth: Breadth,
    mut tell: impl FnMut(&Case, (usize, usize)),
) -> Result<Vec<Case>> {
    // Short segments, so that a few commits begin a new one.
    network.stop(VICTIM)?;
    network.configure(VICTIM, &[("segment_bytes", "4096")])?;
    let mut bench = Bench::new(network)?;
    bench.start()?;
    let planned: Vec<_> = bench.plan(breadth)?;
    let planned: Vec<_> = planned.into_iter().step_by(breadth.step()).collect();
    let mut cases = Vec::new();
    for (point, fault) in &planned {
        let what = format!("{point:?}, {}", fault.name());
        let exit = bench.fail(point, *fault);
        let exit = exit.map_err(|error| Error::other(format!("{what}: {error}")))?;
        let case = Case {
            point: point.clone(),
            fault: *fault,
            exit,
        };
        cases.push(case);
        if let Some(case) = cases.last() {
            tell(case, (cases.len(), planned.len()));
        }
    }
    let acknowledged = std::mem::take(&mut bench.acknowledged);
    campaign::agree(network)?;
    campaign::audit(network, &acknowledged)?;
    Ok(cases)
}

/// The node, its shim's files, and what anybody was told.
struct Bench<'a> {
    network: &'a mut Network,
    maker: Maker,
    shim: PathBuf,
    order: PathBuf,
    calls: PathBuf,
    serial: u64,
    acknowledged: BTreeSet<SubmissionHash>,
}

impl<'a> Bench<'a> {
    fn new(network: &'a mut Network) -> Result<Self> {
        Ok(Self {
            maker: Maker::new(network, VICTIM)?,
            shim: campaign::build_shim(network, "failing")?,
            order: network.dir().join("order"),
            calls: network.dir().join("calls"),
            network,
            serial: 0,
            acknowledged: BTreeSet::new(),
        })
    }

    /// The cases, in an order that does not hang on what the watched commits happened to do first.
    fn plan(&mut self, breadth: Breadth) -> Result<Vec<(Point, Fault)>> {
        let mut most: BTreeMap<(Phase, String, String), u64> = BTreeMap::new();
        let mut note = |phase, counts: BTreeMap<(String, String), u64>| {
            for ((file, call), count) in counts {
                let seen = most.entry((phase, file, call)).or_default();
                *seen = count.max(*seen);
            }
        };
        let (commits, stops) = breadth.watched();
        for _ in 0..commits {
            self.give("- - 0 -")?;
            self.commit()?;
            self.wait_until_quiet()?;
            note(Phase::Commit, self.counts()?);
        }
        for _ in 0..stops {
            self.commit()?;
            self.wait_until_quiet()?;
            self.give("- - 0 -")?;
            self.stop()?;
            note(Phase::Stop, self.counts()?);
            self.start()?;
        }
        for file in ["journal", "archive", "guard"] {
            let sync = (Phase::Commit, file.to_owned(), "fdatasync".to_owned());
            if !most.contains_key(&sync) {
                return Err(Error::other(format!("a commit does not sync {file}")));
            }
        }
        let mut cases = Vec::new();
        for ((phase, file, call), most) in most {
            for number in 1..=most {
                let point = Point {
                    phase,
                    file: file.clone(),
                    call: call.clone(),
                    number,
                };
                let faults = Fault::ALL.into_iter().filter(|fault| fault.befalls(&call));
                cases.extend(faults.map(|fault| (point.clone(), fault)));
            }
        }
        Ok(cases)
    }

    /// Injects one fault: the exit code. The node runs again afterwards.
    fn fail(&mut self, point: &Point, fault: Fault) -> Result<i32> {
        let (file, call, number) = (&point.file, &point.call, point.number);
        let order = format!("{file} {call} {number} {}", fault.name());
        let exit = match point.phase {
            Phase::Commit => {
                self.give(&order)?;
                for _ in 0..MAX_COMMITS {
                    self.commit()?;
                    if self.was_hit()? {
                        break;
                    }
                    self.wait_until_quiet()?;
                }
                self.stop()?
            }
            Phase::Stop => {
                let mut exit = 0;
                for again in 0..MAX_STOPS {
                    if again > 0 {
                        self.start()?;
                    }
                    self.commit()?;
                    self.wait_until_quiet()?;
                    self.give(&order)?;
                    exit = self.stop()?;
                    if self.was_hit()? {
                        break;
                    }
                }
                exit
            }
        };
        if !self.was_hit()? {
            return Err(Error::other("this call did not come again: not hit"));
        }
        let allowed: &[i32] = match fault {
            Fault::Full | Fault::Error => &[74],
            Fault::Short => &[0],
        };
        if !allowed.contains(&exit) {
            return Err(Error::other(format!("exit {exit}")));
        }
        self.start()?;
        Ok(exit)
    }

    /// Gives the shim an order. Calls are counted anew, and the list of calls is empty.
    fn give(&mut self, order: &str) -> Result<()> {
        self.serial += 1;
        let new = self.order.with_extension("new");
        fs::write(&new, format!("{} {order}\n", self.serial))?;
        fs::write(&self.calls, [])?;
        fs::rename(new, &self.order)
    }

    fn take_back(&self) -> Result<()> {
        match fs::remove_file(&self.order) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Err(_) | Ok(()) => Ok(()),
        }
    }

    /// Starts the node on a whole disk: it must be ready by itself, with all that it had synced.
    fn start(&mut self) -> Result<()> {
        self.take_back()?;
        let node = self.network.manifest().nodes[VICTIM].dir.clone();
        fs::write(node.join("log"), [])?;
        let text = |path: PathBuf| path.display().to_string();
        let environment = [
            ("LD_PRELOAD", text(self.shim.clone())),
            ("FAULT_DIR", text(node.join("data"))),
            ("FAULT_ARM", text(self.order.clone())),
            ("FAULT_LOG", text(self.calls.clone())),
        ];
        self.network.start_with(VICTIM, &environment)?;
        self.network.wait_ready(VICTIM)?;
        campaign::says_none_of(&node, &campaign::VOICE_LOST)?;
        campaign::says_none_of(&node, &campaign::ARCHIVE_LOST)
    }

    /// Hands the node one submission, and waits until it is provable or the node is gone.
    fn commit(&mut self) -> Result<()> {
        let submission = self.maker.registrations(2)?;
        let api = self.network.manifest().nodes[VICTIM].api;
        let route = "/v1/submissions?wait=provable&timeout_ms=10000";
        let body = load::body([&submission]);
        let answer = http::post(api, route, "application/octet-stream", &body);
        let told = answer.is_ok_and(|answer| {
            answer.status == 200
                && ["\"final\"", "\"provable\""].map(|state| answer.text().contains(state))
                    != [false, false]
        });
        if told {
            self.acknowledged.insert(submission.hash());
        }
        Ok(())
    }

    /// SIGTERM, if it did not end by itself: its exit code.
    fn stop(&self) -> Result<i32> {
        self.network.signal(VICTIM, rustix::process::Signal::TERM);
        let deadline = Instant::now() + ENDS_WITHIN;
        loop {
            match self.network.ended(VICTIM) {
                Some(End::Code(code)) => return Ok(code),
                Some(End::Signal) => return Err(Error::other("a signal ended it")),
                None if Instant::now() > deadline => return Err(Error::other("it hangs")),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn wait_until_quiet(&self) -> Result<()> {
        let deadline = Instant::now() + ENDS_WITHIN;
        let length = || fs::metadata(&self.calls).map_or(0, |file| file.len());
        let (mut last, mut since) = (length(), Instant::now());
        while since.elapsed() < QUIET {
            if Instant::now() > deadline {
                return Err(Error::other("the disk does not come to rest"));
            }
            std::thread::sleep(Duration::from_millis(20));
            let now = length();
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    fn was_hit(&self) -> Result<bool> {
        let calls = fs::read_to_string(&self.calls)?;
        Ok(calls.lines().any(|line| line.starts_with("! ")))
    }

    /// How often which file met which call since the last order.
    fn counts(&self) -> Result<BTreeMap<(String, String), u64>> {
        let mut counts = BTreeMap::new();
        for line in fs::read_to_string(&self.calls)?.lines() {
            let mut words = line.split(' ');
            if let (Some(file), Some(call)) = (words.next(), words.next()) {
                *counts
                    .entry((file.to_owned(), call.to_owned()))
                    .or_default() += 1;
            }
        }
        Ok(counts)
    }
}
