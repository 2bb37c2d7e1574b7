//! The two clocks that every event brings along; the engine has none of its own.

use ledger::id::TimeMs;

/// Milliseconds since the process started, never going back. All timers live on it; none of it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// This moment plus `ms` milliseconds; stays at the end of the range.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`; zero if that is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The moment of an event on both clocks (consensus.md, 3.8).
///
/// `wall` (Unix ms) is used for the time rule, Status and Build alone; it may jump. `mono` may not go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic time.
    pub mono: Mono,
    /// Wall clock.
    pub wall: TimeMs,
}
