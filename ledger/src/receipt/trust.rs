//! What a verifier starts from: a genesis, perhaps a pinned checkpoint, and how old a proof may be.
//!
//! The file forms are the `genesis` crate's (`trust.json`, `trust.policy`).

use super::signers::{BadSigners, Signers};
use crate::genesis::{Genesis, GenesisError};
use crate::hash::{ChainId, Hash};
use crate::id::TreeSize;
use crate::tip::Founding;
use crate::validator_set::ValidatorSet;
use alloc::string::String;

/// A checkpoint that was verified once, and the set that signs every larger one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Size of its tree, not 0.
    pub size: TreeSize,
    /// Its root.
    pub root: Hash,
    /// Who signs larger sizes: the set that the pinned trailer names, its `next_set` if it is a SEAL.
    pub set: ValidatorSet,
}

/// How old a proof may be before it counts as stale, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxAge {
    /// Where no newer proof can be fetched.
    pub offline_s: u64,
    /// Where one can.
    pub online_s: u64,
}

impl Default for MaxAge {
    fn default() -> Self {
        Self {
            offline_s: 86_400,
            online_s: 600,
        }
    }
}

/// Whether the verifier could fetch a newer proof now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Online {
    /// It reaches a node.
    Online,
    /// It does not.
    #[default]
    Offline,
}

/// Why a trust cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The genesis breaks a rule.
    #[error("genesis of the trust cannot found a network")]
    Genesis(#[from] GenesisError),
    /// A pin of the empty tree says nothing.
    #[error("pinned size is 0")]
    PinSize,
    /// A set cannot be relied on.
    #[error("validators of the trust cannot be relied on")]
    Signers(#[from] BadSigners),
}

/// What a verifier starts from. Everything in it was checked.
#[derive(Clone, Debug)]
pub struct Trust {
    pub(super) founding: Founding,
    pub(super) origin: String,
    pub(super) pin: Option<Pin>,
    pub(super) max_age: MaxAge,
    pub(super) online: Online,
    pub(super) seen_size: TreeSize,
}

impl Trust {
    /// Checks a genesis and a pin. Offline, nothing seen yet.
    ///
    /// # Errors
    /// [`TrustError`] names the first fault.
    pub fn new(genesis: Genesis, pin: Option<Pin>, max_age: MaxAge) -> Result<Self, TrustError> {
        let founding = Founding::new(genesis)?;
        let origin = founding.genesis().origin();
        Signers::enter(&origin, founding.set())?;
        let trust = Self {
            founding,
            origin,
            pin: None,
            max_age,
            online: Online::Offline,
            seen_size: TreeSize(0),
        };
        match pin {
            None => Ok(trust),
            Some(pin) => trust.with_pin(pin),
        }
    }

    /// With another pin.
    ///
    /// # Errors
    /// [`TrustError`] if it is of the empty tree or its set cannot be relied on.
    pub fn with_pin(mut self, pin: Pin) -> Result<Self, TrustError> {
        if pin.size == TreeSize(0) {
            return Err(TrustError::PinSize);
        }
        Signers::enter(&self.origin, &pin.set)?;
        self.pin = Some(pin);
        Ok(self)
    }

    /// Whether a newer proof could be fetched now; decides which age counts.
    #[must_use]
    pub const fn with_online(mut self, online: Online) -> Self {
        self.online = online;
        self
    }

    /// With the largest tree size that this verifier has seen; a smaller proof counts as stale.
    #[must_use]
    pub const fn with_seen_size(mut self, seen: TreeSize) -> Self {
        self.seen_size = seen;
        self
    }

    /// The chain's identity.
    pub const fn chain(&self) -> ChainId {
        self.founding.chain()
    }

    /// The genesis.
    pub fn genesis(&self) -> &Genesis {
        self.founding.genesis()
    }

    /// The log's origin.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The pinned checkpoint.
    pub const fn pin(&self) -> Option<&Pin> {
        self.pin.as_ref()
    }

    /// How old a proof may be.
    pub const fn max_age(&self) -> MaxAge {
        self.max_age
    }

    /// The set from which changes of validators are followed, and the size from which it signs.
    pub(super) fn start(&self) -> (TreeSize, &ValidatorSet) {
        match &self.pin {
            Some(pin) => (pin.size, &pin.set),
            None => (TreeSize(0), self.founding.set()),
        }
    }
}
