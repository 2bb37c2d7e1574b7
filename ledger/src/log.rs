//! The RFC 9162 SHA-256 tree: appending, proofs, and their verification (formats.md, section 7.0).
//!
//! Proofs are made from the hashes of tiles, read through [`TileReader`]; the tree itself is kept
//! elsewhere. Size 0: only the empty consistency proof from size 0 to size 0 exists.

use crate::codec::{List, refuse};
use crate::hash::{Hash, sha256};
use crate::id::{LeafIndex, TreeSize};
use alloc::vec::Vec;
use borsh::io::{Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};

/// Most hashes of a path.
pub const MAX_PATH: usize = 64;

/// Hashes of a full tile: a tile covers 2^8 nodes of the level below its root.
pub const TILE_WIDTH: u64 = 256;

/// SHA-256(00 ‖ data).
pub fn leaf_hash(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

/// SHA-256(01 ‖ left ‖ right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The right edge of a tree: enough to append and to know the root. At most 64 hashes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// Roots of the full subtrees, largest first.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// The frontier of a tree that is stored elsewhere.
    ///
    /// # Errors
    /// What the reader refuses.
    pub fn read<R: TileReader>(reader: &R, size: TreeSize) -> Result<Self, R::Error> {
        let mut peaks = Vec::new();
        let mut start = 0_u64;
        for level in (0..64_u8).rev() {
            let width = 1_u64 << level;
            if size.0 & width != 0 {
                peaks.push(subtree(reader, start, width)?);
                start = start.saturating_add(width);
            }
        }
        Ok(Self {
            size: size.0,
            peaks,
        })
    }

    /// Number of leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size = self.size.saturating_add(1);
    }

    /// Root of the tree; SHA-256 of nothing for the empty one.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else {
            return sha256(&[]);
        };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// A path of at most 64 hashes: u8 count ‖ hashes, nearest to the leaf first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Path(List<Hash, MAX_PATH>);

impl Path {
    /// Takes at most 64 hashes; `None` for more.
    pub fn new(hashes: Vec<Hash>) -> Option<Self> {
        List::try_from(hashes).ok().map(Self)
    }

    /// The hashes, nearest to the leaf first.
    pub fn hashes(&self) -> &[Hash] {
        &self.0
    }
}

impl BorshSerialize for Path {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        let count = u8::try_from(self.0.len()).map_err(|_over| refuse("path is too long"))?;
        count.serialize(writer)?;
        self.0.iter().try_for_each(|hash| hash.serialize(writer))
    }
}

impl BorshDeserialize for Path {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let count = usize::from(u8::deserialize_reader(reader)?);
        if count > MAX_PATH {
            return Err(refuse("path is longer than 64 hashes"));
        }
        let hashes = (0..count).map(|_| Hash::deserialize_reader(reader));
        let hashes = hashes.collect::<IoResult<Vec<_>>>()?;
        Self::new(hashes).ok_or_else(|| refuse("path is longer than 64 hashes"))
    }
}

/// Reads hashes of tiles. Level `l` holds, at position `i`, the root over leaves `i·256^l` to `(i+1)·256^l`,
/// for full runs only; level 0 holds the leaf hashes.
pub trait TileReader {
    /// Why a hash could not be read.
    type Error;

    /// The hash at `index` of `level`.
    ///
    /// # Errors
    /// If it is not there or cannot be read.
    fn hash(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;

    /// Root of the full subtree over 2^`height` leaves, the `index`-th of its size. A reader that keeps the
    /// nodes inside its tiles answers many proofs for the price of one.
    ///
    /// # Errors
    /// As [`TileReader::hash`].
    fn node(&self, height: u32, index: u64) -> Result<Hash, Self::Error> {
        fold(self, height, index)
    }
}

/// Root of the full subtree over `width` leaves from `start`, both aligned; `width` is a power of two.
fn subtree<R: TileReader>(reader: &R, start: u64, width: u64) -> Result<Hash, R::Error> {
    let height = width.trailing_zeros();
    reader.node(height, start.checked_shr(height).unwrap_or(0))
}

/// A node from the hashes of the tile level below it.
fn fold<R: TileReader + ?Sized>(reader: &R, height: u32, index: u64) -> Result<Hash, R::Error> {
    let within = height % 8;
    let count = 1_u64 << within;
    let first = index.saturating_mul(count);
    let level = u8::try_from(height / 8).unwrap_or(u8::MAX);
    let read = |at: u64| reader.hash(level, first.saturating_add(at));
    let mut nodes = (0..count).map(read).collect::<Result<Vec<_>, _>>()?;
    while nodes.len() > 1 {
        nodes = nodes
            .chunks(2)
            .filter_map(|pair| pair.first().zip(pair.get(1)))
            .map(|(left, right)| node_hash(left, right))
            .collect();
    }
    Ok(nodes.first().copied().unwrap_or_else(|| sha256(&[])))
}

/// Root over leaves `start` to `end` (not empty, `start` aligned as MTH splits).
fn range_root<R: TileReader>(reader: &R, start: u64, end: u64) -> Result<Hash, R::Error> {
    let mut parts = Vec::new();
    let mut at = start;
    while at < end {
        let left = end.saturating_sub(at);
        let width = 1_u64 << left.ilog2();
        parts.push(subtree(reader, at, width)?);
        at = at.saturating_add(width);
    }
    let mut parts = parts.iter().rev();
    let last = parts.next().copied().unwrap_or_else(|| sha256(&[]));
    Ok(parts.fold(last, |right, left| node_hash(left, &right)))
}

/// Root of the tree of the first `size` leaves.
///
/// # Errors
/// What the reader refuses.
pub fn root<R: TileReader>(reader: &R, size: TreeSize) -> Result<Hash, R::Error> {
    range_root(reader, 0, size.0)
}

/// Largest power of two below `size` (which is at least 2).
const fn split(size: u64) -> u64 {
    1 << size.saturating_sub(1).ilog2()
}

/// The inclusion path of leaf `index` in the tree of `size` leaves; `None` unless index < size.
///
/// # Errors
/// What the reader refuses.
pub fn prove_inclusion<R: TileReader>(
    reader: &R,
    index: LeafIndex,
    size: TreeSize,
) -> Result<Option<Path>, R::Error> {
    if index.0 >= size.0 {
        return Ok(None);
    }
    let (mut start, mut end) = (0_u64, size.0);
    let mut path = Vec::new();
    while end.saturating_sub(start) > 1 {
        let middle = start.saturating_add(split(end.saturating_sub(start)));
        if index.0 < middle {
            path.push(range_root(reader, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(reader, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(Path::new(path))
}

/// The consistency path from the tree of `old` leaves to that of `new`; `None` unless 0 < old ≤ new, or both are 0.
///
/// # Errors
/// What the reader refuses.
pub fn prove_consistency<R: TileReader>(
    reader: &R,
    old: TreeSize,
    new: TreeSize,
) -> Result<Option<Path>, R::Error> {
    if old == new {
        return Ok(Some(Path::default()));
    }
    if old.0 == 0 || old > new {
        return Ok(None);
    }
    let (mut start, mut end) = (0_u64, new.0);
    let mut path = Vec::new();
    let mut whole = true;
    loop {
        if old.0 == end {
            if !whole {
                path.push(range_root(reader, start, end)?);
            }
            break;
        }
        let middle = start.saturating_add(split(end.saturating_sub(start)));
        if old.0 <= middle {
            path.push(range_root(reader, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(reader, start, middle)?);
            start = middle;
            whole = false;
        }
    }
    path.reverse();
    Ok(Path::new(path))
}

/// A proof does not lead to the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Index or sizes are out of order.
    #[error("position {index} is not inside a tree of {size} leaves")]
    Position {
        /// Leaf index or old size.
        index: u64,
        /// Tree size.
        size: u64,
    },
    /// The path has too few or too many hashes for this position.
    #[error("the path does not have the length that position {index} of {size} needs")]
    Length {
        /// Leaf index or old size.
        index: u64,
        /// Tree size.
        size: u64,
    },
    /// The path leads to another root.
    #[error("the path from position {index} leads to another root than that of size {size}")]
    Root {
        /// Leaf index or old size.
        index: u64,
        /// Tree size.
        size: u64,
    },
}

/// Verifies an inclusion path (RFC 9162, 2.1.3.2).
///
/// # Errors
/// [`ProofError`] says what does not fit.
pub fn verify_inclusion(
    leaf: &Hash,
    index: LeafIndex,
    size: TreeSize,
    path: &Path,
    root: &Hash,
) -> Result<(), ProofError> {
    let (index, size) = (index.0, size.0);
    if index >= size {
        return Err(ProofError::Position { index, size });
    }
    let (mut at, mut last, mut node) = (index, size.saturating_sub(1), *leaf);
    for hash in path.hashes() {
        if last == 0 {
            return Err(ProofError::Length { index, size });
        }
        if at & 1 == 1 || at == last {
            node = node_hash(hash, &node);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            node = node_hash(&node, hash);
        }
        at >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length { index, size });
    }
    if node == *root {
        Ok(())
    } else {
        Err(ProofError::Root { index, size })
    }
}

/// Verifies a consistency path (RFC 9162, 2.1.4.2).
///
/// # Errors
/// [`ProofError`] says what does not fit. From size 0 nothing is consistent but size 0.
pub fn verify_consistency(
    old: (TreeSize, &Hash),
    new: (TreeSize, &Hash),
    path: &Path,
) -> Result<(), ProofError> {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    let (index, size) = (old_size.0, new_size.0);
    if index > size || (index == 0 && size != 0) {
        return Err(ProofError::Position { index, size });
    }
    if index == size {
        let empty = path.hashes().is_empty();
        return match empty {
            true if old_root == new_root => Ok(()),
            true => Err(ProofError::Root { index, size }),
            false => Err(ProofError::Length { index, size }),
        };
    }
    let mut hashes = path.hashes().iter();
    let first = if index.is_power_of_two() {
        Some(old_root)
    } else {
        hashes.next()
    };
    let first = first.ok_or(ProofError::Length { index, size })?;
    let (mut at, mut last) = (index.saturating_sub(1), size.saturating_sub(1));
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut before, mut after) = (*first, *first);
    for hash in hashes {
        if last == 0 {
            return Err(ProofError::Length { index, size });
        }
        if at & 1 == 1 || at == last {
            before = node_hash(hash, &before);
            after = node_hash(hash, &after);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            after = node_hash(&after, hash);
        }
        at >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length { index, size });
    }
    let fits = before == *old_root && after == *new_root;
    if fits {
        Ok(())
    } else {
        Err(ProofError::Root { index, size })
    }
}
