//! What the fuzz targets in `fuzz/` run, as plain functions of bytes.
//!
//! The targets themselves need a nightly compiler; `tests/tests/fuzzing.rs` gives the same functions drawn bytes on a
//! stable one. None of them may panic, whatever the bytes, or take memory that is not in proportion to them.

mod engine;

pub use engine::engine;

use consensus::{Message, Record};
use ledger::block::Block;
use ledger::frame::Payload;
use ledger::hash::SetHash;
use ledger::id::{Epoch, View};
use ledger::journal::{Head, JournalId, Magic, Origin, SegmentHeader, Seq, recover};
use ledger::leaf::LogLeaf;
use ledger::submission::Submission;
use node::gossip;

/// Every decoder that sees bytes of the network: what is taken in comes out again as the same bytes.
///
/// # Panics
/// If two encodings of one message are taken in.
pub fn messages(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        assert_eq!(message.encode(), bytes);
    }
    if let Ok(message) = gossip::Message::decode(bytes) {
        assert_eq!(message.encode(), bytes);
        if let gossip::Message::Items(items) = message {
            for item in &items {
                item.parse().ok();
            }
        }
    }
    if let Ok(block) = Block::decode(bytes) {
        assert_eq!(block.encode(), bytes);
        block.leaves().ok();
    }
    if let Ok(payload) = Payload::decode(bytes) {
        assert_eq!(payload.encode(), bytes);
    }
    if let Ok(leaf) = LogLeaf::decode(bytes) {
        assert_eq!(leaf.encode(), bytes);
    }
    Submission::decode(bytes).ok();
}

/// The journal's reader and the decoder of its records: on the bytes as two segments, and on a good journal that the
/// bytes were written over.
///
/// # Panics
/// If a good journal cannot be made.
pub fn journal(bytes: &[u8]) {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    read(&[bytes]);
    read(&[first, second]);
    let [low, high, patch @ ..] = bytes else {
        return;
    };
    let mut good = good_journal();
    let at = usize::from(u16::from_le_bytes([*low, *high])) % good.len();
    let end = good.len().min(at + patch.len());
    good[at..end].copy_from_slice(&patch[..end - at]);
    read(&[&good]);
    good.truncate(end);
    read(&[&good]);
}

fn read(segments: &[&[u8]]) {
    if let Ok(recovered) = recover(segments) {
        for record in recovered.batches.iter().flat_map(|batch| &batch.records) {
            Record::decode(record).ok();
        }
    }
}

/// A segment with three batches of real records. Its magic is known here; a real one is random and never sent.
fn good_journal() -> Vec<u8> {
    let segment = SegmentHeader::first(JournalId([1; 16]), Magic([0xa7; 16]), Origin::Fresh);
    let mut head = Head {
        segment,
        next: Seq(1),
        prev_crc: 0,
    };
    let mut bytes = segment.encode().to_vec();
    for number in 0..3 {
        let records = [
            Record::EpochStart {
                epoch: Epoch(number),
                set: SetHash::default(),
                anchor: Default::default(),
                restart: Default::default(),
            },
            Record::FinTip {
                epoch: Epoch(number),
                view: View(number),
                block: Default::default(),
            },
        ];
        let batch = head.encode_batch(&records.map(|record| record.encode()));
        bytes.extend(batch.expect("two small records"));
    }
    bytes
}
