//! From decoded to verified: the only way of a message into [`crate::Engine::handle`].
//!
//! [`crate::Engine::admit`] (cheap, in the owning task) drops what is stale, unasked or out of bounds *before* any
//! signature is checked, and returns an [`Admitted`]. [`Admitted::verify`] (expensive, in any worker, no engine
//! needed) checks signatures, one at a time, and returns a [`VerifiedMessage`], which nothing else makes.

use crate::block::Block;
use crate::epoch::EpochInfo;
use crate::items::Item;
use crate::message::{
    BodyReq, CertReq, Hello, Justification, Message, RejoinReq, Status, SyncReq, SyncResp,
};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use ledger::certificate::{Certificate, CertificateError, VerifiedCertificate};
use ledger::hash::ItemId;
use ledger::header::{BlockRef, Header};
use ledger::id::{Epoch, Height, ValidatorIndex, View};
use ledger::key::{BadSignature, Key, RawSignature, SigningKey};
use ledger::planted;
use ledger::vote::{Vote, VoteError, VoteKind};

/// Checks one signature. Two implementations: [`Ed25519`], and the simulator's.
pub trait Verifier {
    /// Checks `signature` over `message` under `key`.
    ///
    /// # Errors
    /// [`BadSignature`] if it does not verify.
    fn verify(
        &self,
        key: &Key,
        message: &[u8],
        signature: &RawSignature,
    ) -> Result<(), BadSignature>;
}

/// Makes vote signatures. Two implementations: [`SigningKey`], and the simulator's. Only the engine's guard calls it.
pub trait Signer: Send {
    /// The public key.
    fn key(&self) -> Key;
    /// Signs a message.
    fn sign(&self, message: &[u8]) -> RawSignature;
}

/// Strict Ed25519, as everything but submissions is checked (formats.md, section 1.4).
#[derive(Clone, Copy, Debug, Default)]
pub struct Ed25519;

impl Verifier for Ed25519 {
    fn verify(
        &self,
        key: &Key,
        message: &[u8],
        signature: &RawSignature,
    ) -> Result<(), BadSignature> {
        key.verify_strict(message, signature)
    }
}

impl Signer for SigningKey {
    fn key(&self) -> Key {
        Self::key(self)
    }

    fn sign(&self, message: &[u8]) -> RawSignature {
        self.sign_raw(message)
    }
}

/// What no honest node does: disconnect, report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Offence {
    /// A vote's signer is no member, or its signature is wrong.
    #[error("sent a vote that does not verify")]
    Vote(#[source] VoteError),
    /// A certificate does not verify.
    #[error("sent a certificate that does not verify")]
    Certificate(#[source] CertificateError),
    /// A proposal contradicts itself.
    #[error("sent a proposal that contradicts itself in view {0}")]
    Proposal(View),
    /// Blocks of a sync answer do not form the chain that its certificate finalizes.
    #[error("sent sync blocks that are no finalized chain from height {0}")]
    Sync(Height),
}

/// Why a message went no further. Not an offence: honest nodes send late, early or twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// Not connected, or not a member of this epoch's set where only members are heard.
    #[error("the sender is not a validator of this epoch, or not connected")]
    Stranger,
    /// Of another epoch.
    #[error("of another epoch")]
    Epoch,
    /// Below the finalized view, or too far ahead.
    #[error("view {0} is outside the window")]
    Window(View),
    /// Held already.
    #[error("held already")]
    Known,
    /// Nobody asked for it.
    #[error("not asked for")]
    Unasked,
    /// The sender asks or sends too much.
    #[error("over the sender's rate")]
    Rate,
    /// A proposal that the view's leader did not send itself.
    #[error("proposal for view {0} not from its leader")]
    NotLeader(View),
}

/// A message that the engine wants to see, once its signatures are checked. Made by [`crate::Engine::admit`].
#[derive(Clone, Debug)]
pub struct Admitted {
    pub(crate) message: Message,
    pub(crate) epoch: Arc<EpochInfo>,
    /// Certificates already held, by kind and view: not verified again, dropped.
    pub(crate) held: Vec<(VoteKind, View)>,
    /// The vote lies at or below the finalized view: it only shows that its sender lags.
    pub(crate) lagging: bool,
}

/// A message whose every signature was checked. Made by [`Admitted::verify`] alone.
#[derive(Clone)]
pub struct VerifiedMessage {
    /// The epoch that it was checked for.
    pub(crate) epoch: Epoch,
    pub(crate) message: Verified,
}

/// What the engine takes in.
#[derive(Clone, Debug)]
pub(crate) enum Verified {
    Hello(Hello),
    Seen {
        nonce: u64,
        votes: Vec<Vote>,
        other_instance: bool,
    },
    Proposal {
        parent_view: View,
        content: Content,
        vote: Vote,
        justification: Vec<VerifiedCertificate>,
    },
    Vote(Vote),
    Lagging,
    Certificates(Vec<VerifiedCertificate>),
    Status(Status),
    Fetch(BlockRef),
    Block(Block),
    CertReq(CertReq),
    SyncReq(SyncReq),
    Sync(VerifiedSync),
    RejoinReq(RejoinReq),
    RejoinResp {
        nonce: u64,
        entry: Option<VerifiedCertificate>,
    },
    BodyReq(BodyReq),
    /// Items, each with the id that it really has.
    BodyItems {
        block: BlockRef,
        items: Vec<(ItemId, Item)>,
    },
}

/// What a proposal carries of its block.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Whole(Block),
    /// The ids of its items in place of its body.
    Compact(Header, Vec<ItemId>),
}

impl Content {
    pub(crate) const fn header(&self) -> &Header {
        match self {
            Self::Whole(block) => &block.header,
            Self::Compact(header, _) => header,
        }
    }
}

/// A stretch of the finalized chain: consecutive, linked, and certified. Bodies are not compared with their headers.
#[derive(Clone, Debug)]
pub struct VerifiedSync {
    pub(crate) blocks: Vec<Block>,
    pub(crate) headers: Vec<Header>,
    pub(crate) certificate: VerifiedCertificate,
}

impl fmt::Debug for VerifiedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

impl Admitted {
    /// Checks every signature of the message.
    ///
    /// # Errors
    /// [`Offence`]: the sender is faulty; disconnect it and report it.
    pub fn verify(self, verifier: &dyn Verifier) -> Result<VerifiedMessage, Offence> {
        let Self {
            message,
            epoch,
            held,
            lagging,
        } = self;
        let epoch = &*epoch;
        // What both kinds of proposal are checked for.
        let proposal =
            |parent_view, content, vote, justification: Justification| -> Result<_, Offence> {
                let vote = check_own(vote, epoch, verifier)?;
                let justification = check_all(justification.into_vec(), epoch, &held, verifier)?;
                Ok(Verified::Proposal {
                    parent_view,
                    content,
                    vote,
                    justification,
                })
            };
        let message = match message {
            Message::Hello(hello) => Verified::Hello(hello),
            Message::Status(status) => Verified::Status(status),
            Message::Fetch(block) => Verified::Fetch(block),
            Message::Block(block) => Verified::Block(block),
            Message::CertReq(request) => Verified::CertReq(request),
            Message::SyncReq(request) => Verified::SyncReq(request),
            Message::RejoinReq(request) => Verified::RejoinReq(request),
            Message::RejoinResp(answer) => Verified::RejoinResp {
                nonce: answer.nonce,
                entry: check_entry(answer.entry, epoch, verifier)?,
            },
            Message::Vote(_) if lagging => Verified::Lagging,
            Message::Vote(vote) => Verified::Vote(check_own(vote, epoch, verifier)?),
            Message::Certificate(certificate) => {
                Verified::Certificates(check_all([certificate], epoch, &held, verifier)?)
            }
            Message::CertResp(certificates) => {
                Verified::Certificates(check_all(certificates.into_vec(), epoch, &held, verifier)?)
            }
            Message::Seen(seen) => Verified::Seen {
                nonce: seen.nonce,
                // The answerer may hold rubbish under our name; what does not verify is not ours.
                votes: genuine(seen.votes.into_vec(), epoch, verifier),
                other_instance: seen.other_instance,
            },
            Message::Proposal(it) => {
                let content = Content::Whole(it.block);
                proposal(it.parent_view, content, it.vote, it.justification)?
            }
            Message::CompactProposal(it) => {
                let content = Content::Compact(it.header, it.ids.into_vec());
                proposal(it.parent_view, content, it.vote, it.justification)?
            }
            Message::BodyReq(request) => Verified::BodyReq(request),
            Message::BodyItems(answer) => Verified::BodyItems {
                block: answer.block,
                items: named(answer.items.into_vec()),
            },
            Message::SyncResp(response) => {
                Verified::Sync(VerifiedSync::verify(response, epoch, verifier)?)
            }
        };
        let epoch = epoch.epoch();
        Ok(VerifiedMessage { epoch, message })
    }
}

impl VerifiedSync {
    /// Checks an answer against the set of the epoch that its blocks are of. Needs no engine: repair and joining use it.
    ///
    /// # Errors
    /// [`Offence`]: the sender is faulty.
    pub fn verify(
        response: SyncResp,
        epoch: &EpochInfo,
        verifier: &dyn Verifier,
    ) -> Result<Self, Offence> {
        let first = response.blocks.first();
        let start = first.map_or(Height(0), |block| block.header.height);
        let certificate = check_certificate(response.certificate, epoch, verifier)
            .map_err(Offence::Certificate)?;
        let sync = Self {
            blocks: response.blocks.into_vec(),
            headers: response.headers.into_vec(),
            certificate,
        };
        if sync.is_chain() {
            Ok(sync)
        } else {
            Err(Offence::Sync(start))
        }
    }

    /// The blocks, at least one, in order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The blocks, each with its own finalization if that is the one that came along.
    pub fn into_finalized(self) -> impl Iterator<Item = (Block, Option<Certificate>)> {
        let Self {
            blocks,
            certificate,
            ..
        } = self;
        blocks.into_iter().map(move |block| {
            let own = certificate.block() == block.block_ref();
            let own = own.then(|| Certificate::clone(&certificate));
            (block, own)
        })
    }

    /// Whether blocks and headers are consecutive, linked by hash, and end in what the certificate finalizes.
    fn is_chain(&self) -> bool {
        let mut headers = self.blocks.iter().map(|block| &block.header);
        let Some(first) = headers.next() else {
            return false;
        };
        let mut last = first.block_ref();
        for header in headers.chain(&self.headers) {
            if header.parent != last.hash || Some(header.height) != last.height.next() {
                return false;
            }
            last = header.block_ref();
        }
        self.certificate.kind() == VoteKind::Finalize && self.certificate.block() == last
    }
}

fn genuine(mut votes: Vec<Vote>, epoch: &EpochInfo, verifier: &dyn Verifier) -> Vec<Vote> {
    votes.retain(|vote| vote.epoch == epoch.epoch() && check_vote(vote, epoch, verifier).is_ok());
    votes
}

fn check_entry(
    entry: Option<Certificate>,
    epoch: &EpochInfo,
    verifier: &dyn Verifier,
) -> Result<Option<VerifiedCertificate>, Offence> {
    let entry = entry.map(|entry| check_certificate(entry, epoch, verifier));
    entry.transpose().map_err(Offence::Certificate)
}

fn check_all(
    certificates: impl IntoIterator<Item = Certificate>,
    epoch: &EpochInfo,
    held: &[(VoteKind, View)],
    verifier: &dyn Verifier,
) -> Result<Vec<VerifiedCertificate>, Offence> {
    certificates
        .into_iter()
        .filter(|certificate| !held.contains(&(certificate.kind(), certificate.view())))
        .map(|certificate| {
            check_certificate(certificate, epoch, verifier).map_err(Offence::Certificate)
        })
        .collect()
}

pub(crate) fn check_certificate(
    certificate: Certificate,
    epoch: &EpochInfo,
    verifier: &dyn Verifier,
) -> Result<VerifiedCertificate, CertificateError> {
    let message = certificate.statement().sign_bytes(epoch.context());
    let set = epoch.set();
    certificate.verify_with(epoch.epoch(), set, |signer, signature| {
        if planted!(SignaturesUnchecked) {
            return Ok(());
        }
        set.get(signer).map_or(Ok(()), |member| {
            verifier.verify(&member.vote, &message, signature)
        })
    })
}

/// Each item with its id: the engine compares, it does not hash.
fn named(items: Vec<Item>) -> Vec<(ItemId, Item)> {
    let items = items.into_iter();
    items.map(|item| (item.id(), item)).collect()
}

/// A vote that the sender answers for.
fn check_own(vote: Vote, epoch: &EpochInfo, verifier: &dyn Verifier) -> Result<Vote, Offence> {
    check_vote(&vote, epoch, verifier).map_err(Offence::Vote)?;
    Ok(vote)
}

fn check_vote(vote: &Vote, epoch: &EpochInfo, verifier: &dyn Verifier) -> Result<(), VoteError> {
    let member = epoch
        .set()
        .get(vote.signer)
        .ok_or(VoteError::NotAMember(vote.signer))?;
    if planted!(SignaturesUnchecked) {
        return Ok(());
    }
    let message = vote.statement().sign_bytes(epoch.context());
    verifier.verify(&member.vote, &message, &vote.signature)?;
    Ok(())
}

/// The signer of a key in a set, if it is a member's vote key.
pub(crate) fn position(epoch: &EpochInfo, signer: &dyn Signer) -> Option<ValidatorIndex> {
    epoch.set().position_of_vote_key(&signer.key())
}
