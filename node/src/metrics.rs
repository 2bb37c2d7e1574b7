//! What an operator can watch: one registry, written in the text format of OpenMetrics.
//!
//! Latencies and refusals are fed by the API; gauges that follow from the chain's state are set when they
//! are asked for ([`Metrics::observe`]), so that nobody has to remember to; what the chain counts by itself
//! ([`crate::chain::Counters`]) is written behind them.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What every name begins with.
const PREFIX: &str = "nachweis";
/// First bucket of latencies, in seconds; 16 buckets, each twice the one before: 1 ms to 33 s.
const LATENCY: (f64, u16) = (0.001, 16);
/// Name, help text and value of something that is counted elsewhere.
pub type Counted = (&'static str, &'static str, u64);

/// A counter with labels, counted elsewhere.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// Name, without prefix and `_total`.
    pub name: &'static str,
    /// Help text.
    pub help: &'static str,
    /// Names of the labels.
    pub labels: &'static [&'static str],
    /// Values of the labels, in order, and the count. No label holds a quote, a backslash or a line break.
    pub series: Vec<(Vec<String>, u64)>,
}

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
    /// Memory that they count for.
    pub pool_bytes: u64,
    /// Connected peers.
    pub peers: u64,
    /// 1 while there is something that a person must look at.
    pub alarm: u64,
    /// 1 while this node votes.
    pub voting: u64,
    /// Bytes free on the data disk.
    pub free_bytes: u64,
    /// Blocks of the archive that are damaged and not repaired yet.
    pub damaged_blocks: u64,
    /// Segments of the archive that are not on this disk.
    pub segments_away: u64,
    /// Block that the scrub read last.
    pub scrub_height: u64,
    /// Block up to which a node that follows fetches; 0 for one that decides.
    pub target: u64,
    /// 1 while this node cosigns nothing because its guard is lost.
    pub unguarded: u64,
    /// Validators that have not cosigned the newest block, while no quorum has.
    pub missing_cosigners: u64,
    /// Blocks that the index still lacks while it is made again.
    pub index_behind: u64,
}

/// All of a node's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// From a submission's arrival at this API to its final block.
    pub final_latency: Timing,
    /// From a submission's arrival at this API to a checkpoint that proves it.
    pub provable_latency: Timing,
    /// Submissions refused at this API, by code.
    pub refusals: Coded,
    /// HTTP answers, by class of their status.
    pub requests: Coded,
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
    pool_bytes: Gauge,
    peers: Gauge,
    alarm: Gauge,
    voting: Gauge,
    free_bytes: Gauge,
    damaged_blocks: Gauge,
    segments_away: Gauge,
    scrub_height: Gauge,
    target: Gauge,
    unguarded: Gauge,
    missing_cosigners: Gauge,
    index_behind: Gauge,
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
            refusals: Coded::default(),
            requests: Coded::default(),
            gauges: Gauges::default(),
        };
        metrics.registry = Arc::new(metrics.register());
        metrics
    }

    #[expect(clippy::too_many_lines, reason = "one list of names and help texts")]
    fn register(&self) -> Registry {
        let mut r = Registry::with_prefix(PREFIX);
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
        ];
        for (name, help, family) in coded {
            r.register(name, help, family.0);
        }
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
            ("pool_bytes", "Memory of pending submissions", g.pool_bytes),
            ("peers_connected", "Validators with a connection", g.peers),
            ("alarm", "1 while a person must look at something", g.alarm),
            ("voting", "1 while this node votes", g.voting),
            (
                "disk_free_bytes",
                "Bytes free on the data disk; 0 if the system does not say",
                g.free_bytes,
            ),
            (
                "archive_damaged_blocks",
                "Damaged blocks of the archive that are not repaired yet",
                g.damaged_blocks,
            ),
            (
                "archive_segments_away",
                "Segments of the archive that are not on this disk",
                g.segments_away,
            ),
            (
                "scrub_height",
                "Block that the scrub read last",
                g.scrub_height,
            ),
            (
                "target_height",
                "Block up to which a node that follows fetches; 0 for one that decides",
                g.target,
            ),
            (
                "cosigner_unguarded",
                "1 while this node cosigns nothing because its guard is lost",
                g.unguarded,
            ),
            (
                "cosigners_missing",
                "Validators that have not cosigned the newest block while no quorum has",
                g.missing_cosigners,
            ),
            (
                "index_blocks_missing",
                "Blocks that the index still lacks while it is made again",
                g.index_behind,
            ),
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
            (&g.pool_bytes, now.pool_bytes),
            (&g.peers, now.peers),
            (&g.alarm, now.alarm),
            (&g.voting, now.voting),
            (&g.free_bytes, now.free_bytes),
            (&g.damaged_blocks, now.damaged_blocks),
            (&g.segments_away, now.segments_away),
            (&g.scrub_height, now.scrub_height),
            (&g.target, now.target),
            (&g.unguarded, now.unguarded),
            (&g.missing_cosigners, now.missing_cosigners),
            (&g.index_behind, now.index_behind),
        ];
        for (gauge, value) in values {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// All metrics as text, and what was counted elsewhere.
    pub fn encode(&self, counted: &[Counted], labelled: &[Labelled]) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        self.write(&mut out, counted, labelled).ok();
        out
    }

    fn write(
        &self,
        out: &mut String,
        counted: &[Counted],
        labelled: &[Labelled],
    ) -> std::fmt::Result {
        text::encode_registry(out, &self.registry)?;
        for (name, help, value) in counted {
            writeln!(out, "# HELP {PREFIX}_{name} {help}")?;
            writeln!(out, "# TYPE {PREFIX}_{name} counter")?;
            writeln!(out, "{PREFIX}_{name}_total {value}")?;
        }
        for family in labelled {
            let Labelled { name, help, .. } = family;
            writeln!(out, "# HELP {PREFIX}_{name} {help}")?;
            writeln!(out, "# TYPE {PREFIX}_{name} counter")?;
            for (values, count) in &family.series {
                let pairs = family.labels.iter().zip(values);
                let pairs = pairs.map(|(label, value)| format!("{label}=\"{value}\""));
                let pairs: Vec<_> = pairs.collect();
                writeln!(out, "{PREFIX}_{name}_total{{{}}} {count}", pairs.join(","))?;
            }
        }
        text::encode_eof(out)
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
        metrics.observe(&Snapshot {
            height: 12,
            provable_height: 10,
            ..Snapshot::default()
        });
        let labelled = Labelled {
            name: "peer_offences",
            help: "Offences.",
            labels: &["authority", "why"],
            series: vec![(vec!["amt".to_owned(), "sent a lie".to_owned()], 3)],
        };
        let counted = [("final_blocks", "Final blocks archived.", 7)];
        let text = metrics.encode(&counted, &[labelled]);
        for line in [
            "nachweis_final_seconds_count 1",
            "nachweis_refusals_total{code=\"bad-signature\"} 2",
            "nachweis_final_blocks_total 7",
            "nachweis_peer_offences_total{authority=\"amt\",why=\"sent a lie\"} 3",
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
