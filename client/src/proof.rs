//! Receipts at the client: read, completed with openings, checked against the pinned trust, written.
//!
//! A node's receipt has the public parts. What opens the commitments comes from the receipt at hand or from the
//! state, and goes into the file beside the document, nowhere else.

use crate::documents::receipt_path;
use ledger::document::{CommitmentRole, DocumentDigest, DocumentId, Salt};
use ledger::id::TimeMs;
use ledger::receipt::{
    Finding, Only, Opening, Receipt, ReceiptError, Trust, Verdict, verify, verify_status,
};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The most of a receipt file that is read: far over the format's cap, so that its fault can be named.
const MAX_READ: usize = 16 * 1024 * 1024;

/// Reads the receipt beside a document; `None` if there is none.
///
/// # Errors
/// Of the file system.
pub fn read_beside(document: &Path) -> io::Result<Option<Vec<u8>>> {
    match genesis::files::read_bounded(&receipt_path(document), MAX_READ) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What opens the issuer's own commitment.
pub const fn opening(salt: Salt, file: [u8; 32]) -> Opening {
    Opening {
        role: CommitmentRole::Internal,
        alg: Only,
        salt,
        file,
        at: None,
    }
}

/// The openings of the registration in a receipt. Those of later records belong to its own checkpoint.
pub fn lasting_openings(receipt: &Receipt) -> Vec<Opening> {
    let openings = receipt.openings().iter();
    let lasting = openings.filter(|opening| opening.at.is_none());
    lasting.cloned().collect()
}

/// A node's receipt with these openings and the details of the receipt at hand.
///
/// # Errors
/// [`ReceiptError`] if the node's is none, or it would be too long.
pub fn complete(
    public: &[u8],
    openings: Vec<Opening>,
    at_hand: Option<&Receipt>,
) -> Result<Receipt, ReceiptError> {
    let receipt = Receipt::parse(public)?.with_openings(openings)?;
    match at_hand {
        Some(old) => receipt.with_details(old.details().to_vec()),
        None => Ok(receipt),
    }
}

/// Whether the verdict says that the proof holds for these bytes, whatever became of the document since.
pub const fn is_proof_of_bytes(verdict: &Verdict) -> bool {
    match verdict.finding() {
        Finding::Current
        | Finding::InForceAsOf(_)
        | Finding::Disputed { .. }
        | Finding::Revoked { .. }
        | Finding::Superseded { .. }
        | Finding::Retired
        | Finding::Suspended { .. }
        | Finding::EvidenceErased => verdict.are_bytes_checked(),
        Finding::ProofInvalid(_)
        | Finding::WrongReceipt { .. }
        | Finding::Modified
        | Finding::OlderThanPin { .. }
        | Finding::ReceivedBy(_)
        | Finding::LocatorKnown => false,
    }
}

/// What is to be proved: a document, with its bytes' digest where they are at hand.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// The bytes were hashed.
    Bytes(&'a DocumentDigest),
    /// Only the id is at hand.
    Id(DocumentId),
}

/// The verdict of `ledger::receipt`.
pub fn check(subject: Subject<'_>, receipt: &[u8], trust: &Trust, now: TimeMs) -> Verdict {
    match subject {
        Subject::Bytes(digest) => verify(digest, receipt, trust, now, None),
        Subject::Id(id) => verify_status(id, receipt, trust, now),
    }
}

/// A receipt that is to be written beside its document.
#[derive(Debug)]
pub struct Sheet {
    /// The document file.
    pub document: PathBuf,
    /// The complete receipt.
    pub text: String,
}

/// Writes receipts beside their documents, durably, each whole or not at all; returns what went wrong with which.
pub fn write(sheets: &[Sheet]) -> Vec<(PathBuf, io::Error)> {
    let mut failed = Vec::new();
    let mut partials = Vec::new();
    for sheet in sheets {
        let target = receipt_path(&sheet.document);
        match write_partial(&target, &sheet.text) {
            Ok((partial, file)) => partials.push((sheet, target, partial, file)),
            Err(error) => failed.push((sheet.document.clone(), error)),
        }
    }
    // The content is on the disk before it gets its name. Receipts of a batch mostly share a file system.
    if let [.., (_, _, _, last)] = partials.as_slice() {
        let device = |file: &File| file.metadata().map(|metadata| metadata.dev()).ok();
        let synced = rustix::fs::syncfs(last).ok().and_then(|()| device(last));
        let each = |file: &File| match synced {
            Some(there) if device(file) == Some(there) => Ok(()),
            Some(_) | None => file.sync_all(),
        };
        for (sheet, target, partial, file) in &partials {
            let named = each(file).and_then(|()| fs::rename(partial, target));
            if let Err(error) = named {
                fs::remove_file(partial).ok();
                failed.push((sheet.document.clone(), error));
            }
        }
        // A name that is lost in a power cut is made again by running the command again.
        rustix::fs::syncfs(last).ok();
    }
    failed
}

fn write_partial(target: &Path, text: &str) -> io::Result<(PathBuf, File)> {
    let name = target
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".partial-{}", std::process::id()));
    let partial = target.with_file_name(hidden);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&partial)?;
    match file.write_all(text.as_bytes()) {
        Ok(()) => Ok((partial, file)),
        Err(error) => {
            fs::remove_file(&partial).ok();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn receipts_are_written_whole_beside_their_documents_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let sheet = |name: &str| Sheet {
            document: dir.path().join(name),
            text: "proof\n".into(),
        };
        fs::write(dir.path().join("a.tlog-proof"), "old").unwrap();
        let failed = write(&[sheet("a"), sheet("gone/b"), sheet("c")]);
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].0, dir.path().join("gone/b"));
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["a.tlog-proof", "c.tlog-proof"]);
        assert_eq!(
            fs::read(dir.path().join("a.tlog-proof")).unwrap(),
            b"proof\n"
        );
        let metadata = fs::metadata(dir.path().join("c.tlog-proof")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777 & !0o644, 0);
        assert_eq!(read_beside(&dir.path().join("b")).unwrap(), None);
    }
}
