//! Private keys on disk: one text file per key, for its owner's eyes only.
//!
//! ```text
//! nachweis-key v1
//! purpose: vote
//! authority: bamf
//! public: <64 hex digits>
//! seed: <64 hex digits>
//! journal: <32 hex digits>      (vote keys only: the journal that was made with it)
//! ```
//!
//! A file is created exclusively with mode 0600 and never changed. One that group or others can read is refused.
//! The seed is wiped from memory when the key is dropped.

use crate::files::{self, Access};
use ledger::genesis::Purpose;
use ledger::id::{AuthorityId, NameError};
use ledger::journal::JournalId;
use ledger::key::{Key, SigningKey};
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// First line of a key file.
const HEADING: &str = "nachweis-key v1";
/// Longest key file, in bytes.
const MAX: usize = 1024;

/// A private key with what it is for.
#[derive(Clone)]
pub struct KeyFile {
    purpose: Purpose,
    authority: AuthorityId,
    seed: Zeroizing<[u8; 32]>,
    journal: Option<JournalId>,
}

/// A key file cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system refuses.
    #[error("key file {} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Group or others may read it.
    #[error("key file {} is open to others: mode {mode:04o}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no key file.
    #[error("{} is no key file: {problem}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// Its authority's id is none.
    #[error("{} names no authority", path.display())]
    Authority {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: NameError,
    },
    /// It holds a key for something else.
    #[error("key file {} is for {}, not for {}", path.display(), purpose_name(*found), purpose_name(*wanted))]
    Purpose {
        /// Which.
        path: PathBuf,
        /// What it is for.
        found: Purpose,
        /// What was asked for.
        wanted: Purpose,
    },
    /// It exists.
    #[error("key file {} exists already", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("key file {} cannot be created", path.display())]
    Create {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The operating system gives no random numbers.
    #[error("no random numbers from the operating system")]
    Random(#[source] getrandom::Error),
}

impl KeyFileError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Open { path, .. } => Some(format!(
                "chmod 600 {}; if others could read it, make a new key instead",
                path.display()
            )),
            Self::Exists { .. } => Some("keys are never overwritten; name another folder".into()),
            Self::Purpose { wanted, .. } => Some(format!(
                "the file is usually called {}.key",
                purpose_name(*wanted)
            )),
            Self::Read { .. }
            | Self::Malformed { .. }
            | Self::Authority { .. }
            | Self::Create { .. }
            | Self::Random(_) => None,
        }
    }
}

/// The purpose as key files and file names write it.
pub const fn purpose_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Admin => "admin",
        Purpose::Registrar => "registrar",
        Purpose::Vote => "vote",
        Purpose::Cosigner => "cosigner",
        Purpose::Log => "log",
        Purpose::Network => "network",
    }
}

/// Fills an array with random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, KeyFileError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut()).map_err(KeyFileError::Random)?;
    Ok(bytes)
}

impl KeyFile {
    /// A new random key. A vote key for a validator comes from `birth` instead, which gives it a journal.
    ///
    /// # Errors
    /// [`KeyFileError::Random`].
    pub fn generate(purpose: Purpose, authority: AuthorityId) -> Result<Self, KeyFileError> {
        Ok(Self {
            purpose,
            authority,
            seed: random()?,
            journal: None,
        })
    }

    /// The same key, tied to a journal.
    #[must_use]
    pub(crate) const fn with_journal(mut self, journal: JournalId) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Reads a key file for one purpose.
    ///
    /// # Errors
    /// If group or others have any right to it, if it is for another purpose, or no key file.
    pub fn load(path: &Path, purpose: Purpose) -> Result<Self, KeyFileError> {
        let key = Self::load_any(path)?;
        if key.purpose == purpose {
            return Ok(key);
        }
        Err(KeyFileError::Purpose {
            path: path.into(),
            found: key.purpose,
            wanted: purpose,
        })
    }

    /// Reads a key file, whatever it is for.
    ///
    /// # Errors
    /// If group or others have any right to it, or it is no key file.
    pub fn load_any(path: &Path) -> Result<Self, KeyFileError> {
        let unreadable = |source| KeyFileError::Read {
            path: path.into(),
            source,
        };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Open {
                path: path.into(),
                mode,
            });
        }
        let bytes = Zeroizing::new(files::read_bounded_from(&file, MAX).map_err(unreadable)?);
        Self::parse(path, &bytes)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, KeyFileError> {
        let malformed = |problem| KeyFileError::Malformed {
            path: path.into(),
            problem,
        };
        let text = core::str::from_utf8(bytes).map_err(|_utf8| malformed("it is not text"))?;
        let body = text
            .strip_suffix('\n')
            .ok_or_else(|| malformed("its last line is cut off"))?;
        let mut lines = body.split('\n');
        if lines.next() != Some(HEADING) {
            return Err(malformed("its first line is not `nachweis-key v1`"));
        }
        let mut field = |name: &str, problem| {
            lines
                .next()
                .and_then(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .ok_or_else(|| malformed(problem))
        };
        let purpose = field("purpose", "line 2 is not `purpose: …`")?;
        let authority = field("authority", "line 3 is not `authority: …`")?;
        let public = field("public", "line 4 is not `public: …`")?;
        let seed_text = field("seed", "line 5 is not `seed: …`")?;
        let purpose = Purpose::ALL
            .iter()
            .copied()
            .find(|p| purpose_name(*p) == purpose)
            .ok_or_else(|| malformed("its purpose is unknown"))?;
        let authority = AuthorityId::new(authority).map_err(|source| KeyFileError::Authority {
            path: path.into(),
            source,
        })?;
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(seed_text, seed.as_mut())
            .map_err(|_hex| malformed("its seed is not 64 hex digits"))?;
        let journal = match (lines.next(), purpose) {
            (None, _) => None,
            (Some(line), Purpose::Vote) => {
                Some(parse_journal(line).ok_or_else(|| malformed("line 6 is not `journal: …`"))?)
            }
            (Some(_), _) => return Err(malformed("it has more lines than its kind")),
        };
        if lines.next().is_some() {
            return Err(malformed("it has more lines than its kind"));
        }
        let key = Self {
            purpose,
            authority,
            seed,
            journal,
        };
        if key.key().to_string() != public {
            return Err(malformed("its public key is not that of its seed"));
        }
        Ok(key)
    }

    fn text(&self) -> Zeroizing<String> {
        let seed = Zeroizing::new(hex::encode(self.seed.as_ref()));
        let journal = self
            .journal
            .map_or_else(String::new, |id| format!("journal: {id}\n"));
        // Large enough from the start, so that no copy of the seed is left behind by growing.
        let mut text = Zeroizing::new(String::with_capacity(MAX));
        for part in [
            HEADING,
            "\npurpose: ",
            purpose_name(self.purpose),
            "\nauthority: ",
            self.authority.as_str(),
            "\npublic: ",
            &self.key().to_string(),
            "\nseed: ",
            &seed,
            "\n",
            &journal,
        ] {
            text.push_str(part);
        }
        text
    }

    /// Writes the key to a new file of mode 0600.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`], or what the file system says; nothing is left then.
    pub fn create(&self, path: &Path) -> Result<(), KeyFileError> {
        files::create(path, self.text().as_bytes(), Access::Secret).map_err(|source| {
            let path = path.into();
            match source.kind() {
                io::ErrorKind::AlreadyExists => KeyFileError::Exists { path },
                _ => KeyFileError::Create { path, source },
            }
        })
    }

    /// What the key is for.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Whose it is.
    pub const fn authority(&self) -> &AuthorityId {
        &self.authority
    }

    /// The public half.
    pub fn key(&self) -> Key {
        self.signing_key().key()
    }

    /// The key, ready to sign.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_seed(&self.seed)
    }

    /// The secret seed; the network key's owner needs it for libp2p.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The journal that was made with this vote key; none: it starts in quarantine.
    pub const fn journal(&self) -> Option<JournalId> {
        self.journal
    }
}

impl core::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "KeyFile({} of {}, {})",
            purpose_name(self.purpose),
            self.authority,
            self.key()
        )
    }
}

fn parse_journal(line: &str) -> Option<JournalId> {
    let id: JournalId = line.strip_prefix("journal: ")?.parse().ok()?;
    // Lower case only, as everywhere.
    (line == format!("journal: {id}")).then_some(id)
}
