//! Fresh receipts: asked for in batches, completed, and checked on all cores before anyone sees them.

use crate::api::types::{ErrorDetail, ReceiptResult};
use crate::api::{Api, ApiError};
use crate::delivery::{Event, Watch};
use crate::documents::on_all_cores;
use crate::proof::{self, Subject};
use ledger::document::{DocumentDigest, DocumentId};
use ledger::id::TimeMs;
use ledger::receipt::{Opening, Receipt, ReceiptError, Trust, Verdict};
use std::time::Duration;

/// Receipts of one request: few enough to come within a person's patience.
pub const CHUNK: usize = 250;

/// A document of which a fresh receipt is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The document.
    pub document: DocumentId,
    /// Its bytes' digest, if they are at hand.
    pub digest: Option<DocumentDigest>,
    /// What opens its commitments.
    pub openings: Vec<Opening>,
    /// The receipt at hand, if there is one.
    pub at_hand: Option<Receipt>,
}

/// What came.
#[derive(Debug)]
pub enum Fetched {
    /// A receipt and what it says; good or bad, the verdict tells.
    Receipt {
        /// The completed receipt.
        receipt: Box<Receipt>,
        /// The verdict on it.
        verdict: Box<Verdict>,
    },
    /// The node has none.
    None(ErrorDetail),
    /// The node's answer is no receipt.
    Bad(ReceiptError),
}

/// Asks for at most [`CHUNK`] receipts and checks them.
///
/// # Errors
/// [`ApiError`] if nobody answers within `patience`.
pub async fn fetch(
    api: &Api,
    trust: &Trust,
    now: TimeMs,
    wanted: &[Wanted],
    patience: Duration,
) -> Result<Vec<Fetched>, ApiError> {
    let ids: Vec<_> = wanted.iter().map(|wanted| wanted.document).collect();
    let answers = api.receipts(&ids, patience).await?;
    let pairs: Vec<_> = wanted.iter().zip(answers).collect();
    let check = |(wanted, answer): &(&Wanted, ReceiptResult)| check(wanted, answer, trust, now);
    Ok(tokio::task::block_in_place(|| on_all_cores(&pairs, &check)))
}

/// As [`fetch`], for any number of documents; tells of the progress.
///
/// # Errors
/// [`ApiError`] at the first request that nobody answers within `patience`.
pub async fn fetch_all(
    api: &Api,
    trust: &Trust,
    now: TimeMs,
    wanted: &[Wanted],
    (patience, watch): (Duration, Watch<'_>),
) -> Result<Vec<Fetched>, ApiError> {
    let mut all = Vec::with_capacity(wanted.len());
    for chunk in wanted.chunks(CHUNK) {
        all.extend(fetch(api, trust, now, chunk, patience).await?);
        let count = chunk.len();
        watch(&Event::Receipts { count });
    }
    Ok(all)
}

fn check(wanted: &Wanted, answer: &ReceiptResult, trust: &Trust, now: TimeMs) -> Fetched {
    let Some(text) = &answer.receipt else {
        let detail = answer.error.clone();
        return Fetched::None(detail.unwrap_or_else(|| ErrorDetail {
            code: "unknown".into(),
            message: "the node gives neither a receipt nor a reason".into(),
            hint: None,
        }));
    };
    let openings = wanted.openings.clone();
    let at_hand = wanted.at_hand.as_ref();
    let receipt = match proof::complete(text.as_bytes(), openings, at_hand) {
        Ok(receipt) => receipt,
        Err(error) => return Fetched::Bad(error),
    };
    let subject = match &wanted.digest {
        Some(digest) => Subject::Bytes(digest),
        None => Subject::Id(wanted.document),
    };
    let verdict = proof::check(subject, receipt.encode().as_bytes(), trust, now);
    if receipt.document() != wanted.document {
        // Its own words: the verdict is about another document than the one that was asked for.
        return Fetched::None(ErrorDetail {
            code: "other-document".into(),
            message: format!("the node sent a receipt of {}", receipt.document()),
            hint: None,
        });
    }
    Fetched::Receipt {
        receipt: Box::new(receipt),
        verdict: Box::new(verdict),
    }
}
