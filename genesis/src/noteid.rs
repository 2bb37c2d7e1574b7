//! Names under which keys appear in a checkpoint, and the refusal of two that look the same.
//!
//! A signature line of a C2SP note names its key by text and 32 bits of a hash (formats.md, section 7.1). 32 bits
//! can be ground out: an authority could look for a key whose pair equals another's, and every strict reader
//! would then reject the other's lines.

use ledger::hash::sha256;
use ledger::key::Key;
use ledger::validator_set::ValidatorSet;
use std::collections::BTreeMap;

/// Type byte of a plain Ed25519 note signature.
const NOTE: u8 = 1;
/// Type byte of a timestamped Ed25519 cosignature.
const COSIGNATURE: u8 = 4;

/// Two keys have the same name and key id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys {first} and {second} both appear as {name}+{id}")]
pub struct SameNoteId {
    /// One key.
    pub first: Key,
    /// The other.
    pub second: Key,
    /// The name.
    pub name: String,
    /// The key id in hex.
    pub id: String,
}

/// Checks that the log and cosigner keys of a set have distinct (name, key id) pairs.
///
/// # Errors
/// The first two that do not.
pub fn distinct(origin: &str, validators: &ValidatorSet) -> Result<(), SameNoteId> {
    let pairs = validators.members().iter().flat_map(|member| {
        let cosigner = format!("{origin}/{}", member.id);
        [
            (origin.to_owned(), NOTE, member.log),
            (cosigner, COSIGNATURE, member.cosigner),
        ]
    });
    first_pair(pairs)
}

fn first_pair(keys: impl Iterator<Item = (String, u8, Key)>) -> Result<(), SameNoteId> {
    let mut seen = BTreeMap::new();
    for (name, kind, key) in keys {
        let id = key_id(&name, kind, &key);
        if let Some(first) = seen.insert((name.clone(), id), key) {
            return Err(SameNoteId {
                first,
                second: key,
                name,
                id: hex::encode(id),
            });
        }
    }
    Ok(())
}

/// The first four bytes of SHA-256(name ‖ LF ‖ type ‖ key).
fn key_id(name: &str, kind: u8, key: &Key) -> [u8; 4] {
    let hash = sha256(&[name.as_bytes(), b"\n", &[kind], key.as_bytes()]);
    let mut id = [0; 4];
    id.copy_from_slice(hash.as_bytes().split_at(4).0);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts through keys until two have the same id; after about 2^16 of them some do.
    fn colliding() -> [Key; 2] {
        let mut seen = BTreeMap::new();
        for number in 0_u64.. {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            let key = Key::from_bytes(bytes);
            if let Some(first) = seen.insert(key_id("log.example", NOTE, &key), key) {
                return [first, key];
            }
        }
        unreachable!("2^64 keys have 2^32 ids");
    }

    #[test]
    fn the_id_is_that_of_the_published_example() {
        let key = "3b9ebdb4071f7b004580a2dc57318517cb4824dc6ba324a431e36094f8d00a28"
            .parse()
            .expect("hex");
        let id = key_id("ledger.example/audit-chain", NOTE, &key);
        assert_eq!(hex::encode(id), "eba004ec");
        let cosigner = "4bc4be43703204d44fe82fcfd5b3b37c9337ac36a797927f1a8428f61758834b"
            .parse()
            .expect("hex");
        let id = key_id("authority-a.example/validator", COSIGNATURE, &cosigner);
        assert_eq!(hex::encode(id), "dc749c26");
    }

    #[test]
    fn equal_pairs_are_refused_and_equal_ids_under_other_names_are_not() {
        let [first, second] = colliding();
        let pair = |name: &str, key| (name.to_owned(), NOTE, key);
        let same = [pair("log.example", first), pair("log.example", second)];
        assert!(first_pair(same.into_iter()).is_err());
        let other = [pair("log.example", first), pair("other.example", second)];
        assert_eq!(first_pair(other.into_iter()), Ok(()));
    }
}
