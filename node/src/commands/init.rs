//! `nachweis-node init`: a node's directory from keys and genesis.
//!
//! The directory appears whole under its name. Then the vote key's journal and the cosigner's guard are
//! *moved* in: they exist once, and a second `init` with the same keys is refused, because a copied
//! journal could sign twice (consensus.md, 3.12). If the move was interrupted, `init` finishes it.

use super::Failure;
use crate::config;
use crate::exit::Exit;
use crate::identity::{Duty, Identity, IdentityError, Part, file_name};
use genesis::container::Founding;
use genesis::files::{self, Access};
use genesis::observer;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Folder of the consensus journal, in the keys' folder and below the data.
pub const JOURNAL: &str = "journal";
/// Guard file of the cosigner, in the keys' folder and below the data.
pub const GUARD: &str = "guard";

/// What stands in an observer's configuration, which listens nowhere.
const OBSERVER_LISTEN: &str = "/ip4/127.0.0.1/tcp/0";

/// What `init` is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder with the authority's key files, journal and guard.
    pub keys: PathBuf,
    /// The signed genesis.
    pub genesis: PathBuf,
    /// The directory to make.
    pub dir: PathBuf,
    /// Multiaddress to listen at; the first one in the genesis if none is given.
    pub listen: Option<String>,
    /// Address of the HTTP API.
    pub api: SocketAddr,
    /// What the node will do.
    pub duty: Duty,
}

/// Why no directory was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Keys or genesis are refused.
    #[error("no node can be made from these keys and this genesis")]
    Identity(#[from] IdentityError),
    /// The directory is there.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The directory is a node's of another network.
    #[error("{} is a node of another genesis", .0.display())]
    OtherGenesis(PathBuf),
    /// Journal or guard are not where `apply` left them.
    #[error("{} is missing", .0.display())]
    Moved(PathBuf),
    /// The genesis has no address that can be listened at.
    #[error("the genesis names no IP address of this validator to listen at")]
    NoAddress,
    /// The file system refuses.
    #[error("{} cannot be made", path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl From<InitError> for Failure {
    fn from(error: InitError) -> Self {
        let hint = match &error {
            InitError::Identity(source) => source.hint(),
            InitError::Moved(_) => Some(
                "the journal is made once with the vote key and moves to the first node that is \
                 made from it; a second node with the same key would vote twice"
                    .into(),
            ),
            InitError::Exists(_) | InitError::OtherGenesis(_) => {
                Some("name a directory that does not exist yet".into())
            }
            InitError::NoAddress => Some("give --listen /ip4/…/tcp/…".into()),
            InitError::Write { .. } => None,
        };
        Self::new(Exit::Refused, error).hint(hint)
    }
}

/// Makes the directory.
///
/// # Errors
/// [`InitError`]; an existing directory is left as it is.
pub fn init(options: &Options) -> Result<(), InitError> {
    let identity = Identity::read(&options.genesis, &options.keys, options.duty)?;
    if identity.duty() == Duty::Observer {
        // It has nothing that exists once.
        if options.dir.exists() {
            return Err(InitError::Exists(options.dir.clone()));
        }
        return make_dir(options, &identity);
    }
    let interrupted = check_dir(options, &identity)?;
    for name in [JOURNAL, GUARD] {
        let there = options.keys.join(name);
        let moved = interrupted && options.dir.join("data").join(name).exists();
        if !there.exists() && !moved {
            return Err(InitError::Moved(there));
        }
    }
    if !interrupted {
        make_dir(options, &identity)?;
    }
    for name in [GUARD, JOURNAL] {
        let (from, to) = (options.keys.join(name), options.dir.join("data").join(name));
        if from.exists() {
            move_over(&from, &to).map_err(|source| InitError::Write { path: to, source })?;
        }
    }
    Ok(())
}

/// Whether the directory is one that an interrupted `init` left: all there but the journal.
fn check_dir(options: &Options, identity: &Identity) -> Result<bool, InitError> {
    let dir = &options.dir;
    if !dir.exists() {
        return Ok(false);
    }
    let Ok(there) = Founding::load(&dir.join("genesis.nachweis")) else {
        return Err(InitError::Exists(dir.clone()));
    };
    if there.chain() != identity.founding.chain() {
        return Err(InitError::OtherGenesis(dir.clone()));
    }
    let there = Identity::read(
        &dir.join("genesis.nachweis"),
        &dir.join("keys"),
        identity.duty(),
    );
    let keys = |identity: &Identity| -> Vec<_> {
        let files = identity.key_files().into_iter();
        files.map(|file| file.key()).collect()
    };
    let same = there.is_ok_and(|there| keys(&there) == keys(identity));
    if same && !dir.join("data").join(JOURNAL).exists() {
        Ok(true)
    } else {
        Err(InitError::Exists(dir.clone()))
    }
}

fn make_dir(options: &Options, identity: &Identity) -> Result<(), InitError> {
    let listen = match (&options.listen, &identity.part) {
        (Some(listen), _) => listen.clone(),
        (None, Part::Validator { .. }) => first_address(identity).ok_or(InitError::NoAddress)?,
        (None, Part::Observer { .. }) => OBSERVER_LISTEN.to_owned(),
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| InitError::Write { path, source }
    };
    let parent = files::folder_of(&options.dir);
    fs::create_dir_all(parent).map_err(failed(parent))?;
    let name = options
        .dir
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let partial = parent.join(format!(".{name}.partial-{}", std::process::id()));
    let fill = || -> Result<(), InitError> {
        for folder in [partial.clone(), partial.join("keys"), partial.join("data")] {
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&folder)
                .map_err(failed(&folder))?;
        }
        if let Part::Observer { certificate, .. } = &identity.part {
            observer::create(certificate, &partial.join("keys").join(observer::FILE))
                .map_err(IdentityError::from)?;
        }
        for key in identity.key_files() {
            key.create(&partial.join("keys").join(file_name(key.purpose())))
                .map_err(IdentityError::from)?;
        }
        let write = |name: &str, bytes: &[u8]| {
            let path = partial.join(name);
            files::create(&path, bytes, Access::Public).map_err(failed(&path))
        };
        let genesis = fs::read(&options.genesis).map_err(failed(&options.genesis))?;
        write("genesis.nachweis", &genesis)?;
        write(
            config::FILE,
            config::template(&listen, options.api).as_bytes(),
        )?;
        files::sync_folder(&partial).map_err(failed(&partial))?;
        fs::rename(&partial, &options.dir).map_err(failed(&options.dir))?;
        files::sync_folder(parent).map_err(failed(parent))
    };
    fill().inspect_err(|_| {
        // What cannot be removed is a hidden folder with a telling name.
        fs::remove_dir_all(&partial).ok();
    })
}

fn first_address(identity: &Identity) -> Option<String> {
    let authority = identity.founding.genesis().authority(identity.authority)?;
    let addresses = &authority.validator.as_ref()?.addresses;
    let ip = |text: &&str| text.starts_with("/ip4/") || text.starts_with("/ip6/");
    addresses
        .iter()
        .map(ledger::codec::Text::as_str)
        .find(ip)
        .map(str::to_owned)
}

/// Moves a file or a folder of files, durably; across file systems by copying, syncing and then removing.
fn move_over(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy_over(from, to)?,
        done => done?,
    }
    files::sync_folder(files::folder_of(to))?;
    files::sync_folder(files::folder_of(from))
}

fn copy_over(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_file() {
        fs::copy(from, to)?;
        fs::File::open(to)?.sync_all()?;
        return fs::remove_file(from);
    }
    let partial = to.with_extension("partial");
    fs::create_dir_all(&partial)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = partial.join(entry.file_name());
        fs::copy(entry.path(), &copy)?;
        fs::File::open(copy)?.sync_all()?;
    }
    files::sync_folder(&partial)?;
    fs::rename(&partial, to)?;
    files::sync_folder(files::folder_of(to))?;
    fs::remove_dir_all(from)
}
