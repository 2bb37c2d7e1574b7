//! Pending submissions: bounded, each verified once, in the order of arrival.
//!
//! The pool decides nothing: whether a submission may be included is the ledger's build predicate, asked
//! by the engine. What the pool knows is memory (in all, per authority, per peer), duplicates (by
//! submission hash), and windows. It has no clock: the caller says what time it is.

use crate::config;
use ledger::admission::CheckedSubmission;
use ledger::body::ItemBytes;
use ledger::hash::{ItemId, SubmissionHash};
use ledger::id::{AuthorityIndex, TimeMs, ValidatorIndex};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How far in the future a window may begin when a submission is admitted, in milliseconds (consensus.md, 3.10).
pub const MAX_EARLY_MS: u64 = 60_000;
/// Bytes that one entry costs beside its submission: maps, hashes, allocations.
const ENTRY_OVERHEAD: usize = 512;
/// A decoded submission's memory as a multiple of its encoding: bytes, decoded records, item bytes.
const DECODED_FACTOR: usize = 3;

/// Who brought a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The own HTTP API.
    Api,
    /// Another validator.
    Peer(ValidatorIndex),
}

/// A pending submission.
#[derive(Debug)]
pub struct Pending {
    /// The submission: signature and all that does not need the state are checked.
    pub submission: Arc<CheckedSubmission>,
    /// As it travels and enters a body.
    pub item: ItemBytes,
    /// Names it in gossip.
    pub id: ItemId,
    /// Names it on the chain.
    pub hash: SubmissionHash,
}

impl Pending {
    /// Prepares a checked submission.
    pub fn new(submission: impl Into<Arc<CheckedSubmission>>) -> Self {
        let submission = submission.into();
        Self {
            item: ItemBytes::submission(&submission),
            id: submission.id(),
            hash: submission.hash(),
            submission,
        }
    }

    /// Bytes of the complete submission.
    pub fn len(&self) -> usize {
        self.submission.encoded().len()
    }

    /// Never: a submission has bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn cost(&self) -> usize {
        self.len()
            .saturating_mul(DECODED_FACTOR)
            .saturating_add(ENTRY_OVERHEAD)
    }
}

/// Why a submission is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// No memory is left: come back later.
    #[error("the pool of pending submissions is full: limit {limit} bytes")]
    Full {
        /// The limit that was met, in bytes.
        limit: usize,
    },
    /// The authority has used its share.
    #[error("authority #{authority} has used its share of the pool: limit {limit} bytes")]
    AuthorityQuota {
        /// Whose.
        authority: AuthorityIndex,
        /// The share, in bytes.
        limit: usize,
    },
    /// The peer has used its share.
    #[error("validator #{peer} has used its share of the pool: limit {limit} bytes")]
    PeerQuota {
        /// Whose.
        peer: ValidatorIndex,
        /// The share, in bytes.
        limit: usize,
    },
    /// The window is over.
    #[error("the validity window ended at {not_after} ms, now is {now} ms")]
    Expired {
        /// End of the window.
        not_after: TimeMs,
        /// This node's clock.
        now: TimeMs,
    },
    /// The window begins too late to keep the submission until then.
    #[error(
        "the validity window begins at {not_before} ms, over {MAX_EARLY_MS} ms from now ({now} ms)"
    )]
    TooEarly {
        /// Begin of the window.
        not_before: TimeMs,
        /// This node's clock.
        now: TimeMs,
    },
}

/// What became of a submission that was handed in.
#[derive(Clone, Debug)]
pub enum Inserted {
    /// It is pending now.
    New(Arc<Pending>),
    /// It was pending already.
    Known,
}

#[derive(Debug)]
struct Slot {
    pending: Arc<Pending>,
    origin: Origin,
}

/// The pool.
#[derive(Debug)]
pub struct Mempool {
    limits: config::Mempool,
    next: u64,
    /// In the order of arrival.
    queue: BTreeMap<u64, Slot>,
    by_hash: HashMap<SubmissionHash, u64>,
    by_id: HashMap<ItemId, u64>,
    /// (end of window, arrival): what expires next is first.
    ends: BTreeMap<(TimeMs, u64), ()>,
    bytes: usize,
    per_authority: BTreeMap<AuthorityIndex, usize>,
    per_peer: BTreeMap<ValidatorIndex, usize>,
}

impl Mempool {
    /// An empty pool.
    pub fn new(limits: config::Mempool) -> Self {
        Self {
            limits,
            next: 0,
            queue: BTreeMap::new(),
            by_hash: HashMap::new(),
            by_id: HashMap::new(),
            ends: BTreeMap::new(),
            bytes: 0,
            per_authority: BTreeMap::new(),
            per_peer: BTreeMap::new(),
        }
    }

    /// Takes a submission in, unless it is there already or a limit is met.
    ///
    /// # Errors
    /// [`PoolError`] names the limit.
    pub fn insert(
        &mut self,
        pending: Pending,
        origin: Origin,
        now: TimeMs,
    ) -> Result<Inserted, PoolError> {
        if self.by_hash.contains_key(&pending.hash) {
            return Ok(Inserted::Known);
        }
        self.admit(&pending, origin, now)?;
        let cost = pending.cost();
        let body = pending.submission.body();
        let (authority, not_after) = (body.authority, body.not_after_ms);
        let at = self.next;
        self.next = self.next.saturating_add(1);
        self.bytes = self.bytes.saturating_add(cost);
        add(&mut self.per_authority, authority, cost);
        if let Origin::Peer(peer) = origin {
            add(&mut self.per_peer, peer, cost);
        }
        self.by_hash.insert(pending.hash, at);
        self.by_id.insert(pending.id, at);
        self.ends.insert((not_after, at), ());
        let pending = Arc::new(pending);
        self.queue.insert(
            at,
            Slot {
                pending: Arc::clone(&pending),
                origin,
            },
        );
        Ok(Inserted::New(pending))
    }

    fn admit(&self, pending: &Pending, origin: Origin, now: TimeMs) -> Result<(), PoolError> {
        let body = pending.submission.body();
        check_window(body.not_before_ms, body.not_after_ms, now)?;
        let cost = pending.cost();
        let over = |used: usize, limit: usize| used.saturating_add(cost) > limit;
        if over(self.bytes, self.limits.max_bytes) {
            return Err(PoolError::Full {
                limit: self.limits.max_bytes,
            });
        }
        let authority = body.authority;
        let limit = self.limits.max_bytes_per_authority;
        if over(
            self.per_authority.get(&authority).copied().unwrap_or(0),
            limit,
        ) {
            return Err(PoolError::AuthorityQuota { authority, limit });
        }
        if let Origin::Peer(peer) = origin {
            let limit = self.limits.max_bytes_per_peer;
            if over(self.per_peer.get(&peer).copied().unwrap_or(0), limit) {
                return Err(PoolError::PeerQuota { peer, limit });
            }
        }
        Ok(())
    }

    /// Whether a submission is pending.
    pub fn contains(&self, hash: &SubmissionHash) -> bool {
        self.by_hash.contains_key(hash)
    }

    /// The pending submission with this item id.
    pub fn by_id(&self, id: &ItemId) -> Option<&Arc<Pending>> {
        let at = self.by_id.get(id)?;
        self.queue.get(at).map(|slot| &slot.pending)
    }

    /// All that is pending, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pending>> {
        self.queue.values().map(|slot| &slot.pending)
    }

    /// Takes a submission out: it is included, or refused for good.
    pub fn remove(&mut self, hash: &SubmissionHash) -> Option<Arc<Pending>> {
        let at = self.by_hash.get(hash).copied()?;
        self.take(at)
    }

    fn take(&mut self, at: u64) -> Option<Arc<Pending>> {
        let Slot { pending, origin } = self.queue.remove(&at)?;
        let cost = pending.cost();
        let body = pending.submission.body();
        self.by_hash.remove(&pending.hash);
        self.by_id.remove(&pending.id);
        self.ends.remove(&(body.not_after_ms, at));
        self.bytes = self.bytes.saturating_sub(cost);
        sub(&mut self.per_authority, body.authority, cost);
        if let Origin::Peer(peer) = origin {
            sub(&mut self.per_peer, peer, cost);
        }
        Some(pending)
    }

    /// Takes out what no block from `now` on may include.
    pub fn expire(&mut self, now: TimeMs) -> Vec<Arc<Pending>> {
        let mut gone = Vec::new();
        while let Some((&(not_after, at), ())) = self.ends.first_key_value() {
            if not_after >= now {
                break;
            }
            self.ends.pop_first();
            gone.extend(self.take(at));
        }
        gone
    }

    /// When the next window ends.
    pub fn next_end(&self) -> Option<TimeMs> {
        self.ends.first_key_value().map(|((end, _), ())| *end)
    }

    /// Number of pending submissions.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Memory counted against the limit, in bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Whether a window may be waited for at `now`.
///
/// # Errors
/// [`PoolError::Expired`], [`PoolError::TooEarly`].
pub fn check_window(not_before: TimeMs, not_after: TimeMs, now: TimeMs) -> Result<(), PoolError> {
    if not_after < now {
        return Err(PoolError::Expired { not_after, now });
    }
    if not_before > now.saturating_add(MAX_EARLY_MS) {
        return Err(PoolError::TooEarly { not_before, now });
    }
    Ok(())
}

fn add<K: Ord>(shares: &mut BTreeMap<K, usize>, key: K, cost: usize) {
    let share = shares.entry(key).or_insert(0);
    *share = share.saturating_add(cost);
}

fn sub<K: Ord>(shares: &mut BTreeMap<K, usize>, key: K, cost: usize) {
    let left = shares.get(&key).copied().unwrap_or(0).saturating_sub(cost);
    if left == 0 {
        shares.remove(&key);
    } else {
        shares.insert(key, left);
    }
}

#[cfg(test)]
#[path = "mempool/tests.rs"]
mod tests;
