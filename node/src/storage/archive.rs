//! The block archive: the truth. Append-only segment files of checksummed frames, one `fdatasync` per
//! group of finalized blocks (design.md, section 6; bytes: [`ledger::frame`]).
//!
//! One [`Archive`] writes; any number of [`Reader`]s read by height; a [`Repairer`] replaces segments. At open the
//! offset table is rebuilt by walking the frame headers and the last segment is checked frame by frame. What had been
//! synced and cannot be read is a [`Hole`]: the archive goes on without it, names it, and never serves it. Blocks are
//! bytes here: whether they are valid is not this module's matter.

mod open;
mod reader;
mod repair;
mod scan;

pub use reader::{Away, Hole, Part, ReadError, Reader, Stand};
pub use repair::{RepairError, Repairer};

use super::Fatal;
use super::files::{self, DurableFile, FileError};
use ledger::frame::{self, FrameError, Magic, SegmentHeader, segment_name};
use ledger::hash::ChainId;
use ledger::id::Height;
use reader::{Content, Segment};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A segment is closed once it is this long, in bytes, if the configuration does not say otherwise.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Most bytes that one sync covers; a longer group is synced in parts.
const GROUP_BYTES: usize = 64 << 20;

/// The only writer of an archive directory.
#[derive(Debug)]
pub struct Archive {
    dir: PathBuf,
    chain: ChainId,
    segment_bytes: u64,
    reader: Reader,
    /// Shared with the repairer, which replaces the last segment only while nothing is appended.
    writer: Arc<Mutex<Writer>>,
    tail: Option<Tail>,
    cut_bytes: u64,
}

#[derive(Debug)]
struct Writer {
    /// The last segment; none before the first block.
    file: Option<DurableFile>,
    next: Height,
    /// Number of the last segment.
    number: u64,
}

/// Bad bytes at the end of the last segment: a torn write, or damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Number of the segment.
    pub segment: u64,
    /// Where they begin; 0 if nothing of the segment can be read.
    pub offset: u64,
    /// Height of the block that begins there.
    pub height: Height,
    /// How many there are.
    pub bytes: u64,
    /// What is wrong with them.
    pub source: FrameError,
    /// The archive itself shows that they had been synced.
    pub was_synced: bool,
}

/// What the bytes at the end are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The last write, which nobody was told of: it is cut off.
    Torn,
    /// Blocks that had been archived: the bytes are kept aside, and the blocks have to be fetched again.
    Damaged,
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
    /// A segment is missing.
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

impl Archive {
    /// Opens (and makes) the archive of `chain`. The caller holds the data directory's lock, and knows of nothing else
    /// on the disk that would tell a torn end from a damaged one.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is changed on disk but the end.
    pub fn open(dir: &Path, chain: ChainId) -> Result<Self, OpenError> {
        let mut archive = Self::open_with(dir, chain, SEGMENT_BYTES)?;
        let was_synced = archive.tail().is_some_and(|tail| tail.was_synced);
        archive.settle(if was_synced {
            Ending::Damaged
        } else {
            Ending::Torn
        })?;
        Ok(archive)
    }

    /// As [`Archive::open`], with another segment length in bytes (at most 2 GiB), and with the judgement about bad
    /// bytes at the end left to the caller: nothing is appended before [`Archive::settle`].
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open_with(dir: &Path, chain: ChainId, segment_bytes: u64) -> Result<Self, OpenError> {
        Self::open_without(dir, chain, segment_bytes, 0)
    }

    /// As [`Archive::open_with`]; the oldest segments, up to this number, were moved away by the operator. Whatever else is
    /// missing is damage.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open_without(
        dir: &Path,
        chain: ChainId,
        segment_bytes: u64,
        moved_away: u64,
    ) -> Result<Self, OpenError> {
        open::open(dir, chain, segment_bytes.min(2 << 30), moved_away)
    }

    /// Bad bytes at the end, until they are settled.
    pub const fn tail(&self) -> Option<&Tail> {
        self.tail.as_ref()
    }

    /// Cuts the bad bytes at the end off; damaged ones are kept in a file beside the segment, which is returned.
    ///
    /// # Errors
    /// [`Fatal`]: end the process.
    pub fn settle(&mut self, ending: Ending) -> Result<Option<PathBuf>, Fatal> {
        let Some(tail) = self.tail.take() else {
            return Ok(None);
        };
        let path = self.dir.join(segment_name(tail.segment));
        let kept = match ending {
            Ending::Torn => None,
            Ending::Damaged => Some(keep_tail(&path, &tail)?),
        };
        self.cut_bytes = tail.bytes;
        if tail.offset == 0 {
            files::remove(&path)?;
        } else if let Some(file) = &mut lock(&self.writer).file {
            file.truncate(tail.offset)?;
        }
        Ok(kept)
    }

    /// Appends blocks that follow each other, each as an encoded [`ledger::frame::Payload`]; all are durable on return.
    ///
    /// # Errors
    /// [`Fatal`]: end the process.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "there is one writer: groups are not appended side by side"
    )]
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
    pub fn next_height(&self) -> Height {
        lock(&self.writer).next
    }

    /// Bytes at the end that were cut off.
    pub const fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    /// A reader of all that was and will be appended.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// What puts damaged segments in order, beside the writer.
    pub fn repairer(&self) -> Repairer {
        Repairer::new(
            self.dir.clone(),
            self.reader.clone(),
            Arc::clone(&self.writer),
        )
    }

    /// Writes and syncs one group into one segment.
    fn append_synced<P: AsRef<[u8]>>(&self, payloads: &[P]) -> Result<(), Fatal> {
        if self.tail.is_some() {
            return Err(misuse(&self.dir, "the end is not settled"));
        }
        let mut writer = lock(&self.writer);
        let full = |file: &DurableFile| file.len() >= self.segment_bytes;
        if writer.file.as_ref().is_none_or(full) {
            self.roll_over(&mut writer)?;
        }
        let Writer { file, next, .. } = &mut *writer;
        let Some(file) = file else {
            return Err(misuse(&self.dir, "no open segment"));
        };
        let magic = self.last_magic();
        let group = *next;
        let mut height = *next;
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
        *next = height;
        Ok(())
    }

    fn roll_over(&self, writer: &mut Writer) -> Result<(), Fatal> {
        let header = SegmentHeader {
            chain: self.chain,
            magic: Magic(files::random()?),
            number: writer.number.saturating_add(1),
            first: writer.next,
        };
        let path = self.dir.join(segment_name(header.number));
        let file = DurableFile::create(&path, &header.encode())?;
        self.reader.push_segment(Segment {
            header,
            path,
            content: Content::Here {
                replaced: 0,
                offsets: Vec::new(),
                lost: 0,
                holes: Vec::new(),
            },
        });
        writer.number = header.number;
        writer.file = Some(file);
        Ok(())
    }

    fn last_magic(&self) -> Magic {
        let segments = self.reader.lock();
        let last = segments.last();
        last.map_or(Magic([0; 16]), |segment| segment.header.magic)
    }
}

/// Copies the bad end of a segment into a file of its own, durable on return.
fn keep_tail(path: &Path, tail: &Tail) -> Result<PathBuf, Fatal> {
    let bytes = files::read(path)?;
    let at = usize::try_from(tail.offset).unwrap_or(usize::MAX);
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".at-{}.damaged-{number}", tail.offset));
        PathBuf::from(name)
    };
    let mut numbers = 1_u32..;
    let free = numbers.find(|number| !name(*number).exists());
    let aside = name(free.unwrap_or(u32::MAX));
    DurableFile::create(&aside, bytes.get(at..).unwrap_or_default())?;
    Ok(aside)
}

fn lock(writer: &Mutex<Writer>) -> MutexGuard<'_, Writer> {
    writer.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
