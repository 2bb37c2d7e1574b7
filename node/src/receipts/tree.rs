//! Trees from which many paths are taken: every node is hashed once.

use ledger::hash::Hash;
use ledger::id::TreeSize;
use ledger::log::{Frontier, TILE_WIDTH, TileReader, node_hash};
use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;

use crate::storage::log_hashes::{ReadError, Reader};

/// The log, tile by tile: a tile is read once, and its inner nodes are kept.
pub(super) struct LogTree {
    reader: Reader,
    size: TreeSize,
    nodes: RefCell<HashMap<(u32, u64), Hash>>,
}

impl LogTree {
    /// The log's first `size` leaves, all of which the reader must have.
    pub(super) fn new(reader: Reader, size: TreeSize) -> Self {
        Self {
            reader,
            size,
            nodes: RefCell::default(),
        }
    }

    /// Reads the tile that holds this hash of a tile level.
    fn load(&self, level: u8, index: u64) -> Result<(), ReadError> {
        let start = index - index % TILE_WIDTH;
        let step = u32::from(level).saturating_mul(8);
        let there = self.size.0.checked_shr(step).unwrap_or(0);
        let count = there.saturating_sub(start).min(TILE_WIDTH);
        let count = usize::try_from(count).unwrap_or(0).max(1);
        let hashes = self.reader.hashes(level, start, count)?;
        let mut nodes = self.nodes.borrow_mut();
        for (at, hash) in (start..).zip(hashes) {
            nodes.insert((step, at), hash);
        }
        Ok(())
    }
}

impl TileReader for LogTree {
    type Error = ReadError;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, ReadError> {
        self.node(u32::from(level).saturating_mul(8), index)
    }

    fn node(&self, height: u32, index: u64) -> Result<Hash, ReadError> {
        if let Some(known) = self.nodes.borrow().get(&(height, index)) {
            return Ok(*known);
        }
        if height.is_multiple_of(8) {
            let level = u8::try_from(height / 8).unwrap_or(u8::MAX);
            self.load(level, index)?;
            let beyond = ReadError::Beyond {
                level,
                start: index,
                count: 1,
                size: self.size.0,
            };
            let found = self.nodes.borrow().get(&(height, index)).copied();
            return found.ok_or(beyond);
        }
        let left = index.saturating_mul(2);
        let below = height.saturating_sub(1);
        let node = node_hash(
            &self.node(below, left)?,
            &self.node(below, left.saturating_add(1))?,
        );
        self.nodes.borrow_mut().insert((height, index), node);
        Ok(node)
    }
}

/// A small tree with all its full nodes, leaves first.
pub(super) struct SmallTree {
    heights: Vec<Vec<Hash>>,
}

impl SmallTree {
    /// The tree over these leaf hashes.
    pub(super) fn new(leaves: Vec<Hash>) -> Self {
        let mut heights = vec![leaves];
        while let Some(below) = heights.last()
            && below.len() > 1
        {
            let (pairs, _) = below.as_chunks::<2>();
            let above = pairs
                .iter()
                .map(|[left, right]| node_hash(left, right))
                .collect();
            heights.push(above);
        }
        Self { heights }
    }

    /// Number of leaves.
    pub(super) fn size(&self) -> TreeSize {
        let leaves = self.heights.first().map_or(0, Vec::len);
        TreeSize(u64::try_from(leaves).unwrap_or(u64::MAX))
    }
}

impl TileReader for SmallTree {
    type Error = Infallible;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
        self.node(u32::from(level).saturating_mul(8), index)
    }

    fn node(&self, height: u32, index: u64) -> Result<Hash, Infallible> {
        let place = usize::try_from(height)
            .ok()
            .zip(usize::try_from(index).ok());
        let node = place.and_then(|(height, index)| self.heights.get(height)?.get(index));
        // A proof inside the tree asks for nothing else.
        Ok(node.copied().unwrap_or_else(|| Frontier::new().root()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::log_hashes::LogHashes;
    use ledger::id::LeafIndex;
    use ledger::log::{leaf_hash, prove_inclusion, verify_inclusion};

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|at| leaf_hash(&at.to_le_bytes())).collect()
    }

    fn root(leaves: &[Hash]) -> Hash {
        let mut tree = Frontier::new();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        tree.root()
    }

    #[test]
    fn paths_of_a_small_tree_verify() {
        for count in [1, 2, 3, 7, 256, 300, 1_000] {
            let leaves = leaves(count);
            let (tree, root) = (SmallTree::new(leaves.clone()), root(&leaves));
            assert_eq!(tree.size(), TreeSize(count));
            for (at, leaf) in (0..).map(LeafIndex).zip(&leaves) {
                let Ok(path) = prove_inclusion(&tree, at, tree.size());
                verify_inclusion(leaf, at, tree.size(), &path.unwrap(), &root).unwrap();
            }
        }
    }

    #[test]
    fn paths_of_an_older_log_verify_while_the_log_has_grown() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogHashes::open(dir.path()).unwrap();
        let leaves = leaves(70_000);
        log.push(&leaves).unwrap();
        for size in [1, 255, 256, 257, 65_536, 66_000, 69_999] {
            let tree = LogTree::new(log.reader(), TreeSize(size));
            let root = root(&leaves[..usize::try_from(size).unwrap()]);
            for at in [0, 1, 255, 256, 65_535, 65_990, size - 1] {
                let Some(leaf) = leaves.get(usize::try_from(at).unwrap()) else {
                    continue;
                };
                let (index, size) = (LeafIndex(at), TreeSize(size));
                let path = prove_inclusion(&tree, index, size).unwrap();
                assert_eq!(path.is_some(), at < size.0);
                if let Some(path) = path {
                    verify_inclusion(leaf, index, size, &path, &root).unwrap();
                }
            }
        }
    }
}
