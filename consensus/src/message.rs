//! Messages between engines, and their strict encoding (consensus.md, 3.1).
//!
//! [`Message::decode`] bounds the input by the kind that its first byte announces, before anything is allocated, and
//! bounds every list and body inside. What it returns is *decoded*, not *verified*: only
//! [`crate::Engine::admit`] and [`crate::Admitted::verify`] lead on to [`crate::Engine::handle`].
//!
//! Only what the engine itself answers is here. Gossip of submissions (PoolIds, ItemReq, Items) and cosignatures
//! (Cosig, CosigReq) travel beside it and are the node's own messages. Number 7 is kept for Evidence, 14 to 18 and 21 to 25
//! are the node's.

use crate::block::Block;
use crate::config::{MAX_BODY, MAX_SYNC};
use crate::items::{Item, MAX_ITEMS, Positions};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use ledger::certificate::Certificate;
use ledger::codec::{self, DecodeError, List};
use ledger::hash::ItemId;
use ledger::header::{BlockRef, Header};
use ledger::id::{Epoch, Height, TimeMs, View};
use ledger::vote::Vote;

/// Most certificates that justify one proposal: the parent's and 64 nullifications.
pub const MAX_JUSTIFICATION: usize = 65;
/// Most certificates in one `CertResp`.
pub const MAX_CERTIFICATES: usize = 256;
/// Most blocks in one `SyncResp`.
pub const MAX_SYNC_BLOCKS: usize = 1_024;
/// Most headers that lead from a `SyncResp`'s last block to its certificate.
pub const MAX_SYNC_HEADERS: usize = 64;

/// The parent's notarization or finalization, and the nullifications of the views between.
pub type Justification = List<Certificate, MAX_JUSTIFICATION>;

/// A message from one engine to another.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Message {
    /// A starting node asks what others saw of its key.
    Hello(Hello) = 1,
    /// The answer.
    Seen(Seen) = 2,
    /// A leader's proposal; counts only from the leader itself.
    Proposal(Proposal) = 3,
    /// A vote.
    Vote(Vote) = 4,
    /// A certificate.
    Certificate(Certificate) = 5,
    /// The heartbeat.
    Status(Status) = 6,
    /// Asks for one block.
    Fetch(BlockRef) = 8,
    /// A block that was asked for.
    Block(Block) = 9,
    /// Asks for certificates of skipped views.
    CertReq(CertReq) = 10,
    /// Certificates that were asked for.
    CertResp(List<Certificate, MAX_CERTIFICATES>) = 11,
    /// Asks for finalized blocks.
    SyncReq(SyncReq) = 12,
    /// Finalized blocks that were asked for.
    SyncResp(SyncResp) = 13,
    /// A key without its journal asks in which view others are.
    RejoinReq(RejoinReq) = 19,
    /// The answer.
    RejoinResp(RejoinResp) = 20,
    /// A leader's proposal that names the items of its body; counts only from the leader itself.
    CompactProposal(CompactProposal) = 26,
    /// Asks a leader for items of a block that it proposed.
    BodyReq(BodyReq) = 27,
    /// Items that were asked for.
    BodyItems(BodyItems) = 28,
}

/// A starting node's question (consensus.md, 3.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Hello {
    /// Random per process.
    pub instance: u64,
    /// Comes back in the answer.
    pub nonce: u64,
}

/// What others hold of the asker's votes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Seen {
    /// The question's nonce.
    pub nonce: u64,
    /// The answerer's epoch, which the votes are of.
    pub epoch: Epoch,
    /// The answerer's finalized tip.
    pub finalized: BlockRef,
    /// The asker's highest votes that it holds, at most one per kind.
    pub votes: List<Vote, 3>,
    /// Whether another process with the asker's key was heard lately (0 or 1).
    pub other_instance: bool,
}

/// A leader's proposal (consensus.md, 3.1).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// The view proposed in.
    pub view: View,
    /// The view whose notarized block is extended (or proposed again).
    pub parent_view: View,
    /// The block.
    pub block: Block,
    /// The parent's notarization or finalization, and the nullifications of the views between.
    pub justification: Justification,
    /// The leader's Notarize.
    pub vote: Vote,
}

/// A leader's proposal whose body its receivers put together: from their pools, and in one round from the leader.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CompactProposal {
    /// The view proposed in.
    pub view: View,
    /// The view whose notarized block is extended (or proposed again).
    pub parent_view: View,
    /// The block's header; its `body_root` says whether the body that was put together is the right one.
    pub header: Header,
    /// Ids of the body's items, in order.
    pub ids: List<ItemId, MAX_ITEMS>,
    /// The parent's notarization or finalization, and the nullifications of the views between.
    pub justification: Justification,
    /// The leader's Notarize.
    pub vote: Vote,
}

/// Asks for items of a block, by their positions in its body.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BodyReq {
    /// The block.
    pub block: BlockRef,
    /// Which items are missing.
    pub missing: Positions,
}

/// Items of a block's body.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BodyItems {
    /// The block.
    pub block: BlockRef,
    /// Those that were asked for, in order.
    pub items: List<Item, MAX_ITEMS>,
}

/// What a whole and a compact proposal have in common.
#[derive(Clone, Copy, Debug)]
pub struct Outline<'a> {
    /// The view proposed in.
    pub view: View,
    /// The view whose notarized block is extended (or proposed again).
    pub parent_view: View,
    /// The block's header.
    pub header: &'a Header,
    /// Ids of the body's items, if they stand in its place.
    pub ids: Option<&'a [ItemId]>,
    /// What justifies it.
    pub justification: &'a [Certificate],
    /// The leader's Notarize.
    pub vote: &'a Vote,
}

/// The heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Status {
    /// Protocol version ([`ledger::vote::PROTOCOL`]).
    pub protocol: u16,
    /// Random per process.
    pub instance: u64,
    /// Current epoch.
    pub epoch: Epoch,
    /// Current view.
    pub view: View,
    /// Committed tip.
    pub finalized: BlockRef,
    /// View of the highest finalization held.
    pub finalized_view: View,
    /// Highest view with a notarization or finalization.
    pub notarized_view: View,
    /// Items that wait for inclusion.
    pub pending: u32,
    /// The sender's wall clock.
    pub wall: TimeMs,
}

/// Asks for the certificates of the views `from..=to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CertReq {
    /// Epoch of the views.
    pub epoch: Epoch,
    /// Lowest view.
    pub from: View,
    /// Highest view; the answer starts here and goes down.
    pub to: View,
}

/// Asks for finalized blocks from a height on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SyncReq {
    /// First height wanted.
    pub from: Height,
    /// Most bytes wanted; one larger block is sent all the same. At most [`MAX_SYNC`].
    pub max_bytes: u32,
}

/// Consecutive finalized blocks, and the headers that lead on to the block that `certificate` finalizes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SyncResp {
    /// At least one block, consecutive.
    pub blocks: List<Block, MAX_SYNC_BLOCKS>,
    /// Empty if the last block is finalized by the certificate itself.
    pub headers: List<Header, MAX_SYNC_HEADERS>,
    /// A finalization.
    pub certificate: Certificate,
}

/// A question of a key without its journal (consensus.md, 3.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RejoinReq {
    /// Comes back in the answer.
    pub nonce: u64,
    /// The asker's epoch; an answer counts in that one only.
    pub epoch: Epoch,
}

/// In which view the answerer is, and the proof.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RejoinResp {
    /// The question's nonce.
    pub nonce: u64,
    /// The answerer's epoch.
    pub epoch: Epoch,
    /// Any certificate of the view before the answerer's; none in view 1, which the epoch's anchor proves.
    pub entry: Option<Certificate>,
}

/// Which stream a message belongs on: bulk must not hold up votes (consensus.md, 3.20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Small and urgent.
    Votes,
    /// Carries bodies.
    Bodies,
}

/// What a message is worth when an inbound queue is full (consensus.md, 3.18): the lower is dropped first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Requests and their answers.
    Fetch,
    /// Proposals.
    Proposal,
    /// Votes, heartbeats, start check.
    Vote,
    /// Certificates.
    Certificate,
}

impl Message {
    /// Most bytes of any encoded message.
    pub const MAX_LEN: usize = 8 << 20;

    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Decodes one whole message, strictly.
    ///
    /// # Errors
    /// [`DecodeError`]: over the limit of its kind, unknown kind, malformed, trailing bytes, not canonical.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let kind = *bytes.first().ok_or(DecodeError::Malformed { at: 0 })?;
        let limit = Self::limit(kind).ok_or(DecodeError::Malformed { at: 0 })?;
        codec::decode(bytes, limit)
    }

    /// Most bytes of a message by its first byte; `None` for an unknown kind.
    pub const fn limit(kind: u8) -> Option<usize> {
        const BLOCK: usize = Header::LEN + 4 + MAX_BODY;
        const JUSTIFICATION: usize = 4 + MAX_JUSTIFICATION * Certificate::MAX_LEN;
        const FETCH: usize = 1 + 8 + 32;
        match kind {
            1 | 6 | 8 | 10 | 12 | 19 => Some(128),
            2 => Some(1 + 16 + 40 + 4 + 3 * Vote::LEN + 1),
            3 => Some(1 + 16 + BLOCK + JUSTIFICATION + Vote::LEN),
            4 => Some(1 + Vote::LEN),
            5 => Some(1 + Certificate::MAX_LEN),
            9 => Some(FETCH + BLOCK),
            11 => Some(1 + 4 + MAX_CERTIFICATES * Certificate::MAX_LEN),
            13 => Some(Self::MAX_LEN),
            20 => Some(1 + 16 + 1 + Certificate::MAX_LEN),
            26 => Some(1 + 16 + Header::LEN + 4 + 32 * MAX_ITEMS + JUSTIFICATION + Vote::LEN),
            27 => Some(FETCH + 4 + MAX_ITEMS / 8),
            28 => Some(FETCH + 4 + 4 * MAX_ITEMS + MAX_BODY),
            _ => None,
        }
    }

    /// The epoch that it has meaning in, if in that one only. A heartbeat means something in any.
    ///
    /// An answer with certificates of several epochs has none: nobody sends that, and it will not verify.
    pub fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Seen(seen) => Some(seen.epoch),
            Self::Proposal(proposal) => Some(proposal.vote.epoch),
            Self::CompactProposal(proposal) => Some(proposal.vote.epoch),
            Self::Vote(vote) => Some(vote.epoch),
            Self::Certificate(certificate) => Some(certificate.epoch()),
            Self::CertReq(request) => Some(request.epoch),
            Self::RejoinReq(request) => Some(request.epoch),
            Self::RejoinResp(answer) => Some(answer.epoch),
            Self::CertResp(certificates) => {
                let mut epochs = certificates.iter().map(Certificate::epoch);
                let first = epochs.next()?;
                epochs.all(|epoch| epoch == first).then_some(first)
            }
            Self::Hello(_)
            | Self::Status(_)
            | Self::Fetch(_)
            | Self::Block(_)
            | Self::SyncReq(_)
            | Self::SyncResp(_)
            | Self::BodyReq(_)
            | Self::BodyItems(_) => None,
        }
    }

    /// The proposal in it, whole or compact.
    pub fn outline(&self) -> Option<Outline<'_>> {
        if let Self::Proposal(proposal) = self {
            Some(Outline {
                view: proposal.view,
                parent_view: proposal.parent_view,
                header: &proposal.block.header,
                ids: None,
                justification: &proposal.justification,
                vote: &proposal.vote,
            })
        } else if let Self::CompactProposal(proposal) = self {
            Some(Outline {
                view: proposal.view,
                parent_view: proposal.parent_view,
                header: &proposal.header,
                ids: Some(&proposal.ids),
                justification: &proposal.justification,
                vote: &proposal.vote,
            })
        } else {
            None
        }
    }

    /// The stream it belongs on.
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Proposal(_)
            | Self::CompactProposal(_)
            | Self::Block(_)
            | Self::CertResp(_)
            | Self::SyncResp(_)
            | Self::BodyItems(_) => Lane::Bodies,
            Self::Hello(_)
            | Self::Seen(_)
            | Self::Vote(_)
            | Self::Certificate(_)
            | Self::Status(_)
            | Self::Fetch(_)
            | Self::CertReq(_)
            | Self::SyncReq(_)
            | Self::RejoinReq(_)
            | Self::RejoinResp(_)
            | Self::BodyReq(_) => Lane::Votes,
        }
    }

    /// What it is worth when a queue is full.
    pub const fn priority(&self) -> Priority {
        match self {
            Self::Certificate(_) => Priority::Certificate,
            Self::Hello(_)
            | Self::Seen(_)
            | Self::Vote(_)
            | Self::Status(_)
            | Self::RejoinReq(_)
            | Self::RejoinResp(_) => Priority::Vote,
            Self::Proposal(_) | Self::CompactProposal(_) => Priority::Proposal,
            Self::Fetch(_)
            | Self::Block(_)
            | Self::CertReq(_)
            | Self::CertResp(_)
            | Self::SyncReq(_)
            | Self::SyncResp(_)
            | Self::BodyReq(_)
            | Self::BodyItems(_) => Priority::Fetch,
        }
    }
}

impl SyncResp {
    /// Puts an answer together from archive frames: blocks in height order from `request.from`, each with its own
    /// finalization where it has one.
    ///
    /// Takes blocks while they fit (at least one), then headers up to the next block with a finalization, and nothing
    /// past the end of an epoch: what follows a SEAL block, or a restart, the asker has yet to learn. `None` if there is no
    /// block, or no finalization within [`MAX_SYNC_HEADERS`] headers: the asker turns elsewhere.
    pub fn collect(
        request: &SyncReq,
        frames: impl IntoIterator<Item = (Block, Option<Certificate>)>,
    ) -> Option<Self> {
        let budget = usize::try_from(request.max_bytes.min(MAX_SYNC)).unwrap_or(0);
        let mut blocks: List<Block, MAX_SYNC_BLOCKS> = List::new();
        let mut headers: List<Header, MAX_SYNC_HEADERS> = List::new();
        let mut used = 0_usize;
        let mut best = None;
        let mut epoch = None;
        for (block, certificate) in frames {
            let before = epoch.replace(block.header.epoch);
            if before.is_some_and(|before| before != block.header.epoch) {
                break;
            }
            let size = Header::LEN.saturating_add(block.body.len());
            let fits = used.saturating_add(size) <= budget && blocks.len() < MAX_SYNC_BLOCKS;
            if headers.is_empty() && (blocks.is_empty() || fits) {
                used = used.saturating_add(size);
                blocks.push(block).ok()?;
                if let Some(certificate) = certificate {
                    best = Some((blocks.len(), certificate));
                }
                continue;
            }
            if let Some((count, certificate)) = best.take() {
                // Enough is certified already: what follows the last certificate is left to the next request.
                return Some(Self {
                    blocks: blocks
                        .into_vec()
                        .drain(..count)
                        .collect::<Vec<_>>()
                        .try_into()
                        .ok()?,
                    headers: List::new(),
                    certificate,
                });
            }
            headers.push(block.header).ok()?;
            if let Some(certificate) = certificate {
                return Some(Self {
                    blocks,
                    headers,
                    certificate,
                });
            }
        }
        let (count, certificate) = best?;
        Some(Self {
            blocks: blocks
                .into_vec()
                .drain(..count)
                .collect::<Vec<_>>()
                .try_into()
                .ok()?,
            headers,
            certificate,
        })
    }
}
