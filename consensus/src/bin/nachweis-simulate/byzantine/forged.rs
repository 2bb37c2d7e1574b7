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
    /// Some of its certificates are forged when they go out, before anybody else's copy arrives.
    fn outgoing(&mut self, hand: &mut Hand<'_>, to: usize, message: Message) -> Option<Message> {
        match message {
            Message::Certificate(certificate) if hand.random.chance(200) => {
                let bytes = forge(hand, &certificate);
                send(hand, to, bytes);
                None
            }
            other => Some(other),
        }
    }

    fn tick(&mut self, hand: &mut Hand<'_>) {
        if hand.lore.certificates.is_empty() {
            return;
        }
        let at = hand.random.index(hand.lore.certificates.len());
        let certificate = hand.lore.certificates[at].clone();
        let bytes = forge(hand, &certificate);
        let to = hand.somebody();
        send(hand, to, bytes);
    }
}

fn forge(hand: &mut Hand<'_>, certificate: &Certificate) -> Vec<u8> {
    let mut bytes = codec::encode(certificate);
    // The certificate may be of an epoch with another number of validators.
    let width = usize::from(bytes[BITMAP - 4]);
    let signatures = BITMAP + width + 4;
    match hand.random.below(10) {
        0 => bytes[KIND] = if bytes[KIND] == 1 { 3 } else { 1 },
        1 => bytes[EPOCH] ^= 1,
        2 => bytes[VIEW] = bytes[VIEW].wrapping_add(1),
        3 => bytes[HASH] ^= 1,
        4 => bytes[BITMAP] |= 0x80,
        5 => {
            // One signer fewer, consistently.
            bytes[BITMAP] &= bytes[BITMAP].wrapping_sub(1);
            bytes[BITMAP + width] -= 1;
            bytes.truncate(bytes.len() - 64);
        }
        6 => bytes.copy_within(signatures..signatures + 64, signatures + 64),
        7 => {
            // A signature twice instead of the last signer's: fewer signers than signatures.
            let mut last = bytes[BITMAP..BITMAP + width].iter_mut().rev();
            if let Some(byte) = last.find(|byte| **byte != 0) {
                *byte &= !(0x80 >> byte.leading_zeros());
            }
            let end = bytes.len();
            bytes.copy_within(end - 128..end - 64, end - 64);
        }
        8 => {
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
    bytes
}

/// A forgery that does not even decode goes out as bytes all the same.
fn send(hand: &mut Hand<'_>, to: usize, mut bytes: Vec<u8>) {
    match codec::decode::<Certificate>(&bytes, Certificate::MAX_LEN) {
        Ok(certificate) => hand.send(to, &Message::Certificate(certificate)),
        Err(_malformed) => {
            bytes.insert(0, 5);
            hand.send_bytes(to, bytes);
        }
    }
}
