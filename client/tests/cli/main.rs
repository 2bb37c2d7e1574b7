//! The program as people and scripts see it: standard output, standard error, exit status.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod audit;
mod bad_input;
mod bad_receipts;
mod flow;
mod help;
mod interruption;
mod support;
