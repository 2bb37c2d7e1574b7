//! `genesis.nachweis`: a genesis with the signatures collected so far.
//!
//! borsh of `{ genesis: Genesis, signatures: Vec<(authority u16, Signature)> }`, ascending by authority. A
//! [`Container`] may lack signatures; a [`Founding`] is what remains after the whole check, and the only thing
//! that a node or client starts from.

use crate::application::{self, ApplicationError};
use crate::ceremony;
use crate::files::{self, Access};
use crate::noteid::{self, SameNoteId};
use ledger::codec::{self, DecodeError, List};
use ledger::genesis::{Genesis, GenesisError, MAX_AUTHORITIES, MAX_GENESIS};
use ledger::hash::ChainId;
use ledger::id::{AuthorityId, AuthorityIndex};
use ledger::key::{BadSignature, Signature};
use ledger::validator_set::ValidatorSet;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Longest container, in bytes: a genesis and 512 signatures.
pub const MAX_CONTAINER: usize = MAX_GENESIS + 64 * 1024;

/// A genesis and some signatures, each of which verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    genesis: Genesis,
    signatures: BTreeMap<AuthorityIndex, Signature>,
}

/// A genesis that passed every check and that all its authorities signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    genesis: Genesis,
    chain: ChainId,
    validators: ValidatorSet,
}

/// A container cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The file system refuses.
    #[error("genesis file {} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("genesis file {} cannot be written", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bytes are no container.
    #[error("the bytes are no genesis file")]
    Malformed(#[source] DecodeError),
    /// Signatures are not strictly ascending by authority.
    #[error("the signature of authority #{0} is out of order or twice")]
    Order(AuthorityIndex),
    /// A signature of an authority that the genesis does not have.
    #[error("the genesis has no authority #{0}")]
    Stranger(AuthorityIndex),
    /// A signature does not verify.
    #[error("the signature of authority {authority} is not good for this genesis")]
    Signature {
        /// Whose.
        authority: AuthorityId,
        /// Why.
        #[source]
        source: BadSignature,
    },
    /// Signatures of another genesis.
    #[error("the signatures are for chain {other}, not for {ours}")]
    OtherGenesis {
        /// The chain at hand.
        ours: ChainId,
        /// The chain that was signed.
        other: ChainId,
    },
    /// Signatures are missing.
    #[error("not signed by {}", listed(.0))]
    Missing(Vec<AuthorityId>),
    /// The genesis breaks a rule.
    #[error("the genesis cannot found a network")]
    Rule(#[from] GenesisError),
    /// What it says about an authority cannot be shown or dialled.
    #[error("the genesis describes an authority badly")]
    Description(#[source] Box<ApplicationError>),
    /// Two keys would look the same in a checkpoint.
    #[error("two keys look the same in a checkpoint")]
    NoteId(#[from] SameNoteId),
}

impl ContainerError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Write { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                Some("nothing is overwritten: name another file".into())
            }
            Self::Malformed(_) => {
                Some("a genesis file is made by `nachweis-genesis assemble`".into())
            }
            Self::Missing(_) => Some(
                "each of them runs `nachweis-genesis sign` on this file, or sends its signature"
                    .into(),
            ),
            Self::Stranger(_) | Self::Signature { .. } | Self::OtherGenesis { .. } => {
                Some("the signature may be of another draft: compare fingerprints".into())
            }
            Self::Rule(rule) => ceremony::rule_hint(rule),
            Self::NoteId(_) => Some("one of the two should apply again with new keys".into()),
            Self::Read { .. } | Self::Write { .. } | Self::Order(_) | Self::Description(_) => None,
        }
    }
}

fn listed(ids: &[AuthorityId]) -> String {
    let ids: Vec<_> = ids.iter().map(AuthorityId::as_str).collect();
    ids.join(", ")
}

impl Container {
    /// A genesis that nobody has signed yet.
    pub const fn new(genesis: Genesis) -> Self {
        Self {
            genesis,
            signatures: BTreeMap::new(),
        }
    }

    /// Decodes a container and verifies the signatures in it.
    ///
    /// # Errors
    /// Anything but the canonical encoding, a stranger's or a bad signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContainerError> {
        type Signatures = List<(AuthorityIndex, Signature), MAX_AUTHORITIES>;
        let (genesis, signatures): (Genesis, Signatures) =
            codec::decode(bytes, MAX_CONTAINER).map_err(ContainerError::Malformed)?;
        let mut container = Self::new(genesis);
        let mut last = None;
        for (authority, signature) in &signatures {
            if last >= Some(*authority) {
                return Err(ContainerError::Order(*authority));
            }
            last = Some(*authority);
            container.add(*authority, *signature)?;
        }
        Ok(container)
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let signatures: Vec<_> = self.signatures.iter().collect();
        codec::encode(&(&self.genesis, signatures))
    }

    /// Reads a container.
    ///
    /// # Errors
    /// As [`Container::decode`], or if the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, ContainerError> {
        let bytes =
            files::read_bounded(path, MAX_CONTAINER).map_err(|source| ContainerError::Read {
                path: path.into(),
                source,
            })?;
        Self::decode(&bytes)
    }

    /// Writes the container to a new file.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn create(&self, path: &Path) -> Result<(), ContainerError> {
        files::create(path, &self.encode(), Access::Public).map_err(|source| {
            ContainerError::Write {
                path: path.into(),
                source,
            }
        })
    }

    /// Puts the container in the place of an earlier state of itself.
    ///
    /// # Errors
    /// If the file cannot be written; the earlier state is left then.
    pub fn replace(&self, path: &Path) -> Result<(), ContainerError> {
        files::replace(path, &self.encode(), Access::Public).map_err(|source| {
            ContainerError::Write {
                path: path.into(),
                source,
            }
        })
    }

    /// Adds an authority's signature of this genesis. A second, equal one changes nothing.
    ///
    /// # Errors
    /// If the genesis has no such authority, or the signature does not verify under its admin key.
    pub fn add(
        &mut self,
        authority: AuthorityIndex,
        signature: Signature,
    ) -> Result<(), ContainerError> {
        let signer = self
            .genesis
            .authority(authority)
            .ok_or(ContainerError::Stranger(authority))?;
        signer
            .admin
            .verify_strict(&self.genesis.sign_bytes(), &signature.raw())
            .map_err(|source| ContainerError::Signature {
                authority: signer.id.clone(),
                source,
            })?;
        self.signatures.insert(authority, signature);
        Ok(())
    }

    /// The genesis.
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The signatures.
    pub const fn signatures(&self) -> &BTreeMap<AuthorityIndex, Signature> {
        &self.signatures
    }

    /// Authorities whose signature is missing.
    pub fn missing(&self) -> Vec<AuthorityId> {
        self.genesis
            .indexed()
            .filter(|(index, _)| !self.signatures.contains_key(index))
            .map(|(_, authority)| authority.id.clone())
            .collect()
    }

    /// Adds the signatures of another container of the same genesis.
    ///
    /// # Errors
    /// [`ContainerError::OtherGenesis`].
    pub fn merge(&mut self, other: &Self) -> Result<(), ContainerError> {
        if self.genesis != other.genesis {
            return Err(ContainerError::OtherGenesis {
                ours: self.genesis.chain(),
                other: other.genesis.chain(),
            });
        }
        self.signatures.extend(&other.signatures);
        Ok(())
    }

    /// Checks everything but the presence of signatures: the rules of a genesis, its names and addresses, and
    /// that no two keys look the same in a checkpoint.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check_rules(&self) -> Result<ValidatorSet, ContainerError> {
        let validators = self.genesis.check()?;
        for authority in &self.genesis.authorities {
            application::presentable(authority)
                .map_err(|error| ContainerError::Description(Box::new(error)))?;
        }
        noteid::distinct(&self.genesis.origin(), &validators)?;
        Ok(validators)
    }

    /// The whole check: rules of the genesis, and a good signature of every authority.
    ///
    /// # Errors
    /// The first rule that is broken, or the signatures that are missing.
    pub fn check(self) -> Result<Founding, ContainerError> {
        let validators = self.check_rules()?;
        let missing = self.missing();
        if !missing.is_empty() {
            return Err(ContainerError::Missing(missing));
        }
        let chain = self.genesis.chain();
        Ok(Founding {
            genesis: self.genesis,
            chain,
            validators,
        })
    }
}

impl Founding {
    /// Reads and checks a genesis file: what a node or client starts from.
    ///
    /// # Errors
    /// As [`Container::load`] and [`Container::check`].
    pub fn load(path: &Path) -> Result<Self, ContainerError> {
        Container::load(path)?.check()
    }

    /// The genesis.
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The chain's identity.
    pub const fn chain(&self) -> ChainId {
        self.chain
    }

    /// The validators of epoch 0.
    pub const fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// Takes the genesis out.
    pub fn into_genesis(self) -> Genesis {
        self.genesis
    }
}
