//! How a network of authorities comes into being.
//!
//! Key files, applications, the genesis that is assembled from them and signed by every authority, its
//! fingerprint, and the trust files that others pin. The program `nachweis-genesis` is a thin shell around it.
//!
//! It is not a node and not a client, and it talks to nobody: files in, files out. What a genesis, a key or a
//! trust *is* stands in `ledger`; here is how people come to agree on one, and what node and client agree on besides.
//!
//! # Map
//!
//! - [`api`]: the JSON that nodes answer with, for node and client
//! - [`keyfile`]: private keys on disk, also for node and client
//! - [`birth`]: the keys of a new authority, the validator's with its fresh journal and cosigner guard
//! - [`application`]: an authority's signed wish to join, and its file
//! - [`address`]: where a validator is reached
//! - [`ceremony`]: applications to a genesis, the same for everyone; the check before anyone relies on it
//! - [`container`]: `genesis.nachweis`, the genesis with its signatures
//! - [`observer`]: `observer.cert`, which lets a node follow without voting
//! - [`noteid`]: no two keys that look the same in a checkpoint
//! - [`restart`]: reports of stopped validators, and the file that opens a new epoch
//! - [`trust`]: `trust.json` and `trust.policy`, which verifiers start from
//! - [`words`]: the fingerprint for reading aloud
//! - [`files`]: durable writing that overwrites nothing

pub mod address;
pub mod api;
pub mod application;
pub mod birth;
pub mod ceremony;
pub mod container;
pub mod files;
pub mod keyfile;
pub mod noteid;
pub mod observer;
pub mod restart;
pub mod trust;
pub mod when;
pub mod words;
