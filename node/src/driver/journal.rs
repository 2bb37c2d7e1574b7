//! The journal's thread: one batch, one sync, one answer. While it syncs, the driver collects the next batch.

use crate::chain::Chain;
use crate::exit;
use crate::storage::Fatal;
use crate::storage::journal::{Durable, Journal, Pruned};
use consensus::{Record, Seq};
use std::time::Instant;
use tokio::sync::mpsc;

/// What is to be written.
#[derive(Debug)]
pub enum Job {
    /// Append and sync these.
    Batch {
        /// The newest `Persist` among them.
        seq: Seq,
        /// The records of one or more `Persist`s.
        records: Vec<Record>,
    },
    /// Begin a new segment with these and delete the older ones.
    Prune(Vec<Record>),
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// What.
    pub deed: Deed,
    /// Bytes of the journal on disk.
    pub bytes: u64,
}

/// What a job came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// All is durable up to this `Persist`.
    Synced(Seq),
    /// The journal was begun anew.
    Pruned,
    /// What it was to begin with does not fit; it goes on as it is.
    NotPruned,
}

/// The driver's end: at most one job is under way.
#[derive(Debug)]
pub struct Port {
    /// Jobs in.
    pub jobs: mpsc::Sender<Job>,
    /// Answers out.
    pub done: mpsc::Receiver<Done>,
    /// What the scrub finds of it.
    pub durable: Durable,
}

/// Starts the thread that writes; it ends with the port.
pub fn spawn(
    chain: Chain,
    journal: Journal,
) -> std::io::Result<(Port, std::thread::JoinHandle<()>)> {
    let (jobs, work) = mpsc::channel(1);
    let (answers, done) = mpsc::channel(1);
    let durable = journal.durable();
    let write = move || write(&chain, journal, work, &answers);
    let thread = std::thread::Builder::new()
        .name("journal".into())
        .spawn(write)?;
    let port = Port {
        jobs,
        done,
        durable,
    };
    Ok((port, thread))
}

fn write(
    chain: &Chain,
    mut journal: Journal,
    mut jobs: mpsc::Receiver<Job>,
    answers: &mpsc::Sender<Done>,
) {
    while let Some(job) = jobs.blocking_recv() {
        let begin = Instant::now();
        let deed = match carry_out(&mut journal, job) {
            Ok(deed) => deed,
            Err(fatal) => exit::abort(&fatal),
        };
        let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        chain.counters().journal_syncs.increment();
        chain.counters().journal_sync_micros.add(micros);
        let bytes = journal.bytes();
        if answers.blocking_send(Done { deed, bytes }).is_err() {
            return;
        }
    }
}

fn carry_out(journal: &mut Journal, job: Job) -> Result<Deed, Fatal> {
    match job {
        Job::Batch { seq, records } => {
            journal.append(records.iter().map(Record::encode))?;
            journal.sync()?;
            Ok(Deed::Synced(seq))
        }
        Job::Prune(records) => {
            let records = records.iter().map(Record::encode).collect();
            Ok(match journal.prune(records)? {
                Pruned::Whole => Deed::Pruned,
                Pruned::TooMuch { bytes } => {
                    tracing::warn!(
                        bytes,
                        "the journal is kept whole: what it still needs is more than one batch holds"
                    );
                    Deed::NotPruned
                }
            })
        }
    }
}
