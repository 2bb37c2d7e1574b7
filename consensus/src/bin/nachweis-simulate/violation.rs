//! What a run can break.

use crate::clock::Time;
use std::fmt;

/// The promises that are checked after every event (consensus.md, 5.4 and 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invariant {
    Agreement,
    Linkage,
    HonestVotes,
    OneNotarization,
    NullifiedAndFinalized,
    FinalizedIsNotarized,
    Prefix,
    Records,
    Evidence,
    Durability,
    Certificates,
    Bounds,
    Times,
    Epochs,
    Roots,
    Quiescence,
    Journal,
    Alarm,
    Contract,
    HonestRefused,
    Liveness,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agreement => "I1 one block per height",
            Self::Linkage => "I2 committed blocks are linked without gap",
            Self::HonestVotes => "I3 no honest validator sends votes that conflict",
            Self::OneNotarization => "I4 at most one notarized block per view",
            Self::NullifiedAndFinalized => "I5 no view both nullified and finalized",
            Self::FinalizedIsNotarized => "I6 what is finalized was notarized",
            Self::Prefix => "I7 the committed prefix only grows",
            Self::Records => "I8 every committed record was submitted, is valid, and is there once",
            Self::Evidence => {
                "I9 evidence is against misbehaving validators only, and none is lost"
            }
            Self::Durability => "I10 nothing leaves before what it depends on is durable",
            Self::Certificates => "I11 every accepted certificate verifies",
            Self::Bounds => "I12 queues and maps stay within their bounds",
            Self::Times => "I13 block times increase and lie near an honest clock",
            Self::Epochs => "I14 an epoch starts only on the SEAL block of the one before",
            Self::Roots => "I15 equal blocks have equal log and status roots",
            Self::Journal => "I17 the journal stays small and keeps what binds",
            Self::Quiescence => "I16 an idle network is silent",
            Self::Alarm => "I18 no alarm without cause",
            Self::Contract => "the contract between engine and driver",
            Self::HonestRefused => "no message of an honest validator is an offence",
            Self::Liveness => "every record becomes final everywhere",
        })
    }
}

/// A broken promise.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) detail: String,
}

/// A broken promise, and when.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) at: Time,
    pub(crate) violation: Violation,
}

pub(crate) type Checked = Result<(), Violation>;

/// A broken promise as an error.
pub(crate) fn broken<T>(invariant: Invariant, detail: impl Into<String>) -> Result<T, Violation> {
    Err(Violation {
        invariant,
        detail: detail.into(),
    })
}

/// `detail` is only made when the promise is broken.
pub(crate) fn check<D: Into<String>>(
    holds: bool,
    invariant: Invariant,
    detail: impl FnOnce() -> D,
) -> Checked {
    if holds {
        Ok(())
    } else {
        broken(invariant, detail())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at / 1_000;
        let ms = self.at % 1_000;
        write!(
            f,
            "at {seconds}.{ms:03} s: {}: {}",
            self.violation.invariant, self.violation.detail
        )
    }
}
