//! Before its first vote a node asks the others what they saw of its key (consensus.md, 3.12).

use super::Engine;
use super::guard::Bar;
use crate::epoch::Peer;
use crate::journal::Record;
use crate::message::{Hello, Message, Seen};
use crate::output::{Alarm, Output};
use crate::time::{Mono, Now};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use ledger::id::View;
use ledger::vote::Vote;

/// When another process with this key was reported, ask again after so long, in ms.
const OTHER_INSTANCE_MS: u64 = 30_000;

/// The question that is out.
#[derive(Debug, Default)]
pub(super) struct StartCheck {
    nonce: u64,
    next_at: Mono,
    seen: BTreeSet<Peer>,
    others: BTreeSet<Peer>,
    journal: JournalView,
}

/// What the journal shows of this key's past.
#[derive(Debug, Default)]
pub(super) struct JournalView {
    /// Made together with its key: whatever others report, it is no old copy.
    pub(super) is_fresh: bool,
    /// Its finalized view in this epoch; votes up to there are not kept.
    pub(super) finalized: View,
    /// The votes above it.
    pub(super) votes: Vec<Vote>,
}

impl StartCheck {
    /// Whether the journal was made together with its key, and never written before this process.
    pub(super) const fn trust_journal(&mut self, is_fresh: bool) {
        self.journal.is_fresh = is_fresh;
    }

    pub(super) const fn trusts_journal(&self) -> bool {
        self.journal.is_fresh
    }

    pub(super) fn new(journal: JournalView) -> Self {
        Self {
            journal,
            ..Self::default()
        }
    }

    pub(super) const fn deadline(&self) -> Mono {
        self.next_at
    }

    pub(super) const fn nonce(&self) -> u64 {
        self.nonce
    }
}

impl Engine {
    pub(super) fn begin_start_check(&mut self, now: Now) {
        self.guard.bar(Bar::StartCheck);
        // Each epoch asks anew: answers about another one do not count.
        let epoch = self.run.epoch.epoch().0.wrapping_shl(32);
        self.run.start_check.nonce = self.instance.wrapping_add(epoch).wrapping_add(1);
        self.conclude_start_check(now);
        self.greet(now);
    }

    /// Asks those again that have not answered.
    pub(super) fn greet(&mut self, now: Now) {
        if !self.is_asking() || self.run.start_check.next_at > now.mono {
            return;
        }
        self.run.start_check.next_at = now.mono.plus(self.config.retry_ms());
        let silent: Vec<Peer> = self
            .peers
            .members()
            .map(|(peer, _)| peer)
            .filter(|peer| !self.run.start_check.seen.contains(peer))
            .collect();
        for peer in silent {
            self.greet_one(&peer);
        }
    }

    pub(super) fn greet_one(&mut self, peer: &Peer) {
        if self.is_asking() && self.run.epoch.index_of(peer).is_some() {
            let hello = Hello {
                instance: self.instance,
                nonce: self.run.start_check.nonce,
            };
            self.ask(peer, Message::Hello(hello));
        }
    }

    pub(super) fn is_asking(&self) -> bool {
        self.guard.is_barred(Bar::StartCheck) && self.guard.me().is_some()
    }

    /// Answers a starting node, also during the own start check.
    pub(super) fn hello_came(&mut self, now: Now, peer: &Peer, hello: Hello) {
        let quiet = self.config.timing().quiet_ms;
        self.peers.heard_instance(peer, hello.instance, now.mono);
        let other_instance = self
            .peers
            .has_other_instance(peer, hello.instance, now.mono, quiet);
        let index = self.run.epoch.index_of(peer);
        let votes = index.map(|index| self.run.tally.highest_of(index));
        let votes = votes.unwrap_or_default();
        let seen = Seen {
            nonce: hello.nonce,
            epoch: self.run.epoch.epoch(),
            finalized: self.blocks.committed().block,
            votes: votes.try_into().unwrap_or_default(),
            other_instance,
        };
        self.send(peer, Message::Seen(seen));
    }

    /// An answer.
    pub(super) fn seen_came(
        &mut self,
        now: Now,
        from: Peer,
        nonce: u64,
        votes: &[Vote],
        other: bool,
    ) {
        if !self.is_asking() || nonce != self.run.start_check.nonce {
            return;
        }
        if !self.run.start_check.journal.is_fresh
            && votes.iter().any(|vote| self.is_forgotten(vote))
        {
            self.quarantine();
        }
        self.run.start_check.seen.insert(from);
        if other {
            self.run.start_check.others.insert(from);
        }
        self.conclude_start_check(now);
    }

    /// Whether a verified vote of this key, above all that is pruned, is not in the journal.
    fn is_forgotten(&self, vote: &Vote) -> bool {
        let journal = &self.run.start_check.journal;
        let mut held = journal.votes.iter().map(Vote::statement);
        Some(vote.signer) == self.guard.me()
            && vote.view > journal.finalized
            && !self.guard.is_below_floor(vote.view)
            && held.all(|held| held != vote.statement())
    }

    fn conclude_start_check(&mut self, now: Now) {
        let needed = self.run.epoch.set().quorum().saturating_sub(1);
        if self.run.start_check.seen.len() < needed {
            return;
        }
        let others = self.run.start_check.others.len();
        if others > self.run.epoch.set().f() {
            self.outbox.now(Output::Alarm(Alarm::OtherInstance(others)));
            self.run.start_check.nonce = self.run.start_check.nonce.wrapping_add(1);
            self.run.start_check.seen.clear();
            self.run.start_check.others.clear();
            self.run.start_check.next_at = now.mono.plus(OTHER_INSTANCE_MS);
            return;
        }
        self.run.start_check.journal.votes.clear();
        self.guard.lift(Bar::StartCheck);
    }

    /// The journal is not complete: from now on this key only observes.
    pub(super) fn quarantine(&mut self) {
        if !self.guard.is_barred(Bar::Quarantine) {
            self.guard.bar(Bar::Quarantine);
            self.quarantines = self.quarantines.saturating_add(1);
            let number = self.quarantines;
            self.outbox.persist(Record::Quarantine { number });
            self.outbox.now(Output::Alarm(Alarm::Quarantine));
        }
    }
}
