//! The ledger's contract, seen from outside: bytes, acceptance sets, rules, proofs, whole chains.
//!
//! One binary, so that it links once; one module for each promise.
#![expect(
    clippy::unwrap_used,
    reason = "a test may panic; the lint's own exception does not cover helpers"
)]
#![expect(
    clippy::assertions_on_result_states,
    reason = "that bytes are refused is said in one line, whatever they would have been"
)]

mod bare;
mod chains;
mod codes;
mod documents;
mod foundings;
mod golden;
mod keys;
mod logs;
mod observers;
mod restarts;
mod rules;
mod samples;
mod strict;
mod tools;
mod tries;
mod views;
mod votes;
mod world;
