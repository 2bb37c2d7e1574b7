//! Files that are there as a whole or not at all, and that replace nothing by accident.
//!
//! Writing goes to a temporary file beside the target, is synced, and gets its name in one step; then the
//! folder is synced. A crash leaves at most a hidden `.NAME.partial-*`, never half a file or folder under its name.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone whom the process's umask admits.
    Public,
    /// The owner alone: mode 0600.
    Secret,
}

impl Access {
    const fn mode(self) -> u32 {
        match self {
            Self::Public => 0o666,
            Self::Secret => 0o600,
        }
    }
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// Of the file system; `FileTooLarge` beyond the limit.
pub fn read_bounded(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    read_bounded_from(&File::open(path)?, limit)
}

pub(crate) fn read_bounded_from(file: &File, limit: usize) -> io::Result<Vec<u8>> {
    let cap = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(cap).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        let message = format!("longer than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// Creates a file with this content, durably. An existing file stays as it is.
///
/// # Errors
/// `AlreadyExists`, or another of the file system; nothing is left then.
pub fn create(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let partial = Partial::write(path, bytes, access)?;
    rename_new(&partial.0, path)?;
    partial.keep();
    sync_folder_of(path)
}

/// Puts this content in the place of an existing file, durably and at once.
///
/// # Errors
/// Of the file system; the old content is left then.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let partial = Partial::write(path, bytes, access)?;
    fs::rename(&partial.0, path)?;
    partial.keep();
    sync_folder_of(path)
}

/// Makes names in a folder durable.
///
/// # Errors
/// Of the file system.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The folder that holds a path; `.` for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    sync_folder(folder_of(path))
}

/// The name of a path's temporary neighbour.
fn partial_name(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(format!(".partial-{}", std::process::id()));
    Ok(path.with_file_name(partial))
}

/// A temporary file, removed unless it is kept.
struct Partial(PathBuf);

impl Partial {
    fn write(path: &Path, bytes: &[u8], access: Access) -> io::Result<Self> {
        let name = partial_name(path)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(access.mode())
            .open(&name)?;
        let partial = Self(name);
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(partial)
    }

    fn keep(mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // What cannot be removed is a hidden file with a telling name.
            fs::remove_file(&self.0).ok();
        }
    }
}

/// A folder that gets its name only when everything in it is there; removed otherwise. Mode 0700.
#[derive(Debug)]
pub struct NewFolder {
    partial: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl NewFolder {
    /// Begins a folder that will be called `target`.
    ///
    /// # Errors
    /// `AlreadyExists` if there is something but an empty folder; others of the file system.
    pub fn begin(target: &Path) -> io::Result<Self> {
        let taken = match fs::read_dir(target) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => true,
            Err(error) => return Err(error),
        };
        if taken {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let partial = partial_name(target)?;
        DirBuilder::new().mode(0o700).create(&partial)?;
        Ok(Self {
            partial,
            target: target.into(),
            finished: false,
        })
    }

    /// Where to put the files meanwhile.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Gives the folder its name, durably.
    ///
    /// # Errors
    /// If the name was taken meanwhile by anything but an empty folder; nothing is left then.
    pub fn finish(mut self) -> io::Result<()> {
        sync_folder(&self.partial)?;
        fs::rename(&self.partial, &self.target)?;
        self.finished = true;
        sync_folder_of(&self.target)
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed is a hidden folder with a telling name.
            fs::remove_dir_all(&self.partial).ok();
        }
    }
}

/// Renames unless the new name is taken; by a hard link where the file system cannot do so in one step.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        done => done.map_err(io::Error::from),
    }
}
