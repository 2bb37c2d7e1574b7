//! Which epoch a block is of, and what it is made of: from the archive to the ledger's and the engine's account of it.
//!
//! A header names its epoch and the hash of its set. Where the epoch began is found by bisection, for epochs only grow;
//! blocks that are damaged or not here are passed over, but for the ones that it begins and ends with. The set is known
//! here if it is the genesis's, as long as nothing changes sets.

use crate::driver::serve;
use crate::storage::archive;
use crate::storage::restarts::Restarts;
use consensus::{EpochSpec, Sealed};
use ledger::certificate::{Certificate, CertificateError};
use ledger::codec::DecodeError;
use ledger::hash::{Hash, SetHash};
use ledger::header::{BlockRef, Flags, Header};
use ledger::id::{Epoch, Height};
use ledger::tip::{EpochInfo, Founding, Tip};
use ledger::validator_set::ValidatorSet;
use std::sync::Arc;

/// An epoch cannot be told from the archive.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// A block cannot be read.
    #[error("a block cannot be read")]
    Read(#[from] archive::ReadError),
    /// A block is none.
    #[error("block {height} of the archive is malformed")]
    Malformed {
        /// Its height.
        height: Height,
        /// What is wrong.
        #[source]
        source: DecodeError,
    },
    /// The block that an epoch began on is not there.
    #[error("the archive does not hold block {0}, which an epoch began on")]
    NoAnchor(Height),
    /// A SEAL block was archived without what makes it final.
    #[error("block {0} of the archive ended an epoch and has no finalization")]
    NotFinal(Height),
    /// A set that is not the genesis's.
    #[error("the validator set of epoch {0} is not known")]
    UnknownSet(Epoch),
    /// No block ended the epoch before, so a restart did, and its file is not beside the blocks.
    #[error(
        "epoch {epoch} began behind block {anchor}, which ended none: the file of the restart that opened it is missing"
    )]
    NoRestart {
        /// The epoch that it opened.
        epoch: Epoch,
        /// The block that it went on from.
        anchor: Height,
    },
    /// The finalization of a block is not one of its epoch as it is known here.
    #[error(
        "the finalization of block {height} is not one of epoch {epoch} as this directory knows it"
    )]
    Finalization {
        /// The block.
        height: Height,
        /// Its epoch.
        epoch: Epoch,
        /// What is wrong with it.
        #[source]
        source: CertificateError,
    },
}

/// More epochs than the ledger remembers at most are not looked for.
const MAX_AGE: u64 = 64;

/// A block without its body, and its finalization if it has its own.
pub type Sketch = (Header, Option<Certificate>);

/// Where blocks are read.
pub trait Blocks {
    /// The block of this height; `None` for the genesis and above the last.
    ///
    /// # Errors
    /// [`EpochError::Read`], [`EpochError::Malformed`].
    fn sketch(&self, height: Height) -> Result<Option<Sketch>, EpochError>;

    /// The first block from this height on that is not known to be damaged or away; `None` above the last.
    fn readable_from(&self, height: Height) -> Option<Height>;
}

impl Blocks for archive::Reader {
    fn sketch(&self, height: Height) -> Result<Option<Sketch>, EpochError> {
        let Some(payload) = self.read(height)? else {
            return Ok(None);
        };
        let decoded = serve::decode(payload);
        let (block, finalization) =
            decoded.map_err(|source| EpochError::Malformed { height, source })?;
        Ok(Some((block.header, finalization)))
    }

    fn readable_from(&self, height: Height) -> Option<Height> {
        Self::readable_from(self, height)
    }
}

/// Tells epochs from an archive.
#[derive(Clone, Copy, Debug)]
pub struct Epochs<'a, B = archive::Reader> {
    /// The genesis.
    pub founding: &'a Founding,
    /// The blocks.
    pub archive: &'a B,
    /// The restart files beside them.
    pub restarts: &'a Restarts,
}

impl<B: Blocks> Epochs<'_, B> {
    /// The epoch of the block after this one, with all that it remembers; `None` if that is not known.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn after(&self, header: &Header) -> Result<Option<EpochInfo>, EpochError> {
        let age = self.founding.params().evidence_age;
        let Some(deciding) = self.of(header)? else {
            return Ok(None);
        };
        let Some(newest) = self.next(header, deciding.clone()) else {
            return Ok(None);
        };
        if let Some(opened) = self.restarts.opened(&deciding, &newest, header.block_ref()) {
            return Ok(Some(EpochInfo::clone(&opened)));
        }
        // Newest first, then put on each other from the oldest on.
        let mut chain = vec![newest];
        while let Some(epoch) = chain.last()
            && epoch.epoch > Epoch(0)
            // A restart forgets what was before it.
            && epoch.restart == Hash::ZERO
            && u64::try_from(chain.len()).is_ok_and(|length| length <= age.min(MAX_AGE))
        {
            let height = epoch.anchor.height;
            let (seal, _) = self.read(height)?.ok_or(EpochError::NoAnchor(height))?;
            match self.of(&seal)? {
                Some(before) => chain.push(before),
                None => return Ok(None),
            }
        }
        let whole = chain
            .into_iter()
            .rev()
            .reduce(|before, epoch| epoch.following(&Arc::new(before), age));
        Ok(whole)
    }

    /// The epoch of this block; `None` if its set is not known.
    fn of(&self, header: &Header) -> Result<Option<EpochInfo>, EpochError> {
        if header.epoch == Epoch(0) {
            return Ok(Some(self.founding.epoch()));
        }
        let (mut low, mut high) = (1, header.height.0);
        while low < high {
            let middle = low.midpoint(high);
            // Where a block cannot be read, the next one that can stands for it.
            match self.readable(Height(middle), Height(high))? {
                Some(found) if found.epoch < header.epoch => low = found.height.0.saturating_add(1),
                Some(_) | None => high = middle,
            }
        }
        let first = self.read(Height(low))?;
        let (first, _) = first.ok_or(EpochError::NoAnchor(Height(low)))?;
        let anchor = BlockRef {
            height: Height(low.saturating_sub(1)),
            hash: first.parent,
        };
        if self.restarts.names(anchor, header.epoch)
            && let Some(opened) = self.opened_on(anchor)?
            && opened.epoch == header.epoch
        {
            return Ok(Some(EpochInfo::clone(&opened)));
        }
        self.check_sealed(header.epoch, anchor)?;
        Ok(self.info(header.epoch, &header.validator_set, anchor))
    }

    /// An epoch that no restart opened must stand on the SEAL block that ended the one before.
    fn check_sealed(&self, epoch: Epoch, anchor: BlockRef) -> Result<(), EpochError> {
        let sealed = match self.read(anchor.height) {
            Ok(Some((seal, _))) => seal.flags.is_seal() && seal.epoch.saturating_add(1) == epoch,
            Ok(None) => false,
            // What cannot be read here says nothing.
            Err(EpochError::Read(error)) if !matches!(error, archive::ReadError::File(_)) => true,
            Err(error) => return Err(error),
        };
        if sealed {
            return Ok(());
        }
        let anchor = anchor.height;
        Err(EpochError::NoRestart { epoch, anchor })
    }

    /// Whether a finalization of the archive counts in its block's epoch: it does not if that was opened by a restart
    /// whose file is missing or another one.
    fn check_finalization(&self, finalization: &Certificate) -> Result<(), EpochError> {
        let height = finalization.block().height;
        let (header, _) = self.read(height)?.ok_or(EpochError::NoAnchor(height))?;
        let epoch = match self.of(&header) {
            Ok(Some(epoch)) => epoch,
            // A set that is not known is met where it is needed.
            Ok(None) => return Ok(()),
            // What the epoch began with may be damaged or away: that says nothing about the file.
            Err(EpochError::Read(error)) if !matches!(error, archive::ReadError::File(_)) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let verified = finalization
            .clone()
            .verify(epoch.epoch, &epoch.set, &epoch.context);
        let epoch = header.epoch;
        verified
            .map(drop)
            .map_err(|source| EpochError::Finalization {
                height,
                epoch,
                source,
            })
    }

    /// The epoch that a block's children have by the chain alone, given the block's own.
    fn next(&self, header: &Header, deciding: EpochInfo) -> Option<EpochInfo> {
        if header.flags.is_seal() {
            let anchor = header.block_ref();
            self.info(header.epoch.saturating_add(1), &header.next_set, anchor)
        } else {
            Some(deciding)
        }
    }

    /// The epoch that restarts open on this block.
    fn opened_on(&self, anchor: BlockRef) -> Result<Option<Arc<EpochInfo>>, EpochError> {
        let Some((header, _)) = self.read(anchor.height)? else {
            let founders = self.founding.epoch();
            return Ok(self.restarts.opened(&founders, &founders, anchor));
        };
        // An epoch below the one that was asked for: this ends.
        let Some(deciding) = self.of(&header)? else {
            return Ok(None);
        };
        let next = self.next(&header, deciding.clone());
        Ok(next.and_then(|next| self.restarts.opened(&deciding, &next, anchor)))
    }

    fn info(&self, epoch: Epoch, set: &SetHash, anchor: BlockRef) -> Option<EpochInfo> {
        let founders = self.founding.epoch();
        (founders.set_hash == *set)
            .then(|| EpochInfo::new(self.founding.chain(), epoch, founders.set, anchor))
    }

    /// What the engine starts with after this tip: its epoch, and how the one before ended. The newest finalization shows
    /// whether that is so.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn setup(
        &self,
        tip: &Tip,
        newest: Option<&Certificate>,
    ) -> Result<(EpochSpec, Option<Sealed>), EpochError> {
        if let Some(newest) = newest {
            // Else a follower would take every block behind a restart for a lie, for the want of its file.
            self.check_finalization(newest)?;
        }
        let height = tip.epoch.anchor.height;
        if tip.epoch.epoch == Epoch(0) || self.is_restarted(height) {
            let anchor = self.anchor(height)?;
            return Ok((spec(self.founding, &tip.epoch, anchor), None));
        }
        let sealed = self.read(height)?;
        let (seal, finalization) = sealed.ok_or(EpochError::NoAnchor(height))?;
        let finalization = finalization.ok_or(EpochError::NotFinal(height))?;
        let before = self.of(&seal)?;
        let before = before.ok_or(EpochError::UnknownSet(seal.epoch))?;
        let previous = Sealed {
            spec: spec(self.founding, &before, self.anchor(before.anchor.height)?),
            finalization,
        };
        let anchor = consensus::Tip::from(&seal);
        Ok((spec(self.founding, &tip.epoch, anchor), Some(previous)))
    }

    /// What certificates of the block after this one are checked against; `None` if that is not known.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn certifiers(&self, header: &Header) -> Result<Option<consensus::EpochInfo>, EpochError> {
        let Some(epoch) = self.after(header)? else {
            return Ok(None);
        };
        let anchor = if epoch.anchor == header.block_ref() {
            header.into()
        } else {
            self.anchor(epoch.anchor.height)?
        };
        let spec = spec(self.founding, &epoch, anchor);
        Ok(Some(consensus::EpochInfo::new(spec)))
    }

    /// The block of this height, or the genesis, as an epoch begins on it.
    fn anchor(&self, height: Height) -> Result<consensus::Tip, EpochError> {
        let block = self.read(height)?;
        Ok(block.map_or_else(|| self.genesis(), |(header, _)| (&header).into()))
    }

    /// Whether the block is an anchor of a restart, or comes after one.
    fn is_restarted(&self, height: Height) -> bool {
        let first = self.restarts.first_anchor();
        first.is_some_and(|anchor| anchor <= height)
    }

    fn genesis(&self) -> consensus::Tip {
        let tip = self.founding.tip();
        consensus::Tip {
            block: tip.block_ref(),
            time_ms: tip.time_ms,
            flags: Flags::NONE,
        }
    }

    /// The first header from one height on, and below another, that can be read.
    fn readable(&self, from: Height, below: Height) -> Result<Option<Header>, EpochError> {
        let mut next = self.archive.readable_from(from);
        while let Some(height) = next.filter(|height| *height < below) {
            match self.read(height) {
                Err(EpochError::Read(error)) if !matches!(error, archive::ReadError::File(_)) => {
                    next = self.archive.readable_from(height.saturating_add(1));
                }
                read => return Ok(read?.map(|(header, _)| header)),
            }
        }
        Ok(None)
    }

    fn read(&self, height: Height) -> Result<Option<Sketch>, EpochError> {
        self.archive.sketch(height)
    }
}

/// An epoch as the engine wants it, on the block that it starts on.
pub fn spec(founding: &Founding, epoch: &EpochInfo, anchor: consensus::Tip) -> EpochSpec {
    EpochSpec {
        chain: founding.chain(),
        epoch: epoch.epoch,
        set: ValidatorSet::clone(&epoch.set),
        anchor,
        restart: epoch.restart,
    }
}
