//! Segments of the block archive read as they stand on disk, whole frames only: for export and backup.
//!
//! Needs no lock: segments are only appended to, so the whole frames of a moment are a chain up to some block, also
//! while the node runs. A frame that is not whole ends the last segment and is damage in any other. Links are not followed.

use super::archive::{Damaged, OpenError};
use super::files;
use ledger::frame::{FrameError, HEADER_LEN, SegmentHeader, parse, segment_name, segment_number};
use ledger::hash::ChainId;
use ledger::id::Height;
use std::path::{Path, PathBuf};

/// Longest segment: its offsets have 32 bits.
const MAX_SEGMENT: u64 = 1 << 32;

/// The segments of an archive, one after the other.
#[derive(Debug)]
pub struct Segments {
    dir: PathBuf,
    chain: ChainId,
    next: u64,
    last: u64,
    height: Height,
}

/// The whole frames of one segment, with its header.
#[derive(Debug)]
pub struct Copied {
    /// Name of its file.
    pub name: String,
    /// What is copied.
    pub bytes: Vec<u8>,
    /// Height of the next segment's first block.
    pub next: Height,
}

impl Segments {
    /// The segments that are there now.
    ///
    /// # Errors
    /// [`OpenError::File`].
    pub fn of(dir: &Path, chain: ChainId) -> Result<Self, OpenError> {
        let names = files::list(dir)?;
        let last = names.iter().filter_map(|name| segment_number(name)).max();
        Ok(Self {
            dir: dir.into(),
            chain,
            next: 1,
            last: last.unwrap_or(0),
            height: Height(1),
        })
    }

    /// How many there are.
    pub const fn total(&self) -> u64 {
        self.last
    }

    fn read(&mut self, number: u64) -> Result<Option<Copied>, OpenError> {
        let name = segment_name(number);
        let path = self.dir.join(&name);
        let mut bytes = match files::read_own(&path, MAX_SEGMENT) {
            Err(error) if error.is_missing() => Err(self.gap(number)),
            read => Ok(read?),
        }?;
        let is_last = number == self.last;
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) => header,
            Err(_) if is_last && bytes.len() <= HEADER_LEN => return Ok(None),
            Err(source) => return Err(self.damaged(number, 0, source)),
        };
        if header.chain != self.chain {
            return Err(OpenError::OtherChain {
                path: self.dir.clone(),
                found: header.chain,
                expected: self.chain,
            });
        }
        if header.number != number || header.first != self.height {
            return Err(self.damaged(number, 0, FrameError::SegmentHeader));
        }
        let mut at = HEADER_LEN;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let source = match parse(rest, header.magic) {
                Ok((frame, _)) if frame.height == self.height => {
                    at = at.saturating_add(frame.frame_len());
                    self.height = self.height.saturating_add(1);
                    continue;
                }
                Ok(_) => FrameError::Header,
                Err(source) => source,
            };
            let behind = rest.get(1..).unwrap_or_default();
            let later = ledger::frame::shows_later_group(behind, header.magic, self.height);
            if !is_last || later {
                return Err(self.damaged(number, at, source));
            }
            bytes.truncate(at);
        }
        let next = self.height;
        Ok(Some(Copied { name, bytes, next }))
    }

    fn gap(&self, number: u64) -> OpenError {
        let path = self.dir.clone();
        OpenError::Gap { path, number }
    }

    fn damaged(&self, segment: u64, offset: usize, source: FrameError) -> OpenError {
        OpenError::Damaged(Damaged {
            segment,
            offset: u64::try_from(offset).unwrap_or(u64::MAX),
            height: self.height,
            source,
        })
    }
}

impl Iterator for Segments {
    type Item = Result<Copied, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.last {
            return None;
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        let read = self.read(number);
        if read.is_err() {
            self.next = u64::MAX;
        }
        read.transpose()
    }
}
