//! A block's header (formats.md, section 4).

use crate::codec::{self, refuse};
use crate::hash::{BlockHash, ChainId, Hash, SetHash, Tag};
use crate::id::{Epoch, Height, TimeMs, TreeSize, ValidatorIndex, View};
use alloc::vec::Vec;
use borsh::io::{Read, Result as IoResult};
use borsh::{BorshDeserialize, BorshSerialize};

/// The one header version.
pub const HEADER_VERSION: u16 = 1;

/// Names a block by height and hash. Zero in a Nullify vote.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, BorshSerialize, BorshDeserialize,
)]
pub struct BlockRef {
    /// Height of the block.
    pub height: Height,
    /// Hash of its header.
    pub hash: BlockHash,
}

/// Bit 0 SEAL: this block ends its epoch. Bit 1 ANCHOR: written although no record was waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, BorshSerialize)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The block ends its epoch.
    pub const SEAL: Self = Self(1);
    /// The block is an anchor.
    pub const ANCHOR: Self = Self(2);

    /// Both flags together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the block ends its epoch.
    pub const fn is_seal(self) -> bool {
        self.0 & Self::SEAL.0 != 0
    }

    /// Whether the block is an anchor.
    pub const fn is_anchor(self) -> bool {
        self.0 & Self::ANCHOR.0 != 0
    }

    /// The byte of the format.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl BorshDeserialize for Flags {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        match u8::deserialize_reader(reader)? {
            bits @ 0..=3 => Ok(Self(bits)),
            _ => Err(refuse("spare flag bits are set")),
        }
    }
}

/// A block's header; its roots are those *after* this block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// [`HEADER_VERSION`].
    pub version: u16,
    /// The chain it belongs to.
    pub chain: ChainId,
    /// Epoch whose validators decide it.
    pub epoch: Epoch,
    /// View in which it was first proposed.
    pub view: View,
    /// Parent's height + 1.
    pub height: Height,
    /// Hash of the parent's header; the chain id for block 1.
    pub parent: BlockHash,
    /// Who proposed it.
    pub proposer: ValidatorIndex,
    /// Block time, Unix milliseconds, greater than the parent's.
    pub time_ms: TimeMs,
    /// Sum of the body's leaf data lengths, in bytes.
    pub body_len: u32,
    /// RFC 9162 root over the body's items.
    pub body_root: Hash,
    /// Leaves of the log after this block.
    pub log_size: TreeSize,
    /// Root of the log after this block.
    pub log_root: Hash,
    /// Root of the status map after this block.
    pub status_root: Hash,
    /// SEAL and ANCHOR.
    pub flags: Flags,
    /// Hash of the epoch's validator set.
    pub validator_set: SetHash,
    /// Hash of the next epoch's set; zero unless SEAL.
    pub next_set: SetHash,
}

impl Header {
    /// Length of every encoded header, in bytes.
    pub const LEN: usize = 2 + 32 + 8 + 8 + 8 + 32 + 2 + 8 + 4 + 32 + 8 + 32 + 32 + 1 + 32 + 32;

    /// SHA-256(`block` tag ‖ header).
    pub fn hash(&self) -> BlockHash {
        let mut bytes = Vec::with_capacity(Self::LEN);
        codec::write_to(&mut bytes, self);
        BlockHash(Tag::Block.hash(&[&bytes]))
    }

    /// Height and hash.
    pub fn block_ref(&self) -> BlockRef {
        BlockRef {
            height: self.height,
            hash: self.hash(),
        }
    }
}
