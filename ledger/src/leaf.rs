//! The log's leaves: records, evidence, trailers (formats.md, section 4).
//!
//! A leaf is version 1, a kind byte, and its fields. The log hashes exactly these bytes.

use crate::codec::{self, DecodeError, refuse};
use crate::evidence::Evidence;
use crate::hash::{BlockHash, Hash, SetHash, SubmissionHash};
use crate::header::{Flags, Header};
use crate::id::{AuthorityIndex, Epoch, Height, TimeMs, ValidatorIndex};
use crate::key::Key;
use crate::log;
use crate::record::Record;
use alloc::vec::Vec;
use borsh::io::{Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};

/// Longest leaf, in bytes: what an entry bundle's u16 length can say.
pub const MAX_LEAF: usize = 65_535;
/// The one leaf version.
pub const LEAF_VERSION: u8 = 1;

/// Kind 1: one record with its block and submission.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct RecordLeaf {
    /// Its block.
    pub height: Height,
    /// Time of the block.
    pub time_ms: TimeMs,
    /// Who acts.
    pub authority: AuthorityIndex,
    /// The key that signed the submission.
    pub key: Key,
    /// The submission that it came in.
    pub submission: SubmissionHash,
    /// The record.
    pub record: Record,
}

/// Kind 2: the last leaf of every block; proves status root and validator sets. Equal to the header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Trailer {
    /// Epoch of the block.
    pub epoch: Epoch,
    /// SEAL and ANCHOR.
    pub flags: Flags,
    /// Its height.
    pub height: Height,
    /// Hash of the parent's header: this block's own commits to the log and so to this leaf.
    pub parent: BlockHash,
    /// Its time.
    pub time_ms: TimeMs,
    /// Who proposed it.
    pub proposer: ValidatorIndex,
    /// Hash of the epoch's validator set.
    pub validator_set: SetHash,
    /// Hash of the next epoch's set; zero exactly when not SEAL.
    pub next_set: SetHash,
    /// Root of the status map after the block.
    pub status_root: Hash,
}

/// Kind 3: two conflicting votes, recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EvidenceLeaf {
    /// Its block.
    pub height: Height,
    /// Time of the block.
    pub time_ms: TimeMs,
    /// The two votes.
    pub evidence: Evidence,
}

/// A leaf of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogLeaf {
    /// Kind 1.
    Record(RecordLeaf),
    /// Kind 2.
    Trailer(Trailer),
    /// Kind 3.
    Evidence(EvidenceLeaf),
}

impl LogLeaf {
    /// The bytes that the log hashes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Decodes a leaf strictly.
    ///
    /// # Errors
    /// [`DecodeError`], over 65,535 bytes and unknown versions and kinds included.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, MAX_LEAF)
    }

    /// RFC 9162 leaf hash.
    pub fn hash(&self) -> Hash {
        log::leaf_hash(&self.encode())
    }
}

impl RecordLeaf {
    /// Encodes the leaf of a record without taking it out of its submission.
    pub fn encode_parts(
        height: Height,
        time_ms: TimeMs,
        (authority, key, submission): (AuthorityIndex, &Key, &SubmissionHash),
        record: &Record,
    ) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(320);
        let head = (LEAF_VERSION, 1_u8, height, time_ms, authority);
        codec::write_to(&mut bytes, &(head, key, submission, record));
        bytes
    }
}

impl Trailer {
    /// The trailer that belongs to a header.
    pub const fn of(header: &Header) -> Self {
        Self {
            epoch: header.epoch,
            flags: header.flags,
            height: header.height,
            parent: header.parent,
            time_ms: header.time_ms,
            proposer: header.proposer,
            validator_set: header.validator_set,
            next_set: header.next_set,
            status_root: header.status_root,
        }
    }
}

impl BorshSerialize for LogLeaf {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        match self {
            Self::Record(leaf) => (LEAF_VERSION, 1_u8, leaf).serialize(writer),
            Self::Trailer(leaf) => (LEAF_VERSION, 2_u8, leaf).serialize(writer),
            Self::Evidence(leaf) => (LEAF_VERSION, 3_u8, leaf).serialize(writer),
        }
    }
}

impl BorshDeserialize for LogLeaf {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let (version, kind) = <(u8, u8)>::deserialize_reader(reader)?;
        match (version, kind) {
            (LEAF_VERSION, 1) => RecordLeaf::deserialize_reader(reader).map(Self::Record),
            (LEAF_VERSION, 2) => Trailer::deserialize_reader(reader).map(Self::Trailer),
            (LEAF_VERSION, 3) => EvidenceLeaf::deserialize_reader(reader).map(Self::Evidence),
            _ => Err(refuse("unknown leaf version or kind")),
        }
    }
}

impl BorshDeserialize for RecordLeaf {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let leaf = Self {
            height: Height::deserialize_reader(reader)?,
            time_ms: TimeMs::deserialize_reader(reader)?,
            authority: AuthorityIndex::deserialize_reader(reader)?,
            key: Key::deserialize_reader(reader)?,
            submission: SubmissionHash::deserialize_reader(reader)?,
            record: Record::deserialize_reader(reader)?,
        };
        if leaf.record.encode().len() <= Record::max_len(leaf.record.code()) {
            Ok(leaf)
        } else {
            Err(refuse("record of a leaf is over its limit"))
        }
    }
}

impl BorshDeserialize for Trailer {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let trailer = Self {
            epoch: Epoch::deserialize_reader(reader)?,
            flags: Flags::deserialize_reader(reader)?,
            height: Height::deserialize_reader(reader)?,
            parent: BlockHash::deserialize_reader(reader)?,
            time_ms: TimeMs::deserialize_reader(reader)?,
            proposer: ValidatorIndex::deserialize_reader(reader)?,
            validator_set: SetHash::deserialize_reader(reader)?,
            next_set: SetHash::deserialize_reader(reader)?,
            status_root: Hash::deserialize_reader(reader)?,
        };
        if trailer.flags.is_seal() == (trailer.next_set != SetHash::default()) {
            Ok(trailer)
        } else {
            Err(refuse(
                "next set of a trailer is zero exactly when not SEAL",
            ))
        }
    }
}
