//! A restart that this node does not know: its file is asked of peers, and believed only together with blocks that a
//! quorum finalized in the epoch that it opens (consensus.md, section 3.12).
//!
//! A file shows by its admin signatures that enough validators reported, and where the chain goes on by that. It does not
//! show that it is the one that was installed: other reports make another file, and a peer may hold them. Operators
//! compare fingerprints. Who follows looks at what the validators did: votes of the new epoch are bound to the file's
//! hash, so a finalization in it was signed by a quorum that installed this very file, and nobody honest installs two.
//! That holds among one set; a file that changes the set is left to the operator.

use crate::range::{self, Range, RangeFault};
use crate::storage::DataDir;
use crate::storage::restarts::{self, Restarts};
use consensus::Peer;
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height};
use ledger::restart::{Restart, RestartError, RestartFile};
use ledger::tip::{EpochInfo, Founding, Tip};
use std::time::{Duration, Instant};

/// How long a peer may take to answer with a file.
const PATIENCE: Duration = Duration::from_secs(4);

/// Who may install a restart file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// This node itself, from peers.
    FromPeers,
    /// Its operator: this validator was stopped, and has reported.
    FromOperator,
}

/// A file that is right in itself.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) file: RestartFile,
    pub(super) restart: Restart,
}

/// Why a file is not the one that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it goes on from another block, {0}")]
    Anchor(Height),
    #[error("it is about another history than the one on this disk, epoch {0}")]
    History(Epoch),
    #[error("it opens epoch {found}, the blocks behind it are of epoch {wanted}")]
    Beyond { found: Epoch, wanted: Epoch },
    #[error("it changes the validator set: the operator compares its fingerprint and installs it")]
    OtherSet,
}

/// The first range behind what is known: of an epoch that begins here and is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    pub(super) from: Height,
    pub(super) peer: Peer,
    /// Of its first block.
    pub(super) epoch: Epoch,
    /// The block before it.
    pub(super) anchor: BlockRef,
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    /// The peer is asked for the file that opened the lowest epoch from this one on.
    Ask(Epoch),
    /// The files lead to the range's epoch: it shows whether its validators have installed them.
    Prove,
    /// There was no answer.
    GiveUp,
}

/// The files that lead on to one range, all from the peer that sent it.
#[derive(Debug)]
pub(super) struct Quest {
    pub(super) front: Front,
    /// Each goes on from the one before.
    claims: Vec<Claim>,
    asked_until: Option<Instant>,
    busy: bool,
}

impl Quest {
    pub(super) const fn new(front: Front) -> Self {
        Self {
            front,
            claims: Vec::new(),
            asked_until: None,
            busy: false,
        }
    }

    /// Whether something about it is being checked.
    pub(super) const fn is_busy(&self) -> bool {
        self.busy
    }

    /// What is due, given the epoch that is known.
    pub(super) fn step(&mut self, known: Epoch, now: Instant) -> Step {
        if self.busy {
            return Step::Wait;
        }
        let reached = self.claims.last().map_or(known, Claim::opens);
        if !self.claims.is_empty() && reached == self.front.epoch {
            self.busy = true;
            return Step::Prove;
        }
        match self.asked_until {
            Some(until) if now < until => Step::Wait,
            Some(_) => Step::GiveUp,
            None => {
                self.asked_until = Some(now + PATIENCE);
                Step::Ask(reached.saturating_add(1))
            }
        }
    }

    /// A file came: whether it was asked for. Then it is being checked.
    pub(super) fn answered(&mut self, from: &Peer) -> bool {
        let asked = self.asked_until.is_some() && !self.busy && self.front.peer == *from;
        self.busy |= asked;
        asked
    }

    /// The file is right in itself. Is it the next one that leads from this tip to the range?
    pub(super) fn take(&mut self, claim: Claim, tip: &Tip) -> Result<(), Unfit> {
        self.busy = false;
        self.asked_until = None;
        claim.fits(&self.front, self.claims.last(), tip)?;
        self.claims.push(claim);
        Ok(())
    }

    /// The files that lead there.
    pub(super) fn claims(&self) -> Vec<Claim> {
        self.claims.clone()
    }
}

impl Claim {
    /// Checks all that the file shows by itself.
    pub(super) fn check(file: RestartFile, founding: &Founding) -> Result<Self, RestartError> {
        let restart = file.check(founding.chain(), |authority| founding.admin(authority))?;
        Ok(Self { file, restart })
    }

    fn opens(&self) -> Epoch {
        self.restart.epoch().epoch
    }

    fn fits(&self, front: &Front, before: Option<&Self>, tip: &Tip) -> Result<(), Unfit> {
        let Self { restart, .. } = self;
        let (base, epoch) = (restart.base(), restart.epoch());
        if restart.anchor() != front.anchor {
            return Err(Unfit::Anchor(restart.anchor().height));
        }
        let continues = match before {
            Some(before) => restart.continues(before.restart.epoch(), before.restart.epoch()),
            None if front.anchor == tip.block_ref() => {
                restart.continues(&deciding(tip), &tip.epoch)
            }
            // The blocks up to the anchor wait for the file; they are of the epoch that is known.
            None => base.context == tip.epoch.context,
        };
        if !continues {
            return Err(Unfit::History(base.epoch));
        }
        if epoch.epoch > front.epoch {
            return Err(Unfit::Beyond {
                found: epoch.epoch,
                wanted: front.epoch,
            });
        }
        if epoch.set_hash != base.set_hash {
            return Err(Unfit::OtherSet);
        }
        Ok(())
    }
}

/// The epoch in which the tip was decided.
pub(super) fn deciding(tip: &Tip) -> EpochInfo {
    let before = tip.epoch.epoch.0.checked_sub(1).map(Epoch);
    let before = before.filter(|_| tip.opens_epoch());
    let before = before.and_then(|before| tip.epoch.back_to(before));
    before.unwrap_or(&tip.epoch).clone()
}

/// Whether a restart goes on from this tip that was not known when its epoch was told.
pub(super) fn goes_on(restarts: &Restarts, tip: &Tip) -> bool {
    let opened = restarts.opened(&deciding(tip), &tip.epoch, tip.block_ref());
    opened.is_some_and(|opened| opened.context != tip.epoch.context)
}

/// The quorum of the opened epoch finalized this range: then its members have installed these files, and they are kept.
///
/// Blocks its thread. What the disk refuses ends the process.
pub(super) fn prove(
    claims: &[Claim],
    range: &Range,
    from: Height,
    data: &DataDir,
) -> Result<(), RangeFault> {
    let Some(last) = claims.last() else {
        return Err(RangeFault::NotCertified);
    };
    range::certify(
        range.clone(),
        from,
        last.restart.epoch(),
        &Restarts::default(),
    )?;
    for claim in claims {
        let kept = Restarts::keep(&data.archive(), &claim.file, claim.opens());
        if let Err(error) = kept {
            crate::exit::abort(&error);
        }
        tracing::info!(
            epoch = %claim.opens(),
            anchor = %claim.restart.anchor().height,
            file = %claim.restart.hash(),
            kept = %restarts::file_name(claim.opens()),
            "the chain was restarted: its file came from a peer, and a quorum of the new epoch has signed for it"
        );
    }
    Ok(())
}
