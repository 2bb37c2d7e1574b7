//! Votes become certificates, certificates move the view: R0, R4 to R7, and evidence (consensus.md, 3.7 and 3.17).

use super::Engine;
use super::guard::Bar;
use super::tally::Counted;
use crate::journal::Record;
use crate::message::Message;
use crate::output::{Alarm, Output};
use crate::time::{Mono, Now};
use ledger::certificate::{Certificate, VerifiedCertificate};
use ledger::evidence::Evidence;
use ledger::header::BlockRef;
use ledger::id::View;
use ledger::planted;
use ledger::vote::{Vote, VoteKind};

/// Up to so many validators, everybody tells everybody at once by which certificate it entered a view (R7).
const EAGER: usize = 16;
/// Votes are kept for so many views below the current one.
const KEEP_VIEWS: u64 = 16;

impl Engine {
    /// Counts a verified vote; a quorum makes a certificate.
    pub(super) fn count(&mut self, now: Now, vote: Vote) {
        if vote.view <= self.run.certificates.finalized_view() {
            return;
        }
        match self.run.tally.add(vote) {
            Counted::Known => {}
            Counted::Conflict(evidence) => self.report(&evidence),
            Counted::New => {
                if self.run.certificates.holds(vote.kind, vote.view) {
                    return;
                }
                if let Some(certificate) = self
                    .run
                    .tally
                    .certificate(vote.statement(), &self.run.epoch)
                {
                    self.accept(now, certificate);
                }
            }
        }
    }

    // 3.17: noticed, kept, handed out.
    fn report(&mut self, evidence: &Evidence) {
        let (a, b) = evidence.votes();
        let (a, b) = (*a, *b);
        self.evidence.push(*evidence);
        self.outbox.persist(Record::Evidence { a, b });
        self.outbox.after_durable(Output::Evidence { a, b });
    }

    /// Takes in a verified certificate: R4, R5, R6, and with them R0 and R7.
    pub(super) fn accept(&mut self, now: Now, certificate: VerifiedCertificate) {
        let (kind, view) = (certificate.kind(), certificate.view());
        if self.guard.is_barred(Bar::Stopped) {
            // 3.12: a node that reported its top for a restart takes in nothing that could change it.
            return;
        }
        if self.run.certificates.holds(kind, view) {
            self.compare_finalization(&certificate);
            return;
        }
        if kind != VoteKind::Finalize && !self.run.certificates.make_room(view) {
            return;
        }
        if let Some(block) = self.run.certificates.contradiction(&certificate) {
            self.diverge(block);
            return;
        }
        let entry = certificate.get().clone();
        if kind != VoteKind::Notarize || !planted!(NotarizationNotWritten) {
            self.outbox.persist(Record::Certificate(entry.clone()));
        }
        let block = certificate.block();
        if kind == VoteKind::Finalize {
            self.finalize(now, certificate, block);
        } else {
            self.run.certificates.insert(certificate, now.mono);
        }
        if kind == VoteKind::Nullify {
            self.park_given_up(view);
        }
        if view >= self.run.current.view
            && let Some(next) = view.next()
        {
            self.enter(now.mono, next, entry);
        } else {
            self.run.certificates.refresh_run(self.run.current.view);
        }
    }

    // R6; committing follows as soon as the blocks are here.
    fn finalize(&mut self, now: Now, certificate: VerifiedCertificate, block: BlockRef) {
        let known = self.run.certificates.finalized();
        let committed = self.blocks.committed().block;
        let forks = block.height < known.height
            || (block.height == known.height && block != known)
            || (block.height == committed.height && block != committed);
        let view = certificate.view();
        self.run.certificates.insert(certificate, now.mono);
        self.guard.finalized(view);
        self.run.tally.prune(view.saturating_add(1));
        self.run.slots.prune(view.saturating_add(1));
        if forks {
            self.diverge(block);
        }
        self.stop_at_seal();
    }

    fn compare_finalization(&mut self, certificate: &Certificate) {
        let same_view = certificate.view() == self.run.certificates.finalized_view();
        let is_final = certificate.kind() == VoteKind::Finalize;
        if is_final && same_view && certificate.block() != self.run.certificates.finalized() {
            self.diverge(certificate.block());
        }
    }

    // R0
    fn enter(&mut self, now: Mono, view: View, by: Certificate) {
        self.run.current.enter(view, now);
        self.run.build = None;
        self.run.certificates.refresh_run(view);
        self.run.slots.prune(view.saturating_sub(1));
        let kept = view.saturating_sub(KEEP_VIEWS);
        self.run
            .tally
            .prune(kept.max(self.run.certificates.finalized_view().saturating_add(1)));
        self.announce(now, by);
    }

    // R7
    fn announce(&mut self, now: Mono, by: Certificate) {
        let message = Message::Certificate(by);
        if self.run.epoch.set().n() <= EAGER {
            self.outbox.after_durable(Output::Broadcast(message));
            return;
        }
        let leader = self.run.epoch.leader(self.run.current.view);
        if let Some(leader) = self.run.epoch.peer_of(leader) {
            self.send(&leader, message);
        }
        let quarter = self.config.timing().delta_ms.div_euclid(4);
        self.run.current.spread_at = Some(now.plus(quarter));
    }

    /// R7 with many validators: whoever was not seen in the view yet gets the certificate a little later.
    pub(super) fn spread(&mut self, now: Mono) {
        let due = self.run.current.spread_at.is_some_and(|at| at <= now);
        if !due {
            return;
        }
        self.run.current.spread_at = None;
        let view = self.run.current.view;
        let Some(entry) = self.entry_certificate() else {
            return;
        };
        let behind: alloc::vec::Vec<_> = self
            .peers
            .members()
            .filter(|(_, state)| state.view < view)
            .map(|(peer, _)| peer)
            .collect();
        for peer in behind {
            self.send(&peer, Message::Certificate(entry.clone()));
        }
    }

    /// The certificate by which the current view was entered.
    pub(super) fn entry_certificate(&self) -> Option<Certificate> {
        let before = self.run.current.view.prev()?;
        self.run.certificates.of_view(before).next().cloned()
    }

    /// More than f validators are faulty, or this node is broken: stop voting, tell a person, mend nothing.
    pub(super) fn diverge(&mut self, block: BlockRef) {
        if self.diverged {
            return;
        }
        self.diverged = true;
        self.guard.bar(Bar::Diverged);
        self.outbox.now(Output::Alarm(Alarm::Divergence(block)));
    }
}
