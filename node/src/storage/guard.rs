//! The cosigner's guard file: the size and root that were last signed, synced before the signature
//! leaves (formats.md, section 4). Its bytes are [`ledger::guard`]'s.

use super::Fatal;
use super::files::{DurableFile, FileError};
use ledger::guard::{Guard, GuardError, Last, Permit, Refusal};
use ledger::hash::Hash;
use ledger::id::TreeSize;
use ledger::key::Key;
use std::path::{Path, PathBuf};

/// The guard of this node's cosigner key.
#[derive(Debug)]
pub struct CosignerGuard {
    file: DurableFile,
    guard: Guard,
}

/// What was found where the guard should be.
#[derive(Debug)]
pub enum Found {
    /// The guard.
    Kept(CosignerGuard),
    /// None that can be relied on.
    Lost(Lost),
}

/// The place of a guard that is missing or damaged. Nothing is signed until [`Lost::replace`].
#[derive(Debug)]
pub struct Lost {
    path: PathBuf,
    key: Key,
}

impl Lost {
    /// Where a guard of `key` should be and is none.
    pub const fn new(path: PathBuf, key: Key) -> Self {
        Self { path, key }
    }

    /// Makes another guard, which permits this tree and larger ones; a damaged file is put aside. The caller knows that
    /// nothing larger was signed. A crash leaves this guard or none that can be relied on.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn replace(&self, size: TreeSize, root: Hash) -> Result<CosignerGuard, FileError> {
        if self.path.exists() {
            super::files::set_aside(&self.path)?;
        }
        let mut guard = Guard::new(self.key);
        let mut bytes = guard.file();
        if let Ok(Permit::Larger(next, write)) = guard.permit(size, root) {
            let slot = bytes.iter_mut().skip(write.offset);
            slot.zip(write.bytes).for_each(|(at, byte)| *at = byte);
            guard = next;
        }
        let file = DurableFile::create(&self.path, &bytes)?;
        Ok(CosignerGuard { file, guard })
    }
}

/// A guard file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none: it is made with the key (consensus.md, section 3.23).
    #[error("guard file {0} is missing")]
    Missing(PathBuf),
    /// It is damaged, or that of another key.
    #[error("guard file {path}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: GuardError,
    },
    /// The file system says no.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A tree was not permitted.
#[derive(Debug, thiserror::Error)]
pub enum NotPermitted {
    /// A larger one was signed already: skip this one.
    #[error(transparent)]
    Smaller(Refusal),
    /// Another root at that size, or the disk failed: end the process.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

impl CosignerGuard {
    /// Makes the guard file of a new key; durable on return.
    ///
    /// # Errors
    /// [`FileError`], also if there is one.
    pub fn create(path: &Path, key: Key) -> Result<Self, FileError> {
        let guard = Guard::new(key);
        let file = DurableFile::create(path, &guard.file())?;
        Ok(Self { file, guard })
    }

    /// Opens the guard file of `key`.
    ///
    /// # Errors
    /// [`OpenError`]; a guard that cannot be relied on counts as missing.
    pub fn open(path: &Path, key: Key) -> Result<Self, OpenError> {
        let Some(bytes) = super::files::read_if_exists(path)? else {
            return Err(OpenError::Missing(path.into()));
        };
        let guard = Guard::parse(&bytes, key).map_err(|source| OpenError::Unusable {
            path: path.into(),
            source,
        })?;
        let file = DurableFile::open(path)?;
        Ok(Self { file, guard })
    }

    /// The largest tree that was permitted, and its root.
    pub const fn last(&self) -> Last {
        self.guard.last()
    }

    /// Permits a signature over this tree; that it was permitted is durable on return.
    ///
    /// # Errors
    /// [`NotPermitted::Smaller`] is harmless; [`NotPermitted::Fatal`] ends the process.
    pub fn permit(&mut self, size: TreeSize, root: Hash) -> Result<(), NotPermitted> {
        match self.guard.permit(size, root) {
            Ok(Permit::Again) => Ok(()),
            Ok(Permit::Larger(next, write)) => {
                let offset = u64::try_from(write.offset).unwrap_or(u64::MAX);
                self.file.write_at(&write.bytes, offset)?;
                self.file.sync_data()?;
                self.guard = next;
                Ok(())
            }
            Err(refusal @ Refusal::Smaller { .. }) => Err(NotPermitted::Smaller(refusal)),
            Err(refusal @ Refusal::OtherRoot { .. }) => Err(Fatal::Fork(refusal).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_what_was_permitted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        let key = Key::from_bytes([3; 32]);
        assert!(matches!(
            CosignerGuard::open(&path, key),
            Err(OpenError::Missing(_))
        ));
        let mut guard = CosignerGuard::create(&path, key).unwrap();
        for size in 1..5 {
            guard.permit(TreeSize(size), Hash([1; 32])).unwrap();
        }
        drop(guard);
        let mut guard = CosignerGuard::open(&path, key).unwrap();
        assert_eq!(guard.last().size, TreeSize(4));
        guard.permit(TreeSize(4), Hash([1; 32])).unwrap();
        assert!(matches!(
            guard.permit(TreeSize(3), Hash([1; 32])),
            Err(NotPermitted::Smaller(_))
        ));
        assert!(matches!(
            guard.permit(TreeSize(4), Hash([2; 32])),
            Err(NotPermitted::Fatal(Fatal::Fork(_)))
        ));
        assert!(matches!(
            CosignerGuard::open(&path, Key::from_bytes([4; 32])),
            Err(OpenError::Unusable { .. })
        ));
    }
}
