//! Receipts: what the chain knows about a document at the newest provable checkpoint, with every proof.
//!
//! Only public parts: openings and details are the holder's. All documents of one call get the same
//! checkpoint, and share what they have in common: the block, the submission, the nodes of the log's tree,
//! the proofs of keys and authorities. The state is looked at once and briefly; reading blocks and
//! hashing happens without holding it.

pub(crate) mod leaves;
mod tree;

use crate::chain::{Chain, Provable};
use crate::storage::{archive, index, log_hashes};
use leaves::{Found, Wanted};
use ledger::document::DocumentId;
use ledger::id::{AuthorityIndex, Height, LeafIndex, TreeSize};
use ledger::key::Key;
use ledger::log::{self, Path};
use ledger::note::{Note, NoteError};
use ledger::receipt::{
    AuthorityPart, Framed, IssueError, MAX_AUTHORITY_PROOFS, MAX_RELATED, Parts, Related, issue,
};
use ledger::record::Record;
use ledger::state::{AuthState, DocState, KeyState, Lifecycle, Registration};
use ledger::trie::TrieProof;
use ledger::view::{StateUnavailable, StateView as _};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tree::LogTree;

/// Why there is no receipt, for one document or for all of a call.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// No quorum has cosigned a checkpoint that the state at hand belongs to.
    #[error("no cosigned checkpoint is at hand: the last {unproved} final blocks are not cosigned")]
    NotProvable {
        /// Final blocks since the newest provable one.
        unproved: u64,
    },
    /// The document is not registered in any final block.
    #[error("document {0} is not registered")]
    Unknown(DocumentId),
    /// It is final, but no cosigned checkpoint covers it yet.
    #[error(
        "document {document} is registered at index {index}, the newest checkpoint has size {size}"
    )]
    NotYet {
        /// The document.
        document: DocumentId,
        /// Where it was registered.
        index: LeafIndex,
        /// Size of the checkpoint.
        size: TreeSize,
    },
    /// A part is over its bound.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The archive has no such block.
    #[error("block {0} is not in the archive")]
    Missing(Height),
    /// A block does not decode: an internal fault, for it was checked before.
    #[error("block {0} of the archive is not canonical")]
    Malformed(Height),
    /// The index names a record that its block does not have: an internal fault.
    #[error("there is no record at index {0}")]
    NoRecord(LeafIndex),
    /// The note at hand does not parse: an internal fault.
    #[error("checkpoint note")]
    Note(#[from] NoteError),
    /// The archive cannot be read.
    #[error("archive")]
    Archive(#[from] archive::ReadError),
    /// The index cannot be read.
    #[error("index")]
    Index(#[from] index::ReadError),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateUnavailable),
    /// The log's hashes do not lead from a leaf to the cosigned root.
    #[error("the log's hashes around index {0} are damaged")]
    LogDamaged(LeafIndex),
    /// The log's hashes cannot be read.
    #[error("log")]
    Log(#[from] log_hashes::ReadError),
}

/// Receipts for documents, in their order, all against one checkpoint. Blocking: it reads and hashes.
///
/// # Errors
/// [`ReceiptError`] for all, if there is no checkpoint or something cannot be read; those of single
/// documents are in the result.
pub fn receipts(
    chain: &Chain,
    documents: &[DocumentId],
) -> Result<Vec<Result<String, ReceiptError>>, ReceiptError> {
    let registered = registrations(chain, documents)?;
    let archive = chain.archive();
    let found = leaves::read(&archive, &wanted(registered.values()))?;
    let sight = Sight::take(chain, &registered, &found)?;
    let later = sight
        .states
        .values()
        .filter_map(|state| state.registration.as_ref());
    let later = later.filter(|registration| !found.contains_key(&registration.index));
    let related = leaves::read(&archive, &wanted(later))?;
    let provable = &sight.provable;
    let mut workshop = Workshop {
        note: Note::parse(provable.note.as_bytes())?,
        trailer: leaves::trailer(&archive, provable.height)?,
        log: LogTree::new(chain.log(), provable.size),
        found: &found,
        related: &related,
        sight: &sight,
        key_proofs: HashMap::new(),
        authorities: BTreeMap::new(),
    };
    let last = LeafIndex(provable.size.0.saturating_sub(1));
    let trailer_path = workshop.path(last, &workshop.trailer)?;
    let one = |id: &DocumentId| match registered.get(id) {
        Some(registration) => workshop.receipt(id, registration, &trailer_path),
        None => Err(ReceiptError::Unknown(*id)),
    };
    Ok(documents.iter().map(one).collect())
}

/// The same where some blocks cannot be read: a document that needs one of them has none, the others do.
///
/// # Errors
/// As [`receipts`].
pub fn readable(
    chain: &Chain,
    documents: &[DocumentId],
) -> Result<Vec<Result<String, ReceiptError>>, ReceiptError> {
    let without = |id: &DocumentId| match receipts(chain, &[*id]) {
        Err(error @ ReceiptError::Archive(_)) => Some(error),
        _ => None,
    };
    let without: Vec<_> = documents.iter().map(without).collect();
    let rest = documents.iter().zip(&without);
    let rest: Vec<_> = rest
        .filter(|(_, error)| error.is_none())
        .map(|(id, _)| *id)
        .collect();
    let mut made = receipts(chain, &rest)?.into_iter();
    let one = |(id, error): (&DocumentId, Option<ReceiptError>)| match error {
        Some(error) => Err(error),
        None => made.next().unwrap_or(Err(ReceiptError::Unknown(*id))),
    };
    Ok(documents.iter().zip(without).map(one).collect())
}

/// Where the documents were registered, of those that are.
fn registrations(
    chain: &Chain,
    documents: &[DocumentId],
) -> Result<BTreeMap<DocumentId, Registration>, ReceiptError> {
    chain.with_final(|state, _| {
        let mut registered = BTreeMap::new();
        for id in documents {
            if let Some(registration) = state.registration(id)? {
                registered.insert(*id, registration);
            }
        }
        Ok(registered)
    })?
}

fn wanted<'a>(registrations: impl Iterator<Item = &'a Registration>) -> Wanted {
    let mut wanted = Wanted::new();
    for registration in registrations {
        let indices = wanted.entry(registration.height).or_default();
        indices.insert(registration.index);
    }
    wanted
}

/// Parents that a registration names.
fn parents(record: &Record) -> &[DocumentId] {
    match record {
        Record::Derive { parents, .. } => parents.ids(),
        _ => &[],
    }
}

/// A document at the checkpoint.
#[derive(Debug)]
struct Standing {
    registration: Option<Registration>,
    state: Option<DocState>,
}

/// All that is looked up in the state of one checkpoint, and the checkpoint.
#[derive(Debug)]
struct Sight {
    provable: Provable,
    states: BTreeMap<DocumentId, Standing>,
    keys: HashMap<Key, KeyState>,
    authorities: BTreeMap<AuthorityIndex, Option<AuthState>>,
}

impl Sight {
    fn take(
        chain: &Chain,
        registered: &BTreeMap<DocumentId, Registration>,
        found: &HashMap<LeafIndex, Found>,
    ) -> Result<Self, ReceiptError> {
        let seen = chain.with_provable(|view, provable| {
            let mut sight = Self {
                provable: provable.clone(),
                states: BTreeMap::new(),
                keys: HashMap::new(),
                authorities: BTreeMap::new(),
            };
            for (id, registration) in registered {
                sight.look(view, id)?;
                if let Some(one) = found.get(&registration.index) {
                    for parent in parents(&one.record) {
                        sight.look(view, parent)?;
                    }
                    let key = one.signed.body.key;
                    if let Some(state) = view.key_state(&key)? {
                        sight.keys.insert(key, state);
                    }
                }
            }
            Ok(sight)
        })?;
        seen.unwrap_or_else(|| {
            let progress = *chain.progress().borrow();
            let unproved = progress.final_height.0;
            let unproved = unproved.saturating_sub(progress.provable_height.0);
            Err(ReceiptError::NotProvable { unproved })
        })
    }

    /// Looks up a document, its authorities, and its successor with the same.
    fn look(&mut self, view: &index::View<'_>, id: &DocumentId) -> Result<(), StateUnavailable> {
        let mut next = Some(*id);
        // The successor's own successor is not part of a receipt.
        for _ in 0..2 {
            let Some(id) = next.take() else { break };
            let state = match self.states.get(&id) {
                Some(standing) => standing.state.clone(),
                None => self.look_at(view, id)?,
            };
            if let Some(Lifecycle::Superseded { by }) = state.map(|state| state.lifecycle) {
                next = Some(by);
            }
        }
        Ok(())
    }

    fn look_at(
        &mut self,
        view: &index::View<'_>,
        id: DocumentId,
    ) -> Result<Option<DocState>, StateUnavailable> {
        let standing = Standing {
            registration: view.registration(&id)?,
            state: view.doc_state(&id)?,
        };
        let issuer = standing
            .registration
            .map(|registration| registration.authority);
        let responsible = standing.state.as_ref().map(|state| state.responsible);
        for authority in [issuer, responsible].into_iter().flatten() {
            if let Entry::Vacant(place) = self.authorities.entry(authority) {
                place.insert(view.auth_state(authority)?);
            }
        }
        let state = standing.state.clone();
        self.states.insert(id, standing);
        Ok(state)
    }
}

/// Makes receipts of one sight, keeping the proofs that several of them need.
struct Workshop<'a> {
    note: Note,
    trailer: Vec<u8>,
    log: LogTree,
    found: &'a HashMap<LeafIndex, Found>,
    related: &'a HashMap<LeafIndex, Found>,
    sight: &'a Sight,
    key_proofs: HashMap<Key, TrieProof>,
    authorities: BTreeMap<AuthorityIndex, AuthorityPart>,
}

impl Workshop<'_> {
    /// The path of a leaf, which must lead to the cosigned root: a damaged hash makes no receipt.
    fn path(&self, index: LeafIndex, leaf: &[u8]) -> Result<Path, ReceiptError> {
        let (size, root) = (self.sight.provable.size, self.sight.provable.root);
        let path = log::prove_inclusion(&self.log, index, size)?;
        let path = path.ok_or(ReceiptError::NoRecord(index))?;
        let checked = log::verify_inclusion(&log::leaf_hash(leaf), index, size, &path, &root);
        match checked {
            Ok(()) => Ok(path),
            Err(_) => Err(ReceiptError::LogDamaged(index)),
        }
    }

    fn receipt(
        &mut self,
        id: &DocumentId,
        registration: &Registration,
        trailer_path: &Path,
    ) -> Result<String, ReceiptError> {
        let index = registration.index;
        let size = self.sight.provable.size;
        if index.0 >= size.0 {
            let document = *id;
            return Err(ReceiptError::NotYet {
                document,
                index,
                size,
            });
        }
        let found = self
            .found
            .get(&index)
            .ok_or(ReceiptError::NoRecord(index))?;
        let key = found.signed.body.key;
        let key_state = self.sight.keys.get(&key).copied();
        let standing = self.sight.states.get(id);
        let doc = standing.and_then(|standing| standing.state.clone());
        let mut named = BTreeSet::from([registration.authority]);
        named.extend(doc.as_ref().map(|state| state.responsible));
        let related = self.relatives(found, doc.as_ref(), &mut named)?;
        let parts = Parts {
            note: self.note.clone(),
            index,
            path: self.path(index, &found.leaf)?,
            leaf: found.leaf.clone(),
            signed: found.signed.clone(),
            trailer: self.trailer.clone(),
            trailer_path: trailer_path.clone(),
            doc_proof: self.prove_document(id),
            doc,
            key: key_state.ok_or(ReceiptError::NoRecord(index))?,
            key_proof: self.key_proof(&key),
            authorities: self.authority_parts(registration.authority, &named),
            related,
            handovers: Vec::new(),
            consistency: None,
        };
        Ok(issue(parts)?.encode())
    }

    fn relatives(
        &self,
        found: &Found,
        doc: Option<&DocState>,
        named: &mut BTreeSet<AuthorityIndex>,
    ) -> Result<Vec<Related>, ReceiptError> {
        let successor = match doc.map(|state| &state.lifecycle) {
            Some(Lifecycle::Superseded { by }) => Some(*by),
            Some(Lifecycle::InForce | Lifecycle::Revoked { .. }) | None => None,
        };
        let mut related = Vec::new();
        for id in parents(&found.record)
            .iter()
            .chain(&successor)
            .take(MAX_RELATED)
        {
            let Some(standing) = self.sight.states.get(id) else {
                continue;
            };
            let Some(registration) = &standing.registration else {
                continue;
            };
            let index = registration.index;
            let leaf = self.found.get(&index).or_else(|| self.related.get(&index));
            let leaf = &leaf.ok_or(ReceiptError::NoRecord(index))?.leaf;
            let doc = standing.state.clone();
            named.insert(registration.authority);
            related.push(Related {
                index,
                leaf: Framed::decode(leaf).map_err(IssueError::from)?,
                path: self.path(index, leaf)?,
                doc: doc.map(Framed::new).transpose().map_err(IssueError::from)?,
                proof: self.prove_document(id),
            });
        }
        Ok(related)
    }

    fn prove_document(&self, id: &DocumentId) -> TrieProof {
        self.sight.provable.tip.trie.prove(&DocState::trie_key(id))
    }

    fn key_proof(&mut self, key: &Key) -> TrieProof {
        let trie = &self.sight.provable.tip.trie;
        let proof = self.key_proofs.entry(*key);
        proof
            .or_insert_with(|| trie.prove(&KeyState::trie_key(key)))
            .clone()
    }

    /// The registration's authority first: others are only names.
    fn authority_parts(
        &mut self,
        first: AuthorityIndex,
        named: &BTreeSet<AuthorityIndex>,
    ) -> Vec<AuthorityPart> {
        let others = named.iter().copied().filter(|index| *index != first);
        let all: Vec<_> = std::iter::once(first).chain(others).collect();
        let all = all.into_iter().take(MAX_AUTHORITY_PROOFS);
        all.map(|index| self.authority(index)).collect()
    }

    fn authority(&mut self, index: AuthorityIndex) -> AuthorityPart {
        let sight = self.sight;
        let part = self
            .authorities
            .entry(index)
            .or_insert_with(|| AuthorityPart {
                index,
                state: sight.authorities.get(&index).cloned().flatten(),
                proof: sight.provable.tip.trie.prove(&AuthState::trie_key(index)),
            });
        part.clone()
    }
}
