//! Cosigner.
