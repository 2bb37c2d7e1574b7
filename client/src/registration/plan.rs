//! What is to be done about each file: new, known, changed since.

use crate::documents::{DocumentFile, on_all_cores};
use crate::proof::{self, Subject, is_proof_of_bytes};
use crate::state::{FileEntry, Progress, Registrations};
use ledger::document::{DocumentDigest, DocumentId};
use ledger::id::TimeMs;
use ledger::receipt::{Finding, Trust};

/// A file with its digest.
#[derive(Clone, Debug)]
pub struct Hashed {
    /// The file.
    pub file: DocumentFile,
    /// Of its bytes.
    pub digest: DocumentDigest,
}

/// What is to be done about a file.
#[derive(Clone, Debug)]
pub enum Step {
    /// Nobody registered it as far as can be told here.
    New,
    /// It is registered, and its receipt lies beside it.
    Done(DocumentId),
    /// It is registered or on its way, and its receipt is to be fetched.
    Fetch(FileEntry),
    /// It was registered with other bytes.
    Changed(DocumentId),
    /// A receipt lies beside it that is not good for this network.
    OtherReceipt(String),
}

/// Decides about every file, from the state and from the receipts beside them.
pub fn plan(
    files: &[Hashed],
    registrations: &Registrations,
    trust: &Trust,
    now: TimeMs,
) -> Vec<Step> {
    on_all_cores(files, &|file: &Hashed| {
        decide(file, registrations, trust, now)
    })
}

fn decide(hashed: &Hashed, registrations: &Registrations, trust: &Trust, now: TimeMs) -> Step {
    let Hashed { file, digest } = hashed;
    // A receipt that cannot be read is as good as none: a new one is fetched, or writing it tells why.
    let receipt = proof::read_beside(&file.path).ok().flatten();
    let subject = Subject::Bytes(digest);
    let verdict = receipt.map(|bytes| proof::check(subject, &bytes, trust, now));
    if let Some((entry, progress)) = registrations.at(&file.place) {
        if entry.digest != *digest.as_bytes() {
            return Step::Changed(entry.document);
        }
        let proved = verdict.is_some_and(|verdict| {
            is_proof_of_bytes(&verdict) && verdict.document() == Some(entry.document)
        });
        return match progress {
            Progress::Proved if proved => Step::Done(entry.document),
            Progress::Proved | Progress::Pending => Step::Fetch(entry.clone()),
        };
    }
    let Some(verdict) = verdict else {
        return Step::New;
    };
    match (verdict.document(), verdict.finding()) {
        (Some(id), _) if is_proof_of_bytes(&verdict) => Step::Done(id),
        (Some(id), Finding::Modified) => Step::Changed(id),
        (_, finding) => Step::OtherReceipt(finding.to_string()),
    }
}
