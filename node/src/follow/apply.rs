//! Executes verified blocks in order and hands them to the archivist: the follower's last stage, on a thread of its own.
//!
//! The rules run once more, as on every node: a quorum's finalization says that a block is decided, not that it is
//! right. Executed blocks wait above the index in memory; so few may wait, in number and bytes.

use crate::archivist::{Commit, Place};
use crate::chain::Chain;
use crate::executor;
use crate::exit;
use crate::range::{Opened, OpenedBlock};
use crate::states::Post;
use ledger::execute::{self, BlockError};
use ledger::id::Height;
use ledger::tip::EpochInfo;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Blocks that may wait above the index.
const MAX_AHEAD: u64 = 48;
/// Blocks of one commit; the archive syncs once for many.
const COMMIT: usize = 16;

/// What comes in: a range, and where the node stands with it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) opened: Opened,
    pub(super) place: Place,
}

/// How far the blocks are executed, and the epoch of the next one.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) height: Height,
    pub(super) epoch: Arc<EpochInfo>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Applier {
    pub(super) chain: Chain,
    pub(super) commits: mpsc::Sender<Commit>,
    pub(super) requests: mpsc::Sender<executor::Request>,
    pub(super) applied: watch::Sender<Applied>,
}

/// The blocks on this disk and what a quorum decided exclude each other, or the state cannot be read.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error("block {0} is final, and does not follow from the blocks on this disk: divergence")]
    Diverged(Height),
    #[error("block {height} is final and breaks a rule: divergence")]
    Invalid {
        height: Height,
        #[source]
        source: BlockError,
    },
    #[error("the state cannot be read")]
    State(#[from] crate::storage::index::ReadError),
}

impl Applier {
    /// Works until the follower is gone. Blocks its thread.
    pub(super) fn run(self, runtime: &tokio::runtime::Handle, mut jobs: mpsc::Receiver<Job>) {
        let mut settled = self.chain.states().settled();
        // Blocks up to here settle by themselves. Those that were above the index at the start do it with the first
        // that are fetched: nobody cosigns them any more.
        let mut joined = Height(0);
        while let Some(Job { opened, place }) = jobs.blocking_recv() {
            let mut blocks = opened.blocks.into_iter().peekable();
            while blocks.peek().is_some() {
                let group: Vec<OpenedBlock> = take_group(&mut blocks);
                let last = group.last().map(|one| one.block.header.height);
                let lowest = last.unwrap_or_default().saturating_sub(MAX_AHEAD);
                let lowest = lowest.min(joined);
                let wait = settled.wait_for(|height| *height >= lowest);
                if place == Place::Joining && runtime.block_on(wait).is_err() {
                    return;
                }
                match self.apply(group, place) {
                    Ok(Some(())) if place == Place::Joining => joined = last.unwrap_or_default(),
                    Ok(Some(())) => {}
                    Ok(None) => return,
                    Err(halt) => exit::abort(&halt),
                }
            }
        }
    }

    /// `None` if the node stops.
    fn apply(&self, group: Vec<OpenedBlock>, place: Place) -> Result<Option<()>, Halt> {
        let states = self.chain.states();
        let mut blocks = Vec::with_capacity(group.len());
        let mut finalization = None;
        for one in group {
            let header = &one.block.header;
            let height = header.height;
            let branch = states
                .branch(&header.parent)
                .ok_or(Halt::Diverged(height))?;
            let executed = branch.with(states, |state, tip| {
                execute::check_block(self.chain.founding(), state, tip, header, &one.body)
            })?;
            let executed = executed.map_err(|source| Halt::Invalid { height, source })?;
            let post = Post::new(executed);
            states.keep(post.clone());
            self.chain.counters().valid_blocks.increment();
            finalization = one.finalization;
            blocks.push((one.block, post));
        }
        let Some((_, last)) = blocks.last() else {
            return Ok(Some(()));
        };
        let tip = last.tip().clone();
        let commit = Commit {
            blocks,
            finalization,
            place,
        };
        if self.commits.blocking_send(commit).is_err() {
            return Ok(None);
        }
        // The pool is asked about the newest block only: while the node is far behind, nobody waits for it.
        if place == Place::Head {
            let head = executor::Request::Head(tip.hash);
            self.requests.blocking_send(head).ok();
        }
        self.applied.send_replace(Applied {
            height: tip.height,
            epoch: Arc::clone(&tip.epoch),
        });
        Ok(Some(()))
    }
}

/// Blocks up to the next one with its own finalization, which is archived with it; at most [`COMMIT`].
fn take_group(blocks: &mut impl Iterator<Item = OpenedBlock>) -> Vec<OpenedBlock> {
    let mut group = Vec::new();
    for one in blocks {
        let ends = one.finalization.is_some();
        group.push(one);
        if ends || group.len() >= COMMIT {
            break;
        }
    }
    group
}
