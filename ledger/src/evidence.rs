//! Evidence: two signed votes that no honest validator casts both (consensus.md, 3.17).

use crate::codec::refuse;
use crate::vote::{Vote, VoteKind};
use borsh::io::{Read, Result as IoResult};
use borsh::{BorshDeserialize, BorshSerialize};

/// Two conflicting votes of one signer, ascending by their bytes. Their signatures are checked by validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Evidence {
    first: Vote,
    second: Vote,
}

impl Evidence {
    /// Length of every encoded evidence, in bytes.
    pub const LEN: usize = 2 * Vote::LEN;

    /// Pairs two votes, in either order; `None` if they do not conflict.
    pub fn new(a: Vote, b: Vote) -> Option<Self> {
        let same = a.epoch == b.epoch && a.view == b.view && a.signer == b.signer;
        let conflict =
            match (a.kind, b.kind) {
                (VoteKind::Notarize, VoteKind::Notarize)
                | (VoteKind::Finalize, VoteKind::Finalize) => a.block != b.block,
                (VoteKind::Nullify, VoteKind::Finalize)
                | (VoteKind::Finalize, VoteKind::Nullify) => true,
                (VoteKind::Notarize, VoteKind::Nullify | VoteKind::Finalize)
                | (VoteKind::Nullify, VoteKind::Notarize | VoteKind::Nullify)
                | (VoteKind::Finalize, VoteKind::Notarize) => false,
            };
        if !same || !conflict {
            return None;
        }
        let swap = crate::codec::encode(&a) > crate::codec::encode(&b);
        let (first, second) = if swap { (b, a) } else { (a, b) };
        Some(Self { first, second })
    }

    /// The two votes, ascending by their bytes.
    pub const fn votes(&self) -> (&Vote, &Vote) {
        (&self.first, &self.second)
    }
}

impl BorshDeserialize for Evidence {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let first = Vote::deserialize_reader(reader)?;
        let second = Vote::deserialize_reader(reader)?;
        match Self::new(first, second) {
            Some(pair) if pair.first == first => Ok(pair),
            _ => Err(refuse("the two votes do not conflict or are not ascending")),
        }
    }
}
