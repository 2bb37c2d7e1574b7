//! Admission: what a submission must be before it may wait in the pool.
//!
//! The same stages for the API and for what peers bring, cheapest first: decode strictly, [`screen`]
//! (chain, window, key), [`verify`] (signatures, in one batch; the only expensive one, for a blocking
//! worker and without holding the state), [`check_rules`] (the ledger's build predicate). Nothing here
//! decides what a block may include: [`execute::includable`] does. The caller brings state and clock.

use crate::mempool::{self, Pending, PoolError};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ledger::admission::{CheckedItem, CheckedSubmission};
use ledger::execute::{self, ItemError};
use ledger::id::TimeMs;
use ledger::refusal::{Refusal, RefusalClass, Refused};
use ledger::rules::{self, RuleError};
use ledger::submission::{Submission, SubmissionError};
use ledger::tip::{Founding, Tip};
use ledger::view::{StateUnavailable, StateView};
use std::sync::Arc;

/// Why a submission is not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The bytes are no submission.
    #[error(transparent)]
    Malformed(#[from] SubmissionError),
    /// Its window, or the pool's limits.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A rule of the ledger.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The state could not be read: says nothing about the submission.
    #[error(transparent)]
    Unavailable(#[from] StateUnavailable),
}

/// What admission looks at: the state after the newest final block, and the time.
#[derive(Clone, Copy)]
pub struct Present<'a> {
    /// What the genesis fixes.
    pub founding: &'a Founding,
    /// The state after the tip's block.
    pub view: &'a dyn StateView,
    /// The newest final block.
    pub tip: &'a Tip,
    /// This node's clock.
    pub now: TimeMs,
}

impl std::fmt::Debug for Present<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Present")
            .field("height", &self.tip.height)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl Present<'_> {
    /// Time of the block that would be built now.
    fn block_time(&self) -> TimeMs {
        self.now.max(self.tip.time_ms.saturating_add(1))
    }
}

/// Who brings a submission, and so how much benefit of the doubt it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// A client: it is told now what is wrong.
    Client,
    /// A validator: what the submission builds on may be final there and not here yet.
    Validator,
}

impl Bearer {
    /// Whether a refused submission may still wait in the pool.
    ///
    /// A window that begins soon is waited for in any case; [`screen`] refused those that begin too late.
    fn tolerates(self, refusal: &Refusal) -> bool {
        match self {
            Self::Client => refusal.class() == RefusalClass::Early,
            Self::Validator => refusal.may_heal(),
        }
    }
}

/// Randomness of the operating system, for batch verification.
///
/// It ends the process if the system has none, which Linux does not do after boot.
pub const fn system_rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// Refuses what is cheap to refuse: another chain, a window that is over or far off, a key that may not sign.
///
/// # Errors
/// [`AdmissionError`]; no signature was checked.
pub fn screen(
    present: &Present<'_>,
    bearer: Bearer,
    submission: &Submission,
) -> Result<(), AdmissionError> {
    let body = submission.body();
    let (found, expected) = (body.chain, present.founding.chain());
    if found != expected {
        return Err(Refused::from(Refusal::Chain { found, expected }).into());
    }
    mempool::check_window(body.not_before_ms, body.not_after_ms, present.now)?;
    let signer = (body.authority, &body.key);
    let index = ledger::id::LeafIndex(present.tip.log_size().0);
    let time = present.block_time();
    match rules::capacity(present.founding, present.view, signer, index, time) {
        Ok(_) => Ok(()),
        Err(RuleError::Unavailable(error)) => Err(error.into()),
        Err(RuleError::Refused(refusal)) if bearer.tolerates(&refusal) => Ok(()),
        Err(RuleError::Refused(refusal)) => Err(Refused::from(refusal).into()),
    }
}

/// Checks signatures, in one batch where all are good, then all else that the state does not matter for.
///
/// Takes 8 to 40 µs of processor time for each submission, and some for each record.
pub fn verify(
    founding: &Founding,
    submissions: Vec<Submission>,
) -> Vec<Result<CheckedSubmission, AdmissionError>> {
    let check = |verified| Ok(CheckedSubmission::new(founding, verified)?);
    // Whose signature is bad is only known one by one, and all the others must still be let in.
    match Submission::verify_all(submissions.clone(), system_rng()) {
        Ok(all) => all.into_iter().map(check).collect(),
        Err(_) => submissions
            .into_iter()
            .map(|one| {
                let verified = one.verify().map_err(|error| Refusal::from(error).into());
                verified.map_err(AdmissionError::Refused).and_then(check)
            })
            .collect(),
    }
}

/// Asks the rules whether the next block could include it.
///
/// # Errors
/// [`AdmissionError::Refused`] if it cannot, and waiting would not help or the bearer should know now.
pub fn check_rules(
    present: &Present<'_>,
    bearer: Bearer,
    submission: CheckedSubmission,
) -> Result<Pending, AdmissionError> {
    let pending = Pending::new(submission);
    let item = CheckedItem::Submission(Arc::clone(&pending.submission));
    let Present {
        founding,
        view,
        tip,
        ..
    } = present;
    match execute::includable(founding, *view, tip, present.block_time(), &item) {
        Ok(()) => Ok(pending),
        Err(ItemError::Unavailable(error)) => Err(error.into()),
        Err(ItemError::Refused(refused)) if bearer.tolerates(&refused.refusal) => Ok(pending),
        Err(ItemError::Refused(refused)) => Err(refused.into()),
    }
}

#[cfg(test)]
#[path = "admission/tests.rs"]
mod tests;
