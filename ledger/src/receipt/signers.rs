//! Who vouches for a checkpoint: the sets that the trust leads to, and what their lines are worth.

use super::extra::Handover;
use super::failure::{Failure, Fault, Step};
use super::trust::{Pin, Trust};
use crate::checkpoint::Checkpoint;
use crate::cosignature::{self, CosignedAt};
use crate::id::{AuthorityId, LeafIndex, TreeSize};
use crate::key::BadKey;
use crate::leaf::{LogLeaf, Trailer};
use crate::log::{self, Path};
use crate::note::{self, Note, SignatureLine, VerifierKey};
use crate::validator_set::{Member, ValidatorSet};
use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

/// Why the keys of a set cannot be relied on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSigners {
    /// A key may not be used.
    #[error("a key of authority {authority} may not be used")]
    Key {
        /// Whose.
        authority: AuthorityId,
        /// Why.
        #[source]
        source: BadKey,
    },
    /// Two keys look the same in a note.
    #[error("two keys appear as {0} in a note")]
    SameNoteId(String),
}

/// The keys of a set by which notes of one log are read.
#[derive(Clone, Debug)]
pub(super) struct Signers<'a> {
    set: &'a ValidatorSet,
    logs: Vec<VerifierKey>,
    cosigners: Vec<(&'a AuthorityId, VerifierKey)>,
}

/// The lines of a note that verify under a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    /// Log lines.
    pub(super) logs: usize,
    /// Who cosigned, and when.
    pub(super) cosigners: Vec<(AuthorityId, CosignedAt)>,
}

impl<'a> Signers<'a> {
    /// The signers of a set whose keys may be used and do not look the same.
    pub(super) fn enter(origin: &str, set: &'a ValidatorSet) -> Result<Self, BadSigners> {
        for member in set.members() {
            for key in member.keys() {
                key.admit().map_err(|source| BadSigners::Key {
                    authority: member.id.clone(),
                    source,
                })?;
            }
        }
        let signers = Self::of(origin, set);
        let mut pairs = BTreeSet::new();
        for key in signers.keys() {
            if !pairs.insert((key.name(), key.id())) {
                return Err(BadSigners::SameNoteId(key.name().to_owned()));
            }
        }
        Ok(signers)
    }

    /// The signers of a set that has entered already.
    fn of(origin: &str, set: &'a ValidatorSet) -> Self {
        let members = set.members().iter();
        let logs = members.clone().map(|m| VerifierKey::log(origin, m.log));
        let cosigner = |m: &Member| VerifierKey::cosigner(origin, &m.id, m.cosigner);
        Self {
            set,
            logs: logs.collect(),
            cosigners: members.map(|m| (&m.id, cosigner(m))).collect(),
        }
    }

    pub(super) const fn set(&self) -> &'a ValidatorSet {
        self.set
    }

    fn keys(&self) -> impl Iterator<Item = &VerifierKey> {
        let cosigners = self.cosigners.iter().map(|(_, key)| key);
        self.logs.iter().chain(cosigners)
    }

    /// Reads every line that claims a key of the set. Such a line verifies and occurs once, or the note is void.
    pub(super) fn tally(&self, note: &Note) -> Result<Tally, Fault> {
        let mut seen = BTreeSet::new();
        for line in note.lines() {
            let known = self.keys().any(|key| key.matches(line));
            if known && !seen.insert((&line.name, line.id)) {
                return Err(Fault::RepeatedLine(line.name.clone()));
            }
        }
        let mut tally = Tally {
            logs: 0,
            cosigners: Vec::new(),
        };
        for line in note.lines() {
            self.count(line, note.text(), &mut tally)?;
        }
        Ok(tally)
    }

    fn count(&self, line: &SignatureLine, text: &str, tally: &mut Tally) -> Result<(), Fault> {
        let bad = || Fault::BadLine(line.name.clone());
        if let Some(key) = self.logs.iter().find(|key| key.matches(line)) {
            if !note::verify_log(key, line, text) {
                return Err(bad());
            }
            tally.logs = tally.logs.saturating_add(1);
        }
        let mut cosigners = self.cosigners.iter();
        if let Some((id, key)) = cosigners.find(|(_, key)| key.matches(line)) {
            let at = cosignature::verify(key, line, text).ok_or_else(bad)?;
            tally.cosigners.push(((*id).clone(), at));
        }
        Ok(())
    }

    /// A log line and n−f distinct cosigners.
    pub(super) fn quorum(&self, tally: &Tally) -> Result<(), Fault> {
        if tally.logs == 0 {
            return Err(Fault::NoLogLine);
        }
        let (found, needed) = (tally.cosigners.len(), self.set.quorum());
        if found < needed {
            return Err(Fault::Quorum { found, needed });
        }
        Ok(())
    }
}

/// A handover whose parts decode.
#[derive(Debug)]
struct Decoded<'a> {
    note: Note,
    checkpoint: Checkpoint,
    trailer: &'a Trailer,
    path: &'a Path,
    signers: Signers<'a>,
}

impl<'a> Decoded<'a> {
    fn decode(origin: &str, handover: &'a Handover) -> Result<Self, Fault> {
        let note = Note::parse(&handover.note).map_err(Fault::HandoverNote)?;
        let checkpoint =
            Checkpoint::parse(note.text()).map_err(|_text| Fault::HandoverCheckpoint)?;
        if checkpoint.origin != origin {
            return Err(Fault::Origin(checkpoint.origin));
        }
        let LogLeaf::Trailer(trailer) = &*handover.trailer else {
            return Err(Fault::LeafKind);
        };
        Ok(Self {
            note,
            checkpoint,
            trailer,
            path: &handover.path,
            signers: Signers::enter(origin, &handover.set)?,
        })
    }

    /// Passes from the set before it to its own.
    fn pass(self, before: &Signers<'_>) -> Result<Signers<'a>, Fault> {
        let size = self.checkpoint.size;
        before.quorum(&before.tally(&self.note)?)?;
        last_leaf(
            &LogLeaf::Trailer(*self.trailer),
            self.path,
            &self.checkpoint,
        )?;
        let seal = self.trailer.flags.is_seal();
        if !seal || self.trailer.validator_set != before.set().hash() {
            return Err(Fault::HandoverNotSeal(size));
        }
        if self.trailer.next_set != self.signers.set().hash() {
            return Err(Fault::HandoverSet(size));
        }
        Ok(self.signers)
    }
}

/// Checks that a leaf is the last one of a checkpoint's tree.
pub(super) fn last_leaf(
    leaf: &LogLeaf,
    path: &Path,
    checkpoint: &Checkpoint,
) -> Result<(), log::ProofError> {
    let last = LeafIndex(checkpoint.size.0.saturating_sub(1));
    log::verify_inclusion(&leaf.hash(), last, checkpoint.size, path, &checkpoint.root)
}

/// The signers of checkpoints of this size: from the trust's start through every handover between.
///
/// All handovers are decoded and in order; of those outside the range neither signatures nor paths are checked.
pub(super) fn reach<'a>(
    trust: &'a Trust,
    size: TreeSize,
    handovers: &'a [Handover],
) -> Result<Signers<'a>, Fault> {
    // The trust's own set was checked when the trust was made.
    let (start, set) = trust.start();
    let mut signers = Signers::of(trust.origin(), set);
    let mut last = None;
    for handover in handovers {
        let decoded = Decoded::decode(trust.origin(), handover)?;
        let at = decoded.checkpoint.size;
        if last >= Some(at) {
            return Err(Fault::HandoverOrder(at));
        }
        last = Some(at);
        if start < at && at < size {
            signers = decoded.pass(&signers)?;
        }
    }
    Ok(signers)
}

/// What stands behind a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Vouched {
    /// A log line and a quorum of cosigners.
    Quorum {
        /// The lines that count.
        tally: Tally,
        /// n−f.
        quorum: usize,
    },
    /// The pin alone.
    Pin,
    /// Nothing: the pin is newer, and the receipt does not show that it leads there.
    Nothing,
}

/// Finds out what stands behind a receipt's checkpoint.
pub(super) fn vouch(
    trust: &Trust,
    note: &Note,
    checkpoint: &Checkpoint,
    trailer: &Trailer,
    parts: (&[Handover], Option<&super::extra::Consistency>),
) -> Result<Vouched, Failure> {
    let (handovers, consistency) = parts;
    let fails = |fault: Fault| Step::Signers.fails(fault);
    let reached = reach(trust, checkpoint.size, handovers).map_err(fails)?;
    let tally = reached.tally(note).map_err(fails)?;
    let is_its_set = trailer.validator_set == reached.set().hash();
    let quorum = reached.set().quorum();
    match trust.pin() {
        Some(pin) if checkpoint.size < pin.size => {
            let known = consistency.filter(|known| known.size == pin.size);
            let Some(known) = known else {
                return Ok(Vouched::Nothing);
            };
            let (old, new) = ((checkpoint.size, &checkpoint.root), (pin.size, &pin.root));
            log::verify_consistency(old, new, &known.path)
                .map_err(|error| fails(Fault::Inconsistent(error)))?;
            Ok(Vouched::Pin)
        }
        Some(pin) if checkpoint.size == pin.size => {
            if checkpoint.root != pin.root {
                return Err(fails(Fault::OtherRoot(pin.size)));
            }
            if is_its_set && reached.quorum(&tally).is_ok() {
                return Ok(Vouched::Quorum { tally, quorum });
            }
            Ok(Vouched::Pin)
        }
        Some(_) | None => {
            if !is_its_set {
                return Err(fails(Fault::OtherSet));
            }
            reached.quorum(&tally).map_err(fails)?;
            Ok(Vouched::Quorum { tally, quorum })
        }
    }
}

/// A newer checkpoint that a verifier may pin: verified by the same steps as a receipt's.
#[derive(Clone, Debug)]
pub struct Advance<'a> {
    /// The cosigned checkpoint.
    pub note: &'a Note,
    /// The trailer of its block.
    pub trailer: &'a LogLeaf,
    /// Path of the trailer, the last leaf.
    pub trailer_path: &'a Path,
    /// The changes of the set between the trust and it, ascending by size.
    pub handovers: &'a [Handover],
    /// The set that signs larger sizes: the one reached, or, if the trailer is a SEAL, the one that it names.
    pub next: Option<&'a ValidatorSet>,
}

impl Trust {
    /// The checkpoint of a note that a quorum of the validators cosigned with whom this trust starts.
    ///
    /// # Errors
    /// [`Failure`] names the step.
    pub fn cosigned(&self, note: &Note) -> Result<Checkpoint, Failure> {
        let checkpoint = Checkpoint::parse(note.text())
            .map_err(|_text| Step::Form.fails(super::text::ReceiptError::Checkpoint))?;
        if checkpoint.origin != self.origin {
            return Err(Step::Origin.fails(Fault::Origin(checkpoint.origin)));
        }
        let signers = Signers::of(&self.origin, self.start().1);
        let counted = signers.tally(note);
        let counted = counted.and_then(|tally| signers.quorum(&tally));
        counted.map_err(|fault| Step::Signers.fails(fault))?;
        Ok(checkpoint)
    }

    /// Verifies a newer checkpoint and returns it as a pin (`nachweis trust update`).
    ///
    /// # Errors
    /// [`Failure`] names the step. A checkpoint that is not larger than the pin is refused.
    pub fn advance(&self, newer: &Advance<'_>) -> Result<Pin, Failure> {
        let checkpoint = Checkpoint::parse(newer.note.text())
            .map_err(|_text| Step::Form.fails(super::text::ReceiptError::Checkpoint))?;
        if checkpoint.origin != self.origin {
            return Err(Step::Origin.fails(Fault::Origin(checkpoint.origin)));
        }
        let LogLeaf::Trailer(trailer) = newer.trailer else {
            return Err(Step::Trailer.fails(Fault::LeafKind));
        };
        last_leaf(newer.trailer, newer.trailer_path, &checkpoint)
            .map_err(|error| Step::Trailer.fails(error))?;
        let fails = |fault: Fault| Step::Signers.fails(fault);
        let reached = reach(self, checkpoint.size, newer.handovers).map_err(fails)?;
        if checkpoint.size <= self.start().0 {
            return Err(fails(Fault::NotNewer(checkpoint.size)));
        }
        if trailer.validator_set != reached.set().hash() {
            return Err(fails(Fault::OtherSet));
        }
        let tally = reached.tally(newer.note).map_err(fails)?;
        reached.quorum(&tally).map_err(fails)?;
        let set = match (trailer.flags.is_seal(), newer.next) {
            (false, _) => reached.set(),
            (true, Some(next)) if next.hash() == trailer.next_set => next,
            (true, _) => return Err(fails(Fault::HandoverSet(checkpoint.size))),
        };
        Signers::enter(&self.origin, set).map_err(|error| fails(error.into()))?;
        Ok(Pin {
            size: checkpoint.size,
            root: checkpoint.root,
            set: set.clone(),
        })
    }
}
