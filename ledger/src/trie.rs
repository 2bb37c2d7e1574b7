//! The status map: one binary prefix trie over 256-bit keys, with proofs (formats.md, section 5).
//!
//! A [`Trie`] is a persistent value: cloning it copies a pointer, an update shares every untouched
//! branch with the trie before. Nothing is ever deleted, and the root depends on the set of entries
//! alone, never on the order in which they came. What the keys and values stand for is
//! [`crate::state`]'s matter.

use crate::codec::refuse;
use crate::hash::{Hash, sha256};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use borsh::io::{Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};

/// Bits of a key, hence the deepest place of a leaf.
pub const MAX_DEPTH: usize = 256;

/// Where an entry sits: a tagged hash of what it is about. Bits are read most significant first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct TrieKey(pub Hash);

/// What an entry says: a tagged hash of its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct TrieValue(pub Hash);

impl TrieKey {
    /// Bit `at`, 0 being the most significant; behind the last bit there are zeros.
    fn bit(&self, at: usize) -> bool {
        let byte = self.0.as_bytes().get(at / 8).copied().unwrap_or(0);
        byte >> (7_usize.saturating_sub(at % 8)) & 1 == 1
    }

    /// Whether the first `bits` bits of both keys are equal.
    fn shares_prefix(&self, other: &Self, bits: usize) -> bool {
        (0..bits).all(|at| self.bit(at) == other.bit(at))
    }
}

/// SHA-256(02 ‖ key ‖ value).
fn leaf_hash(key: &TrieKey, value: &TrieValue) -> Hash {
    sha256(&[&[2], key.0.as_bytes(), value.0.as_bytes()])
}

/// SHA-256(03 ‖ left ‖ right), a missing child being zero.
fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[3], left.as_bytes(), right.as_bytes()])
}

#[derive(Debug)]
struct Node {
    hash: Hash,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Leaf { key: TrieKey, value: TrieValue },
    Branch { left: Link, right: Link },
}

type Link = Option<Arc<Node>>;

fn link_hash(link: &Link) -> Hash {
    link.as_ref().map_or(Hash::ZERO, |node| node.hash)
}

fn leaf(key: TrieKey, value: TrieValue) -> Arc<Node> {
    Arc::new(Node {
        hash: leaf_hash(&key, &value),
        kind: Kind::Leaf { key, value },
    })
}

fn branch(left: Link, right: Link) -> Arc<Node> {
    Arc::new(Node {
        hash: node_hash(&link_hash(&left), &link_hash(&right)),
        kind: Kind::Branch { left, right },
    })
}

/// The entries, split at bit `depth`; they are sorted and agree on all bits before it.
fn split(entries: &[(TrieKey, TrieValue)], depth: usize) -> (&[Entry], &[Entry]) {
    entries.split_at(entries.partition_point(|(key, _)| !key.bit(depth)))
}

type Entry = (TrieKey, TrieValue);

/// The subtree at `depth` that holds exactly these sorted, distinct entries.
fn grow(entries: &[Entry], depth: usize) -> Link {
    match entries {
        [] => None,
        [(key, value)] => Some(leaf(*key, *value)),
        _ => {
            let (left, right) = split(entries, depth);
            let below = depth.saturating_add(1);
            Some(branch(grow(left, below), grow(right, below)))
        }
    }
}

/// The subtree at `depth` after sorted, distinct entries were set in it.
fn merge(link: &Link, entries: &[Entry], depth: usize) -> Link {
    let (Some(node), false) = (link, entries.is_empty()) else {
        return if entries.is_empty() {
            link.clone()
        } else {
            grow(entries, depth)
        };
    };
    match &node.kind {
        Kind::Branch { left, right } => {
            let (low, high) = split(entries, depth);
            let below = depth.saturating_add(1);
            Some(branch(merge(left, low, below), merge(right, high, below)))
        }
        Kind::Leaf { key, value } => match entries.binary_search_by_key(key, |entry| entry.0) {
            Ok(_replaced) => grow(entries, depth),
            Err(at) => {
                let mut all = entries.to_vec();
                all.insert(at, (*key, *value));
                grow(&all, depth)
            }
        },
    }
}

/// A set of (key, value) entries with a root and proofs.
#[derive(Clone, Debug, Default)]
pub struct Trie {
    root: Link,
}

impl Trie {
    /// The empty trie; its root is zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// The root hash; zero for the empty trie.
    pub fn root(&self) -> Hash {
        link_hash(&self.root)
    }

    /// Sets one entry. For many at once, [`Trie::extend`] costs a fraction.
    pub fn insert(&mut self, key: TrieKey, value: TrieValue) {
        self.root = merge(&self.root, &[(key, value)], 0);
    }

    /// Sets many entries; each branch above them is hashed once.
    pub fn extend(&mut self, entries: &BTreeMap<TrieKey, TrieValue>) {
        let entries: Vec<Entry> = entries.iter().map(|(key, value)| (*key, *value)).collect();
        self.root = merge(&self.root, &entries, 0);
    }

    /// The value at a key.
    pub fn get(&self, key: &TrieKey) -> Option<TrieValue> {
        match self.walk(key, |_| ()) {
            End::Leaf(found, value) if found == *key => Some(value),
            End::Leaf(..) | End::Nothing => None,
        }
    }

    /// Proves what the trie says about a key: its entry, or that it has none.
    pub fn prove(&self, key: &TrieKey) -> TrieProof {
        let mut siblings = Vec::new();
        let end = self.walk(key, |sibling| siblings.push(sibling));
        siblings.reverse();
        let terminal = match end {
            End::Leaf(found, _) if found == *key => Terminal::Member,
            End::Leaf(key, value) => Terminal::OtherLeaf { key, value },
            End::Nothing => Terminal::Empty,
        };
        TrieProof { terminal, siblings }
    }

    /// Follows the key down, showing each sibling, from the root on.
    fn walk(&self, key: &TrieKey, mut show: impl FnMut(Option<Hash>)) -> End {
        let mut link = &self.root;
        for depth in 0..=MAX_DEPTH {
            let Some(node) = link else {
                return End::Nothing;
            };
            match &node.kind {
                Kind::Leaf { key, value } => return End::Leaf(*key, *value),
                Kind::Branch { left, right } => {
                    let (next, sibling) = if key.bit(depth) {
                        (right, left)
                    } else {
                        (left, right)
                    };
                    show(sibling.as_ref().map(|node| node.hash));
                    link = next;
                }
            }
        }
        End::Nothing
    }
}

impl PartialEq for Trie {
    fn eq(&self, other: &Self) -> bool {
        self.root() == other.root()
    }
}

impl Eq for Trie {}

enum End {
    Leaf(TrieKey, TrieValue),
    Nothing,
}

/// What stands at the end of the proved key's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// 1: the key's own leaf.
    Member,
    /// 2: the leaf of another key with the same prefix: the proved key has no entry.
    OtherLeaf {
        /// The other key.
        key: TrieKey,
        /// Its value.
        value: TrieValue,
    },
    /// 3: nothing: the proved key has no entry.
    Empty,
}

/// A proof about one key: terminal, depth, and the siblings from the deepest up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrieProof {
    terminal: Terminal,
    /// `None` for an empty sibling.
    siblings: Vec<Option<Hash>>,
}

/// Why a proof does not show what is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrieError {
    /// It proves presence where absence is claimed, or the reverse.
    #[error("trie proof is of the wrong kind: {0:?}")]
    Kind(Terminal),
    /// The other leaf is the key's own, or does not lie on its path.
    #[error("trie proof ends in a leaf that is not on the key's path")]
    OtherLeaf,
    /// The hashes lead to another root.
    #[error("trie proof leads to root {found}, expected {expected}")]
    Root {
        /// Where the proof leads.
        found: Hash,
        /// The root to be shown.
        expected: Hash,
    },
}

impl TrieProof {
    /// Most bytes of an encoded proof.
    pub const MAX_LEN: usize = 1 + 2 + 64 + MAX_DEPTH / 8 + 32 * MAX_DEPTH;

    /// What stands at the end of the path.
    pub const fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// Number of siblings.
    pub fn depth(&self) -> usize {
        self.siblings.len()
    }

    /// Checks that under `root` the key has this value, or, with `None`, no entry at all.
    ///
    /// # Errors
    /// [`TrieError`] names what does not fit.
    pub fn verify(
        &self,
        root: &Hash,
        key: &TrieKey,
        value: Option<&TrieValue>,
    ) -> Result<(), TrieError> {
        let start = match (&self.terminal, value) {
            (Terminal::Member, Some(value)) => leaf_hash(key, value),
            (Terminal::OtherLeaf { key: other, value }, None) => {
                if other == key || !other.shares_prefix(key, self.depth()) {
                    return Err(TrieError::OtherLeaf);
                }
                leaf_hash(other, value)
            }
            (Terminal::Empty, None) => Hash::ZERO,
            (Terminal::Member, None) | (Terminal::OtherLeaf { .. } | Terminal::Empty, Some(_)) => {
                return Err(TrieError::Kind(self.terminal));
            }
        };
        let levels = (0..self.depth()).rev();
        let found = self
            .siblings
            .iter()
            .zip(levels)
            .fold(start, |node, (sibling, level)| {
                let sibling = sibling.unwrap_or(Hash::ZERO);
                if key.bit(level) {
                    node_hash(&sibling, &node)
                } else {
                    node_hash(&node, &sibling)
                }
            });
        if found == *root {
            Ok(())
        } else {
            Err(TrieError::Root {
                found,
                expected: *root,
            })
        }
    }
}

impl BorshSerialize for TrieProof {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        let code: u8 = match self.terminal {
            Terminal::Member => 1,
            Terminal::OtherLeaf { .. } => 2,
            Terminal::Empty => 3,
        };
        code.serialize(writer)?;
        let depth = u16::try_from(self.depth()).map_err(|_over| refuse("trie proof too deep"))?;
        depth.serialize(writer)?;
        if let Terminal::OtherLeaf { key, value } = &self.terminal {
            (key, value).serialize(writer)?;
        }
        for eight in self.siblings.chunks(8) {
            let bits = eight.iter().rev();
            let byte = bits.fold(0_u8, |byte, sibling| {
                byte << 1 | u8::from(sibling.is_none())
            });
            byte.serialize(writer)?;
        }
        let mut present = self.siblings.iter().flatten();
        present.try_for_each(|sibling| sibling.serialize(writer))
    }
}

impl BorshDeserialize for TrieProof {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let code = u8::deserialize_reader(reader)?;
        let depth = usize::from(u16::deserialize_reader(reader)?);
        if depth > MAX_DEPTH {
            return Err(refuse("trie proof is deeper than 256"));
        }
        let terminal = match code {
            1 => Terminal::Member,
            2 => Terminal::OtherLeaf {
                key: TrieKey::deserialize_reader(reader)?,
                value: TrieValue::deserialize_reader(reader)?,
            },
            3 => Terminal::Empty,
            _ => return Err(refuse("unknown terminal of a trie proof")),
        };
        let mut empty = Vec::with_capacity(depth);
        for start in (0..depth).step_by(8) {
            let byte = u8::deserialize_reader(reader)?;
            let used = depth.saturating_sub(start).min(8);
            if used < 8 && byte >> used != 0 {
                return Err(refuse("spare bits of a trie proof are set"));
            }
            empty.extend((0..used).map(|bit| byte >> bit & 1 == 1));
        }
        if empty.first() == Some(&true) {
            return Err(refuse("deepest sibling of a trie proof is empty"));
        }
        let mut siblings = Vec::with_capacity(depth);
        for empty in empty {
            if empty {
                siblings.push(None);
                continue;
            }
            let sibling = Hash::deserialize_reader(reader)?;
            if sibling == Hash::ZERO {
                return Err(refuse("explicit zero sibling in a trie proof"));
            }
            siblings.push(Some(sibling));
        }
        Ok(Self { terminal, siblings })
    }
}
