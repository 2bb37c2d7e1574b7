//! The fingerprint of a chain: what people read to each other before they sign or pin it.
//!
//! The words are the BIP-39 English encoding of the chain id's first 16 bytes: twelve words, of which the last
//! holds a checksum, so that a misheard word is noticed. Whoever can, compares the 64 hex digits instead; the
//! words leave nobody a practical way to make two chains that read alike (2^64 tries), the hex none at all.

use bip0039::{English, Mnemonic};
use core::fmt;
use ledger::hash::ChainId;

/// A chain id for people. Displays as two lines: words, then hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(ChainId);

impl Fingerprint {
    /// The fingerprint of a chain.
    pub const fn of(chain: ChainId) -> Self {
        Self(chain)
    }

    /// Twelve English words, lower case.
    pub fn words(&self) -> Vec<String> {
        let (front, _) = self.0.as_bytes().split_at(16);
        let phrase =
            Mnemonic::<English>::from_entropy(front).expect("16 bytes are a length of BIP-39");
        phrase.phrase().split(' ').map(str::to_owned).collect()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.words().join(" "))?;
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::hash::Hash;

    #[test]
    fn words_are_those_of_the_published_vector() {
        // Entropy 1a48…5f7b of the standard's vectors, followed by anything.
        let mut bytes = [9; 32];
        let vector = hex::decode("1a486a5fbe53639984cb64b070755f7b").expect("hex");
        bytes[..16].copy_from_slice(&vector);
        let words = Fingerprint::of(ChainId(Hash(bytes))).words();
        assert_eq!(
            words.join(" "),
            "bottom drive obey lake curtain smoke basket hold race lonely fit walk"
        );
    }

    #[test]
    fn two_chains_that_differ_early_read_differently() {
        let zero = Fingerprint::of(ChainId(Hash([0; 32])));
        let mut one = [0; 32];
        one[15] = 1;
        assert_ne!(zero.words(), Fingerprint::of(ChainId(Hash(one))).words());
        assert_eq!(zero.to_string().lines().count(), 2);
    }
}
