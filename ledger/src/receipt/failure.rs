//! The numbered steps of a verification, and everything at which one can fail.

use super::signers::BadSigners;
use super::text::ReceiptError;
use crate::document::DocumentId;
use crate::id::{AuthorityIndex, LeafIndex, TreeSize};
use crate::key::BadSignature;
use crate::log::ProofError;
use crate::note::NoteError;
use crate::record::Role;
use crate::trie::TrieError;
use alloc::string::String;
use core::fmt;

/// The steps, in the order and with the numbers of `docs/receipt.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The file is a canonical receipt.
    Form,
    /// The checkpoint is of the trusted log.
    Origin,
    /// The last leaf is the block's trailer.
    Trailer,
    /// The validators that the trust leads to vouch for the checkpoint.
    Signers,
    /// The registration is in the log.
    Registration,
    /// The registration is this document's.
    Document,
    /// A registrar signed the registration.
    Submission,
    /// The registrar's key was valid and had the role.
    Key,
    /// The document's state is proved.
    Status,
    /// The authorities are proved.
    Authorities,
    /// Parents and successor are proved.
    Related,
    /// The openings are authentic.
    Openings,
    /// The revealed details are authentic.
    Details,
    /// The bytes at hand are compared.
    Bytes,
    /// The age of the proof.
    Freshness,
}

impl Step {
    /// Every step in order.
    pub const ALL: [Self; 15] = [
        Self::Form,
        Self::Origin,
        Self::Trailer,
        Self::Signers,
        Self::Registration,
        Self::Document,
        Self::Submission,
        Self::Key,
        Self::Status,
        Self::Authorities,
        Self::Related,
        Self::Openings,
        Self::Details,
        Self::Bytes,
        Self::Freshness,
    ];

    /// The step's number in `docs/receipt.md`.
    pub const fn number(self) -> u8 {
        match self {
            Self::Form => 1,
            Self::Origin => 2,
            Self::Trailer => 3,
            Self::Signers => 4,
            Self::Registration => 5,
            Self::Document => 6,
            Self::Submission => 7,
            Self::Key => 8,
            Self::Status => 9,
            Self::Authorities => 10,
            Self::Related => 11,
            Self::Openings => 12,
            Self::Details => 13,
            Self::Bytes => 14,
            Self::Freshness => 15,
        }
    }

    /// The step's name in `docs/receipt.md`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Origin => "origin",
            Self::Trailer => "trailer",
            Self::Signers => "signers",
            Self::Registration => "registration",
            Self::Document => "document",
            Self::Submission => "submission",
            Self::Key => "key",
            Self::Status => "status",
            Self::Authorities => "authorities",
            Self::Related => "related documents",
            Self::Openings => "openings",
            Self::Details => "details",
            Self::Bytes => "bytes",
            Self::Freshness => "freshness",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} ({})", self.number(), self.name())
    }
}

/// At which step a proof failed, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step} failed")]
pub struct Failure {
    /// The step.
    pub step: Step,
    /// What is wrong.
    #[source]
    pub fault: Fault,
}

impl Step {
    /// This step's failure.
    pub(super) fn fails(self, fault: impl Into<Fault>) -> Failure {
        Failure {
            step: self,
            fault: fault.into(),
        }
    }
}

/// What can be wrong with a proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes are no receipt.
    #[error(transparent)]
    Form(#[from] ReceiptError),
    /// The checkpoint is of another log.
    #[error("checkpoint is of {0:?}, not of the trusted log")]
    Origin(String),
    /// A leaf is of another kind than its place demands.
    #[error("leaf is of another kind than this place demands")]
    LeafKind,
    /// A leaf or size is not under its root.
    #[error(transparent)]
    Log(#[from] ProofError),
    /// A state is not under the status root.
    #[error(transparent)]
    Trie(#[from] TrieError),
    /// A leaf is of a later block than the checkpoint.
    #[error("leaf {0} is of a later block than the checkpoint")]
    LaterThanCheckpoint(LeafIndex),
    /// The trailer is of another validator set.
    #[error("the checkpoint's block is of another validator set than the one the trust leads to")]
    OtherSet,
    /// The pinned root is another.
    #[error("the pinned checkpoint of size {0} has another root")]
    OtherRoot(TreeSize),
    /// A note of a handover cannot be read.
    #[error("a handover's checkpoint is not a signed note")]
    HandoverNote(#[source] NoteError),
    /// A handover's text is no checkpoint.
    #[error("a handover's note is not a checkpoint")]
    HandoverCheckpoint,
    /// Handovers are not ascending by size.
    #[error("handover at size {0} is out of order or twice")]
    HandoverOrder(TreeSize),
    /// A handover's trailer is not that of an epoch's end under the set before it.
    #[error("handover at size {0} is not the end of an epoch")]
    HandoverNotSeal(TreeSize),
    /// A handover's set is not the one that its trailer names.
    #[error("handover at size {0} carries another set than its trailer names")]
    HandoverSet(TreeSize),
    /// A set cannot be relied on.
    #[error(transparent)]
    BadSigners(#[from] BadSigners),
    /// A line of a known key does not verify.
    #[error("the line of {0} does not verify")]
    BadLine(String),
    /// A line of a known key occurs twice.
    #[error("the line of {0} occurs twice")]
    RepeatedLine(String),
    /// No log line of the set.
    #[error("no log of the validator set signed the checkpoint")]
    NoLogLine,
    /// The checkpoint is not larger than what is pinned.
    #[error("checkpoint of size {0} is not newer than what is pinned")]
    NotNewer(TreeSize),
    /// Too few cosigners.
    #[error("{found} validators cosigned the checkpoint, {needed} are needed")]
    Quorum {
        /// Distinct valid cosigners.
        found: usize,
        /// The quorum.
        needed: usize,
    },
    /// The id does not follow from the nonce.
    #[error("document id {0} does not follow from its registration")]
    DocumentId(DocumentId),
    /// The state is of another document or registration.
    #[error("state is not of this document and registration")]
    OtherState,
    /// The submission is for another chain.
    #[error("submission is for another chain")]
    OtherChain,
    /// The leaf's authority, key or submission hash is not the body's.
    #[error("leaf and submission differ in {0}")]
    NotOfSubmission(&'static str),
    /// The block is outside the submission's window.
    #[error("block time is outside the submission's window")]
    Window,
    /// The signature does not verify.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// The key belongs to another authority.
    #[error("key belongs to authority #{0}")]
    ForeignKey(AuthorityIndex),
    /// The key was not enrolled yet, or retired already.
    #[error("key was not in use at log index {0}")]
    KeyNotAlive(LeafIndex),
    /// The key's time was over.
    #[error("key had expired at the block's time")]
    KeyExpired,
    /// The key may not sign this.
    #[error("key with role mask {} may not sign this record", .0.bits())]
    Role(Role),
    /// The leaf's authority is not among those proved.
    #[error("authority #{0} of the registration is not proved")]
    AuthorityMissing(AuthorityIndex),
    /// Neither genesis nor status map knows the authority.
    #[error("authority #{0} does not exist")]
    AuthorityUnknown(AuthorityIndex),
    /// Neither a parent nor the successor.
    #[error("document {0} is neither a parent nor the successor")]
    NotRelated(DocumentId),
    /// Twice among the related.
    #[error("document {0} occurs twice among the related")]
    RelatedTwice(DocumentId),
    /// An opening's role and place do not fit.
    #[error("opening {0} has a place that its role does not have")]
    OpeningPlace(usize),
    /// There is no such commitment.
    #[error("opening {0} opens a commitment that the document does not have")]
    NoCommitment(usize),
    /// The opening is not of the commitment.
    #[error("opening {0} does not open its commitment")]
    NotItsOpening(usize),
    /// The leaf is not the document's Accept or Renew with that commitment.
    #[error("opening {0} carries a leaf that does not hold its commitment")]
    OpeningLeaf(usize),
    /// A public document has none.
    #[error("a published document has no openings and no details")]
    Public,
    /// No detail commitment was registered.
    #[error("details are shown but none were registered")]
    NoDetails,
    /// There is no such field.
    #[error("there is no detail field {0}")]
    DetailField(u8),
    /// The consistency path does not lead to the pin.
    #[error("the receipt's tree is not an earlier state of the pinned one")]
    Inconsistent(#[source] ProofError),
}
