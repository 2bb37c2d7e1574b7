//! Forges certificates: too few signers, pad bits, a signer twice, wrong kind, view, epoch or block, foreign signatures.

use super::{Behaviour, Hand};
use consensus::Message;
use ledger::certificate::Certificate;
use ledger::codec;

pub(super) struct Forged;

/// Where the fields of an encoded certificate begin.
const KIND: usize = 0;
const EPOCH: usize = 1;
const VIEW: usize = 9;
const HASH: usize = 25;
const BITMAP: usize = 61;

impl Behaviour for Forged {
    fn tick(&mut self, hand: &mut Hand<'_>) {
        if hand.lore.certificates.is_empty() {
            return;
        }
        let at = hand.random.index(hand.lore.certificates.len());
        let mut bytes = codec::encode(&hand.lore.certificates[at]);
        let width = hand.epoch().set().n().div_ceil(8);
        let signatures = BITMAP + width + 4;
        match hand.random.below(9) {
            0 => bytes[KIND] = if bytes[KIND] == 1 { 3 } else { 1 },
            1 => bytes[EPOCH] ^= 1,
            2 => bytes[VIEW] = bytes[VIEW].wrapping_add(1),
            3 => bytes[HASH] ^= 1,
            4 => bytes[BITMAP] |= 0x80,
            5 => {
                // One signer fewer, consistently.
                bytes[BITMAP] &= bytes[BITMAP] - 1;
                bytes[BITMAP + width] -= 1;
                bytes.truncate(bytes.len() - 64);
            }
            6 => bytes.copy_within(signatures..signatures + 64, signatures + 64),
            7 => {
                // Another validator than those who signed.
                bytes[BITMAP] = bytes[BITMAP].rotate_left(1);
            }
            _ => {
                let vote = hand.vote(
                    ledger::vote::VoteKind::Nullify,
                    hand.lore.view,
                    <_>::default(),
                );
                bytes[signatures..signatures + 64].copy_from_slice(&vote.signature.0);
            }
        }
        let to = hand.somebody();
        // A forgery that does not even decode goes out as bytes all the same.
        match codec::decode::<Certificate>(&bytes, Certificate::MAX_LEN) {
            Ok(certificate) => hand.send(to, &Message::Certificate(certificate)),
            Err(_malformed) => {
                bytes.insert(0, 5);
                hand.send_bytes(to, bytes);
            }
        }
    }
}
