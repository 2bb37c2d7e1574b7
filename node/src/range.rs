//! Consecutive final blocks on their way from one node's archive to another's: how they are put together, and how they
//! are believed.
//!
//! Pure functions. A range proves itself: its headers are one chain, and finalizations of an epoch's quorum cover all
//! of it ([`certify`]); then its bodies are the headers' and every signature in them is good ([`open`]). Nothing else
//! is believed of the peer that sent it. A range never goes past the block that ends an epoch. If a restart ended it, the
//! last blocks have no finalization: that file, which the reader must know, makes them final.

use crate::admission;
use crate::storage::restarts::Restarts;
use borsh::{BorshDeserialize, BorshSerialize};
use consensus::Block;
use ledger::admission::CheckedSubmission;
use ledger::block::{Body, CheckedBody, ReceiveError};
use ledger::body::Item;
use ledger::certificate::{Certificate, CertificateError};
use ledger::codec::List;
use ledger::hash::ItemId;
use ledger::header::{BlockRef, Header};
use ledger::id::Height;
use ledger::submission::Submission;
use ledger::tip::{EpochInfo, Founding};
use ledger::vote::VoteKind;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most blocks of a range.
pub const MAX_BLOCKS: usize = 1_024;
/// Most headers that lead on from the last block to one that is certified.
pub const MAX_HEADERS: usize = 64;
/// Most finalizations of a range.
pub const MAX_CERTIFICATES: usize = 64;
/// Bytes of blocks after which a range ends, but for a single larger block.
pub const MAX_BYTES: usize = 2 << 20;
/// So many blocks apart finalizations are carried, so that whoever keeps them can prove any block by few headers.
const SPACING: usize = 32;
/// Submissions whose signatures are checked in one batch.
const BATCH: usize = 512;

/// Asks for final blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RangeReq {
    /// First height wanted.
    pub from: Height,
    /// Blocks wanted; more may come if the last is not certified.
    pub count: u32,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Range {
    /// At least one, consecutive.
    pub blocks: List<Block, MAX_BLOCKS>,
    /// What leads on to the block that the last finalization is of; empty if that is the last block.
    pub headers: List<Header, MAX_HEADERS>,
    /// Finalizations of blocks of the range, ascending; the last is of its last block or header. None if a restart went on
    /// from that one.
    pub certificates: List<Certificate, MAX_CERTIFICATES>,
}

/// Blocks that a quorum finalized, each with its own finalization where the range had one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    blocks: Vec<(Block, Option<Certificate>)>,
}

/// The same with their bodies opened: every item is right in itself.
#[derive(Debug)]
pub struct Opened {
    /// In order.
    pub blocks: Vec<OpenedBlock>,
}

/// One block of it.
#[derive(Debug)]
pub struct OpenedBlock {
    /// As it came.
    pub block: Block,
    /// Its items.
    pub body: CheckedBody,
    /// Its own finalization, if it came along.
    pub finalization: Option<Certificate>,
}

/// What no honest node sends.
#[derive(Debug, thiserror::Error)]
pub enum RangeFault {
    /// There is no block in it.
    #[error("the range has no block")]
    Empty,
    /// It begins elsewhere.
    #[error("the range begins at block {found}, asked for was {expected}")]
    Start {
        /// Where it begins.
        found: Height,
        /// Where it should.
        expected: Height,
    },
    /// Its headers are no chain.
    #[error("block {0} of the range does not follow from the one before")]
    Link(Height),
    /// A block of another epoch, or one behind the end of the epoch.
    #[error("block {0} of the range is of another epoch")]
    Epoch(Height),
    /// Its last link is not finalized by its last certificate.
    #[error("the end of the range is not certified")]
    NotCertified,
    /// A finalization in it is of no block of it, or out of order.
    #[error("a certificate of the range is of no block of it")]
    Stray,
    /// A finalization does not verify.
    #[error("a certificate of the range does not verify")]
    Certificate(#[from] CertificateError),
    /// A body is not its header's.
    #[error("the body of block {height} is not right")]
    Body {
        /// Of which block.
        height: Height,
        /// Why.
        #[source]
        source: ReceiveError,
    },
}

impl Range {
    /// Puts an answer together from archive frames: blocks in height order from the first wanted on, each with its own
    /// finalization where it has one. Ends with the epoch's last block.
    ///
    /// `None` if there is no block, or nothing that certifies one: the asker turns elsewhere.
    pub fn collect(
        count: u32,
        frames: impl IntoIterator<Item = (Block, Option<Certificate>)>,
    ) -> Option<Self> {
        let wanted = usize::try_from(count)
            .unwrap_or(MAX_BLOCKS)
            .clamp(1, MAX_BLOCKS);
        let mut taken = Taken::default();
        let mut epoch = None;
        for (block, certificate) in frames {
            let before = epoch.replace(block.header.epoch);
            if before.is_some_and(|before| before != block.header.epoch) {
                // If nothing of it is certified, then a restart went on here.
                return if taken.certified > 0 {
                    taken.up_to_certified()
                } else {
                    taken.range()
                };
            }
            let size = Header::LEN.saturating_add(block.body.len());
            let fits = taken.bytes.saturating_add(size) <= MAX_BYTES;
            let enough = taken.blocks.len() >= wanted && taken.certified > 0;
            let full = enough || !fits || taken.blocks.len() >= MAX_BLOCKS;
            if taken.headers.is_empty() && (taken.blocks.is_empty() || !full) {
                taken.block(block, size, certificate);
                continue;
            }
            if taken.certified > 0 || taken.headers.len() >= MAX_HEADERS {
                break;
            }
            taken.headers.push(block.header);
            if let Some(certificate) = certificate {
                taken.last = Some(certificate);
                return taken.led_on();
            }
        }
        taken.up_to_certified()
    }
}

/// A range that is being put together.
#[derive(Default)]
struct Taken {
    blocks: Vec<Block>,
    headers: Vec<Header>,
    picked: Vec<Certificate>,
    /// Blocks up to the last picked certificate.
    picked_at: usize,
    /// The newest certificate of a block, if it is not picked.
    last: Option<Certificate>,
    /// Blocks up to the newest certificate.
    certified: usize,
    bytes: usize,
}

impl Taken {
    fn block(&mut self, block: Block, size: usize, certificate: Option<Certificate>) {
        self.bytes = self.bytes.saturating_add(size);
        self.blocks.push(block);
        let Some(certificate) = certificate else {
            return;
        };
        self.certified = self.blocks.len();
        if self.certified.saturating_sub(self.picked_at) >= SPACING {
            self.picked_at = self.certified;
            self.picked.push(certificate);
            self.last = None;
        } else {
            self.last = Some(certificate);
        }
    }

    fn up_to_certified(mut self) -> Option<Range> {
        self.blocks.truncate(self.certified);
        self.headers.clear();
        self.led_on()
    }

    fn led_on(mut self) -> Option<Range> {
        self.picked.extend(self.last.take());
        if self.picked.is_empty() {
            return None;
        }
        self.range()
    }

    fn range(self) -> Option<Range> {
        if self.blocks.is_empty() {
            return None;
        }
        Some(Range {
            blocks: self.blocks.try_into().ok()?,
            headers: self.headers.try_into().ok()?,
            certificates: self.picked.try_into().ok()?,
        })
    }
}

impl Range {
    /// The last block or header, which something must make final.
    pub fn end(&self) -> Option<BlockRef> {
        let last = self.blocks.last().map(|block| &block.header);
        self.headers.last().or(last).map(Header::block_ref)
    }

    /// Whether its last finalization is said to be of its end.
    pub fn is_led_to_its_end(&self) -> bool {
        let last = self.certificates.last().map(Certificate::block);
        last.is_some() && last == self.end()
    }
}

/// Checks that a range is what its epoch's quorum finalized, or what a known restart made final: headers and certificates
/// only.
///
/// # Errors
/// [`RangeFault`].
pub fn certify(
    range: Range,
    from: Height,
    epoch: &EpochInfo,
    restarts: &Restarts,
) -> Result<Certified, RangeFault> {
    let first = range.blocks.first().ok_or(RangeFault::Empty)?;
    let found = first.header.height;
    if found != from {
        let expected = from;
        return Err(RangeFault::Start { found, expected });
    }
    let links = links(&range, epoch)?;
    let mut certificates = BTreeMap::new();
    let mut last = None;
    for certificate in range.certificates.into_vec() {
        let block = certificate.block();
        let known = links.get(&block.height) == Some(&block);
        if certificate.kind() != VoteKind::Finalize || !known || last >= Some(block.height) {
            return Err(RangeFault::Stray);
        }
        last = Some(block.height);
        let checked = certificate.verify(epoch.epoch, &epoch.set, &epoch.context)?;
        certificates.insert(block.height, checked.into_inner());
    }
    let end = links.last_key_value();
    let is_certified = last.is_some() && last == end.map(|(height, _)| *height);
    if !is_certified && !end.is_some_and(|(_, block)| restarts.ended(epoch, *block)) {
        return Err(RangeFault::NotCertified);
    }
    let blocks = range.blocks.into_vec().into_iter();
    let blocks = blocks.map(|block| {
        let finalization = certificates.remove(&block.header.height);
        (block, finalization)
    });
    Ok(Certified {
        blocks: blocks.collect(),
    })
}

/// The range's blocks and headers, if they are one chain within the epoch.
fn links(range: &Range, epoch: &EpochInfo) -> Result<BTreeMap<Height, BlockRef>, RangeFault> {
    let mut links = BTreeMap::new();
    let mut before: Option<BlockRef> = None;
    let mut ended = false;
    let headers = range.blocks.iter().map(|block| &block.header);
    for header in headers.chain(&range.headers) {
        let height = header.height;
        if header.epoch != epoch.epoch || ended {
            return Err(RangeFault::Epoch(height));
        }
        if before.is_some_and(|it| header.parent != it.hash || Some(height) != it.height.next()) {
            return Err(RangeFault::Link(height));
        }
        ended = header.flags.is_seal();
        let block = header.block_ref();
        links.insert(height, block);
        before = Some(block);
    }
    Ok(links)
}

impl Certified {
    /// The first block.
    pub fn first(&self) -> Option<&Header> {
        self.blocks.first().map(|(block, _)| &block.header)
    }
}

/// Opens the bodies: each is its header's, and every item is right in itself. All signatures of a range are checked in
/// few batches, which costs a fraction of checking them block by block.
///
/// # Errors
/// [`RangeFault::Body`].
pub fn open(
    certified: Certified,
    founding: &Founding,
    epoch: &EpochInfo,
) -> Result<Opened, RangeFault> {
    let mut bodies = Vec::with_capacity(certified.blocks.len());
    for (block, _) in &certified.blocks {
        bodies.push(Body::decode(&block.body).map_err(|error| RangeFault::Body {
            height: block.header.height,
            source: error.into(),
        })?);
    }
    let known = checked(founding, &bodies);
    let blocks = certified.blocks.into_iter().zip(bodies);
    let opened = blocks.map(|((block, finalization), body)| {
        let header = &block.header;
        let rng = admission::system_rng();
        let look = |id: &ItemId| known.get(id).map(Arc::clone);
        let received = CheckedBody::receive(founding, epoch, header, &body, look, rng);
        let body = received.map_err(|source| RangeFault::Body {
            height: header.height,
            source,
        })?;
        Ok(OpenedBlock {
            block,
            body,
            finalization,
        })
    });
    let blocks = opened.collect::<Result<_, RangeFault>>()?;
    Ok(Opened { blocks })
}

/// The submissions of these bodies that are right in themselves, their signatures checked in few batches. What does not
/// parse or verify is left out: whoever opens its body names it, with its place.
pub(crate) fn checked<'a>(
    founding: &Founding,
    bodies: impl IntoIterator<Item = &'a Body>,
) -> BTreeMap<ItemId, Arc<CheckedSubmission>> {
    let mut known = BTreeMap::new();
    let mut waiting = Vec::new();
    let mut verify = |waiting: Vec<Submission>| {
        let checked = admission::verify(founding, waiting).into_iter();
        known.extend(checked.flatten().map(|one| (one.id(), Arc::new(one))));
    };
    for body in bodies {
        let items = body.items().iter().filter_map(|item| item.parse().ok());
        waiting.extend(items.filter_map(|item| match item {
            Item::Submission(submission) => Some(submission),
            Item::Evidence(_) => None,
        }));
        if waiting.len() >= BATCH {
            verify(std::mem::take(&mut waiting));
        }
    }
    verify(waiting);
    known
}

#[cfg(test)]
mod tests;
