//! The one canonical encoding: borsh 1.x, decoded strictly (formats.md, section 1.1).
//!
//! Every byte that is hashed, signed or stored is made here. [`decode`] accepts exactly one encoding
//! of a value: it bounds the input before it looks at it, refuses trailing bytes and unknown tags, and
//! compares the re-encoded value with the input. [`List`], [`Text`] and [`Bytes`] carry their bound
//! in their type and check a length before they allocate for it.

use alloc::string::String;
use alloc::vec::Vec;
use borsh::io::{Error, ErrorKind, Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use core::ops::Deref;

/// Why bytes are not the encoding of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input is longer than this kind of value may be.
    #[error("{length} bytes are over the limit of {limit}")]
    TooLong {
        /// Length of the input in bytes.
        length: usize,
        /// Largest length accepted, in bytes.
        limit: usize,
    },
    /// A length, tag or value is not allowed, or the input ends too early.
    #[error("malformed at byte {at}")]
    Malformed {
        /// Offset of the first byte that was not consumed.
        at: usize,
    },
    /// The value ends before the input does.
    #[error("trailing bytes from byte {at} on")]
    Trailing {
        /// Offset of the first trailing byte.
        at: usize,
    },
    /// The value has another, canonical encoding.
    #[error("not the canonical encoding")]
    NotCanonical,
}

/// Encodes a value. Writing to memory cannot fail.
pub fn encode<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    // Most values are small: one allocation instead of one per doubling, and none of it kept.
    let mut out = Vec::with_capacity(512);
    write_to(&mut out, value);
    out.shrink_to_fit();
    out
}

/// Appends the encoding of a value to `out`.
pub fn write_to<T: BorshSerialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    value
        .serialize(out)
        .expect("writing to memory does not fail and no list is over its bound");
}

/// Decodes exactly one value of at most `limit` bytes.
///
/// # Errors
/// See [`DecodeError`]: anything but the canonical encoding is refused.
pub fn decode<T: BorshSerialize + BorshDeserialize>(
    bytes: &[u8],
    limit: usize,
) -> Result<T, DecodeError> {
    let mut rest = bytes;
    let value = decode_prefix(&mut rest, limit)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(DecodeError::Trailing {
            at: bytes.len().saturating_sub(rest.len()),
        })
    }
}

/// Decodes one value from the front of `input` and moves `input` behind it.
///
/// # Errors
/// As [`decode`], but bytes that follow the value are left to the caller. `limit` bounds the whole input.
pub fn decode_prefix<T: BorshSerialize + BorshDeserialize>(
    input: &mut &[u8],
    limit: usize,
) -> Result<T, DecodeError> {
    let whole = *input;
    if whole.len() > limit {
        return Err(DecodeError::TooLong {
            length: whole.len(),
            limit,
        });
    }
    let mut rest = whole;
    let consumed = |rest: &[u8]| whole.len().saturating_sub(rest.len());
    let Ok(value) = T::deserialize(&mut rest) else {
        return Err(DecodeError::Malformed { at: consumed(rest) });
    };
    let read = whole.get(..consumed(rest)).unwrap_or_default();
    if encode(&value) != read {
        return Err(DecodeError::NotCanonical);
    }
    *input = rest;
    Ok(value)
}

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

/// The error that a hand-written decoder returns for a value that is not allowed.
pub(crate) fn refuse(what: &'static str) -> Error {
    invalid(what)
}

/// A list of at most `MAX` items; the count is checked before anything is allocated.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct List<T, const MAX: usize>(Vec<T>);

/// A list or text is longer than its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{length} items are over the limit of {limit}")]
pub struct OverBound {
    /// Number of items (bytes for a text) that were given.
    pub length: usize,
    /// Largest number accepted.
    pub limit: usize,
}

impl<T, const MAX: usize> List<T, MAX> {
    /// The empty list.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Takes the items out.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }

    /// Adds an item at the end.
    ///
    /// # Errors
    /// [`OverBound`] when the list is full.
    pub fn push(&mut self, item: T) -> Result<(), OverBound> {
        if self.0.len() >= MAX {
            return Err(OverBound {
                length: self.0.len().saturating_add(1),
                limit: MAX,
            });
        }
        self.0.push(item);
        Ok(())
    }

    /// Inserts an item at `at` (at the end if `at` is behind it).
    ///
    /// # Errors
    /// [`OverBound`] when the list is full.
    pub fn insert(&mut self, at: usize, item: T) -> Result<(), OverBound> {
        if self.0.len() >= MAX {
            return Err(OverBound {
                length: self.0.len().saturating_add(1),
                limit: MAX,
            });
        }
        self.0.insert(at.min(self.0.len()), item);
        Ok(())
    }

    /// Keeps the items for which `keep` holds.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.0.retain(keep);
    }

    /// The items, to change in place.
    pub fn iter_mut(&mut self) -> core::slice::IterMut<'_, T> {
        self.0.iter_mut()
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const MAX: usize> TryFrom<Vec<T>> for List<T, MAX> {
    type Error = OverBound;
    fn try_from(items: Vec<T>) -> Result<Self, OverBound> {
        if items.len() > MAX {
            return Err(OverBound {
                length: items.len(),
                limit: MAX,
            });
        }
        Ok(Self(items))
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'a, T, const MAX: usize> IntoIterator for &'a List<T, MAX> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: fmt::Debug, const MAX: usize> fmt::Debug for List<T, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: BorshSerialize, const MAX: usize> BorshSerialize for List<T, MAX> {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        write_count(writer, self.0.len())?;
        self.0.iter().try_for_each(|item| item.serialize(writer))
    }
}

impl<T: BorshDeserialize, const MAX: usize> BorshDeserialize for List<T, MAX> {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let count = read_count(reader, MAX)?;
        // Memory follows the items that are really there, not the announced count.
        let mut items = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            items.push(T::deserialize_reader(reader)?);
        }
        Ok(Self(items))
    }
}

/// Bytes with a u32 length, at most `MAX` of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Bytes<MAX> {
    /// Takes the bytes out.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl<const MAX: usize> TryFrom<Vec<u8>> for Bytes<MAX> {
    type Error = OverBound;
    fn try_from(bytes: Vec<u8>) -> Result<Self, OverBound> {
        if bytes.len() > MAX {
            return Err(OverBound {
                length: bytes.len(),
                limit: MAX,
            });
        }
        Ok(Self(bytes))
    }
}

impl<const MAX: usize> Deref for Bytes<MAX> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Bytes<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", hex::encode(&self.0))
    }
}

impl<const MAX: usize> BorshSerialize for Bytes<MAX> {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        write_count(writer, self.0.len())?;
        writer.write_all(&self.0)
    }
}

impl<const MAX: usize> BorshDeserialize for Bytes<MAX> {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let count = read_count(reader, MAX)?;
        read_exactly(reader, count).map(Self)
    }
}

/// UTF-8 text with a u32 length in bytes, at most `MAX` bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = OverBound;
    fn try_from(text: String) -> Result<Self, OverBound> {
        if text.len() > MAX {
            return Err(OverBound {
                length: text.len(),
                limit: MAX,
            });
        }
        Ok(Self(text))
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MAX: usize> BorshSerialize for Text<MAX> {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        write_count(writer, self.0.len())?;
        writer.write_all(self.0.as_bytes())
    }
}

impl<const MAX: usize> BorshDeserialize for Text<MAX> {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let count = read_count(reader, MAX)?;
        let bytes = read_exactly(reader, count)?;
        String::from_utf8(bytes)
            .map(Self)
            .map_err(|_utf8| invalid("text is not UTF-8"))
    }
}

fn write_count<W: Write>(writer: &mut W, count: usize) -> IoResult<()> {
    let count = u32::try_from(count).map_err(|_over| invalid("list is over 2^32 items"))?;
    count.serialize(writer)
}

fn read_count<R: Read>(reader: &mut R, max: usize) -> IoResult<usize> {
    let count = u32::deserialize_reader(reader)?;
    match usize::try_from(count) {
        Ok(count) if count <= max => Ok(count),
        _ => Err(invalid("list is over its bound")),
    }
}

/// Reads `count` bytes in steps, so that memory follows what is really there.
fn read_exactly<R: Read>(reader: &mut R, count: usize) -> IoResult<Vec<u8>> {
    const STEP: usize = 4096;
    let mut bytes = Vec::with_capacity(count.min(STEP));
    let mut chunk = [0_u8; STEP];
    while bytes.len() < count {
        let want = count.saturating_sub(bytes.len()).min(STEP);
        let part = chunk.get_mut(..want).unwrap_or_default();
        reader.read_exact(part)?;
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}

/// Declares an enum whose encoding is one byte: the explicit number of its variant.
macro_rules! coded_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $code:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, borsh::BorshSerialize, borsh::BorshDeserialize)]
        #[borsh(use_discriminant = true)]
        #[repr(u8)]
        $vis enum $name { $($(#[$vmeta])* $variant = $code),+ }

        impl $name {
            /// Every variant, in the order of its code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The number that stands for this variant in every format.
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code),+ }
            }

            /// The variant for a number, if there is one.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use coded_enum;
