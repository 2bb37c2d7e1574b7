//! The state again from what the disk holds: the maximum over all records (consensus.md, 3.11).
//!
//! A journal may hold records of several epochs. Those of the current one make its run; those of later ones are kept
//! until that epoch is opened (the archive may lag the journal); those of earlier ones are done with.

use super::blocks::Blocks;
use super::certificates::Certificates;
use super::guard::{Bar, Floor, SafetyGuard};
use super::peers::Peers;
use super::run::Run;
use super::slots::Slot;
use super::start_check::{JournalView, StartCheck};
use super::{Engine, RecoverError, Setup};
use crate::block::Block;
use crate::epoch::{EpochInfo, Sealed};
use crate::journal::{JournalState, Record};
use crate::outbox::Outbox;
use crate::output::{Alarm, Output};
use crate::time::{Mono, Now};
use crate::verify::{self, Verifier};
use alloc::sync::Arc;
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::evidence::Evidence;
use ledger::hash::Hash;
use ledger::id::{Epoch, ValidatorIndex, View};
use ledger::planted;
use ledger::vote::{Vote, VoteKind};

/// What the journal says of this key, whatever the epoch.
#[derive(Default)]
struct KeyPast {
    /// Highest numbers of a quarantine and of a floor; 0 for none.
    quarantines: u32,
    floors: u32,
    floor: Floor,
    stopped: Option<Epoch>,
    /// The newest epoch that was entered by a restart file.
    restarted: Option<Epoch>,
    /// The newest epoch that was entered.
    newest: Epoch,
    evidence: Vec<Evidence>,
}

impl KeyPast {
    fn read(records: &[Record]) -> Self {
        let mut past = Self::default();
        for record in records {
            match record {
                Record::EpochStart { epoch, restart, .. } => {
                    past.newest = past.newest.max(*epoch);
                    if *restart != Hash::ZERO {
                        past.restarted = past.restarted.max(Some(*epoch));
                    }
                }
                Record::Quarantine { number } => past.quarantines = past.quarantines.max(*number),
                Record::Floor {
                    number,
                    epoch,
                    view,
                } => {
                    past.floors = past.floors.max(*number);
                    past.floor = past.floor.max((*epoch, *view));
                }
                Record::Stopped { epoch } => past.stopped = past.stopped.max(Some(*epoch)),
                Record::OwnVote { vote, .. } => past.newest = past.newest.max(vote.epoch),
                Record::Evidence { a, b } => past.accuse(Evidence::new(*a, *b)),
                Record::Block(_) | Record::Certificate(_) | Record::FinTip { .. } => {}
            }
        }
        past
    }

    /// One pair of votes per validator and epoch: a journal whose pruning was cut off says what is needed twice.
    fn accuse(&mut self, evidence: Option<Evidence>) {
        let accused = |evidence: &Evidence| (evidence.votes().0.epoch, evidence.votes().0.signer);
        if let Some(new) = evidence
            && !self
                .evidence
                .iter()
                .any(|known| accused(known) == accused(&new))
        {
            self.evidence.push(new);
        }
    }

    fn bind(&self, guard: &mut SafetyGuard) {
        guard.has_entered(self.newest);
        guard.raise_floor(self.floor);
        if self.quarantines > self.floors {
            guard.bar(Bar::Quarantine);
        }
        if self.stopped.is_some_and(|at| self.restarted <= Some(at)) {
            guard.bar(Bar::Stopped);
        }
    }
}

/// The journal's records of one epoch, by kind.
#[derive(Default)]
pub(super) struct EpochPast {
    entered: bool,
    blocks: Vec<Block>,
    certificates: Vec<Certificate>,
    votes: Vec<(Vote, Option<View>)>,
    finalized: View,
}

impl EpochPast {
    /// Takes the records of an epoch out of all, and drops those of the epochs before it.
    pub(super) fn take(records: &mut Vec<Record>, current: Epoch) -> Self {
        let mut past = Self::default();
        for record in core::mem::take(records) {
            if epoch_of(&record) > Some(current) {
                records.push(record);
            } else if epoch_of(&record) == Some(current) {
                past.add(record);
            }
        }
        past
    }

    fn add(&mut self, record: Record) {
        match record {
            Record::EpochStart { .. } => self.entered = true,
            Record::Block(block) => self.blocks.push(block),
            Record::Certificate(certificate) => self.certificates.push(certificate),
            Record::OwnVote { vote, parent_view } => self.votes.push((vote, parent_view)),
            Record::FinTip { view, .. } => self.finalized = self.finalized.max(view),
            Record::Quarantine { .. }
            | Record::Floor { .. }
            | Record::Stopped { .. }
            | Record::Evidence { .. } => {}
        }
    }

    /// The record that opens the epoch in the journal, if it is not there.
    pub(super) fn owed(&self, epoch: &EpochInfo) -> Option<Record> {
        (!self.entered).then(|| start_record(epoch))
    }

    /// The epoch's run as it was left, and its votes in the guard, which has entered it.
    pub(super) fn resume(
        &mut self,
        epoch: &Arc<EpochInfo>,
        guard: &mut SafetyGuard,
        verifier: &dyn Verifier,
    ) -> Result<Run, RecoverError> {
        let certified = core::mem::take(&mut self.certificates);
        let certificates = recover_certificates(certified, epoch, verifier)?;
        let finalized = self.finalized.max(certificates.finalized_view());
        guard.finalized(finalized);
        for (vote, parent_view) in &self.votes {
            if Some(vote.signer) != guard.me() {
                return Err(RecoverError::ForeignVote(vote.signer));
            }
            guard.recall(*vote, *parent_view);
        }
        let view = newest_view(&certificates, guard);
        let mut run = Run::new(Arc::clone(epoch), certificates, view);
        remember_signers(&mut run);
        run.start_check = StartCheck::new(JournalView {
            is_fresh: false,
            finalized,
            votes: self.votes.iter().map(|(vote, _)| *vote).collect(),
        });
        Ok(run)
    }

    /// The blocks under vote, into those that are held.
    pub(super) fn hand_over(self, blocks: &mut Blocks) {
        for block in self.blocks {
            let hash = block.hash();
            blocks.insert(block, None, Mono::default());
            blocks.mark_journalled(&hash);
        }
    }
}

/// The epoch that a record is of; `None` for what concerns the key in all of them.
fn epoch_of(record: &Record) -> Option<Epoch> {
    match record {
        Record::EpochStart { epoch, .. } | Record::FinTip { epoch, .. } => Some(*epoch),
        Record::Block(block) => Some(block.header.epoch),
        Record::Certificate(certificate) => Some(certificate.epoch()),
        Record::OwnVote { vote, .. } => Some(vote.epoch),
        Record::Quarantine { .. }
        | Record::Floor { .. }
        | Record::Stopped { .. }
        | Record::Evidence { .. } => None,
    }
}

pub(super) fn start_record(epoch: &EpochInfo) -> Record {
    Record::EpochStart {
        epoch: epoch.epoch(),
        set: epoch.set_hash(),
        anchor: epoch.anchor().block.hash,
        restart: epoch.restart(),
    }
}

impl Engine {
    pub(super) fn from_disk(setup: Setup, verifier: &dyn Verifier) -> Result<Self, RecoverError> {
        let epoch = Arc::new(EpochInfo::new(setup.epoch));
        let mut later = setup.records;
        let is_fresh = setup.journal == JournalState::Fresh && later.is_empty();
        let key = KeyPast::read(&later);
        let mut past = EpochPast::take(&mut later, epoch.epoch());
        past.certificates.extend(setup.archived.finalization);
        let mut guard = SafetyGuard::new(setup.identity.signer, Arc::clone(&epoch));
        key.bind(&mut guard);
        let mut owed: Vec<Record> = past.owed(&epoch).into_iter().collect();
        // A pruned journal names the quarantines that ended only by their floor.
        let mut quarantines = key.quarantines;
        if !planted!(FloorForgotten) {
            quarantines = quarantines.max(key.floors);
        }
        if setup.journal == JournalState::Lost && !guard.is_barred(Bar::Quarantine) {
            guard.bar(Bar::Quarantine);
            quarantines = quarantines.saturating_add(1);
            let number = quarantines;
            owed.push(Record::Quarantine { number });
        }
        let mut run = past.resume(&epoch, &mut guard, verifier)?;
        let tip = setup.archived.tip;
        run.sealed = epoch.ends_with(&tip);
        run.start_check.trust_journal(is_fresh);
        let mut blocks = Blocks::new(tip);
        past.hand_over(&mut blocks);
        let mut peers = Peers::default();
        peers.enter_epoch(&epoch, guard.me().and_then(|me| epoch.peer_of(me)));
        let mut engine = Self {
            config: setup.config,
            layout: setup.layout,
            instance: setup.identity.instance,
            outbox: Outbox::default(),
            guard,
            run,
            blocks,
            peers,
            previous: check_sealed(setup.previous, verifier)?,
            later,
            evidence: key.evidence,
            quarantines,
            owed,
            started: false,
            stopping: false,
            diverged: false,
            clock_alarmed: false,
            status_due: false,
            last_status: Mono::default(),
            latest: Mono::default(),
            timer: None,
        };
        engine.recall_evidence();
        engine.recall_proposal();
        Ok(engine)
    }

    /// `Start`: what the journal lacks, own votes into the tally, everything of the current view out again.
    pub(super) fn start(&mut self, now: Now) {
        self.started = true;
        self.peers.start(now.mono);
        for record in core::mem::take(&mut self.owed) {
            self.outbox.persist(record);
        }
        if self.guard.is_barred(Bar::Quarantine) {
            self.outbox.now(Output::Alarm(Alarm::Quarantine));
        }
        // The pool that it waited in died with the process before; on the chain already, it is refused there.
        for evidence in &self.evidence {
            let (a, b) = evidence.votes();
            let (a, b) = (*a, *b);
            self.outbox.now(Output::Evidence { a, b });
        }
        if self.run.sealed {
            self.guard.bar(Bar::Sealed);
            let tip = *self.blocks.committed();
            self.outbox.after_durable(Output::Sealed(tip));
        }
        self.take_up(now);
        self.begin_start_check(now);
    }

    /// An epoch's run begins, anew or again.
    pub(super) fn take_up(&mut self, now: Now) {
        self.run.current.last_retry = now.mono;
        // Without own votes in the tally, certificates that need them may never form again (3.11).
        let own: Vec<Vote> = self
            .guard
            .newest_first()
            .flat_map(|(_, votes)| votes.all())
            .collect();
        for vote in own {
            if !planted!(OwnVotesForgotten) {
                self.count(now, vote);
            }
        }
        self.status_due = true;
        self.resend_votes();
        self.resend_proposal();
    }

    /// One pair of votes per validator and epoch is enough.
    pub(super) fn recall_evidence(&mut self) {
        let epoch = self.run.epoch.epoch();
        for evidence in &self.evidence {
            let (vote, _) = evidence.votes();
            if vote.epoch == epoch {
                self.run.tally.accuse(vote.signer);
            }
        }
    }

    /// A leader's own proposal in the current view takes its slot again.
    pub(super) fn recall_proposal(&mut self) {
        let own = self.guard.votes(self.run.current.view);
        let (Some(vote), Some(parent_view)) = (own.notarize, own.parent_view) else {
            return;
        };
        if let Some(entry) = self.blocks.get(&vote.block.hash) {
            let slot = Slot {
                block: vote.block,
                header: entry.block.header.clone(),
                parent_view,
                vote,
                refused: false,
            };
            self.run.slots.fill(self.run.current.view, slot);
        }
    }
}

fn check_sealed(
    sealed: Option<Sealed>,
    verifier: &dyn Verifier,
) -> Result<Option<Certificate>, RecoverError> {
    let Some(Sealed { spec, finalization }) = sealed else {
        return Ok(None);
    };
    let view = finalization.view();
    let verified = verify::check_certificate(finalization, &EpochInfo::new(spec), verifier);
    let verified = verified.map_err(|source| RecoverError::Certificate { view, source })?;
    Ok(Some(verified.into_inner()))
}

/// Verifies what still counts: the highest finalization, and all above it.
fn recover_certificates(
    mut certified: Vec<Certificate>,
    epoch: &EpochInfo,
    verifier: &dyn Verifier,
) -> Result<Certificates, RecoverError> {
    let mut certificates = Certificates::new(epoch.anchor().block);
    certified.sort_by_key(|certificate| {
        let is_finalization = certificate.kind() == VoteKind::Finalize;
        core::cmp::Reverse((is_finalization, certificate.view()))
    });
    for certificate in certified {
        let (kind, view) = (certificate.kind(), certificate.view());
        if certificate.epoch() != epoch.epoch() || certificates.holds(kind, view) {
            continue;
        }
        if kind == VoteKind::Finalize && certificates.finalization().is_some() {
            continue;
        }
        let verified = verify::check_certificate(certificate, epoch, verifier)
            .map_err(|source| RecoverError::Certificate { view, source })?;
        certificates.insert(verified, Mono::default());
    }
    Ok(certificates)
}

/// Certificates hold other validators' votes: a restarted node still answers their Hello.
fn remember_signers(run: &mut Run) {
    let finalization = run.certificates.finalization().map(|c| c.get());
    for certificate in finalization
        .into_iter()
        .chain(run.certificates.newest_first())
    {
        for (signer, signature) in certificate.signers() {
            run.tally.remember(vote_of(certificate, signer, *signature));
        }
    }
}

fn vote_of(
    certificate: &Certificate,
    signer: ValidatorIndex,
    signature: ledger::key::RawSignature,
) -> Vote {
    Vote {
        epoch: certificate.epoch(),
        view: certificate.view(),
        kind: certificate.kind(),
        block: certificate.block(),
        signer,
        signature,
    }
}

/// 1 + the highest certified view. An own vote cannot lie above it; if one does, its view stands.
fn newest_view(certificates: &Certificates, guard: &SafetyGuard) -> View {
    let voted = guard
        .newest_first()
        .find(|(_, votes)| votes.notarize.is_some() || votes.nullify.is_some())
        .map_or(View(0), |(view, _)| view);
    certificates.top_view().saturating_add(1).max(voted)
}
