//! What a peer's blocks must be before they are put into the archive. Pure.

use crate::range::Range;
use crate::storage::restarts::Restarts;
use consensus::message::SyncResp;
use consensus::{Block, Ed25519, EpochInfo, EpochSpec, Offence, VerifiedSync};
use ledger::block::{BadDelivery, Body};
use ledger::body::BodyError;
use ledger::certificate::Certificate;
use ledger::hash::{BlockHash, Hash};
use ledger::header::{Flags, Header};
use ledger::id::{Epoch, Height};
use ledger::tip::Founding;

/// What a peer gave.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With the certificate that its last block or header has.
    Certified(SyncResp),
    /// Without one, up to where a restart went on.
    Tail(Range),
}

impl Answer {
    /// The height that it begins with.
    pub fn first(&self) -> Option<Height> {
        let blocks = match self {
            Self::Certified(response) => response.blocks.first(),
            Self::Tail(range) => range.blocks.first(),
        };
        blocks.map(|block| block.header.height)
    }
}

impl From<Range> for Answer {
    fn from(range: Range) -> Self {
        let mut certificates = range.certificates.into_vec();
        match certificates.pop() {
            Some(certificate) => Self::Certified(SyncResp {
                blocks: range.blocks,
                headers: range.headers,
                certificate,
            }),
            None => Self::Tail(Range {
                certificates: ledger::codec::List::new(),
                ..range
            }),
        }
    }
}

/// Why blocks were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Bad {
    /// Nothing is known of the epoch whose certificate came.
    #[error("its certificate is of an epoch that is not known here")]
    Epoch,
    /// No certificate came, and neither a restart file nor an own block names its end.
    #[error("nothing that is known here makes its last block final")]
    Uncertified,
    /// Not certified, not linked.
    #[error(transparent)]
    Chain(#[from] Offence),
    /// Other blocks than were asked for.
    #[error("it begins with block {found}, not with {wanted}")]
    First {
        /// Height that was asked for.
        wanted: Height,
        /// Height that came.
        found: Height,
    },
    /// They do not follow the own block below.
    #[error("block {0} does not follow the own block below it")]
    Parent(Height),
    /// A body is not its header's.
    #[error("block {0}")]
    Body(Height, #[source] BadDelivery),
    /// A body does not decode.
    #[error("body of block {0}")]
    Decode(Height, #[source] BodyError),
}

/// What is wanted, and what the own blocks around it say.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The first block.
    pub first: Height,
    /// The last block of the hole.
    pub last: Height,
    /// Hash of the own block below the first, where it can be read.
    pub below: Option<BlockHash>,
    /// Hash of the last block as the own block above names it, where that can be read.
    pub above: Option<BlockHash>,
}

/// The wanted blocks of an answer, each with its finalization if it came along.
///
/// They are certified by a validator set of `epochs`; or they lead, by their hashes, to the block that a restart of the own
/// archive went on from, which its file makes final. Where neither is so, they are linked to the own block above, which was
/// certified when it was archived; then no block that ends an epoch is taken: it must be archived with its finalization, and
/// nobody here could tell whether that is one.
///
/// # Errors
/// [`Bad`]: but for [`Bad::Epoch`] and [`Bad::Uncertified`], the peer sent what no honest one sends.
pub fn blocks(
    answer: Answer,
    wanted: &Wanted,
    epochs: &[EpochInfo],
    restarts: &Restarts,
) -> Result<Vec<(Block, Option<Certificate>)>, Bad> {
    let blocks = match answer {
        Answer::Certified(response) => {
            let epoch = response.certificate.epoch();
            match epochs.iter().find(|known| known.epoch() == epoch) {
                Some(epoch) => {
                    let sync = VerifiedSync::verify(response, epoch, &Ed25519)?;
                    sync.into_finalized().collect()
                }
                None => linked(response.blocks.into_vec(), wanted).ok_or(Bad::Epoch)?,
            }
        }
        Answer::Tail(range) => tail(range, wanted, restarts)?,
    };
    let first = blocks.first().map(|(block, _)| &block.header);
    let found = first.map_or(Height(0), |header| header.height);
    if found != wanted.first {
        return Err(Bad::First {
            wanted: wanted.first,
            found,
        });
    }
    if wanted.below.is_some() && first.map(|header| header.parent) != wanted.below {
        return Err(Bad::Parent(found));
    }
    let mut all = blocks;
    all.retain(|(block, _)| block.header.height <= wanted.last);
    for (block, _) in &all {
        body(block)?;
    }
    Ok(all)
}

/// Blocks that lead to where a restart went on.
fn tail(
    range: Range,
    wanted: &Wanted,
    restarts: &Restarts,
) -> Result<Vec<(Block, Option<Certificate>)>, Bad> {
    let headers = range.blocks.iter().map(|block| &block.header);
    let headers: Vec<&Header> = headers.chain(&range.headers).collect();
    let end = headers.last().map(|header| header.block_ref());
    let is_final = end.is_some_and(|end| restarts.made_final(end));
    // Only the last block of an epoch may end it.
    let before_end = headers.len().saturating_sub(1);
    let seals = headers.iter().take(before_end);
    let whole = is_chain(&headers) && !seals.into_iter().any(|header| header.flags.is_seal());
    let blocks = range.blocks.into_vec();
    if whole && is_final {
        return Ok(blocks.into_iter().map(|block| (block, None)).collect());
    }
    linked(blocks, wanted).ok_or(Bad::Uncertified)
}

/// Blocks whose hashes lead to the own block above the hole.
fn linked(mut blocks: Vec<Block>, wanted: &Wanted) -> Option<Vec<(Block, Option<Certificate>)>> {
    blocks.retain(|block| block.header.height <= wanted.last);
    let headers: Vec<&Header> = blocks.iter().map(|block| &block.header).collect();
    let end = headers.last()?.block_ref();
    if headers.iter().any(|header| header.flags.is_seal()) {
        return None;
    }
    let reaches = end.height == wanted.last && Some(end.hash) == wanted.above;
    (is_chain(&headers) && reaches).then(|| blocks.into_iter().map(|block| (block, None)).collect())
}

fn is_chain(headers: &[&Header]) -> bool {
    let mut pairs = headers.iter().zip(headers.iter().skip(1));
    pairs.all(|(below, header)| {
        header.parent == below.hash() && below.height.next() == Some(header.height)
    })
}

/// A body must be that of its header: length and root.
fn body(block: &Block) -> Result<(), Bad> {
    let height = block.header.height;
    let body = Body::decode(&block.body).map_err(|error| Bad::Decode(height, error))?;
    let checked = ledger::block::check_delivery(&block.header, &body);
    checked.map_err(|error| Bad::Body(height, error))
}

/// The first epoch, which the genesis alone defines.
pub fn first_epoch(founding: &Founding) -> EpochInfo {
    EpochInfo::new(EpochSpec {
        chain: founding.chain(),
        epoch: Epoch(0),
        set: founding.set().clone(),
        anchor: consensus::Tip {
            block: founding.tip().block_ref(),
            time_ms: founding.tip().time_ms,
            flags: Flags::NONE,
        },
        restart: Hash::ZERO,
    })
}
