//! The validator: network, engine, storage, mempool, cosigner, receipts and HTTP API.
//!
//! It is the only crate that touches sockets and disks of a validator, and it decides nothing by
//! itself: what is valid is `ledger`'s, what is final is `consensus`'. Its own duty is order: nothing is
//! said before what it promises is on disk.
//!
//! # Map
//!
//! - start: [`config`], [`identity`], [`commands`], [`exit`]
//! - what is final and provable, and the way in: [`chain`], [`states`]
//! - what waits: [`admission`], [`mempool`]
//! - what travels: [`gossip`], [`network`]
//! - what is kept: [`storage`]
//! - what is asked: [`api`]
//! - what is watched: [`metrics`]

pub mod admission;
pub mod api;
pub mod chain;
pub mod commands;
pub mod config;
pub mod exit;
pub mod gossip;
pub mod identity;
pub mod mempool;
pub mod metrics;
pub mod network;
pub mod states;
pub mod storage;
#[cfg(test)]
mod testkit;
