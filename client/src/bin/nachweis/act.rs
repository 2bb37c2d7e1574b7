//! Records about documents that are there already: signed, delivered, and proved by fresh receipts.

use crate::failure::Failure;
use crate::screen::Screen;
use crate::session::{Named, Session};
use client::api::Api;
use client::delivery::{Courier, Event, Fate, Parcel};
use client::desk::Signatory;
use client::proof::{self, Sheet, is_proof_of_bytes};
use client::refresh::{self, Fetched, Wanted};
use client::verification::chain;
use client::{state, when};
use ledger::document::DocumentId;
use ledger::receipt::{Finding, Online, Receipt, Verdict};
use ledger::record::Record;
use std::path::PathBuf;
use std::time::Duration;

/// Signs the records, and waits until they are provable.
pub(crate) async fn act(
    session: &Session,
    api: &Api,
    (signatory, records): (&Signatory, Vec<Record>),
    wait: Duration,
    screen: &Screen,
) -> Result<(), Failure> {
    let submission = signatory.sign(&session.trust, records)?;
    let parcel = Parcel {
        hash: submission.hash(),
        bytes: submission.encoded().into(),
        records: submission.records().len(),
    };
    let watch = |event: &Event| screen.event(event);
    let courier = Courier {
        api,
        patience: wait,
        watch: &watch,
    };
    let mut once = Some(parcel);
    let done = courier.send::<Failure>(&mut || Ok(once.take())).await?;
    for (parcel, fate) in done {
        if let Fate::Refused(detail) = fate {
            let (message, hint) = (detail.message, detail.hint);
            return Err(Failure::Refused { message, hint });
        }
        courier.provable(&parcel).await?;
    }
    Ok(())
}

/// A fresh, checked receipt of a document and what it says.
pub(crate) async fn fetch(
    session: &Session,
    api: &Api,
    named: &Named,
) -> Result<(Receipt, Verdict), Failure> {
    let wanted = match named {
        Named::Id(document) => Wanted {
            document: *document,
            digest: None,
            openings: Vec::new(),
            at_hand: None,
        },
        Named::File(file) => Wanted {
            document: file.document,
            digest: Some(file.digest),
            openings: file.openings.clone(),
            at_hand: file.at_hand.clone(),
        },
    };
    let document = wanted.document.to_string();
    let bad = |problem: String| Failure::NotProved {
        document: document.clone(),
        problem,
    };
    let trust = session.trust.clone().with_online(Online::Online);
    let fetched = refresh::fetch(api, &trust, when::now()?, &[wanted], api.timeout()).await?;
    match fetched.into_iter().next() {
        Some(Fetched::Receipt { receipt, verdict }) => {
            if let Finding::ProofInvalid(failure) = verdict.finding() {
                return Err(bad(format!("{}: {}", failure.step, chain(&failure.fault))));
            }
            if verdict.facts().is_none() {
                return Err(bad(verdict.finding().to_string()));
            }
            if let Ok(dir) = session.config.state() {
                // Without it only an older answer of a node would go unnoticed.
                state::remember(dir, receipt.size()).ok();
            }
            Ok((*receipt, *verdict))
        }
        Some(Fetched::Bad(error)) => Err(bad(chain(&error))),
        Some(Fetched::None(detail)) => Err(client::api::ApiError::NotFound { detail }.into()),
        None => Err(bad("the node gave nothing".into())),
    }
}

/// Fetches a fresh receipt and puts it beside the file.
pub(crate) async fn refresh(
    session: &Session,
    api: &Api,
    named: &Named,
) -> Result<Verdict, Failure> {
    let (receipt, verdict) = fetch(session, api, named).await?;
    if let Named::File(file) = named {
        if !is_proof_of_bytes(&verdict) {
            return Err(Failure::NotProved {
                document: file.document.to_string(),
                problem: verdict.finding().to_string(),
            });
        }
        write(file.path.clone(), &receipt)?;
    }
    Ok(verdict)
}

fn write(document: PathBuf, receipt: &Receipt) -> Result<(), Failure> {
    let text = receipt.encode();
    match proof::write(&[Sheet { document, text }]).pop() {
        None => Ok(()),
        Some((document, source)) => Err(Failure::Write {
            path: client::documents::receipt_path(&document),
            source,
        }),
    }
}

/// What the actor's next record about a document must name, from a checked receipt.
pub(crate) fn lane_head(
    verdict: &Verdict,
    signatory: &Signatory,
    document: DocumentId,
) -> Result<ledger::id::LeafIndex, Failure> {
    let facts = verdict.facts().ok_or_else(|| Failure::NotProved {
        document: document.to_string(),
        problem: verdict.finding().to_string(),
    })?;
    Ok(facts.state.lane_head(signatory.authority))
}
