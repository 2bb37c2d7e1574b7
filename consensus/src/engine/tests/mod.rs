//! Tests of the rules, one file per idea. `fixture` makes validators with toy signatures, `bench` drives one engine by
//! hand, `cluster` runs several in virtual time.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a panic in a test is a failed test"
)]

mod bench;
mod cluster;
mod fixture;

mod compacting;
mod durability;
mod epochs;
mod finality;
mod hostile;
mod network;
mod proposing;
mod rejoin;
mod restart;
mod spreading;
mod voting;
