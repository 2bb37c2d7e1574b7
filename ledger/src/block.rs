//! A block with its body: whole, opened, and checked as far as the state is not needed.
//!
//! [`CheckedBody::receive`] draws the line between a *bad delivery* (the bytes are not this header's
//! body: fetch it elsewhere) and an *invalid block* (they are, and break a rule).

pub use crate::body::Body;

use crate::admission::{CheckedItem, CheckedSubmission};
use crate::body::{BodyError, Item, MAX_BODY};
use crate::codec::{self, DecodeError};
use crate::execute::Fault;
use crate::hash::{Hash, ItemId};
use crate::header::Header;
use crate::leaf::{EvidenceLeaf, LogLeaf, RecordLeaf, Trailer};
use crate::refusal::{Refusal, Refused};
use crate::submission::Submission;
use crate::tip::{EpochInfo, Founding};
use alloc::sync::Arc;
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// A block as it is stored and sent: header ‖ body.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// The header; its hash names the block.
    pub header: Header,
    /// The items' bytes.
    pub body: Body,
}

impl Block {
    /// Most bytes of an encoded block.
    pub const MAX_LEN: usize = Header::LEN + MAX_BODY;

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Decodes header and body container strictly; the items stay bytes.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, Self::MAX_LEN)
    }

    /// The leaves that a *valid* block appended to the log, in order: from its own bytes alone.
    ///
    /// # Errors
    /// [`BodyError`] if an item does not decode.
    pub fn leaves(&self) -> Result<Vec<Vec<u8>>, BodyError> {
        let (height, time_ms) = (self.header.height, self.header.time_ms);
        let mut leaves = Vec::new();
        for item in self.body.parse()? {
            match item {
                Item::Submission(submission) => {
                    let (body, hash) = (submission.body(), submission.hash());
                    let signer = (body.authority, &body.key, &hash);
                    let records = submission.records().iter();
                    leaves.extend(
                        records.map(|record| {
                            RecordLeaf::encode_parts(height, time_ms, signer, record)
                        }),
                    );
                }
                Item::Evidence(evidence) => leaves.push(
                    LogLeaf::Evidence(EvidenceLeaf {
                        height,
                        time_ms,
                        evidence,
                    })
                    .encode(),
                ),
            }
        }
        leaves.push(LogLeaf::Trailer(Trailer::of(&self.header)).encode());
        Ok(leaves)
    }
}

/// Items that are right in themselves, in the order of a body, with what the header says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedBody {
    items: Vec<CheckedItem>,
    len: u32,
    root: Hash,
}

/// Bytes that are not the body of this header: says nothing about the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDelivery {
    /// They have another length.
    #[error("body has {found} bytes of items, its header says {expected}")]
    Length {
        /// Sum of the items' lengths.
        found: u64,
        /// The header's `body_len`.
        expected: u32,
    },
    /// They have another root.
    #[error("body has root {found}, its header says {expected}")]
    Root {
        /// Root of the items.
        found: Hash,
        /// The header's `body_root`.
        expected: Hash,
    },
    /// They are not canonical.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// Why a body was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// Fetch it elsewhere.
    #[error("bad delivery: {0}")]
    BadDelivery(#[from] BadDelivery),
    /// The block is invalid, for ever.
    #[error("invalid block: {0}")]
    Invalid(#[from] Fault),
}

impl From<BodyError> for ReceiveError {
    fn from(error: BodyError) -> Self {
        Self::BadDelivery(error.into())
    }
}

impl CheckedBody {
    /// Puts checked items together: submissions as given, evidence behind them. `None` if over 65,536.
    pub fn assemble(items: Vec<CheckedItem>) -> Option<Self> {
        let (submissions, evidence): (Vec<_>, Vec<_>) = items
            .into_iter()
            .partition(|item| matches!(item, CheckedItem::Submission(_)));
        let items = [submissions, evidence].concat();
        let body = body_of(&items)?;
        Some(Self {
            items,
            len: u32::try_from(body.len()).unwrap_or(u32::MAX),
            root: body.root(),
        })
    }

    /// Opens what was delivered as the body of `header` and checks its items, all but the state.
    ///
    /// `known` looks a submission up that was checked before; `rng` must be unpredictable to signers.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub fn receive<R: rand_core::CryptoRng>(
        founding: &Founding,
        epoch: &EpochInfo,
        header: &Header,
        body: &Body,
        mut known: impl FnMut(&ItemId) -> Option<Arc<CheckedSubmission>>,
        rng: R,
    ) -> Result<Self, ReceiveError> {
        check_delivery(header, body)?;
        let mut slots = Vec::with_capacity(body.items().len());
        let mut fresh: Vec<(usize, Submission)> = Vec::new();
        let mut evidence_seen = false;
        for (at, bytes) in body.items().iter().enumerate() {
            if let Some(submission) = known(&bytes.id()) {
                if evidence_seen {
                    return Err(BodyError::Order.into());
                }
                slots.push(Some(CheckedItem::Submission(submission)));
                continue;
            }
            match bytes.parse()? {
                Item::Submission(_) if evidence_seen => return Err(BodyError::Order.into()),
                Item::Submission(submission) => {
                    fresh.push((at, submission));
                    slots.push(None);
                }
                Item::Evidence(evidence) => {
                    evidence_seen = true;
                    let item = CheckedItem::check(founding, epoch, Item::Evidence(evidence));
                    slots.push(Some(item.map_err(|refused| Fault::Item { at, refused })?));
                }
            }
        }
        verify_fresh(founding, fresh, &mut slots, rng)?;
        Ok(Self {
            items: slots.into_iter().flatten().collect(),
            len: header.body_len,
            root: header.body_root,
        })
    }

    /// The items in order.
    pub fn items(&self) -> &[CheckedItem] {
        &self.items
    }

    /// Sum of the items' lengths, in bytes: the header's `body_len`.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The header's `body_root`.
    pub const fn root(&self) -> Hash {
        self.root
    }

    /// The body as it travels.
    pub fn to_body(&self) -> Body {
        body_of(&self.items).expect("items were counted when they were put together or received")
    }
}

fn body_of(items: &[CheckedItem]) -> Option<Body> {
    Body::new(items.iter().map(CheckedItem::bytes).collect())
}

/// Whether a body is that of its header: length and root.
///
/// # Errors
/// [`BadDelivery`] says nothing about the block.
pub fn check_delivery(header: &Header, body: &Body) -> Result<(), BadDelivery> {
    let (found, expected) = (body.len(), header.body_len);
    if found != u64::from(expected) {
        return Err(BadDelivery::Length { found, expected });
    }
    let (found, expected) = (body.root(), header.body_root);
    if found != expected {
        return Err(BadDelivery::Root { found, expected });
    }
    Ok(())
}

/// Verifies the submissions that were not known, in one batch, and puts them into their places.
fn verify_fresh<R: rand_core::CryptoRng>(
    founding: &Founding,
    fresh: Vec<(usize, Submission)>,
    slots: &mut [Option<CheckedItem>],
    rng: R,
) -> Result<(), Fault> {
    let (places, fresh): (Vec<usize>, Vec<Submission>) = fresh.into_iter().unzip();
    let verified = Submission::verify_all(fresh, rng).map_err(|(at, error)| Fault::Item {
        at: places.get(at).copied().unwrap_or(at),
        refused: Refusal::from(error).into(),
    })?;
    for (at, submission) in places.into_iter().zip(verified) {
        let checked = CheckedSubmission::new(founding, submission);
        let checked = checked.map_err(|refused: Refused| Fault::Item { at, refused })?;
        if let Some(slot) = slots.get_mut(at) {
            *slot = Some(checked.into());
        }
    }
    Ok(())
}
