//! SHA-256, domain tags, and the newtypes for what is hashed (formats.md, sections 1.2 and 2).

use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use sha2::{Digest as _, Sha256};

/// A SHA-256 value of no further meaning. Displays as 64 lower-case hex digits.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize,
)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// 32 zero bytes: "nothing" where a format says so.
    pub const ZERO: Self = Self([0; 32]);

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::str::FromStr for Hash {
    type Err = hex::FromHexError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// What a hashed or signed thing starts with: `nachweis/<name>/v1` and a zero byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each variant is the tag of that name in formats.md, section 2"
)]
pub enum Tag {
    Genesis,
    GenesisSign,
    Application,
    ValidatorSet,
    Submission,
    Record,
    DocId,
    Document,
    Detail,
    DocState,
    KeyState,
    AuthState,
    Enrol,
    Block,
    Vote,
    Epoch,
    Leaders,
    Readiness,
    Restart,
    Observer,
    Query,
    Delivery,
    AccessLog,
    Vault,
}

impl Tag {
    /// The tag's bytes, the closing zero byte included.
    pub const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Genesis => b"nachweis/genesis/v1\0",
            Self::GenesisSign => b"nachweis/genesis-sign/v1\0",
            Self::Application => b"nachweis/application/v1\0",
            Self::ValidatorSet => b"nachweis/validator-set/v1\0",
            Self::Submission => b"nachweis/submission/v1\0",
            Self::Record => b"nachweis/record/v1\0",
            Self::DocId => b"nachweis/docid/v1\0",
            Self::Document => b"nachweis/document/v1\0",
            Self::Detail => b"nachweis/detail/v1\0",
            Self::DocState => b"nachweis/docstate/v1\0",
            Self::KeyState => b"nachweis/keystate/v1\0",
            Self::AuthState => b"nachweis/authstate/v1\0",
            Self::Enrol => b"nachweis/enrol/v1\0",
            Self::Block => b"nachweis/block/v1\0",
            Self::Vote => b"nachweis/vote/v1\0",
            Self::Epoch => b"nachweis/epoch/v1\0",
            Self::Leaders => b"nachweis/leaders/v1\0",
            Self::Readiness => b"nachweis/readiness/v1\0",
            Self::Restart => b"nachweis/restart/v1\0",
            Self::Observer => b"nachweis/observer/v1\0",
            Self::Query => b"nachweis/query/v1\0",
            Self::Delivery => b"nachweis/delivery/v1\0",
            Self::AccessLog => b"nachweis/access-log/v1\0",
            Self::Vault => b"nachweis/vault/v1\0",
        }
    }

    /// SHA-256 of the tag followed by the parts, concatenated.
    pub fn hash(self, parts: &[&[u8]]) -> Hash {
        let mut hasher = Sha256::new_with_prefix(self.bytes());
        for part in parts {
            hasher.update(part);
        }
        Hash(hasher.finalize().into())
    }
}

/// SHA-256 of the parts, concatenated, for the few things that carry no tag (formats.md, section 1.2).
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    Hash(hasher.finalize().into())
}

/// Declares a newtype over [`Hash`](struct@Hash): same bytes, other meaning.
macro_rules! hash_newtype {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize)]
        pub struct $name(pub Hash);

        impl $name {
            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )+};
}

hash_newtype! {
    /// The chain's identity: hash of its genesis (formats.md, section 1.5).
    ChainId,
    /// Hash of a block's header (formats.md, section 4).
    BlockHash,
    /// Hash of a submission's signed body (formats.md, section 3.3).
    SubmissionHash,
    /// Hash of a complete item, signatures included; names it in gossip (formats.md, section 4).
    ItemId,
    /// Hash of a validator set (formats.md, section 2); zero where there is none.
    SetHash,
    /// The context that every vote of an epoch signs (consensus.md, section 3.2).
    EpochContext,
}
