//! Why a command failed: what is printed, and the exit code (formats.md, section 6; style: whose fault, who acts).

use genesis::address::AddressError;
use genesis::application::ApplicationError;
use genesis::birth::BirthError;
use genesis::ceremony::CeremonyError;
use genesis::container::ContainerError;
use genesis::keyfile::KeyFileError;
use genesis::observer::ObserverError;
use genesis::restart::RestartFileError;
use genesis::trust::TrustFileError;
use ledger::id::NameError;
use ledger::receipt::TrustError;
use std::error::Error as _;
use std::io::{self, Write};
use std::path::PathBuf;

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Key(#[from] KeyFileError),
    #[error(transparent)]
    Birth(#[from] BirthError),
    #[error(transparent)]
    Application(#[from] ApplicationError),
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error(transparent)]
    Trust(#[from] TrustFileError),
    #[error(transparent)]
    Restart(#[from] RestartFileError),
    #[error("not confirmed: nothing is written")]
    NotConfirmed,
    #[error(transparent)]
    Observer(#[from] ObserverError),
    #[error("{} exists and is not empty", .0.display())]
    Exists(PathBuf),
    #[error("{} cannot be created", path.display())]
    Create {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the clock of this computer is before 1970")]
    Clock,
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

mod exit {
    //! The exit codes in use.
    pub(super) const NOT_GOOD: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const COULD_NOT_TELL: u8 = 3;
    pub(super) const REFUSED: u8 = 4;
}

impl Failure {
    /// Prints `error:` with the chain of causes, then `hint:` if there is one. A broken pipe is fine.
    pub(crate) fn report(&self, err: &mut dyn Write) {
        if self.is_broken_pipe() {
            return;
        }
        let mut text = format!("error: {self}");
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        if let Some(hint) = self.hint() {
            text.push_str(&format!("\nhint: {hint}"));
        }
        // Without standard error there is nobody to tell.
        writeln!(err, "{text}").ok();
    }

    fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Key(error) | Self::Birth(BirthError::Key(error)) => error.hint(),
            Self::Application(error) => error.hint(),
            Self::Ceremony(error) => error.hint(),
            Self::Container(error) => error.hint(),
            Self::Trust(error) => error.hint().map(str::to_owned),
            Self::Restart(error) => error.hint(),
            Self::NotConfirmed => Some("type yes, or give --yes".into()),
            Self::Observer(error) => error.hint().map(str::to_owned),
            Self::Exists(_) => Some("nothing is overwritten: name another folder".into()),
            Self::Clock => Some("set the clock, then try again".into()),
            Self::Name(_) | Self::Birth(BirthError::Create { .. }) | Self::Create { .. } => None,
            Self::Output(_) => None,
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Output(_) if self.is_broken_pipe() => 0,
            Self::Name(_) => exit::USAGE,
            Self::Key(error) | Self::Birth(BirthError::Key(error)) => key(error),
            Self::Application(error) => application(error),
            Self::Ceremony(error) => ceremony(error),
            Self::Container(error) => container(error),
            Self::Trust(error) => trust(error),
            Self::Restart(error) => restart(error),
            Self::NotConfirmed => exit::REFUSED,
            Self::Observer(error) => observer(error),
            Self::Exists(_) => exit::REFUSED,
            Self::Birth(BirthError::Create { source, .. }) | Self::Create { source, .. } => {
                io_code(source)
            }
            Self::Clock | Self::Output(_) => exit::COULD_NOT_TELL,
        }
    }
}

fn io_code(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::AlreadyExists => exit::REFUSED,
        _ => exit::COULD_NOT_TELL,
    }
}

fn key(error: &KeyFileError) -> u8 {
    match error {
        KeyFileError::Open { .. } | KeyFileError::Exists { .. } => exit::REFUSED,
        KeyFileError::Malformed { .. }
        | KeyFileError::Authority { .. }
        | KeyFileError::Purpose { .. } => exit::USAGE,
        KeyFileError::Read { source, .. } | KeyFileError::Create { source, .. } => io_code(source),
        KeyFileError::Random(_) => exit::COULD_NOT_TELL,
    }
}

fn application(error: &ApplicationError) -> u8 {
    match error {
        ApplicationError::File { source, .. } => application(source),
        ApplicationError::Version(_)
        | ApplicationError::Name(_)
        | ApplicationError::NameBound(_)
        | ApplicationError::AddressWithoutValidator(_)
        | ApplicationError::Bound(_)
        | ApplicationError::Json(_)
        | ApplicationError::Base64
        | ApplicationError::Malformed(_) => exit::USAGE,
        ApplicationError::Address { source, .. } => match source {
            AddressError::Form(_)
            | AddressError::Host { .. }
            | AddressError::Port(_)
            | AddressError::Bound(_)
            | AddressError::None => exit::USAGE,
        },
        ApplicationError::Count { .. }
        | ApplicationError::Key { .. }
        | ApplicationError::Possession { .. }
        | ApplicationError::Readable => exit::NOT_GOOD,
        ApplicationError::Read(source) | ApplicationError::Write(source) => io_code(source),
    }
}

fn ceremony(error: &CeremonyError) -> u8 {
    match error {
        CeremonyError::None | CeremonyError::OtherAuthority { .. } => exit::USAGE,
        CeremonyError::Domain { .. }
        | CeremonyError::Twice(_)
        | CeremonyError::Rule(_)
        | CeremonyError::Stranger(_)
        | CeremonyError::Changed(_)
        | CeremonyError::OtherDomain { .. } => exit::NOT_GOOD,
        CeremonyError::Container(error) => container(error),
    }
}

fn container(error: &ContainerError) -> u8 {
    match error {
        ContainerError::Read { source, .. } | ContainerError::Write { source, .. } => {
            io_code(source)
        }
        ContainerError::Malformed(_) => exit::USAGE,
        ContainerError::Order(_)
        | ContainerError::Stranger(_)
        | ContainerError::Signature { .. }
        | ContainerError::OtherGenesis { .. }
        | ContainerError::Missing(_)
        | ContainerError::Rule(_)
        | ContainerError::Description(_)
        | ContainerError::NoteId(_) => exit::NOT_GOOD,
    }
}

fn trust(error: &TrustFileError) -> u8 {
    match error {
        TrustFileError::Read { source, .. } | TrustFileError::Write(source) => io_code(source),
        TrustFileError::Json(_)
        | TrustFileError::Version(_)
        | TrustFileError::Integer(_)
        | TrustFileError::Base64(_)
        | TrustFileError::Malformed { .. }
        | TrustFileError::Root(_)
        | TrustFileError::Trust(TrustError::PinSize) => exit::USAGE,
        TrustFileError::Description(_) | TrustFileError::Trust(_) => exit::NOT_GOOD,
    }
}

fn restart(error: &RestartFileError) -> u8 {
    match error {
        RestartFileError::Read { source, .. } | RestartFileError::Write { source, .. } => {
            io_code(source)
        }
        RestartFileError::Malformed { .. } | RestartFileError::None => exit::USAGE,
        RestartFileError::OtherBase(_)
        | RestartFileError::Block { .. }
        | RestartFileError::Restart(_) => exit::NOT_GOOD,
    }
}

fn observer(error: &ObserverError) -> u8 {
    match error {
        ObserverError::Read { source, .. } | ObserverError::Create { source, .. } => {
            io_code(source)
        }
        ObserverError::Form(_) | ObserverError::Malformed { .. } | ObserverError::Purpose(_) => {
            exit::USAGE
        }
        ObserverError::Stranger(_) | ObserverError::OtherKey(_) => exit::NOT_GOOD,
    }
}
