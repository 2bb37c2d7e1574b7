//! The two clocks of a process, read in one place.

use consensus::{Mono, Now};
use ledger::id::TimeMs;
use std::time::{Duration, Instant, SystemTime};

/// Where monotonic time began. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self::start()
    }
}

impl Clock {
    /// Monotonic time begins now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// This moment on both clocks.
    pub fn now(&self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now {
            mono: Mono(mono),
            wall: wall(),
        }
    }

    /// When that moment is (or was).
    pub fn instant(&self, at: Mono) -> Instant {
        let later = self.start.checked_add(Duration::from_millis(at.0));
        // A timer beyond the range of this computer's clock never rings; a day is never enough.
        later.unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400))
    }
}

/// Milliseconds since 1970; 0 on a clock that stands before.
pub fn wall() -> TimeMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    TimeMs(since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }))
}
