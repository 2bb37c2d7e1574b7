//! Getting signed submissions into the ledger: several under way at once, with patience, saying what is waited for.
//!
//! Sending the same bytes twice is harmless, so nothing here needs to know whether an answer got lost.

use crate::api::types::ErrorDetail;
use crate::api::{Api, ApiError, Standing, Wait};
use ledger::hash::SubmissionHash;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Submissions under way at once.
const PIPELINE: usize = 4;
/// How long a node is asked to wait at a time.
const TURN: Duration = Duration::from_secs(5);
/// Pause before a silent or busy node is asked again.
const PAUSE: Duration = Duration::from_millis(250);
/// Without progress for this long, people are told what is waited for.
const QUIET: Duration = Duration::from_secs(2);
/// And again after this long.
const AGAIN: Duration = Duration::from_secs(10);

/// What happens meanwhile, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many more records are final.
    Final {
        /// How many.
        records: usize,
    },
    /// Nothing became final for a while: too few validators answer.
    NoQuorum {
        /// Validators that the node is connected to, itself included.
        answering: usize,
        /// All of them.
        validators: usize,
        /// How many must answer.
        needed: usize,
    },
    /// Nothing became final for a while, though enough validators answer.
    Slow {
        /// Submissions that wait in the node.
        pool: u64,
    },
    /// The node takes no submissions at the moment.
    Full {
        /// Why, as it says.
        reason: String,
    },
    /// The node does not answer at the moment.
    Silent {
        /// Why.
        reason: String,
    },
    /// So many more receipts are checked.
    Receipts {
        /// How many.
        count: usize,
    },
}

/// Told of every [`Event`].
pub type Watch<'a> = &'a (dyn Fn(&Event) + Sync);

/// A signed submission on its way.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Names it on the chain.
    pub hash: SubmissionHash,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// Number of its records.
    pub records: usize,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It is in a final block, as a node says.
    Final,
    /// It was refused.
    Refused(ErrorDetail),
}

/// A submission could not be delivered; it may still become final.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// A node's answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Nodes answer, and nothing becomes final.
    #[error("nothing became final in {0} s")]
    NoProgress(u64),
    /// Nodes answer, and take nothing.
    #[error("the node took no submission in {seconds} s: {}", detail.message)]
    NotTaken {
        /// How long.
        seconds: u64,
        /// What it said last.
        detail: ErrorDetail,
    },
    /// A task ended without a result.
    #[error("a task of this program was lost")]
    Task,
}

/// What a node answers that has no room for submissions on its disk: that does not pass by itself.
const DISK_LOW: &str = "disk-low";

/// The node's last word on why it takes nothing; none once it took something.
#[derive(Debug, Default)]
struct Refusing {
    detail: Mutex<Option<ErrorDetail>>,
    /// Rung at the first word of what does not pass by itself.
    first: Notify,
}

impl Refusing {
    fn set(&self, detail: Option<ErrorDetail>) {
        let lasting = detail.as_ref().is_some_and(|it| it.code == DISK_LOW);
        let mut last = self.detail.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none() && lasting {
            self.first.notify_one();
        }
        *last = detail;
    }

    fn detail(&self) -> Option<ErrorDetail> {
        let last = self.detail.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}

/// Delivers submissions.
#[derive(Clone, Copy)]
pub struct Courier<'a> {
    /// The nodes.
    pub api: &'a Api,
    /// How long nothing may become final while nodes answer.
    pub patience: Duration,
    /// Told what happens.
    pub watch: Watch<'a>,
}

impl std::fmt::Debug for Courier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier")
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

impl Courier<'_> {
    /// Sends what `next` gives until it gives nothing more; it is asked only when there is room for one.
    ///
    /// # Errors
    /// [`DeliveryError`], or an error of `next`; what is under way then may still become final.
    pub async fn send<E: From<DeliveryError>>(
        &self,
        next: &mut dyn FnMut() -> Result<Option<Parcel>, E>,
    ) -> Result<Vec<(Parcel, Fate)>, E> {
        let refusing = Arc::new(Refusing::default());
        let mut under_way = JoinSet::new();
        let mut done = Vec::new();
        let mut exhausted = false;
        let mut progress = Instant::now();
        loop {
            while !exhausted && under_way.len() < PIPELINE {
                match next()? {
                    Some(parcel) => {
                        let bounds = (Wait::Final, self.patience);
                        let (api, refusing) = (self.api.clone(), Arc::clone(&refusing));
                        under_way.spawn(async move {
                            let fate = deliver(&api, &parcel.bytes, bounds, &refusing).await;
                            (parcel, fate)
                        });
                    }
                    None => exhausted = true,
                }
            }
            let next = under_way.join_next();
            let joined = match self.watching(progress, &refusing, next).await {
                None => return Ok(done),
                Some(joined) => joined.map_err(|_lost| DeliveryError::Task)?,
            };
            let (parcel, fate) = joined;
            let fate = fate?;
            if matches!(fate, Fate::Final) {
                let records = parcel.records;
                (self.watch)(&Event::Final { records });
            }
            progress = Instant::now();
            done.push((parcel, fate));
        }
    }

    /// Waits until a final submission is covered by a quorum-cosigned checkpoint.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn provable(&self, parcel: &Parcel) -> Result<Fate, DeliveryError> {
        let refusing = Refusing::default();
        let bounds = (Wait::Provable, self.patience);
        let delivered = deliver(self.api, &parcel.bytes, bounds, &refusing);
        self.watching(Instant::now(), &refusing, delivered).await
    }

    /// Runs `work` to its end and tells what is waited for while it takes long.
    async fn watching<T>(
        &self,
        since: Instant,
        refusing: &Refusing,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = std::pin::pin!(work);
        let mut notice = since + QUIET;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep_until(notice) => {}
                () = refusing.first.notified() => {}
            }
            // The work goes on while the node is asked how it is.
            tokio::select! {
                biased;
                done = &mut work => return done,
                event = self.look(refusing) => (self.watch)(&event),
            }
            notice = Instant::now() + AGAIN;
        }
    }

    async fn look(&self, refusing: &Refusing) -> Event {
        if let Some(detail) = refusing.detail() {
            let reason = detail.message;
            return Event::Full { reason };
        }
        let status = match timeout(QUIET, self.api.status()).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => {
                let reason = error.to_string();
                return Event::Silent { reason };
            }
            Err(_elapsed) => {
                let reason = format!("{} does not answer", self.api.node());
                return Event::Silent { reason };
            }
        };
        let answering = 1 + status.peers.iter().filter(|peer| peer.connected).count();
        let validators = 1 + status.peers.len();
        let needed = validators - (validators - 1) / 3;
        if answering < needed {
            Event::NoQuorum {
                answering,
                validators,
                needed,
            }
        } else {
            let pool = status.pool;
            Event::Slow { pool }
        }
    }
}

/// Posts one submission until it is as far as asked for. A node may be silent for its time-out in a row.
async fn deliver(
    api: &Api,
    bytes: &[u8],
    (wait, patience): (Wait, Duration),
    refusing: &Refusing,
) -> Result<Fate, DeliveryError> {
    let end = Instant::now() + patience;
    let mut silent_since = None;
    loop {
        let asked = Instant::now();
        let left = end.saturating_duration_since(asked);
        if left.is_zero() {
            let seconds = patience.as_secs();
            return Err(match refusing.detail() {
                Some(detail) => DeliveryError::NotTaken { seconds, detail },
                None => DeliveryError::NoProgress(seconds),
            });
        }
        let turn = left.min(TURN).as_millis();
        let turn = u64::try_from(turn).unwrap_or(u64::MAX);
        match api.submit(&[bytes], wait, turn).await {
            Ok(results) => {
                silent_since = None;
                refusing.set(None);
                let Some(result) = results.into_iter().next() else {
                    continue;
                };
                match result.state {
                    Standing::Final if wait != Wait::Provable => return Ok(Fate::Final),
                    Standing::Provable => return Ok(Fate::Final),
                    Standing::Refused => {
                        return Ok(Fate::Refused(result.error.unwrap_or_else(unexplained)));
                    }
                    Standing::Accepted | Standing::Final | Standing::Timeout => {}
                }
            }
            Err(ApiError::Busy { detail }) => {
                silent_since = None;
                refusing.set(Some(detail));
            }
            Err(error @ ApiError::Unavailable(_)) => {
                let since = *silent_since.get_or_insert(asked);
                if since.elapsed() >= api.timeout() {
                    return Err(error.into());
                }
            }
            Err(ApiError::Refused { detail }) => return Ok(Fate::Refused(detail)),
            Err(error) => return Err(error.into()),
        }
        sleep(PAUSE).await;
    }
}

fn unexplained() -> ErrorDetail {
    ErrorDetail {
        code: "unknown".into(),
        message: "the node gives no reason".into(),
        hint: None,
    }
}
