//! From what the disk holds to a node that can go on.
//!
//! The archive is the truth. Log hashes and index follow from it: what is missing is made again by the code that makes
//! it in normal life, and every root is compared with the archive's headers on the way. The journal and the cosigner's
//! guard cannot be made from it: without its journal the node votes only once it has rejoined, without its guard it cosigns
//! nothing until it is known what its key may have signed (`cosigner/reentry.rs`), and it says so.

mod ahead;
mod ending;
mod find;
mod hashes;
mod rebuild;
mod seen;

use crate::chain::{Head, Parts, Provable};
use crate::commands;
use crate::config::Config;
use crate::cosigner::{KeptNote, Signers};
use crate::epochs::{EpochError, Epochs};
use crate::identity::Keys;
use crate::states::States;
use crate::storage::guard::{self, CosignerGuard};
use crate::storage::index;
use crate::storage::journal::{self, Journal};
use crate::storage::log_hashes::{self, LogHashes};
use crate::storage::restarts::{Restarts, RestartsError};
use crate::storage::{DataDir, DataDirError, Fatal, archive, files};
use consensus::{EpochSpec, JournalState, Record, Sealed};
use ending::Evidence;
use find::{find_size, newest_finalization, read_header};
use hashes::recover_log;
use ledger::block::ReceiveError;
use ledger::certificate::Certificate;
use ledger::codec::DecodeError;
use ledger::execute::BlockError;
use ledger::genesis::GenesisError;
use ledger::hash::{ChainId, Hash};
use ledger::header::Header;
use ledger::id::{Height, TreeSize};
use ledger::journal::{JournalId, Origin};
use ledger::key::Key;
use ledger::log::Frontier;
use ledger::tip::{Founding, Tip};
use rebuild::Rebuild;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The newest note, in the data directory.
const NOTE: &str = "checkpoint";
/// How often a long rebuild says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// The chain, as far as the archive has it: what every node starts from.
#[derive(Debug)]
pub struct RecoveredChain {
    /// The genesis.
    pub founding: Founding,
    /// The locked data directory.
    pub data: Arc<DataDir>,
    /// Blocks.
    pub archive: archive::Archive,
    /// Hashes of the log, up to the archive's end.
    pub log: LogHashes,
    /// The index and what is above it.
    pub states: Arc<States>,
    /// The newest final block.
    pub head: Head,
    /// The checkpoint of the kept note, if the index stands there.
    pub provable: Option<(Provable, KeptNote)>,
    /// Where the note is kept.
    pub note_file: PathBuf,
    /// Names and keys of all cosigners.
    pub signers: Signers,
    /// The newest finalization in the archive.
    pub finalization: Option<Certificate>,
    /// The epoch of the next block.
    pub epoch: EpochSpec,
    /// How the epoch before ended.
    pub previous: Option<Sealed>,
    /// The restart files beside the blocks.
    pub restarts: Arc<Restarts>,
    /// What a person must be told about the archive's end.
    pub alarm: Option<String>,
}

/// Everything that a validator starts from.
#[derive(Debug)]
pub struct Recovered {
    /// The chain.
    pub chain: RecoveredChain,
    /// The cosigner's guard, or its place.
    pub guard: guard::Found,
    /// The journal.
    pub journal: Journal,
    /// What was found of it.
    pub journal_state: JournalState,
    /// Its records.
    pub records: Vec<Record>,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The genesis breaks a rule.
    #[error("the genesis cannot found a network")]
    Genesis(#[from] GenesisError),
    /// The archive cannot be opened.
    #[error("the block archive cannot be used")]
    Archive(#[from] archive::OpenError),
    /// A block cannot be read.
    #[error("a block cannot be read")]
    Block(#[from] archive::ReadError),
    /// A block of the archive is not what it should be.
    #[error("block {height} of the archive does not follow from the blocks before it")]
    Replay {
        /// Its height.
        height: Height,
        /// What is wrong.
        #[source]
        source: ReplayError,
    },
    /// A restart file cannot be used.
    #[error("a restart file of the archive cannot be used")]
    Restarts(#[from] RestartsError),
    /// The log's hashes cannot be read.
    #[error("the log's hashes cannot be read")]
    Log(#[from] log_hashes::ReadError),
    /// The index cannot be read.
    #[error("the index cannot be read")]
    Index(#[from] index::ReadError),
    /// The journal cannot be opened.
    #[error("the consensus journal cannot be used")]
    Journal(#[from] journal::OpenError),
    /// A record of the journal is none of this program's.
    #[error("a record of the consensus journal is malformed")]
    Record(#[source] DecodeError),
    /// The vote key names no journal.
    #[error("the vote key names no journal")]
    NoJournalId,
    /// The guard cannot be opened.
    #[error("the cosigner's guard cannot be used")]
    Guard(#[from] guard::OpenError),
    /// The archive does not tell its epochs.
    #[error("the epoch cannot be told from the archive")]
    Epoch(#[from] EpochError),
    /// A write failed.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// A write of the process that makes the index failed.
    #[error("the process that makes the index could not write: {0}")]
    NotWritten(String),
    /// The file system says no.
    #[error(transparent)]
    File(#[from] files::FileError),
    /// It was told to.
    #[error("stopped while the index was being made again; the next start goes on where it was")]
    Stopped,
}

impl RecoveryError {
    /// The damaged block that was met: once it was fetched from peers, the recovery can be tried again.
    pub const fn damaged(&self) -> Option<Height> {
        match self {
            Self::Block(archive::ReadError::Damaged(damaged))
            | Self::Epoch(EpochError::Read(archive::ReadError::Damaged(damaged))) => {
                Some(damaged.height)
            }
            _ => None,
        }
    }
}

/// What is wrong with an archived block.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Its bytes are no block.
    #[error("its bytes are no block")]
    Decode(#[from] DecodeError),
    /// Its body is not its header's, or an item is bad.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// It breaks a rule, or the state cannot be read.
    #[error(transparent)]
    Execute(#[from] BlockError),
    /// The log that its leaves give has another root than its header says.
    #[error("the log has root {found}, its header says {expected}")]
    LogRoot {
        /// Root over the leaves.
        found: Hash,
        /// Root in the header.
        expected: Hash,
    },
    /// Its leaves do not decode.
    #[error("its items are malformed")]
    Items(#[from] ledger::body::BodyError),
}

/// Whose disk it is.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The genesis.
    pub founding: Founding,
    /// The journal that the vote key names.
    pub journal: Option<JournalId>,
    /// The cosigner's public key.
    pub cosigner: Key,
}

impl Owner {
    /// The owner of a validator's disk.
    pub fn new(founding: Founding, keys: &Keys) -> Self {
        Self {
            founding,
            journal: keys.vote.journal(),
            cosigner: keys.cosigner.key(),
        }
    }
}

/// What goes on while the index is made again, which may take minutes.
pub struct Meanwhile<'a> {
    /// Ends it: what is made is kept.
    pub stop: CancellationToken,
    /// Makes an index that is missing or far behind; without it this process does.
    pub elsewhere: Option<&'a dyn Elsewhere>,
    /// Is given a chain of which all can be read but its state, and how far the index is.
    pub serve: &'a mut dyn FnMut(Parts, Arc<Making>),
}

impl std::fmt::Debug for Meanwhile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meanwhile")
            .field("stop", &self.stop)
            .finish_non_exhaustive()
    }
}

/// How far the index is.
#[derive(Debug, Default)]
pub struct Making {
    at: AtomicU64,
    of: AtomicU64,
}

impl Making {
    /// The block that is in it, and the last one that there is.
    pub fn progress(&self) -> (Height, Height) {
        let (at, of) = (&self.at, &self.of);
        (
            Height(at.load(Ordering::Relaxed)),
            Height(of.load(Ordering::Relaxed)),
        )
    }

    /// It is at this block.
    pub fn reached(&self, height: Height) {
        self.at.store(height.0, Ordering::Relaxed);
    }
}

/// Brings the disk's parts to the archive's end, and reads the validator's own.
///
/// # Errors
/// [`RecoveryError`].
pub fn recover(config: &Config, owner: &Owner) -> Result<Recovered, RecoveryError> {
    recover_meanwhile(config, owner, &mut quiet(&mut |_, _| ()))
}

fn quiet(serve: &mut dyn FnMut(Parts, Arc<Making>)) -> Meanwhile<'_> {
    let stop = CancellationToken::new();
    Meanwhile {
        stop,
        elsewhere: None,
        serve,
    }
}

/// Makes the index in another process.
pub trait Elsewhere: Sync {
    /// Makes it up to this block, of an index that nobody has open; returns when it is closed.
    ///
    /// # Errors
    /// If it was not made.
    fn make(
        &self,
        upto: Height,
        making: &Making,
        stop: &CancellationToken,
    ) -> std::io::Result<Made>;
}

/// What became of an index that was made elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// All was made.
    Whole,
    /// It was told to stop: what is made is kept.
    Stopped,
    /// A write or sync failed, and what was said of it.
    NotWritten(String),
}

/// The same, and says when it takes long.
///
/// # Errors
/// [`RecoveryError`].
pub fn recover_meanwhile(
    config: &Config,
    owner: &Owner,
    meanwhile: &mut Meanwhile<'_>,
) -> Result<Recovered, RecoveryError> {
    let data = open_data(config, &owner.founding)?;
    // Before the archive: they know what it once held.
    let (journal, journal_state, records) = open_journal(&data.journal(), owner.journal)?;
    let guard = open_guard(&data.guard(), owner.cosigner)?;
    let more = |known: Evidence| known.with(&guard, &records);
    let chain = chain(config, &owner.founding, (data, more), meanwhile)?;
    Ok(Recovered {
        chain,
        guard,
        journal,
        journal_state,
        records,
    })
}

/// Brings archive, log hashes and index to the archive's end; touches neither journal nor guard.
///
/// # Errors
/// [`RecoveryError`].
pub fn recover_chain(
    config: &Config,
    founding: &Founding,
    meanwhile: &mut Meanwhile<'_>,
) -> Result<RecoveredChain, RecoveryError> {
    let data = open_data(config, founding)?;
    chain(config, founding, (data, |known| known), meanwhile)
}

fn open_data(config: &Config, founding: &Founding) -> Result<DataDir, RecoveryError> {
    let least = config.storage.min_free_bytes;
    Ok(DataDir::open(&config.data(), founding.chain(), least)?)
}

/// What `recover_chain` says, with what else is known of the archive's end.
fn chain(
    config: &Config,
    founding: &Founding,
    (data, more): (DataDir, impl FnOnce(Evidence) -> Evidence),
    meanwhile: &mut Meanwhile<'_>,
) -> Result<RecoveredChain, RecoveryError> {
    let founding = founding.clone();
    let root = config.data();
    let signers = Signers::new(founding.genesis(), founding.set());
    let note_file = root.join(NOTE);
    let log = LogHashes::open(&data.log())?;
    let known = more(Evidence::of(
        read_note(&note_file, &signers)?.as_ref(),
        &log,
    ));
    let (archive, alarm) = open_archive(config, &data, founding.chain(), &known)?;
    let reader = archive.reader();
    let log = recover_log(log, &reader)?;
    let (kept, noted) = kept_note(&note_file, &signers, &reader)?;
    let restarts = Restarts::load(&data.archive(), &founding)?;
    let index = data.index();
    let mut serve = |making| {
        let parts = without_index(&founding, (&reader, &log), &index, kept.as_ref());
        match parts {
            Ok(parts) => (meanwhile.serve)(parts, making),
            Err(error) => tracing::warn!(
                error = %crate::exit::Chain(&error),
                "nothing is served while the index is made again"
            ),
        }
    };
    let rebuild = Rebuild {
        restarts: &restarts,
        founding: &founding,
        archive: &reader,
        log: log.reader(),
        dir: data.index(),
        cache: config.storage.index_cache_bytes,
        stand: noted.as_ref().map(|header| header.height),
        max_unproved: config.receipts.max_unproved_blocks,
        stop: meanwhile.stop.clone(),
        elsewhere: meanwhile.elsewhere,
    };
    let states = rebuild.states(&mut serve)?;
    let tip = states.final_tip();
    let header = read_header(&reader, tip.height)?;
    let base = states.base();
    let provable = kept
        .zip(noted)
        .filter(|(_, header)| header.height == base.height);
    let provable = provable.map(|(note, header)| (provable_of(&base, &header, &note), note));
    let finalization = newest_finalization(&reader, tip.height)?;
    let epochs = Epochs {
        founding: &founding,
        archive: &reader,
        restarts: &restarts,
    };
    let (epoch, previous) = epochs.setup(&tip, finalization.as_ref())?;
    let restarts = Arc::new(restarts);
    Ok(RecoveredChain {
        restarts,
        head: Head { tip, header },
        founding,
        data: Arc::new(data),
        archive,
        log,
        states: Arc::new(states),
        provable,
        note_file,
        signers,
        finalization,
        epoch,
        previous,
        alarm,
    })
}

/// The chain as it can be read while its index is made: blocks, the log's hashes, the newest checkpoint's note.
fn without_index(
    founding: &Founding,
    (archive, log): (&archive::Reader, &LogHashes),
    index: &Path,
    kept: Option<&KeptNote>,
) -> Result<Parts, RecoveryError> {
    let genesis = founding.tip();
    let header = read_header(archive, archive.last().unwrap_or_default())?;
    let mut tip = genesis.clone();
    if let Some(header) = &header {
        tip.height = header.height;
        tip.hash = header.hash();
        tip.time_ms = header.time_ms;
        tip.log = Frontier::read(&log.reader(), header.log_size)?;
    }
    let provable = kept.map(|note| Provable {
        height: tip.height,
        time_ms: tip.time_ms,
        tip: tip.clone(),
        size: note.checkpoint.size,
        root: note.checkpoint.root,
        note: note.text.clone(),
    });
    let index = index::Index::closed(index, founding.chain());
    Ok(Parts {
        founding: founding.clone(),
        states: Arc::new(States::new(index, genesis)),
        head: Head { tip, header },
        provable,
        archive: archive.clone(),
        log: log.reader(),
        // Nobody is asked for them here.
        restarts: Arc::default(),
    })
}

/// What [`reindex`] made.
#[derive(Clone, Copy, Debug)]
pub struct Reindexed {
    /// Newest block in it.
    pub height: Height,
    /// Entries of the log.
    pub log_size: TreeSize,
}

/// Throws index and log hashes away and makes them again from the archive. Touches neither journal nor guard.
///
/// # Errors
/// [`RecoveryError`]; nothing is changed while another process has the data.
pub fn reindex(config: &Config, founding: &Founding) -> Result<Reindexed, RecoveryError> {
    let chain = founding.chain();
    let root = config.data();
    let data = DataDir::open(&root, chain, config.storage.min_free_bytes)?;
    let signers = Signers::new(founding.genesis(), founding.set());
    let log = LogHashes::open(&data.log())?;
    let evidence = Evidence::of(read_note(&root.join(NOTE), &signers)?.as_ref(), &log);
    let (archive, _) = open_archive(config, &data, chain, &evidence)?;
    let reader = archive.reader();
    // All that can refuse comes before anything is removed: what is not on this disk cannot be executed again.
    let missing = reader.away().into_iter().map(|away| away.first);
    for height in missing.chain(reader.holes().into_iter().map(|hole| hole.first)) {
        reader.read(height)?;
    }
    let (_, noted) = kept_note(&root.join(NOTE), &signers, &reader)?;
    let restarts = Restarts::load(&data.archive(), founding)?;
    drop(log);
    index::Index::remove(&data.index())?;
    files::remove_dir(&data.log())?;
    let mut log = recover_log(LogHashes::open(&data.log())?, &reader)?;
    let rebuild = Rebuild {
        restarts: &restarts,
        founding,
        archive: &reader,
        log: log.reader(),
        dir: data.index(),
        cache: config.storage.index_cache_bytes,
        stand: noted.map(|header| header.height),
        max_unproved: config.receipts.max_unproved_blocks,
        stop: CancellationToken::new(),
        elsewhere: None,
    };
    let states = rebuild.states_to_close()?;
    states.index().close()?;
    log.checkpoint()?;
    let tip = states.final_tip();
    Ok(Reindexed {
        height: tip.height,
        log_size: tip.log_size(),
    })
}

/// Makes the index of a node whose data another process holds, up to this block, and closes it; says where it is.
///
/// # Errors
/// [`RecoveryError`]; what was made of it is closed if it was stopped.
pub fn make_index(
    config: &Config,
    founding: &Founding,
    (upto, stop): (Height, CancellationToken),
    say: &mut dyn FnMut(Height),
) -> Result<(), RecoveryError> {
    let (root, away) = (config.data(), config.storage.segments_away);
    let (folder, chain) = (DataDir::archive_below(&root), founding.chain());
    let segment = config.storage.segment_bytes;
    let archive = archive::Archive::open_without(&folder, chain, segment, away)?.reader();
    let restarts = Restarts::load(&folder, founding)?;
    // Its holder has brought it to the archive's end.
    let last = read_header(&archive, archive.last().unwrap_or_default())?;
    let size = last.map_or(TreeSize(0), |header| header.log_size);
    let log = log_hashes::Reader::beside(&DataDir::log_below(&root), size)?;
    let rebuild = Rebuild {
        restarts: &restarts,
        founding,
        archive: &archive,
        log,
        dir: DataDir::index_below(&root),
        cache: config.storage.index_cache_bytes.min(index::MAKING_CACHE),
        stand: Some(upto),
        max_unproved: usize::MAX,
        stop,
        elsewhere: None,
    };
    rebuild.made(say)
}

/// The kept note if a quorum signed it.
fn read_note(file: &Path, signers: &Signers) -> Result<Option<KeptNote>, RecoveryError> {
    let bytes = files::read_if_exists(file)?;
    Ok(bytes.and_then(|bytes| signers.read_note(&String::from_utf8_lossy(&bytes))))
}

/// Opens the archive and settles its end; gives what a person must look at.
fn open_archive(
    config: &Config,
    data: &DataDir,
    chain: ChainId,
    evidence: &Evidence,
) -> Result<(archive::Archive, Option<String>), RecoveryError> {
    let (segment, away) = (config.storage.segment_bytes, config.storage.segments_away);
    let mut archive = archive::Archive::open_without(&data.archive(), chain, segment, away)?;
    let alarm = ending::settle(&mut archive, evidence)?;
    for hole in archive.reader().holes() {
        tracing::error!("{hole}: not served until it is repaired from peers");
    }
    for away in archive.reader().away() {
        tracing::warn!(
            segments = %format_args!("{} to {}", away.first_segment, away.last_segment),
            blocks = %format_args!("{} to {}", away.first, away.last),
            "archive segments are not on this disk: proofs are served, these blocks are not"
        );
    }
    Ok((archive, alarm))
}

/// Opens a stopped node's archive so that damaged blocks can be put back.
///
/// # Errors
/// [`RecoveryError`].
pub fn open_damaged(
    config: &Config,
    founding: &Founding,
) -> Result<(DataDir, archive::Archive), RecoveryError> {
    let root = config.data();
    let data = DataDir::open(&root, founding.chain(), config.storage.min_free_bytes)?;
    let signers = Signers::new(founding.genesis(), founding.set());
    let log = LogHashes::open(&data.log())?;
    let evidence = Evidence::of(read_note(&root.join(NOTE), &signers)?.as_ref(), &log);
    let (archive, _) = open_archive(config, &data, founding.chain(), &evidence)?;
    Ok((data, archive))
}

/// The kept note if a quorum signed it, and the header of its block if the archive has it.
fn kept_note(
    file: &Path,
    signers: &Signers,
    archive: &archive::Reader,
) -> Result<(Option<KeptNote>, Option<Header>), RecoveryError> {
    let kept = read_note(file, signers)?;
    let noted = match &kept {
        Some(note) => find_size(archive, note.checkpoint.size)?
            .filter(|header| header.log_root == note.checkpoint.root),
        None => None,
    };
    Ok((kept, noted))
}

fn provable_of(tip: &Tip, header: &Header, note: &KeptNote) -> Provable {
    Provable {
        height: tip.height,
        time_ms: tip.time_ms,
        tip: tip.clone(),
        size: header.log_size,
        root: header.log_root,
        note: note.text.clone(),
    }
}

/// Says how far a long work is: a line now and then, a bar on a terminal.
struct Progress {
    what: &'static str,
    last: Option<Height>,
    said: Instant,
    bar: commands::progress::Progress,
}

impl Progress {
    fn new(what: &'static str, archive: &archive::Reader) -> Self {
        Self {
            what,
            last: archive.last(),
            said: Instant::now(),
            bar: commands::progress::Progress::new(what, archive.last().unwrap_or_default().0),
        }
    }

    fn say(&mut self, height: Height) {
        self.bar.at(height.0);
        // Whoever sees the bar needs no lines, which would be written into it.
        if !self.bar.is_shown() && self.said.elapsed() >= SAY_EVERY {
            self.said = Instant::now();
            let of = self.last.unwrap_or_default();
            tracing::info!(block = %height, %of, "{} are made again", self.what);
        }
    }
}

pub(crate) fn open_journal(
    dir: &Path,
    id: Option<JournalId>,
) -> Result<(Journal, JournalState, Vec<Record>), RecoveryError> {
    let id = id.ok_or(RecoveryError::NoJournalId)?;
    let opened = match Journal::open(dir, id) {
        Ok(opened) => opened,
        Err(
            error @ (journal::OpenError::Missing(_)
            | journal::OpenError::OtherJournal { .. }
            | journal::OpenError::Corrupt { .. }),
        ) => {
            tracing::error!(
                error = %crate::exit::Chain(&error),
                "this node does not vote: its journal is lost. It follows the others, and votes again once a quorum of them has \
                 answered"
            );
            if dir.exists() {
                let aside = files::set_aside(dir)?;
                tracing::error!(path = %aside.display(), "the damaged journal was set aside");
            }
            Journal::create(dir, id, Origin::Replacement)?;
            Journal::open(dir, id)?
        }
        Err(error) => return Err(error.into()),
    };
    if opened.cut_bytes > 0 {
        tracing::warn!(
            bytes = opened.cut_bytes,
            "the journal's torn end was cut off"
        );
    }
    let records = opened.records.iter().map(|bytes| Record::decode(bytes));
    let records = records.collect::<Result<Vec<_>, _>>();
    let records = records.map_err(RecoveryError::Record)?;
    let state = match opened.origin {
        // Once it holds records, they say how far its key's way back is.
        Origin::Replacement if records.is_empty() => JournalState::Lost,
        Origin::Replacement => JournalState::Intact,
        Origin::Fresh if records.is_empty() => JournalState::Fresh,
        Origin::Fresh => JournalState::Intact,
    };
    Ok((opened.journal, state, records))
}

fn open_guard(path: &Path, key: Key) -> Result<guard::Found, RecoveryError> {
    match CosignerGuard::open(path, key) {
        Ok(guard) => Ok(guard::Found::Kept(guard)),
        Err(error @ (guard::OpenError::Missing(_) | guard::OpenError::Unusable { .. })) => {
            tracing::error!(
                error = %crate::exit::Chain(&error),
                "this node's guard is lost: it cosigns nothing until it is known what its key may have signed"
            );
            Ok(guard::Found::Lost(guard::Lost::new(path.into(), key)))
        }
        Err(error @ guard::OpenError::File(_)) => Err(error.into()),
    }
}
