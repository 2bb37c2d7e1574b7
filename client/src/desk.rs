//! A desk of an authority: who acts, with which key, on which network, through which nodes.

use crate::api::{Api, ApiError};
use crate::config::{Config, ConfigError};
use crate::state::Owner;
use crate::when;
use genesis::keyfile::{KeyFile, KeyFileError};
use ledger::genesis::Purpose;
use ledger::id::{AuthorityId, AuthorityIndex, TimeMs};
use ledger::key::SigningKey;
use ledger::receipt::Trust;
use ledger::record::Record;
use ledger::submission::{Draft, Submission, SubmissionError, VerifiedSubmission};
use std::path::Path;

/// How much earlier than this computer's clock a block may be, in milliseconds: clocks differ.
const EARLIER_MS: u64 = 10 * 60 * 1000;
/// How long a submission may wait for its block, in milliseconds; it is signed again after that.
const LATER_MS: u64 = 2 * 60 * 60 * 1000;

/// Somebody who signs for an authority.
#[derive(Clone, Debug)]
pub struct Signatory {
    /// The authority.
    pub authority: AuthorityIndex,
    /// Its key.
    pub key: SigningKey,
}

/// The configured desk cannot be used with this network.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The nodes' addresses.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The network has no such authority.
    #[error("authority {0} is not in the genesis of the trusted network")]
    Stranger(AuthorityId),
    /// The key is another authority's.
    #[error("the key file is of {found}, the configuration of {expected}")]
    OtherAuthority {
        /// Whose key it is.
        found: AuthorityId,
        /// Whose desk it is.
        expected: AuthorityId,
    },
    /// The clock is of no use.
    #[error(transparent)]
    Clock(#[from] when::NoClock),
    /// The records make no submission.
    #[error("the records make no submission")]
    Submission(#[from] SubmissionError),
}

impl DeskError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Api(error) => error.hint(),
            Self::Stranger(_) => {
                Some("is the trust file that of another network? see: nachweis trust show".into())
            }
            Self::OtherAuthority { .. } => {
                Some("`authority` and `key` in the configuration must belong together".into())
            }
            Self::Clock(_) => Some("set the clock, then try again".into()),
            Self::Submission(_) => None,
        }
    }
}

/// Index of the desk's authority.
///
/// # Errors
/// [`DeskError`] if the network has none of that name.
pub fn authority(config: &Config, trust: &Trust) -> Result<AuthorityIndex, DeskError> {
    let id = config.authority()?;
    let index = trust.genesis().index_of(id);
    index.ok_or_else(|| DeskError::Stranger(id.clone()))
}

/// Whose state the desk keeps.
///
/// # Errors
/// [`DeskError`].
pub fn owner(config: &Config, trust: &Trust) -> Result<Owner, DeskError> {
    let (chain, authority) = (trust.chain(), authority(config, trust)?);
    Ok(Owner { chain, authority })
}

/// The nodes.
///
/// # Errors
/// [`DeskError`].
pub fn api(config: &Config) -> Result<Api, DeskError> {
    Ok(Api::new(config.nodes()?, config.timeout_s)?)
}

impl Signatory {
    /// The desk's registrar.
    ///
    /// # Errors
    /// [`DeskError`].
    pub fn registrar(config: &Config, trust: &Trust) -> Result<Self, DeskError> {
        Self::load(config, trust, config.key()?, Purpose::Registrar)
    }

    /// The desk's administrator.
    ///
    /// # Errors
    /// [`DeskError`].
    pub fn admin(config: &Config, trust: &Trust) -> Result<Self, DeskError> {
        Self::load(config, trust, config.admin_key()?, Purpose::Admin)
    }

    fn load(
        config: &Config,
        trust: &Trust,
        path: &Path,
        purpose: Purpose,
    ) -> Result<Self, DeskError> {
        let authority = authority(config, trust)?;
        let file = KeyFile::load(path, purpose)?;
        let expected = config.authority()?;
        if file.authority() != expected {
            return Err(DeskError::OtherAuthority {
                found: file.authority().clone(),
                expected: expected.clone(),
            });
        }
        let key = file.signing_key();
        Ok(Self { authority, key })
    }

    /// Signs records, to be included from now on for two hours.
    ///
    /// # Errors
    /// [`DeskError`] if they make no submission.
    pub fn sign(
        &self,
        trust: &Trust,
        records: Vec<Record>,
    ) -> Result<VerifiedSubmission, DeskError> {
        let now = when::now()?;
        let draft = Draft {
            chain: trust.chain(),
            authority: self.authority,
            not_before_ms: TimeMs(now.0.saturating_sub(EARLIER_MS)),
            not_after_ms: now.saturating_add(LATER_MS),
            records,
        };
        Ok(Submission::sign(draft, &self.key)?)
    }
}
