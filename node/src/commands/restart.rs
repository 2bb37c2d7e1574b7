//! `nachweis-node stop-for-restart` and `install-restart`: what an operator does when too few validators can ever vote
//! again (consensus.md, section 3.12). Both work on a stopped node; `nachweis-genesis restart` stands between them.

mod beyond;
mod install;
mod memory;
mod put_back;
mod stop;

pub use beyond::Beyond;
pub use install::{Installed, Votes, install};
pub use memory::is_stopped;
pub use stop::{LostBlocks, Stopped, stop};

use super::Failure;
use super::run::RunError;
use crate::config::Config;
use crate::exit::Exit;
use crate::identity::{Duty, Identity};
use crate::recovery::{self, Owner, Recovered, RecoveryError};
use crate::storage::archive::ReadError;
use genesis::keyfile::KeyFileError;
use genesis::restart::RestartFileError;
use ledger::id::{Epoch, Height};
use ledger::restart::RestartError;
use ledger::tip::Founding;
use std::path::Path;

/// Why a node was not stopped, or a file not installed.
#[derive(Debug, thiserror::Error)]
pub enum RestartCommandError {
    /// The node's data or identity is refused.
    #[error(transparent)]
    Node(#[from] RunError),
    /// The admin key cannot be used.
    #[error("the admin key is refused")]
    Key(#[from] KeyFileError),
    /// It is another authority's.
    #[error("this is not the admin key of authority {0}")]
    OtherAdmin(String),
    /// A file of the restart cannot be used.
    #[error(transparent)]
    File(#[from] RestartFileError),
    /// The restart does not count.
    #[error("the restart file does not count")]
    Restart(#[from] RestartError),
    /// The node stopped in an epoch that ends with another set: not built yet.
    #[error(
        "the highest block ends the epoch with another validator set: this program cannot report that yet"
    )]
    OtherSet,
    /// The report would hide what this validator knows to be final.
    #[error(transparent)]
    LeavesOut(#[from] Beyond),
    /// Another file about the same disaster was installed before.
    #[error("another restart file that opens epoch {0} was installed here before")]
    Second(Epoch),
    /// A block of the archive cannot be read.
    #[error("a block cannot be read")]
    Block(#[from] ReadError),
    /// Something final would be lost.
    #[error(
        "this node holds block {held} as final, and the restart leaves it out (it goes on from block {anchor})"
    )]
    Beyond {
        /// Height of the archive's end.
        held: Height,
        /// Height of the anchor.
        anchor: Height,
    },
    /// It is about an epoch that this node has not reached, or has left by another restart.
    #[error("the file is about epoch {base}, this node is in epoch {here} of another history")]
    OtherHistory {
        /// The file's base.
        base: Epoch,
        /// Where the node stands.
        here: Epoch,
    },
    /// Another file was installed: the blocks behind the anchor were decided under it.
    #[error(
        "the blocks behind block {anchor} were decided under another restart file about the same epoch"
    )]
    OtherFile {
        /// Height of the anchor.
        anchor: Height,
    },
    /// Blocks up to the anchor are missing.
    #[error(
        "this node ends at block {held}, and the file does not bring the blocks up to {anchor}"
    )]
    Behind {
        /// Height of the archive's end.
        held: Height,
        /// Height of the anchor.
        anchor: Height,
    },
}

impl From<RecoveryError> for RestartCommandError {
    fn from(error: RecoveryError) -> Self {
        Self::Node(error.into())
    }
}

impl From<RestartCommandError> for Failure {
    fn from(error: RestartCommandError) -> Self {
        let hint = match &error {
            RestartCommandError::Node(_) | RestartCommandError::Block(_) => None,
            RestartCommandError::Key(error) => error.hint(),
            RestartCommandError::File(error) => error.hint(),
            RestartCommandError::Beyond { .. } => Some(
                "if the file of an earlier restart is missing here, install that one first; else more validators were \
                 dishonest or had forgotten than this network tolerates: do not run this node, keep its disk, and ask the \
                 other operators"
                    .into(),
            ),
            RestartCommandError::LeavesOut(_) => Some(
                "it was not stopped: let it run until it has fetched its blocks, and stop it then; only if no node has \
                 them any more, report with --archive-lost: it counts among the faulty reporters then"
                    .into(),
            ),
            RestartCommandError::Second(_) => Some(
                "nobody installs a second file about the same disaster: compare the fingerprints with the other operators"
                    .into(),
            ),
            RestartCommandError::OtherHistory { .. } => Some(
                "let the node catch up by `nachweis-node run`, if it may; a second file about the same epoch is \
                 installed by nobody"
                    .into(),
            ),
            RestartCommandError::Behind { .. } => Some(
                "let it catch up by `nachweis-node run`, beside others that run it too (stopped ones serve and sign nothing), and install then"
                    .into(),
            ),
            RestartCommandError::OtherFile { .. } => Some(
                "copy restart-<epoch> from data/archive of a node that runs into this node's, under the same name"
                    .into(),
            ),
            RestartCommandError::OtherAdmin(_)
            | RestartCommandError::Restart(_)
            | RestartCommandError::OtherSet => None,
        };
        match error {
            RestartCommandError::Node(error) => error.into(),
            error => Self::new(Exit::Refused, error).hint(hint),
        }
    }
}

fn known(dir: &Path) -> Result<(Config, Identity, Founding), RestartCommandError> {
    let config = Config::load(dir).map_err(RunError::from)?;
    let identity = Identity::load(&config, Duty::Validator).map_err(RunError::from)?;
    let founding = Founding::new(identity.founding.genesis().clone());
    let founding = founding.map_err(RecoveryError::from)?;
    Ok((config, identity, founding))
}

fn open(dir: &Path) -> Result<(Identity, Recovered), RestartCommandError> {
    let (config, identity, founding) = known(dir)?;
    let keys = identity.keys().map_err(RunError::from)?;
    let owner = Owner::new(founding, keys);
    let recovered = recovery::recover(&config, &owner)?;
    Ok((identity, recovered))
}

fn close(recovered: &mut Recovered) -> Result<(), RestartCommandError> {
    recovered
        .chain
        .states
        .index()
        .close()
        .map_err(RecoveryError::from)?;
    recovered
        .chain
        .log
        .checkpoint()
        .map_err(RecoveryError::from)?;
    Ok(())
}
