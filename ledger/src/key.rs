//! Ed25519 keys and signatures, and the two acceptance sets (formats.md, section 1.4).
//!
//! Submissions are accepted under ZIP-215, where single and batch verification agree by specification;
//! everything else under `verify_strict`, one signature at a time. A public key is admitted once, where
//! it enters (genesis, Enrol, membership), by [`Key::admit`].

use crate::codec::refuse;
use borsh::io::{Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::Signer as _;

const ED25519: u8 = 1;

/// A public key: algorithm byte (1 = Ed25519) and 32 bytes. Displays as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

/// A signature with its algorithm byte (1 = Ed25519) and 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature([u8; 64]);

/// A signature without algorithm byte, where the epoch's set or the key's line fixes the algorithm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct RawSignature(pub [u8; 64]);

/// A signature does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify under key {key}")]
pub struct BadSignature {
    /// The key it was checked against.
    pub key: Key,
}

/// A public key that may not enter the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The bytes are no point of the curve, or not its canonical encoding.
    #[error("key {0} is not a canonical point encoding")]
    NotCanonical(Key),
    /// The point has small order: anyone can sign for it.
    #[error("key {0} has small order")]
    SmallOrder(Key),
    /// The point has a torsion component, so that verifiers may disagree.
    #[error("key {0} is not torsion-free")]
    Torsion(Key),
}

impl Key {
    /// A key from its 32 bytes; [`Key::admit`] says whether it may be used.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, without the algorithm.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Checks that the key may enter: canonical encoding, not of small order, torsion-free.
    ///
    /// # Errors
    /// [`BadKey`] names the first rule that is broken.
    pub fn admit(&self) -> Result<(), BadKey> {
        let point = CompressedEdwardsY(self.0)
            .decompress()
            .ok_or(BadKey::NotCanonical(*self))?;
        if point.compress().0 != self.0 {
            return Err(BadKey::NotCanonical(*self));
        }
        if point.is_small_order() {
            return Err(BadKey::SmallOrder(*self));
        }
        if !point.is_torsion_free() {
            return Err(BadKey::Torsion(*self));
        }
        Ok(())
    }

    /// Verifies under the strict rule: for everything but submissions.
    ///
    /// # Errors
    /// [`BadSignature`] if the key or R has small order, S is not canonical, or the equation fails.
    pub fn verify_strict(
        &self,
        message: &[u8],
        signature: &RawSignature,
    ) -> Result<(), BadSignature> {
        let refused = BadSignature { key: *self };
        let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(&self.0) else {
            return Err(refused);
        };
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(message, &signature).or(Err(refused))
    }

    /// Verifies under ZIP-215: for submissions, in admission, validity, audit and receipts alike.
    ///
    /// # Errors
    /// [`BadSignature`] if the cofactored equation fails or S is not canonical.
    pub fn verify_zip215(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let refused = BadSignature { key: *self };
        let Ok(key) = ed25519_zebra::VerificationKey::try_from(self.0) else {
            return Err(refused);
        };
        let signature = ed25519_zebra::Signature::from_bytes(&signature.0);
        key.verify(&signature, message).or(Err(refused))
    }
}

/// Signatures to be checked together under ZIP-215; agrees with [`Key::verify_zip215`] on each.
#[derive(Default)]
pub struct Zip215Batch(ed25519_zebra::batch::Verifier);

impl Zip215Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one signature.
    pub fn queue(&mut self, key: &Key, message: &[u8], signature: &Signature) {
        let key = ed25519_zebra::VerificationKeyBytes::from(key.0);
        self.0.queue((
            key,
            ed25519_zebra::Signature::from_bytes(&signature.0),
            message,
        ));
    }

    /// Whether all signatures verify. The random numbers must be unpredictable to the signers.
    ///
    /// # Errors
    /// [`BatchRefused`] if any one does not: check them one by one to find it.
    pub fn verify<R: rand_core::CryptoRng>(self, rng: R) -> Result<(), BatchRefused> {
        self.0.verify(rng).or(Err(BatchRefused))
    }
}

impl fmt::Debug for Zip215Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Zip215Batch")
    }
}

/// Some signature of a batch does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signature of the batch does not verify")]
pub struct BatchRefused;

/// A private key. Wiped when dropped; never displayed.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key for a 32-byte seed, which must be random and secret.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn key(&self) -> Key {
        Key(self.0.verifying_key().to_bytes())
    }

    /// Signs, without algorithm byte.
    pub fn sign_raw(&self, message: &[u8]) -> RawSignature {
        RawSignature(self.0.sign(message).to_bytes())
    }

    /// Signs, with algorithm byte.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.sign_raw(message).0)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.key())
    }
}

impl Signature {
    /// A signature from its 64 bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes, without the algorithm.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// The same signature without its algorithm byte.
    pub const fn raw(&self) -> RawSignature {
        RawSignature(self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::str::FromStr for Key {
    type Err = hex::FromHexError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RawSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

fn read_algorithm<R: Read>(reader: &mut R) -> IoResult<()> {
    match u8::deserialize_reader(reader)? {
        ED25519 => Ok(()),
        _ => Err(refuse("unknown key or signature algorithm")),
    }
}

impl BorshSerialize for Key {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        writer.write_all(&[ED25519])?;
        writer.write_all(&self.0)
    }
}

impl BorshDeserialize for Key {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        read_algorithm(reader)?;
        <[u8; 32]>::deserialize_reader(reader).map(Self)
    }
}

impl BorshSerialize for Signature {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        writer.write_all(&[ED25519])?;
        writer.write_all(&self.0)
    }
}

impl BorshDeserialize for Signature {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        read_algorithm(reader)?;
        <[u8; 64]>::deserialize_reader(reader).map(Self)
    }
}
