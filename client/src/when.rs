//! Times as people read them: UTC, to the second; and this computer's clock.

pub use genesis::when::Utc;
use ledger::id::TimeMs;
use std::time::{SystemTime, UNIX_EPOCH};

/// The clock of this computer is before 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the clock of this computer is before 1970")]
pub struct NoClock;

/// This computer's time.
///
/// # Errors
/// [`NoClock`].
pub fn now() -> Result<TimeMs, NoClock> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_before| NoClock)?;
    u64::try_from(since.as_millis())
        .map(TimeMs)
        .map_err(|_far| NoClock)
}
