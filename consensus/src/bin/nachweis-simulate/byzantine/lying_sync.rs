//! Answers requests with lies: gaps, extra blocks, other blocks, a good certificate for another block, and
//! an early view to whoever lost its journal.

use super::{Behaviour, Hand};
use consensus::Message;
use consensus::message::RejoinResp;
use ledger::certificate::Certificate;

pub(super) struct LyingSync;

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

    fn outgoing(&mut self, hand: &mut Hand<'_>, _to: usize, message: Message) -> Option<Message> {
        match message {
            Message::SyncResp(mut response) => {
                let other = hand.lore.certificates.front().cloned();
                let extra = response.blocks.last().cloned();
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
