//! Restart files beside the archive's segments: where the chain went on by one, its anchor has no finalization
//! (consensus.md, section 3.12). `restart-<epoch>` for the epoch that it opens; written once, never changed.

pub use ledger::restart::{epoch_in, file_name};

use super::files::{self, FileError};
use ledger::codec::DecodeError;
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height};
use ledger::restart::{MAX_RESTART_LEN, Restart, RestartError, RestartFile};
use ledger::tip::{EpochInfo, Founding, Tip};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest file that is read.
const MAX_FILE: u64 = MAX_RESTART_LEN as u64;

/// A restart file of the archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestartsError {
    /// The file system says no.
    #[error(transparent)]
    File(#[from] FileError),
    /// The bytes are none.
    #[error("{path} is no restart file")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// It does not count.
    #[error("{path} does not count")]
    Refused {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: RestartError,
    },
    /// It opens another epoch than its name says.
    #[error("{path} opens epoch {found}")]
    OtherEpoch {
        /// Which.
        path: PathBuf,
        /// The epoch.
        found: Epoch,
    },
}

impl RestartsError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File(_) => "only a file itself counts there, not a link to one",
            Self::Malformed { .. } | Self::Refused { .. } | Self::OtherEpoch { .. } => {
                "copy the file of this name from data/archive of another node into its place, or, on a validator that kept \
                 chain.restart: nachweis-node install-restart"
            }
        }
    }
}

/// The restarts that this node has installed, by the epoch that they open.
#[derive(Clone, Debug, Default)]
pub struct Restarts(Vec<Installed>);

/// One of them, and the bytes for others who ask.
#[derive(Clone, Debug)]
struct Installed {
    file: RestartFile,
    restart: Restart,
}

/// Whether a good file stands where that of an epoch belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// None.
    Empty,
    /// One that counts.
    Taken,
}

impl Installed {
    fn read(path: &Path, bytes: &[u8], founding: &Founding) -> Result<Self, RestartsError> {
        let path = path.to_path_buf();
        let file = match RestartFile::decode(bytes) {
            Ok(file) => file,
            Err(source) => return Err(RestartsError::Malformed { path, source }),
        };
        let checked = file.check(founding.chain(), |authority| founding.admin(authority));
        let restart = match checked {
            Ok(restart) => restart,
            Err(source) => return Err(RestartsError::Refused { path, source }),
        };
        let found = restart.epoch().epoch;
        if path.file_name() == Some(file_name(found).as_ref()) {
            Ok(Self { file, restart })
        } else {
            Err(RestartsError::OtherEpoch { path, found })
        }
    }
}

/// Names and bytes of the restart files in an archive's folder, in order; nothing is checked but that they are files.
///
/// # Errors
/// [`FileError`].
pub fn read_all(archive: &Path) -> Result<Vec<(String, Vec<u8>)>, FileError> {
    let mut names = files::list(archive)?;
    names.retain(|name| epoch_in(name).is_some());
    names.sort();
    let read = |name: String| {
        Ok((
            name.clone(),
            files::read_own(&archive.join(name), MAX_FILE)?,
        ))
    };
    names.into_iter().map(read).collect()
}

impl Restarts {
    /// Reads and checks the files of an archive.
    ///
    /// # Errors
    /// [`RestartsError`].
    pub fn load(archive: &Path, founding: &Founding) -> Result<Self, RestartsError> {
        let mut restarts = Vec::new();
        for (name, bytes) in read_all(archive)? {
            restarts.push(Installed::read(&archive.join(name), &bytes, founding)?);
        }
        Ok(Self(restarts))
    }

    /// Makes room for the file of this epoch: one that does not count is set aside. Whether a good one is there.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn clear(archive: &Path, founding: &Founding, epoch: Epoch) -> Result<Place, FileError> {
        let path = archive.join(file_name(epoch));
        let read = match files::read_own(&path, MAX_FILE) {
            Err(error) if error.is_missing() => return Ok(Place::Empty),
            read => read.map_err(RestartsError::from),
        };
        let good = read.and_then(|bytes| Installed::read(&path, &bytes, founding));
        match good {
            Ok(_) => Ok(Place::Taken),
            Err(error) => {
                let aside = files::set_aside(&path)?;
                tracing::warn!(error = %crate::exit::Chain(&error), path = %aside.display(), "a restart file was set aside");
                Ok(Place::Empty)
            }
        }
    }

    /// The file that opened this epoch, if one did.
    pub fn files_of(&self, epoch: Epoch) -> impl Iterator<Item = &RestartFile> {
        let of = move |one: &&Installed| one.restart.epoch().epoch == epoch;
        self.0.iter().filter(of).map(|one| &one.file)
    }

    /// One more, which is kept already.
    pub fn add(&mut self, file: RestartFile, restart: Restart) {
        self.0.push(Installed { file, restart });
        self.0.sort_by_key(|one| one.restart.epoch().epoch);
    }

    /// The file that opened the lowest epoch from this one on.
    pub fn first_from(&self, epoch: Epoch) -> Option<&RestartFile> {
        let mut all = self.0.iter();
        let first = all.find(|one| one.restart.epoch().epoch >= epoch);
        first.map(|one| &one.file)
    }

    fn all(&self) -> impl Iterator<Item = &Restart> {
        self.0.iter().map(|one| &one.restart)
    }

    /// Keeps a checked file; durable on return.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn keep(archive: &Path, file: &RestartFile, epoch: Epoch) -> Result<(), FileError> {
        debug_assert!(file.encode().len() <= MAX_RESTART_LEN);
        files::write_atomic(&archive.join(file_name(epoch)), &file.encode())
    }

    /// The tip as it is after the restarts that go on from it. `deciding` is the epoch in which it was decided.
    pub fn go_on(&self, deciding: &EpochInfo, tip: Tip) -> Tip {
        match self.opened(deciding, &tip.epoch, tip.block_ref()) {
            Some(epoch) => tip.restarted(epoch),
            None => tip,
        }
    }

    /// The epoch that restarts open on this block: it was decided in `deciding`, and `next` would follow it.
    pub fn opened(
        &self,
        deciding: &EpochInfo,
        next: &EpochInfo,
        block: BlockRef,
    ) -> Option<Arc<EpochInfo>> {
        let here = self.all().filter(|restart| restart.anchor() == block);
        here.fold(None, |opened: Option<Arc<EpochInfo>>, restart| {
            // Behind a restart, only what continues that one counts.
            let counts = match &opened {
                Some(epoch) => restart.continues(epoch, epoch),
                None => restart.continues(deciding, next),
            };
            if counts {
                Some(Arc::clone(restart.epoch()))
            } else {
                opened
            }
        })
    }

    /// Whether a restart file names this block and opens this epoch.
    pub fn names(&self, block: BlockRef, epoch: Epoch) -> bool {
        let mut all = self.all();
        all.any(|restart| restart.anchor() == block && restart.epoch().epoch == epoch)
    }

    /// The blocks that restarts went on from.
    pub fn anchors(&self) -> impl Iterator<Item = Height> {
        self.all().map(|restart| restart.anchor().height)
    }

    /// Names and bytes of the files that go on from a block up to this one, in order.
    pub fn reached(&self, newest: Height) -> impl Iterator<Item = (String, Vec<u8>)> {
        let all = self.0.iter();
        let reached = all.filter(move |one| one.restart.anchor().height <= newest);
        reached.map(|one| (file_name(one.restart.epoch().epoch), one.file.encode()))
    }

    /// The lowest anchor: what was decided up to it is no restart's.
    pub fn first_anchor(&self) -> Option<Height> {
        self.anchors().min()
    }

    /// The lowest anchor from this height on.
    pub fn anchor_from(&self, height: Height) -> Option<Height> {
        let anchors = self.all().map(|restart| restart.anchor().height);
        anchors.filter(|anchor| *anchor >= height).min()
    }

    /// Whether a restart made this very block final.
    pub fn made_final(&self, block: BlockRef) -> bool {
        self.all().any(|restart| restart.anchor() == block)
    }

    /// Whether a restart ended this epoch with this block: then the file, and no certificate, makes it final.
    pub fn ended(&self, epoch: &EpochInfo, block: BlockRef) -> bool {
        let mut all = self.all();
        all.any(|restart| restart.anchor() == block && restart.base().context == epoch.context)
    }
}
