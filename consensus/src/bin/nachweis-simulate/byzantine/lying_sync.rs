//! Answers requests with lies: gaps, extra blocks, other blocks, a good certificate for another block.

use super::{Behaviour, Hand};
use consensus::Message;

pub(super) struct LyingSync;

impl Behaviour for LyingSync {
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
            other => Some(other),
        }
    }
}
