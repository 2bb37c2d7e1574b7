//! Record leaves out of archived blocks, with the submission that each came in.
//!
//! A block is opened once for all that is wanted of it, and of its submissions only those that are asked
//! for are decoded; no more than one block is in memory at a time.

use super::ReceiptError;
use super::tree::SmallTree;
use crate::storage::archive;
use ledger::block::Block;
use ledger::body::Item;
use ledger::codec;
use ledger::hash::SubmissionHash;
use ledger::header::Header;
use ledger::id::{Height, LeafIndex};
use ledger::leaf::{LogLeaf, RecordLeaf, Trailer};
use ledger::log::{self, leaf_hash};
use ledger::receipt::SignedRecord;
use ledger::record::Record;
use ledger::submission::{MAX_SUBMISSION, Submission, SubmissionBody, record_leaf};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One record of the log.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Its leaf, as hashed.
    pub(crate) leaf: Vec<u8>,
    /// The record.
    pub(crate) record: Record,
    /// Its submission without its neighbours.
    pub(crate) signed: SignedRecord,
    /// The header of its block.
    pub(crate) header: Header,
}

/// What is wanted: log indices by the height of their block.
pub(crate) type Wanted = BTreeMap<Height, BTreeSet<LeafIndex>>;

/// Reads all that is wanted.
///
/// # Errors
/// [`ReceiptError`] if a block is not there or cannot be read, or has no record at an index.
pub(crate) fn read(
    archive: &archive::Reader,
    wanted: &Wanted,
) -> Result<HashMap<LeafIndex, Found>, ReceiptError> {
    let mut found = HashMap::new();
    for (height, indices) in wanted {
        let block = open(archive, *height)?;
        read_block(&block, indices, &mut found)?;
    }
    Ok(found)
}

/// The block of a height.
pub(crate) fn open(archive: &archive::Reader, height: Height) -> Result<Block, ReceiptError> {
    let payload = archive.read(height)?;
    let payload = payload.ok_or(ReceiptError::Missing(height))?;
    Block::decode(&payload.block).map_err(|_not| ReceiptError::Malformed(height))
}

/// The trailer leaf of a height's block, as hashed.
pub(super) fn trailer(archive: &archive::Reader, height: Height) -> Result<Vec<u8>, ReceiptError> {
    let payload = archive.read(height)?;
    let payload = payload.ok_or(ReceiptError::Missing(height))?;
    let header = payload.block.get(..Header::LEN).unwrap_or_default();
    let header: Header =
        codec::decode(header, Header::LEN).map_err(|_not| ReceiptError::Malformed(height))?;
    Ok(LogLeaf::Trailer(Trailer::of(&header)).encode())
}

fn read_block(
    block: &Block,
    wanted: &BTreeSet<LeafIndex>,
    found: &mut HashMap<LeafIndex, Found>,
) -> Result<(), ReceiptError> {
    let header = &block.header;
    let malformed = || ReceiptError::Malformed(header.height);
    let mut counts = Vec::with_capacity(block.body.items().len());
    for item in block.body.items() {
        counts.push(leaf_count(item.as_bytes()).ok_or_else(malformed)?);
    }
    // The trailer is the last leaf of the block.
    let leaves = counts
        .iter()
        .fold(1_u64, |sum, count| sum.saturating_add(*count));
    let mut first = LeafIndex(
        header
            .log_size
            .0
            .checked_sub(leaves)
            .ok_or_else(malformed)?,
    );
    for (item, count) in block.body.items().iter().zip(counts) {
        let end = first.saturating_add(count);
        let here: Vec<LeafIndex> = wanted.range(first..end).copied().collect();
        if !here.is_empty() {
            let Ok(Item::Submission(submission)) = item.parse() else {
                return Err(malformed());
            };
            let opened = Opened::new(&submission);
            for index in here {
                let at = index.0.saturating_sub(first.0);
                let one = opened.record(header, at).ok_or_else(malformed)?;
                found.insert(index, one);
            }
        }
        first = end;
    }
    let missing = wanted.iter().find(|index| !found.contains_key(index));
    missing.map_or(Ok(()), |index| Err(ReceiptError::NoRecord(*index)))
}

/// Leaves that an item appends to the log.
fn leaf_count(item: &[u8]) -> Option<u64> {
    let (kind, mut rest) = item.split_first()?;
    if *kind != 1 {
        return Some(1);
    }
    let body: SubmissionBody = codec::decode_prefix(&mut rest, MAX_SUBMISSION).ok()?;
    Some(body.count.into())
}

/// A submission with the tree of its records.
struct Opened<'a> {
    submission: &'a Submission,
    hash: SubmissionHash,
    tree: SmallTree,
}

impl<'a> Opened<'a> {
    fn new(submission: &'a Submission) -> Self {
        let hash = |record: &Record| leaf_hash(&record_leaf(&record.encode()));
        let leaves = submission.records().iter().map(hash).collect();
        Self {
            submission,
            hash: submission.hash(),
            tree: SmallTree::new(leaves),
        }
    }

    fn record(&self, header: &Header, at: u64) -> Option<Found> {
        let record = self.submission.records().get(usize::try_from(at).ok()?)?;
        let body = self.submission.body();
        let signer = (body.authority, &body.key, &self.hash);
        let Ok(path) = log::prove_inclusion(&self.tree, LeafIndex(at), self.tree.size());
        Some(Found {
            leaf: RecordLeaf::encode_parts(header.height, header.time_ms, signer, record),
            record: record.clone(),
            signed: SignedRecord {
                body: body.clone(),
                signature: *self.submission.signature(),
                record_index: u32::try_from(at).ok()?,
                record_path: path?,
            },
            header: header.clone(),
        })
    }
}
