//! C2SP checkpoints: the text that says "this log has this root at this size" (formats.md, 4 and 7.2).

use crate::hash::Hash;
use crate::id::TreeSize;
use crate::tile::parse_canonical;
use alloc::format;
use alloc::string::{String, ToString as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Origin, size and root. No extension lines: ours have none, and others are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's origin.
    pub origin: String,
    /// Leaves of the tree.
    pub size: TreeSize,
    /// Root of the tree.
    pub root: Hash,
}

/// The text is no checkpoint in the canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("note text is not a checkpoint of origin, size and root")]
pub struct NotACheckpoint;

impl Checkpoint {
    /// `<origin> LF <size> LF <base64 root> LF`.
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root.0)
        )
    }

    /// Parses the text of a note.
    ///
    /// # Errors
    /// [`NotACheckpoint`] for anything but the canonical form.
    pub fn parse(text: &str) -> Result<Self, NotACheckpoint> {
        let parse = || {
            let mut lines = text.strip_suffix('\n')?.split('\n');
            let origin = lines.next().filter(|origin| !origin.is_empty())?;
            let size = TreeSize(parse_canonical(lines.next()?)?);
            let root = STANDARD.decode(lines.next()?).ok()?;
            let root = Hash(root.try_into().ok()?);
            let checkpoint = Self {
                origin: origin.to_string(),
                size,
                root,
            };
            (checkpoint.text() == text).then_some(checkpoint)
        };
        parse().ok_or(NotACheckpoint)
    }
}
