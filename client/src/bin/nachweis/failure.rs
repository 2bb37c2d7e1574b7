//! Why a command failed: what is printed, and the exit code (formats.md, section 6; style: whose fault, who acts).

use client::api::ApiError;
use client::audit::AuditError;
use client::audit::segments::OpenError;
use client::config::ConfigError;
use client::delivery::DeliveryError;
use client::desk::DeskError;
use client::documents::Trouble;
use client::exit::Exit;
use client::identity::IdentityError;
use client::registration::RegistrationError;
use client::state::StateError;
use client::verification::chain;
use client::when::NoClock;
use genesis::keyfile::KeyFileError;
use genesis::trust::TrustFileError;
use std::io::{self, Write};
use std::path::PathBuf;

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Desk(#[from] DeskError),
    #[error(transparent)]
    Key(#[from] KeyFileError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Clock(#[from] NoClock),
    #[error(transparent)]
    Trust(#[from] TrustFileError),
    #[error("there is nothing to do: {0}")]
    Nothing(String),
    #[error("{0}")]
    Usage(String),
    #[error("the ledger refuses: {message}")]
    Refused {
        message: String,
        hint: Option<String>,
    },
    #[error("the node's receipt of {document} is not good: {problem}")]
    NotProved { document: String, problem: String },
    #[error("{} exists and is another network's", .0.display())]
    Exists(PathBuf),
    #[error("{} cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
    #[error("this program cannot be set up")]
    Runtime(#[source] io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    /// Prints `error:` with the chain of causes, then `hint:` if there is one.
    pub(crate) fn report(&self, err: &mut dyn Write) {
        let mut text = format!("error: {}", chain(self));
        if let Some(hint) = self.hint() {
            text.push_str(&format!("\nhint: {hint}"));
        }
        // Without standard error there is nobody to tell.
        writeln!(err, "{text}").ok();
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Desk(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::State(error) => error.hint(),
            Self::Api(error) | Self::Delivery(DeliveryError::Api(error)) => error.hint(),
            Self::Delivery(DeliveryError::NotTaken { detail, .. }) => detail.hint.clone(),
            Self::Delivery(DeliveryError::NoProgress(_)) => {
                Some("it may still become final; see: nachweis show".into())
            }
            Self::Audit(AuditError::Api(error)) => error.hint(),
            Self::Audit(AuditError::Open(OpenError::Nothing(_))) => {
                Some("name a node's directory, or a folder of `nachweis-node export-archive`".into())
            }
            Self::Audit(AuditError::Open(OpenError::Ambiguous { .. })) => {
                Some("name the one that is to be audited".into())
            }
            Self::Audit(AuditError::Checkpoint(_)) => {
                Some("if the validators have changed, get a newer trust file from your authority".into())
            }
            Self::Audit(_) => None,
            Self::Registration(error) => error.hint(),
            Self::Identity(error) => error.hint(),
            Self::Trust(_) => Some(
                "the file is made by `nachweis-genesis trust`; get it from your authority, not from a node"
                    .into(),
            ),
            Self::Refused { hint, .. } => hint.clone(),
            Self::NotProved { .. } => Some("ask another node, and tell its operator".into()),
            Self::Exists(_) => Some("move it away if the new one is really meant".into()),
            Self::Clock(_) => Some("set the clock, then try again".into()),
            Self::Delivery(DeliveryError::Task)
            | Self::Nothing(_)
            | Self::Usage(_)
            | Self::Write { .. }
            | Self::Output(_)
            | Self::Runtime(_) => None,
        }
    }

    /// The exit code of the table.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Trust(_) | Self::Nothing(_) | Self::Usage(_) => Exit::Usage,
            Self::Desk(error) => desk(error),
            Self::Key(error) => key(error),
            Self::State(error) => state(error),
            Self::Api(error) => api(error),
            Self::Audit(error) => match error {
                AuditError::Open(OpenError::Nothing(_) | OpenError::Ambiguous { .. })
                | AuditError::Genesis(_) => Exit::Usage,
                AuditError::Open(_)
                | AuditError::Note(_)
                | AuditError::Checkpoint(_)
                | AuditError::Restart(_)
                | AuditError::OldRestart { .. } => Exit::CouldNotTell,
                AuditError::Api(error) => api(error),
                AuditError::Task => Exit::Internal,
            },
            Self::Delivery(error) => delivery(error),
            Self::Registration(error) => match error {
                RegistrationError::State(error) => state(error),
                RegistrationError::Delivery(error) => delivery(error),
                RegistrationError::Api(error) => api(error),
                RegistrationError::Desk(error) => desk(error),
                RegistrationError::Random(_) | RegistrationError::Kept(_) => Exit::CouldNotTell,
            },
            Self::Identity(error) => identity(error),
            Self::Refused { .. } | Self::Exists(_) => Exit::Refused,
            Self::NotProved { .. } | Self::Clock(_) | Self::Write { .. } | Self::Output(_) => {
                Exit::CouldNotTell
            }
            Self::Runtime(_) => Exit::Internal,
        }
    }
}

fn desk(error: &DeskError) -> Exit {
    match error {
        DeskError::Config(_)
        | DeskError::Stranger(_)
        | DeskError::OtherAuthority { .. }
        | DeskError::Submission(_) => Exit::Usage,
        DeskError::Key(error) => key(error),
        DeskError::Api(error) => api(error),
        DeskError::Clock(_) => Exit::CouldNotTell,
    }
}

fn key(error: &KeyFileError) -> Exit {
    match error {
        KeyFileError::Open { .. } | KeyFileError::Exists { .. } => Exit::Refused,
        KeyFileError::Malformed { .. }
        | KeyFileError::Authority { .. }
        | KeyFileError::Purpose { .. } => Exit::Usage,
        KeyFileError::Read { .. } | KeyFileError::Create { .. } | KeyFileError::Random(_) => {
            Exit::CouldNotTell
        }
    }
}

fn state(error: &StateError) -> Exit {
    match error {
        StateError::Locked(_) | StateError::Open { .. } => Exit::Refused,
        StateError::Foreign { .. } | StateError::Path(_) => Exit::Usage,
        StateError::Io { .. } | StateError::Journal(_) => Exit::CouldNotTell,
    }
}

fn api(error: &ApiError) -> Exit {
    match error {
        ApiError::Url { .. } | ApiError::TooLong { .. } => Exit::Usage,
        ApiError::Setup(_) => Exit::Internal,
        ApiError::Unavailable(_)
        | ApiError::Busy { .. }
        | ApiError::NotFound { .. }
        | ApiError::Answer { .. } => Exit::CouldNotTell,
        ApiError::Refused { .. } => Exit::Refused,
    }
}

fn delivery(error: &DeliveryError) -> Exit {
    match error {
        DeliveryError::Api(error) => api(error),
        DeliveryError::NoProgress(_) | DeliveryError::NotTaken { .. } => Exit::CouldNotTell,
        DeliveryError::Task => Exit::Internal,
    }
}

fn identity(error: &IdentityError) -> Exit {
    match error {
        IdentityError::File { trouble, .. } => match trouble {
            Trouble::Missing
            | Trouble::Unreadable(_)
            | Trouble::Special
            | Trouble::Changed
            | Trouble::Receipt
            | Trouble::Empty
            | Trouble::Deep => Exit::Partly,
        },
        IdentityError::Read { .. } => Exit::Partly,
        IdentityError::Receipt { .. } | IdentityError::Modified { .. } => Exit::No,
        IdentityError::Unknown(_) => Exit::CouldNotTell,
    }
}
