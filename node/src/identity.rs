//! Who this node is: the signed genesis, its place in it, and its four keys.

use crate::config::Config;
use genesis::container::{ContainerError, Founding};
use genesis::keyfile::{KeyFile, KeyFileError, purpose_name};
use ledger::genesis::Purpose;
use ledger::id::{AuthorityId, AuthorityIndex, ValidatorIndex};
use ledger::key::Key;
use std::path::Path;

/// The keys that a validator signs with.
#[derive(Debug)]
pub struct Keys {
    /// Signs votes.
    pub vote: KeyFile,
    /// Signs cosignatures.
    pub cosigner: KeyFile,
    /// Signs as the log.
    pub log: KeyFile,
    /// Is the libp2p identity.
    pub network: KeyFile,
}

/// A validator of a network.
#[derive(Debug)]
pub struct Identity {
    /// The genesis, checked and signed by all.
    pub founding: Founding,
    /// The authority that runs this node.
    pub authority: AuthorityIndex,
    /// Its short id.
    pub id: AuthorityId,
    /// Its place in the first validator set.
    pub validator: ValidatorIndex,
    /// Its keys.
    pub keys: Keys,
}

/// Why genesis and keys are no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The genesis cannot be used.
    #[error("genesis is refused")]
    Genesis(#[from] ContainerError),
    /// A key file cannot be used.
    #[error("key is refused")]
    Key(#[from] KeyFileError),
    /// The authority of the keys is not in the genesis, or has no validator there.
    #[error("authority {0} has no validator in this genesis")]
    NotAValidator(AuthorityId),
    /// The genesis names another key.
    #[error("the {} key {found} of {authority} is not the one in the genesis", purpose_name(*purpose))]
    OtherKey {
        /// Whose.
        authority: AuthorityId,
        /// What for.
        purpose: Purpose,
        /// The key in the file.
        found: Key,
    },
}

impl IdentityError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Key(error) => error.hint(),
            Self::NotAValidator(_) | Self::OtherKey { .. } => {
                Some("are these the keys that applied for this genesis?".into())
            }
            Self::Genesis(error) => error.hint(),
        }
    }
}

impl Keys {
    /// Reads the four key files of a folder.
    ///
    /// # Errors
    /// [`KeyFileError`], also for a file that others can read.
    pub fn load(folder: &Path) -> Result<Self, KeyFileError> {
        let load = |purpose| KeyFile::load(&folder.join(file_name(purpose)), purpose);
        Ok(Self {
            vote: load(Purpose::Vote)?,
            cosigner: load(Purpose::Cosigner)?,
            log: load(Purpose::Log)?,
            network: load(Purpose::Network)?,
        })
    }

    /// The four files.
    pub const fn all(&self) -> [&KeyFile; 4] {
        [&self.vote, &self.cosigner, &self.log, &self.network]
    }
}

/// Name of a key file by its purpose.
pub fn file_name(purpose: Purpose) -> String {
    format!("{}.key", purpose_name(purpose))
}

impl Identity {
    /// Reads genesis and keys as the configuration names them.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load(config: &Config) -> Result<Self, IdentityError> {
        Self::new(
            Founding::load(&config.genesis())?,
            Keys::load(&config.keys())?,
        )
    }

    /// Finds the keys' place in a genesis.
    ///
    /// # Errors
    /// [`IdentityError`] if they have none.
    pub fn new(founding: Founding, keys: Keys) -> Result<Self, IdentityError> {
        let id = keys.vote.authority().clone();
        let missing = || IdentityError::NotAValidator(id.clone());
        let authority = founding.genesis().index_of(&id).ok_or_else(missing)?;
        let set = founding.validators();
        let validator = set
            .position(|member| member.authority == authority)
            .ok_or_else(missing)?;
        let member = set.get(validator).ok_or_else(missing)?;
        for (file, expected) in keys.all().into_iter().zip(member.keys()) {
            if file.key() != expected {
                return Err(IdentityError::OtherKey {
                    authority: id,
                    purpose: file.purpose(),
                    found: file.key(),
                });
            }
        }
        Ok(Self {
            founding,
            authority,
            id,
            validator,
            keys,
        })
    }
}
