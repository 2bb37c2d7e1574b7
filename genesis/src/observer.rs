//! `observer.cert`: an observer's certificate as a file, and how an authority makes one.
//!
//! ```text
//! nachweis-observer v1
//! <base64 of the certificate>
//! ```

use crate::files::{self, Access};
use crate::keyfile::KeyFile;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::codec::DecodeError;
use ledger::genesis::{Genesis, Purpose};
use ledger::id::{AuthorityId, TimeMs};
use ledger::key::Key;
use ledger::observer::{Certificate, Permission};
use std::io;
use std::path::{Path, PathBuf};

/// Name of the file.
pub const FILE: &str = "observer.cert";
/// Its first line.
const HEADING: &str = "nachweis-observer v1";
/// Longest file, in bytes.
const MAX: usize = 1024;

/// A certificate cannot be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObserverError {
    /// It cannot be read.
    #[error("observer certificate {} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("observer certificate {} cannot be created", path.display())]
    Create {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no such file.
    #[error("{} is no observer certificate", .0.display())]
    Form(PathBuf),
    /// Its bytes are no certificate.
    #[error("{} holds no observer certificate", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: DecodeError,
    },
    /// The genesis does not know the admin key's authority.
    #[error("the genesis has no authority {0}")]
    Stranger(AuthorityId),
    /// The genesis has another admin key for it.
    #[error("the key is not the admin key of {0} in the genesis")]
    OtherKey(AuthorityId),
    /// The key is for something else.
    #[error("the key of {0} is no admin key")]
    Purpose(AuthorityId),
}

impl ObserverError {
    /// What a person can do about it.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Read { .. } | Self::Form(_) | Self::Malformed { .. } => {
                Some("`nachweis-genesis observer` makes it, with the authority's admin key")
            }
            Self::Create { .. } => Some("nothing is overwritten: name another folder"),
            Self::Stranger(_) | Self::OtherKey(_) => {
                Some("are genesis and admin key of the same network?")
            }
            Self::Purpose(_) => Some("the file is usually called admin.key"),
        }
    }
}

/// Certifies a network key for an observer of the admin key's authority.
///
/// # Errors
/// [`ObserverError`] if the key is not an admin key of this genesis.
pub fn certify(
    genesis: &Genesis,
    admin: &KeyFile,
    network: Key,
    not_after_ms: TimeMs,
) -> Result<Certificate, ObserverError> {
    let id = admin.authority();
    if admin.purpose() != Purpose::Admin {
        return Err(ObserverError::Purpose(id.clone()));
    }
    let index = genesis.index_of(id);
    let (authority, known) = index
        .and_then(|index| Some((index, genesis.authority(index)?)))
        .ok_or_else(|| ObserverError::Stranger(id.clone()))?;
    if known.admin != admin.key() {
        return Err(ObserverError::OtherKey(id.clone()));
    }
    let permission = Permission {
        chain: genesis.chain(),
        authority,
        network,
        not_after_ms,
    };
    Ok(permission.sign(&admin.signing_key()))
}

/// Writes a certificate to a new file.
///
/// # Errors
/// [`ObserverError::Create`].
pub fn create(certificate: &Certificate, path: &Path) -> Result<(), ObserverError> {
    let text = format!("{HEADING}\n{}\n", STANDARD.encode(certificate.encode()));
    files::create(path, text.as_bytes(), Access::Public).map_err(|source| ObserverError::Create {
        path: path.into(),
        source,
    })
}

/// Reads a certificate. Whether it is good is for [`Certificate::check`].
///
/// # Errors
/// [`ObserverError`].
pub fn load(path: &Path) -> Result<Certificate, ObserverError> {
    let bytes = files::read_bounded(path, MAX).map_err(|source| ObserverError::Read {
        path: path.into(),
        source,
    })?;
    let form = || ObserverError::Form(path.into());
    let text = core::str::from_utf8(&bytes).map_err(|_utf8| form())?;
    let body = text.strip_suffix('\n').ok_or_else(form)?;
    let (heading, encoded) = body.split_once('\n').ok_or_else(form)?;
    if heading != HEADING {
        return Err(form());
    }
    // The engine refuses padding and spare bits that are not canonical.
    let decoded = STANDARD.decode(encoded).map_err(|_base64| form())?;
    Certificate::decode(&decoded).map_err(|source| ObserverError::Malformed {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::hash::{ChainId, Hash};
    use ledger::id::AuthorityIndex;
    use ledger::key::SigningKey;

    #[test]
    fn the_file_comes_back_and_no_other_text_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let key = SigningKey::from_seed(&[1; 32]);
        let permission = Permission {
            chain: ChainId(Hash([3; 32])),
            authority: AuthorityIndex(2),
            network: key.key(),
            not_after_ms: TimeMs(9),
        };
        let certificate = permission.sign(&key);
        create(&certificate, &path).unwrap();
        assert_eq!(load(&path).unwrap(), certificate);
        assert!(matches!(
            create(&certificate, &path),
            Err(ObserverError::Create { .. })
        ));
        let text = std::fs::read_to_string(&path).unwrap();
        for bad in [
            text.replace("v1", "v2"),
            text.trim_end().to_owned(),
            format!("{text}\n"),
            text.replace("\n", "\r\n"),
            String::new(),
        ] {
            std::fs::write(&path, &bad).unwrap();
            load(&path).unwrap_err();
        }
    }
}
