//! Names and numbers: authorities, validators, heights, views, log positions, times.
//!
//! Each is its own type, so that an `AuthorityIndex` (for life) is never used as a `ValidatorIndex`
//! (one epoch's), nor a height as a view. Arithmetic is only here and is checked.

use crate::codec::refuse;
use alloc::string::String;
use borsh::io::{Read, Result as IoResult};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;

macro_rules! number {
    ($($(#[$meta:meta])* $name:ident($inner:ty)),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize)]
        pub struct $name(pub $inner);

        impl $name {
            /// The next one; `None` at the end of the range.
            pub const fn next(self) -> Option<Self> {
                match self.0.checked_add(1) {
                    Some(next) => Some(Self(next)),
                    None => None,
                }
            }

            /// The one before; `None` at zero.
            pub const fn prev(self) -> Option<Self> {
                match self.0.checked_sub(1) {
                    Some(prev) => Some(Self(prev)),
                    None => None,
                }
            }

            /// This number plus `count`; stays at the end of the range.
            pub const fn saturating_add(self, count: $inner) -> Self {
                Self(self.0.saturating_add(count))
            }

            /// This number minus `count`; stays at zero.
            pub const fn saturating_sub(self, count: $inner) -> Self {
                Self(self.0.saturating_sub(count))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )+};
}

number! {
    /// Position of an authority in order of admission, for life.
    AuthorityIndex(u16),
    /// Position of a validator in one epoch's validator set.
    ValidatorIndex(u16),
    /// Number of a block in the chain; the genesis is height 0.
    Height(u64),
    /// Number of a leader's turn within an epoch; the anchor is view 0.
    View(u64),
    /// Number of a run of blocks under one validator set and one vote context.
    Epoch(u64),
    /// Position of a leaf in the log, from 0.
    LeafIndex(u64),
    /// Number of leaves of a tree.
    TreeSize(u64),
    /// Milliseconds since 1970-01-01T00:00:00Z (Unix time, no leap seconds).
    TimeMs(u64),
}

/// Short id of an authority: 2 to 32 characters of `a-z`, `0-9`, `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize)]
pub struct AuthorityId(String);

/// Domain of a network: 1 to 253 characters of `a-z`, `0-9`, `.`, `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize)]
pub struct Domain(String);

/// A name has characters or a length that are not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not an authority id.
    #[error("authority id {0:?} is not 2 to 32 characters of a-z, 0-9 and hyphen")]
    Authority(String),
    /// Not a domain.
    #[error("domain {0:?} is not 1 to 253 characters of a-z, 0-9, dot and hyphen")]
    Domain(String),
}

impl AuthorityId {
    /// Longest id, in bytes.
    pub const MAX: usize = 32;

    /// Parses an id.
    ///
    /// # Errors
    /// [`NameError::Authority`] for any other text.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let fits = (2..=Self::MAX).contains(&text.len());
        let plain = text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if fits && plain {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Authority(text.into()))
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Domain {
    /// Longest domain, in bytes.
    pub const MAX: usize = 253;

    /// Parses a domain.
    ///
    /// # Errors
    /// [`NameError::Domain`] for any other text.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let fits = (1..=Self::MAX).contains(&text.len());
        let plain = text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'));
        if fits && plain {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Domain(text.into()))
        }
    }

    /// The domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl BorshDeserialize for AuthorityId {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let text = crate::codec::Text::<{ Self::MAX }>::deserialize_reader(reader)?;
        Self::new(text.as_str()).map_err(|_name| refuse("not an authority id"))
    }
}

impl BorshDeserialize for Domain {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let text = crate::codec::Text::<{ Self::MAX }>::deserialize_reader(reader)?;
        Self::new(text.as_str()).map_err(|_name| refuse("not a domain"))
    }
}
