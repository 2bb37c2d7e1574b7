//! `nachweis-node backup` and `restore`: everything public of a node in one stream.
//!
//! The stream holds the genesis, the configuration and the archive's whole frames, each with its SHA-256, and ends
//! with a manifest. It never holds a key, the consensus journal or the cosigner's guard: a copy of these could sign
//! twice. So a restored node finds no journal, and has to rejoin.
//!
//! ```text
//! stream = "NWBACKUP1\n" entry* manifest
//! entry  = length of name u16 ‖ name ‖ length u64 ‖ bytes ‖ SHA-256 of the bytes [32]      (little-endian)
//! manifest = an entry of the name "manifest.json" that lists all before it; nothing follows it
//! ```

use super::Failure;
use super::export::{self, ExportError, Listed, MANIFEST, Manifest};
use super::places::{self, Moved};
use super::progress::Progress;
use crate::config::{self, Config, ConfigError};
use crate::exit::Exit;
use crate::storage::archive::{self, Archive};
use crate::storage::copy::Segments;
use crate::storage::restarts::{self, RestartsError};
use genesis::container::{ContainerError, Founding};
use genesis::files::{self, Access, NewFolder};
use ledger::frame::segment_number;
use ledger::genesis::GenesisError;
use ledger::hash::sha256;
use ledger::id::Height;
use ledger::replay::{Replay, ReplayFault};
use ledger::restart::RestartFile;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

const FORMAT: &[u8; 10] = b"NWBACKUP1\n";
/// The genesis in a backup and in a node's directory.
const GENESIS: &str = "genesis.nachweis";
/// Folder of the data in a restored node's directory.
const DATA: &str = "data";
/// Longest name of an entry, in bytes.
const MAX_NAME: usize = 64;
/// Longest entry: a segment, whose offsets have 32 bits.
const MAX_ENTRY: u64 = 1 << 32;

/// Why a backup was not made or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The node cannot be copied.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The stream or a file cannot be read or written.
    #[error("{what} cannot be read or written")]
    Stream {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The stream is no backup, or not whole.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// The directory is there.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The genesis in it cannot be used.
    #[error("the genesis of the backup is refused")]
    Genesis(#[from] ContainerError),
    /// It founds no network.
    #[error("the genesis of the backup cannot found a network")]
    Founding(#[from] GenesisError),
    /// The configuration in it cannot be used.
    #[error("the configuration of the backup is refused")]
    Config(#[from] ConfigError),
    /// The archive in it cannot be opened.
    #[error("the archive of the backup cannot be used")]
    Archive(#[from] archive::OpenError),
    /// A restart file in it cannot be read.
    #[error("a restart file of the backup cannot be read")]
    Restart(#[from] RestartsError),
    /// A block cannot be read.
    #[error("the archive of the backup cannot be read")]
    Block(#[from] archive::ReadError),
    /// The chain in it is not right.
    #[error("the chain of the backup is not right")]
    Chain(#[from] ReplayFault),
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let (exit, hint) = match error {
            BackupError::Export(error) => return error.into(),
            BackupError::Stream { .. } => (Exit::Failed, None),
            BackupError::Exists(_) => (
                Exit::Refused,
                Some(
                    "nothing is overwritten: name a file, or to restore a directory, that does not exist",
                ),
            ),
            BackupError::Damaged(_) | BackupError::Chain(_) | BackupError::Block(_) => (
                Exit::Refused,
                Some("nothing was restored; try an older backup"),
            ),
            BackupError::Genesis(_)
            | BackupError::Founding(_)
            | BackupError::Config(_)
            | BackupError::Restart(_)
            | BackupError::Archive(_) => (Exit::Refused, None),
        };
        Self::new(exit, error).hint(hint.map(str::to_owned))
    }
}

fn stream(what: &str) -> impl Fn(io::Error) -> BackupError + use<> {
    let what = what.to_owned();
    move |source| BackupError::Stream {
        what: what.clone(),
        source,
    }
}

/// Writes the backup of a node, running or not. Gives what is in it.
///
/// # Errors
/// [`BackupError`]; what was written then ends without a manifest and is refused by [`restore`].
pub fn backup(dir: &Path, out: &mut dyn Write) -> Result<Manifest, BackupError> {
    let config = Config::load(dir).map_err(ExportError::from)?;
    let founding = Founding::load(&config.genesis()).map_err(ExportError::from)?;
    let mut manifest = Manifest::of(founding.chain());
    out.write_all(FORMAT).map_err(stream("the backup"))?;
    let small = [
        (GENESIS, config.genesis()),
        (config::FILE, dir.join(config::FILE)),
    ];
    for (name, path) in small {
        let bytes = fs::read(&path).map_err(stream(&path.display().to_string()))?;
        write_entry(out, name, &bytes)?;
        manifest.files.push(Listed::of(name, &bytes));
    }
    let archive = config.data().join("archive");
    let segments = Segments::of(&archive, founding.chain());
    let mut segments = segments.map_err(ExportError::from)?;
    let mut progress = Progress::new("backing up", segments.total());
    for copied in segments.by_ref() {
        let copied = copied.map_err(ExportError::from)?;
        write_entry(out, &copied.name, &copied.bytes)?;
        manifest.add(&copied);
        progress.step();
    }
    let restarts = export::restart_files(&archive, founding)?;
    for copied in segments.end(&restarts) {
        write_entry(out, &copied.name, &copied.bytes)?;
        manifest.add(&copied);
    }
    for (name, bytes) in restarts.reached(Height(manifest.height)) {
        write_entry(out, &name, &bytes)?;
        manifest.files.push(Listed::of(&name, &bytes));
    }
    let text = serde_json::to_vec_pretty(&manifest);
    let text = text.map_err(|error| stream(MANIFEST)(error.into()))?;
    write_entry(out, MANIFEST, &text)?;
    out.flush().map_err(stream("the backup"))?;
    Ok(manifest)
}

/// Writes the backup of a node to a new file, which has its name only when it is whole.
///
/// # Errors
/// [`BackupError`]; the file is not made then.
pub fn backup_file(dir: &Path, path: &Path) -> Result<Manifest, BackupError> {
    if path.exists() {
        return Err(BackupError::Exists(path.into()));
    }
    let failed = || stream(&path.display().to_string());
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    let mut file = fs::File::create(&partial).map_err(failed())?;
    let made = backup(dir, &mut file);
    let synced = made.and_then(|manifest| {
        file.sync_all().map_err(failed())?;
        fs::rename(&partial, path).map_err(failed())?;
        files::sync_folder(files::folder_of(path)).map_err(failed())?;
        Ok(manifest)
    });
    synced.inspect_err(|_| {
        // What cannot be removed has a telling name.
        fs::remove_file(&partial).ok();
    })
}

fn write_entry(out: &mut dyn Write, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
    let name_length = u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes();
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes();
    let hash = sha256(&[bytes]);
    let parts = [
        name_length.as_slice(),
        name.as_bytes(),
        length.as_slice(),
        bytes,
        hash.as_bytes(),
    ];
    for part in parts {
        out.write_all(part).map_err(stream("the backup"))?;
    }
    Ok(())
}

fn read_entry(from: &mut dyn Read) -> Result<(String, Vec<u8>), BackupError> {
    let damaged = |what: &str| BackupError::Damaged(what.to_owned());
    let mut name_length = [0; 2];
    take(from, &mut name_length)?;
    let name_length = usize::from(u16::from_le_bytes(name_length));
    if name_length == 0 || name_length > MAX_NAME {
        return Err(damaged("the name of a file is too long"));
    }
    let mut name = vec![0; name_length];
    take(from, &mut name)?;
    let name = String::from_utf8(name).map_err(|_not| damaged("the name of a file is no text"))?;
    let mut length = [0; 8];
    take(from, &mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_ENTRY {
        return Err(BackupError::Damaged(format!("{name} has {length} bytes")));
    }
    // Grows with what comes, not with what is promised.
    let mut bytes = Vec::new();
    let read = from.take(length).read_to_end(&mut bytes);
    let read = read.map_err(stream("the backup"))?;
    let mut hash = [0; 32];
    take(from, &mut hash)?;
    if u64::try_from(read).ok() != Some(length) || sha256(&[&bytes]).as_bytes() != &hash {
        return Err(BackupError::Damaged(format!("{name} has another hash")));
    }
    Ok((name, bytes))
}

fn take(from: &mut dyn Read, bytes: &mut [u8]) -> Result<(), BackupError> {
    from.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            BackupError::Damaged("it ends before its manifest".to_owned())
        }
        _ => stream("the backup")(error),
    })
}

/// What a restore gave.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Newest block, verified like all before it.
    pub height: Height,
    /// Folder where the keys belong.
    pub keys: PathBuf,
    /// What the configuration in the backup said of places that are now below the directory.
    pub moved: Vec<Moved>,
}

/// Makes a node's directory from a backup, after everything in it was verified. Keys are not in it.
///
/// # Errors
/// [`BackupError`]; no directory is made then.
pub fn restore(from: &mut dyn Read, dir: &Path) -> Result<Restored, BackupError> {
    if dir.exists() {
        return Err(BackupError::Exists(dir.into()));
    }
    let folder = NewFolder::begin(dir).map_err(stream(&dir.display().to_string()))?;
    unpack(from, folder.path())?;
    let (keys, moved) = configure(folder.path())?;
    let height = verify(folder.path())?;
    // One elsewhere is its owner's to make.
    let is_below = |part| matches!(part, Component::Normal(_));
    if keys.components().all(is_below) {
        make_dir(&folder.path().join(&keys))?;
    }
    folder
        .finish()
        .map_err(stream(&dir.display().to_string()))?;
    Ok(Restored {
        height,
        keys: dir.join(keys),
        moved,
    })
}

/// Makes a folder, durably.
fn make_dir(path: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut made = fs::DirBuilder::new();
    let made = made.mode(0o700).recursive(true).create(path);
    let synced = made.and_then(|()| files::sync_folder(files::folder_of(path)));
    synced.map_err(stream(&path.display().to_string()))
}

/// Has the configuration name the places where things were unpacked. Gives the folder of the keys, and what was changed.
fn configure(root: &Path) -> Result<(PathBuf, Vec<Moved>), BackupError> {
    let storage = Config::load(root)?.storage;
    let moved = places::elsewhere(&storage, DATA, GENESIS);
    if !moved.is_empty() {
        let path = root.join(config::FILE);
        let failed = || stream(&path.display().to_string());
        let text = fs::read_to_string(&path).map_err(failed())?;
        let text = places::bring_home(&text, &moved);
        let text = text.ok_or_else(|| {
            BackupError::Damaged("its configuration has no readable [storage]".to_owned())
        })?;
        files::replace(&path, text.as_bytes(), Access::Public).map_err(failed())?;
        Config::load(root)?;
    }
    Ok((storage.keys, moved))
}

/// Writes the stream's files below `root`; each is checked against its hash, and all against the manifest.
fn unpack(from: &mut dyn Read, root: &Path) -> Result<(), BackupError> {
    let mut format = [0; FORMAT.len()];
    take(from, &mut format)?;
    if &format != FORMAT {
        return Err(BackupError::Damaged("it is no backup".to_owned()));
    }
    let data = root.join(DATA);
    make_dir(&data)?;
    make_dir(&data.join("archive"))?;
    let mut listed = Vec::new();
    let manifest = loop {
        let (name, bytes) = read_entry(from)?;
        let path = match name.as_str() {
            MANIFEST => break bytes,
            GENESIS | config::FILE => root.join(&name),
            kept if segment_number(kept).is_some() || restarts::epoch_in(kept).is_some() => {
                data.join("archive").join(&name)
            }
            other => {
                return Err(BackupError::Damaged(format!(
                    "{other:?} is none of its files"
                )));
            }
        };
        let access = match name.as_str() {
            GENESIS | config::FILE => Access::Public,
            _ => Access::Secret,
        };
        files::create(&path, &bytes, access).map_err(stream(&path.display().to_string()))?;
        listed.push(Listed::of(&name, &bytes));
    };
    let manifest: serde_json::Value = serde_json::from_slice(&manifest)
        .map_err(|error| BackupError::Damaged(format!("its manifest is none: {error}")))?;
    let listed = serde_json::to_value(&listed).unwrap_or_default();
    if manifest.get("files") != Some(&listed) {
        return Err(BackupError::Damaged(
            "its manifest lists other files".to_owned(),
        ));
    }
    let mut more = [0];
    match from.read(&mut more) {
        Ok(0) => Ok(()),
        Ok(_) => Err(BackupError::Damaged("bytes follow its manifest".to_owned())),
        Err(source) => Err(stream("the backup")(source)),
    }
}

/// Replays the unpacked archive from genesis.
fn verify(root: &Path) -> Result<Height, BackupError> {
    let founding = Founding::load(&root.join(GENESIS))?;
    let chain = founding.chain();
    let archive = Archive::open(&root.join(DATA).join("archive"), chain)?;
    let reader = archive.reader();
    let mut progress = Progress::new("verifying blocks", reader.last().map_or(0, |last| last.0));
    let mut replay = Replay::new(founding.into_genesis())?;
    for (name, bytes) in
        restarts::read_all(&root.join(DATA).join("archive")).map_err(RestartsError::from)?
    {
        let file = RestartFile::decode(&bytes)
            .map_err(|error| BackupError::Damaged(format!("{name} is no restart file: {error}")))?;
        replay.go_on_by(&file)?;
    }
    for block in reader.iter(Height(1)) {
        let (_, payload) = block?;
        replay.push(&payload, &mut crate::admission::system_rng())?;
        progress.step();
    }
    let end = replay.finish();
    match end.fault {
        Some(fault) => Err(fault.into()),
        None => Ok(end.tip.height),
    }
}
