//! Records: what may be said about a document, a key, a change (formats.md, section 3.2).
//!
//! Every code and layout of the first format version is here; which record may follow what is in
//! [`crate::rules`].

use crate::codec::{Bytes, List, coded_enum, refuse};
use crate::document::{Commitment, DocumentId, Nonce};
use crate::hash::{ChainId, Hash, Tag};
use crate::header::BlockRef;
use crate::id::{AuthorityIndex, LeafIndex, TimeMs};
use crate::key::{Key, RawSignature, Signature};
use alloc::vec::Vec;
use borsh::io::{Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};

/// Longest record but `Propose`, in bytes.
pub const MAX_RECORD: usize = 4096;
/// Longest `Propose`, in bytes.
pub const MAX_PROPOSE: usize = 32 * 1024;
/// Most parents of a derived document.
pub const MAX_PARENTS: usize = 16;

/// What a registrar key may sign: a bit mask of roles, at least one, spare bits zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize)]
pub struct Role(u8);

impl Role {
    /// Bit 0: registering and everything that the responsible authority decides.
    pub const ISSUE: Self = Self(1);
    /// Bit 1: passing documents between authorities.
    pub const EXCHANGE: Self = Self(2);
    /// Bit 2: public documents.
    pub const PUBLIC: Self = Self(4);
    /// Bit 3: the node's access log.
    pub const NODE: Self = Self(8);

    /// Both masks together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// A mask from its byte; `None` if empty or a spare bit is set.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits == 0 || bits > 15 {
            None
        } else {
            Some(Self(bits))
        }
    }

    /// The byte of the format.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether the two masks share a role.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BorshDeserialize for Role {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        Self::from_bits(u8::deserialize_reader(reader)?).ok_or_else(|| refuse("not a role mask"))
    }
}

coded_enum! {
    /// How a derived document came from its parents.
    pub enum Relation {
        /// A certified copy.
        CertifiedCopy = 1,
        /// A scan.
        Scan = 2,
        /// A translation.
        Translation = 3,
        /// A redaction.
        Redaction = 4,
        /// A conversion to another format.
        Conversion = 5,
        /// Several documents merged into one.
        Merge = 6,
    }
}

coded_enum! {
    /// Why a document is passed on.
    pub enum TransferMode {
        /// The recipient gets a copy.
        Copy = 1,
        /// The recipient is asked for an answer.
        Consult = 2,
        /// Responsibility moves when the recipient accepts.
        HandOver = 3,
        /// The recipient keeps it for good.
        Archive = 4,
    }
}

coded_enum! {
    /// How a document was retired.
    pub enum Outcome {
        /// Kept by an archive.
        Archived = 1,
        /// Erased; every holder acknowledges.
        Erased = 2,
    }
}

coded_enum! {
    /// Why a document was revoked.
    pub enum RevokeReason {
        /// Issued in error.
        IssuedInError = 1,
        /// Its legal basis is gone.
        LegalBasisGone = 2,
        /// Obtained by deception.
        Deception = 3,
        /// A court ordered it.
        CourtOrder = 4,
        /// A formal defect.
        FormalDefect = 5,
        /// Another reason, told off the chain.
        Other = 255,
    }
}

coded_enum! {
    /// How long the kind of document is kept; the periods are the authority's.
    pub enum Retention {
        /// No class given.
        Unspecified = 0,
        /// Two years.
        Years2 = 1,
        /// Five years.
        Years5 = 2,
        /// Ten years.
        Years10 = 3,
        /// Thirty years.
        Years30 = 4,
        /// For good.
        Permanent = 5,
    }
}

coded_enum! {
    /// What an endorsement says.
    pub enum EndorseKind {
        /// "We checked it."
        Checked = 1,
        /// Consulted: agreed.
        ConsultAgreed = 2,
        /// Consulted: objected.
        ConsultObjected = 3,
        /// Consulted: not concerned.
        ConsultNotConcerned = 4,
        /// A countersignature.
        Countersigned = 5,
    }
}

coded_enum! {
    /// Why a hand-over was rejected.
    pub enum RejectReason {
        /// Not responsible for this matter.
        NotResponsible = 1,
        /// The document cannot be read.
        Unreadable = 2,
        /// Parts are missing.
        Incomplete = 3,
        /// It was received already.
        Duplicate = 4,
        /// Another reason.
        Other = 255,
    }
}

coded_enum! {
    /// Why a document is disputed.
    pub enum DisputeCode {
        /// Its content is wrong.
        Content = 1,
        /// Its origin is doubted.
        Origin = 2,
        /// The bytes at hand differ.
        Bytes = 3,
        /// A person's data is not theirs.
        Identity = 4,
        /// Another reason.
        Other = 255,
    }
}

coded_enum! {
    /// How a dispute was answered.
    pub enum AnswerCode {
        /// The document stands.
        Upheld = 1,
        /// The dispute is right; a correction follows.
        Accepted = 2,
        /// Not for this authority to decide.
        Referred = 3,
        /// Another answer.
        Other = 255,
    }
}

coded_enum! {
    /// Why a document is suspended.
    pub enum SuspendReason {
        /// A legal remedy is pending.
        Remedy = 1,
        /// A check is under way.
        Review = 2,
        /// A court ordered it.
        CourtOrder = 3,
        /// Another reason.
        Other = 255,
    }
}

coded_enum! {
    /// Why a suspension ended.
    pub enum ReinstateReason {
        /// The remedy failed or was withdrawn.
        RemedyOver = 1,
        /// The check found nothing.
        ReviewPassed = 2,
        /// A court ordered it.
        CourtOrder = 3,
        /// Another reason.
        Other = 255,
    }
}

coded_enum! {
    /// Why a document may not be retired (Hold), or may again (Release).
    pub enum HoldReason {
        /// Litigation.
        Litigation = 1,
        /// An investigation.
        Investigation = 2,
        /// An inquiry by a parliament or a court of auditors.
        Inquiry = 3,
        /// Another reason.
        Other = 255,
    }
}

/// Declares the record enum, its codes, names and layouts in one table.
macro_rules! records {
    ($($(#[$meta:meta])* $variant:ident = $code:literal $name:literal { $($(#[$fmeta:meta])* $field:ident : $ty:ty),* $(,)? }),+ $(,)?) => {
        /// A record: its code, then its fields in order.
        #[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
        #[borsh(use_discriminant = true)]
        #[repr(u8)]
        pub enum Record { $($(#[$meta])* $variant { $($(#[$fmeta])* $field: $ty),* } = $code),+ }

        impl Record {
            /// The record's code.
            pub const fn code(&self) -> u8 {
                match self { $(Self::$variant { .. } => $code),+ }
            }

            /// The record's name, lower case with hyphens.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $name),+ }
            }
        }
    };
}

records! {
    /// A new document of the acting authority.
    Register = 1 "register" {
        /// Recomputed from `nonce`.
        document: DocumentId,
        /// Random, drawn before stamping.
        nonce: Nonce,
        /// Commitment to the issuer's file.
        internal: Commitment,
        /// Commitment to the citizen's copy.
        citizen: Option<Commitment>,
        /// Root of the detail commitment.
        detail: Option<Hash>,
        /// Retention class.
        retention: Retention,
    },
    /// A new document made from others.
    Derive = 2 "derive" {
        /// Recomputed from `nonce`.
        document: DocumentId,
        /// Random, drawn before stamping.
        nonce: Nonce,
        /// Commitment to the issuer's file.
        internal: Commitment,
        /// Commitment to the citizen's copy.
        citizen: Option<Commitment>,
        /// Root of the detail commitment.
        detail: Option<Hash>,
        /// Retention class.
        retention: Retention,
        /// What it was made from, ascending.
        parents: Parents,
        /// How.
        relation: Relation,
    },
    /// Ends a document by naming its successor.
    Supersede = 3 "supersede" {
        /// The old document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// The new document.
        successor: DocumentId,
    },
    /// Opens a hand-over.
    Transfer = 4 "transfer" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// The recipient.
        to: AuthorityIndex,
        /// Why it is passed on.
        mode: TransferMode,
        /// Days until an answer is due; 0 for none.
        due_days: u16,
        /// Root of a detail commitment for the recipient.
        detail: Option<Hash>,
    },
    /// Closes the author's own open Transfer or Dispute.
    Withdraw = 5 "withdraw" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// What is withdrawn.
        of: LeafIndex,
    },
    /// Takes a hand-over.
    Accept = 6 "accept" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// The Transfer.
        of: LeafIndex,
        /// Commitment to the bytes received.
        received: Option<Commitment>,
    },
    /// Refuses a hand-over.
    Reject = 7 "reject" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// The Transfer.
        of: LeafIndex,
        /// Why.
        reason: RejectReason,
    },
    /// Says that the author checked or countersigns the document.
    Endorse = 8 "endorse" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// What is said.
        kind: EndorseKind,
    },
    /// Disputes a record of the document.
    Dispute = 9 "dispute" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// The disputed record.
        of: LeafIndex,
        /// Why.
        code: DisputeCode,
    },
    /// Answers a dispute.
    Answer = 10 "answer" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// The Dispute.
        of: LeafIndex,
        /// How.
        code: AnswerCode,
    },
    /// Corrects the code of the author's earlier record.
    Correct = 11 "correct" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// The corrected record.
        of: LeafIndex,
        /// The right code, of the corrected record's table.
        code: u8,
    },
    /// Takes a document out of force for a time.
    Suspend = 12 "suspend" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// Why.
        code: SuspendReason,
    },
    /// Ends a suspension.
    Reinstate = 13 "reinstate" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// Why.
        code: ReinstateReason,
    },
    /// Ends a document.
    Revoke = 14 "revoke" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// Why.
        code: RevokeReason,
    },
    /// Forbids retiring.
    Hold = 15 "hold" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// Why.
        code: HoldReason,
    },
    /// Ends the author's hold.
    Release = 16 "release" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// Why.
        code: HoldReason,
    },
    /// Retires a document.
    Retire = 17 "retire" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// Archived or erased.
        outcome: Outcome,
    },
    /// Says that a holder erased its openings.
    ErasureAck = 18 "erasure-ack" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
    },
    /// Adds a commitment under a newer algorithm.
    Renew = 19 "renew" {
        /// The document.
        document: DocumentId,
        /// The author's lane head.
        prev: LeafIndex,
        /// The new commitment.
        commitment: Commitment,
    },
    /// Root of the node's access log for a day.
    AccessRoot = 20 "access-root" {
        /// Days since 1970-01-01.
        period: u32,
        /// Merkle root of the day's entries.
        root: Hash,
        /// Number of entries.
        count: u64,
    },
    /// Enrols a registrar key.
    Enrol = 21 "enrol" {
        /// The new key.
        key: Key,
        /// What it may sign.
        role: Role,
        /// Last block time at which it may sign; 0 for no end.
        not_after_ms: TimeMs,
        /// By the new key, over [`enrol_possession`].
        possession: Signature,
    },
    /// Retires a registrar key.
    RetireKey = 22 "retire-key" {
        /// The key.
        key: Key,
        /// From this log index on its signatures are doubtful.
        compromised_since: Option<LeafIndex>,
    },
    /// Proposes a change of the network; its bytes are laid down with the feature.
    Propose = 23 "propose" {
        /// The change, opaque to this version.
        change: Bytes<MAX_PROPOSE>,
    },
    /// Approves a proposed change.
    Approve = 24 "approve" {
        /// The Propose.
        of: LeafIndex,
    },
    /// A new public document.
    Publish = 25 "publish" {
        /// Recomputed from `nonce`.
        document: DocumentId,
        /// Random.
        nonce: Nonce,
        /// Plain SHA-256 of the file.
        sha256: Hash,
        /// Retention class.
        retention: Retention,
    },
    /// Says that a validator key is ready for a scheduled change.
    Ready = 26 "ready" {
        /// The Propose.
        of: LeafIndex,
        /// A recent finalized block.
        block: BlockRef,
        /// By the validator key, over the readiness tag.
        signature: RawSignature,
    },
}

impl Record {
    /// The record's bytes: its code and fields.
    pub fn encode(&self) -> Vec<u8> {
        crate::codec::encode(self)
    }

    /// The document that the record is about, if it is about one.
    pub const fn document(&self) -> Option<&DocumentId> {
        match self {
            Self::Register { document, .. }
            | Self::Derive { document, .. }
            | Self::Publish { document, .. }
            | Self::Supersede { document, .. }
            | Self::Transfer { document, .. }
            | Self::Withdraw { document, .. }
            | Self::Accept { document, .. }
            | Self::Reject { document, .. }
            | Self::Endorse { document, .. }
            | Self::Dispute { document, .. }
            | Self::Answer { document, .. }
            | Self::Correct { document, .. }
            | Self::Suspend { document, .. }
            | Self::Reinstate { document, .. }
            | Self::Revoke { document, .. }
            | Self::Hold { document, .. }
            | Self::Release { document, .. }
            | Self::Retire { document, .. }
            | Self::ErasureAck { document, .. }
            | Self::Renew { document, .. } => Some(document),
            Self::AccessRoot { .. }
            | Self::Enrol { .. }
            | Self::RetireKey { .. }
            | Self::Propose { .. }
            | Self::Approve { .. }
            | Self::Ready { .. } => None,
        }
    }

    /// Whether the record creates its document.
    pub const fn is_registration(&self) -> bool {
        matches!(
            self,
            Self::Register { .. } | Self::Derive { .. } | Self::Publish { .. }
        )
    }

    /// The most bytes that a record of this code may have.
    pub const fn max_len(code: u8) -> usize {
        if code == 23 { MAX_PROPOSE } else { MAX_RECORD }
    }
}

/// Parents of a derived document: 1 to 16 ids, strictly ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parents(List<DocumentId, MAX_PARENTS>);

impl Parents {
    /// Takes 1 to 16 strictly ascending ids; `None` for anything else.
    pub fn new(ids: Vec<DocumentId>) -> Option<Self> {
        let ascending = ids.windows(2).all(|pair| pair.first() < pair.get(1));
        if ids.is_empty() || !ascending {
            return None;
        }
        List::try_from(ids).ok().map(Self)
    }

    /// The ids.
    pub fn ids(&self) -> &[DocumentId] {
        &self.0
    }
}

impl BorshSerialize for Parents {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.0.serialize(writer)
    }
}

impl BorshDeserialize for Parents {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let ids = List::<DocumentId, MAX_PARENTS>::deserialize_reader(reader)?;
        Self::new(ids.into_vec()).ok_or_else(|| refuse("parents are not 1 to 16 ascending ids"))
    }
}

/// What a key signs to be enrolled: `enrol` tag ‖ chain ‖ authority ‖ role ‖ Key ‖ not_after_ms.
pub fn enrol_possession(
    chain: &ChainId,
    authority: AuthorityIndex,
    role: Role,
    key: &Key,
    not_after_ms: TimeMs,
) -> Vec<u8> {
    let mut bytes = Vec::from(Tag::Enrol.bytes());
    bytes.extend_from_slice(chain.as_bytes());
    crate::codec::write_to(&mut bytes, &(authority, role, key, not_after_ms));
    bytes
}
