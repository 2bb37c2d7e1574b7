//! The SDK of Nachweis: an async client of a node's HTTP API, and the offline verifier of receipts.
//!
//! What is here: finding and hashing documents, registering them so that an interrupted run continues, getting
//! receipts and checking them against the pinned trust. The program `nachweis` is a thin shell around it.
//!
//! It is not a node: it holds no ledger and believes nothing that a node says. What it shows as verified passed
//! `ledger::receipt::verify`. Openings (salts) stay in its state and in receipts; they are never sent anywhere.
//!
//! # Map
//!
//! - [`config`], [`desk`]: who acts, with which key, on which network, through which nodes
//! - [`documents`]: files and folders, hashed once each on all cores
//! - [`api`]: a node's HTTP API, the only module that names HTTP
//! - [`delivery`]: signed submissions into the ledger, with patience
//! - [`state`]: what was sent and how to open it, written before anything is sent
//! - [`registration`]: documents to receipts, so that an interrupted run continues
//! - [`proof`], [`refresh`]: receipts read, completed, checked, written; fresh ones from a node
//! - [`identity`]: which document a file is
//! - [`verification`]: files to verdicts, offline or with a fresh receipt
//! - [`audit`]: a whole chain verified again
//! - [`exit`], [`when`]: exit codes, times

pub mod api;
pub mod audit;
pub mod config;
pub mod delivery;
pub mod desk;
pub mod documents;
pub mod exit;
pub mod identity;
pub mod proof;
pub mod refresh;
pub mod registration;
pub mod state;
pub mod verification;
pub mod when;
