//! Segments of a block archive as files: of a node's directory, or of a folder they were exported to.
//!
//! They are read one at a time and believed only as far as their checksums go. The node may be running: what it is
//! just writing looks like a torn tail.

use ledger::codec::DecodeError;
use ledger::frame::{
    FrameError, HEADER_LEN, Payload, SegmentHeader, parse, segment_number, shows_later_group,
};
use ledger::hash::{ChainId, sha256};
use ledger::id::Height;
use ledger::restart::{MAX_RESTART_LEN, RestartFile};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Longest segment that is read, in bytes: what offsets of 32 bits reach.
const MAX_SEGMENT: usize = u32::MAX as usize;
/// Longest manifest or configuration that is read, in bytes.
const MAX_SMALL: usize = 16 << 20;
/// Names the files of an export with their lengths and hashes.
pub const MANIFEST: &str = "manifest.json";
/// Begins the name of a restart file; the epoch that it opens follows.
const RESTART: &str = "restart-";
/// The newest checkpoint that a node kept, in its data folder.
const NOTE: &str = "checkpoint";

/// An archive's files.
#[derive(Debug)]
pub struct Archive {
    segments: Vec<File>,
    last: u64,
    /// Newest checkpoint that the node kept, as text.
    pub note: Option<String>,
    /// Restart files, in the order of the epochs that they open.
    pub restarts: Vec<RestartFile>,
}

#[derive(Debug)]
struct File {
    number: u64,
    path: PathBuf,
    length: u64,
    /// What the manifest says it holds.
    listed: Option<Listed>,
}

#[derive(Clone, Debug, Deserialize)]
struct Listed {
    file: String,
    length: u64,
    sha256: String,
}

#[derive(Deserialize)]
struct Manifest {
    files: Vec<Listed>,
}

/// The files cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system says no.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A restart file is none.
    #[error("{} is no restart file", path.display())]
    Restart {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// There is nothing to audit.
    #[error("{} holds no segment of an archive", .0.display())]
    Nothing(PathBuf),
    /// The manifest is none.
    #[error("{} is no manifest of an export", path.display())]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// What is wrong with a segment's bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentFault {
    /// A segment between others, or before the first, is not there.
    #[error("the segment is missing")]
    Missing,
    /// It is another chain's.
    #[error("the segment belongs to chain {0}")]
    OtherChain(ChainId),
    /// Its header names another segment or block.
    #[error("its header says segment {number} from block {first} on")]
    Misplaced {
        /// Number in the header.
        number: u64,
        /// First height in the header.
        first: Height,
    },
    /// A frame names another block.
    #[error("a frame of block {0} stands in its place")]
    OtherBlock(Height),
    /// A frame or the header is damaged.
    #[error("damaged at byte {offset}: {source}")]
    Damaged {
        /// Where in the file.
        offset: usize,
        /// What is wrong there.
        #[source]
        source: FrameError,
    },
    /// The manifest says something else.
    #[error("the file is not the one in the manifest")]
    Manifest,
}

/// What stands behind the last whole frame of the last segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Number of the segment.
    pub segment: u64,
    /// Where the tail begins.
    pub offset: usize,
    /// How long it is, in bytes.
    pub bytes: usize,
}

/// One segment in memory.
#[derive(Debug)]
pub struct Segment {
    number: u64,
    bytes: Vec<u8>,
    last: bool,
    header: SegmentHeader,
    at: usize,
}

/// What a segment gives next.
#[derive(Debug)]
pub enum Next {
    /// The block of the asked height, the height with which its group begins, and its length in the file.
    Frame(Box<Payload>, Height, usize),
    /// The end of the segment.
    End,
    /// A tail that no later write followed.
    Torn(Torn),
}

impl Archive {
    /// Finds the segments below a node's directory, in its data folder, or in a folder of exported segments.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let places = [configured(folder), folder.join("archive"), folder.into()];
        let found = places.iter().find(|place| holds_segments(place));
        let place = found.ok_or_else(|| OpenError::Nothing(folder.into()))?;
        // Read before the segments: of a running node these then go at least as far.
        let note = place.parent().filter(|_| place.ends_with("archive"));
        let note = note.and_then(|data| fs::read_to_string(data.join(NOTE)).ok());
        let listed = manifest(place)?;
        let mut segments = Vec::new();
        let mut restarts = Vec::new();
        for entry in fs::read_dir(place).map_err(unreadable(place))? {
            let path = entry.map_err(unreadable(place))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Some(number) = segment_number(&name) else {
                if name.starts_with(RESTART) {
                    restarts.push((name.into_owned(), restart_file(&path)?));
                }
                continue;
            };
            let listed = listed.get(&*name).cloned();
            let length = fs::metadata(&path).map_err(unreadable(&path))?.len();
            segments.push(File {
                number,
                path,
                length,
                listed,
            });
        }
        let numbers = segments.iter().map(|file| file.number);
        // A listed segment that is not there is missing, also at the end.
        let last = numbers.chain(listed.keys().filter_map(|name| segment_number(name)));
        // Names sort as their epochs.
        restarts.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Self {
            restarts: restarts.into_iter().map(|(_, file)| file).collect(),
            last: last.max().unwrap_or(0),
            segments,
            note,
        })
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|file| file.length).sum()
    }

    /// Number of the last segment.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Reads the segment of a number; its first block must be `first`.
    ///
    /// # Errors
    /// [`OpenError`] if it cannot be read; inside, what is wrong with it.
    pub fn read(
        &self,
        number: u64,
        chain: ChainId,
        first: Height,
    ) -> Result<Result<Segment, SegmentFault>, OpenError> {
        let Some(file) = self.segments.iter().find(|file| file.number == number) else {
            return Ok(Err(SegmentFault::Missing));
        };
        let bytes = genesis::files::read_bounded(&file.path, MAX_SEGMENT);
        let bytes = bytes.map_err(unreadable(&file.path))?;
        if let Some(listed) = &file.listed
            && (listed.length != bytes.len() as u64
                || listed.sha256 != sha256(&[&bytes]).to_string())
        {
            // The frame that is wrong says more than the file; only if all are whole is it the manifest's word.
            let found = Segment::new(number, bytes, false, chain, first);
            return Ok(Err(match found {
                Ok(segment) => segment.first_fault(first).unwrap_or(SegmentFault::Manifest),
                Err(fault) => fault,
            }));
        }
        // What an export lists is complete: nothing is torn there.
        let last = number == self.last() && file.listed.is_none();
        Ok(Segment::new(number, bytes, last, chain, first))
    }
}

impl Segment {
    fn new(
        number: u64,
        bytes: Vec<u8>,
        last: bool,
        chain: ChainId,
        first: Height,
    ) -> Result<Self, SegmentFault> {
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) => header,
            // A crash while it was made: it never had a frame. Its own header stands for the missing one.
            Err(_) if last && bytes.len() <= HEADER_LEN => SegmentHeader {
                chain,
                magic: ledger::frame::Magic([0; 16]),
                number,
                first,
            },
            Err(source) => return Err(SegmentFault::Damaged { offset: 0, source }),
        };
        if header.chain != chain {
            return Err(SegmentFault::OtherChain(header.chain));
        }
        if header.number != number || header.first != first {
            let (number, first) = (header.number, header.first);
            return Err(SegmentFault::Misplaced { number, first });
        }
        Ok(Self {
            number,
            at: HEADER_LEN.min(bytes.len()),
            bytes,
            last,
            header,
        })
    }

    /// The frame of this height, which comes next.
    ///
    /// # Errors
    /// [`SegmentFault`].
    pub fn next(&mut self, height: Height) -> Result<Next, SegmentFault> {
        let offset = self.at;
        let rest = self.bytes.get(offset..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(if self.at < HEADER_LEN {
                self.torn(0)
            } else {
                Next::End
            });
        }
        let source = match parse(rest, self.header.magic) {
            Ok((frame, _)) if frame.height != height => {
                return Err(SegmentFault::OtherBlock(frame.height));
            }
            Ok((frame, place)) => {
                let length = frame.frame_len();
                let payload = Payload::decode(rest.get(place).unwrap_or_default());
                let payload = payload.map_err(|source| SegmentFault::Damaged { offset, source })?;
                self.at += length;
                return Ok(Next::Frame(Box::new(payload), frame.group, length));
            }
            Err(source) => source,
        };
        let behind = rest.get(1..).unwrap_or_default();
        if self.last && !shows_later_group(behind, self.header.magic, height) {
            return Ok(self.torn(offset));
        }
        Err(SegmentFault::Damaged { offset, source })
    }

    const fn torn(&self, offset: usize) -> Next {
        Next::Torn(Torn {
            segment: self.number,
            offset,
            bytes: self.bytes.len() - offset,
        })
    }

    fn first_fault(mut self, mut height: Height) -> Option<SegmentFault> {
        loop {
            match self.next(height) {
                Ok(Next::Frame(..)) => height = height.saturating_add(1),
                Ok(Next::End | Next::Torn(_)) => return None,
                Err(fault) => return Some(fault),
            }
        }
    }
}

/// Where a node's configuration says that its archive is.
fn configured(folder: &Path) -> PathBuf {
    let text = genesis::files::read_bounded(&folder.join("node.toml"), MAX_SMALL).ok();
    let table: Option<toml::Table> = text.and_then(|text| toml::from_slice(&text).ok());
    let data =
        table.and_then(|table| Some(table.get("storage")?.get("data")?.as_str()?.to_owned()));
    folder
        .join(data.as_deref().unwrap_or("data"))
        .join("archive")
}

fn holds_segments(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| segment_number(&entry.file_name().to_string_lossy()).is_some())
    })
}

fn restart_file(path: &Path) -> Result<RestartFile, OpenError> {
    let read = genesis::files::read_bounded(path, MAX_RESTART_LEN);
    let bytes = read.map_err(unreadable(path))?;
    RestartFile::decode(&bytes).map_err(|source| OpenError::Restart {
        path: path.into(),
        source,
    })
}

fn manifest(folder: &Path) -> Result<BTreeMap<String, Listed>, OpenError> {
    let path = folder.join(MANIFEST);
    let bytes = match genesis::files::read_bounded(&path, MAX_SMALL) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(OpenError::Read { path, source }),
    };
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|source| OpenError::Manifest { path, source })?;
    let files = manifest.files.into_iter();
    Ok(files.map(|listed| (listed.file.clone(), listed)).collect())
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_path_buf();
    move |source| OpenError::Read {
        path: path.clone(),
        source,
    }
}
