//! `POST /v1/submissions`: hand submissions in and wait for what becomes of them.
//!
//! The body is a row of (u32 length, little-endian, and a submission's bytes). One result for each, in
//! order. The status is 200 when all are as far as was asked, and otherwise the largest of the results'
//! own: 202 for one that was not as far when the time was over (it may still get there: ask again with the
//! same bytes), 4xx and 5xx for one that was refused. Handing in twice is harmless: a submission that is
//! pending or included is only waited for.

use super::error::ApiError;
use super::types::{Standing, SubmissionResults, Submitted};
use super::{App, limits};
use crate::admission::{self, AdmissionError, Bearer, Present};
use crate::chain::{Fate, NotTaken, Outcome};
use crate::clock;
use crate::config::MAX_WAIT_MS;
use crate::mempool::{Pending, PoolError};
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures::future::join_all;
use ledger::admission::CheckedSubmission;
use ledger::hash::SubmissionHash;
use ledger::id::Height;
use ledger::refusal::{Refusal, RefusalClass, Refused};
use ledger::state::Inclusion;
use ledger::submission::{Submission, SubmissionError};
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Most submissions of one request.
const MAX_SUBMISSIONS: usize = 1_000;

/// What a request may ask for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[serde(default)]
    wait: Wait,
    #[serde(default = "longest")]
    timeout_ms: u64,
}

/// How far to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Wait {
    Accepted,
    Final,
    #[default]
    Provable,
}

const fn longest() -> u64 {
    MAX_WAIT_MS
}

pub(super) async fn submit(
    State(app): State<App>,
    asked: Result<Query<Asked>, QueryRejection>,
    body: Body,
) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let Query(asked) = asked.map_err(|error| ApiError::malformed(error.body_text()))?;
    if asked.timeout_ms > MAX_WAIT_MS {
        let message = format!(
            "timeout_ms is at most {MAX_WAIT_MS}, not {}",
            asked.timeout_ms
        );
        return Err(ApiError::malformed(message));
    }
    let deadline = arrived + Duration::from_millis(asked.timeout_ms);
    let bytes = limits::read_body(&app, body).await?;
    let slots = app
        .blocking(move |app| examine(app, &split(&bytes)?))
        .await?;
    let places = hand_in(&app, slots).await;
    let patience = Patience {
        app: &app,
        wait: asked.wait,
        arrived,
        deadline,
    };
    Ok(patience.answer(places).await)
}

/// Cuts the body into the bytes of its submissions.
fn split(body: &[u8]) -> Result<Vec<&[u8]>, ApiError> {
    let mut all = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let at = body.len().saturating_sub(rest.len());
        let Some((prefix, behind)) = rest.split_first_chunk::<4>() else {
            let message = format!("the body ends inside a length prefix, at byte {at}");
            return Err(framing(message));
        };
        let length = u32::from_le_bytes(*prefix);
        let one = usize::try_from(length)
            .ok()
            .and_then(|n| behind.split_at_checked(n));
        let Some((one, behind)) = one else {
            let left = behind.len();
            let message =
                format!("the length prefix at byte {at} says {length} bytes, {left} bytes follow");
            return Err(framing(message));
        };
        if all.len() == MAX_SUBMISSIONS {
            let message = format!("a request has at most {MAX_SUBMISSIONS} submissions");
            return Err(ApiError::malformed(message).hint("send the rest in another request"));
        }
        all.push(one);
        rest = behind;
    }
    if all.is_empty() {
        return Err(framing("the body has no submission"));
    }
    Ok(all)
}

fn framing(message: impl Into<String>) -> ApiError {
    ApiError::malformed(message)
        .hint("the body is a row of u32 little-endian lengths, each followed by a submission")
}

/// What is known of one submission before it is handed in.
enum Slot {
    Refused(Option<SubmissionHash>, AdmissionError),
    Included(SubmissionHash, Inclusion),
    Ready(Pending),
}

/// A submission on its way through admission.
enum Stop<T> {
    At(Slot),
    Goes(T),
}

impl<T> Stop<T> {
    fn then<U>(self, on: impl FnOnce(T) -> Stop<U>) -> Stop<U> {
        match self {
            Self::At(slot) => Stop::At(slot),
            Self::Goes(value) => on(value),
        }
    }
}

/// Admission of all submissions of a request: decodes, checks and verifies. Blocking.
fn examine(app: &App, encoded: &[&[u8]]) -> Result<Vec<Slot>, ApiError> {
    let chain = &app.chain;
    let decode = |bytes: &&[u8]| match Submission::decode(bytes) {
        Ok(submission) => Stop::Goes(submission),
        Err(error) => Stop::At(Slot::Refused(None, error.into())),
    };
    let decoded: Vec<Stop<Submission>> = encoded.iter().map(decode).collect();
    let now = clock::wall();
    let founding = chain.founding();
    let screened: Vec<Stop<Submission>> = chain
        .with_final(|view, tip| {
            let present = Present {
                founding,
                view,
                tip,
                now,
            };
            let screen = |submission: Submission| {
                let hash = submission.hash();
                let screened = match view.inclusion(&hash) {
                    Ok(Some(inclusion)) => return Stop::At(Slot::Included(hash, inclusion)),
                    Ok(None) => admission::screen(&present, Bearer::Client, &submission),
                    Err(error) => Err(error.into()),
                };
                match screened {
                    Ok(()) => Stop::Goes(submission),
                    Err(error) => Stop::At(Slot::Refused(Some(hash), error)),
                }
            };
            decoded.into_iter().map(|one| one.then(screen)).collect()
        })
        .map_err(|error| ApiError::internal(&error))?;
    let verified = verify(app, screened);
    chain
        .with_final(|view, tip| {
            let present = Present {
                founding,
                view,
                tip,
                now,
            };
            let check = |submission: CheckedSubmission| {
                let hash = submission.hash();
                match admission::check_rules(&present, Bearer::Client, submission) {
                    Ok(pending) => Slot::Ready(pending),
                    Err(error) => Slot::Refused(Some(hash), error),
                }
            };
            let check = |one: Stop<CheckedSubmission>| match one {
                Stop::At(slot) => slot,
                Stop::Goes(submission) => check(submission),
            };
            verified.into_iter().map(check).collect()
        })
        .map_err(|error| ApiError::internal(&error))
}

/// Verifies those that go on, in one batch. The state is not held meanwhile.
fn verify(app: &App, screened: Vec<Stop<Submission>>) -> Vec<Stop<CheckedSubmission>> {
    let going = screened.iter().filter_map(|one| match one {
        Stop::Goes(submission) => Some(submission.clone()),
        Stop::At(_) => None,
    });
    let mut checked = admission::verify(app.chain.founding(), going.collect()).into_iter();
    let join = |submission: Submission| match checked.next() {
        Some(Ok(checked)) => Stop::Goes(checked),
        Some(Err(error)) => Stop::At(Slot::Refused(Some(submission.hash()), error)),
        // One result for each that went in.
        None => Stop::At(Slot::Refused(None, SubmissionError::Root.into())),
    };
    let mut join = join;
    screened
        .into_iter()
        .map(|one| one.then(&mut join))
        .collect()
}

/// Where a submission stands after it was handed in.
enum Place {
    Refused(Option<SubmissionHash>, ApiError),
    Included(SubmissionHash, Inclusion),
    Pending(SubmissionHash),
}

async fn hand_in(app: &App, slots: Vec<Slot>) -> Vec<Place> {
    let mut pending = Vec::new();
    let mut places = Vec::with_capacity(slots.len());
    for slot in slots {
        places.push(match slot {
            Slot::Included(hash, inclusion) => Place::Included(hash, inclusion),
            // It was included while it was being checked: waiting for it finds it.
            Slot::Refused(Some(hash), AdmissionError::Refused(refused))
                if refused.refusal.class() == RefusalClass::Included =>
            {
                Place::Pending(hash)
            }
            Slot::Refused(hash, error) => Place::Refused(hash, admission_error(&error)),
            Slot::Ready(one) => {
                let hash = one.hash;
                pending.push(one);
                Place::Pending(hash)
            }
        });
    }
    let handed: Vec<SubmissionHash> = pending.iter().map(|one| one.hash).collect();
    if handed.is_empty() {
        return places;
    }
    let answers = app.chain.submit(pending).await;
    let mut answers = handed.iter().zip(answers).peekable();
    for place in &mut places {
        let Place::Pending(hash) = place else {
            continue;
        };
        let hash = *hash;
        if let Some((_, Err(error))) = answers.next_if(|(of, _)| **of == hash)
            && !already_included(&error)
        {
            *place = Place::Refused(Some(hash), not_taken(&error));
        }
    }
    places
}

fn already_included(error: &NotTaken) -> bool {
    match error {
        NotTaken::Refused(refused) => refused.refusal.class() == RefusalClass::Included,
        NotTaken::Pool(_) | NotTaken::LowSpace { .. } | NotTaken::Stopping => false,
    }
}

/// How far and how long a request waits.
struct Patience<'a> {
    app: &'a App,
    wait: Wait,
    arrived: Instant,
    deadline: Instant,
}

impl Patience<'_> {
    async fn answer(&self, places: Vec<Place>) -> Response {
        let results = join_all(places.into_iter().map(|place| self.result(place))).await;
        let mut worst = StatusCode::OK;
        let mut answered = Vec::with_capacity(results.len());
        for (status, result) in results {
            worst = worst.max(status);
            answered.push(result);
        }
        let answer = SubmissionResults { results: answered };
        (worst, Json(answer)).into_response()
    }

    async fn result(&self, place: Place) -> (StatusCode, Submitted) {
        let is_new = matches!(place, Place::Pending(_));
        let (hash, inclusion) = match place {
            Place::Refused(hash, error) => return self.refused(hash, &error),
            Place::Included(hash, inclusion) => (hash, inclusion),
            Place::Pending(hash) if self.wait == Wait::Accepted => {
                return (StatusCode::OK, blank(hash, Standing::Accepted));
            }
            Place::Pending(hash) => match self.until(self.app.chain.outcome(&hash)).await {
                Some(Ok(Outcome::Final(inclusion))) => {
                    let latency = &self.app.metrics.final_latency;
                    latency.add(self.arrived.elapsed());
                    (hash, inclusion)
                }
                Some(Ok(Outcome::Dropped(fate))) => {
                    return self.refused(Some(hash), &fate_error(&fate));
                }
                Some(Err(_)) => return self.refused(Some(hash), &not_taken(&NotTaken::Stopping)),
                None => return (StatusCode::ACCEPTED, blank(hash, Standing::Timeout)),
            },
        };
        let proved = match self.wait {
            Wait::Accepted | Wait::Final => self.proved(inclusion.height),
            Wait::Provable => self.until_proved(inclusion.height).await,
        };
        if is_new && proved.is_some() {
            let latency = &self.app.metrics.provable_latency;
            latency.add(self.arrived.elapsed());
        }
        let (status, state) = match proved {
            Some(_) => (StatusCode::OK, Standing::Provable),
            None if self.wait < Wait::Provable => (StatusCode::OK, Standing::Final),
            None => (StatusCode::ACCEPTED, Standing::Timeout),
        };
        let result = Submitted {
            height: Some(inclusion.height.0),
            time_ms: Some(inclusion.time_ms.0),
            first_index: Some(inclusion.first.0),
            count: Some(inclusion.count.into()),
            size: proved,
            ..blank(hash, state)
        };
        (status, result)
    }

    fn refused(&self, hash: Option<SubmissionHash>, error: &ApiError) -> (StatusCode, Submitted) {
        self.app.metrics.refusals.count(error.code);
        let result = Submitted {
            submission: hash.map_or_else(String::new, |hash| hash.to_string()),
            error: Some(error.detail()),
            ..blank(SubmissionHash::default(), Standing::Refused)
        };
        (error.status, result)
    }

    /// What comes in time and before the node stops.
    async fn until<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = timeout_at(self.deadline, what) => done.ok(),
            () = self.app.0.shutdown.cancelled() => None,
        }
    }

    /// Size of the newest checkpoint, if it covers this block.
    fn proved(&self, height: Height) -> Option<u64> {
        let progress = *self.app.chain.progress().borrow();
        (progress.provable_height >= height).then_some(progress.provable_size.0)
    }

    async fn until_proved(&self, height: Height) -> Option<u64> {
        let mut progress = self.app.chain.progress();
        let reached = async {
            let reached = progress.wait_for(|progress| progress.provable_height >= height);
            reached.await.ok().map(|progress| progress.provable_size.0)
        };
        self.until(reached).await?
    }
}

fn blank(hash: SubmissionHash, state: Standing) -> Submitted {
    Submitted {
        submission: hash.to_string(),
        state,
        height: None,
        time_ms: None,
        first_index: None,
        count: None,
        size: None,
        error: None,
    }
}

fn admission_error(error: &AdmissionError) -> ApiError {
    match error {
        AdmissionError::Malformed(error) => malformed(error),
        AdmissionError::Pool(error) => pool_error(error),
        AdmissionError::Refused(refused) => refused_error(refused),
        AdmissionError::Unavailable(error) => ApiError::internal(error),
    }
}

fn malformed(error: &SubmissionError) -> ApiError {
    let bad = |code| ApiError::new(StatusCode::BAD_REQUEST, code, chain_text(error));
    match error {
        SubmissionError::Decode(_) => bad("not-canonical"),
        SubmissionError::Count(_) => bad("record-count").hint("send several submissions"),
        SubmissionError::Window { .. } => bad("bad-window"),
        SubmissionError::RecordLength { .. } => bad("record-too-long"),
        SubmissionError::Root => bad("wrong-records-root"),
    }
}

fn pool_error(error: &PoolError) -> ApiError {
    let new = |status, code| ApiError::new(status, code, error.to_string());
    match error {
        PoolError::Full { .. } => new(StatusCode::SERVICE_UNAVAILABLE, "pool-full")
            .hint("try again in some seconds, or ask another node"),
        PoolError::AuthorityQuota { .. } | PoolError::PeerQuota { .. } => {
            new(StatusCode::TOO_MANY_REQUESTS, "quota").hint("wait until earlier ones are final")
        }
        PoolError::Expired { .. } => new(StatusCode::UNPROCESSABLE_ENTITY, "window-over")
            .hint("sign it again with a new window; is this computer's clock right?"),
        PoolError::TooEarly { .. } => new(StatusCode::UNPROCESSABLE_ENTITY, "window-too-early")
            .hint("is this computer's clock right?"),
    }
}

fn refused_error(refused: &Refused) -> ApiError {
    let status = match refused.refusal.class() {
        RefusalClass::Malformed => StatusCode::BAD_REQUEST,
        RefusalClass::Rights => StatusCode::FORBIDDEN,
        RefusalClass::NotVerified
        | RefusalClass::Early
        | RefusalClass::Included
        | RefusalClass::Rule => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let error = ApiError::new(status, refused.refusal.code(), refused.to_string());
    match &refused.refusal {
        Refusal::UnknownKey(_) => error.hint("has the authority's admin key enrolled it?"),
        Refusal::Chain { .. } => error.hint("is this the right network?"),
        Refusal::Lane { .. } => error.hint("fetch the document's state and sign again"),
        Refusal::Late { .. } => error.hint("sign it again with a new window"),
        _ => error,
    }
}

fn not_taken(error: &NotTaken) -> ApiError {
    match error {
        NotTaken::Refused(refused) => refused_error(refused),
        NotTaken::Pool(error) => pool_error(error),
        NotTaken::LowSpace { .. } => ApiError::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "disk-low",
            error.to_string(),
        )
        .hint("ask another node; this one's operator must make room"),
        NotTaken::Stopping => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            error.to_string(),
        )
        .hint("ask another node"),
    }
}

fn fate_error(fate: &Fate) -> ApiError {
    match fate {
        Fate::Refused(refused) => refused_error(refused),
        Fate::Expired(_) => ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "window-over",
            fate.to_string(),
        )
        .hint("sign it again with a new window"),
    }
}

/// An error with its sources in one sentence.
fn chain_text(error: &dyn std::error::Error) -> String {
    crate::exit::Chain(error).to_string()
}
