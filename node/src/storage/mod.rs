//! What a node keeps on disk, and when it is safe there (design.md, section 6).
//!
//! Truth is the [`archive`] (finalized blocks) and the [`journal`] (votes, certificates, blocks under
//! vote); the cosigner's [`guard`] keeps one number. [`log_hashes`] and [`index`] are made from the
//! archive and may be thrown away. Nothing here knows consensus, sockets or the meaning of a record.
//!
//! Every function that writes ends in [`Fatal`] when the disk does not do what it said: the caller stops
//! the process ([`crate::exit::abort`]) and never carries on, because after a failed sync nobody knows
//! what is on the disk. Opening has typed errors of its own.

pub mod archive;
pub mod copy;
pub mod files;
pub mod guard;
pub mod index;
pub mod journal;
pub mod log_hashes;
pub mod restarts;

use files::{DirectoryLock, FileError};
use ledger::hash::{ChainId, Hash};
use std::path::{Path, PathBuf};

/// The process must end: the disk, or what is on it, cannot be trusted any more.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// A write, sync, truncation or removal failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// An earlier write to this file failed; nothing more is written to it.
    #[error("{0} is closed for writing after an earlier error")]
    Poisoned(PathBuf),
    /// Two histories: a tree was to be cosigned whose size was signed with another root.
    #[error(transparent)]
    Fork(ledger::guard::Refusal),
    /// The caller asked for something that would break a file (an internal fault).
    #[error("{path}: {what}")]
    Misuse {
        /// The file or directory.
        path: PathBuf,
        /// The broken rule, with the values.
        what: String,
    },
    /// The index failed. It can be rebuilt after a restart.
    #[error("index of {path}")]
    Index {
        /// Its directory.
        path: PathBuf,
        /// What the store says.
        #[source]
        source: index::StoreError,
    },
}

/// The data directory of one node: its paths, its lock, and the chain that it belongs to.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    _lock: DirectoryLock,
}

/// A data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process uses it.
    #[error("data directory {0} is in use by another process")]
    Locked(PathBuf),
    /// It belongs to another genesis.
    #[error("data directory {path} belongs to chain {found}, not to {expected}")]
    OtherChain {
        /// The directory.
        path: PathBuf,
        /// Chain that its file `chain` names.
        found: String,
        /// Chain of the genesis.
        expected: ChainId,
    },
    /// Its file `chain` is no chain's name.
    #[error("file {path} is damaged: no chain is called {found:?}")]
    Chain {
        /// The file.
        path: PathBuf,
        /// The beginning of what stands there.
        found: String,
    },
    /// Too little space to start.
    #[error("{free} bytes free for {path}, needs {needed}")]
    LowSpace {
        /// The directory.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// The file system says no.
    #[error(transparent)]
    File(#[from] FileError),
}

impl DataDir {
    /// Opens (and makes) the directory, locks it, and ties it to `chain` for ever.
    ///
    /// `min_free` is the space in bytes that a node needs to start.
    ///
    /// # Errors
    /// [`DataDirError`]; nothing is changed in the directory of another chain.
    pub fn open(root: &Path, chain: ChainId, min_free: u64) -> Result<Self, DataDirError> {
        files::create_dir(root)?;
        let lock = DirectoryLock::take(root)?.ok_or_else(|| DataDirError::Locked(root.into()))?;
        let free = files::free_bytes(root)?;
        if free < min_free {
            return Err(DataDirError::LowSpace {
                path: root.into(),
                free,
                needed: min_free,
            });
        }
        let name = root.join("chain");
        let line = format!("{chain}\n");
        match files::read_if_exists(&name)? {
            None => files::write_atomic(&name, line.as_bytes())?,
            Some(found) if found == line.as_bytes() => {}
            Some(found) => {
                let found = String::from_utf8_lossy(&found);
                let found: String = found.trim().chars().take(64).collect();
                if found.parse::<Hash>().is_err() {
                    return Err(DataDirError::Chain { path: name, found });
                }
                return Err(DataDirError::OtherChain {
                    path: root.into(),
                    found,
                    expected: chain,
                });
            }
        }
        Ok(Self {
            root: root.into(),
            _lock: lock,
        })
    }

    /// Directory of the consensus journal.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Directory of the block archive.
    pub fn archive(&self) -> PathBuf {
        Self::archive_below(&self.root)
    }

    /// The same for a data directory that is not open.
    pub fn archive_below(root: &Path) -> PathBuf {
        root.join("archive")
    }

    /// Directory of the log's hashes.
    pub fn log(&self) -> PathBuf {
        Self::log_below(&self.root)
    }

    /// The same for a data directory that is not open.
    pub fn log_below(root: &Path) -> PathBuf {
        root.join("log")
    }

    /// Directory of the index.
    pub fn index(&self) -> PathBuf {
        Self::index_below(&self.root)
    }

    /// The same for a data directory that is not open.
    pub fn index_below(root: &Path) -> PathBuf {
        root.join("index")
    }

    /// The cosigner's guard file.
    pub fn guard(&self) -> PathBuf {
        self.root.join("guard")
    }

    /// Bytes free where the directory lies.
    ///
    /// # Errors
    /// [`FileError`] if the file system does not say.
    pub fn free_bytes(&self) -> Result<u64, FileError> {
        files::free_bytes(&self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn belongs_to_one_chain_and_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let chain = ChainId(Hash([1; 32]));
        let open = DataDir::open(dir.path(), chain, 1).unwrap();
        let second = DataDir::open(dir.path(), chain, 1);
        assert!(matches!(second, Err(DataDirError::Locked(_))));
        drop(open);
        DataDir::open(dir.path(), chain, 1).unwrap();
        let other = DataDir::open(dir.path(), ChainId(Hash([2; 32])), 1);
        assert!(matches!(other, Err(DataDirError::OtherChain { .. })));
        std::fs::write(dir.path().join("chain"), "623x1c").unwrap();
        let damaged = DataDir::open(dir.path(), chain, 1);
        assert!(matches!(damaged, Err(DataDirError::Chain { found, .. }) if found == "623x1c"));
        std::fs::remove_file(dir.path().join("chain")).unwrap();
        let full = DataDir::open(dir.path(), chain, u64::MAX);
        assert!(matches!(full, Err(DataDirError::LowSpace { .. })));
    }
}
