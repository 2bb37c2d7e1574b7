//! Files whose contents must be there after a power cut: the few system calls that all of storage
//! uses, each with an error that names the path.
//!
//! A new file or a new name counts as durable after the file *and* its directory were synced. After a
//! failed write or sync a [`DurableFile`] is poisoned: the kernel may have dropped the dirty pages, so
//! trying again proves nothing.

use super::Fatal;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Between the name of a file that was set aside and its number.
const ASIDE: &str = ".damaged-";

/// What was being done when the file system refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Making a file or directory.
    Create,
    /// Opening.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// `fsync` or `fdatasync`.
    Sync,
    /// Cutting to a length.
    Truncate,
    /// Removing.
    Remove,
    /// Giving another name.
    Rename,
    /// Locking.
    Lock,
    /// Asking for the free space.
    FreeSpace,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Truncate => "truncate",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::Lock => "lock",
            Self::FreeSpace => "ask for the free space of",
        })
    }
}

/// The file system refused.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// No space (or quota) left.
    #[error("disk is full: {operation} {path}")]
    Full {
        /// What was being done.
        operation: Operation,
        /// To what.
        path: PathBuf,
    },
    /// Anything else.
    #[error("{operation} {path}")]
    Io {
        /// What was being done.
        operation: Operation,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl FileError {
    /// The error of one operation on one path.
    pub fn new(operation: Operation, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { operation, path }
            }
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }

    /// Whether bytes that should be there cannot be read back: the file ends before, or the disk has an error there.
    pub fn is_unreadable(&self) -> bool {
        let Self::Io {
            operation: Operation::Read,
            source,
            ..
        } = self
        else {
            return false;
        };
        source.kind() == io::ErrorKind::UnexpectedEof
            || source.raw_os_error() == Some(Errno::IO.raw_os_error())
    }

    /// Whether the file was not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Shorthand: names operation and path in an I/O result.
trait Named<T> {
    fn named(self, operation: Operation, path: &Path) -> Result<T, FileError>;
}

impl<T> Named<T> for io::Result<T> {
    fn named(self, operation: Operation, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError::new(operation, path, source))
    }
}

/// Makes a directory and its parents; the new names are synced.
///
/// # Errors
/// [`FileError`].
pub fn create_dir(path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent(path);
    if !parent.is_dir() {
        create_dir(&parent)?;
    }
    fs::create_dir(path).named(Operation::Create, path)?;
    sync_dir(&parent)
}

/// Syncs a directory, so that the names in it are durable.
///
/// # Errors
/// [`FileError`].
pub fn sync_dir(path: &Path) -> Result<(), FileError> {
    let dir = File::open(path).named(Operation::Open, path)?;
    dir.sync_all().named(Operation::Sync, path)
}

/// Directory that a path lies in; `.` for a bare name.
pub fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.into(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// Names of the files in a directory, sorted.
///
/// # Errors
/// [`FileError`].
pub fn list(path: &Path) -> Result<Vec<String>, FileError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).named(Operation::Read, path)? {
        let entry = entry.named(Operation::Read, path)?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// A whole file.
///
/// # Errors
/// [`FileError`].
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).named(Operation::Read, path)
}

/// A whole file of at most `most` bytes that lies in its folder itself: no link leads to it, and it is no device or pipe.
/// What is given to others is read by this, so that a link below `data` cannot name a key.
///
/// # Errors
/// [`FileError`], also if it is longer or none of these.
pub fn read_own(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    let not = |what: &str| {
        Err(FileError::new(
            Operation::Read,
            path,
            io::Error::other(what),
        ))
    };
    let link = fs::symlink_metadata(path).named(Operation::Open, path)?;
    if !link.is_file() {
        return not("it is a link or no file: put the file itself there");
    }
    // Also if it was changed since; and a pipe does not block.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).named(Operation::Open, path)?;
    let length = file.metadata().named(Operation::Open, path)?.len();
    if length > most {
        return not(&format!(
            "it has {length} bytes, at most {most} may be read"
        ));
    }
    let mut bytes = Vec::new();
    let mut file = io::Read::take(file, most);
    io::Read::read_to_end(&mut file, &mut bytes).named(Operation::Read, path)?;
    Ok(bytes)
}

/// A whole file, from the disk and not from the cache where the kernel can.
///
/// # Errors
/// [`FileError`].
pub fn read_from_disk(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut file = File::open(path).named(Operation::Open, path)?;
    forget_cached(&file);
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes).named(Operation::Read, path)?;
    Ok(bytes)
}

/// The first `most` bytes of a file, or all if it has fewer.
///
/// # Errors
/// [`FileError`].
pub fn read_start(path: &Path, most: usize) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).named(Operation::Open, path)?;
    let mut bytes = Vec::with_capacity(most);
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    io::Read::read_to_end(&mut io::Read::take(file, most), &mut bytes)
        .named(Operation::Read, path)?;
    Ok(bytes)
}

/// A whole file, or `None` if there is none.
///
/// # Errors
/// [`FileError`].
pub fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file and syncs its directory. A file that is not there is fine.
///
/// # Errors
/// [`FileError`].
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path).named(Operation::Remove, path) {
        Ok(()) => sync_dir(&parent(path)),
        Err(error) if error.is_missing() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes a directory with all that is in it. One that is not there is fine.
///
/// # Errors
/// [`FileError`].
pub fn remove_dir(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path).named(Operation::Remove, path) {
        Ok(()) => sync_dir(&parent(path)),
        Err(error) if error.is_missing() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Replaces a small file as a whole: written beside it, synced, renamed, directory synced. Mode 0600.
///
/// # Errors
/// [`FileError`]; the old file is then still there.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&new).named(Operation::Create, &new)?;
    file.write_all_at(bytes, 0).named(Operation::Write, &new)?;
    file.sync_all().named(Operation::Sync, &new)?;
    fs::rename(&new, path).named(Operation::Rename, path)?;
    sync_dir(&parent(path))
}

/// Gives a damaged file or directory a free name beside itself, `NAME.damaged-N`, and returns it.
///
/// # Errors
/// [`FileError`].
pub fn set_aside(path: &Path) -> Result<PathBuf, FileError> {
    let mut number = 1_u32;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        let aside = PathBuf::from(name);
        if aside.exists() {
            number = number.saturating_add(1);
            continue;
        }
        fs::rename(path, &aside).named(Operation::Rename, path)?;
        sync_dir(&parent(path))?;
        return Ok(aside);
    }
}

/// Puts a new file in the place of another, which keeps a name beside it, `NAME.damaged-N`, with a number above all that
/// are there. At no moment is there none.
///
/// # Errors
/// [`FileError`].
pub fn replace(path: &Path, new: &Path) -> Result<PathBuf, FileError> {
    let newest = asides(path)?.pop().map_or(0, |(number, _)| number);
    let aside = aside_name(path, newest.saturating_add(1));
    fs::hard_link(path, &aside).named(Operation::Create, &aside)?;
    sync_dir(&parent(path))?;
    fs::rename(new, path).named(Operation::Rename, path)?;
    sync_dir(&parent(path))?;
    Ok(aside)
}

fn aside_name(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("{ASIDE}{number}"));
    PathBuf::from(name)
}

/// The files that were set aside of this one, the oldest first.
fn asides(path: &Path) -> Result<Vec<(u32, PathBuf)>, FileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!("{name}{ASIDE}");
    let names = list(&parent(path))?.into_iter();
    let numbers = names.filter_map(|name| name.strip_prefix(&prefix)?.parse().ok());
    let mut found: Vec<(u32, PathBuf)> = numbers
        .map(|number| (number, aside_name(path, number)))
        .collect();
    found.sort();
    Ok(found)
}

/// Removes all but the newest files that were set aside of `path`. Gives what was removed.
///
/// # Errors
/// [`FileError`].
pub fn forget_asides(path: &Path, keep: usize) -> Result<Vec<PathBuf>, FileError> {
    let found = asides(path)?;
    let old = found.len().saturating_sub(keep);
    let old: Vec<PathBuf> = found.into_iter().take(old).map(|(_, path)| path).collect();
    for path in &old {
        remove(path)?;
    }
    Ok(old)
}

/// Bytes free for this process where `path` lies.
///
/// # Errors
/// [`FileError`].
pub fn free_bytes(path: &Path) -> Result<u64, FileError> {
    let space = rustix::fs::statvfs(path)
        .map_err(io::Error::from)
        .named(Operation::FreeSpace, path)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// An exclusive `flock` on a directory, held until dropped.
#[derive(Debug)]
pub struct DirectoryLock(#[expect(dead_code, reason = "the open file holds the lock")] File);

impl DirectoryLock {
    /// Takes the lock; `None` if another process (or another lock of this one) has it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn take(path: &Path) -> Result<Option<Self>, FileError> {
        let dir = File::open(path).named(Operation::Open, path)?;
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(dir))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(FileError::new(Operation::Lock, path, errno.into())),
        }
    }
}

/// A file that is written at known places and synced on demand.
#[derive(Debug)]
pub struct DurableFile {
    file: File,
    path: PathBuf,
    len: u64,
    poisoned: bool,
}

impl DurableFile {
    /// Makes a new file (mode 0600) with these contents; file and name are durable on return.
    ///
    /// # Errors
    /// [`FileError`], also if the file is there already.
    pub fn create(path: &Path, contents: &[u8]) -> Result<Self, FileError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(path).named(Operation::Create, path)?;
        file.write_all_at(contents, 0)
            .named(Operation::Write, path)?;
        file.sync_all().named(Operation::Sync, path)?;
        sync_dir(&parent(path))?;
        let len = u64::try_from(contents.len()).unwrap_or(u64::MAX);
        Ok(Self::of(file, path, len))
    }

    /// Opens a file that is there.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        Self::open_with(&options, path)
    }

    /// Opens a file, or makes an empty one (mode 0600) whose name is not yet synced.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open_or_create(path: &Path) -> Result<Self, FileError> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        Self::open_with(&options, path)
    }

    fn open_with(options: &OpenOptions, path: &Path) -> Result<Self, FileError> {
        let file = options.open(path).named(Operation::Open, path)?;
        let len = file.metadata().named(Operation::Open, path)?.len();
        Ok(Self::of(file, path, len))
    }

    fn of(file: File, path: &Path, len: u64) -> Self {
        Self {
            file,
            path: path.into(),
            len,
            poisoned: false,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A second handle, for reading.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn reader(&self) -> Result<File, FileError> {
        self.file.try_clone().named(Operation::Open, &self.path)
    }

    /// Writes at a place; not durable before [`DurableFile::sync_data`].
    ///
    /// # Errors
    /// [`Fatal`]; the file is poisoned.
    pub fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), Fatal> {
        self.guarded(Operation::Write, |file| file.write_all_at(bytes, offset))?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.len = self.len.max(offset.saturating_add(length));
        Ok(())
    }

    /// Writes behind the end; not durable before [`DurableFile::sync_data`].
    ///
    /// # Errors
    /// [`Fatal`]; the file is poisoned.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        self.write_at(bytes, self.len)
    }

    /// `fdatasync`: contents and length are durable on return.
    ///
    /// # Errors
    /// [`Fatal`]; the file is poisoned.
    pub fn sync_data(&mut self) -> Result<(), Fatal> {
        self.guarded(Operation::Sync, File::sync_data)
    }

    /// Cuts the file; durable on return.
    ///
    /// # Errors
    /// [`Fatal`]; the file is poisoned.
    pub fn truncate(&mut self, len: u64) -> Result<(), Fatal> {
        self.guarded(Operation::Truncate, |file| file.set_len(len))?;
        self.len = len;
        self.guarded(Operation::Sync, File::sync_all)
    }

    /// Reads exactly `bytes.len()` bytes.
    ///
    /// # Errors
    /// [`FileError`], also if the file ends before.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), FileError> {
        read_exact_at(&self.file, &self.path, bytes, offset)
    }

    fn guarded(
        &mut self,
        operation: Operation,
        act: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<(), Fatal> {
        if self.poisoned {
            return Err(Fatal::Poisoned(self.path.clone()));
        }
        // Set first: only success clears it.
        self.poisoned = true;
        act(&self.file).named(operation, &self.path)?;
        self.poisoned = false;
        Ok(())
    }
}

/// Reads exactly `bytes.len()` bytes of an open file.
///
/// # Errors
/// [`FileError`], also if the file ends before.
pub fn read_exact_at(
    file: &File,
    path: &Path,
    bytes: &mut [u8],
    offset: u64,
) -> Result<(), FileError> {
    file.read_exact_at(bytes, offset)
        .named(Operation::Read, path)
}

/// Opens a file to be read.
///
/// # Errors
/// [`FileError`].
pub fn open_to_read(path: &Path) -> Result<File, FileError> {
    File::open(path).named(Operation::Open, path)
}

/// Gives a new file its name, which nothing has; durable on return.
///
/// # Errors
/// [`FileError`].
pub fn give_name(new: &Path, path: &Path) -> Result<(), FileError> {
    fs::rename(new, path).named(Operation::Rename, path)?;
    sync_dir(&parent(path))
}

/// Length of an open file, in bytes.
///
/// # Errors
/// [`FileError`].
pub fn length(file: &File, path: &Path) -> Result<u64, FileError> {
    let metadata = file.metadata().named(Operation::Read, path)?;
    Ok(metadata.len())
}

/// Asks the kernel to read a file from the disk the next time. It may not: that is no error.
pub fn forget_cached(file: &File) {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).ok();
}

/// Writes at a place of a file that is there; durable on return.
///
/// # Errors
/// [`FileError`].
pub fn overwrite(path: &Path, bytes: &[u8], offset: u64) -> Result<(), FileError> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .open(path)
        .named(Operation::Open, path)?;
    file.write_all_at(bytes, offset)
        .named(Operation::Write, path)?;
    file.sync_data().named(Operation::Sync, path)
}

/// Random bytes from the operating system, for ids and magics.
///
/// # Errors
/// [`FileError`] if it has none.
pub fn random<const N: usize>() -> Result<[u8; N], FileError> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => {
            let source = io::Error::other(error.to_string());
            Err(FileError::new(
                Operation::Read,
                Path::new("/dev/urandom"),
                source,
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_poisons_the_file() {
        // /dev/full answers every write with ENOSPC.
        let mut full = DurableFile::open(Path::new("/dev/full")).unwrap();
        let first = full.append(b"x");
        assert!(matches!(first, Err(Fatal::File(FileError::Full { .. }))));
        assert!(matches!(full.sync_data(), Err(Fatal::Poisoned(_))));
    }

    #[test]
    fn a_small_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("small");
        assert_eq!(read_if_exists(&path).unwrap(), None);
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        assert_eq!(list(dir.path()).unwrap(), ["small"]);
        let aside = set_aside(&path).unwrap();
        assert_eq!(read(&aside).unwrap(), b"two");
    }

    #[test]
    fn a_file_to_be_copied_is_read_only_if_it_is_one_and_not_too_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), b"four").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        assert_eq!(read_own(&path("file"), 4).unwrap(), b"four");
        read_own(&path("file"), 3).unwrap_err();
        read_own(&path("link"), 4).unwrap_err();
        read_own(&path("folder"), 4).unwrap_err();
        assert!(read_own(&path("none"), 4).unwrap_err().is_missing());
    }
}
