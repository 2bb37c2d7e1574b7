//! Receipts that are made by hand and by a real chain, whole and with one thing wrong at a time.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod chain;
mod form;
mod golden;
mod openings;
mod pins;
mod registration;
mod related;
mod signers;
mod tools;
mod verdicts;
mod world;

/// The verdict is PROOF INVALID at this step, for this reason.
macro_rules! refused {
    ($verdict:expr, $step:ident, $fault:pat) => {{
        let verdict = $verdict;
        let finding = verdict.finding();
        assert!(
            matches!(
                finding,
                $crate::receipt::Finding::ProofInvalid($crate::receipt::Failure {
                    step: $crate::receipt::Step::$step,
                    fault: $fault
                })
            ),
            "{finding:?}"
        );
        assert_eq!((verdict.word(), verdict.exit_code()), ("PROOF INVALID", 1));
        assert!(verdict.also().is_empty() && verdict.facts().is_none());
        assert!(verdict.as_of().is_none() && !verdict.are_bytes_checked());
    }};
}
use refused;
