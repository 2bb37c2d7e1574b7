//! A node that follows: the threads of a whole validator without engine, journal and cosigner.
//!
//! ```text
//! network ─▶ follower ─▶ archivist ─▶ note taker ─▶ publisher
//!      └───▶ executor (keeps the pool and pushes it to the validators)
//! ```
//!
//! Its archive is scrubbed and repaired as a validator's is; it asks for damaged blocks as it asks for all others.

use super::{StartError, Threads, calendar, open_chain, repair, thread};
use crate::archivist::{Archivist, Listeners};
use crate::chain::{Chain, Submit};
use crate::config::Config;
use crate::cosigner::{self, Decided};
use crate::executor::{self, Executor};
use crate::follow::{self, End, Files, Ports, Until};
use crate::mesh::Mesh;
use crate::notes::NoteTaker;
use crate::publisher::{self, Publisher};
use crate::recovery::RecoveredChain;
use crate::repair::Question;
use crate::repair::calendar::Calendar;
use crate::scrub::Scrub;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A recovered chain that nothing moves yet.
#[derive(Debug)]
pub struct Follow {
    chain: Chain,
    submissions: mpsc::Receiver<Submit>,
    calendar: Calendar,
    recovered: RecoveredChain,
}

/// A running follower.
#[derive(Debug)]
pub struct Following {
    /// To read and to submit.
    pub chain: Chain,
    /// For what comes from the network.
    pub ports: Ports,
    /// Whatever reads the network into `ports`.
    pub tasks: JoinSet<()>,
    /// Ends when the node has caught up, if it was asked to.
    pub follower: tokio::task::JoinHandle<End>,
    stop: CancellationToken,
    threads: Threads,
}

impl Follow {
    /// Puts the chain together.
    pub fn new(mut recovered: RecoveredChain) -> Self {
        let calendar = calendar(&recovered);
        let provable = recovered.provable.take();
        let (chain, submissions) = open_chain(&mut recovered, provable.map(|(it, _)| it));
        Self {
            chain,
            submissions,
            calendar,
            recovered,
        }
    }

    /// The chain, to be read before the node runs.
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Starts all parts.
    ///
    /// # Errors
    /// [`StartError::System`].
    #[expect(
        clippy::too_many_lines,
        reason = "it only ties parts together, one after the other"
    )]
    pub fn start(
        self,
        config: &Config,
        mesh: Arc<dyn Mesh>,
        (until, files): (Until, Files),
    ) -> Result<Following, StartError> {
        let Self {
            chain,
            submissions,
            calendar,
            recovered,
        } = self;
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
        let retry = Duration::from_millis(config.consensus.delta_ms.saturating_mul(6));
        let (requests, request_inlet) = mpsc::channel(executor::REQUESTS);
        // Nothing is asked that is answered here.
        let (answers, _unanswered) = mpsc::channel(1);
        let (gossip, gossip_inlet) = mpsc::channel(executor::GOSSIP);
        let (commits, commit_inlet) = mpsc::channel(crate::archivist::COMMITS);
        let (notes, note_inlet) = mpsc::channel(cosigner::INPUTS);
        let (to_publisher, publisher_inlet) = mpsc::channel(publisher::INPUTS);
        let (work, _) = watch::channel(executor::Work::default());
        let (archived, _) = watch::channel(head.tip.height);
        let executor = Executor::new(
            executor::Setup {
                chain: chain.clone(),
                mesh: Arc::clone(&mesh),
                data: Arc::clone(&data),
                mempool: config.mempool.clone(),
                min_free_bytes: config.storage.min_free_bytes,
                retry,
                evidence: Vec::new(),
            },
            executor::Ports {
                requests: request_inlet,
                gossip: gossip_inlet,
                submissions,
                answers,
                work,
            },
        );
        let decided = head.header.as_ref().map(Decided::after);
        let taker = NoteTaker::new(
            chain.clone(),
            Arc::clone(&mesh),
            to_publisher.clone(),
            signers,
            decided,
        );
        let publisher = Publisher {
            chain: chain.clone(),
            inputs: publisher_inlet,
            max_unproved: config.receipts.max_unproved_blocks,
            note_file,
        };
        let asked = (Question::Range, Arc::clone(&mesh));
        let repair = repair(&chain, &archive, calendar, asked);
        let archivist = Archivist {
            chain: chain.clone(),
            archive,
            log,
            commits: commit_inlet,
            listeners: Listeners {
                executor: requests.clone(),
                cosigner: notes.clone(),
                publisher: to_publisher.clone(),
                archived,
            },
        };
        let stop = CancellationToken::new();
        let scrub = Scrub {
            chain: chain.clone(),
            journal: None,
            pace: config.storage.scrub_mib_per_s.saturating_mul(1 << 20),
            pause: Duration::from_secs(config.storage.scrub_pause_s),
            stop: stop.clone(),
        };
        let (follower, inputs, applier) = follow::open(follow::Parts {
            chain: chain.clone(),
            mesh,
            commits,
            requests,
            sync: config.sync.clone(),
            until,
            files,
            data,
            stop: stop.clone(),
        })?;
        let on = runtime.clone();
        let working = vec![
            applier,
            thread("executor", move || executor.run(&on))?,
            thread("notes", move || taker.run(note_inlet))?,
            thread("archivist", move || archivist.run())?,
            thread("scrub", move || scrub.run())?,
        ];
        let publisher = thread("publisher", move || publisher.run(&runtime))?;
        let ports = Ports {
            inputs,
            gossip,
            notes,
            repairs: chain.repairs().clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(repair.run());
        Ok(Following {
            chain,
            ports,
            tasks,
            follower: tokio::spawn(follower.run()),
            stop,
            threads: Threads {
                working,
                publisher: (to_publisher, publisher),
            },
        })
    }
}

impl Following {
    /// Archives what was executed and closes all files; returns when the disk is as a next start wants it. The network
    /// should be ended by `silence`.
    pub async fn stop(self, silence: impl Future<Output = ()>) {
        let Self {
            chain,
            ports,
            mut tasks,
            follower,
            stop,
            threads,
        } = self;
        stop.cancel();
        if !follower.is_finished() {
            // It only fails if it panicked, which ends the process.
            follower.await.ok();
        }
        silence.await;
        drop(ports);
        tasks.shutdown().await;
        threads.end(chain).await;
    }
}
