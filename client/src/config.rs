//! The configuration: which node, trust, key and state a desk uses.
//!
//! ```toml
//! authority = "bamf"                     # whose desk this is
//! node = "http://127.0.0.1:8080"         # one URL, or several: ["http://…", "http://…"]
//! trust = "trust.json"                   # what `nachweis trust add` pinned
//! key = "registrar.key"                  # signs documents' records
//! admin_key = "admin.key"                # signs key enrolment and retirement; only where that is done
//! state = "state"                        # folder for registrations under way, and openings
//! timeout_s = 10                         # how long a node may stay silent
//! ```
//!
//! Paths are relative to the file. Only `trust` is needed to verify offline.

use ledger::id::{AuthorityId, NameError};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Longest configuration file, in bytes.
const MAX: usize = 64 * 1024;
/// Most nodes of a configuration.
pub const MAX_NODES: usize = 16;
/// How long a node may stay silent unless the configuration says otherwise, in seconds.
pub const DEFAULT_TIMEOUT_S: u64 = 10;
/// The longest silence that a configuration may allow, in seconds.
const MAX_TIMEOUT_S: u64 = 3600;

/// A desk's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    file: PathBuf,
    authority: Option<AuthorityId>,
    nodes: Vec<String>,
    trust: PathBuf,
    key: Option<PathBuf>,
    admin_key: Option<PathBuf>,
    state: Option<PathBuf>,
    /// How long a node may stay silent, in seconds.
    pub timeout_s: u64,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No file was named, and none is at the usual place.
    #[error("there is no configuration: {} does not exist", .0.display())]
    None(PathBuf),
    /// The file cannot be read.
    #[error("configuration {} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not the TOML that this program takes.
    #[error("configuration {} is not understood: {problem}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What and where, on one line.
        problem: String,
    },
    /// The authority's id is none.
    #[error("configuration {}", path.display())]
    Authority {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: NameError,
    },
    /// The command needs a key that the file does not have.
    #[error("configuration {} has no `{key}`", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// The missing key.
        key: &'static str,
    },
}

impl ConfigError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::None(_) => Some("name one with --config FILE".into()),
            Self::Malformed { .. } => {
                Some("known keys: authority, node, trust, key, admin_key, state, timeout_s".into())
            }
            Self::Missing { key, .. } => Some(format!("add a line `{key} = \"…\"` to it")),
            Self::Read { .. } | Self::Authority { .. } => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    authority: Option<String>,
    node: Option<OneOrMany>,
    trust: PathBuf,
    key: Option<PathBuf>,
    admin_key: Option<PathBuf>,
    state: Option<PathBuf>,
    timeout_s: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Config {
    /// The file that is read when none is named: `$XDG_CONFIG_HOME` or `~/.config`, then `nachweis/config.toml`.
    pub fn usual_place() -> PathBuf {
        let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let base = named("XDG_CONFIG_HOME").map_or_else(
            || PathBuf::from(named("HOME").unwrap_or_default()).join(".config"),
            PathBuf::from,
        );
        base.join("nachweis").join("config.toml")
    }

    /// Reads the named file, or the one at the usual place.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.map_or_else(Self::usual_place, Path::to_path_buf);
        let bytes = genesis::files::read_bounded(&path, MAX).map_err(|source| {
            if named.is_none() && source.kind() == std::io::ErrorKind::NotFound {
                ConfigError::None(path.clone())
            } else {
                let path = path.clone();
                ConfigError::Read { path, source }
            }
        })?;
        Self::parse(path, &bytes)
    }

    fn parse(path: PathBuf, bytes: &[u8]) -> Result<Self, ConfigError> {
        let malformed = |problem: String| ConfigError::Malformed {
            path: path.clone(),
            problem,
        };
        let text = str::from_utf8(bytes).map_err(|_utf8| malformed("it is not UTF-8".into()))?;
        let table: Table =
            toml::from_str(text).map_err(|error| malformed(one_line(text, &error)))?;
        let nodes = match table.node {
            None => Vec::new(),
            Some(OneOrMany::One(url)) => vec![url],
            Some(OneOrMany::Many(urls)) => urls,
        };
        if nodes.len() > MAX_NODES {
            let count = nodes.len();
            return Err(malformed(format!("{count} nodes are over {MAX_NODES}")));
        }
        let timeout_s = table.timeout_s.unwrap_or(DEFAULT_TIMEOUT_S);
        if !(1..=MAX_TIMEOUT_S).contains(&timeout_s) {
            return Err(malformed(format!(
                "timeout_s is 1 to {MAX_TIMEOUT_S}, not {timeout_s}"
            )));
        }
        let authority = table.authority.as_deref().map(AuthorityId::new).transpose();
        let authority = authority.map_err(|source| ConfigError::Authority {
            path: path.clone(),
            source,
        })?;
        // Without a folder, names stay as they are: no `./` in messages.
        let folder = path.parent().unwrap_or_else(|| Path::new("")).to_path_buf();
        let beside = |name: Option<PathBuf>| name.map(|name| folder.join(name));
        Ok(Self {
            authority,
            nodes,
            trust: folder.join(table.trust),
            key: beside(table.key),
            admin_key: beside(table.admin_key),
            state: beside(table.state),
            timeout_s,
            file: path,
        })
    }

    fn needed<'a, T: ?Sized>(
        &self,
        key: &'static str,
        value: Option<&'a T>,
    ) -> Result<&'a T, ConfigError> {
        value.ok_or_else(|| ConfigError::Missing {
            path: self.file.clone(),
            key,
        })
    }

    /// Whose desk this is.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn authority(&self) -> Result<&AuthorityId, ConfigError> {
        self.needed("authority", self.authority.as_ref())
    }

    /// URLs of the nodes, in the order in which they are tried.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn nodes(&self) -> Result<&[String], ConfigError> {
        let nodes = Some(self.nodes.as_slice()).filter(|nodes| !nodes.is_empty());
        self.needed("node", nodes)
    }

    /// The trust file.
    pub fn trust(&self) -> &Path {
        &self.trust
    }

    /// The registrar's key file.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn key(&self) -> Result<&Path, ConfigError> {
        self.needed("key", self.key.as_deref())
    }

    /// The admin's key file.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn admin_key(&self) -> Result<&Path, ConfigError> {
        self.needed("admin_key", self.admin_key.as_deref())
    }

    /// The folder of the state.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn state(&self) -> Result<&Path, ConfigError> {
        self.needed("state", self.state.as_deref())
    }
}

/// A TOML error without its drawing of the line.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map(|before| before.matches('\n').count() + 1);
    let message = error.message().replace('\n', " ");
    match line {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(PathBuf::from("/desk/nachweis.toml"), text.as_bytes())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn paths_are_relative_to_the_file_and_one_node_is_a_list_of_one() {
        let config = parse("trust = \"t.json\"\nnode = \"http://n\"\nkey = \"/k\"\n").unwrap();
        assert_eq!(config.trust(), Path::new("/desk/t.json"));
        assert_eq!(config.key().unwrap(), Path::new("/k"));
        assert_eq!(config.nodes().unwrap(), ["http://n"]);
        assert_eq!(config.timeout_s, DEFAULT_TIMEOUT_S);
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let config = parse("trust = \"t.json\"\n").unwrap();
        let missing = config.key().unwrap_err();
        assert_eq!(
            missing.to_string(),
            "configuration /desk/nachweis.toml has no `key`"
        );
        let unknown = parse("trust = \"t.json\"\nkeys = \"k\"\n").unwrap_err();
        assert!(
            unknown.contains("line 2") && unknown.contains("keys"),
            "{unknown}"
        );
        let zero = parse("trust = \"t\"\ntimeout_s = 0\n").unwrap_err();
        assert!(zero.ends_with("timeout_s is 1 to 3600, not 0"), "{zero}");
        parse("trust = \"t\"\nauthority = \"NO\"\n").unwrap_err();
    }

    #[test]
    fn the_documented_examples_are_configurations() {
        let documents = [
            include_str!("../../docs/caseworkers.en.md"),
            include_str!("../../docs/caseworkers.de.md"),
        ];
        for text in documents {
            let (_, behind) = text.split_once("```toml\n").unwrap();
            let (example, _) = behind.split_once("```").unwrap();
            let config = parse(example).unwrap();
            assert_eq!(config.state().unwrap(), Path::new("/desk/state"));
        }
    }
}
