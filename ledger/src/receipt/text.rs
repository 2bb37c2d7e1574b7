//! The receipt as a file: a C2SP tlog-proof of the registration, strict (formats.md, sections 6 and 7.4).

use super::extra::{DetailReveal, Extra, Opening};
use crate::checkpoint::Checkpoint;
use crate::codec::{self, DecodeError, List, OverBound};
use crate::document::DocumentId;
use crate::hash::Hash;
use crate::id::{LeafIndex, TreeSize};
use crate::leaf::{LogLeaf, RecordLeaf};
use crate::log::{MAX_PATH, Path};
use crate::note::{Note, NoteError};
use crate::state::Sorted;
use crate::tile::parse_canonical;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest receipt, in bytes.
pub const MAX_RECEIPT: usize = 64 * 1024;

const MAGIC: &str = "c2sp.org/tlog-proof@v1";

/// A parsed receipt: well formed, nothing of it verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    extra: Extra,
    index: LeafIndex,
    path: Path,
    note: Note,
    checkpoint: Checkpoint,
    document: DocumentId,
}

/// Why bytes are no receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Over 64 KiB.
    #[error("a receipt of {0} bytes is over the limit of {MAX_RECEIPT}")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("receipt is not UTF-8 text")]
    Text,
    /// A line that is not what the format has there.
    #[error("line {line} of the receipt is not {expected}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What the format has there.
        expected: &'static str,
    },
    /// The inclusion path is longer than 64 hashes.
    #[error("inclusion path of the receipt is longer than {MAX_PATH} hashes")]
    Path,
    /// The extra line is not canonical.
    #[error("extra line of the receipt cannot be decoded")]
    Extra(#[source] DecodeError),
    /// The leaf registers no document.
    #[error("leaf of the receipt is not a registration")]
    NotARegistration,
    /// The checkpoint is no signed note.
    #[error("checkpoint of the receipt is not a signed note")]
    Note(#[source] NoteError),
    /// The note's text is no checkpoint.
    #[error("note of the receipt is not a checkpoint of origin, size and root")]
    Checkpoint,
    /// More openings or details than a receipt holds.
    #[error("receipt is full")]
    Full(#[source] OverBound),
}

/// The document that a leaf registers.
pub(super) const fn registered(leaf: &LogLeaf) -> Option<(&RecordLeaf, &DocumentId)> {
    match leaf {
        LogLeaf::Record(leaf) if leaf.record.is_registration() => match leaf.record.document() {
            Some(document) => Some((leaf, document)),
            None => None,
        },
        LogLeaf::Record(_) | LogLeaf::Trailer(_) | LogLeaf::Evidence(_) => None,
    }
}

impl Receipt {
    /// Puts a receipt together. The one place that makes its text is [`Receipt::encode`].
    pub(super) fn new(
        extra: Extra,
        index: LeafIndex,
        path: Path,
        note: Note,
    ) -> Result<Self, ReceiptError> {
        let (_, document) = registered(&extra.leaf).ok_or(ReceiptError::NotARegistration)?;
        let document = *document;
        let checkpoint =
            Checkpoint::parse(note.text()).map_err(|_text| ReceiptError::Checkpoint)?;
        Ok(Self {
            extra,
            index,
            path,
            note,
            checkpoint,
            document,
        })
    }

    /// Parses a receipt, strictly: canonical in every part and fully consumed.
    ///
    /// # Errors
    /// [`ReceiptError`] names the first fault. Nothing is verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > MAX_RECEIPT {
            return Err(ReceiptError::TooLong(bytes.len()));
        }
        let text = core::str::from_utf8(bytes).map_err(|_utf8| ReceiptError::Text)?;
        let mut lines = Lines { rest: text, at: 0 };
        let magic = "c2sp.org/tlog-proof@v1";
        lines.next(magic, |line| (line == MAGIC).then_some(()))?;
        let extra = lines.next("an extra line in base64", |line| {
            base64(line.strip_prefix("extra ")?)
        })?;
        let extra = codec::decode(&extra, MAX_RECEIPT).map_err(ReceiptError::Extra)?;
        let index = lines.next("an index", |line| {
            parse_canonical(line.strip_prefix("index ")?).map(LeafIndex)
        })?;
        let mut path = Vec::new();
        let hash = |line: &str| match line {
            "" => Some(None),
            hash => Some(Some(Hash(base64(hash)?.try_into().ok()?))),
        };
        while let Some(hash) = lines.next("a hash in base64 or an empty line", hash)? {
            if path.len() >= MAX_PATH {
                return Err(ReceiptError::Path);
            }
            path.push(hash);
        }
        let path = Path::new(path).ok_or(ReceiptError::Path)?;
        let note = Note::parse(lines.rest.as_bytes()).map_err(ReceiptError::Note)?;
        Self::new(extra, index, path, note)
    }

    /// The file's text.
    pub fn encode(&self) -> String {
        let extra = STANDARD.encode(codec::encode(&self.extra));
        let hashes = self.path.hashes().iter();
        let hashes: String = hashes
            .map(|hash| format!("{}\n", STANDARD.encode(hash.0)))
            .collect();
        let (index, note) = (self.index, self.note.encode());
        format!("{MAGIC}\nextra {extra}\nindex {index}\n{hashes}\n{note}")
    }

    /// The document that the receipt is about.
    pub const fn document(&self) -> DocumentId {
        self.document
    }

    /// Log index of the registration.
    pub const fn index(&self) -> LeafIndex {
        self.index
    }

    /// Inclusion path of the registration.
    pub const fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the checkpoint's tree.
    pub const fn size(&self) -> TreeSize {
        self.checkpoint.size
    }

    /// The checkpoint.
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The cosigned note around the checkpoint.
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// The checkpoint's text, which the log signs.
    pub fn note_text(&self) -> &str {
        self.note.text()
    }

    /// Everything on the extra line.
    pub const fn extra(&self) -> &Extra {
        &self.extra
    }

    /// What opens commitments. Secret as long as the document is.
    pub fn openings(&self) -> &[Opening] {
        &self.extra.openings
    }

    /// The revealed detail fields.
    pub fn details(&self) -> &[DetailReveal] {
        &self.extra.details
    }

    /// The same receipt with these openings in place of its own.
    ///
    /// # Errors
    /// [`ReceiptError::Full`] for more than 16, [`ReceiptError::TooLong`] if the file would be over 64 KiB.
    pub fn with_openings(mut self, openings: Vec<Opening>) -> Result<Self, ReceiptError> {
        self.extra.openings = List::try_from(openings).map_err(ReceiptError::Full)?;
        self.bounded()
    }

    /// The same receipt with these fields revealed in place of its own; of two with one `k` the later counts.
    ///
    /// # Errors
    /// [`ReceiptError::Full`] for more than 16, [`ReceiptError::TooLong`] if the file would be over 64 KiB.
    pub fn with_details(mut self, details: Vec<DetailReveal>) -> Result<Self, ReceiptError> {
        let mut sorted = Sorted::new();
        for detail in details {
            sorted.set(detail).map_err(ReceiptError::Full)?;
        }
        self.extra.details = sorted;
        self.bounded()
    }

    /// The same receipt without any opening: what may be shown to whoever holds no document.
    #[must_use]
    pub fn without_openings(mut self) -> Self {
        self.extra.openings = List::new();
        self
    }

    /// Checks the length of the file.
    pub(super) fn bounded(self) -> Result<Self, ReceiptError> {
        match self.encode().len() {
            length if length > MAX_RECEIPT => Err(ReceiptError::TooLong(length)),
            _ => Ok(self),
        }
    }
}

/// Canonical base64.
fn base64(text: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(text).ok()?;
    (STANDARD.encode(&bytes) == text).then_some(bytes)
}

/// The lines before the checkpoint.
struct Lines<'a> {
    rest: &'a str,
    at: usize,
}

impl<'a> Lines<'a> {
    /// Takes the next line, which ends in LF.
    fn next<T>(
        &mut self,
        expected: &'static str,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, ReceiptError> {
        self.at = self.at.saturating_add(1);
        let line = self.at;
        let wrong = ReceiptError::Line { line, expected };
        let (text, rest) = self.rest.split_once('\n').ok_or(wrong)?;
        self.rest = rest;
        parse(text).ok_or(wrong)
    }
}
