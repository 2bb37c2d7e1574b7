//! `nachweis-node export-archive`: the blocks in a folder of their own, with a manifest, for cold storage and auditors.

use super::Failure;
use super::progress::Progress;
use crate::config::{Config, ConfigError};
use crate::exit::Exit;
use crate::storage::archive::OpenError;
use crate::storage::copy::{Copied, Segments};
use crate::storage::restarts::{Restarts, RestartsError};
use genesis::container::{ContainerError, Founding};
use genesis::files::{self, Access, NewFolder};
use ledger::genesis::GenesisError;
use ledger::hash::{ChainId, sha256};
use ledger::id::Height;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the manifest.
pub const MANIFEST: &str = "manifest.json";

/// What `manifest.json` says.
#[derive(Clone, Debug, Serialize)]
pub struct Manifest {
    /// The chain.
    pub chain: String,
    /// Newest block in the files.
    pub height: u64,
    /// The files beside it.
    pub files: Vec<Listed>,
}

/// One file of a manifest.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Its name.
    pub file: String,
    /// Its length in bytes.
    pub length: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Listed {
    /// Describes a file's bytes.
    pub fn of(file: &str, bytes: &[u8]) -> Self {
        Self {
            file: file.to_owned(),
            length: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            sha256: sha256(&[bytes]).to_string(),
        }
    }
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The configuration is refused.
    #[error("the node's configuration is refused")]
    Config(#[from] ConfigError),
    /// The genesis is refused.
    #[error("the node's genesis is refused")]
    Genesis(#[from] ContainerError),
    /// The archive cannot be read.
    #[error("the block archive cannot be copied")]
    Archive(#[from] OpenError),
    /// The genesis founds no network.
    #[error("the node's genesis cannot found a network")]
    Founding(#[from] GenesisError),
    /// A restart file is none that counts.
    #[error("a restart file cannot be copied")]
    Restart(#[from] RestartsError),
    /// The folder is there.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The file system refuses.
    #[error("{} cannot be written", path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        let (exit, hint) = match &error {
            ExportError::Config(_) => (Exit::Usage, None),
            ExportError::Archive(OpenError::File(_)) => (Exit::Failed, None),
            ExportError::Archive(_) => (
                Exit::Refused,
                Some("see what else is wrong with: nachweis audit DIR"),
            ),
            ExportError::Exists(_) => (
                Exit::Refused,
                Some("nothing is overwritten: name a folder that does not exist"),
            ),
            ExportError::Genesis(_) | ExportError::Founding(_) => (Exit::Refused, None),
            ExportError::Restart(error) => (Exit::Refused, Some(error.hint())),
            ExportError::Write { .. } => (Exit::Failed, None),
        };
        Self::new(exit, error).hint(hint.map(str::to_owned))
    }
}

/// The restart files of an archive, each of which counts by itself.
///
/// # Errors
/// [`ExportError`].
pub fn restart_files(archive: &Path, founding: Founding) -> Result<Restarts, ExportError> {
    let founding = ledger::tip::Founding::new(founding.into_genesis())?;
    Ok(Restarts::load(archive, &founding)?)
}

impl Manifest {
    /// Of no file yet.
    pub fn of(chain: ChainId) -> Self {
        Self {
            chain: chain.to_string(),
            height: 0,
            files: Vec::new(),
        }
    }

    /// Lists a segment too.
    pub fn add(&mut self, copied: &Copied) {
        self.files.push(Listed::of(&copied.name, &copied.bytes));
        self.height = copied.next.prev().unwrap_or(Height(0)).0;
    }
}

/// Copies the archive of a node, running or not, into a new folder. Gives what is in it.
///
/// # Errors
/// [`ExportError`]; the folder is not made then.
pub fn export(dir: &Path, out: &Path) -> Result<Manifest, ExportError> {
    let config = Config::load(dir)?;
    let founding = Founding::load(&config.genesis())?;
    let chain = founding.chain();
    if out.exists() {
        return Err(ExportError::Exists(out.into()));
    }
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| ExportError::Write { path, source }
    };
    let folder = NewFolder::begin(out).map_err(failed(out))?;
    let archive = config.data().join("archive");
    let mut segments = Segments::of(&archive, chain)?;
    let mut progress = Progress::new("exporting", segments.total());
    let mut manifest = Manifest::of(chain);
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        files::create(&path, bytes, Access::Public).map_err(failed(&path))
    };
    for copied in segments.by_ref() {
        let copied = copied?;
        put(&copied.name, &copied.bytes)?;
        manifest.add(&copied);
        progress.step();
    }
    let restarts = restart_files(&archive, founding)?;
    for copied in segments.end(&restarts) {
        put(&copied.name, &copied.bytes)?;
        manifest.add(&copied);
    }
    for (name, bytes) in restarts.reached(Height(manifest.height)) {
        put(&name, &bytes)?;
        manifest.files.push(Listed::of(&name, &bytes));
    }
    let path = folder.path().join(MANIFEST);
    let text = serde_json::to_vec_pretty(&manifest);
    let text = text.map_err(|error| failed(&path)(error.into()))?;
    files::create(&path, &text, Access::Public).map_err(failed(&path))?;
    folder.finish().map_err(failed(out))?;
    Ok(manifest)
}
