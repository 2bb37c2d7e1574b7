//! Names under which keys appear in a checkpoint, and the refusal of two that look the same.
//!
//! A signature line of a C2SP note names its key by text and 32 bits of a hash (formats.md, section 7.1). 32 bits
//! can be ground out: an authority could look for a key whose pair equals another's, and every strict reader
//! would then reject the other's lines.

use ledger::key::Key;
use ledger::note::VerifierKey;
use ledger::validator_set::ValidatorSet;
use std::collections::BTreeMap;

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
    let keys = validators.members().iter().flat_map(|member| {
        [
            VerifierKey::log(origin, member.log),
            VerifierKey::cosigner(origin, &member.id, member.cosigner),
        ]
    });
    first_pair(keys)
}

fn first_pair(keys: impl Iterator<Item = VerifierKey>) -> Result<(), SameNoteId> {
    let mut seen = BTreeMap::new();
    for key in keys {
        let pair = (key.name().to_owned(), key.id());
        if let Some(first) = seen.insert(pair, *key.key()) {
            return Err(SameNoteId {
                first,
                second: *key.key(),
                name: key.name().to_owned(),
                id: hex::encode(key.id()),
            });
        }
    }
    Ok(())
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
            let id = VerifierKey::log("log.example", key).id();
            if let Some(first) = seen.insert(id, key) {
                return [first, key];
            }
        }
        unreachable!("2^64 keys have 2^32 ids");
    }

    #[test]
    fn equal_pairs_are_refused_and_equal_ids_under_other_names_are_not() {
        let [first, second] = colliding();
        let one = VerifierKey::log("log.example", first);
        let same = VerifierKey::log("log.example", second);
        assert_eq!(one.id(), same.id());
        assert!(first_pair([one.clone(), same].into_iter()).is_err());
        let other = VerifierKey::log("other.example", second);
        assert_eq!(first_pair([one, other].into_iter()), Ok(()));
    }
}
