//! Exit codes of `nachweis-node`, and the one way in which a fault of storage or safety ends the process.
//!
//! A node that goes on after a failed write may say something that it no longer remembers later. So
//! [`abort`] is called at the place of the fault and never returns; nothing is unwound or flushed.

use std::process::ExitCode;

/// Why the process ended, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Stopped as asked.
    Stopped,
    /// The command could not be done; nothing was changed.
    Failed,
    /// Usage or configuration is wrong.
    Usage,
    /// The running node could not be asked.
    Unavailable,
    /// Refused: key file readable by others, another genesis, port in use, disk full at start.
    Refused,
    /// An own bug.
    Internal,
    /// Stopped by itself, cleanly, because the disk is nearly full.
    DiskNearlyFull,
    /// A write or sync failed, or two histories are on the disk: an operator must look.
    Fatal,
}

impl Exit {
    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unavailable => 3,
            Self::Refused => 4,
            Self::Internal => 70,
            Self::Fatal => 74,
            Self::DiskNearlyFull => 75,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Ends the process at once with [`Exit::Fatal`]: what is on disk is what will be recovered from.
#[expect(
    clippy::exit,
    reason = "a failed write must end the process before anything else is said; see ARCHITECTURE.md"
)]
pub fn abort(what: &dyn std::error::Error) -> ! {
    tracing::error!(error = %Chain(what), "fatal: the process ends now");
    std::process::exit(i32::from(Exit::Fatal.code()))
}

/// Makes a panic end the process with a code of its own instead of a signal: [`Exit::Internal`], or [`Exit::Fatal`] where the
/// index's store gives up, which it does when a write or sync fails while it is closed.
pub fn on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        let of_store = |place: &std::panic::Location<'_>| place.file().contains("/sled-");
        let exit = if panic.location().is_some_and(of_store) {
            Exit::Fatal
        } else {
            Exit::Internal
        };
        #[expect(
            clippy::exit,
            reason = "after a panic nothing is unwound: the process ends here"
        )]
        std::process::exit(i32::from(exit.code()));
    }));
}

/// An error with its sources, on one line.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
