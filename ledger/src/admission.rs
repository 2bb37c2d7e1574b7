//! What is checked once about an item, whatever the state: signatures, ids, sizes, enabled records.
//!
//! A [`CheckedSubmission`] or [`CheckedEvidence`] is proof that this was done; [`crate::execute`] takes
//! nothing else, so that no signature is checked twice. What depends on the state is [`crate::rules`]'.

use crate::body::{Item, ItemBytes};
use crate::document::{DocumentId, Nonce};
use crate::evidence::Evidence;
use crate::hash::{ItemId, SubmissionHash};
use crate::id::{AuthorityIndex, Epoch, ValidatorIndex};
use crate::record::{Record, enrol_possession};
use crate::refusal::{Refusal, Refused};
use crate::rules::Act;
use crate::submission::VerifiedSubmission;
use crate::tip::{EpochInfo, Founding};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Deref;

/// A submission that is right in itself: signature, chain, size, ids, possessions, enabled records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedSubmission {
    submission: VerifiedSubmission,
    hash: SubmissionHash,
    id: ItemId,
}

impl CheckedSubmission {
    /// Checks what depends on the founding alone.
    ///
    /// # Errors
    /// [`Refused`] names the record and the rule.
    pub fn new(founding: &Founding, submission: VerifiedSubmission) -> Result<Self, Refused> {
        let body = submission.body();
        if body.chain != founding.chain() {
            let (found, expected) = (body.chain, founding.chain());
            return Err(Refusal::Chain { found, expected }.into());
        }
        let length = submission.encoded().len();
        let limit = usize::try_from(founding.params().block_hard).unwrap_or(usize::MAX);
        if length >= limit {
            return Err(Refusal::TooLong { length, limit }.into());
        }
        for (at, record) in submission.records().iter().enumerate() {
            check_record(founding, body.authority, record).map_err(|refusal| Refused {
                record: Some(at),
                refusal,
            })?;
        }
        Ok(Self {
            hash: submission.hash(),
            id: submission.item_id(),
            submission,
        })
    }

    /// Names the submission on the chain.
    pub const fn hash(&self) -> SubmissionHash {
        self.hash
    }

    /// Names its complete bytes in gossip.
    pub const fn id(&self) -> ItemId {
        self.id
    }
}

impl Deref for CheckedSubmission {
    type Target = VerifiedSubmission;
    fn deref(&self) -> &VerifiedSubmission {
        &self.submission
    }
}

fn check_record(
    founding: &Founding,
    authority: AuthorityIndex,
    record: &Record,
) -> Result<(), Refusal> {
    match Act::of(record)? {
        Act::Register { document, nonce }
        | Act::Publish {
            document, nonce, ..
        } => check_id(founding, authority, document, nonce),
        Act::Enrol {
            key,
            role,
            not_after_ms,
            possession,
        } => {
            key.admit()?;
            let signed = enrol_possession(&founding.chain(), authority, role, key, not_after_ms);
            key.verify_strict(&signed, &possession.raw())
                .or(Err(Refusal::Possession(*key)))
        }
        Act::Supersede {
            document,
            successor,
            ..
        } if document == successor => Err(Refusal::OwnSuccessor(*document)),
        Act::Supersede { .. }
        | Act::Revoke { .. }
        | Act::Endorse { .. }
        | Act::RetireKey { .. } => Ok(()),
    }
}

fn check_id(
    founding: &Founding,
    authority: AuthorityIndex,
    document: &DocumentId,
    nonce: &Nonce,
) -> Result<(), Refusal> {
    let expected = DocumentId::derive(&founding.chain(), authority, nonce);
    if *document == expected {
        Ok(())
    } else {
        Err(Refusal::Nonce {
            found: *document,
            expected,
        })
    }
}

/// Evidence whose two votes were verified against its epoch's set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedEvidence(Evidence);

impl CheckedEvidence {
    /// Checks epoch, membership and both signatures.
    ///
    /// # Errors
    /// [`Refusal`]: evidence of an epoch that is not this one and that this one does not remember, or a vote that does
    /// not verify.
    pub fn new(epoch: &EpochInfo, evidence: Evidence) -> Result<Self, Refusal> {
        let (first, second) = evidence.votes();
        let (found, expected) = (first.epoch, epoch.epoch);
        let epoch = epoch
            .back_to(found)
            .ok_or(Refusal::EvidenceEpoch { found, expected })?;
        first.verify(&epoch.set, &epoch.context)?;
        second.verify(&epoch.set, &epoch.context)?;
        Ok(Self(evidence))
    }

    /// The evidence.
    pub const fn get(&self) -> &Evidence {
        &self.0
    }

    /// Whom it accuses.
    pub const fn accused(&self) -> (Epoch, ValidatorIndex) {
        let (first, _) = self.0.votes();
        (first.epoch, first.signer)
    }
}

/// An item that is right in itself. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckedItem {
    /// A registrar's or admin's batch.
    Submission(Arc<CheckedSubmission>),
    /// Two conflicting votes.
    Evidence(Box<CheckedEvidence>),
}

impl CheckedItem {
    /// Checks one decoded item: signature, then everything else that does not need the state.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check(founding: &Founding, epoch: &EpochInfo, item: Item) -> Result<Self, Refused> {
        match item {
            Item::Submission(submission) => {
                let verified = submission.verify().map_err(Refusal::from)?;
                CheckedSubmission::new(founding, verified).map(Self::from)
            }
            Item::Evidence(evidence) => Ok(CheckedEvidence::new(epoch, evidence)?.into()),
        }
    }

    /// The item as it travels.
    pub fn bytes(&self) -> ItemBytes {
        match self {
            Self::Submission(submission) => ItemBytes::submission(submission),
            Self::Evidence(evidence) => ItemBytes::evidence(evidence.get()),
        }
    }

    /// Names the item in gossip.
    pub fn id(&self) -> ItemId {
        match self {
            Self::Submission(submission) => submission.id(),
            Self::Evidence(_) => self.bytes().id(),
        }
    }

    /// Length of its leaf data in the body, in bytes.
    pub fn body_len(&self) -> usize {
        let bytes = match self {
            Self::Submission(submission) => submission.encoded().len(),
            Self::Evidence(_) => Evidence::LEN,
        };
        bytes.saturating_add(1)
    }
}

impl From<CheckedSubmission> for CheckedItem {
    fn from(submission: CheckedSubmission) -> Self {
        Self::Submission(Arc::new(submission))
    }
}

impl From<CheckedEvidence> for CheckedItem {
    fn from(evidence: CheckedEvidence) -> Self {
        Self::Evidence(Box::new(evidence))
    }
}
