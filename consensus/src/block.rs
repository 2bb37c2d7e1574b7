//! Blocks as this crate knows them: a header, and a body of opaque bytes.

use crate::config::MAX_BODY;
use alloc::sync::Arc;
use alloc::vec::Vec;
use borsh::io::{Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use core::ops::Deref;
use ledger::codec::Bytes;
use ledger::hash::BlockHash;
use ledger::header::{BlockRef, Flags, Header};
use ledger::id::TimeMs;

/// A block's encoded body: opaque here, shared between copies, at most [`MAX_BODY`] bytes when decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(Arc<[u8]>);

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl Deref for Body {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl BorshSerialize for Body {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.0.serialize(writer)
    }
}

impl BorshDeserialize for Body {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let bytes = Bytes::<MAX_BODY>::deserialize_reader(reader)?;
        Ok(Self(bytes.into_vec().into()))
    }
}

/// A header with the body that somebody delivered for it. Cheap to clone.
///
/// That the body matches the header's `body_root` is the caller's check (`Validate`): a body that does not is a bad
/// delivery, not an invalid block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// The header; its hash names the block.
    pub header: Header,
    /// The body, as encoded by the caller.
    pub body: Body,
}

impl Block {
    /// Height and hash.
    pub fn block_ref(&self) -> BlockRef {
        self.header.block_ref()
    }

    /// Hash of the header.
    pub fn hash(&self) -> BlockHash {
        self.header.hash()
    }
}

/// What a child's header is checked against: the end of a chain, also where it has no header (genesis).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Height and hash.
    pub block: BlockRef,
    /// Its time.
    pub time_ms: TimeMs,
    /// Its flags.
    pub flags: Flags,
}

impl From<&Header> for Tip {
    fn from(header: &Header) -> Self {
        Self {
            block: header.block_ref(),
            time_ms: header.time_ms,
            flags: header.flags,
        }
    }
}
