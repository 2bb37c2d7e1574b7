//! `nachweis-node stop-for-restart`: the node signs nothing more in its epoch, durably, and reports what it holds.

use super::memory::{Known, Past};
use super::{RestartCommandError, beyond, close, open};
use crate::commands::Failure;
use crate::identity::Identity;
use crate::recovery::{Recovered, RecoveryError};
use crate::storage::archive::Reader;
use consensus::{JournalState, Record};
use genesis::keyfile::KeyFile;
use genesis::restart::{MAX_BLOCK_BYTES, MAX_BLOCKS, ReportFile};
use ledger::certificate::Certificate;
use ledger::frame::Payload;
use ledger::genesis::Purpose;
use ledger::hash::BlockHash;
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height, View};
use ledger::restart::{Base, Memory, RESTART_VERSION, Report, Statement, Top};
use ledger::tip::{EpochInfo, Founding};
use std::collections::BTreeMap;
use std::path::Path;

/// What a stopped node reports.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    /// The epoch that it stopped in.
    pub epoch: Epoch,
    /// The highest block that it knows to be final.
    pub height: Height,
    /// The highest block with a certificate of that epoch.
    pub top: Option<Height>,
    /// Whether its journal knows all that matters of what it signed.
    pub memory: Memory,
}

/// What becomes of a node whose journal knows of final blocks that are not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostBlocks {
    /// It is not stopped: it can fetch them.
    Refuse,
    /// Nobody has them: it reports as one that forgot.
    CountAsForgotten,
}

/// Stops a node for good in its epoch, durably, and writes its signed report to a new file.
///
/// # Errors
/// [`RestartCommandError`] as a [`Failure`]. A node that was stopped stays so until it installs a restart file.
pub fn stop(dir: &Path, admin: &Path, out: &Path, lost: LostBlocks) -> Result<Stopped, Failure> {
    Ok(stop_node(dir, admin, out, lost)?)
}

fn stop_node(
    dir: &Path,
    admin: &Path,
    out: &Path,
    lost: LostBlocks,
) -> Result<Stopped, RestartCommandError> {
    ReportFile::check_place(out)?;
    let (identity, mut recovered) = open(dir)?;
    let admin = admin_key(admin, &identity, &recovered.chain.founding)?;
    let epoch = EpochInfo::clone(&recovered.chain.head.tip.epoch);
    // Blocks may be lost that led to where the key has signed last: there it signs nothing more either.
    let last =
        beyond::newest_epoch(&recovered.records).map_or(epoch.epoch, |at| at.max(epoch.epoch));
    let past = Past::read(&recovered, last);
    let (top, above) = highest(&recovered, &epoch);
    let finalization = recovered.chain.finalization.as_ref();
    let finalization = finalization.filter(|it| it.epoch() == epoch.epoch);
    let finalized = finalization.map_or(View(0), Certificate::view);
    let known = Known::new(&recovered, epoch.epoch, top.as_ref());
    let beyond = beyond::report(&recovered.records, epoch.epoch, known.top.max(finalized));
    let memory = match (beyond, lost) {
        (None, _) => past.memory((epoch.epoch, finalized), &known),
        (Some(_), LostBlocks::CountAsForgotten) => Memory::Lost,
        (Some(beyond), LostBlocks::Refuse) => return Err(beyond.into()),
    };
    let mut records = Vec::new();
    if recovered.journal_state == JournalState::Lost {
        let number = past.quarantines;
        records.push(Record::Quarantine { number }.encode());
    }
    if !past.stopped {
        records.push(Record::Stopped { epoch: last }.encode());
    }
    recovered
        .journal
        .append(records)
        .map_err(RecoveryError::from)?;
    // From here on the node signs nothing: only now its report says what will stay true.
    recovered.journal.sync().map_err(RecoveryError::from)?;
    if top
        .as_ref()
        .is_some_and(|top| brings_another_set(top, &epoch))
    {
        return Err(RestartCommandError::OtherSet);
    }
    let stopped = Stopped {
        epoch: epoch.epoch,
        height: recovered.chain.head.tip.height,
        top: top.as_ref().map(|top| top.header().height),
        memory,
    };
    let statement = Statement {
        version: RESTART_VERSION,
        chain: recovered.chain.founding.chain(),
        epoch: epoch.epoch,
        context: epoch.context,
        authority: identity.authority,
        journal: recovered.journal.incarnation(),
        memory,
        fin: recovered.chain.head.tip.block_ref(),
        top,
    };
    let report: Report = statement.sign(&admin.signing_key());
    let blocks = newest_blocks(
        &recovered.chain.archive.reader(),
        recovered.chain.head.tip.height,
        above,
    )?;
    let file = ReportFile {
        base: Base::of(&epoch),
        next: None,
        report,
        blocks: blocks.try_into().unwrap_or_default(),
    };
    close(&mut recovered)?;
    file.create(out)?;
    Ok(stopped)
}

fn admin_key(
    path: &Path,
    identity: &Identity,
    founding: &Founding,
) -> Result<KeyFile, RestartCommandError> {
    let admin = KeyFile::load(path, Purpose::Admin)?;
    if founding.admin(identity.authority) == Some(admin.key()) {
        Ok(admin)
    } else {
        Err(RestartCommandError::OtherAdmin(identity.id.to_string()))
    }
}

fn brings_another_set(top: &Top, epoch: &EpochInfo) -> bool {
    let header = top.header();
    header.flags.is_seal() && header.next_set != epoch.set_hash
}

/// The highest notarization or finalization of this epoch whose block is here, and the blocks above the archive up to it.
fn highest(recovered: &Recovered, epoch: &EpochInfo) -> (Option<Top>, Vec<Payload>) {
    let mut blocks: BTreeMap<BlockHash, &consensus::Block> = BTreeMap::new();
    let mut certificates: Vec<&Certificate> = recovered.chain.finalization.iter().collect();
    for record in &recovered.records {
        match record {
            Record::Block(block) => {
                blocks.insert(block.hash(), block);
            }
            Record::Certificate(certificate) => certificates.push(certificate),
            Record::EpochStart { .. }
            | Record::Quarantine { .. }
            | Record::Floor { .. }
            | Record::Stopped { .. }
            | Record::OwnVote { .. }
            | Record::FinTip { .. }
            | Record::Evidence { .. } => {}
        }
    }
    certificates.retain(|certificate| certificate.epoch() == epoch.epoch);
    certificates.sort_by_key(|certificate| core::cmp::Reverse(certificate.view()));
    let tip = recovered.chain.head.tip.block_ref();
    for certificate in certificates {
        let Some(chain) = chain_to(certificate.block(), tip, &blocks) else {
            continue;
        };
        let header = match chain.last() {
            Some(block) => Some(block.header.clone()),
            None => recovered.chain.head.header.clone(),
        };
        let verified = (*certificate)
            .clone()
            .verify(epoch.epoch, &epoch.set, &epoch.context);
        let top = header.zip(verified.ok());
        let top = top.and_then(|(header, verified)| Top::new(header, verified.into_inner()));
        if let Some(top) = top {
            return (
                Some(top),
                chain.into_iter().filter_map(payload_of).collect(),
            );
        }
    }
    (None, Vec::new())
}

/// The blocks from the archive's end up to this one; none if they are not all here.
fn chain_to<'a>(
    block: BlockRef,
    tip: BlockRef,
    blocks: &BTreeMap<BlockHash, &'a consensus::Block>,
) -> Option<Vec<&'a consensus::Block>> {
    let mut chain = Vec::new();
    let mut at = block.hash;
    while at != tip.hash {
        let block = *blocks.get(&at)?;
        if block.header.height <= tip.height {
            return None;
        }
        chain.push(block);
        at = block.header.parent;
    }
    chain.reverse();
    Some(chain)
}

/// As a frame without a finalization.
fn payload_of(block: &consensus::Block) -> Option<Payload> {
    let bytes = [&ledger::codec::encode(&block.header)[..], &block.body[..]].concat();
    Some(Payload {
        block: bytes.try_into().ok()?,
        finalization: None,
    })
}

/// The archive's newest blocks and those above it, as many as may travel.
fn newest_blocks(
    archive: &Reader,
    last: Height,
    above: Vec<Payload>,
) -> Result<Vec<Payload>, RestartCommandError> {
    let mut bytes: usize = above.iter().map(|payload| payload.block.len()).sum();
    let mut blocks: Vec<Payload> = above.into_iter().rev().collect();
    for height in (1..=last.0).rev().map(Height) {
        let Some(payload) = archive.read(height)? else {
            break;
        };
        bytes = bytes.saturating_add(payload.block.len());
        if blocks.len() >= MAX_BLOCKS || bytes > MAX_BLOCK_BYTES {
            break;
        }
        blocks.push(payload);
    }
    blocks.reverse();
    Ok(blocks)
}
