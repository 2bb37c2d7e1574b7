//! Answers requests with lies: gaps, extra blocks, other blocks, a good certificate for another block, and
//! an early view to whoever lost its journal. Or with as little as is true, as late as it counts.

use super::{Behaviour, Hand};
use crate::clock::Time;
use consensus::Message;
use consensus::message::{RejoinResp, SyncResp};
use ledger::certificate::Certificate;

/// A question for blocks waits four seconds and four delays.
const LATE: Time = 4_300;

pub(super) struct LyingSync;

/// A single block, and headers on to the same finalization.
fn least(response: &SyncResp) -> Option<SyncResp> {
    let (first, others) = response.blocks.split_first()?;
    let skipped = others.iter().map(|block| &block.header);
    let headers: Vec<_> = skipped.chain(&*response.headers).cloned().collect();
    Some(SyncResp {
        blocks: vec![first.clone()].try_into().ok()?,
        headers: headers.try_into().ok()?,
        certificate: response.certificate.clone(),
    })
}

fn oldest(hand: &Hand<'_>) -> Option<Certificate> {
    let epoch = hand.epoch().epoch();
    let mut of_epoch = hand.lore.certificates.iter().filter(|c| c.epoch() == epoch);
    of_epoch.next().cloned()
}

impl Behaviour for LyingSync {
    fn incoming(&mut self, hand: &mut Hand<'_>, from: usize, message: &Message) {
        if let Message::RejoinReq(request) = message {
            // Whatever the rules say about answering.
            let entry = oldest(hand).filter(|_| request.nonce % 2 == 0);
            let answer = RejoinResp {
                nonce: request.nonce,
                epoch: request.epoch,
                entry,
            };
            hand.send(from, &Message::RejoinResp(answer));
        }
    }

    fn outgoing(&mut self, hand: &mut Hand<'_>, to: usize, message: Message) -> Option<Message> {
        match message {
            Message::SyncResp(mut response) => {
                let other = hand.lore.certificates.front().cloned();
                let extra = response.blocks.last().cloned();
                if hand.random.chance(300)
                    && let Some(least) = least(&response)
                {
                    let bytes = Message::SyncResp(least).encode();
                    hand.send_later(LATE, to, bytes);
                    return None;
                }
                match (hand.random.below(4), other, extra) {
                    (0, Some(certificate), _) => response.certificate = certificate,
                    (1, _, Some(block)) => {
                        response.blocks.push(block).ok()?;
                    }
                    (2, _, Some(block)) => {
                        response.headers.push(block.header).ok()?;
                    }
                    _ => {
                        let mut blocks = response.blocks.into_vec();
                        blocks.remove(0);
                        response.blocks = blocks.try_into().ok()?;
                    }
                }
                Some(Message::SyncResp(response))
            }
            Message::Block(block) => {
                let other = hand.lore.blocks.values().next().cloned();
                Some(Message::Block(other.unwrap_or(block)))
            }
            Message::CertResp(_) => {
                let all: Vec<_> = hand.lore.certificates.iter().take(9).cloned().collect();
                Some(Message::CertResp(all.try_into().ok()?))
            }
            Message::RejoinResp(mut answer) => {
                // As if it had been in an early view ever since.
                answer.entry = oldest(hand);
                Some(Message::RejoinResp(answer))
            }
            other => Some(other),
        }
    }
}
