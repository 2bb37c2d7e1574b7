//! What most commands begin with: configuration, trust, nodes, and the document that an argument names.

use crate::Language;
use crate::failure::Failure;
use client::config::Config;
use client::identity::{self, Identified};
use client::state::{self, Registrations};
use client::{desk, when};
use ledger::document::DocumentId;
use ledger::id::TimeMs;
use ledger::receipt::Trust;
use std::path::{Path, PathBuf};

/// Options of every command.
#[derive(Debug)]
pub(crate) struct Global {
    /// The named configuration.
    pub(crate) config: Option<PathBuf>,
    /// Language of explanations.
    pub(crate) language: Language,
}

/// A configured desk with its trust.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) config: Config,
    pub(crate) trust: Trust,
    pub(crate) now: TimeMs,
}

/// What an argument names.
#[derive(Debug)]
pub(crate) enum Named {
    /// A file that is known to be a document.
    File(Box<Identified>),
    /// A document id alone.
    Id(DocumentId),
}

impl Named {
    /// The document.
    pub(crate) fn document(&self) -> DocumentId {
        match self {
            Self::File(identified) => identified.document,
            Self::Id(id) => *id,
        }
    }
}

impl Session {
    /// Reads configuration and trust.
    pub(crate) fn open(global: &Global) -> Result<Self, Failure> {
        let config = Config::load(global.config.as_deref())?;
        let trust = genesis::trust::load(config.trust())?;
        let now = when::now()?;
        Ok(Self { config, trust, now })
    }

    /// What was registered from here, if anything; for looking only.
    pub(crate) fn registrations(&self) -> Result<Option<Registrations>, Failure> {
        // A desk that only verifies has neither state nor authority.
        let (Ok(dir), Ok(owner)) = (self.config.state(), desk::owner(&self.config, &self.trust))
        else {
            return Ok(None);
        };
        Ok(state::look(dir, owner)?)
    }

    /// The document that an argument names: an existing file, or a document id.
    pub(crate) fn named(
        &self,
        argument: &str,
        registrations: Option<&Registrations>,
    ) -> Result<Named, Failure> {
        let path = Path::new(argument);
        if path.is_dir() {
            return Err(Failure::Usage(format!(
                "{argument} is a folder: name a file in it, or a document id"
            )));
        }
        if path.exists() {
            let identified = identity::identify(path, registrations, &self.trust, self.now)?;
            return Ok(Named::File(Box::new(identified)));
        }
        argument.parse().map(Named::Id).map_err(|error| {
            Failure::Usage(format!(
                "{argument} is neither a file nor a document id: {error}"
            ))
        })
    }
}
