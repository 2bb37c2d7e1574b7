//! The validator: network, engine, storage, mempool, cosigner, receipts and HTTP API.
//!
//! It is the only crate that touches sockets and disks of a validator, and it decides nothing by
//! itself: what is valid is `ledger`'s, what is final is `consensus`'. Its own duty is order: nothing is
//! said before what it promises is on disk.
//!
//! # Map
//!
//! - start: [`config`], [`identity`], [`commands`], [`exit`]
//! - the whole: [`node`], tied together from what [`recovery`] finds; [`epochs`] tells which epoch that is
//! - what is final and provable, and the way in: [`chain`], [`states`]
//! - what moves it: [`driver`], [`executor`], [`archivist`], [`cosigner`], [`publisher`]
//! - without voting: [`follow`], which fetches what [`library`] hands out in [`range`]s, and [`notes`]
//! - what waits: [`admission`], [`mempool`]
//! - what travels: [`gossip`], [`network`] behind [`mesh`]
//! - what is kept: [`storage`]
//! - what is asked: [`api`], [`receipts`]
//! - what is watched: [`metrics`]; what is spared: [`arenas`]

#[cfg(planted_bugs)]
compile_error!("planted bugs are for the simulator alone: no node is built with them");

pub mod admission;
pub mod api;
pub mod archivist;
pub mod arenas;
pub mod chain;
pub mod clock;
pub mod commands;
pub mod conduct;
pub mod config;
pub mod cosigner;
pub mod driver;
pub mod epochs;
pub mod executor;
pub mod exit;
pub mod follow;
pub mod gossip;
pub mod identity;
pub mod library;
pub mod mempool;
pub mod mesh;
pub mod metrics;
pub mod network;
pub mod node;
pub mod notes;
pub mod publisher;
pub mod range;
pub mod receipts;
pub mod recovery;
pub mod repair;
pub mod scrub;
pub mod states;
pub mod storage;
#[cfg(test)]
mod testkit;
