//! Registering documents so that an interrupted run continues and nothing is registered twice.
//!
//! Nonce, salt and id of a document are drawn once and kept in the state before anything is sent. Whatever
//! happens afterwards, the same records are sent again: the ledger takes a document id once. What a node says
//! about success is not believed; a submission counts as done when a receipt of it was checked.

mod finish;
mod plan;

pub use finish::{Finished, Target, set_aside};
pub use plan::{Hashed, Step, plan};

use crate::api::{Api, ApiError};
use crate::delivery::{Courier, DeliveryError, Fate, Parcel, Watch};
use crate::desk::{DeskError, Signatory};
use crate::state::{FileEntry, Pending, State, StateError, place_bytes};
use ledger::document::{
    CommitmentContext, CommitmentRole, DocumentDigest, DocumentId, Nonce, Salt,
};
use ledger::receipt::Trust;
use ledger::record::{Record, Retention};
use ledger::submission::Submission;
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// A registration could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The state cannot be kept: nothing more was sent.
    #[error(transparent)]
    State(#[from] StateError),
    /// The network did not take it yet.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// A question to a node.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Signing.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// The operating system gives no random numbers.
    #[error("no random numbers from the operating system")]
    Random(#[source] getrandom::Error),
    /// The state holds a submission that is none.
    #[error("the state holds a submission that cannot be read")]
    Kept(#[source] ledger::submission::SubmissionError),
}

impl RegistrationError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        let again = "run the same command again: it continues, and registers nothing twice";
        match self {
            Self::State(error) => error.hint(),
            Self::Delivery(DeliveryError::NotTaken { detail, .. }) => {
                Some(then(detail.hint.clone(), again))
            }
            Self::Delivery(DeliveryError::Api(error)) | Self::Api(error) => {
                Some(then(error.hint(), again))
            }
            Self::Delivery(DeliveryError::NoProgress(_) | DeliveryError::Task) => {
                Some(again.into())
            }
            Self::Desk(error) => error.hint(),
            Self::Random(_) | Self::Kept(_) => None,
        }
    }
}

fn then(first: Option<String>, again: &str) -> String {
    match first {
        Some(hint) => format!("{hint}; {again}"),
        None => again.into(),
    }
}

/// Records of one submission, and the files that they register.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The files.
    pub files: Vec<FileEntry>,
    /// Their registrations, and what goes with them.
    pub records: Vec<Record>,
}

impl Batch {
    /// Adds a file: draws its nonce and salt.
    ///
    /// # Errors
    /// [`RegistrationError::Random`], or a path that is too long.
    pub fn add(
        &mut self,
        trust: &Trust,
        signatory: &Signatory,
        place: &Path,
        digest: &DocumentDigest,
    ) -> Result<DocumentId, RegistrationError> {
        let chain = trust.chain();
        let nonce = Nonce(random()?);
        let salt = loop {
            if let Some(salt) = Salt::new(random()?) {
                break salt;
            }
        };
        let document = DocumentId::derive(&chain, signatory.authority, &nonce);
        let context = CommitmentContext {
            chain: &chain,
            document: &document,
            role: CommitmentRole::Internal,
        };
        let digest = *digest.as_bytes();
        let internal = context.commit(&salt, &digest);
        self.records.push(Record::Register {
            document,
            nonce,
            internal,
            citizen: None,
            detail: None,
            retention: Retention::Unspecified,
        });
        let place = place_bytes(place)?;
        self.files.push(FileEntry {
            document,
            digest,
            salt,
            place,
        });
        Ok(document)
    }
}

fn random<const N: usize>() -> Result<[u8; N], RegistrationError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(RegistrationError::Random)?;
    Ok(bytes)
}

/// A submission that the ledger refuses. It stays in the state: the next run tries again.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What it would have registered.
    pub documents: Vec<DocumentId>,
    /// Stable name of the reason.
    pub code: String,
    /// Why.
    pub message: String,
    /// What a person can do about it.
    pub hint: Option<String>,
}

/// What came out, as far as a node says; receipts are still to be checked.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// What the ledger refuses.
    pub refused: Vec<Refusal>,
    /// From the first submission to the last one that became final.
    pub to_final: Option<Duration>,
    /// From the first submission to the checkpoint that covers all.
    pub to_provable: Option<Duration>,
}

/// Registers.
#[derive(Debug)]
pub struct Registrar<'a> {
    /// The nodes.
    pub api: &'a Api,
    /// The pinned network.
    pub trust: &'a Trust,
    /// Who signs.
    pub signatory: &'a Signatory,
    /// What is kept.
    pub state: &'a mut State,
    /// How long nothing may become final while nodes answer.
    pub patience: Duration,
}

impl Registrar<'_> {
    /// Sends what an earlier run left, then the new batches, and waits until everything is provable.
    ///
    /// # Errors
    /// [`RegistrationError`]: the state has everything to continue.
    pub async fn send(
        &mut self,
        batches: Vec<Batch>,
        watch: Watch<'_>,
    ) -> Result<Sent, RegistrationError> {
        let start = Instant::now();
        let (api, patience) = (self.api.clone(), self.patience);
        let courier = Courier {
            api: &api,
            patience,
            watch,
        };
        let kept = self.state.registrations().pending().map(parcel);
        let mut kept: VecDeque<_> = kept.collect::<Result<_, _>>()?;
        let mut batches = VecDeque::from(batches);
        let mut sent = Sent::default();
        let mut last = None;
        loop {
            let done = courier
                .send(&mut || match kept.pop_front() {
                    Some(parcel) => Ok(Some(parcel)),
                    None => match batches.pop_front() {
                        Some(batch) => self.begin(batch).map(Some),
                        None => Ok(None),
                    },
                })
                .await?;
            for (parcel, fate) in done {
                match fate {
                    Fate::Final => last = Some(parcel),
                    Fate::Refused(detail) => match self.look_again(&parcel).await? {
                        Standing::Included => last = Some(parcel),
                        Standing::SignedAgain(again) => kept.push_back(again),
                        Standing::Refused => sent.refused.push(Refusal {
                            documents: self.documents(&parcel),
                            code: detail.code,
                            message: detail.message,
                            hint: detail.hint,
                        }),
                    },
                }
            }
            if kept.is_empty() {
                break;
            }
        }
        if let Some(last) = last {
            sent.to_final = Some(start.elapsed());
            courier.provable(&last).await?;
            sent.to_provable = Some(start.elapsed());
        }
        Ok(sent)
    }

    /// Signs a batch and writes it down; only then may it be sent.
    fn begin(&mut self, batch: Batch) -> Result<Parcel, RegistrationError> {
        let submission = self.signatory.sign(self.trust, batch.records)?;
        let records = submission.records().len();
        let pending = self.state.begin(&submission, batch.files)?;
        Ok(Parcel {
            hash: pending.hash,
            bytes: pending.bytes,
            records,
        })
    }

    /// A refused submission may have been included before, or its window may be over.
    async fn look_again(&mut self, parcel: &Parcel) -> Result<Standing, RegistrationError> {
        let submission = Submission::decode(&parcel.bytes).map_err(RegistrationError::Kept)?;
        let mut documents = submission.records().iter().filter_map(registered);
        // A submission is included as a whole or not at all: one document tells.
        let Some(first) = documents.next() else {
            return Ok(Standing::Refused);
        };
        match self.api.document(first).await {
            Ok(_) => return Ok(Standing::Included),
            Err(ApiError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let body = submission.body();
        let other_key = body.key != self.signatory.key.key();
        let over = body.not_after_ms < crate::when::now().map_err(DeskError::from)?;
        let all = submission.records().len();
        let mut records = submission.records().to_vec();
        if !(over || other_key) {
            // What goes with the registrations may be what is refused; they do not depend on it.
            records.retain(Record::is_registration);
            if records.len() == all {
                return Ok(Standing::Refused);
            }
        }
        // The same records: even if the old bytes were still to come, each document can be there only once.
        let again = Batch {
            files: self.files(parcel),
            records,
        };
        Ok(Standing::SignedAgain(self.begin(again)?))
    }

    fn files(&self, parcel: &Parcel) -> Vec<FileEntry> {
        let mut pending = self.state.registrations().pending();
        let found = pending.find(|pending| pending.hash == parcel.hash);
        found.map_or_else(Vec::new, |pending| pending.files.clone())
    }

    fn documents(&self, parcel: &Parcel) -> Vec<DocumentId> {
        let files = self.files(parcel);
        files.iter().map(|file| file.document).collect()
    }
}

/// Where a refused submission really stands.
enum Standing {
    Included,
    SignedAgain(Parcel),
    Refused,
}

const fn registered(record: &Record) -> Option<&DocumentId> {
    if record.is_registration() {
        record.document()
    } else {
        None
    }
}

fn parcel(pending: &Pending) -> Result<Parcel, RegistrationError> {
    let submission = Submission::decode(&pending.bytes).map_err(RegistrationError::Kept)?;
    Ok(Parcel {
        hash: pending.hash,
        bytes: pending.bytes.clone(),
        records: submission.records().len(),
    })
}
