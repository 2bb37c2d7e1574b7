//! Whether the index that a crash left behind can go on: asked of a process of its own, for opening a damaged one may panic
//! or hang. It leaves the marker of a clean stop, or it does not, and then the index is made again.

use super::Failure;
use super::run::RunError;
use crate::config::Config;
use crate::recovery::RecoveryError;
use crate::storage::index::{self, Checked};
use crate::storage::{DataDir, Fatal};
use genesis::container::Founding;
use ledger::hash::ChainId;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long it may take …
const PATIENCE: Duration = Duration::from_secs(60);
/// … and for so many bytes a second more.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// Looks through the index of a node whose lock the caller holds.
///
/// # Errors
/// If configuration or genesis cannot be read, or the disk refuses.
pub fn check(dir: &Path) -> Result<(), Failure> {
    // Whoever asked is gone at once if it is killed, and so is this.
    let signal = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(signal)
        .map_err(|error| RunError::System(error.into()))?;
    let config = Config::load(dir).map_err(RunError::from)?;
    let founding = Founding::load(&config.genesis())
        .map_err(|error| RunError::from(crate::identity::IdentityError::from(error)))?;
    let chain = founding.into_genesis().chain();
    let folder = DataDir::index_below(&config.data());
    let cache = config.storage.index_cache_bytes;
    let begun = Instant::now();
    let found = index::check(&folder, chain, cache);
    match found.map_err(|fatal: Fatal| RunError::from(RecoveryError::from(fatal)))? {
        Checked::Nothing => {}
        Checked::Sound(height) => tracing::info!(
            block = %height, took = ?begun.elapsed(),
            "the index was not closed, and holds all that was written: it goes on"
        ),
        Checked::Unsound(why) => tracing::warn!(
            why = %crate::exit::Chain(&why),
            "the index was not closed and cannot go on: it is made again"
        ),
    }
    Ok(())
}

/// Has the index of a node looked through if it was not closed. Ends the look if the future is dropped.
///
/// # Errors
/// If the data directory cannot be used. Whatever happens to the look, the index is made again then.
pub async fn ask(dir: &Path, config: &Config, chain: ChainId) -> Result<(), RecoveryError> {
    let folder = DataDir::index_below(&config.data());
    if !index::is_needed(&folder)? {
        return Ok(());
    }
    // Nobody else works on the data meanwhile.
    let _data = DataDir::open(&config.data(), chain, config.storage.min_free_bytes)?;
    let bytes = index::bytes(&folder);
    let patience = PATIENCE + Duration::from_secs(bytes / BYTES_PER_SECOND);
    tracing::info!(bytes, "the index was not closed: it is looked through");
    match look(dir, patience).await {
        Ok(Some(status)) if status.success() => {}
        Ok(Some(status)) => {
            tracing::warn!(%status, "the look through the index failed: it is made again");
        }
        Ok(None) => tracing::warn!(
            seconds = patience.as_secs(),
            "the look through the index takes too long: it is made again"
        ),
        Err(error) => {
            tracing::warn!(%error, "the index cannot be looked through: it is made again");
        }
    }
    Ok(())
}

async fn look(dir: &Path, patience: Duration) -> std::io::Result<Option<ExitStatus>> {
    let child = Command::new(std::env::current_exe()?)
        .arg("check-index")
        .arg("--dir")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let mut looking = Looking(child);
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if let Some(status) = looking.0.try_wait()? {
            return Ok(Some(status));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(None)
}

/// Killed if nobody waits for it any more.
struct Looking(Child);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
