//! The client's state: what it sent, how to open it, and where it stands. Written before anything is sent.
//!
//! A folder of mode 0700 with three files of mode 0600:
//!
//! - `registrations`: a heading line, then frames, appended only: length u32 LE ‖ first 8 bytes of
//!   SHA-256(payload) ‖ payload, an [`Entry`] in the ledger's canonical encoding. Every frame is synced before
//!   what it is about goes on. A frame that is cut off at the end of the file was never acted upon, and is
//!   dropped; a damaged one in the middle is an error.
//! - `lock`: one writer at a time.
//! - `seen`: size of the newest checkpoint that was verified, so that a node cannot show an older one.
//!
//! Salts stay here after a receipt is written: a lost receipt can be made again.

mod journal;

pub use journal::{FileEntry, JournalError};

use journal::{Entry, Journal};
use ledger::codec::{Bytes, List};
use ledger::document::DocumentId;
use ledger::hash::{ChainId, SubmissionHash};
use ledger::id::{AuthorityIndex, TreeSize};
use ledger::submission::VerifiedSubmission;
use rustix::fs::{FlockOperation, flock};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whose state it is: it is of no use for another network or authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The network.
    pub chain: ChainId,
    /// The authority.
    pub authority: AuthorityIndex,
}

/// The state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another client has it.
    #[error("another nachweis is at work with the state in {}", .0.display())]
    Locked(PathBuf),
    /// It is open to others.
    #[error("state {} is open to others: mode {mode:04o}", path.display())]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another network or authority.
    #[error("the state in {} belongs to authority #{authority} of network {chain}", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Its network.
        chain: ChainId,
        /// Its authority.
        authority: AuthorityIndex,
    },
    /// The file system refuses.
    #[error("the state in {} cannot be used", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file's path is too long to be kept.
    #[error("path {} is over {} bytes long", .0.display(), journal::MAX_PATH)]
    Path(PathBuf),
}

impl StateError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Locked(_) => {
                Some("wait until it has ended; it and this one would register twice".into())
            }
            Self::Open { path, .. } => Some(format!("chmod go-rwx {}", path.display())),
            Self::Foreign { .. } => Some("name another folder as `state`".into()),
            Self::Journal(error) => error.hint(),
            Self::Io { .. } | Self::Path(_) => None,
        }
    }
}

/// A submission under way: its bytes may have been sent, and it is not proved to be on the ledger.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Names it on the chain.
    pub hash: SubmissionHash,
    /// The signed bytes, sent again as they are.
    pub bytes: Arc<[u8]>,
    /// The files that it registers.
    pub files: Vec<FileEntry>,
}

/// How far the registration of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Written down and perhaps sent.
    Pending,
    /// On the ledger, by a receipt that was checked here.
    Proved,
}

/// What the journal says, by file and by document.
#[derive(Debug, Default)]
pub struct Registrations {
    entries: HashMap<DocumentId, (FileEntry, Progress)>,
    by_place: HashMap<Vec<u8>, DocumentId>,
    pending: BTreeMap<u64, Pending>,
    numbers: HashMap<SubmissionHash, u64>,
    next: u64,
}

impl Registrations {
    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Head { .. } => {}
            Entry::Batch {
                hash,
                submission,
                files,
            } => {
                let pending = Pending {
                    hash,
                    bytes: submission.into_vec().into(),
                    files: files.into_vec(),
                };
                self.begin(pending);
            }
            Entry::Settled { hash } => self.settle(&hash),
        }
    }

    /// A batch that names documents of an earlier one takes its place: it is the same, signed again.
    fn begin(&mut self, pending: Pending) {
        let documents: HashSet<_> = pending.files.iter().map(|file| file.document).collect();
        if documents.iter().any(|id| self.entries.contains_key(id)) {
            self.pending.retain(|_, old| {
                !old.files
                    .iter()
                    .any(|file| documents.contains(&file.document))
            });
        }
        for file in &pending.files {
            self.by_place.insert(file.place.to_vec(), file.document);
            let entry = (file.clone(), Progress::Pending);
            self.entries.insert(file.document, entry);
        }
        self.numbers.insert(pending.hash, self.next);
        self.pending.insert(self.next, pending);
        self.next += 1;
    }

    fn settle(&mut self, hash: &SubmissionHash) {
        let number = self.numbers.remove(hash);
        let Some(pending) = number.and_then(|number| self.pending.remove(&number)) else {
            return;
        };
        for file in &pending.files {
            if let Some((_, progress)) = self.entries.get_mut(&file.document) {
                *progress = Progress::Proved;
            }
        }
    }

    /// The newest registration of the file at this place.
    pub fn at(&self, place: &Path) -> Option<(&FileEntry, Progress)> {
        let id = self.by_place.get(place.as_os_str().as_bytes())?;
        self.document(id)
    }

    /// A document that was registered from here.
    pub fn document(&self, id: &DocumentId) -> Option<(&FileEntry, Progress)> {
        let (entry, progress) = self.entries.get(id)?;
        Some((entry, *progress))
    }

    /// Submissions that are not proved to be on the ledger, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &Pending> {
        self.pending.values()
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The state, open for writing; no other client can open it meanwhile.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    journal: Journal,
    registrations: Registrations,
    _lock: File,
}

impl State {
    /// Opens the state in a folder, or makes a new one.
    ///
    /// # Errors
    /// [`StateError`]: locked, open to others, another network's, damaged.
    pub fn open(dir: &Path, owner: Owner) -> Result<Self, StateError> {
        let unusable = |source| StateError::Io {
            path: dir.into(),
            source,
        };
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(unusable(error));
            }
            Ok(()) | Err(_) => {}
        }
        private(dir)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("lock"))
            .map_err(unusable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StateError::Locked(dir.into())),
            Err(errno) => return Err(unusable(errno.into())),
        }
        let path = dir.join("registrations");
        if path.exists() {
            private(&path)?;
        }
        let mut registrations = Registrations::default();
        let head = Entry::Head {
            chain: owner.chain,
            authority: owner.authority,
        };
        let (journal, first) =
            Journal::open(&path, &head, &mut |entry| registrations.apply(entry))?;
        check_owner(dir, first, owner)?;
        Ok(Self {
            dir: dir.into(),
            journal,
            registrations,
            _lock: lock,
        })
    }

    /// What is registered.
    pub const fn registrations(&self) -> &Registrations {
        &self.registrations
    }

    /// Writes down a submission that is about to be sent, durably.
    ///
    /// # Errors
    /// [`StateError`]: then it must not be sent.
    pub fn begin(
        &mut self,
        submission: &VerifiedSubmission,
        files: Vec<FileEntry>,
    ) -> Result<Pending, StateError> {
        let entry = Entry::Batch {
            hash: submission.hash(),
            submission: bounded(submission.encoded().to_vec())?,
            files: List::try_from(files.clone()).map_err(|_over| JournalError::Bound)?,
        };
        self.journal.append(&entry)?;
        let pending = Pending {
            hash: submission.hash(),
            bytes: submission.encoded().into(),
            files,
        };
        self.registrations.begin(pending.clone());
        Ok(pending)
    }

    /// Writes down that a submission is on the ledger, durably. A checked receipt of one of its documents shows
    /// it: a submission is included as a whole or not at all. Until then the next run sends it again.
    ///
    /// # Errors
    /// [`StateError`]: the next run asks again.
    pub fn settle(&mut self, hash: &SubmissionHash) -> Result<(), StateError> {
        self.journal.append(&Entry::Settled { hash: *hash })?;
        self.registrations.settle(hash);
        Ok(())
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn bounded<const MAX: usize>(bytes: Vec<u8>) -> Result<Bytes<MAX>, JournalError> {
    Bytes::try_from(bytes).map_err(|_over| JournalError::Bound)
}

/// A file entry, as long as its path can be kept.
///
/// # Errors
/// [`StateError::Path`].
pub fn place_bytes(place: &Path) -> Result<Bytes<{ journal::MAX_PATH }>, StateError> {
    let bytes = place.as_os_str().as_bytes().to_vec();
    Bytes::try_from(bytes).map_err(|_over| StateError::Path(place.into()))
}

/// Reads the state without locking it: for commands that only look. `None` if there is none.
///
/// # Errors
/// [`StateError`]: open to others, another network's, damaged.
pub fn look(dir: &Path, owner: Owner) -> Result<Option<Registrations>, StateError> {
    let path = dir.join("registrations");
    if !path.exists() {
        return Ok(None);
    }
    private(dir)?;
    private(&path)?;
    let mut registrations = Registrations::default();
    let first = journal::read(&path, &mut |entry| registrations.apply(entry))?;
    check_owner(dir, first, owner)?;
    Ok(Some(registrations))
}

fn check_owner(dir: &Path, found: Option<Owner>, owner: Owner) -> Result<(), StateError> {
    match found {
        Some(found) if found != owner => Err(StateError::Foreign {
            path: dir.into(),
            chain: found.chain,
            authority: found.authority,
        }),
        Some(_) | None => Ok(()),
    }
}

fn private(path: &Path) -> Result<(), StateError> {
    let metadata = fs::metadata(path).map_err(|source| StateError::Io {
        path: path.into(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let path = path.into();
    Err(StateError::Open { path, mode })
}

/// Size of the newest checkpoint that was verified here; 0 if there was none.
pub fn seen(dir: &Path) -> TreeSize {
    // What cannot be read protects from nothing, and stops nobody.
    let text = genesis::files::read_bounded(&dir.join("seen"), 32).ok();
    let size = text.and_then(|bytes| str::from_utf8(&bytes).ok()?.trim_end().parse().ok());
    TreeSize(size.unwrap_or(0))
}

/// Remembers the size of a verified checkpoint, if it is newer than what was seen.
///
/// # Errors
/// Of the file system.
pub fn remember(dir: &Path, size: TreeSize) -> io::Result<()> {
    if size <= seen(dir) || !dir.is_dir() {
        return Ok(());
    }
    let text = format!("{size}\n");
    genesis::files::replace(
        &dir.join("seen"),
        text.as_bytes(),
        genesis::files::Access::Secret,
    )
}

#[cfg(test)]
mod tests;
