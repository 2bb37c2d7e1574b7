//! Moves the index to the newest provable checkpoint, then shows that checkpoint.
//!
//! The only writer of the index. A final block is applied when a quorum cosigned it or a later one; so whoever looks
//! through [`Chain::with_provable`] sees the state of that very checkpoint. Without a quorum, blocks wait above the
//! index up to a limit of blocks and one of their leaves; then the oldest is applied all the same, and receipts wait for the next quorum. While the node
//! catches up nothing waits. The newest note is kept in a file for a node that restarts without its peers: once none newer
//! comes, and every few seconds while newer ones do, so that a start after a crash finds one that is not old.

use crate::chain::{Chain, Provable};
use crate::exit;
use crate::states::Post;
use crate::storage::index::Place;
use crate::storage::{Fatal, files};
use ledger::hash::Hash;
use ledger::id::{Height, TimeMs, TreeSize};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Inputs that may wait.
pub const INPUTS: usize = 256;
/// The note is written once nothing newer came for this long …
const REST: Duration = Duration::from_secs(1);
/// … or once a newer one than the file's has been there for so long.
const OFTEN: Duration = Duration::from_secs(3);

/// Whether blocks become final here as they do elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// With the others.
    Live,
    /// Behind them: no quorum will be seen for these blocks.
    CatchingUp,
}

/// What moves the publisher.
#[derive(Clone, Debug)]
pub enum Input {
    /// Blocks up to this one are final and archived.
    Final(Height, Pace),
    /// A quorum cosigned this checkpoint, or there is a better note of it.
    Provable(Noted),
}

/// A cosigned checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Height of its block.
    pub height: Height,
    /// Time of its block.
    pub time_ms: TimeMs,
    /// Leaves of the log.
    pub size: TreeSize,
    /// Root of the log.
    pub root: Hash,
    /// The note.
    pub note: String,
}

/// The publisher; lives on a thread of its own.
#[derive(Debug)]
pub struct Publisher {
    /// The chain whose index it moves.
    pub chain: Chain,
    /// What comes in.
    pub inputs: mpsc::Receiver<Input>,
    /// Most final blocks above the index.
    pub max_unproved: usize,
    /// Where the newest note is kept.
    pub note_file: PathBuf,
}

/// The newest note that is not in the file yet.
#[derive(Debug, Default)]
struct Unwritten {
    note: Option<String>,
    /// When the file began to be behind, and when the note came.
    since: Option<(Instant, Instant)>,
}

impl Unwritten {
    fn add(&mut self, note: Option<String>) {
        if note.is_some() {
            let now = Instant::now();
            let begun = self.since.map_or(now, |(begun, _)| begun);
            self.note = note;
            self.since = Some((begun, now));
        }
    }

    /// How long it may still wait; `None` if there is nothing to write.
    fn due(&self, now: Instant) -> Option<Duration> {
        let (begun, came) = self.since?;
        let due = (came + REST).min(begun + OFTEN);
        Some(due.saturating_duration_since(now))
    }

    fn take(&mut self) -> Option<String> {
        self.since = None;
        self.note.take()
    }
}

impl Publisher {
    /// Works until nobody is left to tell it anything; then the index is closed cleanly. Blocks its thread.
    pub fn run(mut self, runtime: &tokio::runtime::Handle) {
        let mut unwritten = Unwritten::default();
        loop {
            let next = match unwritten.due(Instant::now()) {
                None => Some(runtime.block_on(self.inputs.recv())),
                // Also if there is always a next input.
                Some(Duration::ZERO) => None,
                Some(due) => {
                    let next = async { tokio::time::timeout(due, self.inputs.recv()).await };
                    runtime.block_on(next).ok()
                }
            };
            let done = match next {
                Some(Some(input)) => self.take(input).map(|note| unwritten.add(note)),
                Some(None) => break,
                None => self.write(unwritten.take()),
            };
            if let Err(fatal) = done {
                exit::abort(&fatal);
            }
        }
        let closed = self.write(unwritten.take());
        if let Err(fatal) = closed.and_then(|()| self.chain.states().index().close()) {
            exit::abort(&fatal);
        }
    }

    fn write(&self, note: Option<String>) -> Result<(), Fatal> {
        if let Some(note) = note {
            files::write_atomic(&self.note_file, note.as_bytes())?;
        }
        Ok(())
    }

    /// Gives the note that is to be kept.
    fn take(&self, input: Input) -> Result<Option<String>, Fatal> {
        let states = self.chain.states();
        match input {
            Input::Final(height, Pace::CatchingUp) => {
                self.apply_up_to(height)?;
                Ok(None)
            }
            Input::Final(..) => {
                if let Some(height) = states.excess(self.max_unproved) {
                    tracing::warn!(%height, "no quorum cosigns: the index goes on, receipts wait");
                    self.apply_up_to(height)?;
                }
                Ok(None)
            }
            Input::Provable(noted) => self.publish(noted),
        }
    }

    fn publish(&self, noted: Noted) -> Result<Option<String>, Fatal> {
        let shown = self.chain.provable();
        if shown
            .as_ref()
            .is_some_and(|shown| shown.height > noted.height)
        {
            return Ok(None);
        }
        let states = self.chain.states();
        let above = states.finals_up_to(noted.height);
        let base = states.base();
        let tip = match above.last().map(Post::tip) {
            Some(tip) if tip.height == noted.height => tip.clone(),
            None if base.height == noted.height => base,
            // The index had to go on without it.
            Some(_) | None => return Ok(None),
        };
        let note = noted.note.clone();
        let provable = Provable {
            height: noted.height,
            time_ms: noted.time_ms,
            tip,
            size: noted.size,
            root: noted.root,
            note: noted.note,
        };
        self.chain
            .publish_provable(provable, || self.apply_up_to(noted.height))?;
        if shown.is_none_or(|shown| shown.height < noted.height) {
            self.chain.counters().provable_checkpoints.increment();
        }
        Ok(Some(note))
    }

    fn apply_up_to(&self, height: Height) -> Result<(), Fatal> {
        let states = self.chain.states();
        for post in states.finals_up_to(height) {
            apply(states.index(), &post)?;
            states.settle(post.tip().height);
        }
        Ok(())
    }
}

/// Applies one block to the index.
///
/// # Errors
/// [`Fatal`]: end the process.
pub fn apply(index: &crate::storage::index::Index, post: &Post) -> Result<(), Fatal> {
    let place = Place::of(post.tip(), post.leaves().len());
    index.apply(place, post.effects())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_written_after_a_rest_and_every_few_seconds_without_one() {
        let begin = Instant::now();
        let mut unwritten = Unwritten::default();
        assert_eq!(unwritten.due(begin), None);
        unwritten.note = Some("a note".into());
        let at = |begun: u64, came: u64| {
            Some((
                begin + Duration::from_millis(begun),
                begin + Duration::from_millis(came),
            ))
        };
        let now = begin + Duration::from_millis(4_000);
        unwritten.since = at(3_500, 3_900);
        assert_eq!(unwritten.due(now), Some(Duration::from_millis(900)));
        unwritten.since = at(1_500, 3_900);
        assert_eq!(unwritten.due(now), Some(Duration::from_millis(500)));
        unwritten.since = at(500, 3_999);
        assert_eq!(unwritten.due(now), Some(Duration::ZERO));
        assert_eq!(unwritten.take().as_deref(), Some("a note"));
        assert_eq!(unwritten.due(now), None);
        unwritten.add(None);
        assert_eq!(unwritten.due(now), None, "nothing to write");
        unwritten.add(Some("another".into()));
        assert!(unwritten.due(Instant::now()) <= Some(REST));
    }
}
