//! The file of the state: frames, read strictly, appended durably.

use super::Owner;
use borsh::{BorshDeserialize, BorshSerialize};
use ledger::codec::{self, Bytes, DecodeError, List};
use ledger::document::{DocumentId, Salt};
use ledger::hash::{ChainId, SubmissionHash, sha256};
use ledger::id::AuthorityIndex;
use ledger::submission::{MAX_RECORDS, MAX_SUBMISSION};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// First line of the file.
const HEADING: &[u8] = b"nachweis-registrations v1\n";
/// Length and checksum before each payload.
const FRAME_HEAD: usize = 12;
/// Longest path that is kept, in bytes: Linux's own limit.
pub(crate) const MAX_PATH: usize = 4096;
/// Longest payload, in bytes: the largest submission with all its files.
const MAX_PAYLOAD: usize = MAX_SUBMISSION + MAX_RECORDS * (MAX_PATH + 256) + 256;

/// A file that was registered from here, and how its commitment opens. Secret.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FileEntry {
    /// The document.
    pub document: DocumentId,
    /// SHA-256 of the file.
    pub digest: [u8; 32],
    /// Opens the internal commitment.
    pub salt: Salt,
    /// Absolute path of the file.
    pub place: Bytes<MAX_PATH>,
}

/// One frame's payload.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub(super) enum Entry {
    /// The first: whose state this is.
    Head {
        /// The network.
        chain: ChainId,
        /// The authority.
        authority: AuthorityIndex,
    } = 1,
    /// A submission that is about to be sent.
    Batch {
        /// Its hash.
        hash: SubmissionHash,
        /// Its signed bytes; nonces and ids are in its records.
        submission: Bytes<MAX_SUBMISSION>,
        /// The files that it registers.
        files: List<FileEntry, MAX_RECORDS>,
    } = 2,
    /// A submission is proved to be on the ledger.
    Settled {
        /// Its hash.
        hash: SubmissionHash,
    } = 3,
}

/// The journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refuses.
    #[error("state file {} cannot be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no state file.
    #[error("{} is no state file", .0.display())]
    Heading(PathBuf),
    /// A frame is damaged, and more follows it.
    #[error("state file {} is damaged at byte {at}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged frame begins.
        at: u64,
    },
    /// A frame is whole and not one of ours.
    #[error("state file {} has an unknown entry at byte {at}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// Where the frame begins.
        at: u64,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// More is to be kept than a frame holds.
    #[error("a batch is too large for the state file")]
    Bound,
}

impl JournalError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { .. } | Self::Entry { .. } => Some(
                "keep the file: it opens commitments; restore it from a backup, or move it away and \
                 register again what has no receipt"
                    .into(),
            ),
            Self::Heading(_) => Some("name another folder as `state`".into()),
            Self::Io { .. } | Self::Bound => None,
        }
    }
}

/// The file, open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// A write failed half-way: nothing may be appended behind it.
    broken: bool,
}

impl Journal {
    /// Opens the file or begins it with `head`; tells every entry, and whose it was.
    pub(super) fn open(
        path: &Path,
        head: &Entry,
        entry: &mut dyn FnMut(Entry),
    ) -> Result<(Self, Option<Owner>), JournalError> {
        let unusable = |source| JournalError::Io {
            path: path.into(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(unusable)?;
        let (length, owner) = read_all(path, &file, entry)?;
        let mut journal = Self {
            path: path.into(),
            file,
            broken: false,
        };
        journal.file.set_len(length).map_err(unusable)?;
        if owner.is_none() {
            journal.file.set_len(0).map_err(unusable)?;
            journal.write(HEADING)?;
            journal.append(head)?;
            genesis::files::sync_folder(genesis::files::folder_of(path)).map_err(unusable)?;
        }
        Ok((journal, owner))
    }

    /// Appends an entry and syncs it.
    pub(super) fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let payload = Zeroizing::new(codec::encode(entry));
        if payload.len() > MAX_PAYLOAD {
            return Err(JournalError::Bound);
        }
        let mut frame = Zeroizing::new(Vec::with_capacity(FRAME_HEAD + payload.len()));
        let length = u32::try_from(payload.len()).map_err(|_over| JournalError::Bound)?;
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&check(&payload));
        frame.extend_from_slice(&payload);
        self.write(&frame)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let unusable = |source| JournalError::Io {
            path: self.path.clone(),
            source,
        };
        if self.broken {
            return Err(unusable(io::Error::other("an earlier write to it failed")));
        }
        self.broken = true;
        self.file.write_all(bytes).map_err(unusable)?;
        self.file.sync_data().map_err(unusable)?;
        self.broken = false;
        Ok(())
    }
}

/// Reads the file without changing it: tells every entry, and whose it is.
pub(super) fn read(
    path: &Path,
    entry: &mut dyn FnMut(Entry),
) -> Result<Option<Owner>, JournalError> {
    let file = File::open(path).map_err(|source| JournalError::Io {
        path: path.into(),
        source,
    })?;
    read_all(path, &file, entry).map(|(_, owner)| owner)
}

fn check(payload: &[u8]) -> [u8; 8] {
    let hash = sha256(&[payload]);
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// Reads all whole frames; returns the length of the file up to the end of the last one.
fn read_all(
    path: &Path,
    file: &File,
    entry: &mut dyn FnMut(Entry),
) -> Result<(u64, Option<Owner>), JournalError> {
    let unusable = |source| JournalError::Io {
        path: path.into(),
        source,
    };
    let length = file.metadata().map_err(unusable)?.len();
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut heading = Vec::new();
    let most = HEADING.len() as u64;
    reader
        .by_ref()
        .take(most)
        .read_to_end(&mut heading)
        .map_err(unusable)?;
    if heading != HEADING {
        // Cut off while it was made: nothing was acted upon yet.
        return if HEADING.starts_with(&heading) {
            Ok((0, None))
        } else {
            Err(JournalError::Heading(path.into()))
        };
    }
    let (mut at, mut owner) = (most, None);
    while let Some(payload) = read_frame(path, &mut reader, at, length)? {
        let value = codec::decode(&payload, MAX_PAYLOAD).map_err(|source| JournalError::Entry {
            path: path.into(),
            at,
            source,
        })?;
        match (owner, &value) {
            (None, &Entry::Head { chain, authority }) => owner = Some(Owner { chain, authority }),
            (Some(_), Entry::Batch { .. } | Entry::Settled { .. }) => entry(value),
            (None, _) | (Some(_), Entry::Head { .. }) => {
                let path = path.into();
                return Err(JournalError::Damaged { path, at });
            }
        }
        at += (FRAME_HEAD + payload.len()) as u64;
    }
    Ok((at, owner))
}

/// The next frame's payload; `None` at the end, or at a frame that was cut off.
fn read_frame(
    path: &Path,
    reader: &mut impl Read,
    at: u64,
    length: u64,
) -> Result<Option<Zeroizing<Vec<u8>>>, JournalError> {
    let unusable = |source| JournalError::Io {
        path: path.into(),
        source,
    };
    let damaged = || JournalError::Damaged {
        path: path.into(),
        at,
    };
    let left = length.saturating_sub(at);
    if left < FRAME_HEAD as u64 {
        return Ok(None);
    }
    let mut head = [0; FRAME_HEAD];
    reader.read_exact(&mut head).map_err(unusable)?;
    let [l0, l1, l2, l3, sum @ ..] = head;
    let size = u32::from_le_bytes([l0, l1, l2, l3]);
    if u64::from(size) > left - FRAME_HEAD as u64 {
        return Ok(None);
    }
    let size = usize::try_from(size).map_err(|_over| damaged())?;
    if size > MAX_PAYLOAD {
        return Err(damaged());
    }
    let mut payload = Zeroizing::new(vec![0; size]);
    reader.read_exact(&mut payload).map_err(unusable)?;
    if check(&payload) == sum {
        return Ok(Some(payload));
    }
    // A frame at the very end whose bytes did not all reach the disk.
    let last = left == (FRAME_HEAD + size) as u64;
    if last { Ok(None) } else { Err(damaged()) }
}
