//! A whole validator in one process: the threads and tasks, how they are tied together, and in which order they end.
//!
//! ```text
//! network ─ ingress ─▶ driver ─▶ executor (checks, builds, keeps the pool)
//!                        │ └───▶ journal  (syncs votes)
//!                        ▼
//!                    archivist ─▶ cosigner ─▶ publisher (moves the index, shows checkpoints)
//! ```
//!
//! Each end of an arrow lives as long as what is before it: when the driver returns, the others finish what they have
//! and end one after the other; the publisher closes the index last.

mod following;

pub use following::{Follow, Following};

use crate::archivist::{self, Archivist, Listeners};
use crate::chain::{Chain, Parts, Provable, Submit};
use crate::clock::Clock;
use crate::config::Config;
use crate::cosigner::{self, Cosigner};
use crate::driver::ingress::{self, Ingress};
use crate::driver::{self, Driver};
use crate::executor::{self, Executor};
use crate::identity::Keys;
use crate::mesh::Mesh;
use crate::publisher::{self, Publisher};
use crate::recovery::{Recovered, RecoveredChain};
use crate::repair::calendar::Calendar;
use crate::repair::{self, Question, Repair};
use crate::scrub::Scrub;
use crate::storage::archive::Archive;
use consensus::{
    Archived, Ed25519, Engine, EpochInfo, Identity as Voter, Layout, Record, RecoverError, Rules,
    Setup, Timing,
};
use ledger::evidence::Evidence;
use ledger::id::ValidatorIndex;
use ledger::key::SigningKey;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Votes are admitted up to this many views ahead.
const WINDOW: u64 = 8;
/// The journal is not pruned below so many bytes: half of its segment, quick to read at start.
#[cfg(not(test))]
const PRUNE_BYTES: u64 = 16 << 20;
#[cfg(test)]
const PRUNE_BYTES: u64 = 32 << 10;

/// The keys that the parts of a node sign with.
#[derive(Debug)]
pub struct Signing {
    /// This node's place in the validator set.
    pub me: ValidatorIndex,
    /// Signs votes.
    pub vote: SigningKey,
    /// Signs cosignatures.
    pub cosigner: SigningKey,
    /// Signs as the log.
    pub log: SigningKey,
}

impl Signing {
    /// The keys of a validator at this place.
    pub fn new(me: ValidatorIndex, keys: &Keys) -> Self {
        Self {
            me,
            vote: keys.vote.signing_key(),
            cosigner: keys.cosigner.signing_key(),
            log: keys.log.signing_key(),
        }
    }
}

/// Why a recovered node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Timers contradict each other.
    #[error("the consensus parameters contradict each other")]
    Timing(#[from] consensus::config::ConfigError),
    /// The disk holds what no run of this program leaves behind.
    #[error("the consensus engine cannot go on from what is on the disk")]
    Engine(#[from] RecoverError),
    /// The operating system gives no thread or no randomness.
    #[error("the operating system refuses a thread or random numbers")]
    System(#[from] std::io::Error),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] crate::storage::files::FileError),
}

/// A running validator.
#[derive(Debug)]
pub struct Node {
    /// To read and to submit.
    pub chain: Chain,
    /// For what comes from the network.
    pub ingress: Ingress,
    /// Signature checks, and whatever reads the network into `ingress`.
    pub tasks: JoinSet<()>,
    driver: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
    threads: Threads,
}

/// The threads of a node, in the order in which they end.
#[derive(Debug)]
struct Threads {
    /// They end when nobody feeds them any more.
    working: Vec<JoinHandle<()>>,
    /// The publisher, which closes the index once this sender is gone too.
    publisher: (mpsc::Sender<publisher::Input>, JoinHandle<()>),
}

impl Threads {
    /// Waits for all: the disk is as a next start wants it then.
    async fn end(self, chain: Chain) {
        let Self {
            working,
            publisher: (hold, publisher),
        } = self;
        let join = move || {
            // The index is closed when nobody works on it any more.
            working.into_iter().for_each(|thread| drop(thread.join()));
            drop(hold);
            drop(publisher.join());
        };
        tokio::task::spawn_blocking(join).await.ok();
        drop(chain);
    }
}

/// A recovered chain that is not running yet: readable, silent.
#[derive(Debug)]
pub struct Prepared {
    chain: Chain,
    submissions: mpsc::Receiver<Submit>,
    engine: Engine,
    evidence: Vec<Evidence>,
    calendar: Calendar,
    recovered: Recovered,
    kept: Option<(cosigner::Decided, cosigner::KeptNote)>,
}

impl Prepared {
    /// Recovers the engine: nothing was read from the network before.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(
        mut recovered: Recovered,
        config: &Config,
        signing: &Signing,
    ) -> Result<Self, StartError> {
        let evidence = recovered.records.iter().filter_map(evidence).collect();
        let calendar = calendar(&recovered.chain);
        let engine = engine(&mut recovered, config, signing)?;
        let provable = recovered.chain.provable.take();
        let kept = provable.as_ref().map(|(provable, note)| {
            let decided = cosigner::Decided {
                height: provable.height,
                time_ms: provable.time_ms,
                size: provable.size,
                root: provable.root,
            };
            (decided, note.clone())
        });
        let (chain, submissions) = open_chain(&mut recovered.chain, provable.map(|(it, _)| it));
        Ok(Self {
            chain,
            submissions,
            engine,
            evidence,
            calendar,
            recovered,
            kept,
        })
    }

    /// The chain, to be read before the node runs.
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one list of parts and of the channels between them; every name is used twice"
    )]
    /// Starts all parts. What comes from the network is to be fed into the node's `ingress`.
    ///
    /// # Errors
    /// [`StartError::System`].
    pub fn start(
        self,
        config: &Config,
        signing: Signing,
        mesh: Arc<dyn Mesh>,
    ) -> Result<Node, StartError> {
        let Self {
            chain,
            submissions,
            engine,
            evidence,
            calendar,
            recovered,
            kept,
        } = self;
        let Recovered {
            chain: recovered,
            guard,
            journal,
            ..
        } = recovered;
        let RecoveredChain {
            data,
            archive,
            log,
            note_file,
            signers,
            head,
            ..
        } = recovered;
        let runtime = Handle::current();
        let me = signing.me;
        let retry = Duration::from_millis(config.consensus.delta_ms.saturating_mul(6));
        let (requests, request_inlet) = mpsc::channel(executor::REQUESTS);
        // More answers than requests can be on their way: the executor never waits for the driver.
        let (answer_inlet, answers) = mpsc::channel(executor::REQUESTS.saturating_mul(2));
        let (gossip, gossip_inlet) = mpsc::channel(executor::GOSSIP);
        let (commits, commit_inlet) = mpsc::channel(archivist::COMMITS);
        let (to_cosigner, cosigner_inlet) = mpsc::channel(cosigner::INPUTS);
        let (to_publisher, publisher_inlet) = mpsc::channel(publisher::INPUTS);
        let (work_inlet, work) = watch::channel(executor::Work::default());
        let (archived_inlet, archived) = watch::channel(head.tip.height);

        let ports = executor::Ports {
            requests: request_inlet,
            gossip: gossip_inlet,
            submissions,
            answers: answer_inlet,
            work: work_inlet,
        };
        let executor = Executor::new(
            executor::Setup {
                chain: chain.clone(),
                mesh: Arc::clone(&mesh),
                data,
                mempool: config.mempool.clone(),
                min_free_bytes: config.storage.min_free_bytes,
                retry,
                evidence,
            },
            ports,
        );
        let cosigner = Cosigner::new(cosigner::Setup {
            chain: chain.clone(),
            mesh: Arc::clone(&mesh),
            publisher: to_publisher.clone(),
            signers,
            me,
            key: signing.cosigner,
            log_key: signing.log,
            guard,
            heartbeat: Duration::from_millis(config.consensus.cosign_heartbeat_ms),
            retry,
            head: head.header.as_ref().map(cosigner::Decided::after),
            kept,
        });
        let publisher = Publisher {
            chain: chain.clone(),
            inputs: publisher_inlet,
            max_unproved: config.receipts.max_unproved_blocks,
            note_file,
        };
        let listeners = Listeners {
            executor: requests.clone(),
            cosigner: to_cosigner.clone(),
            publisher: to_publisher.clone(),
            archived: archived_inlet,
        };
        let asked = (Question::Sync, Arc::clone(&mesh));
        let repair = repair(&chain, &archive, calendar, asked);
        let archivist = Archivist {
            chain: chain.clone(),
            archive,
            log,
            commits: commit_inlet,
            listeners,
        };
        let stop = CancellationToken::new();
        let scrub = Scrub {
            chain: chain.clone(),
            journal: Some(journal.durable()),
            pace: config.storage.scrub_mib_per_s.saturating_mul(1 << 20),
            pause: Duration::from_secs(config.storage.scrub_pause_s),
            stop: stop.clone(),
        };
        let (journal, journal_thread) = driver::journal::spawn(chain.clone(), journal)?;
        let (first, second, third) = (runtime.clone(), runtime.clone(), runtime);
        let working = vec![
            journal_thread,
            thread("executor", move || executor.run(&first))?,
            thread("cosigner", move || cosigner.run(&second, cosigner_inlet))?,
            thread("archivist", move || archivist.run())?,
            thread("scrub", move || scrub.run())?,
        ];
        let publisher = thread("publisher", move || publisher.run(&third))?;
        let mut tasks = JoinSet::new();
        let to_mesh = Arc::clone(&mesh);
        let (ingress, port) =
            ingress::open(chain.clone(), to_mesh, gossip, to_cosigner, &mut tasks);
        tasks.spawn(repair.run());
        let heartbeat = Duration::from_millis(config.consensus.heartbeat_ms);
        tasks.spawn(ingress.library().tell(heartbeat));
        let driver = Driver::new(driver::Parts {
            engine,
            clock: Clock::start(),
            chain: chain.clone(),
            me,
            mesh,
            ingress: port,
            journal,
            requests,
            answers,
            work,
            commits,
            archived,
            prune_bytes: PRUNE_BYTES,
            stop: stop.clone(),
        });
        Ok(Node {
            chain,
            ingress,
            tasks,
            driver: tokio::spawn(driver.run()),
            stop,
            threads: Threads {
                working,
                publisher: (to_publisher, publisher),
            },
        })
    }
}

/// What fetches damaged blocks from the connected validators.
fn repair(
    chain: &Chain,
    archive: &Archive,
    calendar: Calendar,
    (question, mesh): (Question, Arc<dyn Mesh>),
) -> Repair {
    let asked = chain.clone();
    let connected = move || {
        let (set, status) = (asked.founding().set(), asked.status());
        let connected = status.peers.iter().filter(|peer| peer.connected);
        let members = connected.filter_map(|peer| set.get(peer.validator));
        members
            .map(|member| consensus::Peer(member.network))
            .collect()
    };
    Repair {
        archive: archive.reader(),
        repairer: archive.repairer(),
        calendar,
        mesh,
        question,
        connected: Arc::new(connected),
        desk: chain.repairs().clone(),
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}

impl Node {
    /// Gives up the view, writes what is to be written, closes all files; returns when the disk is as a next start
    /// wants it. The network should be ended by `silence`, which is run once the driver has said its last words.
    pub async fn stop(self, silence: impl Future<Output = ()>) {
        let Self {
            chain,
            ingress,
            mut tasks,
            driver,
            stop,
            threads,
        } = self;
        stop.cancel();
        // It only fails if it panicked, which ends the process.
        driver.await.ok();
        silence.await;
        drop(ingress);
        tasks.shutdown().await;
        threads.end(chain).await;
    }
}

/// The chain of a recovered disk: readable, moved by nobody yet.
fn open_chain(
    recovered: &mut RecoveredChain,
    provable: Option<Provable>,
) -> (Chain, mpsc::Receiver<Submit>) {
    let (chain, submissions) = Chain::new(Parts {
        founding: recovered.founding.clone(),
        states: Arc::clone(&recovered.states),
        head: recovered.head.clone(),
        provable,
        archive: recovered.archive.reader(),
        log: recovered.log.reader(),
        restarts: Arc::clone(&recovered.restarts),
    });
    if let Some(alarm) = recovered.alarm.take() {
        chain.update_status(|status| status.alarm = Some(alarm));
    }
    (chain, submissions)
}

fn evidence(record: &Record) -> Option<Evidence> {
    match record {
        Record::Evidence { a, b } => Evidence::new(*a, *b),
        _ => None,
    }
}

/// What certificates of blocks are checked against, whichever epoch they are of.
fn calendar(recovered: &RecoveredChain) -> Calendar {
    let founding = recovered.founding.clone();
    let previous = recovered.previous.iter().map(|sealed| sealed.spec.clone());
    let known = previous.chain([recovered.epoch.clone()]);
    let first = repair::check::first_epoch(&founding);
    Calendar {
        restarts: Arc::clone(&recovered.restarts),
        known: known.map(EpochInfo::new).chain([first]).collect(),
        founding,
    }
}

/// How bodies are made of items: the ledger's container.
pub(crate) const LAYOUT: Layout = Layout {
    cut: ledger::body::Body::cut,
    join: |items| {
        let items: Vec<&[u8]> = items.iter().map(|item| &**item).collect();
        ledger::body::Body::join(&items).into()
    },
};

fn engine(
    recovered: &mut Recovered,
    config: &Config,
    signing: &Signing,
) -> Result<Engine, StartError> {
    let params = recovered.chain.founding.params();
    let rules = Rules {
        block_hard: params.block_hard,
        drift_ms: params.drift_ms,
        past_ms: params.past_ms,
        anchor_interval_ms: params.anchor_interval_ms,
    };
    let set = &config.consensus;
    let timing = Timing {
        delta_ms: set.delta_ms,
        delta_max_ms: set.delta_max_ms,
        heartbeat_ms: set.heartbeat_ms,
        alive_ms: set.heartbeat_ms.saturating_mul(2),
        quiet_ms: set.quiet_ms,
        min_block_interval_ms: set.min_block_interval_ms,
        window: WINDOW,
    };
    let header = recovered.chain.head.header.as_ref();
    let setup = Setup {
        config: consensus::Config::new(rules, timing)?,
        layout: LAYOUT,
        epoch: recovered.chain.epoch.clone(),
        previous: recovered.chain.previous.take(),
        identity: Voter {
            signer: Some(Box::new(signing.vote.clone())),
            instance: u64::from_le_bytes(crate::storage::files::random()?),
        },
        journal: recovered.journal_state,
        records: std::mem::take(&mut recovered.records),
        archived: Archived {
            tip: header.map_or(recovered.chain.epoch.anchor, consensus::Tip::from),
            finalization: recovered.chain.finalization.take(),
        },
    };
    Ok(Engine::recover(setup, &Ed25519)?)
}

#[cfg(test)]
mod tests;
