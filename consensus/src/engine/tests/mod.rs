//! Tests of the rules, one file per idea. `fixture` makes validators with toy signatures, `bench` drives one engine by
//! hand, `cluster` runs several in virtual time.

mod bench;
mod cluster;
mod fixture;

mod durability;
mod finality;
mod hostile;
mod network;
mod proposing;
mod spreading;
mod voting;
