//! The consensus journal on paper: segment header, batch framing, and what a recovery concludes
//! (consensus.md, sections 3.11 and 3.12).
//!
//! A journal is a run of segment files, each a header followed by batches. A batch is what one
//! `fdatasync` makes durable, and batch k+1 is written only after that of k returned; so a damaged
//! batch with nothing behind it was never acknowledged, and one with something behind it was. Records
//! are opaque here. Files, locks and syncs are `node`'s.
//!
//! ```text
//! segment = header(104) batch*
//! header  = "NWJOURN1" ‖ journal id[16] ‖ magic[16] ‖ origin u8 ‖ opening u8 ‖ 0[2] ‖ number u64
//!           ‖ first seq u64 ‖ prev_crc u32 ‖ 0[36] ‖ crc32c of all before u32
//! batch   = magic[16] ‖ seq u64 ‖ len u32 ‖ prev_crc u32 ‖ crc32c of these u32
//!           ‖ (length u32 ‖ record)* , len bytes in all
//!           ‖ magic[16] ‖ seq u64 ‖ crc32c of the whole batch before it u32
//! ```
//! `magic` is 16 random bytes of this journal, never sent, so that nobody can plant one in a record.

use alloc::string::String;
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;

const FORMAT: &[u8; 8] = b"NWJOURN1";

/// Length of a segment's header, in bytes.
pub const HEADER_LEN: usize = 104;
/// Length of what stands before a batch's records, in bytes.
pub const BATCH_HEADER_LEN: usize = 36;
/// Length of what stands behind a batch's records, in bytes.
pub const BATCH_TRAILER_LEN: usize = 28;
/// Most bytes of the records of one batch, their lengths included: the blocks that may be unfinalized
/// at once (64 MiB, consensus.md 3.18) and as much again for certificates and votes.
pub const MAX_BATCH_LEN: usize = 128 << 20;

/// Which journal it is: random, made with the validator key, and named in that key's file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct JournalId(pub [u8; 16]);

/// 16 random bytes that begin every batch header and trailer of one journal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Magic(pub [u8; 16]);

/// Number of a batch: 1, 2, 3, … through all segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// How the journal came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Made once, together with the validator key: it votes without a rejoin.
    Fresh,
    /// Made later for a key that had another journal: it starts in quarantine.
    Replacement,
}

/// What a segment begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Batches that go on from the segment before.
    Continued,
    /// A batch that holds all that still counts: older segments are not needed.
    Snapshot,
}

/// The header of one segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The journal that it belongs to.
    pub journal: JournalId,
    /// The journal's magic, the same in all its segments.
    pub magic: Magic,
    /// How the journal came to be.
    pub origin: Origin,
    /// What the segment begins with.
    pub opening: Opening,
    /// 1, 2, 3, … without gaps.
    pub number: u64,
    /// Number of its first batch.
    pub first: Seq,
    /// Checksum of the batch before that; 0 if there is none.
    pub prev_crc: u32,
}

/// Bytes are not a segment header of this format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Fewer bytes than a header has.
    #[error("segment header has {0} of {HEADER_LEN} bytes")]
    Short(usize),
    /// The first eight bytes are others.
    #[error("not a journal segment of this format")]
    Format,
    /// The checksum is another.
    #[error("segment header has a wrong checksum")]
    Checksum,
    /// A field has a value that means nothing.
    #[error("segment header has an unknown origin or opening")]
    Value,
}

/// Records are too large for one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("batch of {length} bytes is over the limit of {MAX_BATCH_LEN}")]
pub struct BatchTooLong {
    /// Bytes of the records with their lengths.
    pub length: usize,
}

/// Where the next batch attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Header of the segment that goes on.
    pub segment: SegmentHeader,
    /// Number of the next batch.
    pub next: Seq,
    /// Checksum of the last batch; 0 if there is none.
    pub prev_crc: u32,
}

impl Seq {
    const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::str::FromStr for JournalId {
    type Err = hex::FromHexError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Magic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Magic(secret)")
    }
}

/// Name of a segment's file: `00000000000000000001.journal`, so that names sort as numbers.
pub fn segment_name(number: u64) -> String {
    alloc::format!("{number:020}.journal")
}

/// Number in a segment's file name; `None` for any other name.
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".journal")?;
    let number = digits.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

impl SegmentHeader {
    /// The header of a new journal's first segment; the file is these bytes and nothing else.
    pub const fn first(journal: JournalId, magic: Magic, origin: Origin) -> Self {
        Self {
            journal,
            magic,
            origin,
            opening: Opening::Continued,
            number: 1,
            first: Seq(1),
            prev_crc: 0,
        }
    }

    /// The header of the segment that goes on behind `head`.
    pub const fn after(head: &Head, opening: Opening) -> Self {
        Self {
            opening,
            number: head.segment.number.saturating_add(1),
            first: head.next,
            prev_crc: head.prev_crc,
            ..head.segment
        }
    }

    /// The bytes of the format.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let origin = match self.origin {
            Origin::Fresh => 1,
            Origin::Replacement => 2,
        };
        let opening = match self.opening {
            Opening::Continued => 1,
            Opening::Snapshot => 2,
        };
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend_from_slice(FORMAT);
        bytes.extend_from_slice(&self.journal.0);
        bytes.extend_from_slice(&self.magic.0);
        bytes.extend_from_slice(&[origin, opening, 0, 0]);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.first.0.to_le_bytes());
        bytes.extend_from_slice(&self.prev_crc.to_le_bytes());
        bytes.resize(HEADER_LEN.saturating_sub(4), 0);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&bytes);
        header
    }

    /// Reads the header at the front of a segment.
    ///
    /// # Errors
    /// [`HeaderError`] says what is wrong.
    pub fn decode(segment: &[u8]) -> Result<Self, HeaderError> {
        let Some(bytes) = segment.first_chunk::<HEADER_LEN>() else {
            return Err(HeaderError::Short(segment.len()));
        };
        let mut input = Input(bytes);
        let read = (|| {
            let format = input.array::<8>()?;
            let journal = JournalId(input.array()?);
            let magic = Magic(input.array()?);
            let [origin, opening, _, _] = input.array()?;
            let number = u64::from_le_bytes(input.array()?);
            let first = Seq(u64::from_le_bytes(input.array()?));
            let prev_crc = u32::from_le_bytes(input.array()?);
            Some((
                format, journal, magic, origin, opening, number, first, prev_crc,
            ))
        })();
        let Some((format, journal, magic, origin, opening, number, first, prev_crc)) = read else {
            return Err(HeaderError::Short(segment.len()));
        };
        if format != *FORMAT {
            return Err(HeaderError::Format);
        }
        let header = Self {
            journal,
            magic,
            origin: match origin {
                1 => Origin::Fresh,
                2 => Origin::Replacement,
                _ => return Err(HeaderError::Value),
            },
            opening: match opening {
                1 => Opening::Continued,
                2 => Opening::Snapshot,
                _ => return Err(HeaderError::Value),
            },
            number,
            first,
            prev_crc,
        };
        if header.encode() == *bytes {
            Ok(header)
        } else {
            Err(HeaderError::Checksum)
        }
    }
}

impl Head {
    /// Encodes the next batch and moves the head behind it. An empty batch is one too.
    ///
    /// # Errors
    /// [`BatchTooLong`]; the head stays where it was.
    pub fn encode_batch<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<Vec<u8>, BatchTooLong> {
        let length = records.iter().fold(0_usize, |sum, record| {
            sum.saturating_add(4).saturating_add(record.as_ref().len())
        });
        let len = match u32::try_from(length) {
            Ok(len) if length <= MAX_BATCH_LEN => len,
            Ok(_) | Err(_) => return Err(BatchTooLong { length }),
        };
        let frame = BATCH_HEADER_LEN.saturating_add(BATCH_TRAILER_LEN);
        let mut bytes = Vec::with_capacity(length.saturating_add(frame));
        bytes.extend_from_slice(&self.segment.magic.0);
        bytes.extend_from_slice(&self.next.0.to_le_bytes());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&self.prev_crc.to_le_bytes());
        push_crc(&mut bytes);
        for record in records {
            let record = record.as_ref();
            let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(record);
        }
        bytes.extend_from_slice(&self.segment.magic.0);
        bytes.extend_from_slice(&self.next.0.to_le_bytes());
        self.prev_crc = push_crc(&mut bytes);
        self.next = self.next.next();
        Ok(bytes)
    }
}

fn push_crc(bytes: &mut Vec<u8>) -> u32 {
    let crc = crc32c::crc32c(bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    crc
}

/// Reads from the front of a slice.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(front)
    }
}

mod recovery;
pub use recovery::{Batch, Corrupt, Recovered, Verdict, recover};

#[cfg(test)]
mod tests;
