//! From one epoch to the next, and help for those who are still in the last one (consensus.md, 3.15).

use super::Engine;
use super::guard::Bar;
use super::recover::EpochPast;
use crate::epoch::{EpochInfo, EpochSpec, Peer};
use crate::message::Message;
use crate::output::{Alarm, Output};
use crate::time::{Mono, Now};
use crate::verify::{Dropped, Verifier};
use alloc::sync::Arc;
use core::cmp::Ordering;
use ledger::id::Epoch;
use ledger::key::{BadSignature, Key, RawSignature};
use ledger::planted;

/// Evidence is kept for so many epochs (3.17).
const KEEP_EVIDENCE: u64 = 8;

/// For certificates of the own journal that could not be checked at recovery, because their epoch's set was not known
/// yet: this node had checked them before it wrote them.
struct OwnJournal;

impl Verifier for OwnJournal {
    fn verify(&self, _: &Key, _: &[u8], _: &RawSignature) -> Result<(), BadSignature> {
        Ok(())
    }
}

impl Engine {
    /// The engine votes no more as soon as a SEAL block is known to be final here, committed or not.
    pub(super) fn stop_at_seal(&mut self) {
        let tip = self.blocks.tip(&self.run.certificates.finalized().hash);
        if tip.is_some_and(|tip| self.run.epoch.ends_with(&tip)) {
            self.guard.bar(Bar::Sealed);
        }
    }

    /// The next epoch begins on the committed SEAL block, with fresh views.
    pub(super) fn epoch_opened(&mut self, now: Now, spec: EpochSpec) {
        if !self.is_next(&spec) {
            let what = "the opened epoch does not follow on the committed SEAL block";
            self.outbox.now(Output::Alarm(Alarm::Contract(what)));
            return;
        }
        let mut spec = spec;
        if planted!(OldSet) {
            spec.set = self.run.epoch.set().clone();
        }
        let epoch = Arc::new(EpochInfo::new(spec));
        let finalization = self.run.certificates.finalization();
        self.previous = finalization.map(|c| c.get().clone());
        if !self.guard.enter(Arc::clone(&epoch)) {
            return;
        }
        let mut past = EpochPast::take(&mut self.later, epoch.epoch());
        if let Some(record) = past.owed(&epoch) {
            self.outbox.persist(record);
        }
        let is_fresh = self.run.start_check.trusts_journal();
        let Ok(run) = past.resume(&epoch, &mut self.guard, &OwnJournal) else {
            // What it holds of this epoch is no record of this key's votes.
            let what = "the journal's records of the opened epoch are not this key's";
            self.outbox.now(Output::Alarm(Alarm::Contract(what)));
            self.diverge(epoch.anchor().block);
            return;
        };
        self.run = run;
        self.run.start_check.trust_journal(is_fresh);
        for dropped in self.blocks.enter_epoch(epoch.epoch()) {
            self.outbox.after_durable(Output::Forget(dropped));
        }
        past.hand_over(&mut self.blocks);
        let me = self.guard.me().and_then(|me| epoch.peer_of(me));
        self.peers.enter_epoch(&epoch, me);
        let oldest = epoch.epoch().saturating_sub(KEEP_EVIDENCE);
        self.evidence
            .retain(|evidence| evidence.votes().0.epoch >= oldest);
        self.recall_evidence();
        self.recall_proposal();
        self.take_up(now);
        if self.guard.is_barred(Bar::StartCheck) {
            self.begin_start_check(now);
        }
    }

    fn is_next(&self, spec: &EpochSpec) -> bool {
        let (epoch, tip) = (&self.run.epoch, self.blocks.committed());
        let seal = self.blocks.get(&tip.block.hash);
        let names_set = seal.is_none_or(|seal| seal.block.header.next_set == spec.set.hash());
        self.run.sealed
            && !self.diverged
            && spec.chain == epoch.chain()
            && Some(spec.epoch) == epoch.epoch().next()
            && spec.anchor == *tip
            && names_set
    }

    /// A message of another epoch goes no further: it only shows which of the two is behind.
    pub(super) fn of_epoch(&mut self, now: Now, from: &Peer, epoch: Epoch) -> Result<(), Dropped> {
        match epoch.cmp(&self.run.epoch.epoch()) {
            Ordering::Equal => return Ok(()),
            Ordering::Less if planted!(EpochNotBound) => return Ok(()),
            Ordering::Less => self.help_over(now.mono, from, epoch),
            Ordering::Greater => self.ask_for_help(now, from),
        }
        Err(Dropped::Epoch)
    }

    /// A peer is in the epoch before: the finalization of its SEAL block leads on. Whoever is further behind asks for
    /// blocks by itself.
    pub(super) fn help_over(&mut self, now: Mono, peer: &Peer, epoch: Epoch) {
        let end = self.previous.as_ref().filter(|end| end.epoch() == epoch);
        let Some(end) = end.cloned() else {
            return;
        };
        if self.may_help(now, peer) {
            self.send(peer, Message::Certificate(end));
        }
    }
}
