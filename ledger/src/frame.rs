//! The block archive on paper: segment header and checksummed frames (design.md, section 6).
//!
//! A frame holds one finalized block and, where it has one, its own finalization. A group of frames
//! is what one `fdatasync` makes durable; every frame names the height with which its group begins, so
//! that a torn group is told from damage: a bad frame with a later *group* behind it had been synced.
//! Files and syncs are `node`'s.
//!
//! ```text
//! segment = header(96) frame*
//! header  = "NWARCHV1" ‖ chain[32] ‖ magic[16] ‖ number u64 ‖ first height u64 ‖ 0[20] ‖ crc32c u32
//! frame   = magic[16] ‖ height u64 ‖ group u64 ‖ len u32 ‖ crc32c of these u32
//!           ‖ payload, len bytes ‖ crc32c of header and payload u32
//! payload = borsh { block: bytes, finalization: Option<Certificate> }
//! ```

use crate::certificate::Certificate;
use crate::codec::{self, Bytes, DecodeError};
use crate::hash::ChainId;
use crate::id::Height;
use alloc::string::String;
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use core::ops::Range;

const FORMAT: &[u8; 8] = b"NWARCHV1";

/// Length of a segment's header, in bytes.
pub const HEADER_LEN: usize = 96;
/// Length of what stands before a frame's payload, in bytes.
pub const FRAME_HEADER_LEN: usize = 40;
/// Length of the checksum behind a frame's payload, in bytes.
pub const FRAME_TRAILER_LEN: usize = 4;
/// Most bytes of a block, header and body: twice the largest hard limit in use (4 MiB).
pub const MAX_BLOCK_LEN: usize = 8 << 20;
/// Most bytes of a frame's payload.
pub const MAX_PAYLOAD_LEN: usize = 4 + MAX_BLOCK_LEN + 1 + Certificate::MAX_LEN;

/// 16 random bytes that begin every frame of one segment; never sent, so that nobody can plant them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Magic(pub [u8; 16]);

/// The header of one segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The chain whose blocks it holds.
    pub chain: ChainId,
    /// Begins every frame.
    pub magic: Magic,
    /// 1, 2, 3, … without gaps.
    pub number: u64,
    /// Height of its first frame.
    pub first: Height,
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Payload {
    /// The block: header, then body, as they are hashed.
    pub block: Bytes<MAX_BLOCK_LEN>,
    /// Its own finalization; without one, a later block's finalizes it.
    pub finalization: Option<Certificate>,
}

/// A frame's own header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Height of its block.
    pub height: Height,
    /// Height of the first block that was synced together with it.
    pub group: Height,
    /// Length of the payload in bytes.
    pub len: u32,
}

/// Bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The segment header is short, of another format, or has a wrong checksum.
    #[error("archive segment header is damaged")]
    SegmentHeader,
    /// The segment's file is not there.
    #[error("its file is missing")]
    Missing,
    /// The frame's header is short or damaged.
    #[error("frame header is damaged")]
    Header,
    /// The frame ends behind the file, or its checksum is wrong.
    #[error("frame of block {0} is damaged")]
    Checksum(Height),
    /// The payload is whole but no encoding of a block and a certificate.
    #[error("payload of a frame: {0}")]
    Payload(#[from] DecodeError),
    /// The payload is over its limit.
    #[error("payload of {0} bytes is over the limit of {MAX_PAYLOAD_LEN}")]
    TooLong(usize),
}

/// Name of a segment's file: `00000000000000000001.archive`, so that names sort as numbers.
pub fn segment_name(number: u64) -> String {
    alloc::format!("{number:020}.archive")
}

/// Number in a segment's file name; `None` for any other name.
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".archive")?;
    let number = digits.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

impl core::fmt::Debug for Magic {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Magic(secret)")
    }
}

impl SegmentHeader {
    /// The bytes of the format.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend_from_slice(FORMAT);
        bytes.extend_from_slice(self.chain.as_bytes());
        bytes.extend_from_slice(&self.magic.0);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.first.0.to_le_bytes());
        bytes.resize(HEADER_LEN.saturating_sub(4), 0);
        push_crc(&mut bytes, 0);
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&bytes);
        header
    }

    /// Reads the header at the front of a segment.
    ///
    /// # Errors
    /// [`FrameError::SegmentHeader`].
    pub fn decode(segment: &[u8]) -> Result<Self, FrameError> {
        let read = || {
            let bytes = segment.first_chunk::<HEADER_LEN>()?;
            let (format, rest) = bytes.split_first_chunk::<8>()?;
            let (chain, rest) = rest.split_first_chunk::<32>()?;
            let (magic, rest) = rest.split_first_chunk::<16>()?;
            let (number, rest) = rest.split_first_chunk::<8>()?;
            let (first, _) = rest.split_first_chunk::<8>()?;
            let header = Self {
                chain: ChainId(crate::hash::Hash(*chain)),
                magic: Magic(*magic),
                number: u64::from_le_bytes(*number),
                first: Height(u64::from_le_bytes(*first)),
            };
            (format == FORMAT && header.encode() == *bytes).then_some(header)
        };
        read().ok_or(FrameError::SegmentHeader)
    }
}

impl Payload {
    /// The bytes that a frame carries and that are sent to a reader.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads them strictly.
    ///
    /// # Errors
    /// [`FrameError::Payload`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        Ok(codec::decode(bytes, MAX_PAYLOAD_LEN)?)
    }
}

impl FrameHeader {
    /// Length of the whole frame, in bytes.
    pub fn frame_len(&self) -> usize {
        usize::try_from(self.len)
            .unwrap_or(usize::MAX)
            .saturating_add(FRAME_HEADER_LEN)
            .saturating_add(FRAME_TRAILER_LEN)
    }

    /// Reads the frame header at the front of `bytes`.
    ///
    /// # Errors
    /// [`FrameError::Header`].
    pub fn decode(bytes: &[u8], magic: Magic) -> Result<Self, FrameError> {
        let read = || {
            let header = bytes.first_chunk::<FRAME_HEADER_LEN>()?;
            let (covered, crc) = header.split_last_chunk::<4>()?;
            let (found, rest) = covered.split_first_chunk::<16>()?;
            let (height, rest) = rest.split_first_chunk::<8>()?;
            let (group, rest) = rest.split_first_chunk::<8>()?;
            let len = u32::from_le_bytes(*rest.first_chunk::<4>()?);
            let fits = *found == magic.0
                && crc32c::crc32c(covered) == u32::from_le_bytes(*crc)
                && usize::try_from(len).is_ok_and(|len| len <= MAX_PAYLOAD_LEN);
            fits.then_some(Self {
                height: Height(u64::from_le_bytes(*height)),
                group: Height(u64::from_le_bytes(*group)),
                len,
            })
        };
        read().ok_or(FrameError::Header)
    }
}

/// Appends the frame of one block.
///
/// # Errors
/// [`FrameError::TooLong`]; nothing is appended.
pub fn append(
    out: &mut Vec<u8>,
    magic: Magic,
    height: Height,
    group: Height,
    payload: &[u8],
) -> Result<(), FrameError> {
    let len = match u32::try_from(payload.len()) {
        Ok(len) if payload.len() <= MAX_PAYLOAD_LEN => len,
        Ok(_) | Err(_) => return Err(FrameError::TooLong(payload.len())),
    };
    let start = out.len();
    out.extend_from_slice(&magic.0);
    out.extend_from_slice(&height.0.to_le_bytes());
    out.extend_from_slice(&group.0.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    push_crc(out, start);
    out.extend_from_slice(payload);
    push_crc(out, start);
    Ok(())
}

/// Appends the checksum of `bytes[from..]`.
fn push_crc(bytes: &mut Vec<u8>, from: usize) {
    let crc = crc32c::crc32c(bytes.get(from..).unwrap_or_default());
    bytes.extend_from_slice(&crc.to_le_bytes());
}

/// Reads the frame at the front of `bytes`: its header, and where in `bytes` its payload lies.
///
/// # Errors
/// [`FrameError::Header`] or [`FrameError::Checksum`].
pub fn parse(bytes: &[u8], magic: Magic) -> Result<(FrameHeader, Range<usize>), FrameError> {
    let header = FrameHeader::decode(bytes, magic)?;
    let bad = FrameError::Checksum(header.height);
    let frame = bytes.get(..header.frame_len()).ok_or(bad)?;
    let (covered, crc) = frame.split_last_chunk::<4>().ok_or(bad)?;
    if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
        return Err(bad);
    }
    Ok((header, FRAME_HEADER_LEN..covered.len()))
}

/// Whether, anywhere in `bytes`, a frame stands whose group begins above `height`.
///
/// Its group was written after the sync of that height's, which is therefore damaged, not torn.
pub fn shows_later_group(bytes: &[u8], magic: Magic, height: Height) -> bool {
    let starts = bytes.windows(FRAME_HEADER_LEN);
    starts
        .filter(|window| window.starts_with(&magic.0))
        .any(|window| FrameHeader::decode(window, magic).is_ok_and(|later| later.group > height))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "a test may panic")]
    use super::*;
    use crate::hash::Hash;

    const MAGIC: Magic = Magic([9; 16]);

    fn payload(length: usize) -> Vec<u8> {
        Payload {
            block: alloc::vec![5; length].try_into().unwrap(),
            finalization: None,
        }
        .encode()
    }

    #[test]
    fn a_frame_comes_back() {
        let mut bytes = Vec::new();
        append(&mut bytes, MAGIC, Height(3), Height(2), &payload(100)).unwrap();
        let (header, range) = parse(&bytes, MAGIC).unwrap();
        assert_eq!((header.height, header.group), (Height(3), Height(2)));
        assert_eq!(header.frame_len(), bytes.len());
        assert_eq!(Payload::decode(&bytes[range]).unwrap().block.len(), 100);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        append(&mut bytes, MAGIC, Height(3), Height(3), &payload(40)).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(parse(&bad, MAGIC).is_err(), "bit {at}");
        }
    }

    #[test]
    fn a_later_group_is_found_anywhere() {
        let mut bytes = alloc::vec![1, 2, 3];
        append(&mut bytes, MAGIC, Height(8), Height(7), &payload(40)).unwrap();
        assert!(shows_later_group(&bytes, MAGIC, Height(6)));
        assert!(!shows_later_group(&bytes, MAGIC, Height(7)));
        assert!(!shows_later_group(&bytes, Magic([8; 16]), Height(6)));
    }

    #[test]
    fn segment_header_and_name_come_back() {
        let header = SegmentHeader {
            chain: ChainId(Hash([3; 32])),
            magic: MAGIC,
            number: 12,
            first: Height(99),
        };
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        let mut bad = header.encode();
        bad[60] ^= 1;
        assert_eq!(SegmentHeader::decode(&bad), Err(FrameError::SegmentHeader));
        assert_eq!(segment_number(&segment_name(12)), Some(12));
        assert_eq!(segment_number("12.archive"), None);
    }
}
