//! The state again from what the disk holds: the maximum over all records (consensus.md, 3.11).

use super::blocks::Blocks;
use super::catch_up::CatchUp;
use super::certificates::Certificates;
use super::commit::FinalChain;
use super::fetch::Fetches;
use super::guard::{Bar, SafetyGuard};
use super::peers::Peers;
use super::slots::{Slot, Slots};
use super::start_check::{JournalView, StartCheck};
use super::tally::Tally;
use super::work::{Current, Work};
use super::{Engine, RecoverError, Setup};
use crate::block::Block;
use crate::epoch::EpochInfo;
use crate::journal::{JournalState, Record};
use crate::outbox::Outbox;
use crate::output::{Alarm, Output};
use crate::time::{Mono, Now};
use crate::verify::{self, Verifier};
use alloc::sync::Arc;
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::evidence::Evidence;
use ledger::id::{Epoch, ValidatorIndex, View};
use ledger::vote::{Vote, VoteKind};

/// The journal's records of one epoch, by kind.
#[derive(Default)]
struct Journal {
    entered: bool,
    quarantined: Option<Epoch>,
    floor: Option<(Epoch, View)>,
    stopped: bool,
    blocks: Vec<Block>,
    certificates: Vec<Certificate>,
    votes: Vec<(Vote, Option<View>)>,
    finalized: View,
    evidence: Vec<Evidence>,
}

impl Journal {
    fn read(records: Vec<Record>, current: Epoch) -> Self {
        let mut journal = Self::default();
        for record in records {
            match record {
                Record::EpochStart { epoch, .. } => journal.entered |= epoch == current,
                Record::Quarantine { epoch } => {
                    journal.quarantined = journal.quarantined.max(Some(epoch));
                }
                Record::Floor { epoch, view } => {
                    journal.floor = journal.floor.max(Some((epoch, view)));
                }
                Record::Stopped { .. } => journal.stopped = true,
                Record::Block(block) if block.header.epoch == current => journal.blocks.push(block),
                Record::Certificate(certificate) if certificate.epoch() == current => {
                    journal.certificates.push(certificate);
                }
                Record::OwnVote { vote, parent_view } if vote.epoch == current => {
                    journal.votes.push((vote, parent_view));
                }
                Record::FinTip { epoch, view, .. } if epoch == current => {
                    journal.finalized = journal.finalized.max(view);
                }
                Record::Evidence { a, b } if a.epoch == current => {
                    journal.evidence.extend(Evidence::new(a, b));
                }
                Record::Block(_)
                | Record::Certificate(_)
                | Record::OwnVote { .. }
                | Record::FinTip { .. }
                | Record::Evidence { .. } => {}
            }
        }
        journal
    }

    /// What a journal of this epoch must hold and this one does not.
    fn owed(&self, epoch: &EpochInfo, guard: &SafetyGuard) -> Vec<Record> {
        let mut owed = Vec::new();
        if !self.entered {
            owed.push(Record::EpochStart {
                epoch: epoch.epoch(),
                set: epoch.set_hash(),
                anchor: epoch.anchor().block.hash,
                restart: epoch.restart(),
            });
        }
        if guard.is_barred(Bar::Quarantine) && !self.is_quarantined() {
            let epoch = epoch.epoch();
            owed.push(Record::Quarantine { epoch });
        }
        owed
    }

    /// Whether a quarantine stands that no later floor ended.
    fn is_quarantined(&self) -> bool {
        self.quarantined
            .is_some_and(|since| self.floor.is_none_or(|(epoch, _)| epoch < since))
    }
}

impl Engine {
    pub(super) fn from_disk(setup: Setup, verifier: &dyn Verifier) -> Result<Self, RecoverError> {
        let epoch = Arc::new(EpochInfo::new(setup.epoch));
        let is_fresh = setup.journal == JournalState::Fresh && setup.records.is_empty();
        let mut journal = Journal::read(setup.records, epoch.epoch());
        let mut certified = core::mem::take(&mut journal.certificates);
        certified.extend(setup.archived.finalization);
        let certificates = recover_certificates(certified, &epoch, verifier)?;
        journal.finalized = journal.finalized.max(certificates.finalized_view());
        let mut guard = SafetyGuard::new(setup.identity.signer, Arc::clone(&epoch));
        recover_guard(&mut guard, &journal, epoch.epoch())?;
        if setup.journal == JournalState::Lost {
            guard.bar(Bar::Quarantine);
        }
        let mut tally = Tally::default();
        remember_signers(&certificates, &mut tally);
        for evidence in &journal.evidence {
            tally.accuse(evidence.votes().0.signer);
        }
        let tip = setup.archived.tip;
        let mut blocks = Blocks::new(tip);
        for block in core::mem::take(&mut journal.blocks) {
            let hash = block.hash();
            blocks.insert(block, None, Mono::default());
            blocks.mark_journalled(&hash);
        }
        let view = newest_view(&certificates, &guard);
        let me = guard.me();
        let mut engine = Self {
            config: setup.config,
            instance: setup.identity.instance,
            peers: Peers::new(epoch.set().indices().filter(|index| Some(*index) != me)),
            owed: journal.owed(&epoch, &guard),
            sealed: tip.flags.is_seal() && tip.block != epoch.anchor().block,
            start_check: StartCheck::new(JournalView {
                is_fresh,
                finalized: journal.finalized,
                votes: journal.votes.iter().map(|(vote, _)| *vote).collect(),
            }),
            epoch,
            outbox: Outbox::default(),
            guard,
            tally,
            certificates,
            slots: Slots::default(),
            blocks,
            final_chain: FinalChain::default(),
            current: Current::new(view),
            work: Work::default(),
            build: None,
            fetches: Fetches::default(),
            catch_up: CatchUp::default(),
            evidence: journal.evidence,
            started: false,
            stopping: false,
            diverged: false,
            clock_alarmed: false,
            status_due: false,
            last_status: Mono::default(),
            latest: Mono::default(),
            timer: None,
        };
        engine.certificates.refresh_run(view);
        engine.recall_proposal();
        Ok(engine)
    }

    /// `Start`: what the journal lacks, own votes into the tally, everything of the current view out again.
    pub(super) fn start(&mut self, now: Now) {
        self.started = true;
        self.peers.start(now.mono);
        self.current.last_retry = now.mono;
        for record in core::mem::take(&mut self.owed) {
            self.outbox.persist(record);
        }
        if self.guard.is_barred(Bar::Quarantine) {
            self.outbox.now(Output::Alarm(Alarm::Quarantine));
        }
        if self.sealed {
            self.guard.bar(Bar::Halted);
            let tip = self.blocks.committed().block;
            self.outbox.after_durable(Output::Sealed(tip));
        }
        // Without own votes in the tally, certificates that need them may never form again (3.11).
        let own: Vec<Vote> = self
            .guard
            .newest_first()
            .flat_map(|(_, votes)| votes.all())
            .collect();
        for vote in own {
            self.count(now, vote);
        }
        self.status_due = true;
        self.resend_votes();
        self.resend_proposal();
        self.begin_start_check(now);
    }

    /// A leader's own proposal in the current view takes its slot again.
    fn recall_proposal(&mut self) {
        let own = self.guard.votes(self.current.view);
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
            self.slots.fill(self.current.view, slot);
        }
    }
}

fn recover_guard(
    guard: &mut SafetyGuard,
    journal: &Journal,
    epoch: Epoch,
) -> Result<(), RecoverError> {
    guard.finalized(journal.finalized);
    for (vote, parent_view) in &journal.votes {
        if Some(vote.signer) != guard.me() {
            return Err(RecoverError::ForeignVote(vote.signer));
        }
        guard.recall(*vote, *parent_view);
    }
    if let Some((_, view)) = journal.floor.filter(|(at, _)| *at == epoch) {
        guard.raise_floor(view);
    }
    if journal.is_quarantined() {
        guard.bar(Bar::Quarantine);
    }
    if journal.stopped {
        guard.bar(Bar::Stopped);
    }
    Ok(())
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
fn remember_signers(certificates: &Certificates, tally: &mut Tally) {
    let held = certificates.finalization().map(|c| c.get()).into_iter();
    for certificate in held.chain(certificates.newest_first()) {
        for (signer, signature) in certificate.signers() {
            tally.remember(vote_of(certificate, signer, *signature));
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
