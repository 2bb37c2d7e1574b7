//! What an operator can watch: one registry, written in the text format of OpenMetrics.
//!
//! Counters and histograms are fed where things happen; gauges that follow from the chain's state are
//! set when they are asked for ([`Metrics::observe`]), so that nobody has to remember to.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// First bucket of latencies, in seconds; 16 buckets, each twice the one before: 1 ms to 33 s.
const LATENCY: (f64, u16) = (0.001, 16);
/// First bucket of fsync times, in seconds; 14 buckets, each twice the one before: 0.1 ms to 0.8 s.
const FSYNC: (f64, u16) = (0.0001, 14);

/// One label: which of a closed list of names, never a value that a peer or client chose.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Code {
    code: &'static str,
}

/// A counter for each of a closed list of names.
#[derive(Clone, Debug, Default)]
pub struct Coded(Family<Code, Counter>);

impl Coded {
    /// One more of this name.
    pub fn count(&self, code: &'static str) {
        self.0.get_or_create(&Code { code }).inc();
    }

    /// How many there were.
    pub fn get(&self, code: &'static str) -> u64 {
        self.0.get_or_create(&Code { code }).get()
    }
}

/// A histogram of durations.
#[derive(Clone, Debug)]
pub struct Timing(Histogram);

impl Timing {
    fn new((first, count): (f64, u16)) -> Self {
        Self(Histogram::new(exponential_buckets(first, 2.0, count)))
    }

    /// Adds one duration.
    pub fn add(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

/// What the chain's state says, for the gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Newest final block.
    pub height: u64,
    /// Leaves of the log.
    pub log_size: u64,
    /// Block of the newest checkpoint that a quorum cosigned.
    pub provable_height: u64,
    /// Its size.
    pub provable_size: u64,
    /// Current view.
    pub view: u64,
    /// Current epoch.
    pub epoch: u64,
    /// Pending submissions.
    pub pool: u64,
    /// Connected peers.
    pub peers: u64,
}

/// All of a node's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// From a submission's arrival at this API to its final block.
    pub final_latency: Timing,
    /// From a submission's arrival at this API to a checkpoint that proves it.
    pub provable_latency: Timing,
    /// One `fdatasync`.
    pub fsync: Timing,
    /// Submissions refused at this API, by code.
    pub refusals: Coded,
    /// HTTP answers, by class of their status.
    pub requests: Coded,
    /// Frames dropped because a peer's queue was full or its bytes were bad.
    pub dropped_frames: Counter,
    /// Views entered.
    pub view_changes: Counter,
    /// Alarms, by kind: what an operator must look at.
    pub alarms: Coded,
    gauges: Gauges,
}

#[derive(Clone, Debug, Default)]
struct Gauges {
    height: Gauge,
    log_size: Gauge,
    provable_height: Gauge,
    provable_size: Gauge,
    checkpoint_lag: Gauge,
    view: Gauge,
    epoch: Gauge,
    pool: Gauge,
    peers: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A fresh registry.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Arc::default(),
            final_latency: Timing::new(LATENCY),
            provable_latency: Timing::new(LATENCY),
            fsync: Timing::new(FSYNC),
            refusals: Coded::default(),
            requests: Coded::default(),
            dropped_frames: Counter::default(),
            view_changes: Counter::default(),
            alarms: Coded::default(),
            gauges: Gauges::default(),
        };
        metrics.registry = Arc::new(metrics.register());
        metrics
    }

    fn register(&self) -> Registry {
        let mut r = Registry::with_prefix("nachweis");
        let m = self.clone();
        let timings = [
            (
                "final_seconds",
                "Arrival of a submission to its final block",
                m.final_latency,
            ),
            (
                "provable_seconds",
                "Arrival of a submission to a proving checkpoint",
                m.provable_latency,
            ),
            ("fsync_seconds", "One fdatasync", m.fsync),
        ];
        for (name, help, timing) in timings {
            r.register(name, help, timing.0);
        }
        let coded = [
            (
                "refusals",
                "Submissions refused at this API, by code",
                m.refusals,
            ),
            ("requests", "HTTP answers, by class of status", m.requests),
            ("alarms", "What an operator must look at, by kind", m.alarms),
        ];
        for (name, help, family) in coded {
            r.register(name, help, family.0);
        }
        r.register(
            "dropped_frames",
            "Frames dropped between nodes",
            m.dropped_frames,
        );
        r.register("view_changes", "Views entered", m.view_changes);
        let g = m.gauges;
        let gauges = [
            ("height", "Newest final block", g.height),
            ("log_size", "Leaves of the log", g.log_size),
            (
                "provable_height",
                "Block of the newest cosigned checkpoint",
                g.provable_height,
            ),
            (
                "provable_size",
                "Leaves of the newest cosigned checkpoint",
                g.provable_size,
            ),
            (
                "checkpoint_lag",
                "Final blocks that no quorum cosigned yet",
                g.checkpoint_lag,
            ),
            ("view", "Current view", g.view),
            ("epoch", "Current epoch", g.epoch),
            ("pool_submissions", "Pending submissions", g.pool),
            ("peers_connected", "Validators with a connection", g.peers),
        ];
        for (name, help, gauge) in gauges {
            r.register(name, help, gauge);
        }
        r
    }

    /// Sets the gauges.
    pub fn observe(&self, now: &Snapshot) {
        let g = &self.gauges;
        let lag = now.height.saturating_sub(now.provable_height);
        let values = [
            (&g.height, now.height),
            (&g.log_size, now.log_size),
            (&g.provable_height, now.provable_height),
            (&g.provable_size, now.provable_size),
            (&g.checkpoint_lag, lag),
            (&g.view, now.view),
            (&g.epoch, now.epoch),
            (&g.pool, now.pool),
            (&g.peers, now.peers),
        ];
        for (gauge, value) in values {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// All metrics as text.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        text::encode(&mut out, &self.registry).ok();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_seen_is_in_the_text() {
        let metrics = Metrics::new();
        metrics.final_latency.add(Duration::from_millis(3));
        metrics.refusals.count("bad-signature");
        metrics.refusals.count("bad-signature");
        metrics.dropped_frames.inc();
        metrics.observe(&Snapshot {
            height: 12,
            provable_height: 10,
            ..Snapshot::default()
        });
        let text = metrics.encode();
        for line in [
            "nachweis_final_seconds_count 1",
            "nachweis_refusals_total{code=\"bad-signature\"} 2",
            "nachweis_dropped_frames_total 1",
            "nachweis_height 12",
            "nachweis_checkpoint_lag 2",
            "# EOF",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
