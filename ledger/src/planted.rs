//! Protocol bugs that are planted on purpose, one at a time, to see whether the simulation finds them
//! (consensus.md, 5.7; `scripts/mutants`).
//!
//! They exist only in a build with `--cfg planted_bugs`, which no program but the simulator accepts. In every other
//! build [`planted!`](macro@crate::planted) is the constant `false`, and this module is empty.

/// Whether one of these bugs is planted in the running process: `false` but under `--cfg planted_bugs`.
#[cfg(not(planted_bugs))]
#[macro_export]
macro_rules! planted {
    ($($bug:ident)|+) => {
        false
    };
}

/// Whether one of these bugs is planted in the running process.
#[cfg(planted_bugs)]
#[macro_export]
macro_rules! planted {
    ($($bug:ident)|+) => {
        $($crate::planted::is($crate::planted::Bug::$bug))||+
    };
}

#[cfg(planted_bugs)]
pub use list::{Bug, is, plant};

#[cfg(planted_bugs)]
mod list {
    use core::sync::atomic::{AtomicU8, Ordering};

    /// Number of the bug of this process; 0 = none.
    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Plants a bug instead of any other, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, Bug::number), Ordering::Relaxed);
    }

    /// Whether this bug is planted.
    pub fn is(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug.number()
    }

    macro_rules! bugs {
        ($($number:literal $bug:ident $what:literal;)+) => {
            /// All of them, numbered as in consensus.md 5.7; 31 was a real one.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            #[repr(u8)]
            pub enum Bug {
                $(#[doc = $what] $bug = $number,)+
            }

            impl Bug {
                /// Every bug, in the order of their numbers.
                pub const ALL: &[Self] = &[$(Self::$bug),+];

                /// Its number.
                pub const fn number(self) -> u8 {
                    match self { $(Self::$bug => $number,)+ }
                }

                /// What is wrong, in words.
                pub const fn what(self) -> &'static str {
                    match self { $(Self::$bug => $what,)+ }
                }
            }
        };
    }

    bugs! {
        1 FinalizeAfterNullify "Finalize although Nullify was sent";
        2 SentBeforeSync "outputs sent before the sync";
        3 VotesNotWritten "own votes not persisted";
        4 NotarizationNotWritten "certificate not persisted with Finalize";
        5 SmallQuorum "quorum q - 1";
        6 SignersTwice "duplicate signers counted in a certificate";
        7 GapNew "no check for a nullification gap, new blocks";
        8 GapAgain "no check for a nullification gap, re-proposals";
        9 NoRetry "no retransmission";
        10 UnarmedByWork "timers never armed without a proposal";
        11 AlwaysArmed "timers always armed";
        12 NoReproposal "no re-proposal";
        13 EpochNotBound "epoch not checked and not in the signed bytes";
        14 AnyLeader "identity of the leader not checked";
        15 NotarizeUnchecked "Notarize before validation";
        16 VoteInOldViews "votes in old views allowed";
        17 KindNotBound "kind not bound in the signature";
        18 NewOnSeal "new block on a SEAL block";
        19 CommitOnNotarization "commit on a notarization";
        20 SignaturesUnchecked "signatures not checked";
        21 OldSet "next epoch uses the old set";
        22 NoFetch "missing blocks are not fetched";
        23 OwnVotesForgotten "own recovered votes not counted again";
        24 NoJustification "justification omitted";
        25 UncappedBackoff "back-off without a cap";
        26 NullifyAfterFinalize "Nullify after Finalize (and R0 not kept, without which it cannot happen)";
        27 RelayedProposal "relayed proposal accepted";
        28 BackoffByNotarization "back-off reset by a notarization";
        29 RejoinUnguarded "rejoin answered while the epoch's SEAL may be open";
        30 TornByRecord "a torn tail judged record by record, not by batch";
        31 FloorForgotten "a rejoin's floor dropped when the journal is pruned a second time";
    }
}
