//! Items of a body, as compact proposals need them: what pools hold, and what travels alone (consensus.md, 3.13).
//!
//! What an item says is the caller's. Here it is opaque bytes with an id; how items make up a body, a [`Layout`] tells.

use crate::block::Body;
use crate::config::MAX_BODY;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use borsh::io::{Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use core::ops::Deref;
use ledger::codec::Bytes;
use ledger::hash::{ItemId, sha256};

/// Most items that a compact proposal names; a body of more travels whole.
pub const MAX_ITEMS: usize = 16_384;

/// One item's complete bytes, shared between copies.
#[derive(Clone, PartialEq, Eq)]
pub struct Item(Arc<[u8]>);

impl Item {
    /// SHA-256 of the complete bytes (formats.md, section 4).
    pub fn id(&self) -> ItemId {
        id_of(self)
    }
}

/// The id of an item's complete bytes.
pub fn id_of(item: &[u8]) -> ItemId {
    ItemId(sha256(&[item]))
}

impl From<&[u8]> for Item {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for Item {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl Deref for Item {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Item({} bytes)", self.0.len())
    }
}

impl BorshSerialize for Item {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.0.serialize(writer)
    }
}

impl BorshDeserialize for Item {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let bytes = Bytes::<MAX_BODY>::deserialize_reader(reader)?;
        Ok(Self(bytes.into_vec().into()))
    }
}

/// How the caller makes bodies of items. Both are pure, and each undoes the other. The lengths of a body's items add up
/// to its header's `body_len`.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The items of a body, in order; `None` if it is not made of items.
    pub cut: fn(&[u8]) -> Option<Vec<&[u8]>>,
    /// The body that these items make up.
    pub join: fn(&[Item]) -> Body,
}

/// Some of a number of items: one bit for each, the first in the lowest bit of the first byte, spare bits zero.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Positions(Bytes<{ MAX_ITEMS / 8 }>);

impl Positions {
    /// These positions among `count`, at most [`MAX_ITEMS`]; any beyond are left out.
    pub fn new(count: usize, chosen: impl IntoIterator<Item = usize>) -> Self {
        let mut bits = vec![0_u8; count.min(MAX_ITEMS).div_ceil(8)];
        for at in chosen.into_iter().filter(|at| *at < count) {
            if let Some(byte) = bits.get_mut(at / 8) {
                *byte |= 1 << (at % 8);
            }
        }
        Self(Bytes::try_from(bits).unwrap_or_default())
    }

    /// The positions, ascending; `None` unless these are the bits of exactly so many items, and one at least is set.
    pub fn among(&self, count: usize) -> Option<Vec<usize>> {
        if self.0.len() != count.div_ceil(8) {
            return None;
        }
        let bits = self
            .0
            .iter()
            .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        let set = bits.enumerate().filter(|(_, set)| *set);
        let positions: Vec<usize> = set.map(|(at, _)| at).collect();
        let fits = positions.last().is_some_and(|last| *last < count);
        fits.then_some(positions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_and_fit_one_count_only() {
        let some = Positions::new(10, [0, 7, 9, 10, 99]);
        assert_eq!(some.among(10), Some(vec![0, 7, 9]));
        assert_eq!(some.among(16), Some(vec![0, 7, 9]), "as many bytes");
        assert_eq!(some.among(9), None, "bit 9 would be spare");
        assert_eq!(some.among(17), None);
        assert_eq!(
            Positions::new(10, []).among(10),
            None,
            "nothing is asked for"
        );
        assert_eq!(Positions::new(0, [0]).among(0), None);
        let all = Positions::new(MAX_ITEMS, 0..MAX_ITEMS);
        assert_eq!(all.among(MAX_ITEMS).unwrap().len(), MAX_ITEMS);
        assert_eq!(
            Positions::new(MAX_ITEMS + 8, [3]).among(MAX_ITEMS + 8),
            None
        );
    }
}
