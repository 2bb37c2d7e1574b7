//! The trust files that others pin: `trust.json` for Nachweis, `trust.policy` for C2SP tools (formats.md, section 4).
//!
//! `trust.json` holds the genesis itself, so that nothing about the network is ever learned from a peer; reading
//! it gives a checked [`Trust`]. `trust.policy` says the same as far as a tlog-policy can: it is good for
//! checkpoints of the validator set that it was made from.

use crate::application::{self, ApplicationError};
use crate::files::{self, Access};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::codec::{self, DecodeError};
use ledger::genesis::{Genesis, MAX_GENESIS};
use ledger::hash::Hash;
use ledger::id::TreeSize;
use ledger::note::VerifierKey;
use ledger::receipt::{MAX_SET, MaxAge, Pin, Trust, TrustError};
use ledger::validator_set::ValidatorSet;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// Name of our trust file.
pub const FILE: &str = "trust.json";
/// Name of the policy for other tools.
pub const POLICY_FILE: &str = "trust.policy";
/// Longest trust file, in bytes: a genesis in base64, with room for a pin.
pub const MAX_FILE: usize = MAX_GENESIS * 4 / 3 + 256 * 1024;

/// Largest integer that every JSON reader keeps exact, and the largest that we accept.
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// A trust file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustFileError {
    /// The file system refuses to read it.
    #[error("trust file {} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file system refuses to write it.
    #[error("trust file cannot be written")]
    Write(#[source] io::Error),
    /// It is no JSON of the form.
    #[error("trust file is not the JSON of this format")]
    Json(#[source] serde_json::Error),
    /// Another version.
    #[error("trust file has version {0}, this program knows 1")]
    Version(u64),
    /// A number that some JSON readers would round.
    #[error("number {0} in the trust file is not below 2^53")]
    Integer(u64),
    /// A member is not canonical base64.
    #[error("member {0:?} of the trust file is not canonical base64")]
    Base64(&'static str),
    /// A member does not decode.
    #[error("member {member:?} of the trust file is malformed")]
    Malformed {
        /// Which.
        member: &'static str,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// The pinned root is not 32 bytes.
    #[error("pinned root has {0} bytes, not 32")]
    Root(usize),
    /// An authority of the genesis cannot be shown.
    #[error("genesis of the trust file describes an authority badly")]
    Description(#[source] Box<ApplicationError>),
    /// It cannot be relied on.
    #[error("trust file cannot be relied on")]
    Trust(#[from] TrustError),
}

impl TrustFileError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Write(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                Some("nothing is overwritten: name another folder")
            }
            Self::Read { .. } | Self::Write(_) => None,
            _malformed => Some("a trust file is made by `nachweis-genesis trust`"),
        }
    }
}

/// The members of the file, in its order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    nachweis_trust: u64,
    genesis: String,
    #[serde(deserialize_with = "present")]
    pin: Option<PinMembers>,
    max_age_s: u64,
    max_age_online_s: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinMembers {
    size: u64,
    root: String,
    set: String,
}

/// `null` or a pin, but not nothing at all: by default an absent member would pass for `null`.
fn present<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<PinMembers>, D::Error> {
    Option::deserialize(reader)
}

fn base64(member: &'static str, text: &str) -> Result<Vec<u8>, TrustFileError> {
    let bytes = STANDARD.decode(text).ok();
    bytes
        .filter(|bytes| STANDARD.encode(bytes) == text)
        .ok_or(TrustFileError::Base64(member))
}

const fn small(number: u64) -> Result<u64, TrustFileError> {
    if number > MAX_INTEGER {
        return Err(TrustFileError::Integer(number));
    }
    Ok(number)
}

/// Reads the text of `trust.json` and checks everything in it.
///
/// # Errors
/// [`TrustFileError`]: unknown, missing and repeated members, numbers from 2^53 on and a pin of size 0 included.
pub fn parse(text: &[u8]) -> Result<Trust, TrustFileError> {
    let members: Members = serde_json::from_slice(text).map_err(TrustFileError::Json)?;
    if members.nachweis_trust != 1 {
        return Err(TrustFileError::Version(members.nachweis_trust));
    }
    let malformed = |member| move |source| TrustFileError::Malformed { member, source };
    let genesis = base64("genesis", &members.genesis)?;
    let genesis = Genesis::decode(&genesis).map_err(malformed("genesis"))?;
    for authority in &genesis.authorities {
        application::presentable(authority)
            .map_err(|error| TrustFileError::Description(Box::new(error)))?;
    }
    let pin = members.pin.map(|pin| {
        let root = base64("root", &pin.root)?;
        let root = <[u8; 32]>::try_from(root).map_err(|root| TrustFileError::Root(root.len()))?;
        let set = base64("set", &pin.set)?;
        Ok::<_, TrustFileError>(Pin {
            size: TreeSize(small(pin.size)?),
            root: Hash(root),
            set: codec::decode(&set, MAX_SET).map_err(malformed("set"))?,
        })
    });
    let max_age = MaxAge {
        offline_s: small(members.max_age_s)?,
        online_s: small(members.max_age_online_s)?,
    };
    Ok(Trust::new(genesis, pin.transpose()?, max_age)?)
}

/// The text of `trust.json`.
pub fn to_text(trust: &Trust) -> String {
    let members = Members {
        nachweis_trust: 1,
        genesis: STANDARD.encode(codec::encode(trust.genesis())),
        pin: trust.pin().map(|pin| PinMembers {
            size: pin.size.0,
            root: STANDARD.encode(pin.root.0),
            set: STANDARD.encode(codec::encode(&pin.set)),
        }),
        max_age_s: trust.max_age().offline_s,
        max_age_online_s: trust.max_age().online_s,
    };
    let json = serde_json::to_string_pretty(&members);
    json.expect("strings and numbers are always JSON") + "\n"
}

/// Reads a trust file.
///
/// # Errors
/// As [`parse`], or if it cannot be read.
pub fn load(path: &Path) -> Result<Trust, TrustFileError> {
    let read = files::read_bounded(path, MAX_FILE);
    parse(&read.map_err(|source| TrustFileError::Read {
        path: path.into(),
        source,
    })?)
}

/// Puts a trust in the place of an existing file, for instance with a newer pin.
///
/// # Errors
/// If it cannot be written; the old file is left then.
pub fn replace(trust: &Trust, path: &Path) -> Result<(), TrustFileError> {
    let text = to_text(trust);
    files::replace(path, text.as_bytes(), Access::Public).map_err(TrustFileError::Write)
}

/// Writes both files into a folder: both, or neither.
///
/// # Errors
/// If one of them exists or cannot be written.
pub fn create(trust: &Trust, folder: &Path) -> Result<(), TrustFileError> {
    let set = trust.pin().map(|pin| pin.set.clone());
    let set = match set {
        Some(set) => set,
        None => trust
            .genesis()
            .validator_set()
            .map_err(|error| TrustError::Genesis(error.into()))?,
    };
    let (json, policy) = (folder.join(FILE), folder.join(POLICY_FILE));
    let write = |path: &Path, text: String| {
        files::create(path, text.as_bytes(), Access::Public).map_err(TrustFileError::Write)
    };
    write(&json, to_text(trust))?;
    write(&policy, policy_text(trust.origin(), &set)).inspect_err(|_kept| {
        // What cannot be removed is a good trust file.
        std::fs::remove_file(&json).ok();
    })
}

/// The tlog-policy of a set: any log line of it, and n−f of its witnesses.
pub fn policy_text(origin: &str, set: &ValidatorSet) -> String {
    let mut text = format!(
        "# {origin}: for checkpoints of validator set {}\n",
        set.hash()
    );
    let name = |id| format!("validator-{id}");
    let mut line = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line)
            .expect("writing to memory does not fail");
        text.push('\n');
    };
    for member in set.members() {
        let log = VerifierKey::log(origin, member.log);
        line(format_args!("log {}", log.vkey()));
    }
    for member in set.members() {
        let key = VerifierKey::cosigner(origin, &member.id, member.cosigner);
        line(format_args!("witness {} {}", name(&member.id), key.vkey()));
    }
    let names: Vec<_> = set.members().iter().map(|m| name(&m.id)).collect();
    let (quorum, names) = (set.quorum(), names.join(" "));
    line(format_args!("group quorum-of-validators {quorum} {names}"));
    line(format_args!("quorum quorum-of-validators"));
    text
}

#[cfg(test)]
mod tests;
