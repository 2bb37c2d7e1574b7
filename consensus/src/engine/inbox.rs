//! Verified messages, each to the rule that it feeds (consensus.md, 3.8).

use super::Engine;
use super::admit::BODIES_AHEAD;
use super::slots::Slot;
use crate::epoch::Peer;
use crate::message::Message;
use crate::time::Now;
use crate::verify::{Content, Verified, VerifiedMessage};
use ledger::id::View;
use ledger::vote::Vote;

impl Engine {
    pub(super) fn take_in(&mut self, now: Now, from: Peer, message: VerifiedMessage) {
        let VerifiedMessage { epoch, message } = message;
        if epoch != self.run.epoch.epoch() || self.peers.get(&from).is_none() {
            // It was on its way when the epoch ended, or its sender is gone.
            return;
        }
        match message {
            Verified::Hello(hello) => self.hello_came(now, &from, hello),
            Verified::Seen {
                nonce,
                votes,
                other_instance,
            } => self.seen_came(now, from, nonce, &votes, other_instance),
            Verified::Proposal {
                parent_view,
                content,
                vote,
                justification,
            } => {
                self.peers.seen_in(&from, vote.view);
                for certificate in justification {
                    self.accept(now, certificate);
                }
                self.proposal_came(now, from, parent_view, content, vote);
            }
            Verified::Vote(vote) => {
                if let Some(signer) = self.run.epoch.peer_of(vote.signer) {
                    self.peers.seen_in(&signer, vote.view);
                }
                self.count(now, vote);
            }
            Verified::Lagging => self.help(now.mono, &from),
            Verified::Certificates(certificates) => {
                for certificate in certificates {
                    self.peers
                        .seen_in(&from, certificate.view().saturating_add(1));
                    self.accept(now, certificate);
                }
            }
            Verified::Status(status) => self.heartbeat_came(now, &from, status),
            Verified::Fetch(block) => self.serve_block(&from, block),
            Verified::Block(block) => self.fetched(now, from, block),
            Verified::CertReq(request) => self.serve_certificates(&from, &request),
            Verified::SyncReq(request) => self.serve_sync(&from, request),
            Verified::Sync(sync) => self.synced(now, from, sync),
            Verified::BodyReq(request) => self.serve_items(&from, &request),
            Verified::BodyItems { block, items } => self.items_came(now, &from, block, items),
            Verified::RejoinReq(request) => self.rejoin_asked(now, &from, request),
            Verified::RejoinResp { nonce, entry } => {
                self.rejoin_answered(now, from, nonce, entry);
            }
        }
    }

    /// A proposal of its leader's; what it brings besides was taken in before.
    fn proposal_came(
        &mut self,
        now: Now,
        from: Peer,
        parent_view: View,
        content: Content,
        vote: Vote,
    ) {
        let view = vote.view;
        let current = self.run.current.view;
        if view <= self.run.certificates.finalized_view() {
            return;
        }
        let named = vote.block;
        if view.saturating_add(1) >= current && self.run.slots.get(view).is_none() {
            let slot = Slot {
                block: named,
                header: content.header().clone(),
                parent_view,
                vote,
                refused: false,
            };
            self.run.slots.fill(view, slot);
        }
        let slot = self.run.slots.get(view);
        let fills = slot.is_some_and(|slot| slot.block == named)
            && view <= current.saturating_add(BODIES_AHEAD)
            && !self.run.fetches.shuns(&named.hash, &from);
        match content {
            Content::Whole(block) => {
                if fills || self.run.fetches.wants(&named.hash, &from) {
                    self.blocks.insert(block, Some(from), now.mono);
                }
            }
            Content::Compact(header, ids) => {
                if fills {
                    self.assemble(now, from, view, header, ids);
                }
            }
        }
        self.count(now, vote);
    }

    pub(super) fn peer_up(&mut self, now: Now, peer: Peer) {
        self.peers.up(peer, now.mono);
        let status = self.own_status(now);
        self.send(&peer, Message::Status(status));
        self.greet_one(&peer);
        self.rejoin_with(now, &peer);
    }
}
