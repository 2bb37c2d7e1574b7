//! Submissions: a registrar's signed batch of records, accepted whole or not at all (formats.md, 3.3).
//!
//! [`Submission`] is decoded and its records fit the signed root; [`VerifiedSubmission`] is one whose
//! signature was checked under ZIP-215. Whether the state admits it is [`crate::rules`]' matter.

use crate::codec::{self, DecodeError};
use crate::hash::{ChainId, Hash, ItemId, SubmissionHash, Tag, sha256};
use crate::id::{AuthorityIndex, TimeMs};
use crate::key::{BadSignature, Key, Signature, SigningKey};
use crate::log;
use crate::record::Record;
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// Most records of one submission.
pub const MAX_RECORDS: usize = 10_000;
/// Longest validity window, in milliseconds (24 hours).
pub const MAX_WINDOW_MS: u64 = 24 * 60 * 60 * 1000;
/// Longest submission, in bytes: the largest hard limit that a genesis may set for a block.
pub const MAX_SUBMISSION: usize = 4 * 1024 * 1024;

/// The signed part: 119 bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SubmissionBody {
    /// The chain it is for.
    pub chain: ChainId,
    /// The acting authority.
    pub authority: AuthorityIndex,
    /// The signing key: registrar, admin or validator, by record.
    pub key: Key,
    /// Earliest block time that may include it.
    pub not_before_ms: TimeMs,
    /// Latest block time that may include it, at most 24 hours later.
    pub not_after_ms: TimeMs,
    /// Number of records, 1 to 10,000.
    pub count: u32,
    /// RFC 9162 root over the records, leaf data = `record` tag ‖ record bytes.
    pub records_root: Hash,
}

impl SubmissionBody {
    /// Length of every encoded body, in bytes.
    pub const LEN: usize = 32 + 2 + 33 + 8 + 8 + 4 + 32;

    /// What is signed: `submission` tag ‖ body.
    pub fn sign_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::from(Tag::Submission.bytes());
        codec::write_to(&mut bytes, self);
        bytes
    }

    /// SHA-256 of the tagged body.
    pub fn hash(&self) -> SubmissionHash {
        SubmissionHash(Tag::Submission.hash(&[&codec::encode(self)]))
    }
}

/// Leaf data of a record in its submission's tree: `record` tag ‖ record bytes.
pub fn record_leaf(record: &[u8]) -> Vec<u8> {
    [Tag::Record.bytes(), record].concat()
}

/// A decoded submission: its form is right and its records are those that the body's root names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    body: SubmissionBody,
    records: Vec<Record>,
    signature: Signature,
    encoded: Vec<u8>,
}

/// Why bytes are no submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionError {
    /// The bytes are not canonical.
    #[error("submission is not canonical")]
    Decode(#[from] DecodeError),
    /// Not 1 to 10,000 records.
    #[error("a submission has 1 to {MAX_RECORDS} records, not {0}")]
    Count(u64),
    /// The window ends before it begins or is longer than 24 hours.
    #[error("validity window from {not_before} to {not_after} ms is empty or over 24 hours")]
    Window {
        /// Its begin.
        not_before: TimeMs,
        /// Its end.
        not_after: TimeMs,
    },
    /// A record is over its limit.
    #[error("record {at} has {length} bytes, over the limit of {limit}")]
    RecordLength {
        /// Position in the submission.
        at: usize,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The records are not those of the signed root.
    #[error("records do not fit the signed records root")]
    Root,
}

impl Submission {
    /// Decodes the complete bytes and checks count, window, record lengths and records root.
    ///
    /// # Errors
    /// [`SubmissionError`] names the first fault. The signature is not checked yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, SubmissionError> {
        let mut rest = bytes;
        let body: SubmissionBody = codec::decode_prefix(&mut rest, MAX_SUBMISSION)?;
        check_body(&body)?;
        let count = usize::try_from(body.count).unwrap_or(usize::MAX);
        let mut records = Vec::with_capacity(count.min(rest.len() / 8));
        let mut tree = log::Frontier::new();
        for at in 0..count {
            let before = rest;
            let record: Record = codec::decode_prefix(&mut rest, MAX_SUBMISSION)?;
            let length = before.len().saturating_sub(rest.len());
            let limit = Record::max_len(record.code());
            if length > limit {
                return Err(SubmissionError::RecordLength { at, length, limit });
            }
            let encoded = before.get(..length).unwrap_or_default();
            tree.push(log::leaf_hash(&record_leaf(encoded)));
            records.push(record);
        }
        let signature: Signature = codec::decode(rest, rest.len())?;
        if tree.root() != body.records_root {
            return Err(SubmissionError::Root);
        }
        Ok(Self {
            body,
            records,
            signature,
            encoded: bytes.to_vec(),
        })
    }

    /// Makes and signs a submission.
    ///
    /// # Errors
    /// [`SubmissionError`] if the records or the window break a bound.
    pub fn sign(draft: Draft, key: &SigningKey) -> Result<VerifiedSubmission, SubmissionError> {
        let Draft {
            chain,
            authority,
            not_before_ms,
            not_after_ms,
            records,
        } = draft;
        let mut tree = log::Frontier::new();
        let mut encoded_records = Vec::new();
        for (at, record) in records.iter().enumerate() {
            let bytes = record.encode();
            let limit = Record::max_len(record.code());
            if bytes.len() > limit {
                return Err(SubmissionError::RecordLength {
                    at,
                    length: bytes.len(),
                    limit,
                });
            }
            tree.push(log::leaf_hash(&record_leaf(&bytes)));
            encoded_records.extend_from_slice(&bytes);
        }
        let body = SubmissionBody {
            chain,
            authority,
            key: key.key(),
            not_before_ms,
            not_after_ms,
            count: u32::try_from(records.len()).unwrap_or(u32::MAX),
            records_root: tree.root(),
        };
        check_body(&body)?;
        let signature = key.sign(&body.sign_bytes());
        let mut encoded = codec::encode(&body);
        encoded.extend_from_slice(&encoded_records);
        codec::write_to(&mut encoded, &signature);
        if encoded.len() > MAX_SUBMISSION {
            let over = DecodeError::TooLong {
                length: encoded.len(),
                limit: MAX_SUBMISSION,
            };
            return Err(SubmissionError::Decode(over));
        }
        Ok(VerifiedSubmission(Self {
            body,
            records,
            signature,
            encoded,
        }))
    }

    /// The signed part.
    pub const fn body(&self) -> &SubmissionBody {
        &self.body
    }

    /// The records in order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The signature over the body.
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The complete bytes.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Hash of the signed part: names the submission on the chain.
    pub fn hash(&self) -> SubmissionHash {
        self.body.hash()
    }

    /// SHA-256(01 ‖ complete bytes): names the item in gossip.
    pub fn item_id(&self) -> ItemId {
        ItemId(sha256(&[&[1], &self.encoded]))
    }

    /// Checks the signature under ZIP-215.
    ///
    /// # Errors
    /// [`BadSignature`] with the key that was claimed.
    pub fn verify(self) -> Result<VerifiedSubmission, BadSignature> {
        self.body
            .key
            .verify_zip215(&self.body.sign_bytes(), &self.signature)?;
        Ok(VerifiedSubmission(self))
    }

    /// Checks many signatures, in one batch where all are good (same acceptance set, a fraction of the cost).
    /// The random numbers must be unpredictable to the signers.
    ///
    /// # Errors
    /// The position and error of the first submission that does not verify.
    pub fn verify_all<R: rand_core::CryptoRng>(
        all: Vec<Self>,
        rng: R,
    ) -> Result<Vec<VerifiedSubmission>, (usize, BadSignature)> {
        let mut batch = crate::key::Zip215Batch::new();
        for one in &all {
            batch.queue(&one.body.key, &one.body.sign_bytes(), &one.signature);
        }
        if batch.verify(rng).is_ok() {
            return Ok(all.into_iter().map(VerifiedSubmission).collect());
        }
        let check = |(at, one): (usize, Self)| one.verify().map_err(|error| (at, error));
        all.into_iter().enumerate().map(check).collect()
    }
}

fn check_body(body: &SubmissionBody) -> Result<(), SubmissionError> {
    let count = u64::from(body.count);
    if count == 0 || count > MAX_RECORDS as u64 {
        return Err(SubmissionError::Count(count));
    }
    let (not_before, not_after) = (body.not_before_ms, body.not_after_ms);
    match not_after.0.checked_sub(not_before.0) {
        Some(length) if length <= MAX_WINDOW_MS => Ok(()),
        _ => Err(SubmissionError::Window {
            not_before,
            not_after,
        }),
    }
}

/// What a submission is made of, before it is signed.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The chain.
    pub chain: ChainId,
    /// The acting authority.
    pub authority: AuthorityIndex,
    /// Earliest block time.
    pub not_before_ms: TimeMs,
    /// Latest block time, at most 24 hours later.
    pub not_after_ms: TimeMs,
    /// 1 to 10,000 records.
    pub records: Vec<Record>,
}

/// A submission whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedSubmission(Submission);

impl core::ops::Deref for VerifiedSubmission {
    type Target = Submission;
    fn deref(&self) -> &Submission {
        &self.0
    }
}

impl VerifiedSubmission {
    /// The submission.
    pub fn into_inner(self) -> Submission {
        self.0
    }
}
