//! The chain as the rest of the node sees it: what is final, what is provable, and the way in for submissions.
//!
//! [`Chain`] is a cheap handle; every part that answers questions holds a clone. Two moments are told apart
//! everywhere. *Final*: the block is archived on this disk with its finalization; its state is asked by
//! [`Chain::with_final`]. *Provable*: a quorum of cosigners signed its checkpoint; the index stands exactly there,
//! so that [`Chain::with_provable`] sees the very tree and map of that checkpoint, and nothing newer.
//!
//! Readers see whole blocks only. The closures hold the index while they run: keep them short, and call them from
//! blocking threads ([`tokio::task::spawn_blocking`]) where they read much.

use crate::conduct::Conduct;
use crate::mempool::{Pending, PoolError};
use crate::states::States;
use crate::storage::index::{self, ReadError};
use crate::storage::restarts::Restarts;
use crate::storage::{archive, log_hashes};
use crate::{repair, scrub};
use ledger::hash::{Hash, SubmissionHash};
use ledger::header::Header;
use ledger::id::{AuthorityId, Epoch, Height, TimeMs, TreeSize, ValidatorIndex, View};
use ledger::refusal::Refused;
use ledger::state::Inclusion;
use ledger::tip::{Founding, Tip};
use ledger::view::StateView;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::{mpsc, oneshot, watch};

/// Requests with submissions that may wait for the executor; the next waits with its sender.
const SUBMIT_QUEUE: usize = 64;
/// Fates of submissions that are remembered.
pub const MAX_FATES: usize = 10_000;

/// The newest final block.
#[derive(Clone, Debug)]
pub struct Head {
    /// Where it leaves the chain.
    pub tip: Tip,
    /// Its header; `None` for the genesis.
    pub header: Option<Header>,
}

/// A checkpoint that a quorum cosigned.
#[derive(Clone, Debug)]
pub struct Provable {
    /// Height of its block.
    pub height: Height,
    /// Time of its block.
    pub time_ms: TimeMs,
    /// Where the block leaves the chain: its trie proves states at this very checkpoint.
    pub tip: Tip,
    /// Leaves of the log.
    pub size: TreeSize,
    /// Root of the log.
    pub root: Hash,
    /// The signed note: checkpoint text, this node's log line, at least n−f verified cosigner lines.
    pub note: String,
}

/// How far the node is. Every change wakes those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// Height of the newest final block.
    pub final_height: Height,
    /// Leaves of the log after it.
    pub final_size: TreeSize,
    /// Height of the newest provable block; 0 before the first.
    pub provable_height: Height,
    /// Leaves of the log after it.
    pub provable_size: TreeSize,
}

/// Why a submission that was pending will not be in a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fate {
    /// The chain went on in a way that rules it out.
    #[error(transparent)]
    Refused(Refused),
    /// Its window ended first.
    #[error("the validity window ended at {0} ms before the submission was included")]
    Expired(TimeMs),
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in this final block.
    Final(Inclusion),
    /// It will not be in any.
    Dropped(Fate),
}

/// Why a submission was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The rules refuse it in the newest final state.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The pool has no room for it, or its window is not now.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The disk is nearly full.
    #[error("{free} bytes are free on the data disk, submissions are taken from {needed} on")]
    LowSpace {
        /// Bytes free.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

/// Submissions on their way to the executor.
#[derive(Debug)]
pub struct Submit {
    /// Verified and checked.
    pub submissions: Vec<Pending>,
    /// Where the answers go, one for each submission, in order.
    pub reply: oneshot::Sender<Vec<Result<(), NotTaken>>>,
}

/// What the node says of itself.
#[derive(Clone, Debug, Default)]
pub struct NodeStatus {
    /// Current view.
    pub view: View,
    /// Current epoch.
    pub epoch: Epoch,
    /// Whether this node votes.
    pub voting: bool,
    /// The same for people, and if it does not, why; empty until that is known.
    pub standing: String,
    /// The turn below which its vote key has signed what its journal has forgotten; zero if it has not.
    pub floor: (Epoch, View),
    /// The highest block that its journal knows to be final.
    pub finalized: Height,
    /// Why this node cosigns nothing, and what to do; `None` if it does.
    pub unguarded: Option<String>,
    /// Validators whose cosignature of the newest block is missing, while a quorum's are not here.
    pub missing_cosigners: Vec<AuthorityId>,
    /// Where a node that follows fetches blocks up to; 0 for one that decides.
    pub target: Height,
    /// The other validators.
    pub peers: Vec<PeerStatus>,
    /// Pending submissions.
    pub pool: usize,
    /// Memory that they count for, in bytes.
    pub pool_bytes: usize,
    /// The newest thing that a person must look at.
    pub alarm: Option<String>,
}

/// Another validator as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its place in the set.
    pub validator: ValidatorIndex,
    /// Short id of its authority.
    pub authority: AuthorityId,
    /// Whether a connection stands.
    pub connected: bool,
    /// Its newest final block, as it last said.
    pub height: Option<Height>,
    /// Its epoch, as it last said.
    pub epoch: Option<Epoch>,
}

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident),+ $(,)?) => {
        /// What the node counts since its start.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[doc = $help])+ pub $name: Counter),+ }

        impl Counters {
            /// Name, help text and value of each.
            pub fn all(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($help),+).trim_ascii(), self.$name.get())),+]
            }
        }
    };
}

counters! {
    /// Final blocks archived.
    final_blocks,
    /// Log leaves of final blocks, trailers included.
    final_leaves,
    /// Submissions in final blocks.
    final_submissions,
    /// Evidence recorded in final blocks.
    recorded_evidence,
    /// Submissions taken into the pool.
    taken,
    /// Submissions not taken into the pool.
    not_taken,
    /// Submissions that left the pool without being included.
    dropped,
    /// Blocks found valid.
    valid_blocks,
    /// Blocks found invalid.
    invalid_blocks,
    /// Blocks built by this node.
    built_blocks,
    /// Items of compact proposals that the own pool held.
    gathered_items,
    /// Items of compact proposals that the own pool lacked: their proposer was asked.
    lacked_items,
    /// Synced batches of the consensus journal.
    journal_syncs,
    /// Microseconds spent in those syncs.
    journal_sync_micros,
    /// Synced groups of the archive.
    archive_syncs,
    /// Microseconds spent in those syncs.
    archive_sync_micros,
    /// Messages that were stale, unasked or too much.
    dropped_messages,
    /// Frames dropped because a peer sent faster than it is served.
    dropped_frames,
    /// Peers disconnected for what no honest node does.
    offences,
    /// Checkpoints that a quorum cosigned.
    provable_checkpoints,
    /// Cosignatures by other validators that verified.
    cosignatures,
}

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a chain is made from; recovery brings the parts together.
#[derive(Debug)]
pub struct Parts {
    /// The genesis.
    pub founding: Founding,
    /// The index and what is above it.
    pub states: Arc<States>,
    /// The newest final block.
    pub head: Head,
    /// The newest provable checkpoint, if the index stands there.
    pub provable: Option<Provable>,
    /// Reads blocks.
    pub archive: archive::Reader,
    /// Reads the log's hashes.
    pub log: log_hashes::Reader,
    /// The restart files beside the blocks.
    pub restarts: Arc<Restarts>,
}

/// The read and submit handle.
#[derive(Clone, Debug)]
pub struct Chain(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    founding: Founding,
    states: Arc<States>,
    archive: archive::Reader,
    log: log_hashes::Reader,
    restarts: Arc<Restarts>,
    head: RwLock<Arc<Head>>,
    /// Written while the index moves, so that whoever reads it sees index and checkpoint agree.
    gate: RwLock<()>,
    provable: RwLock<Option<Arc<Provable>>>,
    progress: watch::Sender<Progress>,
    status: watch::Sender<NodeStatus>,
    submissions: mpsc::Sender<Submit>,
    desk: Mutex<Desk>,
    counters: Counters,
    conduct: Conduct,
    repairs: repair::Desk,
    scrub: scrub::Progress,
}

/// Who waits for which submission, and what became of those that left the pool.
#[derive(Debug, Default)]
struct Desk {
    waiting: HashMap<SubmissionHash, Vec<oneshot::Sender<Outcome>>>,
    fates: HashMap<SubmissionHash, Fate>,
    /// The fates' order; the oldest is forgotten first.
    order: VecDeque<SubmissionHash>,
}

impl Chain {
    /// Puts the parts together; the receiver is the executor's.
    pub fn new(parts: Parts) -> (Self, mpsc::Receiver<Submit>) {
        let (submissions, inlet) = mpsc::channel(SUBMIT_QUEUE);
        let mut progress = Progress {
            final_height: parts.head.tip.height,
            final_size: parts.head.tip.log_size(),
            ..Progress::default()
        };
        if let Some(provable) = &parts.provable {
            progress.provable_height = provable.height;
            progress.provable_size = provable.size;
        }
        let shared = Shared {
            conduct: Conduct::new(parts.founding.set()),
            founding: parts.founding,
            states: parts.states,
            archive: parts.archive,
            log: parts.log,
            restarts: parts.restarts,
            head: RwLock::new(Arc::new(parts.head)),
            gate: RwLock::new(()),
            provable: RwLock::new(parts.provable.map(Arc::new)),
            progress: watch::Sender::new(progress),
            status: watch::Sender::default(),
            submissions,
            desk: Mutex::default(),
            counters: Counters::default(),
            repairs: repair::Desk::default(),
            scrub: scrub::Progress::default(),
        };
        (Self(Arc::new(shared)), inlet)
    }

    /// The genesis and what follows from it.
    pub fn founding(&self) -> &Founding {
        &self.0.founding
    }

    /// The restarts that were installed when the node started.
    pub fn restarts(&self) -> &Arc<Restarts> {
        &self.0.restarts
    }

    /// The newest final block.
    pub fn head(&self) -> Arc<Head> {
        let head = self.0.head.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&head)
    }

    /// The newest checkpoint that a quorum cosigned, with its note. Its state may be past: [`Chain::with_provable`].
    pub fn provable(&self) -> Option<Arc<Provable>> {
        let provable = self.0.provable.read();
        provable.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the state after the newest final block.
    ///
    /// # Errors
    /// [`ReadError`] if the index is closed: the node stops.
    pub fn with_final<R>(
        &self,
        look: impl FnOnce(&dyn StateView, &Tip) -> R,
    ) -> Result<R, ReadError> {
        self.0.states.final_branch().with(&self.0.states, look)
    }

    /// Looks at the state exactly at the newest provable checkpoint.
    ///
    /// `None` before the first one, and while more final blocks than `receipts.max_unproved_blocks` wait for their
    /// cosignatures: then the index had to go on without them.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn with_provable<R>(
        &self,
        look: impl FnOnce(&index::View<'_>, &Provable) -> R,
    ) -> Result<Option<R>, ReadError> {
        let _gate = self.0.gate.read().unwrap_or_else(PoisonError::into_inner);
        let Some(provable) = self.provable() else {
            return Ok(None);
        };
        let view = self.0.states.index().view()?;
        if view.applied()? != Some(provable.height) {
            return Ok(None);
        }
        Ok(Some(look(&view, &provable)))
    }

    /// Reads archived blocks: all of them are final.
    pub fn archive(&self) -> archive::Reader {
        self.0.archive.clone()
    }

    /// Reads the log's hashes: all of them are of final blocks.
    pub fn log(&self) -> log_hashes::Reader {
        self.0.log.clone()
    }

    /// Watches how far the node is.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.0.progress.subscribe()
    }

    /// What the node says of itself.
    pub fn status(&self) -> NodeStatus {
        self.0.status.borrow().clone()
    }

    /// Where answers to the archive's repairs are handed in.
    pub fn repairs(&self) -> &repair::Desk {
        &self.0.repairs
    }

    /// How far the scrub is.
    pub fn scrub(&self) -> &scrub::Progress {
        &self.0.scrub
    }

    /// Watches what the node says of itself.
    pub fn watch_status(&self) -> watch::Receiver<NodeStatus> {
        self.0.status.subscribe()
    }

    /// What the node counts.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// What was dropped of what the members sent.
    pub fn conduct(&self) -> &Conduct {
        &self.0.conduct
    }

    /// Hands submissions in: one answer for each, in order. `Ok`: it is pending (or was already) and on its way to
    /// all validators. Waits while the executor is behind.
    pub async fn submit(&self, submissions: Vec<Pending>) -> Vec<Result<(), NotTaken>> {
        let count = submissions.len();
        let (reply, answer) = oneshot::channel();
        let submit = Submit { submissions, reply };
        if self.0.submissions.send(submit).await.is_ok()
            && let Ok(results) = answer.await
        {
            return results;
        }
        vec![Err(NotTaken::Stopping); count]
    }

    /// Where a submission was included, if it is in a final block. Forgotten some time after its window.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn locate(&self, submission: &SubmissionHash) -> Result<Option<Inclusion>, ReadError> {
        self.with_final(|state, _| state.inclusion(submission))?
            .map_err(|_unavailable| ReadError::Closed)
    }

    /// Why a submission that was pending here left the pool, if that was lately.
    pub fn fate(&self, submission: &SubmissionHash) -> Option<Fate> {
        self.desk().fates.get(submission).cloned()
    }

    /// Waits until a submission is final or dropped. Give it a time-out: nobody promises either.
    ///
    /// # Errors
    /// [`ReadError`] if the index is closed: the node stops.
    pub async fn outcome(&self, submission: &SubmissionHash) -> Result<Outcome, ReadError> {
        // Registered first, then looked up: nothing falls between.
        let mut waiting = self.register(submission);
        if let Some(inclusion) = self.locate(submission)? {
            return Ok(Outcome::Final(inclusion));
        }
        if let Some(fate) = self.fate(submission) {
            return Ok(Outcome::Dropped(fate));
        }
        let outcome = (&mut waiting.receiver).await;
        outcome.map_err(|_gone| ReadError::Closed)
    }

    fn register(&self, submission: &SubmissionHash) -> Waiting<'_> {
        let (sender, receiver) = oneshot::channel();
        let mut desk = self.desk();
        desk.waiting.entry(*submission).or_default().push(sender);
        Waiting {
            chain: self,
            submission: *submission,
            receiver,
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What only the parts that move the chain may do.
impl Chain {
    pub(crate) fn states(&self) -> &Arc<States> {
        &self.0.states
    }

    /// The newest final block is archived and in [`States`]: shows it, and tells those who wait for its submissions.
    pub(crate) fn publish_final(&self, posts: &[crate::states::Post]) {
        let Some(last) = posts.last() else {
            return;
        };
        let head = Head {
            tip: last.tip().clone(),
            header: Some(last.header().clone()),
        };
        *self.0.head.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(head);
        let mut desk = self.desk();
        for (hash, inclusion) in posts.iter().flat_map(|post| &post.effects().submissions) {
            desk.tell(hash, &Outcome::Final(*inclusion));
        }
        drop(desk);
        self.0.progress.send_modify(|progress| {
            progress.final_height = last.tip().height;
            progress.final_size = last.tip().log_size();
        });
    }

    /// Moves the index by `apply`, then shows the checkpoint at which it stands.
    pub(crate) fn publish_provable<E>(
        &self,
        provable: Provable,
        apply: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let (height, size) = (provable.height, provable.size);
        let gate = self.0.gate.write().unwrap_or_else(PoisonError::into_inner);
        apply()?;
        let shown = self.0.provable.write();
        *shown.unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(provable));
        drop(gate);
        self.0.progress.send_modify(|progress| {
            progress.provable_height = height;
            progress.provable_size = size;
        });
        Ok(())
    }

    /// A pending submission left the pool for this reason.
    pub(crate) fn drop_submission(&self, submission: SubmissionHash, fate: Fate) {
        self.0.counters.dropped.increment();
        let mut desk = self.desk();
        desk.tell(&submission, &Outcome::Dropped(fate.clone()));
        if desk.fates.insert(submission, fate).is_none() {
            desk.order.push_back(submission);
        }
        if desk.order.len() > MAX_FATES
            && let Some(oldest) = desk.order.pop_front()
        {
            desk.fates.remove(&oldest);
        }
    }

    pub(crate) fn update_pool(&self, pool: usize, pool_bytes: usize) {
        self.0.status.send_if_modified(|status| {
            let changed = (status.pool, status.pool_bytes) != (pool, pool_bytes);
            (status.pool, status.pool_bytes) = (pool, pool_bytes);
            changed
        });
    }

    pub(crate) fn update_target(&self, target: Height) {
        self.0.status.send_if_modified(|status| {
            let changed = status.target != target;
            status.target = target;
            changed
        });
    }

    pub(crate) fn update_status(&self, change: impl FnOnce(&mut NodeStatus)) {
        self.0.status.send_modify(change);
    }
}

impl Desk {
    fn tell(&mut self, submission: &SubmissionHash, outcome: &Outcome) {
        for waiting in self.waiting.remove(submission).unwrap_or_default() {
            // Who gave up waiting is not told.
            waiting.send(outcome.clone()).ok();
        }
    }
}

/// One who waits; takes itself off the list when it stops waiting.
struct Waiting<'a> {
    chain: &'a Chain,
    submission: SubmissionHash,
    receiver: oneshot::Receiver<Outcome>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        let mut desk = self.chain.desk();
        if let Some(waiting) = desk.waiting.get_mut(&self.submission) {
            waiting.retain(|sender| !sender.is_closed());
            if waiting.is_empty() {
                desk.waiting.remove(&self.submission);
            }
        }
    }
}
