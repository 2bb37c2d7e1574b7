//! Messages that only travel between nodes: pending submissions and cosignatures (consensus.md, 3.1 and 3.23), and what
//! those who follow ask for: checkpoints, ranges of final blocks (3.14) and restart files (3.12).
//!
//! They share the lanes and the numbering of the consensus messages; [`Message::is_gossip`] tells them
//! apart by the first byte. Nothing here is verified: submissions go through the pool's admission,
//! cosignatures through the cosigner.

use crate::range::{Range, RangeReq};
use borsh::{BorshDeserialize, BorshSerialize};
use ledger::body::ItemBytes;
use ledger::codec::{self, Bytes, DecodeError, List};
use ledger::hash::{Hash, ItemId};
use ledger::id::{Epoch, TreeSize, ValidatorIndex};
use ledger::key::RawSignature;
use ledger::restart::{MAX_RESTART_LEN, RestartFile};

/// Most ids in one message.
pub const MAX_IDS: usize = 1_000;
/// Most items in one message.
pub const MAX_ITEMS: usize = 1_000;
/// Most bytes of items that a sender puts into one message; one larger item may travel alone.
pub const ITEMS_BUDGET: usize = 1 << 20;

/// Longest note that travels, in bytes: 64 cosigners and a log line need 11 KiB.
pub const MAX_NOTE: usize = 16 << 10;

/// A message between nodes beside consensus.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Message {
    /// Asks for the restart file that opened the lowest epoch from this one on.
    EpochReq(Epoch) = 14,
    /// A restart file that was asked for.
    EpochResp(RestartFile) = 15,
    /// "These are pending here": whoever lacks one asks for it.
    PoolIds(List<ItemId, MAX_IDS>) = 16,
    /// Asks for pending items.
    ItemReq(List<ItemId, MAX_IDS>) = 17,
    /// Pending items: asked for, or just accepted by the sender.
    Items(List<ItemBytes, MAX_ITEMS>) = 18,
    /// A cosignature of a checkpoint.
    Cosig(Cosig) = 21,
    /// Asks for the receiver's cosignature of this size; 0 = its newest.
    CosigReq(TreeSize) = 22,
    /// A checkpoint with the sender's log line and a quorum's cosignatures, for observers.
    Note(Bytes<MAX_NOTE>) = 23,
    /// Asks for final blocks.
    RangeReq(RangeReq) = 24,
    /// Final blocks that were asked for.
    Range(Range) = 25,
}

/// A cosignature as it travels: enough to rebuild the note line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Cosig {
    /// Leaves of the tree.
    pub size: TreeSize,
    /// Its root.
    pub root: Hash,
    /// Seconds since 1970 at which it was made.
    pub time_s: u64,
    /// Who made it, in the set of the epoch that ends with the tree.
    pub signer: ValidatorIndex,
    /// Over the `cosignature/v1` message.
    pub signature: RawSignature,
}

impl Message {
    /// Most bytes of any encoded message.
    pub const MAX_LEN: usize = 8 << 20;

    /// Whether a message with this first byte is one of these.
    pub const fn is_gossip(kind: u8) -> bool {
        matches!(kind, 14..=18 | 21..=25)
    }

    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a whole message, strictly.
    ///
    /// # Errors
    /// [`DecodeError`]: over its kind's limit, unknown, malformed, trailing bytes, not canonical.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let kind = *bytes.first().ok_or(DecodeError::Malformed { at: 0 })?;
        let limit = Self::limit(kind).ok_or(DecodeError::Malformed { at: 0 })?;
        codec::decode(bytes, limit)
    }

    /// Most bytes of a message by its first byte; `None` for an unknown kind.
    pub const fn limit(kind: u8) -> Option<usize> {
        match kind {
            14 => Some(1 + 8),
            15 => Some(1 + MAX_RESTART_LEN),
            16 | 17 => Some(1 + 4 + 32 * MAX_IDS),
            18 => Some(Self::MAX_LEN),
            21 => Some(1 + 8 + 32 + 8 + 2 + 64),
            22 => Some(1 + 8),
            23 => Some(1 + 4 + MAX_NOTE),
            24 => Some(1 + 8 + 4),
            25 => Some(Self::MAX_LEN),
            _ => None,
        }
    }

    /// Packs items into as few messages as their budget allows, in order.
    pub fn items(items: impl IntoIterator<Item = ItemBytes>) -> Vec<Self> {
        let mut messages = Vec::new();
        let mut list: List<ItemBytes, MAX_ITEMS> = List::new();
        let mut bytes = 0_usize;
        for item in items {
            let length = item.as_bytes().len();
            let full = bytes.saturating_add(length) > ITEMS_BUDGET || list.len() == MAX_ITEMS;
            if full && !list.is_empty() {
                messages.push(Self::Items(std::mem::take(&mut list)));
                bytes = 0;
            }
            bytes = bytes.saturating_add(length);
            // The list was emptied above when it was full.
            list.push(item).ok();
        }
        if !list.is_empty() {
            messages.push(Self::Items(list));
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::restart::Base;

    #[test]
    fn every_message_comes_back_and_is_told_from_consensus() {
        let cosig = Cosig {
            size: TreeSize(7),
            root: Hash([1; 32]),
            time_s: 1_790_000_000,
            signer: ValidatorIndex(2),
            signature: RawSignature([3; 64]),
        };
        let ids: List<ItemId, MAX_IDS> = vec![ItemId(Hash([4; 32]))].try_into().unwrap();
        let epoch = crate::testkit::founding(4).epoch();
        let file = RestartFile::new(Base::of(&epoch), None, Vec::new()).unwrap();
        let all = [
            Message::EpochReq(Epoch(3)),
            Message::EpochResp(file),
            Message::PoolIds(ids.clone()),
            Message::ItemReq(ids),
            Message::Items(List::new()),
            Message::Cosig(cosig),
            Message::CosigReq(TreeSize(0)),
            Message::Note(b"a note".to_vec().try_into().unwrap()),
            Message::RangeReq(RangeReq {
                from: ledger::id::Height(3),
                count: 7,
            }),
            Message::Range(Range {
                blocks: List::new(),
                headers: List::new(),
                certificates: List::new(),
            }),
        ];
        for message in all {
            let bytes = message.encode();
            assert!(Message::is_gossip(bytes[0]));
            assert_eq!(Message::decode(&bytes), Ok(message));
            assert!(consensus::message::Message::limit(bytes[0]).is_none());
            Message::decode(&[&bytes[..], &[0]].concat()).unwrap_err();
        }
    }

    #[test]
    fn items_are_split_by_bytes() {
        let item: ItemBytes = codec::decode(
            &[&600_000_u32.to_le_bytes()[..], &[1; 600_000]].concat(),
            1 << 20,
        )
        .unwrap();
        let messages = Message::items(vec![item; 3]);
        assert_eq!(messages.len(), 3);
    }
}
