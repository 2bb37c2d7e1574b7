//! Documents on disk: found in the given files and folders, and hashed once each on all cores.
//!
//! A file that cannot be read, vanishes or changes while it is read is a [`Trouble`] of its own; the others
//! go on. Receipts and the client's own state are never taken for documents.

use ledger::document::{DocumentDigest, DocumentHasher};
use rustix::fs::OFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Extension of receipts.
pub const RECEIPT_EXTENSION: &str = "tlog-proof";
/// Bytes read at once.
const CHUNK: usize = 256 * 1024;
/// Deepest nesting of folders.
const MAX_DEPTH: usize = 64;

/// The receipt's place: `<document file>.tlog-proof`.
pub fn receipt_path(document: &Path) -> PathBuf {
    let mut name = document.as_os_str().to_owned();
    name.push(".");
    name.push(RECEIPT_EXTENSION);
    name.into()
}

/// A document file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentFile {
    /// As a person named it, or under the folder that they named.
    pub path: PathBuf,
    /// Absolute, its folder without symbolic links: tells the file from others.
    pub place: PathBuf,
    /// Bytes when it was found.
    pub size: u64,
}

/// What kept one file from being processed.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It is not there (any more).
    #[error("does not exist")]
    Missing,
    /// The file system refuses.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is a device, pipe or socket.
    #[error("is neither a file nor a folder")]
    Special,
    /// Its size, time or identity changed while it was hashed.
    #[error("changed while it was read")]
    Changed,
    /// It is a receipt, which is not registered.
    #[error("is a receipt, not a document")]
    Receipt,
    /// The folder has no documents.
    #[error("has no documents")]
    Empty,
    /// Folders are nested too deeply.
    #[error("is nested deeper than {MAX_DEPTH} folders")]
    Deep,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Unreadable(error),
        }
    }
}

/// A file that could not be processed.
#[derive(Debug)]
pub struct Failed {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub trouble: Trouble,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The documents, each once, in the order of the arguments and by name within a folder.
    pub files: Vec<DocumentFile>,
    /// What could not be looked into.
    pub failed: Vec<Failed>,
}

/// Finds the documents of files and folders. In folders, hidden names, receipts, links to folders and `own`
/// (the client's state) are passed over.
pub fn find(paths: &[PathBuf], own: Option<&Path>) -> Found {
    let own = own.and_then(|own| fs::canonicalize(own).ok());
    let mut search = Search {
        own,
        found: Found::default(),
        seen: BTreeSet::new(),
        folders: BTreeMap::new(),
    };
    for path in paths {
        if let Err(trouble) = search.argument(path) {
            search.fail(path, trouble);
        }
    }
    search.found
}

struct Search {
    own: Option<PathBuf>,
    found: Found,
    seen: BTreeSet<PathBuf>,
    folders: BTreeMap<PathBuf, PathBuf>,
}

impl Search {
    fn fail(&mut self, path: &Path, trouble: Trouble) {
        let path = path.to_path_buf();
        self.found.failed.push(Failed { path, trouble });
    }

    fn argument(&mut self, path: &Path) -> Result<(), Trouble> {
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() {
            let before = (self.found.files.len(), self.found.failed.len());
            let seen = self.seen.len();
            self.folder(path, 0)?;
            let after = (self.found.files.len(), self.found.failed.len());
            return if before == after && seen == self.seen.len() {
                Err(Trouble::Empty)
            } else {
                Ok(())
            };
        }
        if is_receipt(path) {
            return Err(Trouble::Receipt);
        }
        self.file(path, &metadata)
    }

    fn file(&mut self, path: &Path, metadata: &Metadata) -> Result<(), Trouble> {
        if !metadata.is_file() {
            return Err(Trouble::Special);
        }
        let name = path.file_name().ok_or(Trouble::Special)?;
        let folder = genesis::files::folder_of(path);
        let place = match self.folders.get(folder) {
            Some(place) => place.join(name),
            None => {
                let place = fs::canonicalize(folder)?;
                self.folders.insert(folder.into(), place.clone());
                place.join(name)
            }
        };
        if self.seen.insert(place.clone()) {
            let (path, size) = (path.into(), metadata.len());
            self.found.files.push(DocumentFile { path, place, size });
        }
        Ok(())
    }

    fn folder(&mut self, folder: &Path, depth: usize) -> Result<(), Trouble> {
        if depth > MAX_DEPTH {
            return Err(Trouble::Deep);
        }
        if self.own.is_some() && fs::canonicalize(folder).ok() == self.own {
            return Ok(());
        }
        let mut names: Vec<OsString> = fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<_>>()?;
        names.sort();
        for name in names {
            if is_hidden(&name) || is_receipt(Path::new(&name)) {
                continue;
            }
            // `.` is left out of names that people read.
            let path = match folder.to_str() {
                Some(".") => PathBuf::from(&name),
                Some(_) | None => folder.join(&name),
            };
            if let Err(trouble) = self.entry(&path, depth) {
                self.fail(&path, trouble);
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, depth: usize) -> Result<(), Trouble> {
        let link = fs::symlink_metadata(path)?;
        if link.is_dir() {
            return self.folder(path, depth + 1);
        }
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() {
            // A link to a folder could lead round in circles.
            return Ok(());
        }
        self.file(path, &metadata)
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn is_receipt(path: &Path) -> bool {
    path.extension() == Some(OsStr::new(RECEIPT_EXTENSION))
}

/// What tells that a file is still the same.
fn state_of(metadata: &Metadata) -> (u64, u64, u64, i64, i64, i64, i64) {
    (
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    )
}

/// Hashes one file, read once from beginning to end.
///
/// # Errors
/// [`Trouble`], also if the file changes meanwhile. `read` is told of every chunk.
pub fn hash(path: &Path, read: &dyn Fn(u64)) -> Result<DocumentDigest, Trouble> {
    // A pipe put in a file's place must not hold the program up.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Err(Trouble::Special);
    }
    let digest = hash_open(&mut file, read)?;
    let unchanged = |now: &Metadata| state_of(now) == state_of(&before);
    if unchanged(&file.metadata()?) && unchanged(&fs::metadata(path)?) {
        Ok(digest)
    } else {
        Err(Trouble::Changed)
    }
}

fn hash_open(file: &mut File, read: &dyn Fn(u64)) -> Result<DocumentDigest, Trouble> {
    let mut hasher = DocumentHasher::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => {
                hasher.update(&chunk[..count]);
                read(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Runs `work` on every item, on all cores, and returns the results in order.
pub fn on_all_cores<T: Sync, R: Send>(items: &[T], work: &(dyn Fn(&T) -> R + Sync)) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                while let Some((at, item)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    items.get(at).map(|item| (at, item))
                } {
                    let result = work(item);
                    let mut done = done.lock().expect("no holder of this lock panics");
                    done.push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no holder of this lock panics");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Hashes documents on all cores; the results are in the order of the files.
pub fn hash_all(
    files: &[DocumentFile],
    read: &(dyn Fn(u64) + Sync),
) -> Vec<Result<DocumentDigest, Trouble>> {
    on_all_cores(files, &|file: &DocumentFile| hash(&file.path, read))
}

#[cfg(test)]
mod tests;
