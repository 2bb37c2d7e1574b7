//! Whole-system tests of Nachweis, and the local network that they and the scripts use.
//!
//! What is here: real programs started as real processes on loopback, with real files; and the tools
//! behind `scripts/network` and `scripts/load`. What is not: anything that ships to an authority.
//!
//! # Map
//!
//! - [`binaries`]: where the programs are
//! - [`http`]: the smallest HTTP client that a test needs
//! - [`ceremony`]: founding a network with the real commands
//! - [`network`]: its processes: up, status, kill, restart, down
//! - [`bitrot`]: flipped bits in a node's files
//! - [`failing_disk`]: every write of a commit, failed once
//! - [`observer`]: a node that follows without voting
//! - [`campaign`]: faults over a network under load, and the audit afterwards
//! - [`cables`]: what is between nodes, to be cut
//! - [`delay`]: wires of some length between nodes
//! - [`chaos`]: kills, pauses, cuts and slow disks at random, and how long recovery takes
//! - [`fuzzing`]: what the fuzz targets run, as functions of bytes
//! - [`low_disk`]: a node's data disk at its low-water marks
//! - [`liar`]: a node's API with lies in it
//! - [`load`]: signed submissions to send
//! - [`machine`]: how fast this machine hashes, signs and syncs
//! - [`measure`]: memory, processor time and disk of a node
//! - [`program`]: how the programs end
//! - [`recorder`]: who listens on the wire in a validator's place
//! - [`replay`]: the oracle over a stopped node's archive
//! - [`running`]: a network that ends with its test, and what tests ask of its nodes
//! - [`spoil`]: flipped bits of archived blocks
//! - [`synthetic`]: an archive of any length without a network

pub mod binaries;
pub mod bitrot;
pub mod cables;
pub mod campaign;
pub mod ceremony;
pub mod chaos;
pub mod delay;
pub mod failing_disk;
pub mod fuzzing;
pub mod http;
pub mod liar;
pub mod load;
pub mod low_disk;
pub mod machine;
pub mod measure;
pub mod network;
pub mod observer;
pub mod program;
pub mod recorder;
pub mod replay;
pub mod running;
pub mod spoil;
pub mod synthetic;
