//! Files to verdicts: each by the receipt beside it, and by a fresh one where a node gives it in time.
//!
//! A node cannot make a verdict better or worse than it is: its receipt counts only if it verifies, and is not
//! older than the one at hand. Otherwise the receipt at hand speaks alone, and a [`Note`] says why.

use crate::api::{Api, ApiError};
use crate::documents::{DocumentFile, Trouble, on_all_cores};
use crate::proof::{self, Subject};
use crate::refresh::{self, Fetched, Wanted};
use ledger::document::DocumentDigest;
use ledger::id::{TimeMs, TreeSize};
use ledger::receipt::{Finding, Online, Receipt, Trust, Verdict};
use std::io;
use std::time::Duration;

/// What is known of one file.
#[derive(Debug)]
pub enum Outcome {
    /// A verdict, and which receipt it is from.
    Verdict(Box<Verdict>, Source),
    /// There is no receipt beside it. That proves nothing about it.
    NotFound,
    /// The file or its receipt cannot be read.
    Failed(Trouble),
}

/// Which receipt a verdict is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The one beside the file.
    AtHand,
    /// A fresh one of a node.
    Fresh,
}

/// Why the receipt at hand speaks alone.
#[derive(Debug, thiserror::Error)]
pub enum Note {
    /// Nobody answered.
    #[error("no fresh status: {0}")]
    NoAnswer(#[source] ApiError),
    /// The node has no receipt.
    #[error("no fresh status of {0}: {1}")]
    None(String, String),
    /// The node's receipt is no proof.
    #[error("the node's receipt of {0} is not good and was not used: {1}")]
    Bad(String, String),
    /// The node shows an older state than the receipt at hand.
    #[error("the node is behind the receipt of {0}, which was used instead")]
    Behind(String),
}

/// A file, and its digest or why it has none.
pub type HashedFile = (DocumentFile, Result<DocumentDigest, Trouble>);

/// Verdicts on many files.
#[derive(Debug)]
pub struct Verification {
    /// One for each file, in their order.
    pub outcomes: Vec<(DocumentFile, Outcome)>,
    /// What could not be refreshed.
    pub notes: Vec<Note>,
    /// Size of the newest checkpoint that was verified.
    pub newest: TreeSize,
}

/// A file that was looked at.
struct Looked {
    digest: DocumentDigest,
    receipt: Option<Receipt>,
    verdict: Option<Verdict>,
    unreadable: Option<io::Error>,
}

/// Verifies.
#[derive(Debug)]
pub struct Verifier<'a> {
    /// The pinned network.
    pub trust: &'a Trust,
    /// This computer's time.
    pub now: TimeMs,
    /// Size of the newest checkpoint seen before.
    pub seen: TreeSize,
}

/// A node to ask, and how long each question may take.
#[derive(Clone, Copy, Debug)]
pub struct Fresh<'a> {
    /// The node.
    pub api: &'a Api,
    /// How long each question may take.
    pub patience: Duration,
}

impl Verifier<'_> {
    /// Verdicts on hashed files.
    pub async fn verify(&self, files: Vec<HashedFile>, fresh: Option<Fresh<'_>>) -> Verification {
        let look = |file: &HashedFile| self.look(file);
        let looked = tokio::task::block_in_place(|| on_all_cores(&files, &look));
        let mut notes = Vec::new();
        let mut newest = TreeSize(0);
        let mut refreshed: Vec<Option<Verdict>> = looked.iter().map(|_| None).collect();
        if let Some(fresh) = fresh {
            self.refresh(&looked, fresh, &mut refreshed, &mut notes)
                .await;
        }
        let mut outcomes = Vec::with_capacity(files.len());
        for ((looked, fresh), (file, hashed)) in looked.into_iter().zip(refreshed).zip(files) {
            let outcome = match (hashed, looked, fresh) {
                (Err(trouble), _, _) => Outcome::Failed(trouble),
                (Ok(_), _, Some(verdict)) => Outcome::Verdict(Box::new(verdict), Source::Fresh),
                (Ok(_), looked, None) => alone(looked),
            };
            if let Outcome::Verdict(verdict, _) = &outcome
                && let Some(as_of) = verdict.as_of()
            {
                newest = newest.max(as_of.size);
            }
            outcomes.push((file, outcome));
        }
        Verification {
            outcomes,
            notes,
            newest,
        }
    }

    fn look(&self, (file, hashed): &HashedFile) -> Option<Looked> {
        let digest = *hashed.as_ref().ok()?;
        let (bytes, unreadable) = match proof::read_beside(&file.path) {
            Ok(bytes) => (bytes, None),
            Err(error) => (None, Some(error)),
        };
        let subject = Subject::Bytes(&digest);
        let trust = self.trust.clone().with_online(Online::Offline);
        let verdict = bytes
            .as_ref()
            .map(|bytes| proof::check(subject, bytes, &trust, self.now));
        Some(Looked {
            digest,
            receipt: bytes.and_then(|bytes| Receipt::parse(&bytes).ok()),
            verdict,
            unreadable,
        })
    }

    async fn refresh(
        &self,
        looked: &[Option<Looked>],
        fresh: Fresh<'_>,
        refreshed: &mut [Option<Verdict>],
        notes: &mut Vec<Note>,
    ) {
        let mut wanted = Vec::new();
        for (at, looked) in looked.iter().enumerate() {
            if let Some(one) = looked
                && let Some(receipt) = &one.receipt
                && one.verdict.as_ref().is_some_and(may_be_refreshed)
            {
                let wish = Wanted {
                    document: receipt.document(),
                    digest: Some(one.digest),
                    openings: proof::lasting_openings(receipt),
                    at_hand: Some(receipt.clone()),
                };
                wanted.push((at, receipt.size(), wish));
            }
        }
        let trust = self.trust.clone();
        let trust = trust.with_online(Online::Online).with_seen_size(self.seen);
        for chunk in wanted.chunks(refresh::CHUNK) {
            let wishes: Vec<_> = chunk.iter().map(|(_, _, wish)| wish.clone()).collect();
            let answers =
                refresh::fetch(fresh.api, &trust, self.now, &wishes, fresh.patience).await;
            let answers = match answers {
                Ok(answers) => answers,
                Err(error) => return notes.push(Note::NoAnswer(error)),
            };
            for ((at, size, wish), answer) in chunk.iter().zip(answers) {
                match choose(wish, *size, answer) {
                    Ok(verdict) => refreshed[*at] = Some(verdict),
                    Err(note) => notes.push(note),
                }
            }
        }
    }
}

/// What the receipt at hand says by itself.
fn alone(looked: Option<Looked>) -> Outcome {
    let Some(looked) = looked else {
        return Outcome::NotFound;
    };
    match (looked.verdict, looked.unreadable) {
        (Some(verdict), _) => Outcome::Verdict(Box::new(verdict), Source::AtHand),
        (None, Some(error)) => Outcome::Failed(Trouble::Unreadable(error)),
        (None, None) => Outcome::NotFound,
    }
}

/// A receipt that is no proof by itself is shown as what it is, whatever a node says.
const fn may_be_refreshed(verdict: &Verdict) -> bool {
    !matches!(
        verdict.finding(),
        Finding::ProofInvalid(_) | Finding::WrongReceipt { .. }
    )
}

fn choose(wish: &Wanted, at_hand: TreeSize, answer: Fetched) -> Result<Verdict, Note> {
    let id = wish.document.to_string();
    match answer {
        Fetched::Receipt { receipt, .. } if receipt.size() < at_hand => Err(Note::Behind(id)),
        Fetched::Receipt { verdict, .. } => match verdict.finding() {
            Finding::ProofInvalid(failure) => Err(Note::Bad(id, chain(failure))),
            Finding::OlderThanPin { .. } | Finding::WrongReceipt { .. } => {
                Err(Note::Bad(id, verdict.finding().to_string()))
            }
            _ => Ok(*verdict),
        },
        Fetched::None(detail) => Err(Note::None(id, detail.message)),
        Fetched::Bad(error) => Err(Note::Bad(id, chain(&error))),
    }
}

/// An error with its sources on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
