//! Segments of the block archive read as they stand on disk, whole frames only: for export and backup.
//!
//! Needs no lock: segments are only appended to, so the whole frames of a moment are a chain up to some block, also
//! while the node runs. A frame that is not whole ends the last segment and is damage in any other. Links are not followed.
//!
//! What is copied ends with a block that is final by what is copied: its own finalization, or a restart that went on from
//! it. Behind that, a node that follows may have blocks whose finalization comes with a later one, and a write may be
//! under way.

use super::archive::{Damaged, OpenError};
use super::files;
use super::restarts::Restarts;
use ledger::frame::{
    FrameError, HEADER_LEN, Payload, SegmentHeader, parse, segment_name, segment_number,
};
use ledger::hash::ChainId;
use ledger::id::Height;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Longest segment: its offsets have 32 bits.
const MAX_SEGMENT: u64 = 1 << 32;

/// The segments of an archive, one after the other, up to the first that is not certified to its end.
/// [`Segments::end`] gives the rest.
#[derive(Debug)]
pub struct Segments {
    dir: PathBuf,
    chain: ChainId,
    next: u64,
    last: u64,
    height: Height,
    /// The last block with its own finalization: all up to it are final.
    certified: Height,
    /// Segments that were read and may have to be cut.
    held: VecDeque<Held>,
}

#[derive(Debug)]
struct Held {
    copied: Copied,
    first: Height,
    /// Where the frames end, in bytes.
    ends: Vec<usize>,
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
            certified: Height(0),
            held: VecDeque::new(),
        })
    }

    /// How many there are.
    pub const fn total(&self) -> u64 {
        self.last
    }

    /// What is left once there is no next one, up to the last block that is final. The restart files are to be read
    /// after the segments: a node has a file before it has a block that needs it.
    pub fn end(self, restarts: &Restarts) -> impl Iterator<Item = Copied> {
        let newest = self.height.prev().unwrap_or_default();
        let anchors = restarts.anchors().filter(|anchor| *anchor <= newest);
        let last = anchors.fold(self.certified, Height::max);
        let held = self.held.into_iter();
        held.take_while(move |held| held.first <= last)
            .map(move |held| held.up_to(last))
    }

    fn read(&mut self, number: u64) -> Result<Option<Held>, OpenError> {
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
        let (first, mut ends) = (self.height, Vec::new());
        let mut at = HEADER_LEN;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let source = match parse(rest, header.magic) {
                Ok((frame, place)) if frame.height == self.height => {
                    let payload = Payload::decode(rest.get(place).unwrap_or_default());
                    let payload = payload.map_err(|source| self.damaged(number, at, source))?;
                    if payload.finalization.is_some() {
                        self.certified = self.height;
                    }
                    at = at.saturating_add(frame.frame_len());
                    ends.push(at);
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
        Ok(Some(Held {
            copied: Copied { name, bytes, next },
            first,
            ends,
        }))
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

impl Held {
    /// Without the frames above this height.
    fn up_to(self, last: Height) -> Copied {
        let mut copied = self.copied;
        let above = self.ends.iter().zip(self.first.0..);
        let end = above.filter(|(_, height)| *height <= last.0).last();
        if let Some((end, height)) = end {
            copied.bytes.truncate(*end);
            copied.next = Height(height).saturating_add(1);
        }
        copied
    }
}

impl Iterator for Segments {
    type Item = Result<Copied, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let is_final = |held: &mut Held| held.copied.next.prev() <= Some(self.certified);
            if let Some(held) = self.held.pop_front_if(is_final) {
                return Some(Ok(held.copied));
            }
            if self.next > self.last {
                return None;
            }
            let number = self.next;
            self.next = self.next.saturating_add(1);
            match self.read(number) {
                Ok(read) => self.held.extend(read),
                Err(error) => {
                    self.next = u64::MAX;
                    return Some(Err(error));
                }
            }
        }
    }
}
