//! A node's two clocks. Virtual time is what they are wrong about.

use crate::roster::BIRTH;
use consensus::{Mono, Now};
use ledger::id::TimeMs;

/// Milliseconds of virtual time since the run began.
pub(crate) type Time = u64;

/// How a node's clocks differ from virtual time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// Wall clock ahead by this many ms; jumps add to it.
    pub(crate) offset: i64,
    /// Both clocks run fast by this many millionths.
    pub(crate) drift: i64,
}

impl Clock {
    /// What a process that was started at `started` reads at `now`.
    pub(crate) fn read(&self, started: Time, now: Time) -> Now {
        let wall = i128::from(BIRTH.0) + i128::from(self.stretch(now)) + i128::from(self.offset);
        Now {
            mono: Mono(self.stretch(now - started)),
            wall: TimeMs(u64::try_from(wall).unwrap_or(0)),
        }
    }

    /// The first virtual time at which the monotonic clock of that process shows `at`.
    pub(crate) fn when(&self, started: Time, at: Mono) -> Time {
        let mut passed = at.0.saturating_sub(at.0 / 1_000);
        while self.stretch(passed) < at.0 {
            let missing = at.0 - self.stretch(passed);
            passed += (missing - missing / 1_000).max(1);
        }
        started.saturating_add(passed)
    }

    fn stretch(&self, ms: u64) -> u64 {
        let more = i128::from(ms) * i128::from(self.drift) / 1_000_000;
        u64::try_from(i128::from(ms) + more).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_rings_at_the_first_moment_that_shows_its_time() {
        for drift in [-200, 0, 200] {
            let clock = Clock { offset: 0, drift };
            for at in [0, 1, 999, 5_000, 123_457] {
                let rings = clock.when(17, Mono(at));
                assert!(clock.read(17, rings).mono >= Mono(at), "{drift} {at}");
                assert!(
                    rings <= 18 || clock.read(17, rings - 1).mono.0 <= at,
                    "{drift} {at}"
                );
            }
        }
    }
}
