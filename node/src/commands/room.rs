//! Room on the data disk: what the log says of it, and when the node must stop (docs/operators.md, "Disk full").

use crate::config;
use crate::storage::DataDir;
use std::time::Duration;

/// How often the free space is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The node ran, and stopped by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the data disk is nearly full: {free} bytes are free, below {stop} the node stops, and it starts from {start} on"
)]
pub struct NearlyFull {
    /// Bytes free.
    pub free: u64,
    /// Below these it stops …
    pub stop: u64,
    /// … and from these on it starts.
    pub start: u64,
}

/// Whether the low mark was met already: said once, not at every look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Low(bool);

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crossing {
    Below,
    Above,
}

impl Low {
    /// Above counts only with an eighth to spare, so that a disk at the mark does not fill the log.
    const fn look(&mut self, free: u64, mark: u64) -> Option<Crossing> {
        if !self.0 && free < mark {
            self.0 = true;
            Some(Crossing::Below)
        } else if self.0 && free >= mark.saturating_add(mark / 8) {
            self.0 = false;
            Some(Crossing::Above)
        } else {
            None
        }
    }
}

/// Returns when so little is free that the next write might not find room; before that it warns.
pub async fn nearly_full(data: &DataDir, marks: &config::Storage) -> NearlyFull {
    let (stop, start) = (marks.stop_free_bytes(), marks.min_free_bytes);
    let mut low = Low::default();
    loop {
        tokio::time::sleep(LOOK).await;
        // What cannot be asked now is asked again.
        let Ok(free) = data.free_bytes() else {
            continue;
        };
        match low.look(free, start) {
            Some(Crossing::Below) => tracing::warn!(
                free,
                start,
                stop,
                "the data disk is low: no submissions are taken until there is room, and below `stop` the node stops"
            ),
            Some(Crossing::Above) => {
                tracing::info!(free, "there is room again: submissions are taken");
            }
            None => {}
        }
        if free < stop {
            return NearlyFull { free, stop, start };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_crossing_of_the_low_mark_is_said_once() {
        let mut low = Low::default();
        let looks = [
            (900, None),
            (800, None),
            (799, Some(Crossing::Below)),
            (10, None),
            (799, None),
            (800, None),
            (899, None),
            (900, Some(Crossing::Above)),
            (800, None),
            (1, Some(Crossing::Below)),
        ];
        for (free, said) in looks {
            assert_eq!(low.look(free, 800), said, "{free}");
        }
    }
}
