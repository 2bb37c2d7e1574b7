//! The cosigner's guard file on paper (formats.md, section 4: keep last size and last root, synced
//! before a signature is released).
//!
//! Two slots, each in a 4 KiB page of its own, written in turn: the one that is not being written is
//! whole whatever happens to the other. A slot that is neither whole nor empty is damage, because one
//! slot lies in one disk sector and such a write is not torn; the caller then treats the guard as missing
//! (consensus.md, section 3.23). Nothing here opens a file.
//!
//! ```text
//! file = slot 0 at byte 0, slot 1 at byte 4096, 8192 bytes in all, zero elsewhere
//! slot = "NWGUARD1" ‖ cosigner key[32] ‖ counter u64 ‖ size u64 ‖ root[32] ‖ crc32c of these u32
//! ```

use crate::hash::{Hash, sha256};
use crate::id::TreeSize;
use crate::key::Key;
use alloc::vec::Vec;

const FORMAT: &[u8; 8] = b"NWGUARD1";

/// Length of a slot, in bytes.
pub const SLOT_LEN: usize = 92;
/// Distance of the two slots, in bytes.
pub const SLOT_STRIDE: usize = 4096;
/// Length of the file, in bytes.
pub const FILE_LEN: usize = 2 * SLOT_STRIDE;

/// The largest tree that this cosigner signed, and its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// Leaves of the tree; 0 if nothing was signed.
    pub size: TreeSize,
    /// Its root; SHA-256 of nothing for size 0.
    pub root: Hash,
}

/// The guard of one cosigner key, as last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    key: Key,
    counter: u64,
    last: Last,
}

/// One write: these bytes at this offset, then a sync, then the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotWrite {
    /// Where in the file, in bytes.
    pub offset: usize,
    /// What.
    pub bytes: [u8; SLOT_LEN],
}

/// What the guard says to a tree that is about to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// The same tree as last time: sign, nothing needs to be written.
    Again,
    /// A larger tree: write and sync this, then sign.
    Larger(Guard, SlotWrite),
}

/// Why a tree may not be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A larger tree was signed already.
    #[error("tree of size {size} is smaller than the signed one of size {last}")]
    Smaller {
        /// Size that was asked for.
        size: TreeSize,
        /// Size of the largest tree signed.
        last: TreeSize,
    },
    /// Another root of the same size was signed: two histories. The node halts.
    #[error("tree of size {size} has root {root}, but root {signed} was signed at that size")]
    OtherRoot {
        /// The size.
        size: TreeSize,
        /// Root that was asked for.
        root: Hash,
        /// Root that was signed.
        signed: Hash,
    },
}

/// Bytes are not a guard file that can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// The file has another length.
    #[error("guard file has {0} bytes instead of {FILE_LEN}")]
    Length(usize),
    /// A slot is neither whole nor empty, or both are empty.
    #[error("slot {0} of the guard file is damaged")]
    Damaged(usize),
    /// It guards another key.
    #[error("guard file belongs to cosigner key {found}, not to {expected}")]
    OtherKey {
        /// Key in the file.
        found: Key,
        /// Key that is to sign.
        expected: Key,
    },
}

impl Guard {
    /// The guard of a new key: nothing signed.
    pub fn new(key: Key) -> Self {
        Self {
            key,
            counter: 0,
            last: Last {
                size: TreeSize(0),
                root: sha256(&[]),
            },
        }
    }

    /// The whole file of a guard that was just made.
    pub fn file(&self) -> Vec<u8> {
        let mut bytes = self.slot().to_vec();
        bytes.resize(FILE_LEN, 0);
        bytes
    }

    /// What was last signed.
    pub const fn last(&self) -> Last {
        self.last
    }

    /// The rule: never smaller, never another root at the same size.
    ///
    /// # Errors
    /// [`Refusal`]; [`Refusal::OtherRoot`] ends the process.
    pub fn permit(&self, size: TreeSize, root: Hash) -> Result<Permit, Refusal> {
        if size < self.last.size {
            return Err(Refusal::Smaller {
                size,
                last: self.last.size,
            });
        }
        if size == self.last.size {
            return if root == self.last.root {
                Ok(Permit::Again)
            } else {
                Err(Refusal::OtherRoot {
                    size,
                    root,
                    signed: self.last.root,
                })
            };
        }
        let next = Self {
            key: self.key,
            counter: self.counter.saturating_add(1),
            last: Last { size, root },
        };
        let offset = if next.counter.is_multiple_of(2) {
            0
        } else {
            SLOT_STRIDE
        };
        let bytes = next.slot();
        Ok(Permit::Larger(next, SlotWrite { offset, bytes }))
    }

    /// Reads a whole guard file.
    ///
    /// # Errors
    /// [`GuardError`]: the guard counts as missing.
    pub fn parse(file: &[u8], key: Key) -> Result<Self, GuardError> {
        if file.len() != FILE_LEN {
            return Err(GuardError::Length(file.len()));
        }
        let (first, second) = file.split_at_checked(SLOT_STRIDE).unwrap_or_default();
        let guards = [Self::parse_slot(first, 0)?, Self::parse_slot(second, 1)?];
        let newest = guards
            .into_iter()
            .flatten()
            .max_by_key(|guard| guard.counter);
        let guard = newest.ok_or(GuardError::Damaged(0))?;
        if guard.key == key {
            Ok(guard)
        } else {
            Err(GuardError::OtherKey {
                found: guard.key,
                expected: key,
            })
        }
    }

    fn slot(&self) -> [u8; SLOT_LEN] {
        let mut bytes = Vec::with_capacity(SLOT_LEN);
        bytes.extend_from_slice(FORMAT);
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(&self.counter.to_le_bytes());
        bytes.extend_from_slice(&self.last.size.0.to_le_bytes());
        bytes.extend_from_slice(self.last.root.as_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let mut slot = [0; SLOT_LEN];
        slot.copy_from_slice(&bytes);
        slot
    }

    fn parse_slot(page: &[u8], slot: usize) -> Result<Option<Self>, GuardError> {
        let damaged = GuardError::Damaged(slot);
        let bytes = page.first_chunk::<SLOT_LEN>().ok_or(damaged)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let read = || {
            let (_, rest) = bytes.split_first_chunk::<8>()?;
            let (key, rest) = rest.split_first_chunk::<32>()?;
            let (counter, rest) = rest.split_first_chunk::<8>()?;
            let (size, rest) = rest.split_first_chunk::<8>()?;
            let (root, _) = rest.split_first_chunk::<32>()?;
            Some(Self {
                key: Key::from_bytes(*key),
                counter: u64::from_le_bytes(*counter),
                last: Last {
                    size: TreeSize(u64::from_le_bytes(*size)),
                    root: Hash(*root),
                },
            })
        };
        match read() {
            Some(guard) if guard.slot() == *bytes => Ok(Some(guard)),
            Some(_) | None => Err(damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        reason = "a test may panic"
    )]
    use super::*;

    fn key() -> Key {
        Key::from_bytes([7; 32])
    }

    fn sign(file: &mut [u8], guard: &mut Guard, size: u64, root: u8) {
        let Ok(Permit::Larger(next, write)) = guard.permit(TreeSize(size), Hash([root; 32])) else {
            panic!("not larger");
        };
        file[write.offset..write.offset + SLOT_LEN].copy_from_slice(&write.bytes);
        *guard = next;
    }

    #[test]
    fn keeps_the_largest_tree_through_both_slots() {
        let mut guard = Guard::new(key());
        let mut file = guard.file();
        for size in 1..9 {
            sign(&mut file, &mut guard, size, 1);
            assert_eq!(Guard::parse(&file, key()), Ok(guard));
        }
    }

    #[test]
    fn refuses_smaller_trees_and_other_roots() {
        let mut guard = Guard::new(key());
        let mut file = guard.file();
        sign(&mut file, &mut guard, 5, 1);
        assert_eq!(guard.permit(TreeSize(5), Hash([1; 32])), Ok(Permit::Again));
        assert!(matches!(
            guard.permit(TreeSize(4), Hash([1; 32])),
            Err(Refusal::Smaller { .. })
        ));
        assert!(matches!(
            guard.permit(TreeSize(5), Hash([2; 32])),
            Err(Refusal::OtherRoot { .. })
        ));
    }

    #[test]
    fn every_flipped_bit_of_a_slot_is_damage() {
        let mut guard = Guard::new(key());
        let mut file = guard.file();
        sign(&mut file, &mut guard, 5, 1);
        for at in (0..SLOT_LEN).chain(SLOT_STRIDE..SLOT_STRIDE + SLOT_LEN) {
            let mut bad = file.clone();
            bad[at] ^= 1;
            assert!(matches!(
                Guard::parse(&bad, key()),
                Err(GuardError::Damaged(_))
            ));
        }
    }

    #[test]
    fn belongs_to_one_key() {
        let file = Guard::new(key()).file();
        let other = Key::from_bytes([8; 32]);
        assert!(matches!(
            Guard::parse(&file, other),
            Err(GuardError::OtherKey { .. })
        ));
        assert_eq!(
            Guard::parse(&file[1..], key()),
            Err(GuardError::Length(8191))
        );
    }
}
