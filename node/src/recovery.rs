//! From what the disk holds to a node that can go on.
//!
//! The archive is the truth. Log hashes and index follow from it: what is missing is made again by the code that makes
//! it in normal life, and every root is compared with the archive's headers on the way. The journal and the cosigner's
//! guard cannot be made again: without its journal the node votes only once it has rejoined, without its guard it cosigns
//! nothing until the others have said how far they are, and it says so.

mod ending;

use crate::chain::{Head, Provable};
use crate::config::Config;
use crate::cosigner::{KeptNote, Signers};
use crate::driver::serve;
use crate::epochs::{EpochError, Epochs};
use crate::identity::Keys;
use crate::publisher;
use crate::states::{Post, States};
use crate::storage::guard::{self, CosignerGuard};
use crate::storage::index::{self, Index, Start};
use crate::storage::journal::{self, Journal};
use crate::storage::log_hashes::{self, LogHashes};
use crate::storage::restarts::{Restarts, RestartsError};
use crate::storage::{DataDir, DataDirError, Fatal, archive, files};
use consensus::{EpochSpec, JournalState, Record, Sealed};
use ending::Evidence;
use ledger::block::{Block, Body, CheckedBody, ReceiveError};
use ledger::certificate::Certificate;
use ledger::codec::DecodeError;
use ledger::execute::{self, BlockError};
use ledger::genesis::GenesisError;
use ledger::hash::{ChainId, Hash};
use ledger::header::Header;
use ledger::id::{Height, TreeSize};
use ledger::journal::{JournalId, Origin};
use ledger::key::Key;
use ledger::log::Frontier;
use ledger::tip::{Founding, Tip};
use ledger::trie::Trie;
use ledger::view::StateView;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The newest note, in the data directory.
const NOTE: &str = "checkpoint";
/// How often a long rebuild says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(2);
/// Frames that are looked through for the newest finalization.
const MAX_UNCERTIFIED: usize = 4_096;

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
    /// What a person must be told about the archive's end.
    pub alarm: Option<String>,
}

/// Everything that a node starts from.
#[derive(Debug)]
pub struct Recovered {
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
    /// The cosigner's guard, or its place.
    pub guard: guard::Found,
    /// The journal.
    pub journal: Journal,
    /// What was found of it.
    pub journal_state: JournalState,
    /// Its records.
    pub records: Vec<Record>,
    /// The newest finalization in the archive.
    pub finalization: Option<Certificate>,
    /// The epoch of the next block.
    pub epoch: EpochSpec,
    /// How the epoch before ended.
    pub previous: Option<Sealed>,
    /// Damage at the archive's end that a person must look at.
    pub alarm: Option<String>,
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
    /// The file system says no.
    #[error(transparent)]
    File(#[from] files::FileError),
}

impl RecoveryError {
    /// Whether a damaged block was met: once it was fetched from peers, the recovery can be tried again.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Block(archive::ReadError::Damaged(_)))
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

/// Brings the disk's parts to the archive's end, and reads the validator's own.
///
/// # Errors
/// [`RecoveryError`].
pub fn recover(config: &Config, owner: &Owner) -> Result<Recovered, RecoveryError> {
    let data = open_data(config, &owner.founding)?;
    // Before the archive: they know what it once held.
    let (journal, journal_state, records) = open_journal(&data.journal(), owner.journal)?;
    let guard = open_guard(&data.guard(), owner.cosigner)?;
    let RecoveredChain {
        founding,
        data,
        archive,
        log,
        states,
        head,
        provable,
        note_file,
        signers,
        finalization,
        epoch,
        previous,
        alarm,
    } = chain(config, &owner.founding, data, |known| {
        known.with(&guard, &records)
    })?;
    Ok(Recovered {
        founding,
        data,
        archive,
        log,
        states,
        head,
        provable,
        note_file,
        signers,
        guard,
        journal,
        journal_state,
        records,
        finalization,
        epoch,
        previous,
        alarm,
    })
}

/// Brings archive, log hashes and index to the archive's end; touches neither journal nor guard.
///
/// # Errors
/// [`RecoveryError`].
pub fn recover_chain(
    config: &Config,
    founding: &Founding,
) -> Result<RecoveredChain, RecoveryError> {
    chain(config, founding, open_data(config, founding)?, |known| {
        known
    })
}

fn open_data(config: &Config, founding: &Founding) -> Result<DataDir, RecoveryError> {
    let least = config.storage.min_free_bytes;
    Ok(DataDir::open(&config.data(), founding.chain(), least)?)
}

/// What `recover_chain` says, with what else is known of the archive's end.
fn chain(
    config: &Config,
    founding: &Founding,
    data: DataDir,
    more: impl FnOnce(Evidence) -> Evidence,
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
    let rebuild = Rebuild {
        restarts: &restarts,
        founding: &founding,
        archive: &reader,
        log: &log,
        dir: data.index(),
        cache: config.storage.index_cache_bytes,
        stand: noted.as_ref().map(|header| header.height),
        max_unproved: config.receipts.max_unproved_blocks,
    };
    let states = rebuild.states()?;
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
    let (epoch, previous) = epochs.setup(&tip)?;
    Ok(RecoveredChain {
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
    drop(log);
    files::remove_dir(&data.index())?;
    files::remove_dir(&data.log())?;
    let mut log = recover_log(LogHashes::open(&data.log())?, &reader)?;
    let (_, noted) = kept_note(&root.join(NOTE), &signers, &reader)?;
    let restarts = Restarts::load(&data.archive(), founding)?;
    let rebuild = Rebuild {
        restarts: &restarts,
        founding,
        archive: &reader,
        log: &log,
        dir: data.index(),
        cache: config.storage.index_cache_bytes,
        stand: noted.map(|header| header.height),
        max_unproved: config.receipts.max_unproved_blocks,
    };
    let states = rebuild.states()?;
    states.index().close()?;
    log.checkpoint()?;
    let tip = states.final_tip();
    Ok(Reindexed {
        height: tip.height,
        log_size: tip.log_size(),
    })
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
    let segment = config.storage.segment_bytes;
    let mut archive = archive::Archive::open_with(&data.archive(), chain, segment)?;
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
    owner: &Owner,
) -> Result<(DataDir, archive::Archive), RecoveryError> {
    let founding = &owner.founding;
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

/// The header of an archived block; `None` for height 0 and above the archive.
fn read_header(archive: &archive::Reader, height: Height) -> Result<Option<Header>, RecoveryError> {
    let Some(payload) = archive.read(height)? else {
        return Ok(None);
    };
    let decoded = serve::decode(payload);
    let (block, _) = decoded.map_err(|error| RecoveryError::Replay {
        height,
        source: error.into(),
    })?;
    Ok(Some(block.header))
}

/// The header of the first block from a height on that can be read.
fn readable_header(
    archive: &archive::Reader,
    from: Height,
) -> Result<Option<Header>, RecoveryError> {
    let mut next = archive.readable_from(from);
    while let Some(height) = next {
        match read_header(archive, height) {
            Err(error) if error.is_damage() => {
                next = archive.readable_from(height.saturating_add(1));
            }
            read => return read,
        }
    }
    Ok(None)
}

/// The last block after which the log has at most this size, by bisection; `None` before block 1.
fn last_within(archive: &archive::Reader, size: TreeSize) -> Result<Option<Header>, RecoveryError> {
    let (mut low, mut high) = (0_u64, archive.last().map_or(0, |last| last.0));
    let mut found = None;
    while low < high {
        let middle = high.saturating_sub(high.saturating_sub(low) / 2);
        // Where a block cannot be read, the next one that can stands for it.
        match readable_header(archive, Height(middle))? {
            Some(header) if header.height.0 <= high && header.log_size <= size => {
                low = header.height.0;
                found = Some(header);
            }
            Some(_) | None => high = middle.saturating_sub(1),
        }
    }
    Ok(found)
}

/// The block after which the log has exactly this size.
fn find_size(archive: &archive::Reader, size: TreeSize) -> Result<Option<Header>, RecoveryError> {
    Ok(last_within(archive, size)?.filter(|header| header.log_size == size))
}

fn newest_finalization(
    archive: &archive::Reader,
    tip: Height,
) -> Result<Option<Certificate>, RecoveryError> {
    for height in (1..=tip.0).rev().take(MAX_UNCERTIFIED).map(Height) {
        match archive.read(height) {
            Ok(Some(payload)) if payload.finalization.is_some() => {
                return Ok(payload.finalization);
            }
            // A block that cannot be read is passed over: an older finalization will do.
            Ok(_) | Err(archive::ReadError::Damaged(_) | archive::ReadError::Away { .. }) => {}
            Err(error @ archive::ReadError::File(_)) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Brings the log's hashes to the archive's end.
fn recover_log(mut log: LogHashes, archive: &archive::Reader) -> Result<LogHashes, RecoveryError> {
    if let Some((level, tile, _)) = log.reader().unsound_tile(|_| true)? {
        // Everything before it is believed if the root is right in the end.
        let step = u32::from(level).saturating_add(1).saturating_mul(8);
        let sound = TreeSize(tile.checked_shl(step).unwrap_or(0));
        tracing::warn!(from = %sound, "the log's hashes are damaged: they are made again from there");
        log.truncate(sound)?;
    }
    match extend_log(&mut log, archive) {
        Err(RecoveryError::Replay {
            source: ReplayError::LogRoot { .. },
            height,
        }) => {
            tracing::warn!(%height, "the log's hashes are damaged: they are made again");
            log.truncate(TreeSize(0))?;
            extend_log(&mut log, archive)?;
        }
        done => done?,
    }
    Ok(log)
}

fn extend_log(log: &mut LogHashes, archive: &archive::Reader) -> Result<(), RecoveryError> {
    let from = last_within(archive, log.size())?;
    let mut height = from.as_ref().map_or(Height(0), |header| header.height);
    log.truncate(from.as_ref().map_or(TreeSize(0), |header| header.log_size))?;
    let mut last = from;
    let mut progress = Progress::new("log hashes", archive);
    for frame in archive.iter(height.saturating_add(1)) {
        let (at, payload) = frame?;
        let fault = |source| RecoveryError::Replay { height: at, source };
        let block = Block::decode(&payload.block).map_err(|error| fault(error.into()))?;
        let leaves = block.leaves().map_err(|error| fault(error.into()))?;
        let hashes: Vec<Hash> = leaves
            .iter()
            .map(|leaf| ledger::log::leaf_hash(leaf))
            .collect();
        log.push(&hashes)?;
        last = Some(block.header);
        height = at;
        progress.say(at);
    }
    let Some(header) = last else {
        return Ok(());
    };
    let found = ledger::log::root(&log.reader(), header.log_size)?;
    let expected = header.log_root;
    if found == expected {
        return Ok(());
    }
    let source = ReplayError::LogRoot { found, expected };
    Err(RecoveryError::Replay { height, source })
}

/// Says now and then how far a long work is.
struct Progress {
    what: &'static str,
    last: Option<Height>,
    said: Instant,
}

impl Progress {
    fn new(what: &'static str, archive: &archive::Reader) -> Self {
        Self {
            what,
            last: archive.last(),
            said: Instant::now(),
        }
    }

    fn say(&mut self, height: Height) {
        if self.said.elapsed() >= SAY_EVERY {
            self.said = Instant::now();
            let of = self.last.unwrap_or_default();
            tracing::info!(block = %height, %of, "{} are made again", self.what);
        }
    }
}

/// Brings the index and what is above it to the archive's end.
struct Rebuild<'a> {
    restarts: &'a Restarts,
    founding: &'a Founding,
    archive: &'a archive::Reader,
    log: &'a LogHashes,
    dir: PathBuf,
    cache: u64,
    /// Where the index should stand: the kept checkpoint; the archive's end if there is none.
    stand: Option<Height>,
    max_unproved: usize,
}

impl Rebuild<'_> {
    fn states(&self) -> Result<States, RecoveryError> {
        let opened = Index::open(&self.dir, self.founding.chain(), self.cache)?;
        let kept = match opened.start {
            Start::Kept => self.base(&opened.index)?,
            Start::Empty => None,
        };
        let (index, base) = match kept {
            Some(base) => (opened.index, base),
            None => {
                let index = if opened.start == Start::Kept {
                    tracing::warn!("the index does not fit the archive: it is made again");
                    drop(opened.index);
                    // Its marker is gone since it was opened: it is thrown away.
                    Index::open(&self.dir, self.founding.chain(), self.cache)?.index
                } else {
                    opened.index
                };
                (index.clone(), self.begin(&index)?)
            }
        };
        let states = States::new(index, base);
        self.replay(&states)?;
        Ok(states)
    }

    /// An empty index with the genesis in it.
    fn begin(&self, index: &Index) -> Result<Tip, RecoveryError> {
        let tip = self.founding.tip();
        let tip = self.restarts.go_on(&self.founding.epoch(), tip);
        let effects = self.founding.effects();
        index.apply(&index::BlockWrites {
            height: tip.height,
            time_ms: tip.time_ms,
            first_leaf: ledger::id::LeafIndex(0),
            effects: &effects,
        })?;
        Ok(tip)
    }

    /// Where a kept index stands; `None` if it is not a state of this archive's chain.
    fn base(&self, index: &Index) -> Result<Option<Tip>, RecoveryError> {
        let view = index.view()?;
        let Some(height) = view.applied()? else {
            return Ok(None);
        };
        let mut entries = std::collections::BTreeMap::new();
        view.for_each_trie_entry(|key, value| {
            entries.insert(key, value);
        })?;
        let mut trie = Trie::new();
        trie.extend(&entries);
        let genesis = self.founding.tip();
        if height == Height(0) {
            let fits = trie.root() == genesis.trie.root();
            return Ok(fits.then(|| self.restarts.go_on(&self.founding.epoch(), genesis)));
        }
        let Some(header) = read_header(self.archive, height)? else {
            return Ok(None);
        };
        let log = Frontier::read(&self.log.reader(), header.log_size)?;
        let fits = trie.root() == header.status_root && log.root() == header.log_root;
        let epochs = Epochs {
            founding: self.founding,
            archive: self.archive,
            restarts: self.restarts,
        };
        // A set that the genesis does not give is made by executing the blocks again.
        let Some(epoch) = epochs.after(&header)?.filter(|_| fits) else {
            return Ok(None);
        };
        Ok(Some(Tip {
            height,
            hash: header.hash(),
            time_ms: header.time_ms,
            epoch: Arc::new(epoch),
            log,
            trie,
        }))
    }

    /// Executes the archive's blocks above the index.
    fn replay(&self, states: &States) -> Result<(), RecoveryError> {
        let stand = self.stand.unwrap_or(Height(u64::MAX));
        let from = states.base().height.saturating_add(1);
        let mut progress = Progress::new("index entries", self.archive);
        for frame in self.archive.iter(from) {
            let (height, payload) = frame?;
            let post = self
                .execute(states, &payload.block)
                .map_err(|source| RecoveryError::Replay { height, source })?;
            states.finalize(std::slice::from_ref(&post));
            while let Some(oldest) = states.oldest_final()
                && (oldest.tip().height <= stand || states.finals() > self.max_unproved)
            {
                publisher::apply(states.index(), &oldest)?;
                states.settle(oldest.tip().height);
            }
            progress.say(height);
        }
        Ok(())
    }

    fn execute(&self, states: &States, bytes: &[u8]) -> Result<Post, ReplayError> {
        let Block { header, body } = Block::decode(bytes)?;
        let branch = states.final_branch();
        let body = self.open_body(branch.tip(), &header, &body)?;
        let checked = branch.with(states, |state: &dyn StateView, tip| {
            execute::check_block(self.founding, state, tip, &header, &body)
        });
        match checked {
            Ok(executed) => {
                let mut executed = executed?;
                let deciding = &branch.tip().epoch;
                executed.tip = self.restarts.go_on(deciding, executed.tip);
                Ok(Post::new(executed))
            }
            Err(closed) => Err(BlockError::Unavailable(ledger::view::StateUnavailable(
                closed.to_string(),
            ))
            .into()),
        }
    }

    fn open_body(
        &self,
        parent: &Tip,
        header: &Header,
        body: &Body,
    ) -> Result<CheckedBody, ReceiveError> {
        let rng = crate::admission::system_rng();
        CheckedBody::receive(self.founding, &parent.epoch, header, body, |_| None, rng)
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
                "this node's guard is lost: it cosigns nothing until a quorum of others says how far they are"
            );
            Ok(guard::Found::Lost(guard::Lost::new(path.into(), key)))
        }
        Err(error @ guard::OpenError::File(_)) => Err(error.into()),
    }
}
