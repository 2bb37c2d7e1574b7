//! The state as rules read it and as blocks change it.
//!
//! [`StateView`] is read-only; [`Effects`] is what one or more blocks write, as a plain value;
//! [`Overlay`] reads through the effects of unfinalized blocks onto the finalized state below;
//! [`MemoryState`] keeps everything in ordered maps, for replay and tests. A node keeps its state in
//! an index of its own, applies the same effects to it in one atomic batch and implements the view.

use crate::document::DocumentId;
use crate::hash::{Hash, SubmissionHash};
use crate::id::{AuthorityIndex, Epoch, LeafIndex, TimeMs, ValidatorIndex};
use crate::key::Key;
use crate::state::{AuthState, DocState, Inclusion, KeyState, Registration};
use crate::trie::{TrieKey, TrieValue};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// The state could not be read. Says nothing about any record: it is the reader's own trouble.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("state is unavailable: {0}")]
pub struct StateUnavailable(pub String);

/// The state after some block, read-only.
pub trait StateView {
    /// Where the document was registered, if it was.
    ///
    /// # Errors
    /// [`StateUnavailable`], here and below, when the state cannot be read.
    fn registration(&self, id: &DocumentId) -> Result<Option<Registration>, StateUnavailable>;

    /// The document's state; `None` while it is as registered (or unknown).
    ///
    /// # Errors
    /// [`StateUnavailable`].
    fn doc_state(&self, id: &DocumentId) -> Result<Option<DocState>, StateUnavailable>;

    /// The state of a key that is or was a registrar's.
    ///
    /// # Errors
    /// [`StateUnavailable`].
    fn key_state(&self, key: &Key) -> Result<Option<KeyState>, StateUnavailable>;

    /// The authority's state; `None` while it is as in genesis (or unknown).
    ///
    /// # Errors
    /// [`StateUnavailable`].
    fn auth_state(&self, authority: AuthorityIndex) -> Result<Option<AuthState>, StateUnavailable>;

    /// Where the submission was included; may be forgotten once its window is over.
    ///
    /// # Errors
    /// [`StateUnavailable`].
    fn inclusion(&self, submission: &SubmissionHash)
    -> Result<Option<Inclusion>, StateUnavailable>;

    /// Whether evidence against this validator of this epoch is recorded.
    ///
    /// # Errors
    /// [`StateUnavailable`].
    fn has_evidence(&self, epoch: Epoch, signer: ValidatorIndex) -> Result<bool, StateUnavailable>;

    /// The documents that were published with this hash, ascending.
    ///
    /// # Errors
    /// [`StateUnavailable`].
    fn published(&self, sha256: &Hash) -> Result<Vec<DocumentId>, StateUnavailable>;
}

/// What blocks write: new entries, and whole new states in place of old ones. A later write of a key wins.
///
/// Apply all of it in one atomic step, after the block is final.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Effects {
    /// Newly registered documents.
    pub registrations: BTreeMap<DocumentId, Registration>,
    /// New states of documents.
    pub documents: BTreeMap<DocumentId, DocState>,
    /// New states of keys.
    pub keys: BTreeMap<Key, KeyState>,
    /// New states of authorities.
    pub authorities: BTreeMap<AuthorityIndex, AuthState>,
    /// Submissions included, to be remembered until their window is over.
    pub submissions: BTreeMap<SubmissionHash, Inclusion>,
    /// Records about documents, in log order, registrations included.
    pub history: Vec<(DocumentId, LeafIndex)>,
    /// Published hashes with their documents.
    pub published: BTreeSet<(Hash, DocumentId)>,
    /// Evidence recorded.
    pub evidence: BTreeSet<(Epoch, ValidatorIndex)>,
}

impl Effects {
    /// Nothing written.
    pub const fn empty() -> Self {
        Self {
            registrations: BTreeMap::new(),
            documents: BTreeMap::new(),
            keys: BTreeMap::new(),
            authorities: BTreeMap::new(),
            submissions: BTreeMap::new(),
            history: Vec::new(),
            published: BTreeSet::new(),
            evidence: BTreeSet::new(),
        }
    }

    /// Adds what came later.
    pub fn absorb(&mut self, later: Self) {
        self.registrations.extend(later.registrations);
        self.documents.extend(later.documents);
        self.keys.extend(later.keys);
        self.authorities.extend(later.authorities);
        self.submissions.extend(later.submissions);
        self.history.extend(later.history);
        self.published.extend(later.published);
        self.evidence.extend(later.evidence);
    }

    /// The entries of the status map that these effects set.
    pub fn trie_entries(&self) -> BTreeMap<TrieKey, TrieValue> {
        let documents = self.documents.iter();
        let documents = documents.map(|(id, state)| (DocState::trie_key(id), state.trie_value()));
        let keys = self.keys.iter();
        let keys = keys.map(|(key, state)| (KeyState::trie_key(key), state.trie_value()));
        let authorities = self.authorities.iter();
        let authorities =
            authorities.map(|(index, state)| (AuthState::trie_key(*index), state.trie_value()));
        documents.chain(keys).chain(authorities).collect()
    }

    fn publishers(&self, sha256: &Hash) -> impl Iterator<Item = DocumentId> {
        let first = (*sha256, DocumentId::default());
        let last = (*sha256, DocumentId([0xff; 16]));
        self.published.range(first..=last).map(|(_, id)| *id)
    }
}

/// The state below, seen through the effects of later blocks. The effects of the newest block are asked first.
#[derive(Debug)]
pub struct Overlay<'a, V: ?Sized> {
    below: &'a V,
    /// From the oldest block to the newest.
    layers: Vec<&'a Effects>,
}

impl<V: ?Sized> Clone for Overlay<'_, V> {
    fn clone(&self) -> Self {
        Self {
            below: self.below,
            layers: self.layers.clone(),
        }
    }
}

impl<'a, V: StateView + ?Sized> Overlay<'a, V> {
    /// The state below, as it is.
    pub const fn new(below: &'a V) -> Self {
        Self {
            below,
            layers: Vec::new(),
        }
    }

    /// With the effects of one later block on top.
    #[must_use]
    pub fn with(mut self, effects: &'a Effects) -> Self {
        self.layers.push(effects);
        self
    }

    fn newest<T>(&self, ask: impl FnMut(&&'a Effects) -> Option<T>) -> Option<T> {
        self.layers.iter().rev().find_map(ask)
    }
}

impl<V: StateView + ?Sized> StateView for Overlay<'_, V> {
    fn registration(&self, id: &DocumentId) -> Result<Option<Registration>, StateUnavailable> {
        match self.newest(|layer| layer.registrations.get(id).copied()) {
            Some(found) => Ok(Some(found)),
            None => self.below.registration(id),
        }
    }

    fn doc_state(&self, id: &DocumentId) -> Result<Option<DocState>, StateUnavailable> {
        match self.newest(|layer| layer.documents.get(id).cloned()) {
            Some(found) => Ok(Some(found)),
            None => self.below.doc_state(id),
        }
    }

    fn key_state(&self, key: &Key) -> Result<Option<KeyState>, StateUnavailable> {
        match self.newest(|layer| layer.keys.get(key).copied()) {
            Some(found) => Ok(Some(found)),
            None => self.below.key_state(key),
        }
    }

    fn auth_state(&self, authority: AuthorityIndex) -> Result<Option<AuthState>, StateUnavailable> {
        match self.newest(|layer| layer.authorities.get(&authority).cloned()) {
            Some(found) => Ok(Some(found)),
            None => self.below.auth_state(authority),
        }
    }

    fn inclusion(
        &self,
        submission: &SubmissionHash,
    ) -> Result<Option<Inclusion>, StateUnavailable> {
        match self.newest(|layer| layer.submissions.get(submission).copied()) {
            Some(found) => Ok(Some(found)),
            None => self.below.inclusion(submission),
        }
    }

    fn has_evidence(&self, epoch: Epoch, signer: ValidatorIndex) -> Result<bool, StateUnavailable> {
        let entry = (epoch, signer);
        if self
            .layers
            .iter()
            .any(|layer| layer.evidence.contains(&entry))
        {
            return Ok(true);
        }
        self.below.has_evidence(epoch, signer)
    }

    fn published(&self, sha256: &Hash) -> Result<Vec<DocumentId>, StateUnavailable> {
        let mut all: BTreeSet<DocumentId> = self.below.published(sha256)?.into_iter().collect();
        for layer in &self.layers {
            all.extend(layer.publishers(sha256));
        }
        Ok(all.into_iter().collect())
    }
}

/// A whole state in ordered maps. Forgets submissions whose window is over.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemoryState {
    all: Effects,
    /// A set, not a list for each document: most documents have one record for ever.
    history: BTreeSet<(DocumentId, LeafIndex)>,
    windows: BTreeSet<(TimeMs, SubmissionHash)>,
}

impl MemoryState {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes the effects of a block with this time.
    pub fn apply(&mut self, mut effects: Effects, time_ms: TimeMs) {
        self.history.extend(effects.history.drain(..));
        for (hash, inclusion) in &effects.submissions {
            self.windows.insert((inclusion.not_after_ms, *hash));
        }
        self.all.absorb(effects);
        while let Some((end, hash)) = self.windows.first().copied() {
            if end >= time_ms {
                break;
            }
            self.windows.pop_first();
            self.all.submissions.remove(&hash);
        }
    }

    /// Log indices of the records about a document, ascending.
    pub fn history(&self, id: &DocumentId) -> impl Iterator<Item = LeafIndex> {
        let (first, last) = ((*id, LeafIndex(0)), (*id, LeafIndex(u64::MAX)));
        self.history.range(first..=last).map(|(_, index)| *index)
    }

    /// Every registered document, ascending by id.
    pub const fn registrations(&self) -> &BTreeMap<DocumentId, Registration> {
        &self.all.registrations
    }

    /// Every document state, ascending by id.
    pub const fn documents(&self) -> &BTreeMap<DocumentId, DocState> {
        &self.all.documents
    }

    /// Every key state, ascending by key.
    pub const fn keys(&self) -> &BTreeMap<Key, KeyState> {
        &self.all.keys
    }

    /// The entries of the status map that these states are: of documents, keys and authorities.
    pub fn trie_entries(&self) -> BTreeMap<TrieKey, TrieValue> {
        self.all.trie_entries()
    }

    /// Every recorded evidence.
    pub const fn evidence(&self) -> &BTreeSet<(Epoch, ValidatorIndex)> {
        &self.all.evidence
    }
}

impl StateView for MemoryState {
    fn registration(&self, id: &DocumentId) -> Result<Option<Registration>, StateUnavailable> {
        Ok(self.all.registrations.get(id).copied())
    }

    fn doc_state(&self, id: &DocumentId) -> Result<Option<DocState>, StateUnavailable> {
        Ok(self.all.documents.get(id).cloned())
    }

    fn key_state(&self, key: &Key) -> Result<Option<KeyState>, StateUnavailable> {
        Ok(self.all.keys.get(key).copied())
    }

    fn auth_state(&self, authority: AuthorityIndex) -> Result<Option<AuthState>, StateUnavailable> {
        Ok(self.all.authorities.get(&authority).cloned())
    }

    fn inclusion(
        &self,
        submission: &SubmissionHash,
    ) -> Result<Option<Inclusion>, StateUnavailable> {
        Ok(self.all.submissions.get(submission).copied())
    }

    fn has_evidence(&self, epoch: Epoch, signer: ValidatorIndex) -> Result<bool, StateUnavailable> {
        Ok(self.all.evidence.contains(&(epoch, signer)))
    }

    fn published(&self, sha256: &Hash) -> Result<Vec<DocumentId>, StateUnavailable> {
        Ok(self.all.publishers(sha256).collect())
    }
}
