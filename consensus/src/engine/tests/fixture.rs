//! Validators with toy signatures: a hash of key and message. Forging one is not what these tests are about.

use crate::block::{Block, Body, Tip};
use crate::config::{Config, Rules, Timing};
use crate::epoch::{EpochInfo, EpochSpec};
use crate::items::Layout;
use crate::verify::{Signer, Verifier};
use alloc::format;
use alloc::vec::Vec;
use ledger::certificate::VerifiedCertificate;
use ledger::hash::{BlockHash, ChainId, Hash, SetHash, sha256};
use ledger::header::{BlockRef, Flags, HEADER_VERSION, Header};
use ledger::id::{
    AuthorityId, AuthorityIndex, Epoch, Height, TimeMs, TreeSize, ValidatorIndex, View,
};
use ledger::key::{BadSignature, Key, RawSignature};
use ledger::validator_set::{Member, ValidatorSet};
use ledger::vote::{Statement, Vote, VoteKind};

/// Wall clock at mono 0.
pub(super) const EPOCH_MS: u64 = 1_700_000_000_000;

pub(super) fn vote_key(index: u16) -> Key {
    key(index, 1)
}

pub(super) fn network_key(index: u16) -> Key {
    key(index, 4)
}

fn key(index: u16, duty: u8) -> Key {
    let mut bytes = [duty; 32];
    let [low, high] = index.to_le_bytes();
    bytes[0] = low;
    bytes[1] = high;
    Key::from_bytes(bytes)
}

/// Signs with a hash.
pub(super) struct Toy(pub(super) Key);

pub(super) fn toy_signature(key: &Key, message: &[u8]) -> RawSignature {
    let first = sha256(&[b"toy", key.as_bytes(), message]);
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(first.as_bytes());
    bytes[32..].copy_from_slice(first.as_bytes());
    RawSignature(bytes)
}

impl Signer for Toy {
    fn key(&self) -> Key {
        self.0
    }

    fn sign(&self, message: &[u8]) -> RawSignature {
        toy_signature(&self.0, message)
    }
}

/// Checks a hash.
pub(super) struct ToyCheck;

impl Verifier for ToyCheck {
    fn verify(
        &self,
        key: &Key,
        message: &[u8],
        signature: &RawSignature,
    ) -> Result<(), BadSignature> {
        if toy_signature(key, message) == *signature {
            Ok(())
        } else {
            Err(BadSignature { key: *key })
        }
    }
}

pub(super) fn set(n: u16) -> ValidatorSet {
    set_of(&(0..n).collect::<Vec<_>>())
}

/// The set of these validators.
pub(super) fn set_of(members: &[u16]) -> ValidatorSet {
    let mut members = members.to_vec();
    members.sort_unstable();
    let members = members
        .iter()
        .copied()
        .map(|index| Member {
            authority: AuthorityIndex(index),
            id: AuthorityId::new(&format!("authority-{index}")).unwrap(),
            vote: key(index, 1),
            cosigner: key(index, 2),
            log: key(index, 3),
            network: key(index, 4),
        })
        .collect();
    ValidatorSet::new(members).unwrap()
}

pub(super) fn spec(n: u16) -> EpochSpec {
    let chain = ChainId(Hash([7; 32]));
    EpochSpec {
        chain,
        epoch: Epoch(0),
        set: set(n),
        anchor: Tip {
            block: BlockRef {
                height: Height(0),
                hash: BlockHash(chain.0),
            },
            time_ms: TimeMs(EPOCH_MS - 1_000_000),
            flags: Flags::NONE,
        },
        restart: Hash::ZERO,
    }
}

/// The epoch after one that ended with this SEAL block.
pub(super) fn next_spec(before: &EpochInfo, seal: &Tip, members: &[u16]) -> EpochSpec {
    EpochSpec {
        chain: before.chain(),
        epoch: before.epoch().next().unwrap(),
        set: set_of(members),
        anchor: *seal,
        restart: Hash::ZERO,
    }
}

/// A block that ends its epoch, with this set to follow.
pub(super) fn seal(mut block: Block, members: &[u16]) -> Block {
    block.header.flags = block.header.flags.with(Flags::SEAL);
    block.header.next_set = set_of(members).hash();
    block
}

pub(super) fn config() -> Config {
    Config::new(Rules::default(), Timing::default()).unwrap()
}

pub(super) fn vote(
    epoch: &EpochInfo,
    signer: u16,
    kind: VoteKind,
    view: u64,
    block: BlockRef,
) -> Vote {
    let view = View(view);
    let statement = Statement { kind, view, block };
    let message = statement.sign_bytes(epoch.context());
    Vote {
        epoch: epoch.epoch(),
        view,
        kind,
        block,
        signer: ValidatorIndex(signer),
        signature: toy_signature(&vote_key(signer), &message),
    }
}

/// A certificate by the given validators.
pub(super) fn certificate(
    epoch: &EpochInfo,
    signers: &[u16],
    kind: VoteKind,
    view: u64,
    block: BlockRef,
) -> VerifiedCertificate {
    let votes: Vec<Vote> = signers
        .iter()
        .map(|signer| vote(epoch, *signer, kind, view, block))
        .collect();
    let view = View(view);
    let statement = Statement { kind, view, block };
    VerifiedCertificate::assemble(statement, epoch.epoch(), epoch.set(), &votes).unwrap()
}

/// The vote of a validator by its number, wherever it stands in the set.
pub(super) fn vote_by(
    epoch: &EpochInfo,
    number: u16,
    kind: VoteKind,
    view: u64,
    block: BlockRef,
) -> Vote {
    let signer = epoch.set().position_of_vote_key(&vote_key(number)).unwrap();
    let mut vote = vote(epoch, number, kind, view, block);
    vote.signer = signer;
    vote
}

/// A certificate by validators by their numbers.
pub(super) fn certificate_by(
    epoch: &EpochInfo,
    numbers: &[u16],
    kind: VoteKind,
    view: u64,
    block: BlockRef,
) -> VerifiedCertificate {
    let votes: Vec<Vote> = numbers
        .iter()
        .map(|number| vote_by(epoch, *number, kind, view, block))
        .collect();
    let view = View(view);
    let statement = Statement { kind, view, block };
    VerifiedCertificate::assemble(statement, epoch.epoch(), epoch.set(), &votes).unwrap()
}

/// A block whose body is the given items, eight bytes each.
pub(super) fn block(epoch: &EpochInfo, parent: &Tip, view: u64, time: u64, items: &[u64]) -> Block {
    let body: Vec<u8> = items.iter().flat_map(|item| item.to_le_bytes()).collect();
    let header = Header {
        version: HEADER_VERSION,
        chain: epoch.chain(),
        epoch: epoch.epoch(),
        view: View(view),
        height: parent.block.height.next().unwrap(),
        parent: parent.block.hash,
        proposer: epoch.leader(View(view)),
        time_ms: TimeMs(time),
        body_len: u32::try_from(body.len()).unwrap(),
        body_root: sha256(&[&body]),
        log_size: TreeSize(0),
        log_root: Hash::ZERO,
        status_root: Hash::ZERO,
        flags: Flags::NONE,
        validator_set: epoch.set_hash(),
        next_set: SetHash::default(),
    };
    Block {
        header,
        body: Body::from(body),
    }
}

/// Bodies are items of eight bytes.
pub(super) const LAYOUT: Layout = Layout {
    cut: |body| {
        let items: Vec<&[u8]> = body.chunks(8).collect();
        items.iter().all(|item| item.len() == 8).then_some(items)
    },
    join: |items| {
        let bytes = items.iter().flat_map(|item| item.iter().copied());
        Body::from(bytes.collect::<Vec<u8>>())
    },
};

pub(super) fn items(body: &Body) -> Vec<u64> {
    body.chunks(8)
        .map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()))
        .collect()
}
