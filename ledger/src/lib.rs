//! The ground floor of Nachweis.
//!
//! What a record, block, vote, certificate, log, proof and receipt *is* on paper, how each is checked,
//! and the rules of what may follow what: values and pure functions.
//!
//! It is not a node and not a client: it has no I/O, no clock, no randomness, no async, and knows no
//! file, socket or path. The same bytes in give the same result on every machine.
//!
//! # Map
//!
//! - bytes: [`codec`], [`hash`], [`id`], [`key`]
//! - consensus on paper: [`validator_set`], [`header`], [`body`], [`vote`], [`certificate`], [`evidence`]
//! - what is recorded: [`document`], [`record`], [`submission`], [`genesis`], [`observer`]
//! - what is proved: [`log`], [`tile`], [`note`], [`checkpoint`], [`cosignature`], [`leaf`], [`trie`]
//! - how a halted chain goes on: [`restart`]
//! - what may follow what: [`state`], [`view`], [`tip`], [`refusal`], [`admission`], [`rules`], [`block`], [`execute`], [`replay`]
//! - what is handed out: [`receipt`]
//! - what is kept on disk: [`frame`], [`journal`], [`guard`]
#![no_std]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

extern crate alloc;

pub mod admission;
pub mod block;
pub mod body;
pub mod certificate;
pub mod checkpoint;
pub mod codec;
pub mod cosignature;
pub mod document;
pub mod evidence;
pub mod execute;
pub mod frame;
pub mod genesis;
pub mod guard;
pub mod hash;
pub mod header;
pub mod id;
pub mod journal;
pub mod key;
pub mod leaf;
pub mod log;
pub mod note;
pub mod observer;
pub mod planted;
pub mod receipt;
pub mod record;
pub mod refusal;
pub mod replay;
pub mod restart;
pub mod rules;
pub mod state;
pub mod submission;
pub mod tile;
pub mod tip;
pub mod trie;
pub mod validator_set;
pub mod view;
pub mod vote;
