//! What the status map says about documents, keys and authorities (formats.md, section 5).
//!
//! Values and their bytes. How a record changes them is [`crate::rules`]' matter; how they are
//! proved is [`crate::trie`]'s.

use crate::codec::{self, DecodeError, List, OverBound, Text, refuse};
use crate::document::{Commitment, CommitmentRole, DocumentId};
use crate::hash::Tag;
use crate::id::{AuthorityId, AuthorityIndex, Height, LeafIndex, TimeMs};
use crate::key::Key;
use crate::record::{Outcome, Record, Role, TransferMode};
use crate::trie::{TrieKey, TrieValue};
use alloc::vec::Vec;
use borsh::io::{Read, Result as IoResult};
use borsh::{BorshDeserialize, BorshSerialize};
use core::ops::Deref;

/// Longest encoded state of any kind, in bytes.
pub const MAX_STATE: usize = 24 * 1024;
/// Most open disputes of a document, all authorities together.
pub const MAX_DISPUTES: usize = 64;
/// Most open disputes of a document by one authority.
pub const MAX_DISPUTES_EACH: usize = 4;
/// Most open hand-overs of a document, all senders together.
pub const MAX_HANDOVERS: usize = 64;
/// Most open hand-overs of a document by one sender.
pub const MAX_HANDOVERS_EACH: usize = 8;
/// Most entries of any other list over authorities.
pub const MAX_ENTRIES: usize = 512;
/// Most received and renewed commitments of a document.
pub const MAX_COMMITMENTS: usize = 72;

/// The key by which a list that stands for a set is ordered: its first field.
pub trait Keyed {
    /// Type of the first field.
    type Key: Ord + Copy;
    /// The first field.
    fn key(&self) -> Self::Key;
}

/// At most `MAX` items, strictly ascending by their first field.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Sorted<T, const MAX: usize>(List<T, MAX>);

impl<T: Keyed, const MAX: usize> Sorted<T, MAX> {
    /// The empty set.
    pub const fn new() -> Self {
        Self(List::new())
    }

    /// The item with this key.
    pub fn find(&self, key: T::Key) -> Option<&T> {
        let at = self.0.binary_search_by_key(&key, Keyed::key).ok()?;
        self.0.get(at)
    }

    /// Adds an item, or replaces the one with its key.
    ///
    /// # Errors
    /// [`OverBound`] when the set is full.
    pub fn set(&mut self, item: T) -> Result<(), OverBound> {
        match self.0.binary_search_by_key(&item.key(), Keyed::key) {
            Err(at) => self.0.insert(at, item),
            Ok(at) => {
                if let Some(slot) = self.0.iter_mut().nth(at) {
                    *slot = item;
                }
                Ok(())
            }
        }
    }

    /// Removes the item with this key, if there is one.
    pub fn remove(&mut self, key: T::Key) {
        self.0.retain(|item| item.key() != key);
    }
}

impl<T: Keyed, const MAX: usize> Default for Sorted<T, MAX> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const MAX: usize> Deref for Sorted<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'a, T, const MAX: usize> IntoIterator for &'a Sorted<T, MAX> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Keyed + BorshDeserialize, const MAX: usize> BorshDeserialize for Sorted<T, MAX> {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let list = List::<T, MAX>::deserialize_reader(reader)?;
        let keys: Vec<T::Key> = list.iter().map(Keyed::key).collect();
        if keys.windows(2).all(|pair| pair.first() < pair.get(1)) {
            Ok(Self(list))
        } else {
            Err(refuse("a set's items are not strictly ascending"))
        }
    }
}

impl Keyed for AuthorityIndex {
    type Key = Self;
    fn key(&self) -> Self {
        *self
    }
}

/// Declares a struct that is an item of a [`Sorted`] list, ordered by its first field.
macro_rules! entry {
    ($(#[$meta:meta])* $name:ident { $(#[$kmeta:meta])* $key:ident : $kty:ty, $($(#[$fmeta:meta])* $field:ident : $ty:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
        pub struct $name { $(#[$kmeta])* pub $key: $kty, $($(#[$fmeta])* pub $field: $ty),+ }

        impl Keyed for $name {
            type Key = $kty;
            fn key(&self) -> $kty {
                self.$key
            }
        }
    };
}

entry! {
    /// A dispute that is neither answered nor withdrawn.
    OpenDispute {
        /// Log index of the Dispute.
        index: LeafIndex,
        /// Who disputes.
        by: AuthorityIndex,
        /// Why: a code of the dispute table.
        code: u8,
    }
}

entry! {
    /// A legal hold.
    HoldEntry {
        /// Who holds.
        by: AuthorityIndex,
        /// Why: a code of the hold table.
        code: u8,
    }
}

entry! {
    /// A hand-over that is neither accepted, rejected nor withdrawn.
    Handover {
        /// Log index of the Transfer.
        index: LeafIndex,
        /// The sender.
        from: AuthorityIndex,
        /// The recipient.
        to: AuthorityIndex,
        /// Why: a code of the mode table.
        mode: u8,
    }
}

entry! {
    /// The last record of one authority about the document, or its registration.
    Lane {
        /// Whose lane.
        authority: AuthorityIndex,
        /// Log index of its last record.
        head: LeafIndex,
    }
}

entry! {
    /// A commitment that came after the registration.
    LaterCommitment {
        /// Log index of the Accept or Renew.
        index: LeafIndex,
        /// Received or renewed.
        role: CommitmentRole,
        /// The commitment: algorithm and hash.
        commitment: Commitment,
    }
}

/// Whether a document still stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Lifecycle {
    /// It stands.
    InForce = 1,
    /// Another document took its place.
    Superseded {
        /// Which.
        by: DocumentId,
    } = 2,
    /// It was revoked.
    Revoked {
        /// Why: a code of the revoke table.
        code: u8,
    } = 3,
}

/// Everything that a verdict needs to know about a document. Absent from the map while as registered.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DocState {
    /// The document.
    pub id: DocumentId,
    /// Log index of its registration.
    pub registration: LeafIndex,
    /// Who registered it, for ever.
    pub issuer: AuthorityIndex,
    /// Who has the issuer's rights now.
    pub responsible: AuthorityIndex,
    /// Whether it stands.
    pub lifecycle: Lifecycle,
    /// How it was retired, if it was.
    pub retired: Option<Outcome>,
    /// Why it is suspended, if it is: a code of the suspend table.
    pub suspended: Option<u8>,
    /// Open disputes.
    pub disputes: Sorted<OpenDispute, MAX_DISPUTES>,
    /// Legal holds.
    pub holds: Sorted<HoldEntry, MAX_ENTRIES>,
    /// Open hand-overs.
    pub handovers: Sorted<Handover, MAX_HANDOVERS>,
    /// Who holds it.
    pub holders: Sorted<AuthorityIndex, MAX_ENTRIES>,
    /// Each authority's last record about it.
    pub lanes: Sorted<Lane, MAX_ENTRIES>,
    /// Received and renewed commitments.
    pub commitments: Sorted<LaterCommitment, MAX_COMMITMENTS>,
}

impl DocState {
    /// The state that a registration stands for before any other record.
    pub fn registered(id: DocumentId, registration: &Registration) -> Self {
        let issuer = registration.authority;
        let lane = Lane {
            authority: issuer,
            head: registration.index,
        };
        Self {
            id,
            registration: registration.index,
            issuer,
            responsible: issuer,
            lifecycle: Lifecycle::InForce,
            retired: None,
            suspended: None,
            disputes: Sorted::new(),
            holds: Sorted::new(),
            handovers: Sorted::new(),
            holders: Sorted(alloc::vec![issuer].try_into().unwrap_or_default()),
            lanes: Sorted(alloc::vec![lane].try_into().unwrap_or_default()),
            commitments: Sorted::new(),
        }
    }

    /// In force: not superseded, revoked, retired or suspended.
    pub fn is_in_force(&self) -> bool {
        self.lifecycle == Lifecycle::InForce && self.retired.is_none() && self.suspended.is_none()
    }

    /// Superseded, revoked or retired: nothing ends it a second time.
    pub fn is_ended(&self) -> bool {
        self.lifecycle != Lifecycle::InForce || self.retired.is_some()
    }

    /// Whether the authority holds the document.
    pub fn is_holder(&self, authority: AuthorityIndex) -> bool {
        self.holders.find(authority).is_some()
    }

    /// Whether an open hand-over asks the authority for its opinion.
    pub fn is_consulted(&self, authority: AuthorityIndex) -> bool {
        let consult = TransferMode::Consult.code();
        let mut open = self.handovers.iter();
        open.any(|handover| handover.to == authority && handover.mode == consult)
    }

    /// What the authority's next record about the document must name as `prev`.
    pub fn lane_head(&self, authority: AuthorityIndex) -> LeafIndex {
        let lane = self.lanes.find(authority);
        lane.map_or(self.registration, |lane| lane.head)
    }

    /// Where the map holds a document's state: over its id.
    pub fn trie_key(id: &DocumentId) -> TrieKey {
        TrieKey(Tag::DocState.hash(&[&[1], &id.0]))
    }

    /// What the map holds for this state.
    pub fn trie_value(&self) -> TrieValue {
        TrieValue(Tag::DocState.hash(&[&[2], &codec::encode(self)]))
    }

    /// Decodes a state strictly.
    ///
    /// # Errors
    /// [`DecodeError`], over 24 KiB included.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, MAX_STATE)
    }
}

/// A registrar key's life. Positions are log indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeyState {
    /// Whose key.
    pub authority: AuthorityIndex,
    /// What it may sign.
    pub role: Role,
    /// Where it was enrolled; 0 for the genesis keys.
    pub enrolled: LeafIndex,
    /// Last block time at which it may sign; 0 = no end.
    pub not_after_ms: TimeMs,
    /// Where it was retired.
    pub retired: Option<LeafIndex>,
    /// From here on its signatures are doubtful; a warning, no more.
    pub compromised_since: Option<LeafIndex>,
}

impl KeyState {
    /// Whether the key may sign a record at this index: enrolled ≤ index < retired.
    pub fn lives_at(&self, index: LeafIndex) -> bool {
        self.enrolled <= index && self.retired.is_none_or(|retired| index < retired)
    }

    /// Whether block time is over its end.
    pub fn is_expired(&self, time_ms: TimeMs) -> bool {
        self.not_after_ms != TimeMs(0) && time_ms > self.not_after_ms
    }

    /// Where the map holds a key's state: over the key alone, for a key has one life.
    pub fn trie_key(key: &Key) -> TrieKey {
        TrieKey(Tag::KeyState.hash(&[&[1], &codec::encode(key)]))
    }

    /// What the map holds for this state.
    pub fn trie_value(&self) -> TrieValue {
        TrieValue(Tag::KeyState.hash(&[&[2], &codec::encode(self)]))
    }

    /// Decodes a state strictly.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, MAX_STATE)
    }
}

/// An authority as changed or admitted after genesis. Absent from the map while as in genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AuthState {
    /// Short id.
    pub id: AuthorityId,
    /// Display name.
    pub name: Text<128>,
    /// Signs key changes and approvals.
    pub admin: Key,
    /// Log index of its admission; 0 for genesis.
    pub joined: LeafIndex,
    /// Who took over its documents.
    pub succeeded_by: Option<AuthorityIndex>,
}

impl AuthState {
    /// Where the map holds an authority's state: over its index.
    pub fn trie_key(authority: AuthorityIndex) -> TrieKey {
        TrieKey(Tag::AuthState.hash(&[&[1], &authority.0.to_le_bytes()]))
    }

    /// What the map holds for this state.
    pub fn trie_value(&self) -> TrieValue {
        TrieValue(Tag::AuthState.hash(&[&[2], &codec::encode(self)]))
    }

    /// Decodes a state strictly.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, MAX_STATE)
    }
}

codec::coded_enum! {
    /// By which record a document came onto the ledger; the code is the record's.
    pub enum RegistrationKind {
        /// Registered.
        Register = 1,
        /// Made from other documents.
        Derive = 2,
        /// Published.
        Publish = 25,
    }
}

impl RegistrationKind {
    /// The kind of a registering record; `None` for any other.
    pub const fn of(record: &Record) -> Option<Self> {
        Self::from_code(record.code())
    }
}

/// Where a document came onto the ledger. Not in the map: the registration leaf itself proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Registration {
    /// Log index of the registering record.
    pub index: LeafIndex,
    /// Its block.
    pub height: Height,
    /// Time of that block.
    pub time_ms: TimeMs,
    /// The issuer.
    pub authority: AuthorityIndex,
    /// By which record.
    pub kind: RegistrationKind,
}

/// Where a submission was included. Kept at least until its window is over, so that none is included twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Inclusion {
    /// Its block.
    pub height: Height,
    /// Time of that block.
    pub time_ms: TimeMs,
    /// Log index of its first record.
    pub first: LeafIndex,
    /// Number of its records.
    pub count: u32,
    /// End of its window.
    pub not_after_ms: TimeMs,
}
