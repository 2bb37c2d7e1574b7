//! What a peer's blocks must be before they are put into the archive. Pure.

use consensus::message::SyncResp;
use consensus::{Block, Ed25519, EpochInfo, EpochSpec, Offence, VerifiedSync};
use ledger::block::{BadDelivery, Body};
use ledger::body::BodyError;
use ledger::certificate::Certificate;
use ledger::hash::{BlockHash, Hash};
use ledger::header::Flags;
use ledger::id::{Epoch, Height};
use ledger::tip::Founding;

/// Why blocks were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Bad {
    /// Nothing is known of the epoch whose certificate came.
    #[error("its certificate is of an epoch that is not known here")]
    Epoch,
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
/// They are certified by a validator set of `epochs`; or, where the certificate's epoch is not among them, linked by their
/// hashes to the own block above, which was certified when it was archived. So no block that ends an epoch is taken: it
/// must be archived with its finalization, and nobody here could tell whether that is one.
///
/// # Errors
/// [`Bad`]: but for [`Bad::Epoch`], the peer sent what no honest one sends.
pub fn blocks(
    response: SyncResp,
    wanted: &Wanted,
    epochs: &[EpochInfo],
) -> Result<Vec<(Block, Option<Certificate>)>, Bad> {
    let epoch = response.certificate.epoch();
    let blocks = match epochs.iter().find(|known| known.epoch() == epoch) {
        Some(epoch) => {
            let sync = VerifiedSync::verify(response, epoch, &Ed25519)?;
            sync.into_finalized().collect()
        }
        None => linked(response, wanted).ok_or(Bad::Epoch)?,
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

/// Blocks whose hashes lead to the own block above the hole.
fn linked(response: SyncResp, wanted: &Wanted) -> Option<Vec<(Block, Option<Certificate>)>> {
    let mut blocks = response.blocks.into_vec();
    blocks.retain(|block| block.header.height <= wanted.last);
    let end = blocks.last()?.block_ref();
    if blocks.iter().any(|block| block.header.flags.is_seal()) {
        return None;
    }
    let follows = |(below, block): (&Block, &Block)| {
        block.header.parent == below.hash()
            && below.header.height.next() == Some(block.header.height)
    };
    let chain = blocks.iter().zip(blocks.iter().skip(1)).all(follows);
    let reaches = end.height == wanted.last && Some(end.hash) == wanted.above;
    (chain && reaches).then(|| blocks.into_iter().map(|block| (block, None)).collect())
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
