//! Which document a file on disk is: by the receipt beside it, or by the state.

use crate::documents::{self, Trouble};
use crate::proof::{self, Subject};
use crate::state::Registrations;
use ledger::document::{DocumentDigest, DocumentId};
use ledger::id::TimeMs;
use ledger::receipt::{Finding, Opening, Receipt, Trust};
use std::io;
use std::path::{Path, PathBuf};

/// A file that is known to be a document.
#[derive(Clone, Debug)]
pub struct Identified {
    /// The file.
    pub path: PathBuf,
    /// Its document.
    pub document: DocumentId,
    /// Of its bytes.
    pub digest: DocumentDigest,
    /// What opens its commitments.
    pub openings: Vec<Opening>,
    /// The receipt beside it.
    pub at_hand: Option<Receipt>,
}

/// A file cannot be told to be a document.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read.
    #[error("{} {trouble}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        trouble: Trouble,
    },
    /// The receipt beside it cannot be read.
    #[error("the receipt beside {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The receipt beside it is no good.
    #[error("the receipt beside {} is not good: {finding}", path.display())]
    Receipt {
        /// The file.
        path: PathBuf,
        /// What the verification says.
        finding: String,
    },
    /// The file has other bytes than those that were registered.
    #[error("{} is not what was registered as {document}: its bytes differ", path.display())]
    Modified {
        /// The file.
        path: PathBuf,
        /// The document.
        document: DocumentId,
    },
    /// Neither a receipt nor the state knows it.
    #[error("{} has no receipt beside it, and was not registered from here", .0.display())]
    Unknown(PathBuf),
}

impl IdentityError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown(_) => Some(
                "register it, put its .tlog-proof beside it, or name its document id; \
                 without a proof nothing is known, which proves nothing"
                    .into(),
            ),
            Self::Receipt { path, .. } => {
                Some(format!("see: nachweis verify -v {}", path.display()))
            }
            Self::File { .. } | Self::Read { .. } | Self::Modified { .. } => None,
        }
    }
}

/// Hashes a file and finds its document.
///
/// # Errors
/// [`IdentityError`].
pub fn identify(
    path: &Path,
    registrations: Option<&Registrations>,
    trust: &Trust,
    now: TimeMs,
) -> Result<Identified, IdentityError> {
    let file = |trouble| IdentityError::File {
        path: path.into(),
        trouble,
    };
    let digest = documents::hash(path, &|_| {}).map_err(file)?;
    let receipt = proof::read_beside(path).map_err(|source| IdentityError::Read {
        path: path.into(),
        source,
    })?;
    let from_state = || from_state(path, &digest, registrations);
    let Some(bytes) = receipt else {
        return from_state();
    };
    let verdict = proof::check(Subject::Bytes(&digest), &bytes, trust, now);
    match (verdict.finding(), Receipt::parse(&bytes)) {
        (Finding::Modified, Ok(receipt)) => Err(IdentityError::Modified {
            path: path.into(),
            document: receipt.document(),
        }),
        (Finding::ProofInvalid(_) | Finding::WrongReceipt { .. }, _) | (_, Err(_)) => {
            let finding = verdict.finding().to_string();
            let path = path.into();
            from_state().map_err(|_unknown| IdentityError::Receipt { path, finding })
        }
        (_, Ok(receipt)) => Ok(Identified {
            path: path.into(),
            document: receipt.document(),
            digest,
            openings: proof::lasting_openings(&receipt),
            at_hand: Some(receipt),
        }),
    }
}

fn from_state(
    path: &Path,
    digest: &DocumentDigest,
    registrations: Option<&Registrations>,
) -> Result<Identified, IdentityError> {
    let unknown = || IdentityError::Unknown(path.into());
    let name = path.file_name().ok_or_else(unknown)?;
    let folder = std::fs::canonicalize(genesis::files::folder_of(path));
    let place = folder.map_err(|error| IdentityError::File {
        path: path.into(),
        trouble: error.into(),
    })?;
    let known = registrations.and_then(|known| known.at(&place.join(name)));
    let (entry, _) = known.ok_or_else(unknown)?;
    if entry.digest != *digest.as_bytes() {
        return Err(IdentityError::Modified {
            path: path.into(),
            document: entry.document,
        });
    }
    Ok(Identified {
        path: path.into(),
        document: entry.document,
        digest: *digest,
        openings: vec![proof::opening(entry.salt.clone(), entry.digest)],
        at_hand: None,
    })
}
