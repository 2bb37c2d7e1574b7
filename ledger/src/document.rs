//! Documents on the chain: id, digest, commitment, opening, details (formats.md, section 3.1).

use crate::codec::{coded_enum, refuse};
use crate::hash::{ChainId, Hash, Tag};
use crate::id::AuthorityIndex;
use borsh::io::{Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use sha2::Digest as _;
use zeroize::Zeroize as _;

/// A document's 128-bit id. Displays as `NW-XXXX-…`: Crockford base32 with two check symbols.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize,
)]
pub struct DocumentId(pub [u8; 16]);

/// The registration's nonce: 32 random bytes, drawn before the document is stamped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Nonce(pub [u8; 32]);

const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CHECK_MODULUS: u128 = 1021;
const ID_SYMBOLS: usize = 26;
const TEXT_SYMBOLS: usize = ID_SYMBOLS + 2;

/// Why a text is not a document id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// It does not start with `NW`.
    #[error("a document id starts with NW-")]
    Prefix,
    /// It has a character that no id has.
    #[error("character {0:?} is not part of a document id")]
    Symbol(char),
    /// It has too few or too many symbols.
    #[error("a document id has {TEXT_SYMBOLS} symbols after NW-, this has {0}")]
    Length(usize),
    /// The check symbols do not fit: a typing error.
    #[error("the check symbols do not fit: there is a typing error in the document id")]
    Check,
}

impl DocumentId {
    /// First 16 bytes of SHA-256(`docid` tag ‖ chain ‖ authority ‖ nonce).
    pub fn derive(chain: &ChainId, authority: AuthorityIndex, nonce: &Nonce) -> Self {
        let hash = Tag::DocId.hash(&[chain.as_bytes(), &authority.0.to_le_bytes(), &nonce.0]);
        let mut id = [0; 16];
        id.copy_from_slice(hash.0.first_chunk::<16>().unwrap_or(&[0; 16]));
        Self(id)
    }

    fn symbols(self) -> [u8; TEXT_SYMBOLS] {
        let value = u128::from_be_bytes(self.0);
        let mut out = [b'0'; TEXT_SYMBOLS];
        let mut rest = value;
        for slot in out.iter_mut().take(ID_SYMBOLS).rev() {
            *slot = symbol(rest & 31);
            rest >>= 5;
        }
        let check = value % CHECK_MODULUS;
        for (slot, bits) in out
            .iter_mut()
            .skip(ID_SYMBOLS)
            .zip([check >> 5, check & 31])
        {
            *slot = symbol(bits);
        }
        out
    }
}

fn symbol(bits: u128) -> u8 {
    let at = usize::try_from(bits & 31).unwrap_or(0);
    SYMBOLS.get(at).copied().unwrap_or(b'0')
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NW")?;
        for group in self.symbols().chunks(4) {
            write!(f, "-{}", core::str::from_utf8(group).unwrap_or_default())?;
        }
        Ok(())
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::str::FromStr for DocumentId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut given = text.chars().filter(|c| !matches!(c, '-' | ' '));
        let prefix = [given.next(), given.next()].map(|c| c.map(|c| c.to_ascii_uppercase()));
        if prefix != [Some('N'), Some('W')] {
            return Err(IdError::Prefix);
        }
        let (mut value, mut check, mut count) = (0_u128, 0_u128, 0_usize);
        for c in given {
            let folded = match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            let at = SYMBOLS.iter().position(|s| char::from(*s) == folded);
            let bits = at
                .and_then(|at| u128::try_from(at).ok())
                .ok_or(IdError::Symbol(c))?;
            if count == 0 && bits > 7 {
                return Err(IdError::Symbol(c));
            }
            if count < ID_SYMBOLS {
                value = value << 5 | bits;
            } else if count < TEXT_SYMBOLS {
                check = check << 5 | bits;
            }
            count = count.saturating_add(1);
        }
        if count != TEXT_SYMBOLS {
            return Err(IdError::Length(count));
        }
        if value % CHECK_MODULUS != check {
            return Err(IdError::Check);
        }
        Ok(Self(value.to_be_bytes()))
    }
}

/// SHA-256 of a document's bytes. Made only by hashing them, with [`DocumentHasher`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DocumentDigest([u8; 32]);

impl DocumentDigest {
    /// The digest's bytes, to be committed to.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DocumentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Hashes a document in pieces, as it is read.
#[derive(Clone, Debug, Default)]
pub struct DocumentHasher(sha2::Sha256);

impl DocumentHasher {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes of the document.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// All bytes were given.
    pub fn finish(self) -> DocumentDigest {
        DocumentDigest(self.0.finalize().into())
    }
}

coded_enum! {
    /// What a commitment is for.
    pub enum CommitmentRole {
        /// The issuer's own file.
        Internal = 1,
        /// The copy that the citizen gets.
        Citizen = 2,
        /// The bytes that a recipient received.
        Received = 3,
        /// A renewal under a newer algorithm.
        Renewed = 4,
    }
}

/// A commitment to a document's bytes: algorithm byte (1) and 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Commitment(pub Hash);

/// The one commitment algorithm of this version.
pub const COMMITMENT_ALG: u8 = 1;

impl BorshSerialize for Commitment {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        writer.write_all(&[COMMITMENT_ALG])?;
        self.0.serialize(writer)
    }
}

impl BorshDeserialize for Commitment {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        match u8::deserialize_reader(reader)? {
            COMMITMENT_ALG => Hash::deserialize_reader(reader).map(Self),
            _ => Err(refuse("unknown commitment algorithm")),
        }
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A commitment's salt: 64 random bytes, one for each commitment, never zero. Secret; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt([u8; 64]);

impl Salt {
    /// Takes random bytes; `None` for all zero, which no salt is.
    pub fn new(bytes: [u8; 64]) -> Option<Self> {
        if bytes == [0; 64] {
            None
        } else {
            Some(Self(bytes))
        }
    }

    /// The secret bytes.
    pub const fn expose(&self) -> &[u8; 64] {
        &self.0
    }
}

impl Drop for Salt {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(secret)")
    }
}

impl BorshSerialize for Salt {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        writer.write_all(&self.0)
    }
}

impl BorshDeserialize for Salt {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let bytes = <[u8; 64]>::deserialize_reader(reader)?;
        Self::new(bytes).ok_or_else(|| refuse("a salt is zero"))
    }
}

/// What a commitment was made of, but for salt and file hash.
#[derive(Clone, Copy, Debug)]
pub struct CommitmentContext<'a> {
    /// The chain.
    pub chain: &'a ChainId,
    /// The document.
    pub document: &'a DocumentId,
    /// What the commitment is for.
    pub role: CommitmentRole,
}

impl CommitmentContext<'_> {
    /// SHA-256(`document` tag ‖ alg ‖ chain ‖ document ‖ role ‖ salt ‖ file hash).
    pub fn commit(&self, salt: &Salt, file: &[u8; 32]) -> Commitment {
        Commitment(Tag::Document.hash(&[
            &[COMMITMENT_ALG],
            self.chain.as_bytes(),
            &self.document.0,
            &[self.role.code()],
            salt.expose(),
            file,
        ]))
    }
}

/// Number of leaves of a detail commitment.
pub const DETAIL_FIELDS: usize = 16;

/// Longest value of a detail field, in bytes of UTF-8.
pub const DETAIL_VALUE_MAX: usize = 1024;

/// Leaf data of detail field `k`: `detail` tag ‖ chain ‖ document ‖ k ‖ salt ‖ value.
pub fn detail_leaf(
    chain: &ChainId,
    document: &DocumentId,
    k: u8,
    salt: &[u8; 32],
    value: &str,
) -> alloc::vec::Vec<u8> {
    [
        Tag::Detail.bytes(),
        chain.as_bytes(),
        &document.0,
        &[k],
        salt,
        value.as_bytes(),
    ]
    .concat()
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
