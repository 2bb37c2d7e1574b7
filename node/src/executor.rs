//! Speculative execution: checks and builds blocks on the post-states of unfinalized ones, and keeps the pool.
//!
//! One thread does all of it, beside the driver's loop, because a block takes milliseconds. What it answers is what
//! the engine's contract asks for (`Validate`, `Build`, `Head`); the same predicate serves the pool, the build and
//! the count. Evidence goes the way of a submission, before all of them. A submission whose signature was checked once is not checked again in a block.

mod docket;
mod worklist;

use crate::admission;
use crate::chain::{Chain, NotTaken, Submit};
use crate::clock;
use crate::config;
use crate::exit;
use crate::gossip::{self, MAX_IDS};
use crate::mempool::{Inserted, Origin, Pending};
use crate::mesh::Mesh;
use crate::states::{Branch, Post};
use crate::storage::DataDir;
use crate::storage::files::FileError;
use crate::storage::index::ReadError;
use consensus::{BuildRequest, Event, Peer, Verdict};
use ledger::admission::CheckedEvidence;
use ledger::block::{Body, CheckedBody, ReceiveError};
use ledger::evidence::Evidence;
use ledger::execute::{self, BlockError, Slot};
use ledger::hash::{BlockHash, ItemId};
use ledger::id::TimeMs;
use ledger::view::StateUnavailable;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use worklist::{InsertError, Worklist};

/// Requests of the driver that may wait: the engine bounds them by the blocks that it holds.
pub const REQUESTS: usize = 1_024;
/// Messages about the pool that may wait; their peers wait with them.
pub const GOSSIP: usize = 64;
/// Candidates are gathered up to the block target and this much more, for those that the build refuses.
const SPARE: usize = 256 * 1024;
/// How often free space on the disk is looked at.
const SPACE_EVERY: Duration = Duration::from_secs(1);

/// What the driver asks for.
#[derive(Debug)]
pub enum Request {
    /// Blocks will be built on this one.
    Head(BlockHash),
    /// Build a block.
    Build(Box<BuildRequest>),
    /// Check a block.
    Validate {
        /// Its hash.
        hash: BlockHash,
        /// Header and body as delivered.
        block: Box<consensus::Block>,
    },
    /// Look for the items of a compact proposal in the pool.
    Gather {
        /// Hash of the block.
        block: BlockHash,
        /// Ids of its items.
        ids: Vec<ItemId>,
        /// They have so many bytes in all.
        bytes: u32,
    },
    /// These blocks are final and archived.
    Final(Vec<Post>),
    /// The engine saw a validator contradict itself: that is to be recorded.
    Accuse(Box<Evidence>),
}

/// What peers say and ask about pending submissions.
#[derive(Debug)]
pub enum Gossip {
    /// Items, verified.
    Items {
        /// Who brought them.
        origin: Origin,
        /// Submissions.
        submissions: Vec<Pending>,
        /// Evidence.
        evidence: Vec<CheckedEvidence>,
    },
    /// These are pending at the peer.
    PoolIds {
        /// Which peer.
        from: Peer,
        /// Their ids.
        ids: Vec<ItemId>,
    },
    /// The peer asks for these.
    ItemReq {
        /// Which peer.
        from: Peer,
        /// Their ids.
        ids: Vec<ItemId>,
    },
    /// The peer is connected: it is told what is pending here.
    Up(Peer),
}

/// What is includable on a head: the driver gives it to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Work {
    /// The head.
    pub head: BlockHash,
    /// Items that a block on it would include.
    pub includable: u32,
}

/// The ends of the executor that others hold.
#[derive(Debug)]
pub struct Ports {
    /// Requests in.
    pub requests: mpsc::Receiver<Request>,
    /// Pool messages in.
    pub gossip: mpsc::Receiver<Gossip>,
    /// Submissions of clients in.
    pub submissions: mpsc::Receiver<Submit>,
    /// Answers out.
    pub answers: mpsc::Sender<Event>,
    /// The newest count out.
    pub work: watch::Sender<Work>,
}

/// What an executor starts from.
#[derive(Debug)]
pub struct Setup {
    /// The chain, whose state is executed on.
    pub chain: Chain,
    /// To push submissions.
    pub mesh: Arc<dyn Mesh>,
    /// For its free space.
    pub data: Arc<DataDir>,
    /// Limits of the pool.
    pub mempool: config::Mempool,
    /// Free bytes below which no submission is taken.
    pub min_free_bytes: u64,
    /// How often what still waits is told to the peers again.
    pub retry: Duration,
    /// Evidence of the journal: whether it was recorded is not in there.
    pub evidence: Vec<Evidence>,
}

/// The executor; lives on a thread of its own.
#[derive(Debug)]
pub struct Executor {
    setup: Setup,
    ports: Option<Ports>,
    answers: mpsc::Sender<Event>,
    work: watch::Sender<Work>,
    head: BlockHash,
    branch: Branch,
    worklist: Worklist,
    retried: Instant,
    /// When something changes by time alone.
    change: Option<TimeMs>,
    space: Option<(Instant, u64)>,
}

/// Why the executor cannot go on.
#[derive(Debug, thiserror::Error)]
enum Halt {
    /// The index is closed: the node stops, or the index failed.
    #[error("the state cannot be read")]
    State(#[from] ReadError),
    /// The same, within a rule.
    #[error(transparent)]
    Unavailable(#[from] StateUnavailable),
    /// The file system does not say how much is free.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Executor {
    /// Starts at the newest final block with an empty pool.
    pub fn new(setup: Setup, ports: Ports) -> Self {
        let branch = setup.chain.states().final_branch();
        let worklist = Worklist::new(setup.chain.clone(), setup.mempool.clone());
        Self {
            answers: ports.answers.clone(),
            work: ports.work.clone(),
            ports: Some(ports),
            head: branch.tip().hash,
            branch,
            worklist,
            retried: Instant::now(),
            change: None,
            space: None,
            setup,
        }
    }

    /// Works until the driver is gone. Blocks its thread.
    pub fn run(mut self, runtime: &tokio::runtime::Handle) {
        let Some(mut ports) = self.ports.take() else {
            return;
        };
        for evidence in std::mem::take(&mut self.setup.evidence) {
            if let Err(halt) = self.accuse(evidence) {
                exit::abort(&halt);
            }
        }
        loop {
            let wake = self.wake();
            let next = runtime.block_on(async {
                let sleep = tokio::time::sleep_until(wake.into());
                // Clients and peers get the same share of what blocks leave over.
                let pool = async {
                    tokio::select! {
                        Some(submit) = ports.submissions.recv() => Input::Submit(submit),
                        Some(gossip) = ports.gossip.recv() => Input::Gossip(gossip),
                        () = sleep => Input::Time,
                    }
                };
                tokio::select! {
                    biased;
                    request = ports.requests.recv() => request.map(Input::Request),
                    input = pool => Some(input),
                }
            });
            let Some(next) = next else {
                return;
            };
            if let Err(halt) = self.take(next) {
                exit::abort(&halt);
            }
        }
    }

    /// When to look again without being asked.
    fn wake(&mut self) -> Instant {
        let now = Instant::now();
        if self.worklist.has_unasked() {
            return now;
        }
        let retry = self.setup.retry.max(Duration::from_millis(1));
        let idle = Duration::from_secs(3_600);
        let retry = if self.worklist.is_empty() {
            now + idle
        } else {
            self.retried + retry
        };
        self.change = self.worklist.next_change();
        let change = self.change.map(|at| {
            let wait = at.0.saturating_sub(clock::wall().0);
            now + Duration::from_millis(wait).min(idle)
        });
        change.map_or(retry, |change| change.min(retry))
    }

    fn take(&mut self, input: Input) -> Result<(), Halt> {
        match input {
            Input::Request(Request::Head(head)) => self.turn_to(head)?,
            Input::Request(Request::Build(request)) => self.build(&request)?,
            Input::Request(Request::Validate { hash, block }) => self.validate(hash, &block)?,
            Input::Request(Request::Gather { block, ids, bytes }) => {
                self.gather(block, &ids, bytes);
            }
            Input::Request(Request::Final(posts)) => self.finalized(&posts)?,
            Input::Request(Request::Accuse(evidence)) => self.accuse(*evidence)?,
            Input::Submit(submit) => self.submit(submit)?,
            Input::Gossip(gossip) => self.gossip(gossip)?,
            Input::Time => self.time_passed()?,
        }
        Ok(())
    }

    fn time_passed(&mut self) -> Result<(), Halt> {
        self.worklist.expire();
        if self.worklist.has_unasked() {
            self.worklist.ask_parked(&self.branch)?;
        } else if self.change.is_some_and(|at| at <= clock::wall()) {
            self.worklist.turn();
        }
        if self.retried.elapsed() >= self.setup.retry {
            self.retried = Instant::now();
            let old = self.worklist.older_than(self.setup.retry, MAX_IDS);
            if !old.is_empty() {
                self.setup.mesh.broadcast(pool_ids(old));
            }
        }
        self.report(Report::IfChanged)
    }

    fn turn_to(&mut self, head: BlockHash) -> Result<(), Halt> {
        let Some(branch) = self.setup.chain.states().branch(&head) else {
            tracing::debug!(%head, "head is not held any more");
            return Ok(());
        };
        self.head = head;
        self.branch = branch;
        self.worklist.turn();
        self.worklist.ask_parked(&self.branch)?;
        self.report(Report::Always)
    }

    fn finalized(&mut self, posts: &[Post]) -> Result<(), Halt> {
        let included = posts.iter().flat_map(|post| &post.effects().submissions);
        self.worklist.included(included.map(|(hash, _)| hash));
        for post in posts {
            for (epoch, signer) in &post.effects().evidence {
                let height = post.tip().height;
                tracing::error!(%height, %epoch, validator = %signer, "evidence is on the chain");
                self.setup.chain.counters().recorded_evidence.increment();
            }
        }
        self.worklist.close_cases()?;
        if let Some(branch) = self.setup.chain.states().branch(&self.head) {
            self.branch = branch;
        }
        self.report(Report::IfChanged)
    }

    /// Counts, and tells the driver.
    fn report(&mut self, when: Report) -> Result<(), Halt> {
        let includable = self.worklist.includable(&self.branch)?;
        let work = Work {
            head: self.head,
            includable,
        };
        self.work.send_if_modified(|last| {
            let changed = *last != work || when == Report::Always;
            *last = work;
            changed
        });
        let (pool, bytes) = (self.worklist.pool().len(), self.worklist.pool().bytes());
        self.setup.chain.update_pool(pool, bytes);
        Ok(())
    }

    fn answer(&self, event: Event) {
        // Without a driver nobody wants to know.
        self.answers.blocking_send(event).ok();
    }
}

/// Whether an unchanged count is told too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Report {
    Always,
    IfChanged,
}

#[derive(Debug)]
enum Input {
    Request(Request),
    Submit(Submit),
    Gossip(Gossip),
    Time,
}

/// Blocks.
impl Executor {
    fn gather(&self, block: BlockHash, ids: &[ItemId], bytes: u32) {
        let items = self.worklist.gather(ids, bytes);
        let counters = self.setup.chain.counters();
        let held = items.iter().flatten().count();
        counters.gathered_items.add(held as u64);
        let lacked = ids.len().saturating_sub(held);
        counters.lacked_items.add(lacked as u64);
        self.answer(Event::Gathered { block, items });
    }

    fn validate(&self, hash: BlockHash, block: &consensus::Block) -> Result<(), Halt> {
        let verdict = match self.setup.chain.states().open(&hash) {
            Some(_) => Verdict::Valid,
            None => self.check(hash, block)?,
        };
        match verdict {
            Verdict::Valid => self.setup.chain.counters().valid_blocks.increment(),
            Verdict::Invalid => self.setup.chain.counters().invalid_blocks.increment(),
            Verdict::BadDelivery => {}
        }
        self.answer(Event::BlockValidated {
            block: hash,
            verdict,
        });
        Ok(())
    }

    fn check(&self, hash: BlockHash, block: &consensus::Block) -> Result<Verdict, Halt> {
        let chain = &self.setup.chain;
        let header = &block.header;
        let Some(parent) = chain.states().branch(&header.parent) else {
            // The engine asks only about children of blocks whose state is held here.
            tracing::error!(%hash, height = %header.height, "asked about a block whose parent is unknown");
            return Ok(Verdict::BadDelivery);
        };
        let Ok(body) = Body::decode(&block.body) else {
            return Ok(Verdict::BadDelivery);
        };
        let epoch = &parent.tip().epoch;
        let known = |id: &ItemId| self.worklist.checked(id);
        let rng = admission::system_rng();
        let received = CheckedBody::receive(chain.founding(), epoch, header, &body, known, rng);
        let body = match received {
            Ok(body) => body,
            Err(ReceiveError::BadDelivery(why)) => {
                tracing::warn!(%hash, height = %header.height, %why, "bad delivery of a block");
                return Ok(Verdict::BadDelivery);
            }
            Err(ReceiveError::Invalid(why)) => {
                tracing::error!(%hash, height = %header.height, %why, "block is invalid");
                return Ok(Verdict::Invalid);
            }
        };
        let checked = parent.with(chain.states(), |state, tip| {
            execute::check_block(chain.founding(), state, tip, header, &body)
        })?;
        match checked {
            Ok(executed) => {
                chain.states().keep(Post::new(executed));
                Ok(Verdict::Valid)
            }
            Err(BlockError::Invalid(why)) => {
                tracing::error!(%hash, height = %header.height, %why, "block is invalid");
                Ok(Verdict::Invalid)
            }
            Err(BlockError::Unavailable(error)) => Err(error.into()),
        }
    }

    fn build(&mut self, request: &BuildRequest) -> Result<(), Halt> {
        let view = request.view;
        let parent = request.parent.block.hash;
        let event = match self.setup.chain.states().branch(&parent) {
            Some(branch) => self.build_on(&branch, request)?,
            None => None,
        };
        let event = match event {
            Some(block) => {
                self.setup.chain.counters().built_blocks.increment();
                Event::ProposalReady { view, block }
            }
            None => Event::BuildEmpty { view },
        };
        self.answer(event);
        self.report(Report::IfChanged)
    }

    fn build_on(
        &mut self,
        branch: &Branch,
        request: &BuildRequest,
    ) -> Result<Option<consensus::Block>, Halt> {
        let chain = self.setup.chain.clone();
        let founding = chain.founding();
        let slot = Slot {
            view: request.view,
            proposer: request.proposer,
            time_ms: request.time_ms,
        };
        let target = usize::try_from(founding.params().block_target).unwrap_or(usize::MAX);
        loop {
            let wanted = target.saturating_add(SPARE);
            let pending = self.worklist.candidates(branch, wanted)?;
            let built = branch.with(chain.states(), |state, tip| {
                execute::build(founding, state, tip, slot, &pending)
            })??;
            let refused: Vec<ItemId> = built.refused.into_iter().map(|(id, _)| id).collect();
            // Those that only this head or moment rules out wait; the rest is dropped.
            self.worklist.refused(&refused)?;
            match built.block {
                Some((executed, body)) => {
                    let block = consensus::Block {
                        header: executed.header.clone(),
                        body: body.encode().into(),
                    };
                    chain.states().keep(Post::new(executed));
                    return Ok(Some(block));
                }
                // All candidates were refused: are there others behind them?
                None if !refused.is_empty() => {}
                None => return Ok(None),
            }
        }
    }
}

/// The pool.
impl Executor {
    fn submit(&mut self, submit: Submit) -> Result<(), Halt> {
        let counters = self.setup.chain.clone();
        let counters = counters.counters();
        let free = self.free_bytes()?;
        let needed = self.setup.min_free_bytes;
        let mut results = Vec::with_capacity(submit.submissions.len());
        let mut fresh = Vec::new();
        for pending in submit.submissions {
            if free < needed {
                results.push(Err(NotTaken::LowSpace { free, needed }));
                continue;
            }
            let result = match self.worklist.insert(pending, Origin::Api, &self.branch) {
                Ok(Inserted::New(pending)) => {
                    fresh.push(pending.item.clone());
                    Ok(())
                }
                Ok(Inserted::Known) => Ok(()),
                Err(InsertError::Refused(refused)) => Err(NotTaken::Refused(refused)),
                Err(InsertError::Pool(error)) => Err(NotTaken::Pool(error)),
                Err(InsertError::State(error)) => return Err(error.into()),
            };
            match result {
                Ok(()) => counters.taken.increment(),
                Err(_) => counters.not_taken.increment(),
            }
            results.push(result);
        }
        // Who gave up waiting has still handed them in.
        submit.reply.send(results).ok();
        for message in gossip::Message::items(fresh) {
            self.setup.mesh.broadcast(message.encode().into());
        }
        self.report(Report::IfChanged)
    }

    fn gossip(&mut self, gossip: Gossip) -> Result<(), Halt> {
        match gossip {
            Gossip::Items {
                origin,
                submissions,
                evidence,
            } => {
                for one in evidence {
                    self.worklist.file(one)?;
                }
                for pending in submissions {
                    match self.worklist.insert(pending, origin, &self.branch) {
                        Ok(_) => {}
                        Err(InsertError::State(error)) => return Err(error.into()),
                        // The node that took it in answers for it; here it may be known, late or too much.
                        Err(InsertError::Refused(_) | InsertError::Pool(_)) => {
                            self.setup.chain.counters().not_taken.increment();
                        }
                    }
                }
                self.report(Report::IfChanged)?;
            }
            Gossip::PoolIds { from, ids } => {
                let worklist = &self.worklist;
                let missing = ids.into_iter().filter(|id| worklist.item(id).is_none());
                let missing: Vec<ItemId> = missing.collect();
                if let (false, Ok(ids)) = (missing.is_empty(), missing.try_into()) {
                    let request = gossip::Message::ItemReq(ids);
                    self.setup.mesh.send(&from, request.encode().into());
                }
            }
            Gossip::ItemReq { from, ids } => {
                let items = ids.iter().filter_map(|id| self.worklist.item(id));
                for message in gossip::Message::items(items) {
                    self.setup.mesh.send(&from, message.encode().into());
                }
            }
            Gossip::Up(peer) => {
                let all = self.worklist.older_than(Duration::ZERO, MAX_IDS);
                if !all.is_empty() {
                    self.setup.mesh.send(&peer, pool_ids(all));
                }
            }
        }
        Ok(())
    }

    /// Files what this node saw itself, and pushes it to all, like a submission.
    fn accuse(&mut self, evidence: Evidence) -> Result<(), Halt> {
        let epoch = Arc::clone(&self.setup.chain.states().final_tip().epoch);
        let checked = match CheckedEvidence::new(&epoch, evidence) {
            Ok(checked) => checked,
            Err(refusal) => {
                tracing::info!(%refusal, "evidence is not put on the chain");
                return Ok(());
            }
        };
        let filed = self.worklist.file(checked)?;
        for message in gossip::Message::items(filed) {
            self.setup.mesh.broadcast(message.encode().into());
        }
        self.report(Report::IfChanged)
    }

    /// Free bytes on the data disk, as of a second ago at most.
    fn free_bytes(&mut self) -> Result<u64, FileError> {
        match self.space {
            Some((at, free)) if at.elapsed() < SPACE_EVERY => Ok(free),
            Some(_) | None => {
                let free = self.setup.data.free_bytes()?;
                self.space = Some((Instant::now(), free));
                Ok(free)
            }
        }
    }
}

fn pool_ids(ids: Vec<ItemId>) -> Arc<[u8]> {
    let ids = ids.try_into().unwrap_or_default();
    gossip::Message::PoolIds(ids).encode().into()
}

#[cfg(test)]
mod tests;
