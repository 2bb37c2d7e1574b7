//! Segments of a block archive as files: of a node's directory, or of a folder they were exported to.
//!
//! They are read one at a time and believed only as far as their checksums go. The node may be running: what it is
//! just writing looks like a torn tail.

use ledger::codec::DecodeError;
use ledger::frame::{
    FrameError, HEADER_LEN, Payload, SegmentHeader, parse, segment_number, shows_later_group,
};
use ledger::hash::{ChainId, sha256};
use ledger::id::{Epoch, Height};
use ledger::restart::{MAX_RESTART_LEN, RestartFile, epoch_in};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Longest segment that is read, in bytes: what offsets of 32 bits reach.
const MAX_SEGMENT: usize = u32::MAX as usize;
/// Longest manifest or configuration that is read, in bytes.
const MAX_SMALL: usize = 16 << 20;
/// Names the files of an export with their lengths and hashes.
pub const MANIFEST: &str = "manifest.json";
/// The newest checkpoint that a node kept, in its data folder.
const NOTE: &str = "checkpoint";

/// An archive's files.
#[derive(Debug)]
pub struct Archive {
    place: PathBuf,
    manifest: Option<Manifest>,
    segments: Vec<File>,
    last: u64,
    /// Newest checkpoint that the node kept, as text.
    pub note: Option<String>,
}

#[derive(Debug)]
struct File {
    number: u64,
    path: PathBuf,
    length: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Listed {
    file: String,
    length: u64,
    sha256: String,
}

/// What an export says of itself.
#[derive(Debug, Deserialize)]
struct Manifest {
    chain: String,
    height: u64,
    files: Vec<Listed>,
}

impl Listed {
    fn is(&self, bytes: &[u8]) -> bool {
        self.length == bytes.len() as u64 && self.sha256 == sha256(&[bytes]).to_string()
    }
}

impl Manifest {
    fn listed(&self, name: &str) -> Option<&Listed> {
        self.files.iter().find(|listed| listed.file == name)
    }
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
    /// There are two places to look at.
    #[error("{} and {} both hold segments of an archive", one.display(), other.display())]
    Ambiguous {
        /// One folder.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
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

/// What is wrong with an export as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestFault {
    /// It is another chain's.
    #[error("{MANIFEST} is of chain {0:?}")]
    OtherChain(String),
    /// A file is not there, or another one than it says, or not in it.
    #[error("{0} is not the file that {MANIFEST} lists")]
    File(String),
    /// The blocks end elsewhere.
    #[error("{MANIFEST} says that the newest block is {listed}, the files end with {found}")]
    Height {
        /// Newest block by the manifest.
        listed: Height,
        /// Newest block of the files.
        found: Height,
    },
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
    /// Finds the segments in a folder of exported segments, in a node's data folder, or below a node's directory.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let place = place_of(folder)?;
        let manifest = manifest(&place)?;
        // Read before the segments: of a running node these then go at least as far.
        let is_node = manifest.is_none() && place.ends_with("archive");
        let note = place.parent().filter(|_| is_node);
        let note = note.and_then(|data| fs::read_to_string(data.join(NOTE)).ok());
        let mut segments = Vec::new();
        for name in names(&place)? {
            let Some(number) = segment_number(&name) else {
                continue;
            };
            let path = place.join(&name);
            let length = fs::metadata(&path).map_err(unreadable(&path))?.len();
            segments.push(File {
                number,
                path,
                length,
            });
        }
        let numbers = segments.iter().map(|file| file.number);
        // A listed segment that is not there is missing, also at the end.
        let listed = manifest.iter().flat_map(|manifest| &manifest.files);
        let last = numbers.chain(listed.filter_map(|listed| segment_number(&listed.file)));
        Ok(Self {
            last: last.max().unwrap_or(0),
            place,
            manifest,
            segments,
            note,
        })
    }

    /// The folder of the segments.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The newest block by the manifest of an export.
    pub fn height(&self) -> Option<Height> {
        let manifest = self.manifest.as_ref();
        manifest.map(|manifest| Height(manifest.height))
    }

    /// Whether the manifest, if there is one, is of this chain and of the other files here.
    ///
    /// # Errors
    /// [`OpenError`] if they cannot be read; inside, what is wrong.
    pub fn check_manifest(&self, chain: ChainId) -> Result<Result<(), ManifestFault>, OpenError> {
        let Some(manifest) = &self.manifest else {
            return Ok(Ok(()));
        };
        if manifest.chain != chain.to_string() {
            return Ok(Err(ManifestFault::OtherChain(manifest.chain.clone())));
        }
        let mut files: BTreeSet<String> = names(&self.place)?.into_iter().collect();
        files.retain(|name| segment_number(name).is_some() || epoch_in(name).is_some());
        let listed = manifest.files.iter().map(|listed| listed.file.clone());
        // A segment that is not there is found missing in its turn.
        files.extend(listed.filter(|name| segment_number(name).is_none()));
        for name in files {
            let Some(listed) = manifest.listed(&name) else {
                return Ok(Err(ManifestFault::File(name)));
            };
            if segment_number(&name).is_some() {
                continue;
            }
            let known = epoch_in(&name).is_some();
            let bytes = genesis::files::read_bounded(&self.place.join(&name), MAX_RESTART_LEN);
            if !known || !bytes.is_ok_and(|bytes| listed.is(&bytes)) {
                return Ok(Err(ManifestFault::File(name)));
            }
        }
        Ok(Ok(()))
    }

    /// The restart files that are there now and open other epochs than these, in order.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn restarts(
        &self,
        known: &BTreeSet<Epoch>,
    ) -> Result<Vec<(Epoch, RestartFile)>, OpenError> {
        let mut files = Vec::new();
        for name in names(&self.place)? {
            if let Some(epoch) = epoch_in(&name)
                && !known.contains(&epoch)
            {
                files.push((epoch, restart_file(&self.place.join(name))?));
            }
        }
        files.sort_by_key(|(epoch, _)| *epoch);
        Ok(files)
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
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let manifest = self.manifest.as_ref();
        let listed = manifest.and_then(|manifest| manifest.listed(&name));
        if listed.is_some_and(|listed| !listed.is(&bytes)) {
            // The frame that is wrong says more than the file; only if all are whole is it the manifest's word.
            let found = Segment::new(number, bytes, false, chain, first);
            return Ok(Err(match found {
                Ok(segment) => segment.first_fault(first).unwrap_or(SegmentFault::Manifest),
                Err(fault) => fault,
            }));
        }
        // What an export lists is complete: nothing is torn there.
        let last = number == self.last() && manifest.is_none();
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

/// The folder of the segments: the one that is named if it holds any or a manifest, else the one below it.
fn place_of(folder: &Path) -> Result<PathBuf, OpenError> {
    if folder.join(MANIFEST).exists() || holds_segments(folder) {
        return Ok(folder.into());
    }
    let mut places = vec![configured(folder), folder.join("archive")];
    places.retain(|place| holds_segments(place));
    places.dedup_by_key(|place| place.canonicalize().ok());
    let mut places = places.into_iter();
    match (places.next(), places.next()) {
        (None, _) => Err(OpenError::Nothing(folder.into())),
        (Some(place), None) => Ok(place),
        (Some(one), Some(other)) => Err(OpenError::Ambiguous { one, other }),
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

fn manifest(folder: &Path) -> Result<Option<Manifest>, OpenError> {
    let path = folder.join(MANIFEST);
    let bytes = match genesis::files::read_bounded(&path, MAX_SMALL) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OpenError::Read { path, source }),
    };
    let manifest = serde_json::from_slice(&bytes);
    manifest.map_err(|source| OpenError::Manifest { path, source })
}

/// Names of the files in a folder, in order.
fn names(folder: &Path) -> Result<Vec<String>, OpenError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let name = entry.map_err(unreadable(folder))?.file_name();
        names.extend(name.into_string().ok());
    }
    names.sort();
    Ok(names)
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_path_buf();
    move |source| OpenError::Read {
        path: path.clone(),
        source,
    }
}
