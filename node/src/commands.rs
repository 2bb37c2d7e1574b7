//! What a person can ask of `nachweis-node`: one file per command.

pub mod aside;
pub mod backup;
pub mod check_index;
pub mod export;
pub mod init;
pub mod make_index;
pub mod places;
pub mod progress;
pub mod reindex;
pub mod restart;
pub mod room;
pub mod run;
pub mod status;

use crate::exit::Exit;

/// A command that was not done: what to print and how to end.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What went wrong, with its sources.
    pub error: Box<dyn std::error::Error + Send + Sync>,
    /// What a person can do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self {
            exit,
            error: Box::new(error),
            hint: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }
}
