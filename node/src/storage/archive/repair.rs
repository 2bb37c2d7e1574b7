//! Puts damaged segments in order: a new file with the readable frames of the old one and the blocks that were fetched
//! again takes its place; the old file stays beside it. Where a block was not fetched, what stands there stays a hole: the damaged bytes are copied, but for those behind
//! the last readable frame.
//!
//! The caller has verified the blocks. Appends wait only while the last segment itself is being replaced.

use super::reader::{Content, Hole, ReadError, Reader, Segment};
use super::scan::UNREADABLE;
use super::{Fatal, FileError, SEGMENT_BYTES, Writer, lock, misuse};
use crate::storage::files::{self, DurableFile};
use ledger::frame::{self, FRAME_HEADER_LEN, FrameError, FrameHeader, HEADER_LEN, SegmentHeader};
use ledger::id::Height;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Bytes that are written at once.
const CHUNK: usize = 1 << 20;
/// Bytes that a disk reads or does not read.
const PAGE: usize = 4_096;

/// Replaces damaged segments. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repairer {
    dir: PathBuf,
    reader: Reader,
    writer: Arc<Mutex<Writer>>,
}

/// A segment was not repaired; the old file is where it was.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// A block that should be readable is not.
    #[error("block {height} cannot be copied")]
    Copy {
        /// Its height.
        height: Height,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// There is no room for the new file.
    #[error("no room for the repaired segment")]
    NoRoom(#[source] FileError),
    /// None of its blocks came.
    #[error("no block of segment {0} was fetched")]
    Nothing(u64),
    /// A write failed otherwise: end the process.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// A segment as it was when its repair began.
struct Old {
    header: SegmentHeader,
    path: PathBuf,
    /// None if it is not there; how often it was replaced.
    file: Option<(Arc<File>, u32)>,
    offsets: Vec<u32>,
    /// Blocks behind those, of which nothing is left.
    lost: u64,
    /// Segments behind this one that are not there either; their blocks are among the lost ones.
    behind: u64,
    holes: Vec<Hole>,
}

impl Old {
    /// Where the bytes of a block begin, as far as anything tells: within a run of unreadable ones only of the first.
    fn begins(&self, height: Height, offset: u32) -> Option<u64> {
        if offset != UNREADABLE {
            return Some(offset.into());
        }
        let mut holes = self.holes.iter();
        let hole = holes.find(|hole| hole.first == height && hole.blocks() > 0)?;
        Some(hole.offset)
    }

    /// The hole that a block is in.
    fn run(&self, height: Height) -> Option<&Hole> {
        let mut holes = self.holes.iter();
        holes.find(|hole| hole.first <= height && height <= hole.last)
    }

    /// The damaged bytes from one place on, up to the next block whose place is known. What the disk cannot read is zeros.
    fn wreck(&self, from: u64, above: Height) -> Result<Vec<u8>, FileError> {
        let first = self.header.first;
        let skipped = usize::try_from(above.0.saturating_sub(first.0)).unwrap_or(usize::MAX);
        let heights = (above.0..).map(Height);
        let mut later = heights.zip(self.offsets.iter().skip(skipped));
        let next = later.find_map(|(height, offset)| self.begins(height, *offset));
        let Some((file, _)) = &self.file else {
            return Ok(Vec::new());
        };
        let end = match next {
            Some(next) => next,
            None => files::length(file, &self.path)?,
        };
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(from)).unwrap_or(0)];
        let mut at = from;
        for page in bytes.chunks_mut(PAGE) {
            match files::read_exact_at(file, &self.path, page, at) {
                Err(error) if error.is_unreadable() => page.fill(0),
                read => read?,
            }
            at = at.saturating_add(u64::try_from(page.len()).unwrap_or(u64::MAX));
        }
        Ok(bytes)
    }
}

impl Repairer {
    pub(super) const fn new(dir: PathBuf, reader: Reader, writer: Arc<Mutex<Writer>>) -> Self {
        Self {
            dir,
            reader,
            writer,
        }
    }

    /// What is damaged.
    pub fn holes(&self) -> Vec<Hole> {
        self.reader.holes()
    }

    /// Writes a damaged segment again with these blocks (encoded payloads) in its holes; others stay holes. Gives the old
    /// file's new name. One that is missing is begun with them. Blocking: it reads and writes a whole segment.
    ///
    /// # Errors
    /// [`RepairError`].
    pub fn put_back(
        &self,
        number: u64,
        blocks: &BTreeMap<Height, Vec<u8>>,
    ) -> Result<Option<PathBuf>, RepairError> {
        // Held to the end only if it is the last segment, which grows.
        let mut writer = Some(lock(&self.writer));
        if writer
            .as_ref()
            .is_some_and(|writer| writer.number != number)
        {
            writer = None;
        }
        let old = self.old(number)?;
        let new = self.dir.join(format!(
            "{}{}",
            frame::segment_name(number),
            super::open::UNFINISHED
        ));
        files::remove(&new).map_err(Fatal::from)?;
        let built = build(&old, &self.reader, &new, blocks);
        let built = match built {
            Ok(built) => built,
            Err(error) => {
                files::remove(&new).map_err(Fatal::from)?;
                return Err(error);
            }
        };
        // Nobody opens the file by its name meanwhile.
        let mut segments = self.reader.lock_mut();
        let aside = if old.file.is_some() {
            Some(files::replace(&old.path, &new).map_err(Fatal::from)?)
        } else {
            files::give_name(&new, &old.path).map_err(Fatal::from)?;
            None
        };
        if let Some(writer) = &mut writer {
            writer.file = Some(DurableFile::open(&old.path).map_err(Fatal::from)?);
        }
        if let Some(at) = segments.iter().position(|one| is_number(one, number)) {
            segments.splice(at..=at, built.segments(old));
        }
        self.reader.close(number);
        drop(segments);
        if aside.is_some() {
            forget_old(&self.dir.join(frame::segment_name(number)));
        }
        Ok(aside)
    }

    fn old(&self, number: u64) -> Result<Old, RepairError> {
        let segments = self.reader.lock();
        let found = segments.iter().find(|segment| is_number(segment, number));
        let absent = || misuse(&self.dir, &format!("segment {number} is not here"));
        let segment = found.ok_or_else(absent)?;
        let mut old = Old {
            header: segment.header,
            path: segment.path.clone(),
            file: None,
            offsets: Vec::new(),
            lost: 0,
            behind: 0,
            holes: Vec::new(),
        };
        match &segment.content {
            Content::Here {
                replaced,
                offsets,
                lost,
                holes,
            } => {
                let file = files::open_to_read(&old.path).map_err(|source| RepairError::Copy {
                    height: old.header.first,
                    source: source.into(),
                })?;
                old.file = Some((Arc::new(file), *replaced));
                old.offsets.clone_from(offsets);
                old.lost = *lost;
                old.holes.clone_from(holes);
            }
            Content::Missing { upto, blocks } => {
                old.lost = *blocks;
                old.behind = upto.saturating_sub(number);
            }
            Content::Away { .. } => return Err(absent().into()),
        }
        Ok(old)
    }
}

/// Old files that stay beside their segment; a disk that dies must not fill itself with them.
const KEPT_ASIDE: usize = 3;

/// Removes the oldest of the files that repairs of a segment left behind.
fn forget_old(segment: &Path) {
    match files::forget_asides(segment, KEPT_ASIDE) {
        Ok(removed) => {
            for path in removed {
                tracing::warn!(path = %path.display(), "an older damaged copy of this segment was removed: the newest {KEPT_ASIDE} are kept");
            }
        }
        Err(error) => {
            let error = crate::exit::Chain(&error);
            tracing::warn!(%error, "older damaged copies of a segment could not be removed");
        }
    }
}

const fn is_number(segment: &Segment, number: u64) -> bool {
    segment.header.number == number
}

/// Where the blocks are in a new file, which of them cannot be read, and how many it lacks at its end.
struct Built {
    offsets: Vec<u32>,
    holes: Vec<Hole>,
    lost: u64,
}

impl Built {
    /// What takes the place of the old segment.
    fn segments(self, old: Old) -> Vec<Segment> {
        let Self {
            offsets,
            mut holes,
            lost,
        } = self;
        let header = old.header;
        let next = header
            .first
            .saturating_add(u64::try_from(offsets.len()).unwrap_or(u64::MAX));
        let (lost_here, lost_behind) = if old.behind == 0 {
            (lost, 0)
        } else {
            (0, lost)
        };
        if lost_here > 0 {
            holes.push(Hole {
                segment: header.number,
                offset: u64::try_from(HEADER_LEN).unwrap_or(u64::MAX),
                first: next,
                last: Height(next.0.saturating_add(lost_here).saturating_sub(1)),
                source: FrameError::Header,
            });
        }
        let number = header.number.saturating_add(1);
        let behind = Segment {
            header: SegmentHeader {
                number,
                first: next,
                ..header
            },
            path: files::parent(&old.path).join(frame::segment_name(number)),
            content: Content::Missing {
                upto: header.number.saturating_add(old.behind),
                blocks: lost_behind,
            },
        };
        let written = Segment {
            header,
            path: old.path,
            content: Content::Here {
                replaced: old
                    .file
                    .map_or(0, |(_, replaced)| replaced.saturating_add(1)),
                offsets,
                lost: lost_here,
                holes,
            },
        };
        let mut all = vec![written];
        all.extend((old.behind > 0).then_some(behind));
        all
    }
}

/// Writes the new file; durable, but under its temporary name.
fn build(
    old: &Old,
    reader: &Reader,
    path: &Path,
    blocks: &BTreeMap<Height, Vec<u8>>,
) -> Result<Built, RepairError> {
    let mut new = New {
        old,
        blocks,
        file: DurableFile::create(path, &old.header.encode()).map_err(no_room)?,
        bytes: Vec::new(),
        offsets: Vec::with_capacity(old.offsets.len()),
        holes: Vec::new(),
    };
    let mut height = old.header.first;
    for offset in &old.offsets {
        match source(old, reader, blocks, (height, *offset))? {
            Source::Block(payload, group) => {
                let at = u32::try_from(new.end());
                let at = at.map_err(|_over| misuse(path, "segment is over 4 GiB"))?;
                new.block(at, (height, group), &payload)?;
            }
            Source::Damaged(source) => new.damaged((height, *offset), source)?,
        }
        height = height.saturating_add(1);
    }
    let lost = new.behind(height)?;
    if new.offsets.is_empty() {
        return Err(RepairError::Nothing(old.header.number));
    }
    new.flush()?;
    new.file.sync_data().map_err(full)?;
    Ok(Built {
        offsets: new.offsets,
        holes: new.holes,
        lost,
    })
}

/// The file that takes the place of another, while it is written.
struct New<'a> {
    old: &'a Old,
    /// What is put back.
    blocks: &'a BTreeMap<Height, Vec<u8>>,
    file: DurableFile,
    /// Not written yet.
    bytes: Vec<u8>,
    offsets: Vec<u32>,
    holes: Vec<Hole>,
}

impl New<'_> {
    /// Where the next frame begins.
    fn end(&self) -> u64 {
        let waiting = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        self.file.len().saturating_add(waiting)
    }

    fn flush(&mut self) -> Result<(), RepairError> {
        self.file.append(&self.bytes).map_err(full)?;
        self.bytes.clear();
        Ok(())
    }

    fn block(
        &mut self,
        at: u32,
        (height, group): (Height, Height),
        payload: &[u8],
    ) -> Result<(), RepairError> {
        let magic = self.old.header.magic;
        frame::append(&mut self.bytes, magic, height, group, payload)
            .map_err(|error| misuse(self.file.path(), &error.to_string()))?;
        self.offsets.push(at);
        if self.bytes.len() >= CHUNK {
            self.flush()?;
        }
        Ok(())
    }

    /// A block that cannot be read: what stands there stays.
    fn damaged(
        &mut self,
        (height, offset): (Height, u32),
        source: FrameError,
    ) -> Result<(), RepairError> {
        let begins = self.old.begins(height, offset);
        self.offsets.push(UNREADABLE);
        if begins.is_none()
            && let Some(hole) = self.holes.last_mut()
            && hole.last.next() == Some(height)
        {
            // Its bytes are among those of the one before.
            hole.last = height;
            return Ok(());
        }
        let at = self.end();
        let within = || self.old.run(height).map(|run| run.offset);
        let wreck = match begins.or_else(within) {
            Some(from) => self.old.wreck(from, height.saturating_add(1)),
            None => Ok(Vec::new()),
        };
        let mut wreck = wreck.map_err(|error| RepairError::Copy {
            height,
            source: error.into(),
        })?;
        self.forget_replaced(&mut wreck);
        self.bytes.extend(wreck);
        self.holes.push(Hole {
            segment: self.old.header.number,
            offset: at,
            first: height,
            last: height,
            source,
        });
        Ok(())
    }

    /// A header within damaged bytes whose block is put back must not be taken for it.
    fn forget_replaced(&self, wreck: &mut [u8]) {
        let magic = self.old.header.magic;
        let windows = wreck.windows(FRAME_HEADER_LEN).enumerate();
        let found = windows.filter(|(_, window)| window.starts_with(&magic.0));
        let replaced = found.filter(|(_, window)| {
            let header = FrameHeader::decode(window, magic);
            header.is_ok_and(|header| self.blocks.contains_key(&header.height))
        });
        let places: Vec<usize> = replaced.map(|(at, _)| at).collect();
        for at in places {
            if let Some(byte) = wreck.get_mut(at) {
                *byte = !*byte;
            }
        }
    }

    /// Blocks of which nothing was left, as far as they came without a gap; gives how many did not. Every segment that is
    /// missing behind this one keeps a block at least.
    fn behind(&mut self, mut height: Height) -> Result<u64, RepairError> {
        let (mut lost, behind) = (self.old.lost, self.old.behind);
        while lost > behind
            && let Some(payload) = self.blocks.get(&height)
            && let Ok(at) = u32::try_from(self.end())
            && (behind == 0 || u64::from(at) < SEGMENT_BYTES)
        {
            self.block(at, (height, height), payload)?;
            lost = lost.saturating_sub(1);
            height = height.saturating_add(1);
        }
        Ok(lost)
    }
}

/// What is written for a block.
enum Source {
    /// Its payload, and the group that it is of.
    Block(Vec<u8>, Height),
    /// What stands there: it cannot be read.
    Damaged(FrameError),
}

fn source(
    old: &Old,
    reader: &Reader,
    blocks: &BTreeMap<Height, Vec<u8>>,
    (height, offset): (Height, u32),
) -> Result<Source, RepairError> {
    // A block that was put back is a group of its own.
    if let Some(payload) = blocks.get(&height) {
        return Ok(Source::Block(payload.clone(), height));
    }
    if offset == UNREADABLE {
        let known = old.run(height).map(|hole| hole.source);
        return Ok(Source::Damaged(
            known.unwrap_or(FrameError::Checksum(height)),
        ));
    }
    match reader.read_encoded(height) {
        Ok(Some(payload)) => {
            let group = group_of(old, offset).unwrap_or(height);
            Ok(Source::Block(payload, group))
        }
        // Found to be damaged this moment.
        Err(ReadError::Damaged(damaged)) => Ok(Source::Damaged(damaged.source)),
        Ok(None) => Ok(Source::Damaged(FrameError::Checksum(height))),
        Err(source) => Err(RepairError::Copy { height, source }),
    }
}

fn group_of(old: &Old, offset: u32) -> Option<Height> {
    let mut bytes = [0; FRAME_HEADER_LEN];
    let (file, _) = old.file.as_ref()?;
    files::read_exact_at(file, &old.path, &mut bytes, offset.into()).ok()?;
    Some(FrameHeader::decode(&bytes, old.header.magic).ok()?.group)
}

fn no_room(error: FileError) -> RepairError {
    match error {
        full @ FileError::Full { .. } => RepairError::NoRoom(full),
        other @ FileError::Io { .. } => RepairError::Fatal(other.into()),
    }
}

fn full(fatal: Fatal) -> RepairError {
    match fatal {
        Fatal::File(error) => no_room(error),
        other => RepairError::Fatal(other),
    }
}
