//! Puts final blocks on the disk, then says that they are final.
//!
//! In this order: archive (one sync for all that waits), log hashes, state, and only then readers, waiting clients,
//! the cosigner and the publisher. What is said can be read back after any crash.

use crate::chain::Chain;
use crate::cosigner;
use crate::executor;
use crate::exit;
use crate::publisher;
use crate::states::Post;
use crate::storage::Fatal;
use crate::storage::archive::Archive;
use crate::storage::log_hashes::LogHashes;
use ledger::certificate::Certificate;
use ledger::codec;
use ledger::frame::Payload;
use ledger::id::Height;
use std::path::PathBuf;
use std::time::Instant;
use tokio::sync::{mpsc, watch};

/// Commits that may wait; the driver waits with the next.
pub const COMMITS: usize = 64;
/// Commits that share a sync at most.
const GROUP: usize = 32;
/// Leaves after which the log's hashes are synced: so many are hashed again after a crash.
const LOG_CHECKPOINT: u64 = 100_000;

/// Blocks that became final together.
#[derive(Debug)]
pub struct Commit {
    /// Each with its post-state, in order.
    pub blocks: Vec<(consensus::Block, Post)>,
    /// The finalization of the last; `None` while the node catches up.
    pub finalization: Option<Certificate>,
    /// Whether others are known to be further.
    pub place: Place,
}

/// Where a node stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// As far as anybody honest is known to be.
    Head,
    /// Behind at least one honest node.
    Behind,
    /// Far behind: blocks come in ranges, and nobody waits for what they show.
    Joining,
}

/// Where it tells what is final.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// Takes what is included out of the pool.
    pub executor: mpsc::Sender<executor::Request>,
    /// Cosigns.
    pub cosigner: mpsc::Sender<cosigner::Input>,
    /// Bounds what is above the index.
    pub publisher: mpsc::Sender<publisher::Input>,
    /// Archived height, for the driver.
    pub archived: watch::Sender<Height>,
}

/// The archivist; lives on a thread of its own.
#[derive(Debug)]
pub struct Archivist {
    /// The chain that it moves.
    pub chain: Chain,
    /// Blocks.
    pub archive: Archive,
    /// Hashes of the log.
    pub log: LogHashes,
    /// Commits in.
    pub commits: mpsc::Receiver<Commit>,
    /// Who is told.
    pub listeners: Listeners,
}

impl Archivist {
    /// Works until the driver is gone, then leaves the log's hashes synced. Blocks its thread.
    pub fn run(mut self) {
        let mut unsynced = 0_u64;
        while let Some(first) = self.commits.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(next) = self.commits.try_recv()
            {
                group.push(next);
            }
            match self.archive_group(group) {
                Ok(leaves) => unsynced = unsynced.saturating_add(leaves),
                Err(fatal) => exit::abort(&fatal),
            }
            if unsynced >= LOG_CHECKPOINT {
                unsynced = 0;
                self.checkpoint();
            }
        }
        self.checkpoint();
    }

    fn checkpoint(&mut self) {
        if let Err(fatal) = self.log.checkpoint() {
            exit::abort(&fatal);
        }
    }

    fn archive_group(&mut self, group: Vec<Commit>) -> Result<u64, Fatal> {
        let mut payloads = Vec::new();
        for commit in &group {
            let last = commit.blocks.len().saturating_sub(1);
            for (at, (block, _)) in commit.blocks.iter().enumerate() {
                let finalization = commit.finalization.as_ref().filter(|_| at == last);
                payloads.push(payload(block, finalization.cloned())?);
            }
        }
        self.prepare(&group);
        let begin = Instant::now();
        self.archive.append_group(&payloads)?;
        let chain = self.chain.clone();
        let counters = chain.counters();
        counters.archive_syncs.increment();
        let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        counters.archive_sync_micros.add(micros);
        drop(payloads);
        let mut leaves = 0_u64;
        for commit in group {
            let posts: Vec<Post> = commit.blocks.into_iter().map(|(_, post)| post).collect();
            for post in &posts {
                self.push_leaves(post)?;
                leaves = leaves.saturating_add(count(post.leaves().len()));
                let included = count(post.effects().submissions.len());
                counters.final_submissions.add(included);
            }
            counters.final_blocks.add(count(posts.len()));
            let live = commit.finalization.is_some() && commit.place != Place::Joining;
            self.announce(posts, live, commit.place);
        }
        counters.final_leaves.add(leaves);
        Ok(leaves)
    }

    /// A single live block, as on a quiet chain: the cosigner syncs its guard while the archive is synced.
    fn prepare(&self, group: &[Commit]) {
        if let [commit] = group
            && commit.finalization.is_some()
            && commit.place != Place::Joining
            && let [(_, post)] = commit.blocks.as_slice()
        {
            let input = cosigner::Input::Archiving(cosigner::Decided::of(post));
            // Full: then it is synced later.
            self.listeners.cosigner.try_send(input).ok();
        }
    }

    fn push_leaves(&mut self, post: &Post) -> Result<(), Fatal> {
        self.log.push(post.leaves())?;
        let (found, expected) = (self.log.size(), post.header().log_size);
        if found == expected {
            return Ok(());
        }
        Err(Fatal::Misuse {
            path: PathBuf::from("log"),
            what: format!("{found} hashes after a block that says {expected}"),
        })
    }

    fn announce(&self, posts: Vec<Post>, live: bool, place: Place) {
        let Some(last) = posts.last() else {
            return;
        };
        let height = last.tip().height;
        let caught_up = if live {
            publisher::Pace::Live
        } else {
            publisher::Pace::CatchingUp
        };
        self.chain.states().finalize(&posts);
        self.chain.publish_final(&posts);
        // Whoever is gone has stopped with the node.
        self.listeners.archived.send_replace(height);
        let checkpoints = posts.iter().map(cosigner::Decided::of).collect();
        if !live && last.header().flags.is_seal() {
            let input = cosigner::Input::Sealing(cosigner::Decided::of(last));
            self.listeners.cosigner.blocking_send(input).ok();
        }
        let input = if live {
            cosigner::Input::Decided(checkpoints)
        } else {
            cosigner::Input::CaughtUp(cosigner::Decided::of(last), place)
        };
        self.listeners.cosigner.blocking_send(input).ok();
        let input = publisher::Input::Final(height, caught_up);
        self.listeners.publisher.blocking_send(input).ok();
        let request = executor::Request::Final(posts);
        self.listeners.executor.blocking_send(request).ok();
    }
}

/// A block as the archive keeps it.
///
/// # Errors
/// [`Fatal::Misuse`] if it is over the frame's limit.
pub fn payload(
    block: &consensus::Block,
    finalization: Option<Certificate>,
) -> Result<Vec<u8>, Fatal> {
    let bytes = [codec::encode(&block.header).as_slice(), &block.body].concat();
    let block = bytes.try_into().map_err(|_over| Fatal::Misuse {
        path: PathBuf::from("archive"),
        what: format!("block {} is over the frame's limit", block.header.height),
    })?;
    let payload = Payload {
        block,
        finalization,
    };
    Ok(payload.encode())
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
