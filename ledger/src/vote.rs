//! Consensus votes: what is signed, and how a vote is checked (consensus.md, 3.1 and 3.2).

use crate::codec::{coded_enum, refuse};
use crate::hash::{BlockHash, ChainId, EpochContext, Hash, SetHash, Tag};
use crate::header::BlockRef;
use crate::id::{Epoch, ValidatorIndex, View};
use crate::key::{BadSignature, RawSignature, SigningKey};
use crate::planted;
use crate::validator_set::ValidatorSet;
use alloc::vec::Vec;
use borsh::io::{Read, Result as IoResult};
use borsh::{BorshDeserialize, BorshSerialize};

/// Version of the protocol, signed in every epoch's context.
pub const PROTOCOL: u16 = 1;

coded_enum! {
    /// What a vote says about its view.
    #[derive(Hash)]
    pub enum VoteKind {
        /// "I hold this block, it is valid, and I vote for it in this view."
        Notarize = 1,
        /// "I give this view up."
        Nullify = 2,
        /// "I hold this block's notarization and have not given the view up."
        Finalize = 3,
    }
}

/// What a vote says: the part that is signed, without epoch (which its context holds).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Statement {
    /// Kind of vote.
    pub kind: VoteKind,
    /// View it is about.
    pub view: View,
    /// Block it is about; zero for Nullify.
    pub block: BlockRef,
}

impl Statement {
    /// `vote` tag ‖ context ‖ kind ‖ view ‖ height ‖ hash.
    pub fn sign_bytes(&self, context: &EpochContext) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(Tag::Vote.bytes());
        bytes.extend_from_slice(context.as_bytes());
        let mut signed = *self;
        if planted!(KindNotBound) {
            signed.kind = VoteKind::Notarize;
        }
        crate::codec::write_to(&mut bytes, &signed);
        bytes
    }

    /// Whether the block is zero exactly when the kind is Nullify.
    pub fn is_well_formed(&self) -> bool {
        (self.kind == VoteKind::Nullify) == (self.block == BlockRef::default())
    }
}

/// The inputs of an epoch's context (consensus.md, 3.2).
#[derive(Clone, Copy, Debug)]
pub struct ContextInputs {
    /// The chain.
    pub chain: ChainId,
    /// The epoch.
    pub epoch: Epoch,
    /// Hash of its validator set.
    pub set: SetHash,
    /// Hash of its anchor block; the chain id for epoch 0.
    pub anchor: BlockHash,
    /// Hash of the restart file that opened it; zero if none did.
    pub restart: Hash,
}

impl ContextInputs {
    /// H(`epoch` tag ‖ chain ‖ proto u16 ‖ epoch u64 ‖ set hash ‖ anchor hash ‖ restart hash or zero).
    pub fn context(&self) -> EpochContext {
        if planted!(EpochNotBound) {
            return EpochContext(Tag::Epoch.hash(&[self.chain.as_bytes()]));
        }
        EpochContext(Tag::Epoch.hash(&[
            self.chain.as_bytes(),
            &PROTOCOL.to_le_bytes(),
            &self.epoch.0.to_le_bytes(),
            self.set.as_bytes(),
            self.anchor.as_bytes(),
            self.restart.as_bytes(),
        ]))
    }
}

/// A signed vote: 123 bytes. Holding one says nothing about its signature; see [`Vote::verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize)]
pub struct Vote {
    /// Epoch it was cast in.
    pub epoch: Epoch,
    /// View it is about.
    pub view: View,
    /// Kind of vote.
    pub kind: VoteKind,
    /// Block it is about; zero for Nullify.
    pub block: BlockRef,
    /// Position of the signer in the epoch's set.
    pub signer: ValidatorIndex,
    /// Strict Ed25519 signature over [`Statement::sign_bytes`].
    pub signature: RawSignature,
}

impl Vote {
    /// Length of every encoded vote, in bytes.
    pub const LEN: usize = 8 + 8 + 1 + 8 + 32 + 2 + 64;

    /// Signs a statement as `signer`.
    pub fn sign(
        statement: Statement,
        epoch: Epoch,
        signer: ValidatorIndex,
        context: &EpochContext,
        key: &SigningKey,
    ) -> Self {
        let signature = key.sign_raw(&statement.sign_bytes(context));
        let Statement { kind, view, block } = statement;
        Self {
            epoch,
            view,
            kind,
            block,
            signer,
            signature,
        }
    }

    /// The signed part.
    pub const fn statement(&self) -> Statement {
        Statement {
            kind: self.kind,
            view: self.view,
            block: self.block,
        }
    }

    /// Checks membership and signature.
    ///
    /// # Errors
    /// [`VoteError`] names what is wrong. The epoch must be the caller's: it is in the context only.
    pub fn verify(&self, set: &ValidatorSet, context: &EpochContext) -> Result<(), VoteError> {
        let member = set
            .get(self.signer)
            .ok_or(VoteError::NotAMember(self.signer))?;
        let message = self.statement().sign_bytes(context);
        member.vote.verify_strict(&message, &self.signature)?;
        Ok(())
    }
}

impl BorshDeserialize for Vote {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let vote = Self {
            epoch: Epoch::deserialize_reader(reader)?,
            view: View::deserialize_reader(reader)?,
            kind: VoteKind::deserialize_reader(reader)?,
            block: BlockRef::deserialize_reader(reader)?,
            signer: ValidatorIndex::deserialize_reader(reader)?,
            signature: RawSignature::deserialize_reader(reader)?,
        };
        if vote.statement().is_well_formed() {
            Ok(vote)
        } else {
            Err(refuse(
                "a Nullify names a block, or another vote names none",
            ))
        }
    }
}

/// Why a vote does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoteError {
    /// The signer's position is not in the set.
    #[error("validator #{0} is not a member of the epoch's set")]
    NotAMember(ValidatorIndex),
    /// The signature does not verify.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}
