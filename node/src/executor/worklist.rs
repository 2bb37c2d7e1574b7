//! The pool in three sorts: what the next block may include, what may become so, and what never will.
//!
//! The engine arms its timers by whether anything is includable on its head, so "nothing" must be exact: a
//! *witness* is kept, the oldest submission that the build predicate was asked about for this very head and said yes
//! to. Above one, the number is an estimate: submissions that were includable when last asked. So a new head costs one
//! question, not one per pending submission. Evidence lies beside the pool: it is rare, and asked about one by one.

use super::docket::Docket;
use crate::chain::{Chain, Fate};
use crate::clock;
use crate::config;
use crate::mempool::{Inserted, Mempool, Origin, Pending, PoolError};
use crate::states::Branch;
use crate::storage::index::ReadError;
use ledger::admission::{CheckedEvidence, CheckedItem, CheckedSubmission};
use ledger::body::ItemBytes;
use ledger::execute::{self, ItemError};
use ledger::hash::{ItemId, SubmissionHash};
use ledger::id::TimeMs;
use ledger::refusal::Refused;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// Parked submissions that are asked about at once.
const PARKED_CHUNK: usize = 64;

/// A pending submission and when it came.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) pending: Arc<Pending>,
    pub(super) since: Instant,
}

/// What the build predicate says.
#[derive(Debug)]
enum Answer {
    Yes,
    No(Refused),
}

impl Answer {
    fn refusal(self) -> Option<Refused> {
        match self {
            Self::Yes => None,
            Self::No(refused) => Some(refused),
        }
    }
}

/// The sorted pool.
#[derive(Debug)]
pub(super) struct Worklist {
    chain: Chain,
    pool: Mempool,
    docket: Docket,
    next: u64,
    /// In the order of arrival, here and below.
    ready: BTreeMap<u64, Waiting>,
    parked: BTreeMap<u64, Waiting>,
    numbers: HashMap<SubmissionHash, u64>,
    witness: Option<u64>,
    /// Parked submissions from here on were not asked about for this head.
    unasked: Option<u64>,
}

impl Worklist {
    pub(super) fn new(chain: Chain, limits: config::Mempool) -> Self {
        Self {
            chain,
            pool: Mempool::new(limits),
            docket: Docket::default(),
            next: 0,
            ready: BTreeMap::new(),
            parked: BTreeMap::new(),
            numbers: HashMap::new(),
            witness: None,
            unasked: None,
        }
    }

    pub(super) const fn pool(&self) -> &Mempool {
        &self.pool
    }

    /// Whether nothing waits for a block.
    pub(super) fn is_empty(&self) -> bool {
        self.pool.is_empty() && self.docket.is_empty()
    }

    /// The pending item with this id, as it travels.
    pub(super) fn item(&self, id: &ItemId) -> Option<ItemBytes> {
        let submission = self.pool.by_id(id).map(|pending| pending.item.clone());
        submission.or_else(|| self.docket.item(id))
    }

    /// What of these items is pending here, as long as it is not over so many bytes in all.
    pub(super) fn gather(&self, ids: &[ItemId], bytes: u32) -> Vec<Option<consensus::Item>> {
        let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
        let found = ids.iter().map(|id| {
            let item = match self.pool.by_id(id) {
                Some(pending) => consensus::Item::from(pending.item.as_bytes()),
                None => consensus::Item::from(self.docket.item(id)?.as_bytes()),
            };
            left = left.checked_sub(item.len())?;
            Some(item)
        });
        found.collect()
    }

    /// Files evidence, if it could still be recorded; gives it as it travels if it was not filed already.
    pub(super) fn file(
        &mut self,
        evidence: CheckedEvidence,
    ) -> Result<Option<ItemBytes>, ReadError> {
        let accused = evidence.accused();
        let item = CheckedItem::from(evidence);
        if self.docket.holds(&accused) || !self.is_recordable(&self.finals(), &item)? {
            return Ok(None);
        }
        Ok(Some(self.docket.file(accused, item)))
    }

    /// The final state changed: drops what it records, and what can be recorded no more.
    pub(super) fn close_cases(&mut self) -> Result<(), ReadError> {
        let finals = self.finals();
        for (accused, item) in self.docket.all() {
            if !self.is_recordable(&finals, &item)? {
                self.docket.close(&accused);
            }
        }
        Ok(())
    }

    /// The checked submission behind an item id.
    pub(super) fn checked(&self, id: &ItemId) -> Option<Arc<CheckedSubmission>> {
        let pending = self.pool.by_id(id)?;
        Some(Arc::clone(&pending.submission))
    }

    /// Takes a submission in, unless the final state rules it out for good.
    pub(super) fn insert(
        &mut self,
        pending: Pending,
        origin: Origin,
        head: &Branch,
    ) -> Result<Inserted, InsertError> {
        if self.pool.contains(&pending.hash) {
            return Ok(Inserted::Known);
        }
        let answer = self.ask(head, &pending)?;
        if let Answer::No(refused) = &answer {
            let refused = if head.open().is_empty() {
                Some(refused.clone())
            } else {
                self.ask(&self.chain.states().final_branch(), &pending)?
                    .refusal()
            };
            if let Some(refused) = refused.filter(|refused| !refused.refusal.may_heal()) {
                return Err(InsertError::Refused(refused));
            }
        }
        let now = clock::wall();
        let inserted = self.pool.insert(pending, origin, now)?;
        if let Inserted::New(pending) = &inserted {
            let number = self.next;
            self.next = number.saturating_add(1);
            self.numbers.insert(pending.hash, number);
            let waiting = Waiting {
                pending: Arc::clone(pending),
                since: Instant::now(),
            };
            match answer {
                Answer::Yes => {
                    self.ready.insert(number, waiting);
                    self.witness.get_or_insert(number);
                }
                Answer::No(_) => {
                    self.parked.insert(number, waiting);
                }
            }
        }
        Ok(inserted)
    }

    /// These are in a final block.
    pub(super) fn included<'a>(&mut self, hashes: impl IntoIterator<Item = &'a SubmissionHash>) {
        for hash in hashes {
            self.remove(hash);
        }
    }

    fn remove(&mut self, hash: &SubmissionHash) {
        self.pool.remove(hash);
        if let Some(number) = self.numbers.remove(hash) {
            self.ready.remove(&number);
            self.parked.remove(&number);
            if self.witness == Some(number) {
                self.witness = None;
            }
        }
    }

    /// Drops what no block may include any more.
    pub(super) fn expire(&mut self) {
        for pending in self.pool.expire(clock::wall()) {
            self.remove(&pending.hash);
            let end = pending.submission.body().not_after_ms;
            self.chain.drop_submission(pending.hash, Fate::Expired(end));
        }
    }

    /// When something changes by time alone: a window ends, or one begins.
    pub(super) fn next_change(&self) -> Option<TimeMs> {
        let now = clock::wall();
        let begins = self.parked.values().filter_map(|waiting| {
            let begin = waiting.pending.submission.body().not_before_ms;
            (begin > now).then_some(begin)
        });
        let ends = self.pool.next_end().map(|end| end.saturating_add(1));
        begins.chain(ends).min()
    }

    /// There is another head (or another time): what was parked is to be asked about again.
    pub(super) fn turn(&mut self) {
        self.witness = None;
        self.unasked = Some(0);
    }

    /// Whether parked submissions are still to be asked about for this head.
    pub(super) const fn has_unasked(&self) -> bool {
        self.unasked.is_some()
    }

    /// Asks about some parked submissions.
    pub(super) fn ask_parked(&mut self, head: &Branch) -> Result<(), ReadError> {
        let Some(from) = self.unasked else {
            return Ok(());
        };
        let chunk: Vec<(u64, Waiting)> = self
            .parked
            .range(from..)
            .take(PARKED_CHUNK)
            .map(|(number, waiting)| (*number, waiting.clone()))
            .collect();
        self.unasked = match chunk.last() {
            Some((last, _)) if chunk.len() == PARKED_CHUNK => Some(last.saturating_add(1)),
            _ => None,
        };
        for (number, waiting) in chunk {
            match self.ask(head, &waiting.pending)? {
                Answer::Yes => {
                    self.parked.remove(&number);
                    self.ready.insert(number, waiting);
                }
                Answer::No(_) => self.judge(&waiting.pending)?,
            }
        }
        Ok(())
    }

    /// How many items a block on this head would include; exact if it is none.
    pub(super) fn includable(&mut self, head: &Branch) -> Result<u32, ReadError> {
        let evidence = u32::try_from(self.recordable(head)?.len()).unwrap_or(u32::MAX);
        Ok(self.includable_submissions(head)?.saturating_add(evidence))
    }

    fn includable_submissions(&mut self, head: &Branch) -> Result<u32, ReadError> {
        while self.witness.is_none() {
            let mut uncovered = self.ready.iter();
            let found = uncovered.find(|(_, waiting)| !covers(head, &waiting.pending.hash));
            let Some((&number, waiting)) = found else {
                return Ok(0);
            };
            let pending = Arc::clone(&waiting.pending);
            match self.ask(head, &pending)? {
                Answer::Yes => self.witness = Some(number),
                Answer::No(_) => self.park(number)?,
            }
        }
        let covered = head
            .open()
            .iter()
            .flat_map(|post| &post.effects().submissions);
        let covered = covered.filter(|(hash, _)| {
            let number = self.numbers.get(*hash);
            number.is_some_and(|number| self.ready.contains_key(number))
        });
        let count = self.ready.len().saturating_sub(covered.count());
        Ok(u32::try_from(count).unwrap_or(u32::MAX).max(1))
    }

    /// What a block on this head is to be built from: all evidence, and of the submissions, oldest first, a little
    /// more than `bytes`.
    pub(super) fn candidates(
        &self,
        head: &Branch,
        bytes: usize,
    ) -> Result<Vec<CheckedItem>, ReadError> {
        let mut taken = 0_usize;
        let mut items = self.recordable(head)?;
        for waiting in self.ready.values() {
            if covers(head, &waiting.pending.hash) {
                continue;
            }
            if taken > bytes {
                break;
            }
            taken = taken.saturating_add(waiting.pending.len());
            items.push(CheckedItem::Submission(Arc::clone(
                &waiting.pending.submission,
            )));
        }
        Ok(items)
    }

    /// Evidence that a block on this head would include.
    fn recordable(&self, head: &Branch) -> Result<Vec<CheckedItem>, ReadError> {
        let mut items = Vec::new();
        for (_, item) in self.docket.all() {
            if self.is_recordable(head, &item)? {
                items.push(item);
            }
        }
        Ok(items)
    }

    fn is_recordable(&self, branch: &Branch, item: &CheckedItem) -> Result<bool, ReadError> {
        Ok(matches!(self.ask_item(branch, item)?, Answer::Yes))
    }

    fn finals(&self) -> Branch {
        self.chain.states().final_branch()
    }

    /// The build predicate refused these on the head.
    pub(super) fn refused(&mut self, ids: &[ItemId]) -> Result<(), ReadError> {
        for id in ids {
            let hash = self.pool.by_id(id).map(|pending| pending.hash);
            if let Some(number) = hash.and_then(|hash| self.numbers.get(&hash)) {
                self.park(*number)?;
            }
        }
        Ok(())
    }

    /// Ids of what waits for longer than that, oldest first.
    pub(super) fn older_than(&self, age: std::time::Duration, most: usize) -> Vec<ItemId> {
        let all = self.ready.values().chain(self.parked.values());
        let old = all.filter(|waiting| waiting.since.elapsed() >= age);
        let old = old.map(|waiting| waiting.pending.id);
        self.docket.older_than(age).chain(old).take(most).collect()
    }

    fn park(&mut self, number: u64) -> Result<(), ReadError> {
        if self.witness == Some(number) {
            self.witness = None;
        }
        let Some(waiting) = self.ready.remove(&number) else {
            return Ok(());
        };
        let pending = Arc::clone(&waiting.pending);
        self.parked.insert(number, waiting);
        self.judge(&pending)
    }

    /// Drops a parked submission if the final state rules it out for good.
    fn judge(&mut self, pending: &Pending) -> Result<(), ReadError> {
        if let Answer::No(refused) = self.ask(&self.chain.states().final_branch(), pending)?
            && !refused.refusal.may_heal()
        {
            self.remove(&pending.hash);
            self.chain
                .drop_submission(pending.hash, Fate::Refused(refused));
        }
        Ok(())
    }

    fn ask(&self, branch: &Branch, pending: &Pending) -> Result<Answer, ReadError> {
        let item = CheckedItem::Submission(Arc::clone(&pending.submission));
        self.ask_item(branch, &item)
    }

    fn ask_item(&self, branch: &Branch, item: &CheckedItem) -> Result<Answer, ReadError> {
        let founding = self.chain.founding();
        let asked = branch.with(self.chain.states(), |state, tip| {
            let time = block_time(tip.time_ms);
            execute::includable(founding, state, tip, time, item)
        })?;
        match asked {
            Ok(()) => Ok(Answer::Yes),
            Err(ItemError::Refused(refused)) => Ok(Answer::No(refused)),
            Err(ItemError::Unavailable(_)) => Err(ReadError::Closed),
        }
    }
}

/// Why a submission is not taken in, or the node cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum InsertError {
    #[error(transparent)]
    Refused(Refused),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    State(#[from] ReadError),
}

/// Time of the block that would be built on this parent now.
fn block_time(parent: TimeMs) -> TimeMs {
    clock::wall().max(parent.saturating_add(1))
}

/// Whether a block of the head's branch that is not final includes the submission.
fn covers(head: &Branch, hash: &SubmissionHash) -> bool {
    let mut open = head.open().iter();
    open.any(|post| post.effects().submissions.contains_key(hash))
}
