//! Reading blocks by height beside the writer, and what is known of those that cannot be read.
//!
//! A block whose frame is bad is never served: the first read that notices it enters it into the list of holes and
//! wakes whoever repairs. A segment that was moved away is no damage: its number is named. Files are opened when they are
//! read, and few are kept open, however many there are.

use super::scan::UNREADABLE;
use super::{Damaged, damaged};
use crate::storage::files::{self, FileError};
use ledger::frame::{
    self, FRAME_HEADER_LEN, FrameError, FrameHeader, HEADER_LEN, Magic, Payload, SegmentHeader,
};
use ledger::id::Height;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::Notify;

/// Segments' files that stay open.
pub(super) const OPEN_FILES: usize = 64;

/// Reads blocks by height, beside the writer. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reader(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    segments: RwLock<Vec<Segment>>,
    /// The files that were read last, the newest behind.
    open: Mutex<VecDeque<(Version, Arc<File>)>>,
    /// Rung when a hole is found.
    found: Notify,
}

/// A segment's file as it was written once: its number, and how often it was replaced since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) number: u64,
    pub(super) replaced: u32,
}

/// One segment: 4 bytes of memory per block that is here.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) path: PathBuf,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// The file is here.
    Here {
        /// How often it was replaced.
        replaced: u32,
        /// Where its blocks are, but for the last …
        offsets: Vec<u32>,
        /// … so many, of which nothing is left.
        lost: u64,
        /// All that cannot be read.
        holes: Vec<Hole>,
    },
    /// This one and those up to number `upto` are not here, and nobody said that they were moved away.
    Missing { upto: u64, blocks: u64 },
    /// This one and those up to number `upto` were moved away.
    Away { upto: u64, blocks: u64 },
}

/// Blocks of one segment that are not on the disk as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Number of the segment.
    pub segment: u64,
    /// Where the damage begins, in bytes.
    pub offset: u64,
    /// The first block that cannot be read.
    pub first: Height,
    /// The last; below the first if only the segment's own header is damaged.
    pub last: Height,
    /// What is wrong.
    pub source: FrameError,
}

impl Hole {
    /// Damage of a segment's own header alone.
    pub(super) const fn of_header(header: &SegmentHeader) -> Self {
        Self {
            segment: header.number,
            offset: 0,
            first: header.first,
            last: Height(header.first.0.saturating_sub(1)),
            source: FrameError::SegmentHeader,
        }
    }

    /// How many blocks cannot be read.
    pub const fn blocks(&self) -> u64 {
        self.last.0.saturating_add(1).saturating_sub(self.first.0)
    }
}

impl Away {
    /// How many segments they are.
    pub const fn segments(&self) -> u64 {
        let Self {
            first_segment,
            last_segment,
            ..
        } = self;
        last_segment
            .saturating_add(1)
            .saturating_sub(*first_segment)
    }
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first_segment,
            last_segment,
            first,
            last,
        } = self;
        write!(
            f,
            "archive segments {first_segment} to {last_segment}, blocks {first} to {last}"
        )
    }
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            segment,
            offset,
            first,
            last,
            source,
        } = self;
        write!(f, "archive segment {segment} is damaged at byte {offset}")?;
        if first < last {
            write!(f, ", blocks {first} to {last}")?;
        } else if first == last {
            write!(f, ", block {first}")?;
        }
        write!(f, " ({source})")
    }
}

/// Segments that were moved away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// Number of the first.
    pub first_segment: u64,
    /// Number of the last.
    pub last_segment: u64,
    /// Their first block.
    pub first: Height,
    /// Their last block.
    pub last: Height,
}

/// A segment as the scrub reads it.
#[derive(Debug)]
pub struct Part {
    /// Its number.
    pub number: u64,
    replaced: u32,
    /// Its blocks: the first, and the one behind the last.
    pub blocks: (Height, Height),
}

/// What a segment's own header was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// As it was written.
    Whole,
    /// Not: it is entered into the holes.
    Damaged,
}

/// A block cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its frame is damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// Its segment is not here.
    #[error("block {height} is in archive segment {segment}, which is not on this disk")]
    Away {
        /// Number of the segment, or of the first of several.
        segment: u64,
        /// The block.
        height: Height,
    },
    /// The file system says no.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Where a frame lies.
#[derive(Debug)]
struct Place {
    version: Version,
    magic: Magic,
    path: PathBuf,
    file: Arc<File>,
    offset: u32,
}

impl Segment {
    pub(super) fn blocks(&self) -> u64 {
        match &self.content {
            Content::Here { offsets, lost, .. } => as_u64(offsets.len()).saturating_add(*lost),
            Content::Missing { blocks, .. } | Content::Away { blocks, .. } => *blocks,
        }
    }

    /// The hole that a segment without its file is.
    fn missing(&self) -> Hole {
        Hole {
            segment: self.header.number,
            offset: 0,
            first: self.header.first,
            last: Height(self.end().0.saturating_sub(1)),
            source: FrameError::Missing,
        }
    }

    /// Height behind its last block.
    pub(super) fn end(&self) -> Height {
        self.header.first.saturating_add(self.blocks())
    }

    pub(super) fn last_number(&self) -> u64 {
        match self.content {
            Content::Here { .. } => self.header.number,
            Content::Missing { upto, .. } | Content::Away { upto, .. } => upto,
        }
    }
}

impl Reader {
    pub(super) fn new(segments: Vec<Segment>) -> Self {
        Self(Arc::new(Shared {
            segments: RwLock::new(segments),
            open: Mutex::default(),
            found: Notify::new(),
        }))
    }

    /// The block of a height with its finalization; `None` above the last.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] if the frame is not what was written; it is then not served.
    pub fn read(&self, height: Height) -> Result<Option<Payload>, ReadError> {
        let Some((place, bytes)) = self.fetch(height)? else {
            return Ok(None);
        };
        let payload =
            Payload::decode(&bytes).map_err(|source| self.spoiled(&place, height, source))?;
        Ok(Some(payload))
    }

    /// The same as it stands on disk: an encoded [`Payload`] whose checksum was checked.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read_encoded(&self, height: Height) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.fetch(height)?.map(|(_, bytes)| bytes))
    }

    /// The last height; `None` while the archive is empty.
    pub fn last(&self) -> Option<Height> {
        let segments = self.lock();
        let mut filled = segments.iter().rev().filter(|segment| segment.blocks() > 0);
        filled.next().and_then(|segment| segment.end().prev())
    }

    /// Blocks from `first` on, in order, until the last or the first error.
    pub fn iter(
        &self,
        first: Height,
    ) -> impl Iterator<Item = Result<(Height, Payload), ReadError>> + use<> {
        let reader = self.clone();
        let mut next = Some(first);
        std::iter::from_fn(move || {
            let height = next?;
            match reader.read(height) {
                Ok(Some(payload)) => {
                    next = height.next();
                    Some(Ok((height, payload)))
                }
                Ok(None) => None,
                Err(error) => {
                    next = None;
                    Some(Err(error))
                }
            }
        })
    }

    /// The blocks that are known to be damaged.
    pub fn holes(&self) -> Vec<Hole> {
        let segments = self.lock();
        let holes = segments.iter().flat_map(|segment| match &segment.content {
            Content::Here { holes, .. } => holes.clone(),
            Content::Missing { .. } => vec![segment.missing()],
            Content::Away { .. } => Vec::new(),
        });
        holes.collect()
    }

    /// The segments that are not on this disk.
    pub fn away(&self) -> Vec<Away> {
        let segments = self.lock();
        let away = segments.iter().filter_map(|segment| match segment.content {
            Content::Here { .. } | Content::Missing { .. } => None,
            Content::Away { upto, .. } => Some(Away {
                first_segment: segment.header.number,
                last_segment: upto,
                first: segment.header.first,
                last: Height(segment.end().0.saturating_sub(1)),
            }),
        });
        away.collect()
    }

    /// The first block from this height on that is in no known hole and not away; `None` above the last.
    pub fn readable_from(&self, height: Height) -> Option<Height> {
        let segments = self.lock();
        let mut later = segments.iter().filter(|segment| segment.end() > height);
        later.find_map(|segment| {
            let Content::Here { offsets, .. } = &segment.content else {
                return None;
            };
            let first = segment.header.first;
            let from = usize::try_from(height.0.saturating_sub(first.0)).ok()?;
            let mut offsets = offsets.iter().enumerate().skip(from);
            let (at, _) = offsets.find(|(_, offset)| **offset != UNREADABLE)?;
            Some(first.saturating_add(as_u64(at)))
        })
    }

    /// The segments that are here, as they are now.
    pub fn parts(&self) -> Vec<Part> {
        let segments = self.lock();
        let parts = segments
            .iter()
            .filter_map(|segment| match &segment.content {
                Content::Here { replaced, .. } => Some(Part {
                    number: segment.header.number,
                    replaced: *replaced,
                    blocks: (segment.header.first, segment.end()),
                }),
                Content::Missing { .. } | Content::Away { .. } => None,
            });
        parts.collect()
    }

    /// Returns when a hole was found since the last time.
    pub async fn found(&self) {
        self.0.found.notified().await;
    }

    /// A block is not what it should be, as its reader found out: it is served no more, and will be repaired.
    pub fn condemn(&self, height: Height) -> Option<Damaged> {
        let place = self.place(height).ok()??;
        Some(self.spoiled(&place, height, FrameError::Checksum(height)))
    }

    /// Reads a segment's own header again, and whatever is read of it afterwards, from the disk and not from the cache where
    /// the kernel can. A damaged one costs no block as long as the node runs, and is written again
    /// like one.
    ///
    /// # Errors
    /// [`FileError`] if the file system says no.
    pub fn check_header(&self, part: &Part) -> Result<Stand, FileError> {
        let Some((file, path)) = self.file_of(part.number)? else {
            return Ok(Stand::Whole);
        };
        files::forget_cached(&file);
        let mut bytes = [0; HEADER_LEN];
        let read = files::read_exact_at(&file, &path, &mut bytes, 0);
        let found = match read {
            Err(error) if !error.is_unreadable() => return Err(error),
            Err(_unreadable) => None,
            Ok(()) => SegmentHeader::decode(&bytes).ok(),
        };
        let mut segments = self.lock_mut();
        let same = |segment: &&mut Segment| segment.header.number == part.number;
        if let Some(segment) = segments.iter_mut().find(same)
            && found.as_ref() != Some(&segment.header)
            && let Content::Here { replaced, holes, .. } = &mut segment.content
            // The file may have been replaced since it was read.
            && *replaced == part.replaced
        {
            let hole = Hole::of_header(&segment.header);
            if !holes.contains(&hole) {
                holes.insert(0, hole);
                drop(segments);
                tracing::error!(
                    segment = part.number,
                    "the archive is damaged: this segment's header is written again"
                );
                self.0.found.notify_one();
            }
            return Ok(Stand::Damaged);
        }
        Ok(Stand::Whole)
    }

    /// Reads every block that is here, so that all damage is known.
    pub fn condemn_all(&self) {
        let mut next = self.readable_from(Height(1));
        while let Some(height) = next {
            // What is found is entered into the holes.
            self.read_encoded(height).ok();
            next = self.readable_from(height.saturating_add(1));
        }
    }

    fn fetch(&self, height: Height) -> Result<Option<(Place, Vec<u8>)>, ReadError> {
        let Some(place) = self.place(height)? else {
            return Ok(None);
        };
        let bad = |source| self.spoiled(&place, height, source);
        let mut start = [0; FRAME_HEADER_LEN];
        let offset = place.offset.into();
        files::read_exact_at(&place.file, &place.path, &mut start, offset)
            .map_err(|error| self.failed(&place, height, error, FrameError::Header))?;
        let header = FrameHeader::decode(&start, place.magic).map_err(bad)?;
        if header.height != height {
            return Err(bad(FrameError::Header).into());
        }
        let mut bytes = vec![0; header.frame_len()];
        files::read_exact_at(&place.file, &place.path, &mut bytes, offset)
            .map_err(|error| self.failed(&place, height, error, FrameError::Checksum(height)))?;
        let (_, range) = frame::parse(&bytes, place.magic).map_err(bad)?;
        bytes.truncate(range.end);
        bytes.drain(..range.start);
        Ok(Some((place, bytes)))
    }

    /// A file that ends too early, or a disk that cannot read it back, is damage like any other.
    fn failed(
        &self,
        place: &Place,
        height: Height,
        error: FileError,
        source: FrameError,
    ) -> ReadError {
        if !error.is_unreadable() {
            return error.into();
        }
        tracing::error!(error = %crate::exit::Chain(&error), %height, "block cannot be read back");
        self.spoiled(place, height, source).into()
    }

    /// Enters one block into the holes.
    fn spoiled(&self, place: &Place, height: Height, source: FrameError) -> Damaged {
        let offset = place.offset.into();
        let mut segments = self.lock_mut();
        if let Some(segment) = segment_of(&mut segments, height)
            && segment.header.number == place.version.number
            && let Content::Here {
                replaced,
                offsets,
                holes,
                ..
            } = &mut segment.content
            // The file may have been replaced since it was read.
            && *replaced == place.version.replaced
            && let Some(slot) = height
                .0
                .checked_sub(segment.header.first.0)
                .and_then(|within| offsets.get_mut(usize::try_from(within).ok()?))
            && *slot != UNREADABLE
        {
            *slot = UNREADABLE;
            holes.push(Hole {
                segment: place.version.number,
                offset,
                first: height,
                last: height,
                source,
            });
            holes.sort_by_key(|hole| hole.first);
            drop(segments);
            tracing::error!(
                segment = place.version.number, offset, %height, error = %source,
                "the archive is damaged: this block is not served until it is repaired"
            );
            self.0.found.notify_one();
        }
        damaged(place.version.number, offset, height, source)
    }

    /// A segment's file to read from, and where it is; `None` if the segment is not here.
    fn file_of(&self, number: u64) -> Result<Option<(File, PathBuf)>, FileError> {
        let segments = self.lock();
        let found = segments.iter().find(|one| one.header.number == number);
        let is_here = |one: &&Segment| matches!(one.content, Content::Here { .. });
        let Some(segment) = found.filter(is_here) else {
            return Ok(None);
        };
        let path = segment.path.clone();
        // By its name, as a start would.
        let opened = files::open_to_read(&path);
        drop(segments);
        match opened {
            Err(error) if error.is_missing() && self.lose(number).is_some() => Ok(None),
            opened => Ok(Some((opened?, path))),
        }
    }

    /// Closes a segment's files that were read from.
    pub(super) fn close(&self, number: u64) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(version, _)| version.number != number);
    }

    /// Opens a segment's file, if it is not open. Who calls it holds the segments, so that nobody replaces it meanwhile.
    fn open(&self, path: &Path, version: Version) -> Result<Arc<File>, FileError> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open.iter().position(|(known, _)| *known == version);
        let entry = match known.and_then(|at| open.remove(at)) {
            Some(entry) => entry,
            None => (version, Arc::new(files::open_to_read(path)?)),
        };
        let file = Arc::clone(&entry.1);
        open.push_back(entry);
        while open.len() > OPEN_FILES {
            open.pop_front();
        }
        Ok(file)
    }

    /// The file of a segment is gone while the node runs. Not of the last one, which is open for writing.
    fn lose(&self, number: u64) -> Option<Hole> {
        let mut segments = self.lock_mut();
        let is_last = segments
            .last()
            .is_some_and(|last| last.header.number == number);
        let is_here = |one: &&mut Segment| {
            one.header.number == number && matches!(one.content, Content::Here { .. })
        };
        let segment = segments.iter_mut().filter(|_| !is_last).find(is_here)?;
        segment.content = Content::Missing {
            upto: number,
            blocks: segment.blocks(),
        };
        let hole = segment.missing();
        drop(segments);
        tracing::error!("{hole}: not served until it is repaired from peers");
        self.0.found.notify_one();
        Some(hole)
    }

    fn place(&self, height: Height) -> Result<Option<Place>, ReadError> {
        let segments = self.lock();
        let at = segments.partition_point(|segment| segment.header.first <= height);
        let Some(segment) = at.checked_sub(1).and_then(|at| segments.get(at)) else {
            return Ok(None);
        };
        let number = segment.header.number;
        let Some(within) = height.0.checked_sub(segment.header.first.0) else {
            return Ok(None);
        };
        if within >= segment.blocks() {
            return Ok(None);
        }
        let (replaced, offsets, holes) = match &segment.content {
            Content::Away { .. } => {
                return Err(ReadError::Away {
                    segment: number,
                    height,
                });
            }
            Content::Missing { .. } => {
                return Err(damaged(number, 0, height, FrameError::Missing).into());
            }
            Content::Here {
                replaced,
                offsets,
                holes,
                ..
            } => (*replaced, offsets, holes),
        };
        let offset = usize::try_from(within).ok().and_then(|at| offsets.get(at));
        let Some(offset) = offset.copied().filter(|offset| *offset != UNREADABLE) else {
            let mut known = holes.iter();
            let hole = known.find(|hole| hole.first <= height && height <= hole.last);
            let (offset, source) = hole.map_or((0, FrameError::Checksum(height)), |hole| {
                (hole.offset, hole.source)
            });
            return Err(damaged(number, offset, height, source).into());
        };
        let version = Version { number, replaced };
        let (magic, path) = (segment.header.magic, segment.path.clone());
        let opened = self.open(&path, version);
        drop(segments);
        let file = match opened {
            Err(error) if error.is_missing() && self.lose(number).is_some() => {
                return Err(damaged(number, 0, height, FrameError::Missing).into());
            }
            opened => opened?,
        };
        Ok(Some(Place {
            version,
            magic,
            path,
            file,
            offset,
        }))
    }

    pub(super) fn lock(&self) -> RwLockReadGuard<'_, Vec<Segment>> {
        let segments = self.0.segments.read();
        segments.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_mut(&self) -> RwLockWriteGuard<'_, Vec<Segment>> {
        let segments = self.0.segments.write();
        segments.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push_segment(&self, segment: Segment) {
        self.lock_mut().push(segment);
    }

    pub(super) fn push_offsets(&self, more: Vec<u32>) {
        if let Some(segment) = self.lock_mut().last_mut()
            && let Content::Here { offsets, .. } = &mut segment.content
        {
            offsets.extend(more);
        }
    }
}

/// The segment that holds a height.
pub(super) fn segment_of(segments: &mut [Segment], height: Height) -> Option<&mut Segment> {
    let at = segments.partition_point(|segment| segment.header.first <= height);
    segments.get_mut(at.checked_sub(1)?)
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
