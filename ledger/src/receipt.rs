//! Receipts: the proof that travels beside a document (formats.md, section 6; `docs/receipt.md`).
//!
//! A node [`issue()`]s one, its holder adds openings and details, and anyone [`verify()`]s it against a
//! [`Trust`] and the document's bytes. A [`Verdict`] is made only here.
//!
//! # Map
//!
//! - [`Receipt`]: the file; [`Extra`]: what it carries beside the C2SP proof
//! - [`Trust`], [`Pin`]: what a verifier starts from
//! - [`verify()`], [`verify_status`]: the numbered steps; [`Step`], [`Failure`]: where one failed
//! - [`Verdict`], [`Finding`]: what they say

mod bytes;
mod content;
mod extra;
mod failure;
mod issue;
mod signers;
mod text;
mod trust;
mod verdict;
mod verify;

pub use extra::{
    AuthorityProof, Consistency, DetailReveal, Extra, Framed, FramedAuthState, FramedDocState,
    FramedKeyState, FramedLeaf, FramedSet, Handover, LaterLeaf, MAX_AUTHORITY_PROOFS, MAX_DETAILS,
    MAX_HANDOVERS, MAX_OPENINGS, MAX_RELATED, MAX_SET, Only, Opening, Related,
};
pub use failure::{Failure, Fault, Step};
pub use issue::{AuthorityPart, IssueError, Parts, SignedRecord, inclusion_path, issue};
pub use signers::{Advance, BadSigners};
pub use text::{MAX_RECEIPT, Receipt, ReceiptError};
pub use trust::{MaxAge, Online, Pin, Trust, TrustError};
pub use verdict::{
    AsOf, AuthorityName, DetailFact, Facts, Finding, Freshness, Kinship, LaterFact, Passed,
    RelatedFact, Stale, Verdict, revoke_reason, suspend_reason,
};
pub use verify::{verify, verify_status};

#[cfg(test)]
mod tests;
