//! What a receipt carries beside the C2SP proof: leaf, submission, states, openings, history of signers.
//!
//! Nothing in it is believed. Decoding says that the parts are canonical and within their bounds; that they
//! belong together and to the checkpoint is [`super::verify()`]'s matter.

use crate::codec::{self, Bytes, DecodeError, List, OverBound, Text, refuse};
use crate::document::{COMMITMENT_ALG, CommitmentRole, DETAIL_VALUE_MAX, Salt};
use crate::id::{AuthorityIndex, LeafIndex, TreeSize};
use crate::key::Signature;
use crate::leaf::{LogLeaf, MAX_LEAF};
use crate::log::Path;
use crate::note::MAX_NOTE;
use crate::state::{AuthState, DocState, KeyState, Keyed, MAX_STATE, Sorted};
use crate::submission::SubmissionBody;
use crate::trie::TrieProof;
use crate::validator_set::ValidatorSet;
use borsh::io::{Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use core::ops::Deref;

/// Most authorities whose names a receipt proves.
pub const MAX_AUTHORITY_PROOFS: usize = 8;
/// Most openings.
pub const MAX_OPENINGS: usize = 16;
/// Most revealed detail fields.
pub const MAX_DETAILS: usize = 16;
/// Most related documents: 16 parents and a successor.
pub const MAX_RELATED: usize = 17;
/// Most changes of the validator set between the trust and the receipt.
pub const MAX_HANDOVERS: usize = 64;
/// Longest encoded validator set, in bytes.
pub const MAX_SET: usize = 64 * 1024;

/// A value as bytes: u32 length ‖ its canonical encoding, at most `MAX` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed<T, const MAX: usize>(T);

impl<T: BorshSerialize, const MAX: usize> Framed<T, MAX> {
    /// Takes a value.
    ///
    /// # Errors
    /// [`OverBound`] if its encoding has more than `MAX` bytes.
    pub fn new(value: T) -> Result<Self, OverBound> {
        let length = codec::encode(&value).len();
        if length > MAX {
            return Err(OverBound { length, limit: MAX });
        }
        Ok(Self(value))
    }
}

impl<T: BorshSerialize + BorshDeserialize, const MAX: usize> Framed<T, MAX> {
    /// Decodes a value from its canonical encoding, without the length.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, MAX).map(Self)
    }
}

impl<T, const MAX: usize> Deref for Framed<T, MAX> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: BorshSerialize, const MAX: usize> BorshSerialize for Framed<T, MAX> {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        let bytes = Bytes::<MAX>::try_from(codec::encode(&self.0));
        bytes
            .map_err(|_over| refuse("a framed value is over its bound"))?
            .serialize(writer)
    }
}

impl<T: BorshSerialize + BorshDeserialize, const MAX: usize> BorshDeserialize for Framed<T, MAX> {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let bytes = Bytes::<MAX>::deserialize_reader(reader)?;
        Self::decode(&bytes).map_err(|_inner| refuse("a framed value is not canonical"))
    }
}

/// A leaf of the log: exactly the bytes that it hashes.
pub type FramedLeaf = Framed<LogLeaf, MAX_LEAF>;
/// A document's state.
pub type FramedDocState = Framed<DocState, MAX_STATE>;
/// A key's state.
pub type FramedKeyState = Framed<KeyState, MAX_STATE>;
/// An authority's state.
pub type FramedAuthState = Framed<AuthState, MAX_STATE>;
/// A validator set.
pub type FramedSet = Framed<ValidatorSet, MAX_SET>;

/// A byte that has one value in this version; every other is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Only<const VALUE: u8>;

impl<const VALUE: u8> BorshSerialize for Only<VALUE> {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        VALUE.serialize(writer)
    }
}

impl<const VALUE: u8> BorshDeserialize for Only<VALUE> {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        if u8::deserialize_reader(reader)? == VALUE {
            Ok(Self)
        } else {
            Err(refuse("unknown version or algorithm"))
        }
    }
}

/// An authority as the status map has it; no state = as in genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AuthorityProof {
    /// Which authority.
    pub index: AuthorityIndex,
    /// Its state, if the map has one.
    pub state: Option<FramedAuthState>,
    /// Presence of that state, or absence of any.
    pub proof: TrieProof,
}

impl Keyed for AuthorityProof {
    type Key = AuthorityIndex;
    fn key(&self) -> AuthorityIndex {
        self.index
    }
}

/// The Accept or Renew leaf of a later commitment, in the log of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LaterLeaf {
    /// Its index.
    pub index: LeafIndex,
    /// The leaf.
    pub leaf: FramedLeaf,
    /// Its inclusion path.
    pub path: Path,
}

/// What opens one commitment: role, salt and the file's hash. Holds a secret; whoever has it can show what was meant.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Opening {
    /// What the commitment is for.
    pub role: CommitmentRole,
    /// Commitment algorithm, 1.
    pub alg: Only<COMMITMENT_ALG>,
    /// The commitment's salt.
    pub salt: Salt,
    /// SHA-256 of the file's bytes.
    pub file: [u8; 32],
    /// Where a received or renewed commitment is; absent for internal and citizen, which the registration holds.
    pub at: Option<LaterLeaf>,
}

/// One field of the detail commitment, shown.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DetailReveal {
    /// Number of the field.
    pub k: u8,
    /// Its salt.
    pub salt: [u8; 32],
    /// Its value.
    pub value: Text<DETAIL_VALUE_MAX>,
    /// Path of the field's leaf in the tree of 16.
    pub path: Path,
}

impl Keyed for DetailReveal {
    type Key = u8;
    fn key(&self) -> u8 {
        self.k
    }
}

/// A parent or the successor: its registration in the log, and its state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Related {
    /// Index of its registration.
    pub index: LeafIndex,
    /// The registration leaf.
    pub leaf: FramedLeaf,
    /// Its inclusion path.
    pub path: Path,
    /// Its state; none = as registered.
    pub doc: Option<FramedDocState>,
    /// Presence of that state, or absence of any.
    pub proof: TrieProof,
}

/// A change of the validator set: the last checkpoint of the old set, and the new set that it names.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Handover {
    /// The SEAL checkpoint, cosigned by the old set.
    pub note: Bytes<MAX_NOTE>,
    /// The trailer of its block.
    pub trailer: FramedLeaf,
    /// Path of that trailer, the last leaf.
    pub path: Path,
    /// The set that the trailer's `next_set` hashes.
    pub set: FramedSet,
}

/// Shows that a pinned, larger tree extends the receipt's.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Consistency {
    /// Size of the larger tree.
    pub size: TreeSize,
    /// The consistency path from the receipt's size to it.
    pub path: Path,
}

/// Everything on the `extra` line, in the order of the format.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Extra {
    /// 1.
    pub version: Only<1>,
    /// The registration.
    pub leaf: FramedLeaf,
    /// Body of the submission that it came in.
    pub body: SubmissionBody,
    /// The registrar's signature over the body.
    pub signature: Signature,
    /// Position of the record in the submission.
    pub record_index: u32,
    /// Path of the record under the body's records root.
    pub record_path: Path,
    /// The trailer of the checkpoint's block.
    pub trailer: FramedLeaf,
    /// Path of the trailer, the last leaf.
    pub trailer_path: Path,
    /// The document's state; none = as registered.
    pub doc: Option<FramedDocState>,
    /// Presence of that state, or absence of any.
    pub doc_proof: TrieProof,
    /// State of the signing key.
    pub key: FramedKeyState,
    /// Its presence in the status map.
    pub key_proof: TrieProof,
    /// Names of authorities, the leaf's among them, ascending.
    pub authorities: Sorted<AuthorityProof, MAX_AUTHORITY_PROOFS>,
    /// What opens commitments.
    pub openings: List<Opening, MAX_OPENINGS>,
    /// Revealed fields, ascending.
    pub details: Sorted<DetailReveal, MAX_DETAILS>,
    /// Parents and successor.
    pub related: List<Related, MAX_RELATED>,
    /// Changes of the validator set, ascending by size.
    pub handovers: List<Handover, MAX_HANDOVERS>,
    /// For a reader whose pin is newer than the receipt.
    pub consistency: Option<Consistency>,
}
