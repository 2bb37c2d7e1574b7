//! Puts damaged segments in order: a new file with the readable frames of the old one and the blocks that were fetched
//! again takes its place; the old file stays beside it.
//!
//! The caller has verified the blocks. Appends wait only while the last segment itself is being replaced.

use super::reader::{Content, Hole, Reader, Segment};
use super::{Fatal, FileError, Writer, lock, misuse};
use crate::storage::files::{self, DurableFile};
use ledger::frame::{self, FRAME_HEADER_LEN, FrameHeader, SegmentHeader};
use ledger::id::Height;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Bytes that are written at once.
const CHUNK: usize = 1 << 20;

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
    /// A block is missing, or another one was found to be damaged meanwhile.
    #[error("block {0} is still missing")]
    Missing(Height),
    /// There is no room for the new file.
    #[error("no room for the repaired segment")]
    NoRoom(#[source] FileError),
    /// A write failed otherwise: end the process.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// A segment as it was when its repair began.
struct Old {
    header: SegmentHeader,
    path: PathBuf,
    file: Arc<File>,
    offsets: Vec<u32>,
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

    /// Writes a damaged segment again with these blocks (encoded payloads) in its holes. Gives the old file's new name.
    /// Blocking: it reads and writes a whole segment.
    ///
    /// # Errors
    /// [`RepairError`].
    pub fn put_back(
        &self,
        number: u64,
        blocks: &BTreeMap<Height, Vec<u8>>,
    ) -> Result<PathBuf, RepairError> {
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
        let offsets = match built {
            Ok(offsets) => offsets,
            Err(error) => {
                files::remove(&new).map_err(Fatal::from)?;
                return Err(error);
            }
        };
        let aside = files::replace(&old.path, &new).map_err(Fatal::from)?;
        let file = DurableFile::open(&old.path).map_err(Fatal::from)?;
        let reading = Arc::new(file.reader().map_err(Fatal::from)?);
        let mut segments = self.reader.lock_mut();
        if let Some(segment) = segments.iter_mut().find(|one| is_number(one, number)) {
            segment.header = old.header;
            segment.content = Content::Here {
                file: reading,
                offsets,
                holes: Vec::new(),
            };
        }
        drop(segments);
        if let Some(writer) = &mut writer {
            writer.file = Some(file);
        }
        Ok(aside)
    }

    fn old(&self, number: u64) -> Result<Old, RepairError> {
        let segments = self.reader.lock();
        let found = segments.iter().find(|segment| is_number(segment, number));
        match found.map(|segment| (segment, &segment.content)) {
            Some((segment, Content::Here { file, offsets, .. })) => Ok(Old {
                header: segment.header,
                path: segment.path.clone(),
                file: Arc::clone(file),
                offsets: offsets.clone(),
            }),
            Some((_, Content::Away { .. })) | None => {
                Err(misuse(&self.dir, &format!("segment {number} is not here")).into())
            }
        }
    }
}

const fn is_number(segment: &Segment, number: u64) -> bool {
    segment.header.number == number
}

/// Writes the new file; durable, but under its temporary name.
fn build(
    old: &Old,
    reader: &Reader,
    new: &Path,
    blocks: &BTreeMap<Height, Vec<u8>>,
) -> Result<Vec<u32>, RepairError> {
    let mut file = DurableFile::create(new, &old.header.encode()).map_err(no_room)?;
    let mut offsets = Vec::with_capacity(old.offsets.len());
    let mut bytes = Vec::new();
    let mut height = old.header.first;
    for offset in &old.offsets {
        let at = file
            .len()
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let at = u32::try_from(at).map_err(|_over| misuse(new, "segment is over 4 GiB"))?;
        offsets.push(at);
        // A block that was put back is a group of its own.
        let (payload, group) = match blocks.get(&height) {
            Some(payload) => (payload.clone(), height),
            None => {
                let payload = reader.read_encoded(height).ok().flatten();
                let payload = payload.ok_or(RepairError::Missing(height))?;
                (payload, group_of(old, *offset).unwrap_or(height))
            }
        };
        frame::append(&mut bytes, old.header.magic, height, group, &payload)
            .map_err(|error| misuse(new, &error.to_string()))?;
        if bytes.len() >= CHUNK {
            file.append(&bytes).map_err(full)?;
            bytes.clear();
        }
        height = height.saturating_add(1);
    }
    file.append(&bytes).map_err(full)?;
    file.sync_data().map_err(full)?;
    Ok(offsets)
}

fn group_of(old: &Old, offset: u32) -> Option<Height> {
    let mut bytes = [0; FRAME_HEADER_LEN];
    files::read_exact_at(&old.file, &old.path, &mut bytes, offset.into()).ok()?;
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
