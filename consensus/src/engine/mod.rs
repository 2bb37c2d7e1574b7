//! The engine: one epoch's protocol as a state machine.

use crate::block::{Block, Tip};
use crate::config::Config;
use crate::epoch::{EpochInfo, EpochSpec, Peer};
use crate::event::Event;
use crate::journal::{JournalState, Record};
use crate::message::Message;
use crate::outbox::Outbox;
use crate::output::Output;
use crate::time::Now;
use crate::verify::{Admitted, Dropped, Signer, Verifier};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use ledger::certificate::{Certificate, CertificateError};
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height, ValidatorIndex, View};

/// Who this node is.
pub struct Identity {
    /// The vote key; `None` for an observer. A key that is not in the set observes too.
    pub signer: Option<Box<dyn Signer>>,
    /// Random, drawn once per process.
    pub instance: u64,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.signer.as_ref().map(|signer| signer.key());
        f.debug_struct("Identity")
            .field("key", &key)
            .field("instance", &self.instance)
            .finish()
    }
}

/// The end of the block archive.
#[derive(Clone, Debug)]
pub struct Archived {
    /// The last archived block, or the epoch's anchor.
    pub tip: Tip,
    /// The newest finalization in the archive, if there is one of this epoch.
    pub finalization: Option<Certificate>,
}

/// Everything that an engine is made from.
#[derive(Debug)]
pub struct Setup {
    /// Parameters.
    pub config: Config,
    /// The epoch.
    pub epoch: EpochSpec,
    /// Who this node is.
    pub identity: Identity,
    /// What was found of the journal.
    pub journal: JournalState,
    /// All its records, in order.
    pub records: Vec<Record>,
    /// Where the archive ends.
    pub archived: Archived,
}

/// Disk contents that no run of this code leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// A certificate on disk does not verify.
    #[error("a certificate of view {view} in the journal or archive does not verify")]
    Certificate {
        /// Its view.
        view: View,
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// An own vote in the journal is of another validator.
    #[error("an own vote in the journal is signed by validator #{0}, who is not this node")]
    ForeignVote(ValidatorIndex),
}

/// Where an engine stands, for operators and metrics.
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
    /// Whether it votes now.
    pub voting: bool,
}

/// The consensus of one epoch. See the crate's documentation for the contract.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    epoch: Arc<EpochInfo>,
    outbox: Outbox,
    committed: Tip,
}

impl Engine {
    /// Makes an engine from what the disk holds. For a first start: no records, [`JournalState::Fresh`], and the
    /// epoch's anchor as archive tip. Certificates are verified again with `verifier`.
    ///
    /// # Errors
    /// [`RecoverError`]: the disk holds what no run of this code writes.
    pub fn recover(setup: Setup, _verifier: &dyn Verifier) -> Result<Self, RecoverError> {
        Ok(Self {
            config: setup.config,
            epoch: Arc::new(EpochInfo::new(setup.epoch)),
            outbox: Outbox::default(),
            committed: setup.archived.tip,
        })
    }

    /// Takes in one event. Drain afterwards.
    pub fn handle(&mut self, _now: Now, event: Event) {
        if let Event::Persisted { seq } = event {
            self.outbox.persisted(seq);
        }
        self.outbox.close_batch();
    }

    /// The next thing to be done, in order; `None` when there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    /// The door before the signature check: cheap, and drops all that is not wanted now. Drain afterwards.
    ///
    /// # Errors
    /// [`Dropped`] says why; count it, nothing more.
    pub fn admit(&mut self, _now: Now, from: Peer, message: Message) -> Result<Admitted, Dropped> {
        if self.epoch.index_of(&from).is_none() {
            return Err(Dropped::Stranger);
        }
        Ok(Admitted {
            message,
            epoch: Arc::clone(&self.epoch),
            held: Vec::new(),
            lagging: false,
        })
    }

    /// Where the engine stands.
    pub fn status(&self) -> EngineStatus {
        EngineStatus {
            epoch: self.epoch.epoch(),
            view: View(1),
            finalized_view: View(0),
            committed: self.committed.block,
            finalized_height: self.committed.block.height,
            voting: false,
        }
    }

    /// An unfinalized or recently committed block that the engine holds.
    pub fn block(&self, _block: &BlockRef) -> Option<&Block> {
        None
    }

    /// The records that recovery still needs; `None` while something is under way. Precondition: all commits handed
    /// out are archived.
    pub fn snapshot(&self) -> Option<Vec<Record>> {
        self.outbox.is_settled().then(Vec::new)
    }
}
