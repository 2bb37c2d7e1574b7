//! Files of a restart: the report of one stopped validator, and what operators make of enough of them.
//!
//! What counts, and is checked here and by every node, are the signed parts (`ledger::restart`). Beside them travel
//! the newest blocks, so that whoever lacks some of them can go on too: hashes link them to the anchor.

use crate::files::{self, Access};
use ledger::block::Block;
use ledger::codec::{self, DecodeError, List};
use ledger::frame::Payload;
use ledger::genesis::Genesis;
use ledger::header::BlockRef;
use ledger::id::AuthorityIndex;
use ledger::restart::{Base, Report, Restart, RestartError, RestartFile};
use ledger::validator_set::ValidatorSet;
use std::io;
use std::path::{Path, PathBuf};

/// Most blocks that travel with a report.
pub const MAX_BLOCKS: usize = 64;
/// Most bytes of these blocks.
pub const MAX_BLOCK_BYTES: usize = 64 << 20;
/// Longest file, in bytes: the blocks and what is signed.
const MAX_FILE: usize = MAX_BLOCK_BYTES + (8 << 20);

/// What a stopped validator gives to the operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    /// The epoch that it stopped in.
    pub base: Base,
    /// The set that its highest certified block defines, if that ends the epoch with another set.
    pub next: Option<ValidatorSet>,
    /// What it says, signed.
    pub report: Report,
    /// Its newest blocks, ascending, up to the highest certified one.
    pub blocks: List<Payload, MAX_BLOCKS>,
}

/// What every node of the network installs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartBundle {
    /// The restart file.
    pub file: RestartFile,
    /// The newest blocks, ascending, up to the anchor.
    pub blocks: List<Payload, MAX_BLOCKS>,
}

/// A file of a restart cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestartFileError {
    /// The file system refuses.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bytes are none.
    #[error("{} is no file of this kind", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// There is nothing to make a restart of.
    #[error("no report is given")]
    None,
    /// Two reporters describe the epoch differently.
    #[error("authority #{0} describes the epoch otherwise than the others")]
    OtherBase(AuthorityIndex),
    /// The reports do not open an epoch.
    #[error("these reports open no epoch")]
    Restart(#[from] RestartError),
}

impl RestartFileError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Write { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                Some("nothing is overwritten: name another file".into())
            }
            Self::Malformed { .. } => Some(
                "reports are made by `nachweis-node stop-for-restart`, restart files by `nachweis-genesis restart`"
                    .into(),
            ),
            Self::Restart(RestartError::Quorum { .. }) => {
                Some("more validators must be stopped and report".into())
            }
            Self::Restart(RestartError::Lost { .. }) => Some(
                "leave reports of validators without memory out, and add those of others".into(),
            ),
            Self::OtherBase(_)
            | Self::Restart(RestartError::Final { .. } | RestartError::Conflict { .. }) => Some(
                "leave the report out if it is wrong; if not, find out first which one is".into(),
            ),
            Self::Read { .. } | Self::Write { .. } | Self::None | Self::Restart(_) => None,
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, RestartFileError> {
    files::read_bounded(path, MAX_FILE).map_err(|source| RestartFileError::Read {
        path: path.into(),
        source,
    })
}

fn create(bytes: &[u8], path: &Path) -> Result<(), RestartFileError> {
    files::create(path, bytes, Access::Public).map_err(|source| RestartFileError::Write {
        path: path.into(),
        source,
    })
}

fn malformed(path: &Path) -> impl Fn(DecodeError) -> RestartFileError {
    move |source| RestartFileError::Malformed {
        path: path.into(),
        source,
    }
}

impl ReportFile {
    /// Reads a report.
    ///
    /// # Errors
    /// If the file cannot be read or is none.
    pub fn load(path: &Path) -> Result<Self, RestartFileError> {
        let (base, next, report, blocks) =
            codec::decode(&read(path)?, MAX_FILE).map_err(malformed(path))?;
        Ok(Self {
            base,
            next,
            report,
            blocks,
        })
    }

    /// Writes it to a new file.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn create(&self, path: &Path) -> Result<(), RestartFileError> {
        let Self {
            base,
            next,
            report,
            blocks,
        } = self;
        create(&codec::encode(&(base, next, report, blocks)), path)
    }
}

impl RestartBundle {
    /// Reads a restart file with its blocks.
    ///
    /// # Errors
    /// If the file cannot be read or is none.
    pub fn load(path: &Path) -> Result<Self, RestartFileError> {
        let (file, blocks) = codec::decode(&read(path)?, MAX_FILE).map_err(malformed(path))?;
        Ok(Self { file, blocks })
    }

    /// Writes it to a new file.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn create(&self, path: &Path) -> Result<(), RestartFileError> {
        create(&codec::encode(&(&self.file, &self.blocks)), path)
    }

    /// Makes a restart of reports, in any order, and checks it as every node will.
    ///
    /// # Errors
    /// [`RestartFileError`] names the first fault.
    pub fn assemble(
        genesis: &Genesis,
        reports: Vec<ReportFile>,
    ) -> Result<(Self, Restart), RestartFileError> {
        let highest = reports.iter().max_by_key(|file| file.base.epoch);
        let base = highest.ok_or(RestartFileError::None)?.base.clone();
        let about = || reports.iter().filter(|file| file.base.epoch == base.epoch);
        if let Some(other) = about().find(|file| file.base != base) {
            let authority = other.report.statement.authority;
            return Err(RestartFileError::OtherBase(authority));
        }
        let top = about()
            .filter_map(|file| Some((file, file.report.statement.top.as_ref()?)))
            .filter(|(_, top)| top.certificate().epoch() == base.epoch)
            .max_by_key(|(_, top)| top.certificate().view());
        let next = top.and_then(|(file, _)| file.next.clone());
        let signed = reports.iter().map(|file| file.report.clone()).collect();
        let file = RestartFile::new(base.clone(), next, signed)?;
        let restart = file.check(genesis.chain(), |authority| {
            Some(genesis.authority(authority)?.admin)
        })?;
        let blocks = longest_to(restart.anchor(), &reports);
        Ok((Self { file, blocks }, restart))
    }
}

/// The longest run of blocks among the reports that ends in the anchor.
fn longest_to(anchor: BlockRef, reports: &[ReportFile]) -> List<Payload, MAX_BLOCKS> {
    let runs = reports.iter().map(|file| {
        let is_anchor = |payload: &Payload| {
            Block::decode(&payload.block).is_ok_and(|block| block.header.block_ref() == anchor)
        };
        let end = file.blocks.iter().position(is_anchor);
        end.map_or(&[][..], |end| file.blocks.get(..=end).unwrap_or_default())
    });
    let longest = runs.max_by_key(|run| run.len()).unwrap_or_default();
    longest.to_vec().try_into().unwrap_or_default()
}
