//! Parameters: those that genesis fixes for all ([`Rules`]) and those that each node may choose ([`Timing`]).

use ledger::planted;

/// Largest encoded body that any message or record may carry, in bytes. Genesis limits a body's *leaf data* to at
/// most 4 MiB; the rest is room for the list's own lengths.
pub const MAX_BODY: usize = 6 << 20;

/// Largest share of blocks in one `SyncResp`, in bytes; one larger block may travel alone.
pub const MAX_SYNC: u32 = 4 << 20;

/// Consensus-critical parameters, equal on all nodes (formats.md section 2, `Params`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Most bytes of leaf data in a body (`block_hard`), at most 4 MiB.
    pub block_hard: u32,
    /// How far a new block's time may lie ahead of an honest clock, in ms.
    pub drift_ms: u64,
    /// How far it may lie behind, in ms, before back-off doubles it.
    pub past_ms: u64,
    /// An ANCHOR block is due when the tip is this old, in ms; 0 = never.
    pub anchor_interval_ms: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            block_hard: 4 << 20,
            drift_ms: 1_000,
            past_ms: 5_000,
            anchor_interval_ms: 0,
        }
    }
}

/// Local parameters, which may differ between nodes (consensus.md, 3.9 and 3.22). All times in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Δ: one message with its validation and fsync. 150 for wide areas, 30 for a LAN.
    pub delta_ms: u64,
    /// Cap of the back-off, at least Δ; liveness assumes real delays up to half of it.
    pub delta_max_ms: u64,
    /// Heartbeat: a Status goes out this often.
    pub heartbeat_ms: u64,
    /// A peer heard within this time is alive.
    pub alive_ms: u64,
    /// A leader silent for this long is skipped.
    pub quiet_ms: u64,
    /// The next block is not built while its parent is younger than this here; at most Δ/2.
    pub min_block_interval_ms: u64,
    /// Votes are admitted up to this many views ahead (W).
    pub window: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            delta_ms: 150,
            delta_max_ms: 2_400,
            heartbeat_ms: 2_000,
            alive_ms: 4_000,
            quiet_ms: 6_000,
            min_block_interval_ms: 10,
            window: 8,
        }
    }
}

/// When a proposal names the items of its body instead of carrying them (consensus.md, 3.13). Local, may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// With more validators than these, always.
    pub above_members: usize,
    /// With any number, if the encoded body has more bytes than these.
    pub above_bytes: usize,
}

impl Compaction {
    /// Above ten validators, or 64 KiB.
    pub const USUAL: Self = Self {
        above_members: 10,
        above_bytes: 64 << 10,
    };
}

/// Parameters that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Δ is zero, or above its cap.
    #[error("delta must be at least 1 ms and at most delta_max {max} ms, not {delta} ms")]
    Delta {
        /// Δ given.
        delta: u64,
        /// Cap given.
        max: u64,
    },
    /// Pacing slower than Δ/2 would eat the proposal time-out.
    #[error("min_block_interval {interval} ms is over half of delta {delta} ms")]
    Interval {
        /// Interval given.
        interval: u64,
        /// Δ given.
        delta: u64,
    },
    /// Heartbeat < alive ≤ quiet does not hold.
    #[error("heartbeat {heartbeat} ms, alive {alive} ms and quiet {quiet} ms must ascend")]
    Heartbeat {
        /// Heartbeat given.
        heartbeat: u64,
        /// Alive given.
        alive: u64,
        /// Quiet given.
        quiet: u64,
    },
    /// The window is not 1 to 64 views.
    #[error("window must be 1 to 64 views, not {0}")]
    Window(u64),
    /// A body may have at most 4 MiB of leaf data.
    #[error("block_hard is {0} bytes, the limit is 4 MiB")]
    BlockHard(u32),
}

/// Parameters that fit together; made only by [`Config::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    rules: Rules,
    timing: Timing,
    compaction: Compaction,
}

impl Config {
    /// Checks the relations between the parameters.
    ///
    /// # Errors
    /// [`ConfigError`] names the first relation that does not hold.
    pub const fn new(rules: Rules, timing: Timing) -> Result<Self, ConfigError> {
        let Timing {
            delta_ms: delta,
            delta_max_ms: max,
            heartbeat_ms: heartbeat,
            alive_ms: alive,
            quiet_ms: quiet,
            min_block_interval_ms: interval,
            window,
        } = timing;
        if delta == 0 || delta > max {
            return Err(ConfigError::Delta { delta, max });
        }
        if interval > delta / 2 {
            return Err(ConfigError::Interval { interval, delta });
        }
        if heartbeat == 0 || heartbeat >= alive || alive > quiet {
            return Err(ConfigError::Heartbeat {
                heartbeat,
                alive,
                quiet,
            });
        }
        if window == 0 || window > 64 {
            return Err(ConfigError::Window(window));
        }
        if rules.block_hard > 4 << 20 {
            return Err(ConfigError::BlockHard(rules.block_hard));
        }
        Ok(Self {
            rules,
            timing,
            compaction: Compaction::USUAL,
        })
    }

    /// With another rule for compact proposals than the usual one.
    #[must_use]
    pub const fn with_compaction(self, compaction: Compaction) -> Self {
        Self { compaction, ..self }
    }

    /// When proposals are compact.
    pub const fn compaction(&self) -> &Compaction {
        &self.compaction
    }

    /// What genesis fixes.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What this node chose.
    pub const fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Δ_k: grows by half with each view beyond the first f that ended without a finalization, up to its cap.
    pub(crate) fn delta_k(&self, failed: u64, f: usize) -> u64 {
        let mut delta = self.timing.delta_ms;
        let cap = if planted!(UncappedBackoff) {
            u64::MAX
        } else {
            self.timing.delta_max_ms
        };
        let steps = failed.saturating_sub(u64::try_from(f).unwrap_or(u64::MAX));
        for _ in 0..steps.min(64) {
            delta = delta.saturating_add(delta / 2).min(cap);
        }
        delta
    }

    /// How far back a new block's time may lie: doubles with each failed view, up to 64 times.
    pub(crate) fn past_k(&self, failed: u64) -> u64 {
        let factor = 1_u64 << failed.min(6);
        self.rules.past_ms.saturating_mul(factor)
    }

    /// T_retry = 6Δ.
    pub(crate) const fn retry_ms(&self) -> u64 {
        self.timing.delta_ms.saturating_mul(6)
    }

    /// When an outstanding fetch goes to the next peer: 2Δ.
    pub(crate) const fn fetch_ms(&self) -> u64 {
        self.timing.delta_ms.saturating_mul(2)
    }

    /// After this long a notarized but not finalized tip is work: 4Δ.
    pub(crate) const fn unfinal_ms(&self) -> u64 {
        self.timing.delta_ms.saturating_mul(4)
    }
}
