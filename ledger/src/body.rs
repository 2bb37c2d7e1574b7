//! A block's body: submissions, then evidence (formats.md, section 4).

use crate::codec::{self, DecodeError};
use crate::evidence::Evidence;
use crate::hash::{Hash, ItemId, sha256};
use crate::log;
use crate::submission::{MAX_SUBMISSION, Submission, SubmissionError};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// Longest encoded body, in bytes, over its items' lengths.
pub const MAX_BODY: usize = 5 * 1024 * 1024;
const MAX_ITEMS: usize = 65_536;

/// One item as it travels: kind byte (1 submission, 2 evidence) ‖ complete bytes. This is the body tree's leaf data.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ItemBytes(codec::Bytes<{ MAX_SUBMISSION + 1 }>);

impl ItemBytes {
    /// A submission as an item.
    pub fn submission(submission: &Submission) -> Self {
        let bytes = [&[1], submission.encoded()].concat();
        Self(codec::Bytes::try_from(bytes).unwrap_or_default())
    }

    /// Evidence as an item.
    pub fn evidence(evidence: &Evidence) -> Self {
        let mut bytes = alloc::vec![2];
        codec::write_to(&mut bytes, evidence);
        Self(codec::Bytes::try_from(bytes).unwrap_or_default())
    }

    /// Kind byte and complete bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 of kind byte ‖ complete bytes.
    pub fn id(&self) -> ItemId {
        ItemId(sha256(&[&self.0]))
    }

    /// Decodes the item.
    ///
    /// # Errors
    /// [`BodyError`] if kind or bytes are not canonical.
    pub fn parse(&self) -> Result<Item, BodyError> {
        match self.0.split_first() {
            Some((1, bytes)) => Ok(Item::Submission(Submission::decode(bytes)?)),
            Some((2, bytes)) => Ok(Item::Evidence(codec::decode(bytes, Evidence::LEN)?)),
            _ => Err(BodyError::Kind),
        }
    }
}

/// A decoded item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A registrar's signed batch; its signature is not checked yet.
    Submission(Submission),
    /// Two conflicting votes; their signatures are not checked yet.
    Evidence(Evidence),
}

/// A body as it travels and is stored: the items' bytes in order, submissions before evidence.
#[derive(Clone, Debug, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Body {
    items: codec::List<ItemBytes, MAX_ITEMS>,
}

/// Why bytes are no body: a bad delivery, to be fetched again elsewhere, never a reason to call a block invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not canonical.
    #[error("body is not canonical")]
    Decode(#[from] DecodeError),
    /// A submission is malformed.
    #[error("body holds a malformed submission")]
    Submission(#[from] SubmissionError),
    /// An unknown kind of item.
    #[error("body holds an item of unknown kind")]
    Kind,
    /// Evidence comes before a submission.
    #[error("body holds evidence before a submission")]
    Order,
}

/// A length at the front of `bytes`, and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    let number = usize::try_from(u32::from_le_bytes(*number)).ok()?;
    Some((number, rest))
}

impl Body {
    /// Puts items together; `None` if there are over 65,536.
    pub fn new(items: Vec<ItemBytes>) -> Option<Self> {
        items.try_into().ok().map(|items| Self { items })
    }

    /// The items' bytes in order.
    pub fn items(&self) -> &[ItemBytes] {
        &self.items
    }

    /// Decodes a body's container; [`Body::parse`] decodes the items.
    ///
    /// # Errors
    /// [`BodyError::Decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        Ok(codec::decode(bytes, MAX_BODY)?)
    }

    /// The items of an encoded body in order, not copied and not decoded; `None` if the container is not canonical.
    pub fn cut(bytes: &[u8]) -> Option<Vec<&[u8]>> {
        let (count, mut rest) = number(bytes)?;
        if bytes.len() > MAX_BODY || count > MAX_ITEMS {
            return None;
        }
        let mut items = Vec::new();
        for _ in 0..count {
            let (length, behind) = number(rest)?;
            if length > MAX_SUBMISSION.saturating_add(1) {
                return None;
            }
            let (item, behind) = behind.split_at_checked(length)?;
            items.push(item);
            rest = behind;
        }
        rest.is_empty().then_some(items)
    }

    /// The encoded body that these items make up; what [`Body::cut`] undoes. At most 65,536 are taken.
    pub fn join(items: &[&[u8]]) -> Vec<u8> {
        let items = items.get(..MAX_ITEMS).unwrap_or(items);
        let mut bytes = Vec::new();
        codec::write_to(&mut bytes, items);
        bytes
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// RFC 9162 root over the items; leaf data = kind byte ‖ complete bytes.
    pub fn root(&self) -> Hash {
        let mut tree = log::Frontier::new();
        for item in &self.items {
            tree.push(log::leaf_hash(item.as_bytes()));
        }
        tree.root()
    }

    /// Sum of the leaf data lengths, in bytes: the header's `body_len`.
    pub fn len(&self) -> u64 {
        self.items
            .iter()
            .map(|item| item.as_bytes().len() as u64)
            .sum()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Decodes every item.
    ///
    /// # Errors
    /// [`BodyError`] names the first offence.
    pub fn parse(&self) -> Result<Vec<Item>, BodyError> {
        let mut items = Vec::with_capacity(self.items.len());
        let mut evidence_seen = false;
        for item in &self.items {
            let item = item.parse()?;
            match &item {
                Item::Submission(_) if evidence_seen => return Err(BodyError::Order),
                Item::Submission(_) => {}
                Item::Evidence(_) => evidence_seen = true,
            }
            items.push(item);
        }
        Ok(items)
    }
}
