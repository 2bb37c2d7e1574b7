//! The end of a registration: receipts fetched, checked and written beside their documents.

use super::{Registrar, RegistrationError};
use crate::delivery::Watch;
use crate::documents::receipt_path;
use crate::proof::{self, Sheet, is_proof_of_bytes};
use crate::refresh::{self, Fetched, Wanted};
use crate::state::{self, FileEntry};
use crate::when;
use ledger::document::{DocumentDigest, DocumentId};
use ledger::id::TreeSize;
use ledger::receipt::Verdict;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file whose receipt is wanted.
#[derive(Clone, Debug)]
pub struct Target {
    /// As a person named it: the receipt goes beside it.
    pub path: PathBuf,
    /// What the state knows of it.
    pub entry: FileEntry,
    /// Of its bytes now; none if they are not those that were registered, or not there.
    pub digest: Option<DocumentDigest>,
}

/// What came out for one file.
#[derive(Debug)]
pub struct Finished {
    /// The file.
    pub path: PathBuf,
    /// Its document.
    pub document: DocumentId,
    /// The checked verdict on the receipt that was written, or why there is none.
    pub outcome: Result<Box<Verdict>, String>,
}

impl Registrar<'_> {
    /// Fetches, checks and writes the receipts of these files, and settles what they prove in the state.
    ///
    /// # Errors
    /// [`RegistrationError`] if nobody answers: the state has everything to continue.
    pub async fn finish(
        &mut self,
        targets: &[Target],
        (patience, watch): (Duration, Watch<'_>),
    ) -> Result<Vec<Finished>, RegistrationError> {
        let mut finished = Vec::with_capacity(targets.len());
        let mut proved = HashSet::new();
        let mut newest = TreeSize(0);
        for chunk in targets.chunks(refresh::CHUNK) {
            let wanted: Vec<_> = chunk.iter().map(wanted).collect();
            let now = when::now().map_err(crate::desk::DeskError::from)?;
            let bounds = (patience, watch);
            let fetched = refresh::fetch_all(self.api, self.trust, now, &wanted, bounds).await?;
            let mut sheets = Vec::new();
            let from = finished.len();
            for (target, fetched) in chunk.iter().zip(fetched) {
                if let Fetched::Receipt { receipt, verdict } = &fetched
                    && verdict.facts().is_some()
                {
                    proved.insert(target.entry.document);
                    newest = newest.max(receipt.size());
                }
                finished.push(finish_one(target, fetched, &mut sheets));
            }
            write(&sheets, &mut finished[from..]);
        }
        self.settle(&proved)?;
        // Protects only against an older checkpoint later; the registration stands without it.
        state::remember(self.state.dir(), newest).ok();
        Ok(finished)
    }

    fn settle(&mut self, proved: &HashSet<DocumentId>) -> Result<(), RegistrationError> {
        let pending = self.state.registrations().pending();
        let hashes: Vec<_> = pending
            .filter(|pending| {
                let mut files = pending.files.iter();
                files.any(|file| proved.contains(&file.document))
            })
            .map(|pending| pending.hash)
            .collect();
        for hash in hashes {
            self.state.settle(&hash)?;
        }
        Ok(())
    }
}

fn wanted(target: &Target) -> Wanted {
    Wanted {
        document: target.entry.document,
        digest: target.digest,
        openings: vec![proof::opening(
            target.entry.salt.clone(),
            target.entry.digest,
        )],
        at_hand: None,
    }
}

fn finish_one(target: &Target, fetched: Fetched, sheets: &mut Vec<Sheet>) -> Finished {
    let outcome = match fetched {
        Fetched::None(detail) => Err(format!("no receipt yet: {}", detail.message)),
        Fetched::Bad(error) => Err(format!("the node's receipt is refused: {error}")),
        Fetched::Receipt { verdict, .. } if target.digest.is_none() => Err(format!(
            "its registration stands ({}), but the file changed or is gone",
            verdict.finding()
        )),
        Fetched::Receipt { receipt, verdict } if is_proof_of_bytes(&verdict) => {
            sheets.push(Sheet {
                document: target.path.clone(),
                text: receipt.encode(),
            });
            Ok(verdict)
        }
        Fetched::Receipt { verdict, .. } => Err(format!(
            "the node's receipt is refused: {}",
            verdict.finding()
        )),
    };
    Finished {
        path: target.path.clone(),
        document: target.entry.document,
        outcome,
    }
}

/// Writes the receipts and notes on the files which could not be.
fn write(sheets: &[Sheet], finished: &mut [Finished]) {
    let failed: HashMap<_, _> = proof::write(sheets).into_iter().collect();
    for one in finished {
        if let Some(error) = failed.get(&one.path) {
            one.outcome = Err(format!("its receipt cannot be written: {error}"));
        }
    }
}

/// Puts the receipt of a document's earlier bytes out of the way, under the name of its id.
///
/// # Errors
/// Of the file system; nothing is overwritten.
pub fn set_aside(document: &Path, id: Option<DocumentId>) -> std::io::Result<()> {
    let old = receipt_path(document);
    if !old.exists() {
        return Ok(());
    }
    let name = id.map_or_else(|| "other".into(), |id| id.to_string());
    let mut to = document.as_os_str().to_owned();
    to.push(format!(".{name}.{}", crate::documents::RECEIPT_EXTENSION));
    // A hard link overwrites nothing.
    fs::hard_link(&old, &to)?;
    fs::remove_file(old)
}
