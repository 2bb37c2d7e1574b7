//! Which validators finalized a block: from the own block below it, back to the genesis.

use crate::epochs::Epochs;
use crate::storage::archive::Reader;
use crate::storage::restarts::Restarts;
use consensus::EpochInfo;
use ledger::header::Header;
use ledger::tip::Founding;
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

impl Calendar {
    /// The epochs that the block after this one may be of: its own, and those that are known anyway.
    pub fn after(&self, archive: &Reader, below: Option<&Header>) -> Vec<EpochInfo> {
        let epochs = Epochs {
            founding: &self.founding,
            archive,
            restarts: &self.restarts,
        };
        // What is damaged further below is repaired first, or tried again after it.
        let own = below.and_then(|below| epochs.certifiers(below).ok()?);
        own.into_iter().chain(self.known.iter().cloned()).collect()
    }
}
