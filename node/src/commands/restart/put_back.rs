//! A restart file that was lost or is damaged, put back where a recovery needs it: what was decided behind its anchor shows
//! whether it is the one.

use super::RestartCommandError;
use crate::config::Config;
use crate::recovery::{Recovered, RecoveryError};
use crate::storage::DataDir;
use crate::storage::archive::{Archive, Reader};
use crate::storage::restarts::{Place, Restarts};
use ledger::block::Block;
use ledger::restart::{Restart, RestartFile};
use ledger::tip::Founding;

/// Puts the file in its place if the archive went on by it, as a recovery needs it: it was lost or is damaged.
pub(super) fn put_back(
    config: &Config,
    founding: &Founding,
    (file, restart): (&RestartFile, &Restart),
) -> Result<(), RestartCommandError> {
    let (chain, least) = (founding.chain(), config.storage.min_free_bytes);
    let data = DataDir::open(&config.data(), chain, least).map_err(RecoveryError::from)?;
    let (folder, epoch) = (data.archive(), restart.epoch().epoch);
    let segment = config.storage.segment_bytes;
    let archive = Archive::open_with(&folder, chain, segment).map_err(RecoveryError::from)?;
    let place = Restarts::clear(&folder, founding, epoch).map_err(RecoveryError::from)?;
    if place == Place::Empty && went_on_by(&archive.reader(), restart)? {
        Restarts::keep(&folder, file, epoch).map_err(RecoveryError::from)?;
    }
    Ok(())
}

/// Whether the archive holds blocks behind the anchor that are of the epoch which the file opens, or of a later one.
fn went_on_by(archive: &Reader, restart: &Restart) -> Result<bool, RestartCommandError> {
    let (mut at, epoch) = (restart.anchor(), restart.epoch());
    let mut went_on = false;
    while let Some(next) = at.height.next()
        && let Ok(Some(payload)) = archive.read(next)
        && let Some(header) = Block::decode(&payload.block).ok().map(|block| block.header)
        && header.parent == at.hash
        && header.epoch >= epoch.epoch
    {
        went_on = true;
        let finalization = payload.finalization;
        let finalization = finalization.filter(|it| it.epoch() == epoch.epoch);
        if let Some(finalization) = finalization {
            // Its votes are bound to the file's hash.
            let verified = finalization.verify(epoch.epoch, &epoch.set, &epoch.context);
            let anchor = restart.anchor().height;
            return verified
                .map(|_| true)
                .map_err(|_other| RestartCommandError::OtherFile { anchor });
        }
        if header.epoch > epoch.epoch {
            break;
        }
        at = header.block_ref();
    }
    Ok(went_on)
}

/// Whether the chain on this disk went on by this file.
pub(super) fn is_in_history(recovered: &Recovered, restart: &Restart) -> bool {
    let (here, opened) = (&recovered.chain.head.tip.epoch, restart.epoch());
    let kept = || {
        let (anchor, epoch) = (restart.anchor(), opened.epoch);
        let beyond = here.epoch > epoch && recovered.chain.head.tip.height > anchor.height;
        let mut files = recovered.chain.restarts.files_of(epoch);
        beyond && files.any(|file| file.hash() == restart.hash())
    };
    here.context == opened.context || kept()
}
