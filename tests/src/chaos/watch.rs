//! Load and eyes of a chaos run: a sender and a watcher for each node, and when they saw what.

use crate::campaign::Draw;
use crate::http::{self, Kept};
use crate::load::{self, Maker};
use crate::network::Network;
use ledger::hash::SubmissionHash;
use std::collections::BTreeSet;
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a node is waited for: a paused or cut one does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(6);
/// The same for its status.
const STATUS_WITHIN: Duration = Duration::from_millis(500);
/// Between two looks at a node's status.
const LOOK: Duration = Duration::from_millis(25);
/// How long a sender rests after a node did not answer.
const REST: Duration = Duration::from_millis(50);

/// What was seen, by time since the run's start.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When a record was acknowledged as provable, ascending.
    pub provable: Vec<Duration>,
    /// For each node, ascending: when it answered, and what size its provable log had.
    pub sizes: Vec<Vec<(Duration, u64)>>,
    /// Every submission that a node reported as final or provable.
    pub acknowledged: BTreeSet<SubmissionHash>,
}

/// The threads of a run.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

impl Watch {
    /// Starts to send and to look.
    ///
    /// # Errors
    /// If the network's keys cannot be read.
    pub fn start(network: &Network, start: Instant, seed: u64) -> Result<Self> {
        let nodes = &network.manifest().nodes;
        let seen = Seen {
            sizes: vec![Vec::new(); nodes.len()],
            ..Seen::default()
        };
        let shared = Arc::new(Shared {
            start,
            stop: AtomicBool::new(false),
            seen: Mutex::new(seen),
        });
        let mut threads = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            let (maker, api) = (Maker::new(network, at)?, node.api);
            let draw = Draw::new(seed ^ (at as u64 + 1));
            let sender = Arc::clone(&shared);
            threads.push(thread::spawn(move || sender.send(api, &maker, draw)));
            let watcher = Arc::clone(&shared);
            threads.push(thread::spawn(move || {
                watcher.watch(api, at);
                Ok(())
            }));
        }
        Ok(Self { shared, threads })
    }

    /// What was seen until now.
    pub fn with<R>(&self, look: impl FnOnce(&Seen) -> R) -> R {
        look(
            &self
                .shared
                .seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Ends the threads: all that was seen.
    ///
    /// # Errors
    /// If a sender could not make its submissions.
    pub fn stop(self) -> Result<Seen> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let ended = thread.join();
            ended.map_err(|_panic| Error::other("a thread of the load failed"))??;
        }
        let seen = self.shared.seen.lock();
        Ok(seen.unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn note(&self, note: impl FnOnce(&mut Seen, Duration)) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken under the lock, so that times ascend.
        let now = self.start.elapsed();
        note(&mut seen, now);
    }

    fn send(&self, api: SocketAddr, maker: &Maker, mut draw: Draw) -> Result<()> {
        while self.goes_on() {
            let submission = maker.registrations(draw.between(1, 5))?;
            let state = submit(api, &load::body([&submission]));
            match state.as_deref() {
                Some("provable") => self.note(|seen, now| {
                    seen.provable.push(now);
                    seen.acknowledged.insert(submission.hash());
                }),
                Some("final") => self.note(|seen, _now| {
                    seen.acknowledged.insert(submission.hash());
                }),
                Some(_) | None => thread::sleep(REST),
            }
        }
        Ok(())
    }

    fn watch(&self, api: SocketAddr, at: usize) {
        let mut status = Kept::new(api, STATUS_WITHIN);
        while self.goes_on() {
            if let Some(size) = provable_size(&mut status) {
                self.note(|seen, now| seen.sizes[at].push((now, size)));
            }
            thread::sleep(LOOK);
        }
    }
}

/// Hands one submission in and waits until it is provable, for 5 seconds: how far it came.
fn submit(api: SocketAddr, body: &[u8]) -> Option<String> {
    let route = "/v1/submissions?wait=provable&timeout_ms=5000";
    let kind = "application/octet-stream";
    let answer = http::post_within(api, route, kind, body, ANSWER_WITHIN).ok()?;
    let results: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let state = results.get("results")?.get(0)?.get("state")?;
    Some(state.as_str()?.to_owned())
}

fn provable_size(status: &mut Kept) -> Option<u64> {
    let answer = status.get("/v1/status").ok()?;
    let status: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    status.get("provable_size")?.as_u64()
}
