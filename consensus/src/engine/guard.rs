//! The one object that signs (R10; consensus.md, 3.7 and 3.12).
//!
//! Everything that could make an honest validator contradict itself is checked here again, from what this object
//! itself was told or signed, whatever the rules above it believe: no second Notarize in a view, never both Nullify
//! and Finalize, nothing at or below the finalized view or below a floor, nothing in an epoch that was left, nothing
//! while barred. A signature goes to the outbox behind its own record, so it cannot leave before that record is durable.
//!
//! It outlives epochs. [`SafetyGuard::enter`] leads it on to a later one, never back.

use crate::epoch::EpochInfo;
use crate::journal::Record;
use crate::message::Message;
use crate::outbox::Outbox;
use crate::output::Output;
use crate::verify::{self, Signer};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use core::fmt;
use ledger::certificate::VerifiedCertificate;
use ledger::header::BlockRef;
use ledger::id::{Epoch, ValidatorIndex, View};
use ledger::planted;
use ledger::vote::{Statement, Vote, VoteKind};

/// What keeps this node from voting at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bar {
    /// The start check is not through.
    StartCheck,
    /// The journal is missing, old or corrupt.
    Quarantine,
    /// Stopped for a restart.
    Stopped,
    /// The epoch's SEAL block is final: nothing is signed in it any more. Lifted by the next epoch.
    Sealed,
    /// The node saw a divergence.
    Diverged,
}

/// Why nothing was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No key, or none of this epoch.
    Observer,
    /// Barred from voting.
    Barred(Bar),
    /// A later epoch was entered before.
    Left,
    /// At or below the finalized view.
    Finalized,
    /// Below the floor of a rejoin, or a view that was left already.
    Past,
    /// That kind of vote exists in this view.
    Twice,
    /// A vote that excludes this one exists in this view.
    Excluded,
    /// A Finalize needs the notarization of its block.
    NotNotarized,
}

/// This node's votes in one view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnVotes {
    pub(super) notarize: Option<Vote>,
    /// With a Notarize that is a proposal: its parent view.
    pub(super) parent_view: Option<View>,
    pub(super) nullify: Option<Vote>,
    pub(super) finalize: Option<Vote>,
}

impl OwnVotes {
    pub(super) fn all(&self) -> impl Iterator<Item = Vote> {
        [self.notarize, self.nullify, self.finalize]
            .into_iter()
            .flatten()
    }
}

/// Signs, or refuses.
pub(super) struct SafetyGuard {
    signer: Option<Box<dyn Signer>>,
    /// The key's position in the epoch's set.
    me: Option<ValidatorIndex>,
    epoch: Arc<EpochInfo>,
    /// The newest epoch that was ever entered with this key.
    newest: Epoch,
    bars: BTreeSet<Bar>,
    finalized: View,
    floor: Floor,
    votes: BTreeMap<View, OwnVotes>,
}

/// Views below this one of its epoch are never voted in, nor is any epoch before it.
pub(super) type Floor = (Epoch, View);

impl fmt::Debug for SafetyGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SafetyGuard")
            .field("me", &self.me)
            .field("epoch", &self.epoch.epoch())
            .field("bars", &self.bars)
            .field("finalized", &self.finalized)
            .field("votes", &self.votes)
            .finish_non_exhaustive()
    }
}

impl SafetyGuard {
    /// A guard that has signed nothing yet; a key that is not in the set signs nothing in its epoch.
    pub(super) fn new(signer: Option<Box<dyn Signer>>, epoch: Arc<EpochInfo>) -> Self {
        let mut guard = Self {
            signer,
            me: None,
            newest: epoch.epoch(),
            epoch,
            bars: BTreeSet::new(),
            finalized: View(0),
            floor: Floor::default(),
            votes: BTreeMap::new(),
        };
        guard.find_me();
        guard
    }

    /// The next epoch begins: its views are fresh, and nothing is signed in an earlier one any more. False, and nothing
    /// happens, if it is no later epoch.
    pub(super) fn enter(&mut self, epoch: Arc<EpochInfo>) -> bool {
        if epoch.epoch() <= self.epoch.epoch() {
            return false;
        }
        self.epoch = epoch;
        self.find_me();
        self.has_entered(self.epoch.epoch());
        self.finalized = View(0);
        self.votes.clear();
        self.lift(Bar::Sealed);
        true
    }

    /// This epoch was entered before, as the journal shows: nothing is signed in those before it.
    pub(super) fn has_entered(&mut self, epoch: Epoch) {
        self.newest = self.newest.max(epoch);
    }

    fn find_me(&mut self) {
        let signer = self.signer.as_deref();
        self.me = signer.and_then(|signer| verify::position(&self.epoch, signer));
    }

    /// This node's position in the set.
    pub(super) const fn me(&self) -> Option<ValidatorIndex> {
        self.me
    }

    /// Takes over a vote that the journal holds.
    pub(super) fn recall(&mut self, vote: Vote, parent_view: Option<View>) {
        if vote.view >= self.finalized {
            self.note(vote, parent_view);
        }
    }

    /// Finality reached this view: nothing is signed at or below it any more.
    pub(super) fn finalized(&mut self, view: View) {
        self.finalized = self.finalized.max(view);
        if planted!(VoteInOldViews) {
            self.votes = self.votes.split_off(&view.saturating_add(1));
        }
        self.votes = self.votes.split_off(&self.finalized);
    }

    /// A rejoin's floor: nothing is signed below it.
    pub(super) fn raise_floor(&mut self, floor: Floor) {
        self.floor = self.floor.max(floor);
    }

    pub(super) const fn floor(&self) -> Floor {
        self.floor
    }

    /// Whether a floor forbids every vote in this view.
    pub(super) fn is_below_floor(&self, view: View) -> bool {
        (self.epoch.epoch(), view) < self.floor
    }

    /// Whether all of this epoch is left behind.
    pub(super) fn is_behind(&self) -> bool {
        let (floor, _) = self.floor;
        self.epoch.epoch() < self.newest.max(floor)
    }

    pub(super) fn bar(&mut self, bar: Bar) {
        self.bars.insert(bar);
    }

    pub(super) fn lift(&mut self, bar: Bar) {
        self.bars.remove(&bar);
    }

    pub(super) fn is_barred(&self, bar: Bar) -> bool {
        self.bars.contains(&bar)
    }

    /// Whether nothing bars it.
    pub(super) fn is_free(&self) -> bool {
        self.bars.is_empty()
    }

    /// Whether it signs anything in this view at present.
    pub(super) fn may_vote(&self, view: View) -> bool {
        let free = self.me.is_some() && self.bars.is_empty() && !self.is_behind();
        free && !self.is_below_floor(view)
    }

    /// This node's votes in a view.
    pub(super) fn votes(&self, view: View) -> OwnVotes {
        self.votes.get(&view).copied().unwrap_or_default()
    }

    /// All votes at or above the finalized view, newest view first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = (View, &OwnVotes)> {
        self.votes.iter().rev().map(|(view, votes)| (*view, votes))
    }

    /// Signs a Notarize of another's proposal.
    pub(super) fn notarize(
        &mut self,
        view: View,
        block: BlockRef,
        outbox: &mut Outbox,
    ) -> Result<Vote, Refused> {
        let kind = VoteKind::Notarize;
        self.cast(Statement { kind, view, block }, None, outbox, Message::Vote)
    }

    /// Signs the Notarize of an own proposal, which `proposal` wraps up.
    pub(super) fn propose(
        &mut self,
        view: View,
        block: BlockRef,
        parent_view: View,
        outbox: &mut Outbox,
        proposal: impl FnOnce(Vote) -> Message,
    ) -> Result<Vote, Refused> {
        let kind = VoteKind::Notarize;
        let statement = Statement { kind, view, block };
        self.cast(statement, Some(parent_view), outbox, proposal)
    }

    /// Signs a Nullify.
    pub(super) fn nullify(&mut self, view: View, outbox: &mut Outbox) -> Result<Vote, Refused> {
        let kind = VoteKind::Nullify;
        let block = BlockRef::default();
        self.cast(Statement { kind, view, block }, None, outbox, Message::Vote)
    }

    /// Signs the Finalize that a notarization allows.
    pub(super) fn finalize(
        &mut self,
        notarization: &VerifiedCertificate,
        outbox: &mut Outbox,
    ) -> Result<Vote, Refused> {
        if notarization.kind() != VoteKind::Notarize {
            return Err(Refused::NotNotarized);
        }
        let statement = Statement {
            kind: VoteKind::Finalize,
            view: notarization.view(),
            block: notarization.block(),
        };
        self.cast(statement, None, outbox, Message::Vote)
    }

    // R10
    fn check(&self, statement: &Statement) -> Result<(), Refused> {
        if let Some(bar) = self.bars.first() {
            return Err(Refused::Barred(*bar));
        }
        if statement.view <= self.finalized && !planted!(VoteInOldViews) {
            return Err(Refused::Finalized);
        }
        if self.epoch.epoch() < self.newest {
            return Err(Refused::Left);
        }
        if (self.epoch.epoch(), statement.view) < self.floor {
            return Err(Refused::Past);
        }
        let own = self.votes(statement.view);
        let newest = self
            .newest_first()
            .find(|(_, votes)| votes.notarize.is_some() || votes.nullify.is_some());
        let left =
            newest.is_some_and(|(view, _)| statement.view < view) && !planted!(VoteInOldViews);
        match statement.kind {
            VoteKind::Notarize if own.notarize.is_some() => Err(Refused::Twice),
            VoteKind::Nullify if own.nullify.is_some() => Err(Refused::Twice),
            VoteKind::Finalize if own.finalize.is_some() => Err(Refused::Twice),
            VoteKind::Nullify if planted!(NullifyAfterFinalize) => Ok(()),
            VoteKind::Finalize if planted!(FinalizeAfterNullify) => Ok(()),
            VoteKind::Notarize | VoteKind::Nullify if own.finalize.is_some() => {
                Err(Refused::Excluded)
            }
            VoteKind::Finalize if own.nullify.is_some() => Err(Refused::Excluded),
            VoteKind::Notarize | VoteKind::Nullify if left => Err(Refused::Past),
            VoteKind::Notarize | VoteKind::Nullify | VoteKind::Finalize => Ok(()),
        }
    }

    fn cast(
        &mut self,
        statement: Statement,
        parent_view: Option<View>,
        outbox: &mut Outbox,
        wrap: impl FnOnce(Vote) -> Message,
    ) -> Result<Vote, Refused> {
        self.check(&statement)?;
        let (Some(me), Some(signer)) = (self.me, &self.signer) else {
            return Err(Refused::Observer);
        };
        let signature = signer.sign(&statement.sign_bytes(self.epoch.context()));
        let vote = Vote {
            epoch: self.epoch.epoch(),
            view: statement.view,
            kind: statement.kind,
            block: statement.block,
            signer: me,
            signature,
        };
        self.note(vote, parent_view);
        if !planted!(VotesNotWritten) {
            outbox.persist(Record::OwnVote { vote, parent_view });
        }
        outbox.after_durable(Output::Broadcast(wrap(vote)));
        Ok(vote)
    }

    fn note(&mut self, vote: Vote, parent_view: Option<View>) {
        let own = self.votes.entry(vote.view).or_default();
        match vote.kind {
            VoteKind::Notarize => {
                own.notarize = Some(vote);
                own.parent_view = own.parent_view.or(parent_view);
            }
            VoteKind::Nullify => own.nullify = Some(vote),
            VoteKind::Finalize => own.finalize = Some(vote),
        }
    }
}
