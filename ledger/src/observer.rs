//! The certificate of an observer: an authority says whose node may follow the chain without voting (design.md,
//! section 4; formats.md, section 2).
//!
//! ```text
//! certificate = chain[32] ‖ authority u16 ‖ network Key ‖ not_after_ms u64 ‖ Signature
//! signed      = `observer` tag ‖ all before the signature, by the authority's admin key
//! ```
//!
//! It is shown to every validator that the observer connects to. How many observers of one authority are let in at a
//! time is for whoever lets them in: [`MAX_PER_AUTHORITY`].

use crate::codec::{self, DecodeError};
use crate::hash::{ChainId, Tag};
use crate::id::{AuthorityIndex, TimeMs};
use crate::key::{BadKey, BadSignature, Key, Signature, SigningKey};
use crate::tip::Founding;
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// Most observers of one authority.
pub const MAX_PER_AUTHORITY: usize = 4;
/// Longest time that a certificate may still be good for when it is shown, in milliseconds: a leap year.
pub const MAX_VALID_MS: u64 = 366 * 24 * 60 * 60 * 1_000;

/// What the certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Permission {
    /// The chain that may be followed.
    pub chain: ChainId,
    /// The authority that runs the observer.
    pub authority: AuthorityIndex,
    /// The observer's network key.
    pub network: Key,
    /// Last moment at which it is good.
    pub not_after_ms: TimeMs,
}

/// A permission and the signature under it; whether it is good is for [`Certificate::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// What is permitted.
    pub permission: Permission,
    /// By the authority's admin key.
    pub signature: Signature,
}

/// Why a certificate lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another chain.
    #[error("the certificate is for chain {found}, this is {expected}")]
    Chain {
        /// The certificate's.
        found: ChainId,
        /// The one at hand.
        expected: ChainId,
    },
    /// Nobody of this index.
    #[error("this chain has no authority #{0}")]
    Authority(AuthorityIndex),
    /// Shown by somebody else.
    #[error("the certificate is for network key {found}, not for {expected}")]
    OtherKey {
        /// The certificate's.
        found: Key,
        /// The one that shows it.
        expected: Key,
    },
    /// A key that may not be used, or that the genesis names already.
    #[error("network key {0} may not be an observer's")]
    Key(Key),
    /// It is over.
    #[error("the certificate expired at {not_after} ms, now is {now} ms")]
    Expired {
        /// Its last moment.
        not_after: TimeMs,
        /// The clock at hand.
        now: TimeMs,
    },
    /// It would be good for more than [`MAX_VALID_MS`].
    #[error("the certificate is good until {not_after} ms, over a year from now ({now} ms)")]
    TooLong {
        /// Its last moment.
        not_after: TimeMs,
        /// The clock at hand.
        now: TimeMs,
    },
    /// Not signed by that authority.
    #[error("the certificate is not signed by the admin key of authority #{authority}")]
    Signature {
        /// Whose signature it should be.
        authority: AuthorityIndex,
        /// Why it is not.
        #[source]
        source: BadSignature,
    },
}

impl Permission {
    /// What the admin key signs.
    pub fn sign_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::from(Tag::Observer.bytes());
        codec::write_to(&mut bytes, self);
        bytes
    }

    /// Signs it with the authority's admin key.
    pub fn sign(self, admin: &SigningKey) -> Certificate {
        Certificate {
            signature: admin.sign(&self.sign_bytes()),
            permission: self,
        }
    }
}

impl Certificate {
    /// Length of an encoded certificate, in bytes.
    pub const LEN: usize = 32 + 2 + 33 + 8 + 65;

    /// The bytes of the format.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads them strictly.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, Self::LEN)
    }

    /// Whether whoever holds the network key `shown_by` may observe this chain at `now`.
    ///
    /// # Errors
    /// [`Refusal`] names the first rule that is broken; the signature is looked at last.
    pub fn check(
        &self,
        founding: &Founding,
        shown_by: &Key,
        now: TimeMs,
    ) -> Result<Permission, Refusal> {
        let permission = self.permission;
        let Permission {
            chain,
            authority,
            network,
            not_after_ms: not_after,
        } = permission;
        if chain != founding.chain() {
            let (found, expected) = (chain, founding.chain());
            return Err(Refusal::Chain { found, expected });
        }
        let admin = founding
            .admin(authority)
            .ok_or(Refusal::Authority(authority))?;
        if network != *shown_by {
            let (found, expected) = (network, *shown_by);
            return Err(Refusal::OtherKey { found, expected });
        }
        let admitted: Result<(), BadKey> = network.admit();
        if admitted.is_err() || founding.names_key(&network) {
            return Err(Refusal::Key(network));
        }
        if not_after < now {
            return Err(Refusal::Expired { not_after, now });
        }
        if not_after > now.saturating_add(MAX_VALID_MS) {
            return Err(Refusal::TooLong { not_after, now });
        }
        admin
            .verify_strict(&permission.sign_bytes(), &self.signature.raw())
            .map_err(|source| Refusal::Signature { authority, source })?;
        Ok(permission)
    }
}
