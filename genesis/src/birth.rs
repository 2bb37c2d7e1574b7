//! The keys of a new authority, made once, in a folder of their own.
//!
//! A validator's vote key comes into the world together with its consensus journal, marked fresh, and with the
//! guard file of its cosigner (consensus.md, section 3.12). This is the only place that makes a fresh journal:
//! a journal made later for an existing key starts in quarantine, and a restored one counts as lost.

use crate::files::{self, Access};
use crate::keyfile::{KeyFile, KeyFileError, purpose_name, random};
use ledger::genesis::Purpose;
use ledger::guard::Guard;
use ledger::id::AuthorityId;
use ledger::journal::{JournalId, Magic, Origin, SegmentHeader, segment_name};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Name of the folder with the consensus journal, beside the vote key.
pub const JOURNAL: &str = "journal";
/// Name of the cosigner's guard file, beside the cosigner key.
pub const GUARD: &str = "guard";

/// Whether an authority runs a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It votes, cosigns and serves the log.
    Validator,
    /// It registers only.
    RegistrarOnly,
}

/// The keys of an authority.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Signs the genesis and key changes.
    pub admin: KeyFile,
    /// The first registrar key.
    pub registrar: KeyFile,
    /// The four of its validator.
    pub validator: Option<ValidatorKeys>,
}

/// The keys of a validator.
#[derive(Clone, Debug)]
pub struct ValidatorKeys {
    /// Signs votes; names its journal.
    pub vote: KeyFile,
    /// Signs cosignatures.
    pub cosigner: KeyFile,
    /// Signs as the log.
    pub log: KeyFile,
    /// Identifies the libp2p peer.
    pub network: KeyFile,
}

/// Keys cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BirthError {
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The journal or guard file cannot be written.
    #[error("{} cannot be created", path.display())]
    Create {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Name of the file for a key of this purpose: `vote.key`.
pub fn key_name(purpose: Purpose) -> String {
    format!("{}.key", purpose_name(purpose))
}

impl Keys {
    /// New random keys; nothing is written.
    ///
    /// # Errors
    /// If the operating system gives no random numbers.
    pub fn generate(authority: &AuthorityId, duty: Duty) -> Result<Self, KeyFileError> {
        let new = |purpose| KeyFile::generate(purpose, authority.clone());
        let validator = match duty {
            Duty::RegistrarOnly => None,
            Duty::Validator => Some(ValidatorKeys {
                vote: new(Purpose::Vote)?.with_journal(JournalId(*random()?)),
                cosigner: new(Purpose::Cosigner)?,
                log: new(Purpose::Log)?,
                network: new(Purpose::Network)?,
            }),
        };
        Ok(Self {
            admin: new(Purpose::Admin)?,
            registrar: new(Purpose::Registrar)?,
            validator,
        })
    }

    /// The keys in the order of the format.
    pub fn all(&self) -> Vec<&KeyFile> {
        let mut keys = vec![&self.admin, &self.registrar];
        if let Some(v) = &self.validator {
            keys.extend([&v.vote, &v.cosigner, &v.log, &v.network]);
        }
        keys
    }

    /// Writes one file per key into a folder that has none of them yet; with a vote key its journal and guard,
    /// before the key that they belong to.
    ///
    /// # Errors
    /// If a file exists or cannot be written; earlier ones stay, so write into a folder that is thrown away then.
    pub fn create_in(&self, folder: &Path) -> Result<(), BirthError> {
        if let Some(validator) = &self.validator {
            create_journal(folder, &validator.vote)?;
            let path = folder.join(GUARD);
            let guard = Guard::new(validator.cosigner.key()).file();
            create_secret(&path, &guard)?;
        }
        for key in self.all() {
            key.create(&folder.join(key_name(key.purpose())))?;
        }
        Ok(())
    }
}

/// Makes the journal of a vote key that names one: a folder with the header of its first segment.
fn create_journal(folder: &Path, vote: &KeyFile) -> Result<(), BirthError> {
    let Some(id) = vote.journal() else {
        return Ok(());
    };
    let path = folder.join(JOURNAL);
    DirBuilder::new()
        .mode(0o700)
        .create(&path)
        .map_err(|source| BirthError::Create {
            path: path.clone(),
            source,
        })?;
    let header = SegmentHeader::first(id, Magic(*random()?), Origin::Fresh);
    create_secret(&path.join(segment_name(1)), &header.encode())
}

fn create_secret(path: &Path, bytes: &[u8]) -> Result<(), BirthError> {
    files::create(path, bytes, Access::Secret).map_err(|source| BirthError::Create {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_validator_is_born_with_a_fresh_journal_and_an_empty_guard() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let id = AuthorityId::new("bamf").expect("id");
        let keys = Keys::generate(&id, Duty::Validator).expect("keys");
        keys.create_in(folder.path()).expect("written");
        let vote = KeyFile::load(&folder.path().join("vote.key"), Purpose::Vote).expect("vote key");
        let segment = fs::read(folder.path().join(JOURNAL).join(segment_name(1))).expect("segment");
        let recovered = ledger::journal::recover(&[&segment]).expect("journal is whole");
        assert_eq!(Some(recovered.head.segment.journal), vote.journal());
        assert_eq!(recovered.head.segment.origin, Origin::Fresh);
        assert!(recovered.batches.is_empty());
        let cosigner = keys.validator.expect("validator").cosigner.key();
        let guard = fs::read(folder.path().join(GUARD)).expect("guard");
        let guard = Guard::parse(&guard, cosigner).expect("guard of this cosigner");
        assert_eq!(guard.last().size.0, 0);
    }

    #[test]
    fn an_existing_key_is_never_replaced() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let id = AuthorityId::new("bamf").expect("id");
        let first = Keys::generate(&id, Duty::RegistrarOnly).expect("keys");
        first.create_in(folder.path()).expect("written");
        let second = Keys::generate(&id, Duty::RegistrarOnly).expect("keys");
        assert!(matches!(
            second.create_in(folder.path()),
            Err(BirthError::Key(KeyFileError::Exists { .. }))
        ));
        let kept =
            KeyFile::load(&folder.path().join("admin.key"), Purpose::Admin).expect("admin key");
        assert_eq!(kept.key(), first.admin.key());
    }
}
