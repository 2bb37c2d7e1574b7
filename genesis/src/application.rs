//! An authority's signed wish to join, and the file in which it travels.
//!
//! `application.json` holds the signed bytes in base64 and, beside them, the same in words for people. The two
//! must agree: a file whose readable part says anything else than its signed part is refused.

use crate::address::{self, AddressError};
use crate::birth::Keys;
use crate::files::{self, Access};
use crate::keyfile::{KeyFile, purpose_name};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::codec::{self, DecodeError, List, OverBound, Text};
use ledger::genesis::{Application, Authority, Registrar, Validator, possession_bytes};
use ledger::id::{AuthorityId, Domain, TimeMs};
use ledger::key::{BadKey, BadSignature, Key};
use ledger::record::Role;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Name of the file in an authority's folder.
pub const FILE: &str = "application.json";
/// Longest application file, in bytes.
pub const MAX_FILE: usize = 64 * 1024;
/// Longest encoded application, in bytes.
const MAX: usize = 16 * 1024;

/// What an authority says about itself when it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The network's domain.
    pub domain: Domain,
    /// The authority's display name, at most 128 bytes.
    pub name: String,
    /// Addresses of its validator; empty without one.
    pub addresses: Vec<String>,
    /// Now.
    pub created_ms: TimeMs,
}

/// An application whose keys may all be used and have all signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applicant(Application);

/// An application cannot be made or is refused.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// A version that this program does not know.
    #[error("application has version {0}, not 1")]
    Version(u16),
    /// No name, or one with characters that do not show.
    #[error("name {0:?} is empty or has characters that do not show")]
    Name(String),
    /// Longer than 128 bytes.
    #[error("name is over its bound")]
    NameBound(#[source] OverBound),
    /// An address.
    #[error("address of {authority} is refused")]
    Address {
        /// Whose.
        authority: AuthorityId,
        /// Why.
        #[source]
        source: AddressError,
    },
    /// Addresses were given, but there is no validator.
    #[error("authority {0} has no validator, but an address")]
    AddressWithoutValidator(AuthorityId),
    /// Not as many signatures as keys.
    #[error("application of {authority} has {found} signatures for {keys} keys")]
    Count {
        /// Whose.
        authority: AuthorityId,
        /// Signatures.
        found: usize,
        /// Keys.
        keys: usize,
    },
    /// A key may not be used.
    #[error("the {purpose} key of {authority} may not be used")]
    Key {
        /// Whose.
        authority: AuthorityId,
        /// What for.
        purpose: &'static str,
        /// Why.
        #[source]
        source: BadKey,
    },
    /// A key did not sign this application.
    #[error("the {purpose} key of {authority} did not sign this application")]
    Possession {
        /// Whose.
        authority: AuthorityId,
        /// What for.
        purpose: &'static str,
        /// Why.
        #[source]
        source: BadSignature,
    },
    /// A list is over its bound.
    #[error("application is over a bound")]
    Bound(#[from] OverBound),
    /// The file is no JSON of this kind.
    #[error("not the JSON of an application")]
    Json(#[source] serde_json::Error),
    /// The signed part is not canonical base64.
    #[error("its signed part is not canonical base64")]
    Base64,
    /// The signed part is no application.
    #[error("its signed part is no application")]
    Malformed(#[source] DecodeError),
    /// The readable part says something else than the signed part.
    #[error("its readable part differs from its signed part")]
    Readable,
    /// The file cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// The file cannot be written.
    #[error("it cannot be written")]
    Write(#[source] io::Error),
    /// What is wrong with which file.
    #[error("application {} is refused", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<Self>,
    },
}

impl ApplicationError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { source, .. } => source.hint(),
            Self::Address { source, .. } => Some(source.hint().into()),
            Self::AddressWithoutValidator(_) => {
                Some("leave out --no-validator or the address".into())
            }
            Self::Readable | Self::Possession { .. } | Self::Base64 | Self::Malformed(_) => Some(
                "it was changed after it was signed: ask the authority to send it again".into(),
            ),
            Self::Name(_) | Self::NameBound(_) => {
                Some("a name has 1 to 128 bytes of visible text".into())
            }
            Self::Version(_)
            | Self::Count { .. }
            | Self::Key { .. }
            | Self::Bound(_)
            | Self::Json(_)
            | Self::Read(_)
            | Self::Write(_) => None,
        }
    }
}

impl Applicant {
    /// Makes an application for keys that were just made, signed by each of them.
    ///
    /// # Errors
    /// If the name or an address is refused.
    pub fn make(keys: &Keys, plan: &Plan) -> Result<Self, ApplicationError> {
        let authority = describe(keys, plan)?;
        let sign = |key: &KeyFile| {
            let bytes = possession_bytes(
                &plan.domain,
                plan.created_ms,
                &authority,
                key.purpose(),
                &key.key(),
            );
            key.signing_key().sign(&bytes)
        };
        let possessions: Vec<_> = keys.all().into_iter().map(sign).collect();
        Self::verify(Application {
            version: 1,
            domain: plan.domain.clone(),
            created_ms: plan.created_ms,
            possessions: possessions.try_into()?,
            authority,
        })
    }

    /// Checks an application by itself: every key may be used and has signed; name and addresses are sound.
    ///
    /// # Errors
    /// The first fault.
    pub fn verify(application: Application) -> Result<Self, ApplicationError> {
        let Application {
            version,
            domain,
            created_ms,
            authority,
            possessions,
        } = &application;
        if *version != 1 {
            return Err(ApplicationError::Version(*version));
        }
        presentable(authority)?;
        let keys = authority.keys();
        if keys.len() != possessions.len() {
            return Err(ApplicationError::Count {
                authority: authority.id.clone(),
                found: possessions.len(),
                keys: keys.len(),
            });
        }
        for (purpose, key) in &keys {
            key.admit().map_err(|source| ApplicationError::Key {
                authority: authority.id.clone(),
                purpose: purpose_name(*purpose),
                source,
            })?;
        }
        for ((purpose, key), possession) in keys.into_iter().zip(possessions) {
            let bytes = possession_bytes(domain, *created_ms, authority, purpose, &key);
            key.verify_strict(&bytes, &possession.raw())
                .map_err(|source| ApplicationError::Possession {
                    authority: authority.id.clone(),
                    purpose: purpose_name(purpose),
                    source,
                })?;
        }
        Ok(Self(application))
    }

    /// The application.
    pub const fn application(&self) -> &Application {
        &self.0
    }

    /// The authority that applies.
    pub const fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        let readable = Readable::of(&self.0);
        let json = serde_json::to_string_pretty(&readable);
        json.expect("strings and numbers are always JSON") + "\n"
    }

    /// Reads the text of a file and verifies it.
    ///
    /// # Errors
    /// Anything that does not have the form, does not agree with itself, or does not verify.
    pub fn from_text(text: &[u8]) -> Result<Self, ApplicationError> {
        let readable: Readable = serde_json::from_slice(text).map_err(ApplicationError::Json)?;
        let bytes = STANDARD
            .decode(&readable.application)
            .or(Err(ApplicationError::Base64))?;
        let application: Application =
            codec::decode(&bytes, MAX).map_err(ApplicationError::Malformed)?;
        if Readable::of(&application) != readable {
            return Err(ApplicationError::Readable);
        }
        Self::verify(application)
    }

    /// Reads and verifies a file.
    ///
    /// # Errors
    /// [`ApplicationError::File`] with the reason.
    pub fn load(path: &Path) -> Result<Self, ApplicationError> {
        files::read_bounded(path, MAX_FILE)
            .map_err(ApplicationError::Read)
            .and_then(|text| Self::from_text(&text))
            .map_err(|source| in_file(path, source))
    }

    /// Writes a new file.
    ///
    /// # Errors
    /// If it exists or cannot be written.
    pub fn create(&self, path: &Path) -> Result<(), ApplicationError> {
        files::create(path, self.to_text().as_bytes(), Access::Public)
            .map_err(ApplicationError::Write)
            .map_err(|source| in_file(path, source))
    }
}

fn in_file(path: &Path, source: ApplicationError) -> ApplicationError {
    ApplicationError::File {
        path: path.into(),
        source: Box::new(source),
    }
}

fn describe(keys: &Keys, plan: &Plan) -> Result<Authority, ApplicationError> {
    let id = keys.admin.authority().clone();
    let validator = match &keys.validator {
        Some(v) => Some(Validator {
            vote: v.vote.key(),
            cosigner: v.cosigner.key(),
            log: v.log.key(),
            network: v.network.key(),
            addresses: address::collect(&plan.addresses).map_err(|source| {
                ApplicationError::Address {
                    authority: id.clone(),
                    source,
                }
            })?,
        }),
        None if plan.addresses.is_empty() => None,
        None => return Err(ApplicationError::AddressWithoutValidator(id)),
    };
    let mut registrars = List::new();
    registrars.push(Registrar {
        key: keys.registrar.key(),
        role: Role::ISSUE.with(Role::EXCHANGE),
    })?;
    Ok(Authority {
        id,
        name: Text::try_from(plan.name.clone()).map_err(ApplicationError::NameBound)?,
        admin: keys.admin.key(),
        registrars,
        validator,
    })
}

/// Checks what people and the network layer will be shown: the name and the addresses.
///
/// # Errors
/// The first fault.
pub(crate) fn presentable(authority: &Authority) -> Result<(), ApplicationError> {
    let name = authority.name.as_str();
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if name.is_empty() || name.trim() != name || name.chars().any(hidden) {
        return Err(ApplicationError::Name(name.into()));
    }
    let Some(validator) = &authority.validator else {
        return Ok(());
    };
    let texts: Vec<_> = validator
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    match address::collect(&texts) {
        Ok(_) => Ok(()),
        Err(source) => Err(ApplicationError::Address {
            authority: authority.id.clone(),
            source,
        }),
    }
}

/// The file: for people, and the signed bytes as its last member.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Readable {
    nachweis_application: u16,
    domain: String,
    authority: String,
    name: String,
    created_ms: u64,
    keys: Vec<ReadableKey>,
    addresses: Vec<String>,
    application: String,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadableKey {
    purpose: String,
    key: String,
}

impl Readable {
    fn of(application: &Application) -> Self {
        let authority = &application.authority;
        let key = |(purpose, key): (_, Key)| ReadableKey {
            purpose: purpose_name(purpose).into(),
            key: key.to_string(),
        };
        let addresses = authority.validator.as_ref().map(|v| &v.addresses);
        Self {
            nachweis_application: application.version,
            domain: application.domain.to_string(),
            authority: authority.id.to_string(),
            name: authority.name.to_string(),
            created_ms: application.created_ms.0,
            keys: authority.keys().into_iter().map(key).collect(),
            addresses: addresses
                .into_iter()
                .flat_map(|list| list.iter().map(ToString::to_string))
                .collect(),
            application: STANDARD.encode(codec::encode(application)),
        }
    }
}
