//! What blocks write into the index, and in which batches.
//!
//! sled's memory follows the size of a batch, so batches are small, and a block may take several. What a block adds is told
//! from what stood there before by its log index: it goes first, and is taken away again if the rest never came
//! ([`mod@super::check`]). What it changes in place goes into the last batch, together with [`Applied`]: the height, how long the
//! log is then, and a sum over everything that was added, by which a later start can tell whether all of it is there.

use super::keys::Entry;
use super::{BATCH_KEYS, Place, ReadError, StoreError, get};
use borsh::{BorshDeserialize, BorshSerialize};
use ledger::codec;
use ledger::hash::{SubmissionHash, sha256};
use ledger::id::{AuthorityIndex, Height, LeafIndex, TimeMs, TreeSize};
use ledger::state::RegistrationKind;
use ledger::view::Effects;

/// Submissions whose window is over that are forgotten in one batch.
const FORGET_AT_A_TIME: usize = 100;
/// Such batches after each block at most.
const FORGET_PER_BLOCK: usize = 10;

/// What a document's entry says: height and time are its block's, said once there.
///
/// 11 bytes: sled keeps values of up to 22 bytes beside their key, and allocates for each longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Registered {
    pub(super) index: LeafIndex,
    pub(super) authority: AuthorityIndex,
    pub(super) kind: RegistrationKind,
}

/// What a block's entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Placed {
    pub(super) height: Height,
    pub(super) time_ms: TimeMs,
}

/// Where the index stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Applied {
    /// The last applied block.
    pub(super) height: Height,
    /// Leaves of the log after it: what was added by later blocks has this index or a higher one.
    pub(super) leaves: TreeSize,
    /// Sum of the [`weight`]s of all entries that were added and not forgotten since. States are not in it, for the
    /// block's status root covers them; nor are windows, which only say what may be forgotten.
    pub(super) sum: u128,
}

/// Consecutive blocks that are written together.
#[derive(Debug, Default)]
pub struct Run {
    places: Vec<Place>,
    effects: Effects,
    entries: usize,
}

impl Run {
    /// Adds the next block.
    pub fn push(&mut self, place: Place, effects: Effects) {
        let twice = effects.submissions.len().saturating_mul(2);
        let added = [
            1,
            twice,
            effects.registrations.len(),
            effects.history.len(),
            effects.documents.len(),
        ];
        self.entries = added.into_iter().fold(self.entries, usize::saturating_add);
        self.places.push(place);
        self.effects.absorb(effects);
    }

    /// What its blocks made of the state below.
    pub const fn effects(&self) -> &Effects {
        &self.effects
    }

    /// About as many keys as it sets.
    pub const fn len(&self) -> usize {
        self.entries
    }

    /// Whether it has no block.
    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }
}

/// What an entry adds to [`Applied::sum`].
pub(super) fn weight(key: &[u8], value: &[u8]) -> u128 {
    let hash = sha256(&[key, value]);
    let half = hash.as_bytes().first_chunk().copied().unwrap_or_default();
    u128::from_le_bytes(half)
}

/// Why blocks are not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("block {0} after {1:?}")]
    Order(Height, Option<Height>),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sled::Error> for WriteError {
    fn from(error: sled::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Writes consecutive blocks; gives how many keys were set.
pub(super) fn write(
    store: &sled::Db,
    places: &[Place],
    effects: &Effects,
) -> Result<u64, WriteError> {
    let (Some(first), Some(last)) = (places.first(), places.last()) else {
        return Ok(0);
    };
    let before: Option<Applied> = get(store, Entry::Applied)?;
    let height = before.map(|applied| applied.height);
    if height.map_or(Some(Height(0)), Height::next) != Some(first.height) {
        return Err(WriteError::Order(first.height, height));
    }
    let mut sum = before.map_or(0, |applied| applied.sum);
    let mut batches = Batches::new(store);
    for (key, value) in additions(places, effects, last.time_ms) {
        sum = sum.wrapping_add(weight(&key, &value));
        batches.set(&key, &value)?;
    }
    for (key, value) in windows(effects, last.time_ms) {
        batches.set(&key, &value)?;
    }
    let count = effects.documents.len().saturating_add(effects.keys.len());
    let count = count.saturating_add(effects.authorities.len());
    let count = count.saturating_add(effects.evidence.len());
    batches.begin(count.saturating_add(1))?;
    for (epoch, signer) in &effects.evidence {
        let key = Entry::Evidence(*epoch, *signer).encode();
        sum = sum.wrapping_add(weight(&key, &[]));
        batches.set(&key, &[])?;
    }
    for (key, value) in changes(effects) {
        batches.set(&key, &value)?;
    }
    let mut applied = Applied {
        height: last.height,
        leaves: last.log_size,
        sum,
    };
    batches.set(&Entry::Applied.encode(), &codec::encode(&applied))?;
    let written = batches.end()?;
    for _ in 0..places.len().saturating_mul(FORGET_PER_BLOCK) {
        if !forget_ended(store, last.time_ms, &mut applied)? {
            break;
        }
    }
    Ok(written)
}

type Write = (Vec<u8>, Vec<u8>);

/// The entries that these blocks add, each with a log index in key or value.
pub(super) fn additions<'a>(
    places: &'a [Place],
    effects: &'a Effects,
    now: TimeMs,
) -> impl Iterator<Item = Write> + 'a {
    let blocks = places.iter().filter(|place| place.height > Height(0));
    let blocks = blocks.map(|place| {
        let placed = Placed {
            height: place.height,
            time_ms: place.time_ms,
        };
        let key = Entry::Block(place.first_leaf()).encode();
        (key, codec::encode(&placed))
    });
    let registrations = effects.registrations.iter().map(|(id, registration)| {
        let registered = Registered {
            index: registration.index,
            authority: registration.authority,
            kind: registration.kind,
        };
        (
            Entry::Registration(*id).encode(),
            codec::encode(&registered),
        )
    });
    let submissions = effects.submissions.iter();
    let submissions = submissions.filter(move |(_, inclusion)| inclusion.not_after_ms >= now);
    let submissions = submissions
        .map(|(hash, inclusion)| (Entry::Submission(*hash).encode(), codec::encode(inclusion)));
    let history = effects.history.iter().filter(|(id, leaf)| {
        // A document's first record is named by its registration: no second entry for each document.
        let first = effects.registrations.get(id);
        first.is_none_or(|registration| registration.index != *leaf)
    });
    let history = history.map(|(id, leaf)| (Entry::History(*id, *leaf).encode(), Vec::new()));
    let published = effects.published.iter().map(|(sha256, id)| {
        let leaf = effects.registrations.get(id).map(|it| it.index);
        let key = Entry::Published(*sha256, *id).encode();
        (key, codec::encode(&leaf.unwrap_or_default()))
    });
    blocks
        .chain(registrations)
        .chain(submissions)
        .chain(history)
        .chain(published)
}

/// When the submissions of these blocks may be forgotten, but for those that already may.
fn windows(effects: &Effects, now: TimeMs) -> impl Iterator<Item = Write> + '_ {
    let open = effects.submissions.iter();
    let open = open.filter(move |(_, inclusion)| inclusion.not_after_ms >= now);
    open.map(|(hash, inclusion)| {
        let key = Entry::Window(inclusion.not_after_ms, *hash);
        (key.encode(), Vec::new())
    })
}

/// The entries that these blocks write over.
fn changes(effects: &Effects) -> impl Iterator<Item = Write> + '_ {
    let documents = effects.documents.iter();
    let documents =
        documents.map(|(id, state)| (Entry::DocState(*id).encode(), codec::encode(state)));
    let keys = effects.keys.iter();
    let keys = keys.map(|(key, state)| (Entry::KeyState(*key).encode(), codec::encode(state)));
    let authorities = effects.authorities.iter();
    let authorities =
        authorities.map(|(at, state)| (Entry::AuthState(*at).encode(), codec::encode(state)));
    documents.chain(keys).chain(authorities)
}

/// Removes some submissions whose window ended before `now`; whether there were any.
fn forget_ended(store: &sled::Db, now: TimeMs, applied: &mut Applied) -> Result<bool, WriteError> {
    let from = Entry::Window(TimeMs(0), SubmissionHash::default()).encode();
    let to = Entry::Window(now, SubmissionHash::default()).encode();
    let mut batch = sled::Batch::default();
    let mut any = false;
    for window in store.range(from..to).keys().take(FORGET_AT_A_TIME) {
        let window = window?;
        if let Some(hash) = super::keys::window_submission(&window) {
            let key = Entry::Submission(hash).encode();
            if let Some(value) = store.get(&key)? {
                applied.sum = applied.sum.wrapping_sub(weight(&key, &value));
                batch.remove(key);
            }
        }
        batch.remove(window);
        any = true;
    }
    if any {
        batch.insert(Entry::Applied.encode(), codec::encode(applied));
        store.apply_batch(batch)?;
    }
    Ok(any)
}

/// Keys on their way into the store, [`BATCH_KEYS`] at a time.
struct Batches<'a> {
    store: &'a sled::Db,
    batch: sled::Batch,
    keys: usize,
    written: u64,
}

impl<'a> Batches<'a> {
    fn new(store: &'a sled::Db) -> Self {
        Self {
            store,
            batch: sled::Batch::default(),
            keys: 0,
            written: 0,
        }
    }

    /// The next so many keys are to go into one batch, if they fit.
    fn begin(&mut self, keys: usize) -> Result<(), sled::Error> {
        if self.keys.saturating_add(keys) > BATCH_KEYS {
            self.flush()?;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), sled::Error> {
        if self.keys >= BATCH_KEYS {
            self.flush()?;
        }
        self.batch.insert(key, value);
        self.keys = self.keys.saturating_add(1);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), sled::Error> {
        self.store.apply_batch(std::mem::take(&mut self.batch))?;
        self.written = self
            .written
            .saturating_add(u64::try_from(self.keys).unwrap_or(u64::MAX));
        self.keys = 0;
        Ok(())
    }

    fn end(mut self) -> Result<u64, sled::Error> {
        self.flush()?;
        Ok(self.written)
    }
}
