//! What a verification says: one word, what else holds, as of when, and the facts that were proved.

use super::failure::{Failure, Step};
use crate::cosignature::CosignedAt;
use crate::document::DocumentId;
use crate::id::{AuthorityId, AuthorityIndex, LeafIndex, TimeMs, TreeSize};
use crate::key::Key;
use crate::record::{Relation, RevokeReason, SuspendReason};
use crate::state::{DocState, Lifecycle, Registration};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

/// One row of the verdict table, in its order (formats.md, section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A step failed, or a mandatory part is missing.
    ProofInvalid(Failure),
    /// The document names another id than the receipt.
    WrongReceipt {
        /// The receipt's.
        receipt: DocumentId,
        /// The document's.
        document: DocumentId,
    },
    /// Changed since registration, or this receipt belongs to another document.
    Modified,
    /// Could not tell: the receipt is older than the pin and does not show that it leads there.
    OlderThanPin {
        /// The receipt's tree.
        size: TreeSize,
        /// The pinned tree.
        pin: TreeSize,
    },
    /// Not in force: revoked.
    Revoked {
        /// Why: a code of the revoke table.
        code: u8,
    },
    /// Not in force: another document took its place.
    Superseded {
        /// Which.
        by: DocumentId,
    },
    /// Not in force: archived.
    Retired,
    /// Not in force: suspended.
    Suspended {
        /// Why: a code of the suspend table.
        code: u8,
    },
    /// Retired as erased while in force.
    EvidenceErased,
    /// These bytes are what somebody received, no more.
    ReceivedBy(AuthorityName),
    /// No opening of the registration: the bytes were not compared.
    LocatorKnown,
    /// In force and checked, but disputed, or a parent is revoked.
    Disputed {
        /// Number of open disputes.
        open: usize,
        /// Parents that are proved revoked.
        revoked_parents: Vec<DocumentId>,
    },
    /// In force and checked, but the proof is stale.
    InForceAsOf(Stale),
    /// In force and checked, by a fresh proof.
    Current,
}

impl Finding {
    /// The word of the table, exactly.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::ProofInvalid(_) => "PROOF INVALID",
            Self::WrongReceipt { .. } => "WRONG RECEIPT",
            Self::Modified => "MODIFIED",
            Self::OlderThanPin { .. } => "PROOF OLDER THAN PIN",
            Self::Revoked { .. } => "REVOKED",
            Self::Superseded { .. } => "SUPERSEDED",
            Self::Retired => "RETIRED",
            Self::Suspended { .. } => "SUSPENDED",
            Self::EvidenceErased => "EVIDENCE ERASED",
            Self::ReceivedBy(_) => "RECEIVED BY",
            Self::LocatorKnown => "LOCATOR KNOWN, BYTES NOT CHECKED",
            Self::Disputed { .. } => "DISPUTED",
            Self::InForceAsOf(_) => "IN FORCE AS OF",
            Self::Current => "CURRENT",
        }
    }

    /// The exit code of the table.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::ProofInvalid(_)
            | Self::WrongReceipt { .. }
            | Self::Modified
            | Self::Revoked { .. }
            | Self::Superseded { .. }
            | Self::Retired
            | Self::Suspended { .. } => 1,
            Self::OlderThanPin { .. }
            | Self::EvidenceErased
            | Self::ReceivedBy(_)
            | Self::LocatorKnown => 3,
            Self::Disputed { .. } => 6,
            Self::InForceAsOf(_) => 5,
            Self::Current => 0,
        }
    }
}

impl fmt::Display for Finding {
    /// The word and what belongs to it, but for times, which are [`AsOf`]'s.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::ProofInvalid(failure) => write!(f, " ({})", failure.step),
            Self::WrongReceipt { receipt, .. } => write!(f, " (it is of {receipt})"),
            Self::OlderThanPin { size, pin } => write!(f, " (size {size}, pinned {pin})"),
            Self::Revoked { code } => write!(f, " ({})", revoke_reason(*code)),
            Self::Superseded { by } => write!(f, " (by {by})"),
            Self::Retired => f.write_str(" (archived)"),
            Self::Suspended { code } => write!(f, " ({})", suspend_reason(*code)),
            Self::ReceivedBy(name) => write!(f, " {name}"),
            Self::Disputed {
                open: 0,
                revoked_parents: _,
            } => f.write_str(" (original revoked)"),
            Self::Modified
            | Self::EvidenceErased
            | Self::LocatorKnown
            | Self::Disputed { .. }
            | Self::InForceAsOf(_)
            | Self::Current => Ok(()),
        }
    }
}

/// Why a document was revoked, in words; `code N` outside the table.
pub fn revoke_reason(code: u8) -> String {
    let words = match RevokeReason::from_code(code) {
        Some(RevokeReason::IssuedInError) => "issued in error",
        Some(RevokeReason::LegalBasisGone) => "legal basis gone",
        Some(RevokeReason::Deception) => "obtained by deception",
        Some(RevokeReason::CourtOrder) => "court order",
        Some(RevokeReason::FormalDefect) => "formal defect",
        Some(RevokeReason::Other) => "other reason",
        None => return alloc::format!("code {code}"),
    };
    words.to_string()
}

/// Why a document is suspended, in words; `code N` outside the table.
pub fn suspend_reason(code: u8) -> String {
    let words = match SuspendReason::from_code(code) {
        Some(SuspendReason::Remedy) => "a legal remedy is pending",
        Some(SuspendReason::Review) => "under review",
        Some(SuspendReason::CourtOrder) => "court order",
        Some(SuspendReason::Other) => "other reason",
        None => return alloc::format!("code {code}"),
    };
    words.to_string()
}

/// Why a proof is not fresh. The first that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// No quorum counts: the pin alone vouches for the checkpoint.
    PinAlone,
    /// Too many cosignatures are from the future: this computer's clock seems slow.
    SlowClock,
    /// The cosignatures are too old.
    Age {
        /// Age in milliseconds.
        age_ms: u64,
        /// The limit in seconds.
        limit_s: u64,
    },
    /// A newer checkpoint was seen.
    NewerSeen {
        /// The largest size seen.
        seen: TreeSize,
    },
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PinAlone => f.write_str("vouched for by the pinned checkpoint alone"),
            Self::SlowClock => f.write_str("this computer's clock seems slow"),
            Self::Age { age_ms, limit_s } => {
                let age = age_ms / 1000;
                write!(f, "the proof is {age} s old, at most {limit_s} s are fresh")
            }
            Self::NewerSeen { seen } => {
                write!(f, "a newer checkpoint was seen, of size {seen}")
            }
        }
    }
}

/// Whether a proof is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is.
    Fresh,
    /// It is not.
    Stale(Stale),
}

/// As of when the status is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// Size of the tree.
    pub size: TreeSize,
    /// Time of its last block.
    pub block_time_ms: TimeMs,
    /// How much earlier than an honest clock that time may be, in milliseconds.
    pub early_ms: u64,
    /// How much later, in milliseconds.
    pub late_ms: u64,
    /// The time at which a quorum stood behind it (t_q); none if no quorum counts or this clock is slow.
    pub cosigned_at: Option<CosignedAt>,
}

impl AsOf {
    /// The moment to print: t_q, or the block's time without one.
    pub fn moment_ms(&self) -> TimeMs {
        self.cosigned_at
            .map_or(self.block_time_ms, |at| TimeMs(at.0.saturating_mul(1000)))
    }
}

/// An authority as far as its name is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityName {
    /// Its id and name are proved.
    Proved {
        /// Its index.
        index: AuthorityIndex,
        /// Its short id.
        id: AuthorityId,
        /// Its display name.
        name: String,
        /// Who took over its documents, if somebody did.
        succeeded_by: Option<AuthorityIndex>,
    },
    /// The receipt proves nothing about it.
    NotProved(AuthorityIndex),
}

impl fmt::Display for AuthorityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proved { name, .. } => f.write_str(name),
            Self::NotProved(index) => write!(f, "authority #{index}, name not proved"),
        }
    }
}

/// What a related document is to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinship {
    /// It was made from it.
    Parent,
    /// It took its place.
    Successor,
}

/// A parent or the successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelatedFact {
    /// Its id.
    pub document: DocumentId,
    /// What it is.
    pub kinship: Kinship,
    /// Its registration and state; none: "not checked".
    pub proved: Option<(Registration, DocState)>,
}

impl RelatedFact {
    /// Whether it is proved to be revoked.
    pub fn is_revoked(&self) -> bool {
        let state = self.proved.as_ref().map(|(_, state)| state.lifecycle);
        matches!(state, Some(Lifecycle::Revoked { .. }))
    }
}

/// A later commitment whose opening was shown and is of the bytes at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaterFact {
    /// Log index of the Accept or Renew.
    pub index: LeafIndex,
    /// Time of its block.
    pub time_ms: TimeMs,
    /// Who wrote it.
    pub by: AuthorityIndex,
}

/// A revealed detail field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetailFact {
    /// Its number.
    pub k: u8,
    /// Its value, as the issuer registered it.
    pub value: String,
}

impl DetailFact {
    /// The field's name; `field k` for the reserved ones.
    pub fn name(&self) -> String {
        let name = match self.k {
            0 => "kind",
            1 => "file number",
            2 => "title",
            3 => "size",
            4 => "media type",
            5 => "own date",
            k => return alloc::format!("field {k}"),
        };
        name.to_string()
    }
}

/// Everything that was proved about the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where, when, by whom and by which record it was registered.
    pub registration: Registration,
    /// How it was derived, if it was.
    pub relation: Option<Relation>,
    /// Its state, as registered if nothing happened since: lifecycle, disputes, holds, hand-overs, holders.
    pub state: DocState,
    /// The key that signed the registration.
    pub key: Key,
    /// From this log index on the key's signatures are doubtful: a warning.
    pub compromised_since: Option<LeafIndex>,
    /// Parents, then the successor.
    pub related: Vec<RelatedFact>,
    /// Revealed details.
    pub details: Vec<DetailFact>,
    /// Who received these very bytes.
    pub received: Vec<LaterFact>,
    /// Renewals for these very bytes; only beside a checked opening.
    pub renewed: Vec<LaterFact>,
    /// Validators whose cosignatures count.
    pub cosigners: Vec<AuthorityId>,
    pub(super) names: BTreeMap<AuthorityIndex, AuthorityName>,
}

impl Facts {
    /// An authority by the name that the receipt proves, or by its number.
    pub fn authority(&self, index: AuthorityIndex) -> AuthorityName {
        let proved = self.names.get(&index).cloned();
        proved.unwrap_or(AuthorityName::NotProved(index))
    }

    /// The issuer.
    pub fn issuer(&self) -> AuthorityName {
        self.authority(self.registration.authority)
    }

    /// Who is responsible now.
    pub fn responsible(&self) -> AuthorityName {
        self.authority(self.state.responsible)
    }
}

/// A step that was passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Which.
    pub step: Step,
    /// What it checked, with the values that matter.
    pub what: String,
}

/// What a verification says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub(super) finding: Finding,
    pub(super) also: Vec<Finding>,
    pub(super) document: Option<DocumentId>,
    pub(super) as_of: Option<AsOf>,
    pub(super) freshness: Option<Freshness>,
    pub(super) facts: Option<Facts>,
    pub(super) steps: Vec<Passed>,
    pub(super) bytes_checked: bool,
}

impl Verdict {
    /// The first row of the table that holds.
    pub const fn finding(&self) -> &Finding {
        &self.finding
    }

    /// The further rows that hold, in the table's order.
    pub fn also(&self) -> &[Finding] {
        &self.also
    }

    /// The word of the first row, exactly.
    pub const fn word(&self) -> &'static str {
        self.finding.word()
    }

    /// The exit code of the first row.
    pub const fn exit_code(&self) -> u8 {
        self.finding.exit_code()
    }

    /// The receipt's document; none if the receipt could not be read.
    pub const fn document(&self) -> Option<DocumentId> {
        self.document
    }

    /// As of when; none if the proof is invalid or not vouched for.
    pub const fn as_of(&self) -> Option<AsOf> {
        self.as_of
    }

    /// Whether the proof is fresh; none where there is no time.
    pub const fn freshness(&self) -> Option<Freshness> {
        self.freshness
    }

    /// What was proved; none if the proof is invalid or not vouched for.
    pub const fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// Whether the bytes at hand are the registered ones, whatever became of the document since.
    pub const fn are_bytes_checked(&self) -> bool {
        self.bytes_checked
    }

    /// The steps that were passed, in order.
    pub fn steps(&self) -> &[Passed] {
        &self.steps
    }
}
