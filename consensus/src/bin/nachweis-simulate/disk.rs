//! What survives a crash: the journal's synced batches and the synced end of the block archive.

use crate::application::Application;
use crate::node::spec;
use consensus::{Archived, Block, EpochInfo, JournalState, Record, Sealed, Tip};
use ledger::certificate::Certificate;

/// A block of the archive with its own finalization, if it has one.
pub(crate) type Frame = (Block, Option<Certificate>);

/// One node's disk. Everything in it is synced.
#[derive(Default)]
pub(crate) struct Disk {
    /// All records, in order.
    pub(crate) journal: Vec<Record>,
    /// Blocks from height 1 on.
    pub(crate) archive: Vec<Frame>,
}

impl Disk {
    pub(crate) fn journal_state(&self) -> JournalState {
        if self.journal.is_empty() {
            JournalState::Fresh
        } else {
            JournalState::Intact
        }
    }

    /// The journal as a restarted process reads it: through its bytes.
    pub(crate) fn replay(&self) -> Vec<Record> {
        self.journal
            .iter()
            .map(|record| Record::decode(&record.encode()).expect("own records decode"))
            .collect()
    }

    /// How the epoch before that of the archive's end was finalized.
    pub(crate) fn previous(&self, application: &Application) -> Option<Sealed> {
        let epoch = application.epoch();
        let before = application.epoch_of(epoch.epoch().prev()?)?;
        let anchor = epoch.anchor().block;
        let at = usize::try_from(anchor.height.0).ok()?.checked_sub(1)?;
        let finalization = self.archive.get(at)?.1.clone();
        finalization.map(|finalization| Sealed {
            spec: spec(before),
            finalization,
        })
    }

    pub(crate) fn archived(&self, epoch: &EpochInfo) -> Archived {
        Archived {
            tip: self
                .archive
                .last()
                .map_or_else(|| *epoch.anchor(), |(block, _)| Tip::from(&block.header)),
            finalization: self
                .archive
                .iter()
                .rev()
                .find_map(|(_, certificate)| certificate.clone())
                .filter(|certificate| certificate.epoch() == epoch.epoch()),
        }
    }
}
