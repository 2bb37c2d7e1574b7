//! Signatures of the simulation: a fast keyed hash, or real Ed25519.
//!
//! The mock's public key is its secret, so anyone could forge; the byzantine validators here sign with their own
//! [`Signer`] only, as real ones would have to.

use crate::random::mix;
use consensus::{Ed25519, Signer, Verifier};
use ledger::key::{BadSignature, Key, RawSignature, SigningKey};

/// Which signatures a run uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crypto {
    Mock,
    Real,
}

/// Signs with a keyed hash.
#[derive(Debug)]
struct Mock(Key);

impl Crypto {
    /// The signer that a seed of 32 bytes stands for.
    pub(crate) fn signer(self, seed: &[u8; 32]) -> Box<dyn Signer> {
        match self {
            Self::Mock => Box::new(Mock(Key::from_bytes(*seed))),
            Self::Real => Box::new(SigningKey::from_seed(seed)),
        }
    }

    pub(crate) fn verifier(self) -> &'static dyn Verifier {
        match self {
            Self::Mock => &MockVerifier,
            Self::Real => &Ed25519,
        }
    }
}

impl Signer for Mock {
    fn key(&self) -> Key {
        self.0
    }

    fn sign(&self, message: &[u8]) -> RawSignature {
        keyed_hash(&self.0, message)
    }
}

#[derive(Debug)]
struct MockVerifier;

impl Verifier for MockVerifier {
    fn verify(
        &self,
        key: &Key,
        message: &[u8],
        signature: &RawSignature,
    ) -> Result<(), BadSignature> {
        if keyed_hash(key, message) == *signature {
            Ok(())
        } else {
            Err(BadSignature { key: *key })
        }
    }
}

fn keyed_hash(key: &Key, message: &[u8]) -> RawSignature {
    let inner = fold(fold(0, key.as_bytes()), message);
    let mut signature = [0; 64];
    let mut word = inner;
    for chunk in signature.chunks_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes());
        word = mix(word ^ inner.rotate_left(17));
    }
    RawSignature(signature)
}

/// A fast hash of bytes: folded multiplication, eight bytes at a time. Not cryptographic.
pub(crate) fn fold(start: u64, bytes: &[u8]) -> u64 {
    let mut state = start ^ 0x2d35_8dcc_aa6c_78a5 ^ (bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u64::from_le_bytes(word) ^ 0x8bb8_4b93_962e_acc9;
        state = (state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state ^= state >> 29;
    }
    mix(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mock_signature_binds_key_and_message() {
        let one = Crypto::Mock.signer(&[1; 32]);
        let verifier = Crypto::Mock.verifier();
        let signature = one.sign(b"message");
        assert_eq!(verifier.verify(&one.key(), b"message", &signature), Ok(()));
        assert!(verifier.verify(&one.key(), b"massage", &signature).is_err());
        let other = Crypto::Mock.signer(&[2; 32]).key();
        assert!(verifier.verify(&other, b"message", &signature).is_err());
    }
}
