//! Which validators finalized a block: from the own block below it, back to the genesis.

use crate::epochs::{Blocks, EpochError, Epochs, Sketch};
use crate::storage::archive::Reader;
use crate::storage::restarts::Restarts;
use consensus::EpochInfo;
use ledger::header::Header;
use ledger::id::Height;
use ledger::tip::Founding;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tells the epoch of any block whose predecessor can be read.
#[derive(Clone, Debug)]
pub struct Calendar {
    /// The genesis.
    pub founding: Founding,
    /// The restart files beside the archive.
    pub restarts: Arc<Restarts>,
    /// Epochs that are known without the archive.
    pub known: Arc<[EpochInfo]>,
}

/// Blocks with which epochs begin and end that were fetched and checked, and are not in the archive yet.
pub type Turns = BTreeMap<Height, Sketch>;

/// The archive as it will be.
struct Mended<'a> {
    archive: &'a Reader,
    turns: &'a Turns,
}

impl Blocks for Mended<'_> {
    fn sketch(&self, height: Height) -> Result<Option<Sketch>, EpochError> {
        match self.turns.get(&height) {
            Some(turn) => Ok(Some(turn.clone())),
            None => self.archive.sketch(height),
        }
    }

    fn readable_from(&self, height: Height) -> Option<Height> {
        let fetched = self.turns.range(height..).next().map(|(height, _)| *height);
        let here = self.archive.readable_from(height);
        fetched.into_iter().chain(here).min()
    }
}

impl Calendar {
    /// The epochs that the block after this one may be of: its own, and those that are known anyway.
    pub fn after(&self, archive: &Reader, turns: &Turns, below: Option<&Header>) -> Vec<EpochInfo> {
        let epochs = Epochs {
            founding: &self.founding,
            archive: &Mended { archive, turns },
            restarts: &self.restarts,
        };
        // What is damaged further below is repaired first, or tried again after it.
        let own = below.and_then(|below| epochs.certifiers(below).ok()?);
        own.into_iter().chain(self.known.iter().cloned()).collect()
    }
}
