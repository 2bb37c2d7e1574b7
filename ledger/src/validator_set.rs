//! The validators of one epoch, in order, and their quorum (formats.md, section 2; consensus.md, 3.0).

use crate::codec::{self, refuse};
use crate::hash::{SetHash, Tag};
use crate::id::{AuthorityId, AuthorityIndex, ValidatorIndex};
use crate::key::Key;
use crate::planted;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use borsh::io::{Read, Result as IoResult};
use borsh::{BorshDeserialize, BorshSerialize};

/// Most validators of a set.
pub const MAX_VALIDATORS: usize = 64;

/// One validator: its authority and the public keys of its four duties.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Member {
    /// The authority that runs it.
    pub authority: AuthorityIndex,
    /// That authority's short id; part of the cosigner's name.
    pub id: AuthorityId,
    /// Signs votes.
    pub vote: Key,
    /// Signs C2SP cosignatures.
    pub cosigner: Key,
    /// Signs C2SP notes as the log.
    pub log: Key,
    /// Identifies the libp2p peer.
    pub network: Key,
}

impl Member {
    /// The four keys, in the order of the format.
    pub const fn keys(&self) -> [Key; 4] {
        [self.vote, self.cosigner, self.log, self.network]
    }
}

/// An ordered set of 1 to 64 validators with distinct ids and keys. Position = [`ValidatorIndex`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct ValidatorSet {
    members: Vec<Member>,
}

/// Why members are not a validator set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Not 1 to 64 members.
    #[error("a validator set has 1 to 64 members, not {0}")]
    Count(usize),
    /// Members are not strictly ascending by authority.
    #[error("authority #{0} is out of order or twice in the validator set")]
    Order(AuthorityIndex),
    /// An id or a key occurs twice.
    #[error("authority #{0} repeats an id or a key of the validator set")]
    Repeated(AuthorityIndex),
}

impl ValidatorSet {
    /// Checks order and distinctness.
    ///
    /// # Errors
    /// [`SetError`] names the first offence. Whether keys may be used is [`Key::admit`]'s matter.
    pub fn new(members: Vec<Member>) -> Result<Self, SetError> {
        if members.is_empty() || members.len() > MAX_VALIDATORS {
            return Err(SetError::Count(members.len()));
        }
        let mut last = None;
        let mut ids = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for member in &members {
            if last >= Some(member.authority) {
                return Err(SetError::Order(member.authority));
            }
            last = Some(member.authority);
            let fresh = ids.insert(&member.id) && member.keys().iter().all(|key| keys.insert(*key));
            if !fresh {
                return Err(SetError::Repeated(member.authority));
            }
        }
        Ok(Self { members })
    }

    /// The members in order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Number of validators, n.
    pub fn n(&self) -> usize {
        self.members.len()
    }

    /// Byzantine validators tolerated, f = ⌊(n−1)/3⌋.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "n is at least 1 and the divisor is 3"
    )]
    pub fn f(&self) -> usize {
        (self.members.len() - 1) / 3
    }

    /// Quorum, n − f.
    pub fn quorum(&self) -> usize {
        self.n()
            .saturating_sub(self.f())
            .saturating_sub(usize::from(planted!(SmallQuorum)))
    }

    /// The member at a position.
    pub fn get(&self, index: ValidatorIndex) -> Option<&Member> {
        self.members.get(usize::from(index.0))
    }

    /// Position of the member with this vote key.
    pub fn position_of_vote_key(&self, key: &Key) -> Option<ValidatorIndex> {
        self.position(|member| member.vote == *key)
    }

    /// Position of the first member for which `test` holds.
    pub fn position(&self, test: impl FnMut(&Member) -> bool) -> Option<ValidatorIndex> {
        let at = self.members.iter().position(test)?;
        u16::try_from(at).ok().map(ValidatorIndex)
    }

    /// All positions in order.
    pub fn indices(&self) -> impl Iterator<Item = ValidatorIndex> + use<> {
        (0..u16::try_from(self.members.len()).unwrap_or(u16::MAX)).map(ValidatorIndex)
    }

    /// SHA-256(`validator-set` tag ‖ borsh).
    pub fn hash(&self) -> SetHash {
        SetHash(Tag::ValidatorSet.hash(&[&codec::encode(self)]))
    }
}

impl BorshDeserialize for ValidatorSet {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let members = codec::List::<Member, MAX_VALIDATORS>::deserialize_reader(reader)?;
        Self::new(members.into_vec()).map_err(|_set| refuse("not a validator set"))
    }
}
