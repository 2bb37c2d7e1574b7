//! The HTTP API: one file per resource, its JSON types in [`types`].

pub mod error;
pub mod probe;
pub mod types;
