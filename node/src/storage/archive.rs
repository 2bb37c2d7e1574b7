//! The block archive: the truth. Append-only segment files of checksummed frames, one `fdatasync` per
//! group of finalized blocks (design.md, section 6; bytes: [`ledger::frame`]).
//!
//! One [`Archive`] writes; any number of [`Reader`]s read by height. At open the offset table is rebuilt
//! by walking the frame headers; the last segment is checked frame by frame and a torn tail is cut off,
//! if nothing behind it was synced. Anything else that is wrong is [`Damaged`], with the place. Blocks
//! are bytes here: whether they are valid is not this module's matter.

use super::Fatal;
use super::files::{self, DurableFile, FileError};
use ledger::frame::{
    self, FRAME_HEADER_LEN, FrameError, FrameHeader, HEADER_LEN, Magic, Payload, SegmentHeader,
    segment_name, segment_number,
};
use ledger::hash::ChainId;
use ledger::id::Height;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// A segment is closed once it is this long, in bytes.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Most bytes that one sync covers; a longer group is synced in parts.
const GROUP_BYTES: usize = 64 << 20;

/// The only writer of an archive directory.
#[derive(Debug)]
pub struct Archive {
    dir: PathBuf,
    chain: ChainId,
    /// The last segment; none before the first block.
    file: Option<DurableFile>,
    next: Height,
    segment_bytes: u64,
    reader: Reader,
    cut_bytes: u64,
}

/// Reads blocks by height, beside the writer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader(Arc<RwLock<Vec<Segment>>>);

/// One segment: 4 bytes of memory per block.
#[derive(Debug)]
struct Segment {
    header: SegmentHeader,
    path: PathBuf,
    file: Arc<File>,
    offsets: Vec<u32>,
}

/// Where a frame lies.
#[derive(Debug)]
struct Place {
    number: u64,
    magic: Magic,
    path: PathBuf,
    file: Arc<File>,
    offset: u32,
}

/// A frame that had been synced cannot be read: the disk or a hand changed it. It is never served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("archive segment {segment} is damaged at byte {offset}, block {height}")]
pub struct Damaged {
    /// Number of the segment, as in its file's name.
    pub segment: u64,
    /// Where the frame begins, in bytes.
    pub offset: u64,
    /// Height of the block that should be there.
    pub height: Height,
    /// What is wrong with it.
    #[source]
    pub source: FrameError,
}

/// An archive cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It holds another chain.
    #[error("archive {path} holds chain {found}, not {expected}")]
    OtherChain {
        /// Its directory.
        path: PathBuf,
        /// Chain in its segment header.
        found: ChainId,
        /// Chain of the genesis.
        expected: ChainId,
    },
    /// A segment is missing between two others.
    #[error("archive {path} has no segment {number}")]
    Gap {
        /// Its directory.
        path: PathBuf,
        /// Number of the missing segment.
        number: u64,
    },
    /// Something synced is damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// Cutting off the torn tail failed.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// The file system says no.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A block cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its frame is damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The file system says no.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Archive {
    /// Opens (and makes) the archive of `chain`. The caller holds the data directory's lock.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is changed on disk but a torn tail.
    pub fn open(dir: &Path, chain: ChainId) -> Result<Self, OpenError> {
        Self::open_with(dir, chain, SEGMENT_BYTES)
    }

    /// As [`Archive::open`], with another segment length in bytes (at most 2 GiB).
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open_with(dir: &Path, chain: ChainId, segment_bytes: u64) -> Result<Self, OpenError> {
        files::create_dir(dir)?;
        let names = files::list(dir)?;
        let numbers: Vec<u64> = names
            .iter()
            .filter_map(|name| segment_number(name))
            .collect();
        let mut archive = Self {
            dir: dir.into(),
            chain,
            file: None,
            next: Height(1),
            segment_bytes: segment_bytes.min(2 << 30),
            reader: Reader(Arc::new(RwLock::new(Vec::new()))),
            cut_bytes: 0,
        };
        for (at, number) in (1_u64..).zip(&numbers) {
            if at != *number {
                return Err(OpenError::Gap {
                    path: dir.into(),
                    number: at,
                });
            }
            if numbers.last() == Some(number) {
                archive.open_last(*number)?;
            } else {
                archive.open_sealed(*number)?;
            }
        }
        Ok(archive)
    }

    /// Appends blocks that follow each other, each as an encoded [`Payload`]; all are durable on return.
    ///
    /// # Errors
    /// [`Fatal`]: end the process.
    pub fn append_group<P: AsRef<[u8]>>(&mut self, payloads: &[P]) -> Result<(), Fatal> {
        let mut rest = payloads;
        while !rest.is_empty() {
            let mut bytes = 0_usize;
            let fits = rest.iter().take_while(|payload| {
                let first = bytes == 0;
                bytes = bytes.saturating_add(payload.as_ref().len());
                first || bytes <= GROUP_BYTES
            });
            let (group, later) = rest.split_at(fits.count());
            self.append_synced(group)?;
            rest = later;
        }
        Ok(())
    }

    /// Height of the next block to append; 1 for an empty archive.
    pub const fn next_height(&self) -> Height {
        self.next
    }

    /// Bytes of a torn tail that were cut off at open.
    pub const fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    /// A reader of all that was and will be appended.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Writes and syncs one group into one segment.
    fn append_synced<P: AsRef<[u8]>>(&mut self, payloads: &[P]) -> Result<(), Fatal> {
        if self
            .file
            .as_ref()
            .is_none_or(|file| file.len() >= self.segment_bytes)
        {
            self.roll_over()?;
        }
        let Some(file) = &mut self.file else {
            return Err(misuse(&self.dir, "no open segment"));
        };
        let magic = self.reader.last_magic();
        let group = self.next;
        let mut height = self.next;
        let mut bytes = Vec::new();
        let mut offsets = Vec::new();
        for payload in payloads {
            let at = file
                .len()
                .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            offsets.push(
                u32::try_from(at).map_err(|_over| misuse(&self.dir, "segment is over 4 GiB"))?,
            );
            frame::append(&mut bytes, magic, height, group, payload.as_ref())
                .map_err(|error| misuse(&self.dir, &error.to_string()))?;
            height = height
                .next()
                .ok_or_else(|| misuse(&self.dir, "last height reached"))?;
        }
        file.append(&bytes)?;
        file.sync_data()?;
        // Only what is durable can be read.
        self.reader.push_offsets(offsets);
        self.next = height;
        Ok(())
    }

    fn roll_over(&mut self) -> Result<(), Fatal> {
        let header = SegmentHeader {
            chain: self.chain,
            magic: Magic(files::random()?),
            number: self.reader.segment_count().saturating_add(1),
            first: self.next,
        };
        let path = self.dir.join(segment_name(header.number));
        let file = DurableFile::create(&path, &header.encode())?;
        self.reader.push_segment(Segment {
            header,
            path,
            file: Arc::new(file.reader()?),
            offsets: Vec::new(),
        });
        self.file = Some(file);
        Ok(())
    }

    fn check_header(&self, header: SegmentHeader, number: u64) -> Result<(), OpenError> {
        if header.chain != self.chain {
            return Err(OpenError::OtherChain {
                path: self.dir.clone(),
                found: header.chain,
                expected: self.chain,
            });
        }
        if header.number != number || header.first != self.next {
            return Err(damaged(number, 0, self.next, FrameError::SegmentHeader).into());
        }
        Ok(())
    }

    /// A segment with another behind it: every frame in it was synced. Walks its headers.
    fn open_sealed(&mut self, number: u64) -> Result<(), OpenError> {
        let path = self.dir.join(segment_name(number));
        let file = DurableFile::open(&path)?;
        let mut start = [0; HEADER_LEN];
        let header = file
            .read_exact_at(&mut start, 0)
            .ok()
            .and_then(|()| SegmentHeader::decode(&start).ok())
            .ok_or_else(|| damaged(number, 0, self.next, FrameError::SegmentHeader))?;
        self.check_header(header, number)?;
        let mut offsets = Vec::new();
        let mut at = as_u64(HEADER_LEN);
        while at < file.len() {
            let bad = |source| damaged(number, at, self.next, source);
            let mut bytes = [0; FRAME_HEADER_LEN];
            let fits = file.len().saturating_sub(at) >= as_u64(FRAME_HEADER_LEN);
            if !fits {
                return Err(bad(FrameError::Header).into());
            }
            file.read_exact_at(&mut bytes, at)?;
            let frame = FrameHeader::decode(&bytes, header.magic).map_err(bad)?;
            let end = at.saturating_add(as_u64(frame.frame_len()));
            if frame.height != self.next || end > file.len() {
                return Err(bad(FrameError::Header).into());
            }
            offsets.push(u32::try_from(at).map_err(|_over| bad(FrameError::Header))?);
            self.next = self.next.saturating_add(1);
            at = end;
        }
        self.reader.push_segment(Segment {
            header,
            path,
            file: Arc::new(file.reader()?),
            offsets,
        });
        Ok(())
    }

    /// The last segment: checks every frame and cuts a tail that was never acknowledged.
    fn open_last(&mut self, number: u64) -> Result<(), OpenError> {
        let path = self.dir.join(segment_name(number));
        let bytes = files::read(&path)?;
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) => header,
            // Frames are written only after the header was synced: this file never had any.
            Err(_) if bytes.len() <= HEADER_LEN => {
                self.cut_bytes = as_u64(bytes.len());
                files::remove(&path)?;
                return self.reopen_end();
            }
            Err(source) => return Err(damaged(number, 0, self.next, source).into()),
        };
        self.check_header(header, number)?;
        let mut file = DurableFile::open(&path)?;
        let mut offsets = Vec::new();
        let mut at = HEADER_LEN;
        while at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            let source = match frame::parse(rest, header.magic) {
                Ok((frame, _)) if frame.height == self.next => {
                    offsets.push(u32::try_from(at).unwrap_or(u32::MAX));
                    self.next = self.next.saturating_add(1);
                    at = at.saturating_add(frame.frame_len());
                    continue;
                }
                Ok(_) => FrameError::Header,
                Err(source) => source,
            };
            let behind = rest.get(1..).unwrap_or_default();
            if frame::shows_later_group(behind, header.magic, self.next) {
                return Err(damaged(number, as_u64(at), self.next, source).into());
            }
            self.cut_bytes = as_u64(rest.len());
            file.truncate(as_u64(at))?;
            break;
        }
        self.reader.push_segment(Segment {
            header,
            path,
            file: Arc::new(file.reader()?),
            offsets,
        });
        self.file = Some(file);
        Ok(())
    }

    /// Goes on in the segment before one that was removed.
    fn reopen_end(&mut self) -> Result<(), OpenError> {
        let path = match self.reader.lock().last() {
            Some(segment) => segment.path.clone(),
            None => return Ok(()),
        };
        self.file = Some(DurableFile::open(&path)?);
        Ok(())
    }
}

impl Reader {
    /// The block of a height with its finalization; `None` above the last.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] if the frame is not what was written; it is then not served.
    pub fn read(&self, height: Height) -> Result<Option<Payload>, ReadError> {
        let Some((place, bytes)) = self.fetch(height)? else {
            return Ok(None);
        };
        let payload = Payload::decode(&bytes)
            .map_err(|source| damaged(place.number, place.offset.into(), height, source))?;
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
        segments.iter().rev().find_map(|segment| {
            let count = as_u64(segment.offsets.len());
            let above = segment.header.first.saturating_add(count).prev()?;
            (count > 0).then_some(above)
        })
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

    fn fetch(&self, height: Height) -> Result<Option<(Place, Vec<u8>)>, ReadError> {
        let Some(place) = self.place(height) else {
            return Ok(None);
        };
        let bad = |source| damaged(place.number, place.offset.into(), height, source);
        let mut start = [0; FRAME_HEADER_LEN];
        files::read_exact_at(&place.file, &place.path, &mut start, place.offset.into())?;
        let header = FrameHeader::decode(&start, place.magic).map_err(bad)?;
        if header.height != height {
            return Err(bad(FrameError::Header).into());
        }
        let mut bytes = vec![0; header.frame_len()];
        let read = files::read_exact_at(&place.file, &place.path, &mut bytes, place.offset.into());
        if read.is_err() {
            return Err(bad(FrameError::Checksum(height)).into());
        }
        let (_, range) = frame::parse(&bytes, place.magic).map_err(bad)?;
        bytes.truncate(range.end);
        bytes.drain(..range.start);
        Ok(Some((place, bytes)))
    }

    fn place(&self, height: Height) -> Option<Place> {
        let segments = self.lock();
        let at = segments
            .partition_point(|segment| segment.header.first <= height)
            .checked_sub(1)?;
        let segment = segments.get(at)?;
        let within = height.0.checked_sub(segment.header.first.0)?;
        let offset = *segment.offsets.get(usize::try_from(within).ok()?)?;
        Some(Place {
            number: segment.header.number,
            magic: segment.header.magic,
            path: segment.path.clone(),
            file: Arc::clone(&segment.file),
            offset,
        })
    }

    fn lock(&self) -> std::sync::RwLockReadGuard<'_, Vec<Segment>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_mut(&self) -> std::sync::RwLockWriteGuard<'_, Vec<Segment>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_segment(&self, segment: Segment) {
        self.lock_mut().push(segment);
    }

    fn push_offsets(&self, offsets: Vec<u32>) {
        if let Some(segment) = self.lock_mut().last_mut() {
            segment.offsets.extend(offsets);
        }
    }

    fn last_magic(&self) -> Magic {
        self.lock()
            .last()
            .map_or(Magic([0; 16]), |segment| segment.header.magic)
    }

    fn segment_count(&self) -> u64 {
        as_u64(self.lock().len())
    }
}

const fn damaged(segment: u64, offset: u64, height: Height, source: FrameError) -> Damaged {
    Damaged {
        segment,
        offset,
        height,
        source,
    }
}

fn misuse(dir: &Path, what: &str) -> Fatal {
    Fatal::Misuse {
        path: dir.into(),
        what: what.into(),
    }
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
