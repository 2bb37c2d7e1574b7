//! Exit codes of `nachweis` and which of several wins (formats.md, section 6; `docs/exit-codes.md`).
//!
//! "No" and "could not tell" are different codes: for an audit that difference is the product.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; for `verify`: every document is CURRENT.
    Done,
    /// The answer is no: not in force, modified, proof invalid.
    No,
    /// Wrong usage, configuration or trust file.
    Usage,
    /// Could not tell: nobody answered in time, or no proof is at hand.
    CouldNotTell,
    /// Refused: no right to it, or the key file, state directory or file name is taken.
    Refused,
    /// In force as of an older checkpoint.
    Stale,
    /// In force, and disputed.
    Disputed,
    /// Some files could not be processed; they are listed.
    Partly,
    /// An own bug.
    Internal,
}

impl Exit {
    /// Every code, worst first.
    pub const WORST_FIRST: [Self; 9] = [
        Self::Internal,
        Self::Usage,
        Self::No,
        Self::Partly,
        Self::CouldNotTell,
        Self::Refused,
        Self::Disputed,
        Self::Stale,
        Self::Done,
    ];

    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::CouldNotTell => 3,
            Self::Refused => 4,
            Self::Stale => 5,
            Self::Disputed => 6,
            Self::Partly => 7,
            Self::Internal => 70,
        }
    }

    /// The worse of two.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let worst = Self::WORST_FIRST
            .into_iter()
            .find(|exit| *exit == self || *exit == other);
        worst.unwrap_or(Self::Internal)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_many_is_taken_in_the_order_of_the_table() {
        let codes: Vec<_> = Exit::WORST_FIRST.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [70, 2, 1, 7, 3, 4, 6, 5, 0]);
        assert_eq!(Exit::CouldNotTell.worst(Exit::No), Exit::No);
        assert_eq!(Exit::Done.worst(Exit::Stale), Exit::Stale);
        assert_eq!(Exit::Disputed.worst(Exit::Refused), Exit::Refused);
    }
}
