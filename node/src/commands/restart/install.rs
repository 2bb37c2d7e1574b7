//! `nachweis-node install-restart`: a stopped node goes on in the epoch that a restart file opens, and loses nothing final.

use super::memory::Past;
use super::{RestartCommandError, beyond, close, known, open, put_back};
use crate::commands::Failure;
use crate::recovery::{Recovered, RecoveryError};
use crate::storage::restarts::Restarts;
use consensus::{JournalState, Record};
use genesis::restart::RestartBundle;
use genesis::words::Fingerprint;
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height, View};
use ledger::restart::Restart;
use std::path::Path;

/// What a file did to a node.
#[derive(Clone, Copy, Debug)]
pub struct Installed {
    /// The epoch that it opens.
    pub epoch: Epoch,
    /// The block that it goes on from.
    pub anchor: BlockRef,
    /// What operators compare.
    pub fingerprint: Fingerprint,
    /// Whether the node votes at once.
    pub votes: Votes,
}

/// When a validator votes in the new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Votes {
    /// Once its start check is through.
    AtOnce,
    /// Once it has rejoined: its journal was lost, and the file does not hold this journal's report.
    AfterRejoin,
}

/// Installs a restart file on a stopped node.
///
/// # Errors
/// [`RestartCommandError`] as a [`Failure`]. What was done of it already is found by the next call.
pub fn install(dir: &Path, file: &Path) -> Result<Installed, Failure> {
    Ok(install_file(dir, file)?)
}

fn install_file(dir: &Path, file: &Path) -> Result<Installed, RestartCommandError> {
    let bundle = RestartBundle::load(file)?;
    let restart = {
        let (config, _, founding) = known(dir)?;
        let checked = bundle
            .file
            .check(founding.chain(), |authority| founding.admin(authority));
        let restart = checked?;
        put_back::put_back(&config, &founding, (&bundle.file, &restart))?;
        restart
    };
    let (identity, mut recovered) = open(dir)?;
    let folder = recovered.chain.data.archive();
    if has_another(&recovered.records, &restart) {
        return Err(RestartCommandError::Second(restart.epoch().epoch));
    }
    let is_installed = put_back::is_in_history(&recovered, &restart);
    if !is_installed && let Some(held) = beyond::restart(&recovered.records, &restart) {
        let anchor = restart.anchor().height;
        return Err(RestartCommandError::Beyond { held, anchor });
    }
    if !is_installed {
        let missing = missing_blocks(&recovered, &restart, &bundle)?;
        let epoch = restart.epoch().epoch;
        Restarts::keep(&folder, &bundle.file, epoch).map_err(RecoveryError::from)?;
        recovered
            .chain
            .archive
            .append_group(&missing)
            .map_err(RecoveryError::from)?;
    }
    let past = Past::read(&recovered, restart.epoch().epoch);
    let own = restart.reports(identity.authority, recovered.journal.incarnation());
    let records = entry_records(&past, &restart, own);
    let lost = past.is_quarantined() && !own;
    let first = recovered.journal_state == JournalState::Lost && !own;
    let quarantine = first.then_some(Record::Quarantine {
        number: past.quarantines,
    });
    let records = quarantine.into_iter().chain(records);
    recovered
        .journal
        .append(records.map(|record| record.encode()))
        .map_err(RecoveryError::from)?;
    recovered.journal.sync().map_err(RecoveryError::from)?;
    close(&mut recovered)?;
    drop(recovered);
    // Executes what was added, and goes on by the file as every later start does.
    let (_, mut again) = open(dir)?;
    let here = again.chain.head.tip.epoch.epoch;
    let stands = put_back::is_in_history(&again, &restart);
    close(&mut again)?;
    if !stands {
        let base = restart.base().epoch;
        return Err(RestartCommandError::OtherHistory { base, here });
    }
    Ok(Installed {
        epoch: restart.epoch().epoch,
        anchor: restart.anchor(),
        fingerprint: bundle.fingerprint(),
        votes: if lost {
            Votes::AfterRejoin
        } else {
            Votes::AtOnce
        },
    })
}

/// Whether the journal entered an epoch of this number by another file: both would open it on what this key reported.
fn has_another(records: &[Record], restart: &Restart) -> bool {
    let opened = restart.epoch();
    records.iter().any(|record| {
        matches!(record, Record::EpochStart { epoch, restart, .. }
            if *epoch == opened.epoch && *restart != opened.restart)
    })
}

/// What makes the journal enter the new epoch: durable before the first vote in it.
fn entry_records(past: &Past, restart: &Restart, own: bool) -> Vec<Record> {
    let epoch = restart.epoch();
    let mut records = Vec::new();
    if past.entered.contains(&epoch.epoch) {
        // A quarantine since then is not this file's to end.
        return records;
    }
    records.push(Record::EpochStart {
        epoch: epoch.epoch,
        set: epoch.set_hash,
        anchor: epoch.anchor.hash,
        restart: epoch.restart,
    });
    if own && past.is_quarantined() {
        records.push(Record::Floor {
            number: past.quarantines,
            epoch: epoch.epoch,
            view: View(1),
        });
    }
    records
}

/// The encoded frames that this archive lacks up to the anchor, if the file fits its chain.
fn missing_blocks(
    recovered: &Recovered,
    restart: &Restart,
    bundle: &RestartBundle,
) -> Result<Vec<Vec<u8>>, RestartCommandError> {
    let (tip, anchor) = (&recovered.chain.head.tip, restart.anchor());
    let base = restart.base();
    let held = tip.height;
    let beyond = RestartCommandError::Beyond {
        held,
        anchor: anchor.height,
    };
    if held > anchor.height || (held == anchor.height && tip.hash != anchor.hash) {
        return Err(beyond);
    }
    // The newest finalization shows which epoch decided the tip, also if that was a SEAL block.
    let decided = recovered
        .chain
        .finalization
        .as_ref()
        .is_some_and(|certificate| {
            let certificate = certificate.clone();
            certificate
                .verify(base.epoch, &base.set, &base.context)
                .is_ok()
        });
    if tip.epoch.context != base.context && !(decided && held == anchor.height) {
        return Err(RestartCommandError::OtherHistory {
            base: base.epoch,
            here: tip.epoch.epoch,
        });
    }
    let mut frames = Vec::new();
    let mut at = tip.block_ref();
    for (header, payload) in bundle.blocks_to(restart)? {
        if header.height <= held {
            continue;
        }
        if header.parent != at.hash || Some(header.height) != at.height.next() {
            // The first block above this node's end must be its child: else something final is left out.
            let is_next = Some(header.height) == held.next();
            return Err(if is_next {
                beyond
            } else {
                behind(held, anchor)
            });
        }
        at = header.block_ref();
        frames.push(payload.encode());
    }
    if at == anchor {
        Ok(frames)
    } else {
        Err(behind(held, anchor))
    }
}

const fn behind(held: Height, anchor: BlockRef) -> RestartCommandError {
    RestartCommandError::Behind {
        held,
        anchor: anchor.height,
    }
}
