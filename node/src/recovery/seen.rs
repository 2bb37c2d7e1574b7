//! What an index that is being filled from nothing may hold already, in a few bits for each entry: documents and submissions
//! that are new need not be looked for in the store, and nearly all are.

use ledger::document::DocumentId;
use ledger::hash::{Hash, SubmissionHash};
use ledger::id::{AuthorityIndex, Epoch, ValidatorIndex};
use ledger::key::Key;
use ledger::state::{AuthState, DocState, Inclusion, KeyState, Registration};
use ledger::view::{Effects, StateUnavailable, StateView};

/// Bits for each entry: with [`PROBES`] of them set, one new entry in fifty is looked for in vain; where a submission has many
/// records, and so entries are half of what there is room for, less than one in a thousand.
const BITS: u64 = 8;
const PROBES: u64 = 5;
/// 32 MiB: thirty-two million entries; beyond, more is looked for in vain.
const MAX_BITS: u64 = 1 << 28;

/// A Bloom filter over identities that are hashes, and so are spread evenly.
#[derive(Debug)]
pub(super) struct Seen(Vec<u64>);

impl Seen {
    /// With room for so many entries.
    pub(super) fn new(entries: u64) -> Self {
        let bits = entries.saturating_mul(BITS).clamp(64, MAX_BITS);
        Self(vec![0; usize::try_from(bits.div_ceil(64)).unwrap_or(1)])
    }

    /// Remembers what these effects add.
    pub(super) fn add(&mut self, effects: &Effects) {
        for id in effects.registrations.keys() {
            self.set(&id.0);
        }
        for hash in effects.submissions.keys() {
            self.set(&half(hash));
        }
    }

    fn places(&self, identity: &[u8; 16]) -> impl Iterator<Item = (usize, u64)> + use<> {
        let bits = u64::try_from(self.0.len()).unwrap_or(1).saturating_mul(64);
        let both = u128::from_le_bytes(*identity);
        let (low, high) = (
            u64::try_from(both & u128::from(u64::MAX)),
            u64::try_from(both >> 64),
        );
        let (start, step) = (low.unwrap_or(0), high.unwrap_or(0) | 1);
        (0..PROBES).map(move |probe| {
            let bit = start
                .wrapping_add(step.wrapping_mul(probe))
                .checked_rem(bits);
            let bit = bit.unwrap_or(0);
            (usize::try_from(bit / 64).unwrap_or(0), 1 << (bit % 64))
        })
    }

    fn set(&mut self, identity: &[u8; 16]) {
        for (word, bit) in self.places(identity) {
            if let Some(word) = self.0.get_mut(word) {
                *word |= bit;
            }
        }
    }

    fn may_hold(&self, identity: &[u8; 16]) -> bool {
        self.places(identity)
            .all(|(word, bit)| self.0.get(word).is_some_and(|word| word & bit != 0))
    }
}

fn half(hash: &SubmissionHash) -> [u8; 16] {
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// A state of which only what was seen is asked.
#[derive(Debug)]
pub(super) struct Asked<'a, V> {
    pub(super) below: &'a V,
    /// `None`: everything is asked.
    pub(super) seen: Option<&'a Seen>,
}

impl<V: StateView> StateView for Asked<'_, V> {
    fn registration(&self, id: &DocumentId) -> Result<Option<Registration>, StateUnavailable> {
        if self.seen.is_some_and(|seen| !seen.may_hold(&id.0)) {
            return Ok(None);
        }
        self.below.registration(id)
    }

    fn doc_state(&self, id: &DocumentId) -> Result<Option<DocState>, StateUnavailable> {
        self.below.doc_state(id)
    }

    fn key_state(&self, key: &Key) -> Result<Option<KeyState>, StateUnavailable> {
        self.below.key_state(key)
    }

    fn auth_state(&self, authority: AuthorityIndex) -> Result<Option<AuthState>, StateUnavailable> {
        self.below.auth_state(authority)
    }

    fn inclusion(
        &self,
        submission: &SubmissionHash,
    ) -> Result<Option<Inclusion>, StateUnavailable> {
        if self
            .seen
            .is_some_and(|seen| !seen.may_hold(&half(submission)))
        {
            return Ok(None);
        }
        self.below.inclusion(submission)
    }

    fn has_evidence(&self, epoch: Epoch, signer: ValidatorIndex) -> Result<bool, StateUnavailable> {
        self.below.has_evidence(epoch, signer)
    }

    fn published(&self, sha256: &Hash) -> Result<Vec<DocumentId>, StateUnavailable> {
        self.below.published(sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::hash::sha256;

    fn identity(number: u32) -> [u8; 16] {
        let hash = sha256(&[&number.to_le_bytes()]);
        *hash.as_bytes().first_chunk().unwrap()
    }

    #[test]
    fn what_was_added_is_asked_for_and_hardly_anything_else() {
        let mut seen = Seen::new(10_000);
        (0..10_000).for_each(|number| seen.set(&identity(number)));
        assert!((0..10_000).all(|number| seen.may_hold(&identity(number))));
        let in_vain = (10_000..20_000).filter(|number| seen.may_hold(&identity(*number)));
        assert!(in_vain.count() < 300);
    }
}
