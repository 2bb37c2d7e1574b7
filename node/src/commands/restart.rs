//! `nachweis-node stop-for-restart` and `install-restart`: what an operator does when too few validators can ever vote
//! again (consensus.md, section 3.12). Both work on a stopped node; `nachweis-genesis restart` stands between them.

mod beyond;
mod put_back;

pub use beyond::Beyond;

use super::Failure;
use super::run::RunError;
use crate::config::Config;
use crate::exit::Exit;
use crate::identity::{Duty, Identity};
use crate::recovery::{self, Owner, Recovered, RecoveryError};
use crate::storage::archive::{ReadError, Reader};
use crate::storage::restarts::Restarts;
use consensus::{JournalState, Record};
use genesis::keyfile::{KeyFile, KeyFileError};
use genesis::restart::{MAX_BLOCK_BYTES, MAX_BLOCKS, ReportFile, RestartBundle, RestartFileError};
use genesis::words::Fingerprint;
use ledger::certificate::Certificate;
use ledger::frame::Payload;
use ledger::genesis::Purpose;
use ledger::hash::{BlockHash, Hash};
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height, View};
use ledger::restart::{
    Base, Memory, RESTART_VERSION, Report, Restart, RestartError, Statement, Top,
};
use ledger::tip::{EpochInfo, Founding};
use ledger::vote::VoteKind;
use std::collections::{BTreeMap, BTreeSet};
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
                "more validators were dishonest or had forgotten than this network tolerates: do not run this node, \
                 keep its disk, and ask the other operators"
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
                "let it catch up by `nachweis-node run`, or restore it from a backup of another node, and install then"
                    .into(),
            ),
            RestartCommandError::OtherFile { .. } => {
                Some("take the file from data/archive of a node that runs".into())
            }
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

/// The key's past in the journal, as far as it matters here.
struct Past {
    quarantines: u32,
    floors: u32,
    floor: (Epoch, View),
    entered: Vec<Epoch>,
    stopped: bool,
}

impl Past {
    fn read(recovered: &Recovered, epoch: Epoch) -> Self {
        let mut past = Self {
            quarantines: u32::from(recovered.journal_state == JournalState::Lost),
            floors: 0,
            floor: (Epoch(0), View(0)),
            entered: Vec::new(),
            stopped: false,
        };
        for record in &recovered.records {
            match record {
                Record::Quarantine { number } => past.quarantines = past.quarantines.max(*number),
                Record::Floor {
                    number,
                    epoch,
                    view,
                } => {
                    past.floors = past.floors.max(*number);
                    past.floor = past.floor.max((*epoch, *view));
                }
                Record::EpochStart { epoch, .. } => past.entered.push(*epoch),
                Record::Stopped { epoch: stopped } => past.stopped |= *stopped >= epoch,
                Record::Block(_)
                | Record::Certificate(_)
                | Record::OwnVote { .. }
                | Record::FinTip { .. }
                | Record::Evidence { .. } => {}
            }
        }
        past
    }

    const fn is_quarantined(&self) -> bool {
        self.quarantines > self.floors
    }

    /// A validator that rejoined in this very epoch may have forgotten votes of it, in views below its floor. It counts as
    /// whole again once it holds a certificate of each of these views above the last final one, as who answers a rejoin
    /// must: whatever was finalized there is then final here, or not above the block that it reports.
    fn memory(&self, (epoch, finalized): (Epoch, View), known: &Known) -> Memory {
        let (of, floor) = self.floor;
        let rejoined_here = self.floors > 0 && of >= epoch;
        let certified = of == epoch && known.certifies(finalized, floor);
        if self.is_quarantined() || (rejoined_here && !certified) {
            Memory::Lost
        } else {
            Memory::Whole
        }
    }
}

/// Whether a validator was stopped for a restart whose file it has not installed.
pub fn is_stopped(records: &[Record]) -> bool {
    let (mut stopped, mut restarted) = (None, None);
    for record in records {
        match record {
            Record::Stopped { epoch } => stopped = stopped.max(Some(*epoch)),
            Record::EpochStart { epoch, restart, .. } if *restart != Hash::ZERO => {
                restarted = restarted.max(Some(*epoch));
            }
            Record::EpochStart { .. }
            | Record::Quarantine { .. }
            | Record::Floor { .. }
            | Record::Block(_)
            | Record::Certificate(_)
            | Record::OwnVote { .. }
            | Record::FinTip { .. }
            | Record::Evidence { .. } => {}
        }
    }
    stopped.is_some() && restarted <= stopped
}

/// What the certificates that a stopped node holds say of its epoch's views.
#[derive(Debug, Default)]
struct Known {
    /// Views with any certificate.
    views: BTreeSet<View>,
    /// The highest view with a certificate of a block …
    named: View,
    /// … and of one that is here: the one that is reported.
    top: View,
}

impl Known {
    fn new(recovered: &Recovered, epoch: Epoch, top: Option<&Top>) -> Self {
        let mut known = Self {
            top: top.map_or(View(0), |top| top.certificate().view()),
            ..Self::default()
        };
        for record in &recovered.records {
            if let Record::Certificate(certificate) = record
                && certificate.epoch() == epoch
            {
                let view = certificate.view();
                known.views.insert(view);
                if certificate.kind() != VoteKind::Nullify {
                    known.named = known.named.max(view);
                }
            }
        }
        known
    }

    /// Whether no block can have been finalized in a view between these two that the report does not cover.
    fn certifies(&self, finalized: View, floor: View) -> bool {
        let between = floor.0.saturating_sub(finalized.0).saturating_sub(1);
        let held = self.views.iter();
        let held = held.filter(|view| finalized < **view && **view < floor);
        let all = u64::try_from(held.count()).is_ok_and(|held| held == between);
        all && self.named <= self.top.max(finalized)
    }
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
    let past = Past::read(&recovered, epoch.epoch);
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
        let epoch = epoch.epoch;
        records.push(Record::Stopped { epoch }.encode());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn known(views: &[u64], named: u64, top: u64) -> Known {
        Known {
            views: views.iter().copied().map(View).collect(),
            named: View(named),
            top: View(top),
        }
    }

    #[test]
    fn who_rejoined_counts_as_whole_once_every_view_below_its_floor_is_certified() {
        let past = |floor: u64, quarantines| Past {
            quarantines,
            floors: 1,
            floor: (Epoch(2), View(floor)),
            entered: Vec::new(),
            stopped: false,
        };
        let memory =
            |past: &Past, finalized, known: &Known| past.memory((Epoch(2), View(finalized)), known);
        let none = Known::default();
        // Floor 9: views up to 8 may hold forgotten votes.
        assert_eq!(memory(&past(9, 1), 8, &none), Memory::Whole);
        assert_eq!(memory(&past(9, 1), 20, &none), Memory::Whole);
        assert_eq!(memory(&past(9, 1), 7, &none), Memory::Lost);
        assert_eq!(memory(&past(9, 1), 6, &known(&[7, 8], 0, 0)), Memory::Whole);
        assert_eq!(
            memory(&past(9, 1), 6, &known(&[7, 8, 9], 8, 8)),
            Memory::Whole
        );
        // One view is missing; a block was certified that is not here; certificates above the floor count for nothing.
        assert_eq!(memory(&past(9, 1), 6, &known(&[8, 9], 0, 0)), Memory::Lost);
        assert_eq!(memory(&past(9, 1), 6, &known(&[7, 8], 8, 7)), Memory::Lost);
        assert_eq!(
            memory(&past(9, 1), 6, &known(&[8, 9, 10], 9, 9)),
            Memory::Lost
        );
        // A newer quarantine, an older and a later epoch.
        assert_eq!(memory(&past(9, 2), 20, &none), Memory::Lost);
        let other = |epoch| past(9, 1).memory((Epoch(epoch), View(0)), &none);
        assert_eq!(other(3), Memory::Whole);
        assert_eq!(other(1), Memory::Lost);
    }
}
