//! Who this node is: the signed genesis, its place in it, and its keys: a validator's four, or an observer's one with
//! its certificate.

use crate::clock;
use crate::config::Config;
use genesis::container::{ContainerError, Founding};
use genesis::keyfile::{KeyFile, KeyFileError, purpose_name};
use genesis::observer::{self, ObserverError};
use ledger::genesis::Purpose;
use ledger::id::{AuthorityId, AuthorityIndex, ValidatorIndex};
use ledger::key::Key;
use ledger::observer::{Certificate, Refusal};
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

/// What a node does in a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Votes, cosigns, serves.
    Validator,
    /// Follows and serves; never votes.
    Observer,
}

/// A node's part, with what it needs for it.
#[derive(Debug)]
pub enum Part {
    /// A validator.
    Validator {
        /// Its place in the first validator set.
        validator: ValidatorIndex,
        /// Its keys.
        keys: Keys,
    },
    /// An observer.
    Observer {
        /// Is the libp2p identity.
        network: KeyFile,
        /// Lets it in.
        certificate: Certificate,
    },
}

/// A node of a network.
#[derive(Debug)]
pub struct Identity {
    /// The genesis, checked and signed by all.
    pub founding: Founding,
    /// The authority that runs this node.
    pub authority: AuthorityIndex,
    /// Its short id.
    pub id: AuthorityId,
    /// What it does.
    pub part: Part,
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
    /// An observer's certificate cannot be used.
    #[error("observer certificate is refused")]
    Certificate(#[from] ObserverError),
    /// It is not good, here and now.
    #[error("observer certificate is not good")]
    NotGood(#[from] Refusal),
    /// The authority of the keys is not in the genesis, or has no validator there.
    #[error("authority {0} has no validator in this genesis")]
    NotAValidator(AuthorityId),
    /// One key file is of another authority than the others.
    #[error("{} is a key of {found}, the other key files are of {expected}", file_name(*purpose))]
    Mixed {
        /// Which.
        purpose: Purpose,
        /// Whose it is.
        found: AuthorityId,
        /// Whose the others are.
        expected: AuthorityId,
    },
    /// The genesis names another key.
    #[error("{} holds {found}, which is not the {} key of {authority} in the genesis", file_name(*purpose), purpose_name(*purpose))]
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
            Self::Key(KeyFileError::Read { path, source }) if is_missing(source) => {
                let is_observer = path.with_file_name(observer::FILE).exists();
                let is_network = path.ends_with(file_name(Purpose::Network));
                Some(if is_observer && !is_network {
                    "this is the directory of an observer: nachweis-node run --observer".to_owned()
                } else {
                    "put the key back from where it is kept safe; without it this node cannot be the same again"
                        .to_owned()
                })
            }
            Self::Genesis(ContainerError::Read { source, .. }) if is_missing(source) => {
                Some("put the signed genesis back: every other node has the same file".to_owned())
            }
            Self::Key(error) => error.hint(),
            Self::Certificate(error) => error.hint().map(str::to_owned),
            Self::NotGood(_) => Some(
                "the authority makes another with its admin key: nachweis-genesis observer".into(),
            ),
            Self::Mixed { .. } => Some("put back the file of the right authority".to_owned()),
            Self::NotAValidator(_) | Self::OtherKey { .. } => {
                Some("are these the keys that applied for this genesis?".into())
            }
            Self::Genesis(error) => error.hint(),
        }
    }
}

fn is_missing(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
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

    /// Whose they are; of all four.
    fn authority(&self) -> Result<AuthorityId, IdentityError> {
        let all = self.all();
        let of = |id| all.iter().filter(|file| file.authority() == id).count();
        let most = all.iter().max_by_key(|file| of(file.authority()));
        let expected = most.map_or_else(|| self.vote.authority(), |file| file.authority());
        match all.iter().find(|file| file.authority() != expected) {
            None => Ok(expected.clone()),
            Some(odd) => Err(IdentityError::Mixed {
                purpose: odd.purpose(),
                found: odd.authority().clone(),
                expected: expected.clone(),
            }),
        }
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
    pub fn load(config: &Config, duty: Duty) -> Result<Self, IdentityError> {
        Self::read(&config.genesis(), &config.keys(), duty)
    }

    /// Reads a genesis and the keys of a folder.
    ///
    /// # Errors
    /// [`IdentityError`]; also for an observer's certificate that is not good now.
    pub fn read(genesis: &Path, keys: &Path, duty: Duty) -> Result<Self, IdentityError> {
        let founding = Founding::load(genesis)?;
        match duty {
            Duty::Validator => Self::new(founding, Keys::load(keys)?),
            Duty::Observer => {
                let network = keys.join(file_name(Purpose::Network));
                let network = KeyFile::load(&network, Purpose::Network)?;
                let certificate = observer::load(&keys.join(observer::FILE))?;
                Self::observer(founding, network, certificate)
            }
        }
    }

    /// Finds the keys' place in a genesis.
    ///
    /// # Errors
    /// [`IdentityError`] if they have none.
    pub fn new(founding: Founding, keys: Keys) -> Result<Self, IdentityError> {
        let id = keys.authority()?;
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
            part: Part::Validator { validator, keys },
        })
    }

    /// An observer: its certificate is checked as the validators will.
    ///
    /// # Errors
    /// [`IdentityError::NotGood`].
    pub fn observer(
        founding: Founding,
        network: KeyFile,
        certificate: Certificate,
    ) -> Result<Self, IdentityError> {
        let id = network.authority().clone();
        let rules = ledger::tip::Founding::new(founding.genesis().clone());
        let rules = rules.map_err(ContainerError::from)?;
        let permission = certificate.check(&rules, &network.key(), clock::wall())?;
        let authority = permission.authority;
        let known = founding.genesis().authority(authority);
        if known.is_none_or(|known| known.id != id) {
            return Err(Refusal::Authority(authority).into());
        }
        Ok(Self {
            authority,
            id,
            part: Part::Observer {
                network,
                certificate,
            },
            founding,
        })
    }

    /// What it does.
    pub const fn duty(&self) -> Duty {
        match self.part {
            Part::Validator { .. } => Duty::Validator,
            Part::Observer { .. } => Duty::Observer,
        }
    }

    /// A validator's keys.
    ///
    /// # Errors
    /// [`IdentityError::NotAValidator`] for an observer.
    pub fn keys(&self) -> Result<&Keys, IdentityError> {
        match &self.part {
            Part::Validator { keys, .. } => Ok(keys),
            Part::Observer { .. } => Err(IdentityError::NotAValidator(self.id.clone())),
        }
    }

    /// All its key files.
    pub fn key_files(&self) -> Vec<&KeyFile> {
        match &self.part {
            Part::Validator { keys, .. } => keys.all().into(),
            Part::Observer { network, .. } => vec![network],
        }
    }
}
