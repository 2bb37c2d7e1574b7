//! The founding document of a network, as bytes (formats.md, section 2).
//!
//! How authorities come to agree on one is the `genesis` crate's matter.

use crate::codec::{self, List, Text, refuse};
use crate::hash::{ChainId, Tag};
use crate::id::{AuthorityId, AuthorityIndex, Domain, TimeMs};
use crate::key::{BadKey, Key, Signature};
use crate::record::Role;
use crate::validator_set::{MAX_VALIDATORS, Member, SetError, ValidatorSet};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use borsh::io::{Read, Result as IoResult};
use borsh::{BorshDeserialize, BorshSerialize};

/// Most authorities of a network.
pub const MAX_AUTHORITIES: usize = 512;
/// Most registrar keys of an authority in genesis.
pub const MAX_REGISTRARS: usize = 16;
/// Longest encoded genesis, in bytes.
pub const MAX_GENESIS: usize = 4 * 1024 * 1024;
/// Fewest validators of a network.
pub const MIN_VALIDATORS: usize = 4;

/// The consensus-critical parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Params {
    /// Most validators.
    pub max_validators: u16,
    /// Most authorities.
    pub max_authorities: u16,
    /// Bytes of submissions at which a leader closes a block.
    pub block_target: u32,
    /// Most bytes of a body.
    pub block_hard: u32,
    /// How far a block's time may be ahead of an honest clock, in milliseconds.
    pub drift_ms: u64,
    /// How far it may be behind, before the back-off widens it, in milliseconds.
    pub past_ms: u64,
    /// Blocks of an epoch; 0 = epochs end only by a change.
    pub epoch_length: u64,
    /// Oldest evidence, in epochs.
    pub evidence_age: u64,
    /// Milliseconds after which a block is written even without records; 0 = never.
    pub anchor_interval_ms: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            max_validators: 64,
            max_authorities: 512,
            block_target: 1024 * 1024,
            block_hard: 4 * 1024 * 1024,
            drift_ms: 1000,
            past_ms: 5000,
            epoch_length: 0,
            evidence_age: 8,
            anchor_interval_ms: 0,
        }
    }
}

/// A registrar key with its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Registrar {
    /// The key.
    pub key: Key,
    /// What it may sign.
    pub role: Role,
}

/// The validator of an authority: keys and addresses.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Validator {
    /// Signs votes.
    pub vote: Key,
    /// Signs cosignatures.
    pub cosigner: Key,
    /// Signs notes as the log.
    pub log: Key,
    /// Identifies the libp2p peer.
    pub network: Key,
    /// libp2p multiaddresses.
    pub addresses: List<Text<128>, 8>,
}

/// A member organisation.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Authority {
    /// Short id.
    pub id: AuthorityId,
    /// Display name.
    pub name: Text<128>,
    /// Signs the genesis and key changes.
    pub admin: Key,
    /// 1 to 16 registrar keys, strictly ascending by key.
    pub registrars: List<Registrar, MAX_REGISTRARS>,
    /// Its validator, if it runs one.
    pub validator: Option<Validator>,
}

impl Authority {
    /// Every key with the number of its purpose (formats.md, section 2), in the order of the format.
    pub fn keys(&self) -> Vec<(Purpose, Key)> {
        let mut keys = alloc::vec![(Purpose::Admin, self.admin)];
        keys.extend(self.registrars.iter().map(|r| (Purpose::Registrar, r.key)));
        if let Some(v) = &self.validator {
            keys.extend([
                (Purpose::Vote, v.vote),
                (Purpose::Cosigner, v.cosigner),
                (Purpose::Log, v.log),
                (Purpose::Network, v.network),
            ]);
        }
        keys
    }
}

crate::codec::coded_enum! {
    /// What a key is for.
    pub enum Purpose {
        /// Genesis, key changes, approvals.
        Admin = 1,
        /// Submissions.
        Registrar = 2,
        /// Votes.
        Vote = 3,
        /// Cosignatures.
        Cosigner = 4,
        /// Log signatures.
        Log = 5,
        /// libp2p.
        Network = 6,
    }
}

/// The founding document. Its hash is the chain's identity.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Genesis {
    /// 1.
    pub version: u16,
    /// The network's domain; part of the log's origin.
    pub domain: Domain,
    /// Largest time of the applications.
    pub created_ms: TimeMs,
    /// Parameters.
    pub params: Params,
    /// Authorities, strictly ascending by id. Position = [`AuthorityIndex`].
    pub authorities: Vec<Authority>,
}

impl BorshDeserialize for Genesis {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let version = u16::deserialize_reader(reader)?;
        if version != 1 {
            return Err(refuse("unknown genesis version"));
        }
        Ok(Self {
            version,
            domain: Domain::deserialize_reader(reader)?,
            created_ms: TimeMs::deserialize_reader(reader)?,
            params: Params::deserialize_reader(reader)?,
            authorities: List::<_, MAX_AUTHORITIES>::deserialize_reader(reader)?.into_vec(),
        })
    }
}

/// Why a genesis cannot found a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Authorities are not strictly ascending by id.
    #[error("authority {0} is out of order or twice")]
    Order(AuthorityId),
    /// Not 1 to 16 registrars, or not strictly ascending.
    #[error("authority {0} needs 1 to 16 registrar keys in ascending order")]
    Registrars(AuthorityId),
    /// A key may not enter.
    #[error("a key of authority {authority} may not be used")]
    Key {
        /// Whose.
        authority: AuthorityId,
        /// Why.
        #[source]
        source: BadKey,
    },
    /// A key is used twice, in any role by anyone.
    #[error("key {key} of authority {authority} is used twice")]
    Repeated {
        /// Whose.
        authority: AuthorityId,
        /// Which.
        key: Key,
    },
    /// Too few or too many validators.
    #[error("a network needs 4 to {max} validators, this has {found}")]
    Validators {
        /// How many there are.
        found: usize,
        /// The parameter.
        max: u16,
    },
    /// More authorities than the parameters allow.
    #[error("the genesis has {found} authorities, its parameters allow {max}")]
    Authorities {
        /// How many there are.
        found: usize,
        /// The parameter.
        max: u16,
    },
    /// A parameter is out of range.
    #[error("parameter {0} is out of range")]
    Parameter(&'static str),
    /// The members are no validator set.
    #[error("the validators are no set")]
    Set(#[from] SetError),
}

impl Genesis {
    /// Decodes a genesis. Its content is checked by [`Genesis::check`].
    ///
    /// # Errors
    /// Anything but the canonical encoding, up to 4 MiB.
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::DecodeError> {
        codec::decode(bytes, MAX_GENESIS)
    }

    /// SHA-256(`genesis` tag ‖ borsh): the chain's identity.
    pub fn chain(&self) -> ChainId {
        ChainId(Tag::Genesis.hash(&[&codec::encode(self)]))
    }

    /// What every authority's admin key signs: `genesis-sign` tag ‖ chain.
    pub fn sign_bytes(&self) -> Vec<u8> {
        [Tag::GenesisSign.bytes(), self.chain().as_bytes()].concat()
    }

    /// The log's origin: `<domain>/nachweis/<first 32 hex digits of the chain>`.
    pub fn origin(&self) -> String {
        let chain = format!("{}", self.chain());
        format!(
            "{}/nachweis/{}",
            self.domain,
            chain.get(..32).unwrap_or_default()
        )
    }

    /// The authority at an index.
    pub fn authority(&self, index: AuthorityIndex) -> Option<&Authority> {
        self.authorities.get(usize::from(index.0))
    }

    /// Index of the authority with this id.
    pub fn index_of(&self, id: &AuthorityId) -> Option<AuthorityIndex> {
        let at = self
            .authorities
            .iter()
            .position(|authority| authority.id == *id)?;
        u16::try_from(at).ok().map(AuthorityIndex)
    }

    /// Authorities with their indices.
    pub fn indexed(&self) -> impl Iterator<Item = (AuthorityIndex, &Authority)> {
        (0_u16..).map(AuthorityIndex).zip(&self.authorities)
    }

    /// The validators of epoch 0, in order of their authorities.
    ///
    /// # Errors
    /// [`SetError`] if they are no set.
    pub fn validator_set(&self) -> Result<ValidatorSet, SetError> {
        let member = |(index, authority): (AuthorityIndex, &Authority)| {
            let v = authority.validator.as_ref()?;
            Some(Member {
                authority: index,
                id: authority.id.clone(),
                vote: v.vote,
                cosigner: v.cosigner,
                log: v.log,
                network: v.network,
            })
        };
        ValidatorSet::new(self.indexed().filter_map(member).collect())
    }

    /// Checks order, bounds and keys; returns the first validator set.
    ///
    /// # Errors
    /// [`GenesisError`] names the first fault.
    pub fn check(&self) -> Result<ValidatorSet, GenesisError> {
        self.check_params()?;
        let mut keys = BTreeSet::new();
        let mut last: Option<&AuthorityId> = None;
        for authority in &self.authorities {
            let id = || authority.id.clone();
            if last >= Some(&authority.id) {
                return Err(GenesisError::Order(id()));
            }
            last = Some(&authority.id);
            let ascending = authority
                .registrars
                .windows(2)
                .all(|p| p.first().map(|r| r.key) < p.get(1).map(|r| r.key));
            if authority.registrars.is_empty() || !ascending {
                return Err(GenesisError::Registrars(id()));
            }
            for (_, key) in authority.keys() {
                key.admit().map_err(|source| GenesisError::Key {
                    authority: id(),
                    source,
                })?;
                if !keys.insert(key) {
                    return Err(GenesisError::Repeated {
                        authority: id(),
                        key,
                    });
                }
            }
        }
        let set = self.validator_set()?;
        let max = self.params.max_validators;
        if set.n() < MIN_VALIDATORS || set.n() > usize::from(max) {
            return Err(GenesisError::Validators {
                found: set.n(),
                max,
            });
        }
        Ok(set)
    }

    fn check_params(&self) -> Result<(), GenesisError> {
        let Params {
            max_validators,
            max_authorities,
            block_target,
            block_hard,
            ..
        } = self.params;
        let hard = usize::try_from(block_hard).unwrap_or(usize::MAX);
        let ranges = [
            (
                "max_validators",
                usize::from(max_validators) <= MAX_VALIDATORS,
            ),
            (
                "max_authorities",
                usize::from(max_authorities) <= MAX_AUTHORITIES,
            ),
            (
                "block_hard",
                (1..=crate::submission::MAX_SUBMISSION).contains(&hard),
            ),
            (
                "block_target",
                block_target >= 1 && block_target <= block_hard,
            ),
        ];
        if let Some((name, _)) = ranges.iter().find(|(_, fits)| !fits) {
            return Err(GenesisError::Parameter(name));
        }
        let found = self.authorities.len();
        if found > usize::from(max_authorities) {
            return Err(GenesisError::Authorities {
                found,
                max: max_authorities,
            });
        }
        Ok(())
    }
}

/// An authority's signed wish to join the genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Application {
    /// 1.
    pub version: u16,
    /// The network's domain.
    pub domain: Domain,
    /// When it was made.
    pub created_ms: TimeMs,
    /// The authority.
    pub authority: Authority,
    /// One signature per key, in the order of [`Authority::keys`], over [`possession_bytes`].
    pub possessions: List<Signature, 32>,
}

/// What a key signs to show that its holder applies: `application` tag ‖ domain ‖ created ‖ authority ‖ purpose ‖ Key.
pub fn possession_bytes(
    domain: &Domain,
    created_ms: TimeMs,
    authority: &Authority,
    purpose: Purpose,
    key: &Key,
) -> Vec<u8> {
    let mut bytes = Vec::from(Tag::Application.bytes());
    codec::write_to(&mut bytes, &(domain, created_ms, authority, purpose, key));
    bytes
}
