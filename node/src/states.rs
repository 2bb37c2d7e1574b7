//! The state after every block that may still matter: the index, final blocks above it, unfinalized blocks above those.
//!
//! A block's post-state is never written down before the block is final, and the index is moved only by its one
//! writer, the publisher. Until then a block is a [`Post`]: its effects and its tip. Rules read
//! through the effects of a block's ancestors onto the index. That the index may already hold some of those effects
//! does no harm: they are asked first and say the same.

use crate::storage::index::{Index, ReadError};
use ledger::execute::Executed;
use ledger::hash::{BlockHash, Hash};
use ledger::header::Header;
use ledger::id::Height;
use ledger::tip::Tip;
use ledger::view::{Effects, Overlay, StateView};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

/// Most leaves of final blocks that wait above the index for a quorum's cosignatures, beside the limit of blocks: some
/// hundred bytes each, so that no more than about 100 MB wait.
pub const MAX_WAITING_LEAVES: usize = 250_000;

/// What a valid block made of its parent's state. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Post(Arc<Made>);

#[derive(Debug)]
struct Made {
    header: Header,
    effects: Effects,
    tip: Tip,
    leaves: Vec<Hash>,
}

impl Post {
    /// Keeps what is needed of an execution's result: of the leaves only their hashes.
    pub fn new(executed: Executed) -> Self {
        let Executed {
            header,
            leaves,
            effects,
            tip,
        } = executed;
        Self(Arc::new(Made {
            header,
            effects,
            tip,
            leaves: leaves.into_iter().map(|leaf| leaf.hash).collect(),
        }))
    }

    /// The block's header.
    pub fn header(&self) -> &Header {
        &self.0.header
    }

    /// What its children build on.
    pub fn tip(&self) -> &Tip {
        &self.0.tip
    }

    /// What it writes.
    pub fn effects(&self) -> &Effects {
        &self.0.effects
    }

    /// Hashes of its leaves, the trailer's last.
    pub fn leaves(&self) -> &[Hash] {
        &self.0.leaves
    }
}

/// The first block, counted from the newest, that is too many, given the leaves of each. The newest may always wait.
fn first_over(newest_first: impl Iterator<Item = usize>, blocks: usize) -> Option<usize> {
    let mut waiting = 0_usize;
    for (at, leaves) in newest_first.enumerate() {
        waiting = waiting.saturating_add(leaves);
        if at >= blocks || (at > 0 && waiting > MAX_WAITING_LEAVES) {
            return Some(at);
        }
    }
    None
}

/// All post-states; shared by those who read and the few who write.
#[derive(Debug)]
pub struct States {
    index: Index,
    blocks: RwLock<Blocks>,
    /// Height of `base`.
    settled: watch::Sender<Height>,
}

#[derive(Debug)]
struct Blocks {
    /// What the oldest of `finals` builds on.
    base: Tip,
    /// Final and archived, oldest first, each the parent of the next.
    finals: VecDeque<Post>,
    /// Valid and not final yet, at most as many as the engine holds.
    open: HashMap<BlockHash, Post>,
}

/// The chain of post-states from the index up to one block.
#[derive(Debug)]
pub struct Branch {
    tip: Tip,
    /// Oldest first.
    posts: Vec<Post>,
    /// How many of them, at the end, are not final.
    open: usize,
}

impl States {
    /// The index stands at `base` (or beyond); no block is above it.
    pub fn new(index: Index, base: Tip) -> Self {
        let settled = watch::Sender::new(base.height);
        let blocks = Blocks {
            base,
            finals: VecDeque::new(),
            open: HashMap::new(),
        };
        Self {
            index,
            blocks: RwLock::new(blocks),
            settled,
        }
    }

    /// The index below.
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// The chain that ends in this block; `None` if its state is not held.
    pub fn branch(&self, block: &BlockHash) -> Option<Branch> {
        let blocks = self.read();
        let mut open = Vec::new();
        let mut at = *block;
        while let Some(post) = blocks.open.get(&at) {
            open.push(post.clone());
            at = post.header().parent;
        }
        let finals = if at == blocks.base.hash {
            0
        } else {
            let found = blocks
                .finals
                .iter()
                .position(|post| post.tip().hash == at)?;
            found.saturating_add(1)
        };
        let mut posts: Vec<Post> = blocks.finals.iter().take(finals).cloned().collect();
        let count = open.len();
        posts.extend(open.into_iter().rev());
        let tip = posts.last().map_or(&blocks.base, Post::tip).clone();
        Some(Branch {
            tip,
            posts,
            open: count,
        })
    }

    /// The chain that ends in the newest final block.
    pub fn final_branch(&self) -> Branch {
        let blocks = self.read();
        let posts: Vec<Post> = blocks.finals.iter().cloned().collect();
        let tip = posts.last().map_or(&blocks.base, Post::tip).clone();
        Branch {
            tip,
            posts,
            open: 0,
        }
    }

    /// Where the newest final block leaves the chain.
    pub fn final_tip(&self) -> Tip {
        let blocks = self.read();
        blocks.finals.back().map_or(&blocks.base, Post::tip).clone()
    }

    /// Where the newest block that the index holds for certain leaves the chain.
    pub fn base(&self) -> Tip {
        self.read().base.clone()
    }

    /// Keeps the post-state of a valid block.
    pub fn keep(&self, post: Post) {
        self.write().open.insert(post.tip().hash, post);
    }

    /// The post-state of a valid block that is not final.
    pub fn open(&self, block: &BlockHash) -> Option<Post> {
        self.read().open.get(block).cloned()
    }

    /// Drops a block that can never become final.
    pub fn forget(&self, block: &BlockHash) {
        self.write().open.remove(block);
    }

    /// These blocks, each the parent of the next, are final and archived; what they exclude is dropped.
    pub fn finalize(&self, posts: &[Post]) {
        let mut blocks = self.write();
        blocks.finals.extend(posts.iter().cloned());
        if let Some(last) = posts.last() {
            let height = last.tip().height;
            blocks.open.retain(|_, post| post.tip().height > height);
        }
    }

    /// Final blocks above the index, up to this height, oldest first.
    pub fn finals_up_to(&self, height: Height) -> Vec<Post> {
        let blocks = self.read();
        let wanted = blocks.finals.iter();
        let wanted = wanted.take_while(|post| post.tip().height <= height);
        wanted.cloned().collect()
    }

    /// The oldest final block above the index.
    pub fn oldest_final(&self) -> Option<Post> {
        self.read().finals.front().cloned()
    }

    /// The newest of the final blocks that are too many above the index: over `blocks`, or over [`MAX_WAITING_LEAVES`].
    pub fn excess(&self, blocks: usize) -> Option<Height> {
        let held = self.read();
        let newest_first = held.finals.iter().rev();
        let leaves = newest_first.clone().map(|post| post.leaves().len());
        let first = first_over(leaves, blocks)?;
        let mut posts = newest_first.skip(first);
        posts.next().map(|post| post.tip().height)
    }

    /// Number of final blocks above the index.
    pub fn finals(&self) -> usize {
        self.read().finals.len()
    }

    /// The index holds the final blocks up to this height: they are dropped here.
    pub fn settle(&self, height: Height) {
        let mut blocks = self.write();
        while let Some(post) = blocks.finals.front() {
            if post.tip().height > height {
                break;
            }
            if let Some(post) = blocks.finals.pop_front() {
                blocks.base = post.tip().clone();
            }
        }
        let height = blocks.base.height;
        drop(blocks);
        self.settled.send_replace(height);
    }

    /// Watches up to where the index holds the blocks.
    pub fn settled(&self) -> watch::Receiver<Height> {
        self.settled.subscribe()
    }

    fn read(&self) -> RwLockReadGuard<'_, Blocks> {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Blocks> {
        self.blocks.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Branch {
    /// Where its newest block leaves the chain.
    pub const fn tip(&self) -> &Tip {
        &self.tip
    }

    /// Its blocks that are not final, oldest first.
    pub fn open(&self) -> &[Post] {
        let finals = self.posts.len().saturating_sub(self.open);
        self.posts.get(finals..).unwrap_or_default()
    }

    /// Looks at the state after its newest block. The look holds the index: be short.
    ///
    /// # Errors
    /// [`ReadError`] if the index is closed.
    pub fn with<R>(
        &self,
        states: &States,
        look: impl FnOnce(&dyn StateView, &Tip) -> R,
    ) -> Result<R, ReadError> {
        // The index is looked at after the branch was taken: it is at the branch's begin or beyond.
        let view = states.index.view()?;
        let below: &dyn StateView = &view;
        let mut overlay = Overlay::new(below);
        for post in &self.posts {
            overlay = overlay.with(post.effects());
        }
        Ok(look(&overlay, &self.tip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_above_the_index_is_bounded_in_blocks_and_in_leaves() {
        let over = |leaves: &[usize], blocks| first_over(leaves.iter().copied(), blocks);
        assert_eq!(over(&[1, 1, 1], 3), None);
        assert_eq!(over(&[1, 1, 1], 2), Some(2));
        let third = MAX_WAITING_LEAVES / 3;
        assert_eq!(over(&[third, third, third, 1], 1_024), None);
        assert_eq!(over(&[third, third, third, 3, 1], 1_024), Some(3));
        assert_eq!(over(&[MAX_WAITING_LEAVES + 1], 1_024), None);
        assert_eq!(over(&[1, MAX_WAITING_LEAVES, 1], 1_024), Some(1));
    }
}
