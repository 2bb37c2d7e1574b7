//! `nachweis-node reindex`: index and log hashes made again from the archive.

use super::Failure;
use super::run::RunError;
use crate::config::Config;
use crate::recovery::{self, RecoveryError};
use genesis::container::Founding;
use std::path::Path;

pub use crate::recovery::Reindexed;

/// Throws index and log hashes of a stopped node away and makes them again. Journal and guard are not touched.
///
/// # Errors
/// [`RunError`] as a [`Failure`]; while the node runs nothing is changed.
pub fn reindex(dir: &Path) -> Result<Reindexed, Failure> {
    let config = Config::load(dir).map_err(RunError::from)?;
    let founding = Founding::load(&config.genesis())
        .map_err(|error| RunError::from(crate::identity::IdentityError::from(error)))?;
    let founding = ledger::tip::Founding::new(founding.into_genesis());
    let founding = founding.map_err(|error| RunError::from(RecoveryError::from(error)))?;
    Ok(recovery::reindex(&config, &founding).map_err(RunError::from)?)
}
