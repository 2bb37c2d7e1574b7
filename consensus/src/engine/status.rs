//! Where the engine stands, for operators and metrics.

use super::Engine;
use super::guard::Bar;
use core::fmt;
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height, View};

/// Where an engine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineStatus {
    /// Current epoch.
    pub epoch: Epoch,
    /// Current view.
    pub view: View,
    /// Highest view with a finalization.
    pub finalized_view: View,
    /// Committed tip.
    pub committed: BlockRef,
    /// Highest finalized height known, possibly above the committed one.
    pub finalized_height: Height,
    /// Nothing below this view of its epoch, and nothing of an epoch before, is this key's to vote in: the floor of its last
    /// rejoin or restart. Zero if its journal was never lost.
    pub floor: (Epoch, View),
    /// Whether it votes now, and if not, why.
    pub standing: Standing,
}

impl EngineStatus {
    /// Whether it votes now.
    pub fn is_voting(&self) -> bool {
        self.standing == Standing::Voting
    }
}

/// Whether a node votes, and if not, why (consensus.md, 3.12 and 3.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It votes.
    Voting,
    /// It has no key, or none of this epoch's set.
    Observer,
    /// It asks the others what they saw of its key.
    StartCheck,
    /// Its journal was lost, and it asks to rejoin.
    Quarantine {
        /// So many others have answered; a quorum must.
        answers: usize,
    },
    /// It rejoined, and votes from this view on.
    BelowFloor(View),
    /// It has been in a later epoch before, and catches up with itself.
    Behind,
    /// The epoch is over, the next one is not open yet.
    Sealed,
    /// Stopped for a restart.
    Stopped,
    /// It saw two histories, and votes no more.
    Diverged,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Voting => f.write_str("votes"),
            Self::Observer => f.write_str("observes: its key is not in this epoch's set"),
            Self::StartCheck => f.write_str("asks the others what they saw of its key"),
            Self::Quarantine { answers } => {
                write!(
                    f,
                    "in quarantine, asks to rejoin: {answers} others have answered"
                )
            }
            Self::BelowFloor(view) => write!(f, "has rejoined, votes again from view {view} on"),
            Self::Behind => f.write_str("catches up with an epoch that it was in before"),
            Self::Sealed => f.write_str("waits for the next epoch"),
            Self::Stopped => f.write_str("stopped for a restart"),
            Self::Diverged => f.write_str("stopped: it saw two histories"),
        }
    }
}

impl Engine {
    /// Where the engine stands.
    pub fn status(&self) -> EngineStatus {
        EngineStatus {
            epoch: self.run.epoch.epoch(),
            view: self.run.current.view,
            finalized_view: self.run.certificates.finalized_view(),
            committed: self.blocks.committed().block,
            finalized_height: self.final_height(),
            floor: self.guard.floor(),
            standing: self.standing(),
        }
    }

    /// What a person would have to see to first comes first.
    fn standing(&self) -> Standing {
        let barred = |bar| self.guard.is_barred(bar);
        if barred(Bar::Diverged) {
            Standing::Diverged
        } else if barred(Bar::Stopped) {
            Standing::Stopped
        } else if self.guard.me().is_none() {
            Standing::Observer
        } else if barred(Bar::Quarantine) {
            let answers = self.run.rejoin.answers();
            Standing::Quarantine { answers }
        } else if barred(Bar::Sealed) {
            Standing::Sealed
        } else if self.guard.is_behind() {
            Standing::Behind
        } else if barred(Bar::StartCheck) || !self.started {
            Standing::StartCheck
        } else if self.guard.is_below_floor(self.run.current.view) {
            let (_, floor) = self.guard.floor();
            Standing::BelowFloor(floor)
        } else {
            Standing::Voting
        }
    }
}
