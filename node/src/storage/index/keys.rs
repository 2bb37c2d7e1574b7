//! The keys of the index: a prefix byte and the parts, big-endian, so that they sort as the values do.

use ledger::document::DocumentId;
use ledger::hash::{Hash, SubmissionHash};
use ledger::id::{AuthorityIndex, Epoch, LeafIndex, TimeMs, ValidatorIndex};
use ledger::key::Key as PublicKey;

/// Prefix of authority states.
pub(super) const AUTH_STATE: u8 = b'a';
/// Prefix of document states.
pub(super) const DOC_STATE: u8 = b's';
/// Prefix of key states.
pub(super) const KEY_STATE: u8 = b'k';

/// One entry's key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    /// Height of the last applied block.
    Applied,
    /// First leaf of a block → its height and time.
    Block(LeafIndex),
    /// Document → its leaf, who registered it, and how.
    Registration(DocumentId),
    /// Document → its state, once it has one.
    DocState(DocumentId),
    /// Key → its state.
    KeyState(PublicKey),
    /// Authority → its state, once it differs from genesis.
    AuthState(AuthorityIndex),
    /// Submission → where it was included.
    Submission(SubmissionHash),
    /// End of a submission's window, to forget it.
    Window(TimeMs, SubmissionHash),
    /// A record about a document, behind the one that registered it.
    History(DocumentId, LeafIndex),
    /// A document published with this hash.
    Published(Hash, DocumentId),
    /// Recorded evidence.
    Evidence(Epoch, ValidatorIndex),
}

impl Entry {
    /// The bytes in the store.
    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Self::Applied => vec![b'm'],
            Self::Block(first) => join(b'b', &[&first.0.to_be_bytes()]),
            Self::Registration(id) => join(b'd', &[&id.0]),
            Self::DocState(id) => join(DOC_STATE, &[&id.0]),
            Self::KeyState(key) => join(KEY_STATE, &[key.as_bytes()]),
            Self::AuthState(authority) => join(AUTH_STATE, &[&authority.0.to_be_bytes()]),
            Self::Submission(hash) => join(b'u', &[hash.as_bytes()]),
            Self::Window(end, hash) => join(b'w', &[&end.0.to_be_bytes(), hash.as_bytes()]),
            Self::History(id, leaf) => join(b'h', &[&id.0, &leaf.0.to_be_bytes()]),
            Self::Published(sha256, id) => join(b'p', &[sha256.as_bytes(), &id.0]),
            Self::Evidence(epoch, signer) => {
                join(b'e', &[&epoch.0.to_be_bytes(), &signer.0.to_be_bytes()])
            }
        }
    }
}

/// What an entry is, as its key tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Where the index stands.
    Mark,
    /// A state of a document, key or authority.
    State,
    /// When a submission may be forgotten.
    Window,
    /// A block, by its first leaf.
    Block(LeafIndex),
    /// A registration.
    Registration,
    /// A submission.
    Submission,
    /// A record about a document.
    History(LeafIndex),
    /// A publication.
    Published,
    /// Recorded evidence.
    Evidence,
}

impl Kind {
    /// `None` for a key that no entry has.
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        let (prefix, rest) = key.split_first()?;
        let (kind, length) = match *prefix {
            b'm' => (Self::Mark, 0),
            DOC_STATE => (Self::State, 16),
            KEY_STATE => (Self::State, 32),
            AUTH_STATE => (Self::State, 2),
            b'w' => (Self::Window, 40),
            b'b' => (Self::Block(block_first(key)?), 8),
            b'd' => (Self::Registration, 16),
            b'u' => (Self::Submission, 32),
            b'h' => (Self::History(history_leaf(key)?), 24),
            b'p' => (Self::Published, 48),
            b'e' => (Self::Evidence, 10),
            _ => return None,
        };
        (rest.len() == length).then_some(kind)
    }
}

fn join(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![prefix];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// What all history entries of a document begin with.
pub(super) fn history_prefix(id: &DocumentId) -> Vec<u8> {
    join(b'h', &[&id.0])
}

/// What all publications of a hash begin with.
pub(super) fn published_prefix(sha256: &Hash) -> Vec<u8> {
    join(b'p', &[sha256.as_bytes()])
}

/// The leaf of a history entry.
pub(super) fn history_leaf(key: &[u8]) -> Option<LeafIndex> {
    let leaf = key.last_chunk::<8>()?;
    Some(LeafIndex(u64::from_be_bytes(*leaf)))
}

/// The first leaf of a block entry; `None` for another kind of entry.
pub(super) fn block_first(key: &[u8]) -> Option<LeafIndex> {
    let first = key.strip_prefix(b"b")?.first_chunk::<8>()?;
    Some(LeafIndex(u64::from_be_bytes(*first)))
}

/// The submission of a window entry.
pub(super) fn window_submission(key: &[u8]) -> Option<SubmissionHash> {
    Some(SubmissionHash(Hash(*key.last_chunk::<32>()?)))
}

/// The document of a publication.
pub(super) fn published_document(key: &[u8]) -> Option<DocumentId> {
    Some(DocumentId(*key.last_chunk::<16>()?))
}

/// The key of a key state's entry.
pub(super) fn key_of(key: &[u8]) -> Option<PublicKey> {
    Some(PublicKey::from_bytes(*key.last_chunk::<32>()?))
}

/// The authority of an authority state's entry.
pub(super) fn authority_of(key: &[u8]) -> Option<AuthorityIndex> {
    Some(AuthorityIndex(u16::from_be_bytes(*key.last_chunk::<2>()?)))
}
