//! C2SP cosignatures, type 0x04: "at this time, this is the largest tree that I hold" (formats.md, 4 and 7.3).
//!
//! A cosignature is made after finality, with a key of its own, and is never a vote (formats.md, section 8).

use crate::key::{RawSignature, SigningKey};
use crate::note::{SignatureLine, VerifierKey};
use alloc::format;
use alloc::string::String;

/// Latest time that a cosignature may carry, in seconds.
const MAX_TIME: u64 = i64::MAX as u64;

/// A verified cosignature's time, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CosignedAt(pub u64);

/// What is signed: `cosignature/v1`, `time <seconds>`, and the whole checkpoint text.
fn message(time_s: u64, checkpoint: &str) -> String {
    format!("cosignature/v1\ntime {time_s}\n{checkpoint}")
}

/// Cosigns a checkpoint's text at a time in Unix seconds.
pub fn cosign(by: &VerifierKey, key: &SigningKey, time_s: u64, checkpoint: &str) -> SignatureLine {
    let time_s = time_s.min(MAX_TIME);
    let signature = key.sign_raw(message(time_s, checkpoint).as_bytes());
    SignatureLine::new(by, [time_s.to_be_bytes().as_slice(), &signature.0].concat())
}

/// Checks that a line is this cosigner's and verifies, by the strict rule; returns its time.
///
/// `None` if it is another's, has the wrong length, or does not verify.
pub fn verify(by: &VerifierKey, line: &SignatureLine, checkpoint: &str) -> Option<CosignedAt> {
    let (time, signature) = line.blob.split_first_chunk::<8>()?;
    let signature = RawSignature(signature.try_into().ok()?);
    let time_s = u64::from_be_bytes(*time);
    if !by.matches(line) || time_s > MAX_TIME {
        return None;
    }
    by.key()
        .verify_strict(message(time_s, checkpoint).as_bytes(), &signature)
        .ok()?;
    Some(CosignedAt(time_s))
}
