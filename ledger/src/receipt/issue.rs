//! Putting a receipt together from what a node has.

use super::extra::{
    AuthorityProof, Consistency, Extra, Framed, FramedAuthState, Handover, Only, Related,
};
use super::text::{Receipt, ReceiptError};
use crate::codec::{DecodeError, List, OverBound};
use crate::hash::Hash;
use crate::id::{AuthorityIndex, LeafIndex};
use crate::key::Signature;
use crate::log::{self, Path, TileReader};
use crate::note::Note;
use crate::state::{AuthState, DocState, KeyState, Sorted};
use crate::submission::{Submission, SubmissionBody, record_leaf};
use crate::trie::TrieProof;
use alloc::vec::Vec;
use core::convert::Infallible;

/// The submission of a record, without its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    /// The signed body.
    pub body: SubmissionBody,
    /// The registrar's signature.
    pub signature: Signature,
    /// Position of the record.
    pub record_index: u32,
    /// Its path under the body's records root.
    pub record_path: Path,
}

impl SignedRecord {
    /// Takes the record at a position out of its submission; `None` if there is none.
    pub fn of(submission: &Submission, record_index: u32) -> Option<Self> {
        let records = submission.records().iter();
        let hash = |bytes: Vec<u8>| log::leaf_hash(&record_leaf(&bytes));
        let leaves: Vec<Hash> = records.map(|record| hash(record.encode())).collect();
        let record_path = inclusion_path(&leaves, u64::from(record_index))?;
        Some(Self {
            body: submission.body().clone(),
            signature: *submission.signature(),
            record_index,
            record_path,
        })
    }
}

/// The inclusion path of one leaf in a small tree whose leaf hashes are all at hand; `None` if it has no such leaf.
pub fn inclusion_path(leaves: &[Hash], index: u64) -> Option<Path> {
    let size = crate::id::TreeSize(u64::try_from(leaves.len()).ok()?);
    let Ok(path) = log::prove_inclusion(&AllLeaves(leaves), LeafIndex(index), size);
    path
}

/// Leaf hashes as a source of tiles.
pub(super) struct AllLeaves<'a>(pub(super) &'a [Hash]);

impl TileReader for AllLeaves<'_> {
    type Error = Infallible;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
        let width = 1_u64.checked_shl(u32::from(level).saturating_mul(8));
        let width = width.unwrap_or(u64::MAX);
        let at = |index: u64| usize::try_from(index.saturating_mul(width)).unwrap_or(usize::MAX);
        let leaves = self.0.get(at(index)..at(index.saturating_add(1)));
        let mut tree = log::Frontier::new();
        leaves
            .unwrap_or_default()
            .iter()
            .for_each(|leaf| tree.push(*leaf));
        Ok(tree.root())
    }
}

/// What a node has about one document at one checkpoint.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The checkpoint with a log line and a quorum of cosignatures.
    pub note: Note,
    /// Log index of the registration.
    pub index: LeafIndex,
    /// Its inclusion path in the checkpoint's tree.
    pub path: Path,
    /// The registration leaf, as hashed.
    pub leaf: Vec<u8>,
    /// Its submission.
    pub signed: SignedRecord,
    /// The last leaf of the checkpoint's tree, as hashed.
    pub trailer: Vec<u8>,
    /// Its inclusion path.
    pub trailer_path: Path,
    /// The document's state at the checkpoint; none = as registered.
    pub doc: Option<DocState>,
    /// Its proof under the checkpoint's status root.
    pub doc_proof: TrieProof,
    /// State of the key that signed the submission.
    pub key: KeyState,
    /// Its proof.
    pub key_proof: TrieProof,
    /// Authorities to be named, the registration's among them.
    pub authorities: Vec<AuthorityPart>,
    /// Parents and successor.
    pub related: Vec<Related>,
    /// Every change of the validator set since genesis.
    pub handovers: Vec<Handover>,
    /// For a reader with a newer pin.
    pub consistency: Option<Consistency>,
}

/// An authority with its state and proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityPart {
    /// Which.
    pub index: AuthorityIndex,
    /// Its state; none = as in genesis.
    pub state: Option<AuthState>,
    /// Presence of that state, or absence of any.
    pub proof: TrieProof,
}

/// Why no receipt can be issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// A leaf is not canonical.
    #[error("a leaf of the receipt is not canonical")]
    Leaf(#[from] DecodeError),
    /// A part is over its bound.
    #[error("a part of the receipt is over its bound")]
    Bound(#[from] OverBound),
    /// The parts make no receipt, or one over 64 KiB.
    #[error("the parts make no receipt")]
    Receipt(#[from] ReceiptError),
}

impl IssueError {
    /// What a person can do about it.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Receipt(ReceiptError::TooLong(_)) | Self::Bound(_) => {
                Some("pin a newer set with `nachweis trust update`")
            }
            Self::Leaf(_) | Self::Receipt(_) => None,
        }
    }
}

/// Issues a receipt without openings and details: those are the holder's to add. The only way to a new one.
///
/// Nothing is verified here; a verifier does. Of two parts about one authority the later counts.
///
/// # Errors
/// [`IssueError`], over 64 KiB included.
pub fn issue(parts: Parts) -> Result<Receipt, IssueError> {
    let mut authorities = Sorted::new();
    for part in parts.authorities {
        authorities.set(AuthorityProof {
            index: part.index,
            state: part.state.map(FramedAuthState::new).transpose()?,
            proof: part.proof,
        })?;
    }
    let extra = Extra {
        version: Only,
        leaf: Framed::decode(&parts.leaf)?,
        body: parts.signed.body,
        signature: parts.signed.signature,
        record_index: parts.signed.record_index,
        record_path: parts.signed.record_path,
        trailer: Framed::decode(&parts.trailer)?,
        trailer_path: parts.trailer_path,
        doc: parts.doc.map(Framed::new).transpose()?,
        doc_proof: parts.doc_proof,
        key: Framed::new(parts.key)?,
        key_proof: parts.key_proof,
        authorities,
        openings: List::new(),
        details: Sorted::new(),
        related: List::try_from(parts.related)?,
        handovers: List::try_from(parts.handovers)?,
        consistency: parts.consistency,
    };
    Ok(Receipt::new(extra, parts.index, parts.path, parts.note)?.bounded()?)
}
