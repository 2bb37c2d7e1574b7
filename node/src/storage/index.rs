//! The index: what can be asked of the finalized state, in sled. The only module that names sled.
//!
//! It is never the only copy of anything: all of it follows from the archive. sled 0.34.7 does not sync
//! on `flush` and may not open, or may panic, after an unclean stop (docs of [`Index::open`]); so an index
//! without its `clean` marker is looked through in a process of its own ([`mod@check`]), and if it cannot be proved to hold what
//! was written it is thrown away and the caller applies the archive again. In which batches a block is written: [`writes`]. A [`View`] sees whole
//! blocks only.

mod check;
mod keys;
mod writes;

pub use check::{Checked, Unsound, bytes, check, is_needed};
pub use writes::Run;

use super::Fatal;
use super::files::{self, DurableFile};
use borsh::{BorshDeserialize, BorshSerialize};
use keys::Entry;
use ledger::codec::{self, DecodeError};
use ledger::document::DocumentId;
use ledger::hash::{ChainId, Hash, SubmissionHash};
use ledger::id::{AuthorityIndex, Epoch, Height, LeafIndex, TimeMs, TreeSize, ValidatorIndex};
use ledger::key::Key;
use ledger::state::{AuthState, DocState, Inclusion, KeyState, Registration};
use ledger::trie::{TrieKey, TrieValue};
use ledger::view::{Effects, StateUnavailable, StateView};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};
use writes::{Applied, Placed, Registered, WriteError};

/// Most keys of one batch: 401-key batches cost 315 MB of memory, 4,001-key batches 3.2 GB.
pub const BATCH_KEYS: usize = 256;
/// Cache of an index that is made from nothing: its keys come in order, and memory is dearer than the few reads. In memory a cached
/// page takes five times what it counts.
pub const MAKING_CACHE: u64 = 2 << 20;
/// How long a store that was closed may take to let go of its lock.
const LOCKED: Duration = Duration::from_secs(10);
/// Keys written between two checkpoints.
pub const CHECKPOINT_KEYS: u64 = 100_000;
/// Longest value: an encoded state.
const MAX_VALUE: usize = ledger::state::MAX_STATE;

/// The index of one node. Cheap to clone; one task applies blocks, any may read.
#[derive(Clone, Debug)]
pub struct Index(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    chain: ChainId,
    /// `None` once closed. Written under the write lock, block by block.
    store: RwLock<Option<sled::Db>>,
    unsaved_keys: AtomicU64,
}

/// What opening an index gives.
#[derive(Debug)]
pub struct Opened {
    /// The index.
    pub index: Index,
    /// Whether it holds what was applied before the last stop.
    pub start: Start,
}

/// What an index holds at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// All that was applied before the clean stop.
    Kept,
    /// Nothing: it was not closed cleanly (or never made), and is to be filled from the archive.
    Empty,
}

/// Where a block stands. Height 0 is the genesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its height.
    pub height: Height,
    /// Its time; submissions whose window ended before are forgotten.
    pub time_ms: TimeMs,
    /// Leaves of the log before it …
    pub log_before: TreeSize,
    /// … and after it.
    pub log_size: TreeSize,
}

impl Place {
    /// The place of the block that leads to this tip and has so many leaves.
    pub fn of(tip: &ledger::tip::Tip, leaves: usize) -> Self {
        let leaves = u64::try_from(leaves).unwrap_or(u64::MAX);
        let log_size = tip.log_size();
        Self {
            height: tip.height,
            time_ms: tip.time_ms,
            log_before: TreeSize(log_size.0.saturating_sub(leaves)),
            log_size,
        }
    }

    const fn first_leaf(&self) -> LeafIndex {
        LeafIndex(self.log_before.0)
    }
}

/// The store's own error.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(#[from] sled::Error);

/// The index cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It was closed.
    #[error("index is closed")]
    Closed,
    /// The store failed.
    #[error("index")]
    Store(#[from] StoreError),
    /// A value is not what was written.
    #[error("entry {key} of the index")]
    Malformed {
        /// The entry's key in hex.
        key: String,
        /// Why it cannot be read.
        #[source]
        source: DecodeError,
    },
}

/// A consistent look at the index: whole blocks only. Applying waits while one is held, so drop it soon.
#[derive(Debug)]
pub struct View<'a>(RwLockReadGuard<'a, Option<sled::Db>>);

impl Index {
    /// Opens the index of `chain`, or begins an empty one.
    ///
    /// `cache_bytes` is a cache size, not a bound of memory; an empty one is opened with a small cache, to be closed and opened
    /// again once it is filled. Without the `clean` marker (or with another
    /// chain's or format's) the store is deleted without opening it: after a power cut opening it returned
    /// corruption late or panicked in 6 of 20 trials, and a kill can leave part of a block.
    ///
    /// # Errors
    /// [`Fatal`].
    pub fn open(dir: &Path, chain: ChainId, cache_bytes: u64) -> Result<Opened, Fatal> {
        files::create_dir(dir)?;
        let marker = files::read_if_exists(&marker_path(dir))?;
        // Removed before anything is written: from here on the store counts as unclean.
        files::remove(&marker_path(dir))?;
        let kept = if marker.is_some_and(|found| found == marker_text(chain).as_bytes()) {
            open_store(dir, cache_bytes)
                .inspect_err(|error| tracing::warn!(%error, "the index was closed and does not open: it is made again"))
                .ok()
        } else {
            None
        };
        let (store, start) = match kept {
            Some(store) => (store, Start::Kept),
            None => {
                files::remove_dir(&store_path(dir))?;
                files::write_atomic(&begun_path(dir), marker_text(chain).as_bytes())?;
                let cache = cache_bytes.min(MAKING_CACHE);
                let store = open_store(dir, cache).map_err(|error| fatal(dir, error))?;
                (store, Start::Empty)
            }
        };
        let shared = Shared {
            dir: dir.into(),
            chain,
            store: RwLock::new(Some(store)),
            unsaved_keys: AtomicU64::new(0),
        };
        let index = Self(Arc::new(shared));
        Ok(Opened { index, start })
    }

    /// Removes an index that nobody has open. Its marker goes first: what a kill leaves behind counts as unclean.
    ///
    /// # Errors
    /// [`files::FileError`].
    pub fn remove(dir: &Path) -> Result<(), files::FileError> {
        files::remove(&marker_path(dir))?;
        files::remove_dir(dir)
    }

    /// One that is closed from the beginning: stands in for an index that is still being made.
    pub fn closed(dir: &Path, chain: ChainId) -> Self {
        Self(Arc::new(Shared {
            dir: dir.into(),
            chain,
            store: RwLock::new(None),
            unsaved_keys: AtomicU64::new(0),
        }))
    }

    /// Applies one block, which must be the next one (height 0, the genesis, to an empty index).
    ///
    /// # Errors
    /// [`Fatal`]: end the process; the index is looked through at the next start.
    pub fn apply(&self, place: Place, effects: &Effects) -> Result<(), Fatal> {
        let written = {
            let guard = self.0.store.write().unwrap_or_else(PoisonError::into_inner);
            self.write(guard.as_ref(), &[place], effects)?
        };
        self.wrote(written)
    }

    /// Applies the next blocks together, while views stay possible that see some of it and some not: for whoever makes the
    /// index, looks through the run at what is below it, and lets nobody else look.
    ///
    /// # Errors
    /// As [`Index::apply`].
    pub fn apply_run(&self, run: &Run) -> Result<(), Fatal> {
        let written = {
            let guard = self.0.store.read().unwrap_or_else(PoisonError::into_inner);
            self.write(guard.as_ref(), run.places(), run.effects())?
        };
        self.wrote(written)
    }

    fn write(
        &self,
        store: Option<&sled::Db>,
        places: &[Place],
        effects: &Effects,
    ) -> Result<u64, Fatal> {
        let store = store.ok_or_else(|| self.misuse("index is closed"))?;
        writes::write(store, places, effects).map_err(|error| match error {
            WriteError::Order(..) => self.misuse(&error.to_string()),
            WriteError::Read(error) => self.unreadable(error),
            WriteError::Store(error) => fatal(&self.0.dir, error),
        })
    }

    fn wrote(&self, keys: u64) -> Result<(), Fatal> {
        let unsaved = self.0.unsaved_keys.fetch_add(keys, Ordering::Relaxed);
        if unsaved.saturating_add(keys) >= CHECKPOINT_KEYS {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Brings all that was applied to stable storage: sled's flush and our own `fdatasync`.
    ///
    /// # Errors
    /// [`Fatal`]: end the process.
    pub fn checkpoint(&self) -> Result<(), Fatal> {
        self.0.unsaved_keys.store(0, Ordering::Relaxed);
        {
            let guard = self.0.store.read().unwrap_or_else(PoisonError::into_inner);
            let Some(store) = guard.as_ref() else {
                return Ok(());
            };
            let flushed = store.flush();
            flushed.map_err(|error| fatal(&self.0.dir, error.into()))?;
        }
        sync_store(&self.0.dir)
    }

    /// Flushes, closes and marks the index clean; views that are asked later are refused.
    ///
    /// # Errors
    /// [`Fatal`]; the index is then rebuilt at the next start.
    pub fn close(&self) -> Result<(), Fatal> {
        let store = {
            let mut guard = self.0.store.write().unwrap_or_else(PoisonError::into_inner);
            guard.take()
        };
        let Some(store) = store else {
            return Ok(());
        };
        let flushed = store.flush();
        flushed.map_err(|error| fatal(&self.0.dir, error.into()))?;
        // sled may write once more when it is dropped.
        drop(store);
        sync_store(&self.0.dir)?;
        let marker = marker_text(self.0.chain);
        files::write_atomic(&marker_path(&self.0.dir), marker.as_bytes())?;
        Ok(())
    }

    /// A look at the state after the last applied block.
    ///
    /// # Errors
    /// [`ReadError::Closed`].
    pub fn view(&self) -> Result<View<'_>, ReadError> {
        let guard = self.0.store.read().unwrap_or_else(PoisonError::into_inner);
        if guard.is_none() {
            return Err(ReadError::Closed);
        }
        Ok(View(guard))
    }

    /// The last applied block; `None` before the genesis was applied.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn applied(&self) -> Result<Option<Height>, ReadError> {
        self.view()?.applied()
    }

    fn misuse(&self, what: &str) -> Fatal {
        Fatal::Misuse {
            path: self.0.dir.clone(),
            what: what.into(),
        }
    }

    fn unreadable(&self, error: ReadError) -> Fatal {
        match error {
            ReadError::Store(source) => fatal(&self.0.dir, source),
            ReadError::Closed | ReadError::Malformed { .. } => self.misuse(&error.to_string()),
        }
    }
}

impl View<'_> {
    /// The last applied block; `None` before the genesis was applied.
    ///
    /// # Errors
    /// [`ReadError`], here and below, when the store fails or holds what was never written.
    pub fn applied(&self) -> Result<Option<Height>, ReadError> {
        let applied: Option<Applied> = get(self.store()?, Entry::Applied)?;
        Ok(applied.map(|applied| applied.height))
    }

    /// The block whose leaves include this log index; `None` behind the last.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn block_of(&self, leaf: LeafIndex) -> Result<Option<(Height, LeafIndex)>, ReadError> {
        let found = self.placed(leaf)?;
        Ok(found.map(|(placed, first)| (placed.height, first)))
    }

    /// The block of a leaf, and its first leaf.
    fn placed(&self, leaf: LeafIndex) -> Result<Option<(Placed, LeafIndex)>, ReadError> {
        let below = Entry::Block(leaf.saturating_add(1)).encode();
        let found = self.store()?.get_lt(below).map_err(StoreError)?;
        let Some((key, value)) = found else {
            return Ok(None);
        };
        let Some(first) = keys::block_first(&key) else {
            return Ok(None);
        };
        Ok(Some((decode(&key, &value)?, first)))
    }

    /// Log indices of a document's records in log order: at most `limit`, from position `offset` on.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn history(
        &self,
        id: &DocumentId,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<LeafIndex>, ReadError> {
        let registered: Option<Registered> = self.get(Entry::Registration(*id))?;
        let first = registered.map(|registered| Ok(registered.index));
        let later = self.store()?.scan_prefix(keys::history_prefix(id)).keys();
        let later = later.filter_map(|key| match key {
            Ok(key) => keys::history_leaf(&key).map(Ok),
            Err(error) => Some(Err(StoreError(error).into())),
        });
        let all = first.into_iter().chain(later);
        all.skip(offset).take(limit).collect()
    }

    /// Hands every entry of the status map to `entry`, in no useful order: to build the trie at start.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn for_each_trie_entry(
        &self,
        mut entry: impl FnMut(TrieKey, TrieValue),
    ) -> Result<(), ReadError> {
        let store = self.store()?;
        for item in store.scan_prefix([keys::DOC_STATE]) {
            let (key, value) = item.map_err(StoreError)?;
            let state: DocState = decode(&key, &value)?;
            entry(DocState::trie_key(&state.id), state.trie_value());
        }
        for item in store.scan_prefix([keys::KEY_STATE]) {
            let (key, value) = item.map_err(StoreError)?;
            let state: KeyState = decode(&key, &value)?;
            if let Some(of) = keys::key_of(&key) {
                entry(KeyState::trie_key(&of), state.trie_value());
            }
        }
        for item in store.scan_prefix([keys::AUTH_STATE]) {
            let (key, value) = item.map_err(StoreError)?;
            let state: AuthState = decode(&key, &value)?;
            if let Some(of) = keys::authority_of(&key) {
                entry(AuthState::trie_key(of), state.trie_value());
            }
        }
        Ok(())
    }

    fn store(&self) -> Result<&sled::Db, ReadError> {
        self.0.as_ref().ok_or(ReadError::Closed)
    }

    fn get<T>(&self, key: Entry) -> Result<Option<T>, ReadError>
    where
        T: BorshSerialize + BorshDeserialize,
    {
        get(self.store()?, key)
    }
}

impl StateView for View<'_> {
    fn registration(&self, id: &DocumentId) -> Result<Option<Registration>, StateUnavailable> {
        let registered = self.get::<Registered>(Entry::Registration(*id));
        let Some(registered) = registered.map_err(unavailable)? else {
            return Ok(None);
        };
        let placed = self.placed(registered.index).map_err(unavailable)?;
        let (block, _) = placed.ok_or_else(|| {
            StateUnavailable(format!("index has no block of leaf {}", registered.index))
        })?;
        Ok(Some(Registration {
            index: registered.index,
            height: block.height,
            time_ms: block.time_ms,
            authority: registered.authority,
            kind: registered.kind,
        }))
    }

    fn doc_state(&self, id: &DocumentId) -> Result<Option<DocState>, StateUnavailable> {
        self.get(Entry::DocState(*id)).map_err(unavailable)
    }

    fn key_state(&self, key: &Key) -> Result<Option<KeyState>, StateUnavailable> {
        self.get(Entry::KeyState(*key)).map_err(unavailable)
    }

    fn auth_state(&self, authority: AuthorityIndex) -> Result<Option<AuthState>, StateUnavailable> {
        self.get(Entry::AuthState(authority)).map_err(unavailable)
    }

    fn inclusion(
        &self,
        submission: &SubmissionHash,
    ) -> Result<Option<Inclusion>, StateUnavailable> {
        self.get(Entry::Submission(*submission))
            .map_err(unavailable)
    }

    fn has_evidence(&self, epoch: Epoch, signer: ValidatorIndex) -> Result<bool, StateUnavailable> {
        let key = Entry::Evidence(epoch, signer).encode();
        let found = self
            .store()
            .and_then(|store| Ok(store.contains_key(key).map_err(StoreError)?));
        found.map_err(unavailable)
    }

    fn published(&self, sha256: &Hash) -> Result<Vec<DocumentId>, StateUnavailable> {
        let read = || {
            let mut documents = Vec::new();
            for key in self
                .store()?
                .scan_prefix(keys::published_prefix(sha256))
                .keys()
            {
                documents.extend(keys::published_document(&key.map_err(StoreError)?));
            }
            Ok(documents)
        };
        read().map_err(unavailable)
    }
}

fn get<T>(store: &sled::Db, key: Entry) -> Result<Option<T>, ReadError>
where
    T: BorshSerialize + BorshDeserialize,
{
    let key = key.encode();
    let value = store.get(&key).map_err(StoreError)?;
    value.map(|value| decode(&key, &value)).transpose()
}

fn decode<T>(key: &[u8], value: &[u8]) -> Result<T, ReadError>
where
    T: BorshSerialize + BorshDeserialize,
{
    codec::decode(value, MAX_VALUE).map_err(|source| ReadError::Malformed {
        key: hex::encode(key),
        source,
    })
}

fn unavailable(error: ReadError) -> StateUnavailable {
    StateUnavailable(crate::exit::Chain(&error).to_string())
}

fn open_store(dir: &Path, cache_bytes: u64) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new()
        .path(store_path(dir))
        .mode(sled::Mode::LowSpace)
        .cache_capacity(cache_bytes)
        // Its background flush is the only place where sled syncs; ours is `checkpoint`.
        .flush_every_ms(None);
    // A store that this process has just closed keeps its lock until the last of sled's threads has let go of it. Nobody else
    // can have it: the data directory is locked.
    let begun = Instant::now();
    loop {
        match config.open() {
            Err(error) if is_locked(&error) && begun.elapsed() < LOCKED => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return Ok(opened?),
        }
    }
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(io) if io.to_string().contains("acquire lock"))
}

fn fatal(dir: &Path, source: StoreError) -> Fatal {
    Fatal::Index {
        path: dir.into(),
        source,
    }
}

/// sled's own flush syncs neither metadata nor the disk's cache.
fn sync_store(dir: &Path) -> Result<(), Fatal> {
    let dir = store_path(dir);
    DurableFile::open(&dir.join("db"))?.sync_data()?;
    files::sync_dir(&dir)?;
    Ok(())
}

fn store_path(dir: &Path) -> PathBuf {
    dir.join("sled")
}

fn marker_path(dir: &Path) -> PathBuf {
    dir.join("clean")
}

/// Whose index it is, and in which version, from its first day on.
fn begun_path(dir: &Path) -> PathBuf {
    dir.join("begun")
}

fn marker_text(chain: ChainId) -> String {
    format!("nachweis-index 3\nchain {chain}\n")
}

#[cfg(test)]
mod tests;
