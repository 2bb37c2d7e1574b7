//! Chaos over a network of real processes under load: killed, paused, cut off and slowed down at random from a seed.
//!
//! At most f nodes are faulty at a time in most episodes, more in some. The seed decides what happens to whom and
//! when; the processes' own timing stays their own. A node that ends by itself, or has not caught up a minute after its
//! fault, fails the run. At the end everything is mended, the nodes agree, and every archive is audited.

pub mod plan;
pub mod recovery;
pub mod watch;

use crate::cables::Cables;
use crate::campaign::{self, Draw};
use crate::network::Network;
use crate::replay::Summary;
use plan::{Episode, Fault, Kind, Then};
use recovery::{Past, Recovery};
use rustix::process::Signal;
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use watch::Watch;

/// How long a node may take to catch up after the last fault of an episode.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);
/// Milliseconds that a slow disk takes longer for a sync.
const SLOW: &str = "50 300";

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Faults in all.
    pub faults: usize,
    /// Submissions that a node reported as final or provable.
    pub acknowledged: usize,
    /// What every archive came to.
    pub chain: Summary,
    /// How long recovery took.
    pub recovery: Recovery,
}

/// Runs faults for a time over a network founded with [`Reach::Between`](crate::ceremony::Reach); starts its nodes.
///
/// # Errors
/// A loss, a disagreement, a node that does not come back by itself, and if the shim cannot be built (it needs gcc).
pub fn run(network: &mut Network, lasts: Duration, seed: u64) -> Result<Outcome> {
    let shim = campaign::build_shim(network, "slowdisk")?;
    let cables = Cables::lay(network)?;
    let nodes = network.manifest().nodes.len();
    for at in 0..nodes {
        network.start_with(at, &environment(network, at, &shim))?;
        cables.learn(network);
    }
    (0..nodes).try_for_each(|at| network.wait_ready(at))?;
    let start = Instant::now();
    let watch = Watch::start(network, start, seed)?;
    let mut chaos = Chaos {
        network,
        cables,
        shim,
        start,
        past: Vec::new(),
    };
    let mut draw = Draw::new(seed);
    let ran = chaos.run(&mut draw, lasts, &watch);
    let seen = watch.stop()?;
    ran?;
    let past = chaos.past;
    campaign::agree(network)?;
    let chain = campaign::audit(network, &seen.acknowledged)?;
    campaign::nothing_was_lost(network)?;
    Ok(Outcome {
        faults: past.len(),
        acknowledged: seen.acknowledged.len(),
        chain,
        recovery: Recovery::measure(nodes, &past, &seen),
    })
}

fn environment(network: &Network, at: usize, shim: &Path) -> [(&'static str, String); 2] {
    [
        ("LD_PRELOAD", shim.display().to_string()),
        ("SLOW_FILE", slow_file(network, at).display().to_string()),
    ]
}

fn slow_file(network: &Network, at: usize) -> PathBuf {
    network.dir().join(format!("slow-{at}"))
}

struct Chaos<'a> {
    network: &'a mut Network,
    cables: Cables,
    shim: PathBuf,
    start: Instant,
    past: Vec<Past>,
}

/// One end of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Begin,
    End,
}

impl Chaos<'_> {
    fn run(&mut self, draw: &mut Draw, lasts: Duration, watch: &Watch) -> Result<()> {
        loop {
            let left = lasts.saturating_sub(self.start.elapsed());
            if left.is_zero() {
                return self.recover(watch);
            }
            let episode = plan::episode(draw, self.network.manifest().nodes.len(), left);
            self.play(&episode)?;
            match episode.then {
                Then::Recover => self.recover(watch)?,
                Then::Next(rest) => std::thread::sleep(rest),
            }
        }
    }

    /// Begins and ends the faults of an episode, each at its time.
    fn play(&mut self, episode: &Episode) -> Result<()> {
        let base = Instant::now();
        let steps = |(at, fault): (usize, &Fault)| {
            [(fault.begins, at, Step::Begin), (fault.ends, at, Step::End)]
        };
        let mut steps: Vec<_> = episode.faults.iter().enumerate().flat_map(steps).collect();
        steps.sort_unstable();
        let mut began = vec![Duration::ZERO; episode.faults.len()];
        for (due, at, step) in steps {
            std::thread::sleep(due.saturating_sub(base.elapsed()));
            let fault = &episode.faults[at];
            match step {
                Step::Begin => {
                    self.alive(fault.node)?;
                    began[at] = self.start.elapsed();
                    self.begin(fault)?;
                }
                Step::End => {
                    self.end(fault)?;
                    self.past.push(Past {
                        kind: fault.kind,
                        node: fault.node,
                        began: began[at],
                        ended: self.start.elapsed(),
                    });
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, fault: &Fault) -> Result<()> {
        for (from, to) in &fault.directions {
            self.cables.cut(*from, *to);
        }
        match fault.kind {
            Kind::Kill => self.network.kill(fault.node)?,
            Kind::Pause => self.network.signal(fault.node, Signal::STOP),
            Kind::Tear => {
                for (from, to) in &fault.directions {
                    self.cables.tear(*from, *to);
                }
            }
            Kind::SlowDisk => fs::write(slow_file(self.network, fault.node), SLOW)?,
            Kind::Cut | Kind::OneWay => {}
        }
        Ok(())
    }

    fn end(&mut self, fault: &Fault) -> Result<()> {
        for (from, to) in &fault.directions {
            self.cables.mend(*from, *to);
        }
        match fault.kind {
            Kind::Kill => {
                let with = environment(self.network, fault.node, &self.shim);
                self.network.start_with(fault.node, &with)?;
                self.cables.learn(self.network);
            }
            Kind::Pause => self.network.signal(fault.node, Signal::CONT),
            Kind::SlowDisk => fs::remove_file(slow_file(self.network, fault.node))?,
            Kind::Cut | Kind::OneWay | Kind::Tear => {}
        }
        Ok(())
    }

    /// Nobody but us may end a node.
    fn alive(&self, node: usize) -> Result<()> {
        if self.network.is_running(node) {
            return Ok(());
        }
        let id = &self.network.manifest().nodes[node].authority;
        Err(Error::other(format!(
            "{id} ended by itself; its log says why"
        )))
    }

    /// Waits until every node's provable log is as long as the longest was at the start of the wait.
    fn recover(&self, watch: &Watch) -> Result<()> {
        let latest = || {
            watch.with(|seen| {
                seen.sizes
                    .iter()
                    .map(|s| s.last().copied())
                    .collect::<Vec<_>>()
            })
        };
        let since = self.start.elapsed();
        let target = latest().into_iter().flatten().map(|(_, size)| size).max();
        loop {
            let behind = latest()
                .into_iter()
                .position(|last| last.is_none_or(|(at, size)| at <= since || Some(size) < target));
            let Some(node) = behind else {
                return Ok(());
            };
            self.alive(node)?;
            if self.start.elapsed() > since + CATCH_UP_WITHIN {
                let id = &self.network.manifest().nodes[node].authority;
                let message = format!("{id} has not caught up within {CATCH_UP_WITHIN:?}");
                return Err(Error::other(message));
            }
            std::thread::sleep(LOOK);
        }
    }
}
