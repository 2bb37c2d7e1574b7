//! Every reason for which the rules refuse an item, by name, and who has to act.

use crate::document::DocumentId;
use crate::hash::ChainId;
use crate::id::{AuthorityIndex, Epoch, Height, LeafIndex, TimeMs, ValidatorIndex};
use crate::key::{BadKey, BadSignature, Key};
use crate::vote::VoteError;

/// Why the rules refuse an item. Says the same on every node that has the same state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is for another chain.
    #[error("submission is for chain {found}, this is {expected}")]
    Chain {
        /// The chain that it names.
        found: ChainId,
        /// This chain.
        expected: ChainId,
    },
    /// Its signature does not verify.
    #[error("submission signature: {0}")]
    Signature(#[from] BadSignature),
    /// It could never fit into a block.
    #[error("submission of {length} bytes is not below the block limit of {limit}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The block's hard limit in bytes.
        limit: usize,
    },
    /// The record's rules are not built yet.
    #[error("record {0} is not yet enabled")]
    NotEnabled(&'static str),
    /// The id is not the one that authority and nonce give.
    #[error("document {found} does not follow from its nonce, which gives {expected}")]
    Nonce {
        /// The id that was given.
        found: DocumentId,
        /// The id that follows.
        expected: DocumentId,
    },
    /// A key may not be enrolled.
    #[error("key may not be enrolled: {0}")]
    BadKey(#[from] BadKey),
    /// The enrolled key did not sign for its enrolment.
    #[error("possession of key {0} is not proved")]
    Possession(Key),

    /// No authority has this index.
    #[error("there is no authority #{0}")]
    UnknownAuthority(AuthorityIndex),
    /// The key is not, and never was, a registrar's.
    #[error("key {0} is not enrolled")]
    UnknownKey(Key),
    /// The key is another authority's.
    #[error("key {key} belongs to authority #{owner}, not #{authority}")]
    ForeignKey {
        /// The key.
        key: Key,
        /// Whose it is.
        owner: AuthorityIndex,
        /// Who acts.
        authority: AuthorityIndex,
    },
    /// The key was retired.
    #[error("key {key} was retired at index {at}")]
    KeyRetired {
        /// The key.
        key: Key,
        /// Log index of its RetireKey.
        at: LeafIndex,
    },
    /// The key's time is over.
    #[error("key {key} was valid until {not_after} ms, block time is {time} ms")]
    KeyExpired {
        /// The key.
        key: Key,
        /// Its end.
        not_after: TimeMs,
        /// Block time.
        time: TimeMs,
    },
    /// The key may not sign this record.
    #[error("key {key} may not sign {record}: needs {needs}")]
    Role {
        /// The key.
        key: Key,
        /// Name of the record.
        record: &'static str,
        /// What it takes.
        needs: &'static str,
    },

    /// The window has not begun.
    #[error("submission is valid from {not_before} ms on, block time is {time} ms")]
    Early {
        /// Begin of the window.
        not_before: TimeMs,
        /// Block time.
        time: TimeMs,
    },
    /// The window is over.
    #[error("submission was valid until {not_after} ms, block time is {time} ms")]
    Late {
        /// End of the window.
        not_after: TimeMs,
        /// Block time.
        time: TimeMs,
    },
    /// It was included before.
    #[error("submission is already included in block {0}")]
    AlreadyIncluded(Height),

    /// The id is taken.
    #[error("document {0} is already registered")]
    DocumentKnown(DocumentId),
    /// No such document.
    #[error("document {0} is not registered")]
    UnknownDocument(DocumentId),
    /// Only the responsible authority may do this.
    #[error("document {document} is in the responsibility of authority #{responsible}")]
    NotResponsible {
        /// The document.
        document: DocumentId,
        /// Who may.
        responsible: AuthorityIndex,
    },
    /// Only a holder or a consulted authority may do this.
    #[error("authority #{authority} neither holds document {document} nor is consulted about it")]
    NotInvolved {
        /// The document.
        document: DocumentId,
        /// Who acts.
        authority: AuthorityIndex,
    },
    /// Nothing ends a document twice.
    #[error("document {0} is superseded, revoked or retired already")]
    Ended(DocumentId),
    /// `prev` is not the lane's head.
    #[error("record follows index {found}, the last record of this lane is {head}")]
    Lane {
        /// `prev` as given.
        found: LeafIndex,
        /// The lane's head.
        head: LeafIndex,
    },
    /// The lane took a record in this very block.
    #[error("document {0} took a record of this authority in the same block")]
    LaneTaken(DocumentId),
    /// A document cannot supersede itself.
    #[error("document {0} cannot be its own successor")]
    OwnSuccessor(DocumentId),
    /// The successor is not registered.
    #[error("successor {0} is not registered")]
    UnknownSuccessor(DocumentId),
    /// The successor is another authority's.
    #[error("successor {document} is in the responsibility of authority #{responsible}")]
    ForeignSuccessor {
        /// The successor.
        document: DocumentId,
        /// Whose it is.
        responsible: AuthorityIndex,
    },
    /// The successor does not stand.
    #[error("successor {0} is not in force")]
    SuccessorNotInForce(DocumentId),
    /// A list of the document is at its bound.
    #[error("document {document} has {limit} {what} already")]
    Full {
        /// The document.
        document: DocumentId,
        /// Which list.
        what: &'static str,
        /// Its bound.
        limit: usize,
    },

    /// Somebody has or had this key in some role.
    #[error("key {0} is or was in use")]
    KeyKnown(Key),
    /// A key cannot be compromised from a position that is yet to come.
    #[error("key is said to be compromised since index {given}, the log is at {index}")]
    CompromisedSince {
        /// The position given.
        given: LeafIndex,
        /// Index of this record.
        index: LeafIndex,
    },

    /// Evidence about an epoch that is too old, or to come.
    #[error("evidence is about epoch {found}, this is {expected}: too old, or to come")]
    EvidenceEpoch {
        /// Its epoch.
        found: Epoch,
        /// The epoch of the block.
        expected: Epoch,
    },
    /// A vote of the evidence is not the validator's.
    #[error("evidence is not proved: {0}")]
    EvidenceVote(#[from] VoteError),
    /// One item per validator and epoch.
    #[error("evidence against validator #{signer} of epoch {epoch} is already recorded")]
    EvidenceKnown {
        /// The epoch.
        epoch: Epoch,
        /// The validator.
        signer: ValidatorIndex,
    },
}

/// Whose fault a refusal is, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalClass {
    /// The bytes can never be right: the sender makes others.
    Malformed,
    /// A signature or proof of possession does not hold.
    NotVerified,
    /// The key or authority may not do this: ask for rights.
    Rights,
    /// The window has not begun: wait.
    Early,
    /// It is in the log already: nothing to do.
    Included,
    /// The rules forbid it in this state.
    Rule,
}

impl Refusal {
    /// Whose fault it is.
    pub const fn class(&self) -> RefusalClass {
        match self {
            Self::Chain { .. } | Self::TooLong { .. } | Self::Nonce { .. } | Self::BadKey(_) => {
                RefusalClass::Malformed
            }
            Self::Signature(_) | Self::Possession(_) | Self::EvidenceVote(_) => {
                RefusalClass::NotVerified
            }
            Self::UnknownAuthority(_)
            | Self::UnknownKey(_)
            | Self::ForeignKey { .. }
            | Self::KeyRetired { .. }
            | Self::KeyExpired { .. }
            | Self::Role { .. }
            | Self::NotResponsible { .. }
            | Self::NotInvolved { .. }
            | Self::ForeignSuccessor { .. } => RefusalClass::Rights,
            Self::Early { .. } => RefusalClass::Early,
            Self::AlreadyIncluded(_) | Self::EvidenceKnown { .. } => RefusalClass::Included,
            Self::NotEnabled(_)
            | Self::Late { .. }
            | Self::DocumentKnown(_)
            | Self::UnknownDocument(_)
            | Self::Ended(_)
            | Self::Lane { .. }
            | Self::LaneTaken(_)
            | Self::OwnSuccessor(_)
            | Self::UnknownSuccessor(_)
            | Self::SuccessorNotInForce(_)
            | Self::Full { .. }
            | Self::KeyKnown(_)
            | Self::CompromisedSince { .. }
            | Self::EvidenceEpoch { .. } => RefusalClass::Rule,
        }
    }

    /// Whether a later block may make the same bytes right. A pool keeps such an item until its window is
    /// over: what it builds on may be final elsewhere and not here yet. All others can be dropped.
    pub fn may_heal(&self) -> bool {
        match self {
            Self::Early { .. }
            | Self::UnknownKey(_)
            | Self::UnknownDocument(_)
            | Self::UnknownSuccessor(_)
            | Self::NotInvolved { .. } => true,
            Self::Lane { found, head } => found > head,
            Self::Chain { .. }
            | Self::Signature(_)
            | Self::TooLong { .. }
            | Self::NotEnabled(_)
            | Self::Nonce { .. }
            | Self::BadKey(_)
            | Self::Possession(_)
            | Self::UnknownAuthority(_)
            | Self::ForeignKey { .. }
            | Self::KeyRetired { .. }
            | Self::KeyExpired { .. }
            | Self::Role { .. }
            | Self::Late { .. }
            | Self::AlreadyIncluded(_)
            | Self::DocumentKnown(_)
            | Self::NotResponsible { .. }
            | Self::Ended(_)
            | Self::LaneTaken(_)
            | Self::OwnSuccessor(_)
            | Self::ForeignSuccessor { .. }
            | Self::SuccessorNotInForce(_)
            | Self::Full { .. }
            | Self::KeyKnown(_)
            | Self::CompromisedSince { .. }
            | Self::EvidenceEpoch { .. }
            | Self::EvidenceVote(_)
            | Self::EvidenceKnown { .. } => false,
        }
    }

    /// The refusal's name for machines: lower case with hyphens.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Chain { .. } => "wrong-chain",
            Self::Signature(_) => "bad-signature",
            Self::TooLong { .. } => "too-long",
            Self::NotEnabled(_) => "not-yet-enabled",
            Self::Nonce { .. } => "wrong-document-id",
            Self::BadKey(_) => "bad-key",
            Self::Possession(_) => "possession-not-proved",
            Self::UnknownAuthority(_) => "unknown-authority",
            Self::UnknownKey(_) => "unknown-key",
            Self::ForeignKey { .. } => "foreign-key",
            Self::KeyRetired { .. } => "key-retired",
            Self::KeyExpired { .. } => "key-expired",
            Self::Role { .. } => "wrong-role",
            Self::Early { .. } => "window-not-begun",
            Self::Late { .. } => "window-over",
            Self::AlreadyIncluded(_) => "already-included",
            Self::DocumentKnown(_) => "document-known",
            Self::UnknownDocument(_) => "unknown-document",
            Self::NotResponsible { .. } => "not-responsible",
            Self::NotInvolved { .. } => "not-involved",
            Self::Ended(_) => "document-ended",
            Self::Lane { .. } => "wrong-lane-head",
            Self::LaneTaken(_) => "lane-taken",
            Self::OwnSuccessor(_) => "own-successor",
            Self::UnknownSuccessor(_) => "unknown-successor",
            Self::ForeignSuccessor { .. } => "foreign-successor",
            Self::SuccessorNotInForce(_) => "successor-not-in-force",
            Self::Full { .. } => "document-full",
            Self::KeyKnown(_) => "key-known",
            Self::CompromisedSince { .. } => "compromised-in-future",
            Self::EvidenceEpoch { .. } => "evidence-epoch",
            Self::EvidenceVote(_) => "evidence-not-proved",
            Self::EvidenceKnown { .. } => "evidence-known",
        }
    }
}

/// A refused item: which of its records, if it is about one, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Position of the record in its submission, from 0.
    pub record: Option<usize>,
    /// Why.
    pub refusal: Refusal,
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.record {
            Some(at) => write!(f, "record {at}: {}", self.refusal),
            None => write!(f, "{}", self.refusal),
        }
    }
}

impl core::error::Error for Refused {}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            record: None,
            refusal,
        }
    }
}
