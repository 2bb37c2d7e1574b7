//! C2SP signed notes: text, signature lines, key ids, verifier keys (formats.md, section 7.1).
//!
//! Parsing says what a note claims; verifying is for who knows the keys ([`crate::checkpoint`]).

use crate::hash::sha256;
use crate::key::{Key, RawSignature, SigningKey};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest note, in bytes.
pub const MAX_NOTE: usize = 64 * 1024;
/// Most signature lines of a note.
pub const MAX_LINES: usize = 100;

/// Type byte of a plain Ed25519 note signature.
pub const ED25519_NOTE: u8 = 0x01;
/// Type byte of a timestamped Ed25519 cosignature.
pub const ED25519_COSIGNATURE: u8 = 0x04;

const DASH: &str = "\u{2014} ";

/// Name and public key of a note signer, with the id that its lines carry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerifierKey {
    name: String,
    kind: u8,
    key: Key,
    id: [u8; 4],
}

impl VerifierKey {
    /// A log's key, whose name is the log's origin (type 0x01).
    pub fn log(origin: &str, key: Key) -> Self {
        Self::new(origin.to_string(), ED25519_NOTE, key)
    }

    /// A cosigner's key, named `<origin>/<authority id>` (type 0x04).
    pub fn cosigner(origin: &str, authority: &crate::id::AuthorityId, key: Key) -> Self {
        Self::new(format!("{origin}/{authority}"), ED25519_COSIGNATURE, key)
    }

    fn new(name: String, kind: u8, key: Key) -> Self {
        let hash = sha256(&[name.as_bytes(), b"\n", &[kind], key.as_bytes()]);
        let id = hash.0.first_chunk::<4>().copied().unwrap_or_default();
        Self {
            name,
            kind,
            key,
            id,
        }
    }

    /// The signer's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// First four bytes of SHA-256(name ‖ LF ‖ type ‖ key).
    pub const fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The public key.
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// Whether a line claims to be by this key.
    pub fn matches(&self, line: &SignatureLine) -> bool {
        line.id == self.id && line.name == self.name
    }

    /// The vkey text: `<name>+<8 hex digits>+<base64 of type ‖ key>`.
    pub fn vkey(&self) -> String {
        let bytes = [&[self.kind], self.key.as_bytes().as_slice()].concat();
        format!(
            "{}+{}+{}",
            self.name,
            hex::encode(self.id),
            STANDARD.encode(bytes)
        )
    }
}

/// One signature line: who claims to have signed, and the blob behind the key id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    /// Name of the signer.
    pub name: String,
    /// Key id.
    pub id: [u8; 4],
    /// What follows the key id: 64 bytes, or 72 with a timestamp.
    pub blob: Vec<u8>,
}

impl SignatureLine {
    /// A line by this key.
    pub fn new(by: &VerifierKey, blob: Vec<u8>) -> Self {
        Self {
            name: by.name.clone(),
            id: by.id,
            blob,
        }
    }

    /// `— <name> <base64 of id ‖ blob>` and LF.
    pub fn text(&self) -> String {
        let bytes = [self.id.as_slice(), &self.blob].concat();
        format!("{DASH}{} {}\n", self.name, STANDARD.encode(bytes))
    }

    /// Parses one line, without its LF.
    ///
    /// # Errors
    /// [`NoteError::Line`] for anything but the canonical form.
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        let parse = || {
            let (name, blob) = line.strip_prefix(DASH)?.split_once(' ')?;
            let plain = !name.is_empty() && !name.contains(|c: char| c == '+' || c.is_whitespace());
            let bytes = STANDARD
                .decode(blob)
                .ok()
                .filter(|bytes| STANDARD.encode(bytes) == blob)?;
            let (id, blob) = bytes.split_first_chunk::<4>()?;
            let line = Self {
                name: name.to_string(),
                id: *id,
                blob: blob.to_vec(),
            };
            (plain && !line.blob.is_empty()).then_some(line)
        };
        parse().ok_or(NoteError::Line)
    }
}

/// Why a text is no signed note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Over 64 KiB.
    #[error("a note of {0} bytes is over the limit of {MAX_NOTE}")]
    TooLong(usize),
    /// Not UTF-8, or with control characters other than LF.
    #[error("note is not plain text")]
    Text,
    /// No empty line between text and signatures, or no final LF.
    #[error("note has no empty line before its signatures")]
    Separator,
    /// A signature line that is not canonical.
    #[error("note has a malformed signature line")]
    Line,
    /// No line or over 100.
    #[error("note has {0} signature lines, 1 to {MAX_LINES} are allowed")]
    Lines(usize),
}

/// A parsed note. No signature is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    lines: Vec<SignatureLine>,
}

impl Note {
    /// Puts a text and its lines together. The text must end in LF.
    pub const fn new(text: String, lines: Vec<SignatureLine>) -> Self {
        Self { text, lines }
    }

    /// Parses a note, strictly.
    ///
    /// # Errors
    /// [`NoteError`] names what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE {
            return Err(NoteError::TooLong(bytes.len()));
        }
        let note = core::str::from_utf8(bytes).map_err(|_utf8| NoteError::Text)?;
        if note.contains(|c: char| c < ' ' && c != '\n') {
            return Err(NoteError::Text);
        }
        let at = note.rfind("\n\n").ok_or(NoteError::Separator)?;
        let (text, signatures) = note.split_at(at.saturating_add(1));
        let signatures = signatures.strip_prefix('\n').ok_or(NoteError::Separator)?;
        let signatures = signatures.strip_suffix('\n').ok_or(NoteError::Lines(0))?;
        let count = signatures.split('\n').count();
        if count > MAX_LINES {
            return Err(NoteError::Lines(count));
        }
        let lines = signatures
            .split('\n')
            .map(SignatureLine::parse)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            text: text.to_string(),
            lines,
        })
    }

    /// The text, with its final LF: what plain note signatures sign.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines in order.
    pub fn lines(&self) -> &[SignatureLine] {
        &self.lines
    }

    /// The whole note.
    pub fn encode(&self) -> String {
        let lines: String = self.lines.iter().map(SignatureLine::text).collect();
        format!("{}\n{lines}", self.text)
    }
}

/// Signs a note's text as the log (type 0x01).
pub fn sign_log(by: &VerifierKey, key: &SigningKey, text: &str) -> SignatureLine {
    SignatureLine::new(by, key.sign_raw(text.as_bytes()).0.to_vec())
}

/// Whether a line by this log key verifies, by the strict rule.
pub fn verify_log(by: &VerifierKey, line: &SignatureLine, text: &str) -> bool {
    let signature = <[u8; 64]>::try_from(line.blob.as_slice()).map(RawSignature);
    by.kind == ED25519_NOTE
        && by.matches(line)
        && signature.is_ok_and(|s| by.key.verify_strict(text.as_bytes(), &s).is_ok())
}
