//! Cosignatures of this node's own checkpoints, on their way to a quorum.
//!
//! Everything in here was verified. A cosignature for a tree that this node does not hold yet waits, a few per
//! signer; one for a tree that it holds with another root is no cosignature of its checkpoint.

use super::Decided;
use crate::gossip::Cosig;
use crate::publisher::Noted;
use ledger::checkpoint::Checkpoint;
use ledger::cosignature;
use ledger::genesis::Genesis;
use ledger::id::{TreeSize, ValidatorIndex};
use ledger::note::{Note, SignatureLine, VerifierKey};
use ledger::validator_set::ValidatorSet;
use std::collections::BTreeMap;

/// Checkpoints that wait for their quorum; the oldest is given up for the newest.
pub(super) const MAX_OPEN: usize = 64;
/// Cosignatures of one signer that may wait for this node's own checkpoints.
pub(super) const MAX_EARLY: usize = 16;

/// Names and keys of the cosigners, and the origin that they sign for.
#[derive(Clone, Debug)]
pub struct Signers {
    origin: String,
    keys: Vec<VerifierKey>,
    logs: Vec<VerifierKey>,
    quorum: usize,
}

impl Signers {
    /// Those of a validator set.
    pub fn new(genesis: &Genesis, set: &ValidatorSet) -> Self {
        let origin = genesis.origin();
        let members = set.members().iter();
        let keys = members.map(|m| VerifierKey::cosigner(&origin, &m.id, m.cosigner));
        let keys = keys.collect();
        let members = set.members().iter();
        let logs = members.map(|m| VerifierKey::log(&origin, m.log)).collect();
        Self {
            origin,
            keys,
            logs,
            quorum: set.quorum(),
        }
    }

    /// Cosigners of a quorum.
    pub(super) const fn quorum(&self) -> usize {
        self.quorum
    }

    pub(super) fn get(&self, signer: ValidatorIndex) -> Option<&VerifierKey> {
        self.keys.get(usize::from(signer.0))
    }

    /// The log key under which a validator's notes are signed.
    pub(super) fn log(&self, signer: ValidatorIndex) -> Option<&VerifierKey> {
        self.logs.get(usize::from(signer.0))
    }

    /// Reads a note that somebody sent: a quorum's cosignatures, and a log line of one of the set.
    pub fn read_served_note(&self, text: &str) -> Option<KeptNote> {
        let kept = self.read_note(text)?;
        let note = Note::parse(text.as_bytes()).ok()?;
        let mut logs = self.logs.iter();
        let signed = logs.any(|log| {
            let mut lines = note.lines().iter();
            lines.any(|line| ledger::note::verify_log(log, line, note.text()))
        });
        signed.then_some(kept)
    }

    /// The text of a checkpoint.
    pub(super) fn text(&self, size: TreeSize, root: ledger::hash::Hash) -> String {
        let origin = self.origin.clone();
        Checkpoint { origin, size, root }.text()
    }

    /// Verifies a cosignature for the tree that it names.
    pub(super) fn verify(&self, cosig: &Cosig) -> Option<SignatureLine> {
        let key = self.get(cosig.signer)?;
        let blob = [
            cosig.time_s.to_be_bytes().as_slice(),
            &cosig.signature.0[..],
        ]
        .concat();
        let line = SignatureLine::new(key, blob);
        cosignature::verify(key, &line, &self.text(cosig.size, cosig.root))?;
        Some(line)
    }

    /// Reads a kept note: its checkpoint, and the cosigner lines that verify, if they are a quorum.
    pub fn read_note(&self, text: &str) -> Option<KeptNote> {
        let note = Note::parse(text.as_bytes()).ok()?;
        let checkpoint = Checkpoint::parse(note.text()).ok()?;
        if checkpoint.origin != self.origin {
            return None;
        }
        let mut lines = BTreeMap::new();
        for (at, key) in (0_u16..).zip(&self.keys) {
            let verified = note.lines().iter().find_map(|line| {
                let at = cosignature::verify(key, line, note.text())?;
                Some((at.0, line.clone()))
            });
            lines.extend(verified.map(|line| (ValidatorIndex(at), line)));
        }
        (lines.len() >= self.quorum).then_some(KeptNote {
            checkpoint,
            lines,
            text: text.to_owned(),
        })
    }
}

/// A note from the disk, verified.
#[derive(Clone, Debug)]
pub struct KeptNote {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// Cosigner lines with their times.
    pub lines: BTreeMap<ValidatorIndex, (u64, SignatureLine)>,
    /// The note as it stands in the file.
    pub text: String,
}

/// One own checkpoint with its signatures.
#[derive(Debug)]
struct Open {
    decided: Decided,
    log_line: Option<SignatureLine>,
    lines: BTreeMap<ValidatorIndex, (u64, SignatureLine)>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Collection {
    signers: Signers,
    open: BTreeMap<TreeSize, Open>,
    early: BTreeMap<ValidatorIndex, BTreeMap<TreeSize, (Cosig, SignatureLine)>>,
    provable: TreeSize,
}

/// What became of a received cosignature.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Nothing new.
    Known,
    /// It waits for this node's own checkpoint.
    Early,
    /// It was added.
    Added,
    /// It does not verify.
    Bad,
    /// It verifies, for another root than this node's at that size.
    OtherRoot,
}

impl Collection {
    pub(super) const fn new(signers: Signers) -> Self {
        Self {
            signers,
            open: BTreeMap::new(),
            early: BTreeMap::new(),
            provable: TreeSize(0),
        }
    }

    pub(super) const fn signers(&self) -> &Signers {
        &self.signers
    }

    /// Whether a quorum cosigned a tree of this size or a larger one.
    pub(super) fn is_provable(&self, size: TreeSize) -> bool {
        self.provable >= size
    }

    /// Who has signed the own checkpoint of this size.
    pub(super) fn signed(&self, size: TreeSize) -> Vec<ValidatorIndex> {
        let open = self.open.get(&size);
        open.map(|open| open.lines.keys().copied().collect())
            .unwrap_or_default()
    }

    /// This node holds the tree now.
    pub(super) fn decide(&mut self, decided: Decided) {
        let size = decided.size;
        if size < self.provable || self.open.contains_key(&size) {
            return;
        }
        let mut lines = BTreeMap::new();
        for (signer, waiting) in &mut self.early {
            if let Some((cosig, line)) = waiting.remove(&size) {
                if cosig.root == decided.root {
                    lines.insert(*signer, (cosig.time_s, line));
                } else {
                    tracing::error!(%signer, %size, "another root is cosigned: alarm");
                }
            }
            *waiting = waiting.split_off(&size);
        }
        let open = Open {
            decided,
            log_line: None,
            lines,
        };
        self.open.insert(size, open);
        while self.open.len() > MAX_OPEN {
            self.open.pop_first();
        }
    }

    /// Adds the own signatures.
    pub(super) fn sign(
        &mut self,
        size: TreeSize,
        (signer, time): (ValidatorIndex, u64),
        line: SignatureLine,
        log_line: SignatureLine,
    ) {
        if let Some(open) = self.open.get_mut(&size) {
            open.log_line = Some(log_line);
            open.lines.insert(signer, (time, line));
        }
    }

    /// Takes up the lines of a kept note.
    pub(super) fn resume(&mut self, note: KeptNote) {
        if let Some(open) = self.open.get_mut(&note.checkpoint.size)
            && open.decided.root == note.checkpoint.root
        {
            for (signer, line) in note.lines {
                open.lines.entry(signer).or_insert(line);
            }
            self.provable = note.checkpoint.size;
        }
    }

    /// Takes in what another validator sent.
    pub(super) fn receive(&mut self, cosig: &Cosig) -> Received {
        let Some(open) = self.open.get_mut(&cosig.size) else {
            return self.receive_early(cosig);
        };
        let held = open.lines.get(&cosig.signer);
        if held.is_some_and(|(time, _)| *time >= cosig.time_s) {
            return Received::Known;
        }
        let Some(line) = self.signers.verify(cosig) else {
            return Received::Bad;
        };
        if open.decided.root != cosig.root {
            return Received::OtherRoot;
        }
        open.lines.insert(cosig.signer, (cosig.time_s, line));
        Received::Added
    }

    fn receive_early(&mut self, cosig: &Cosig) -> Received {
        let newest = self.open.last_key_value().map(|(size, _)| *size);
        if newest.is_some_and(|newest| cosig.size <= newest) {
            return Received::Known;
        }
        let known = self.early.get(&cosig.signer);
        if known.is_some_and(|waiting| waiting.contains_key(&cosig.size)) {
            return Received::Known;
        }
        let Some(line) = self.signers.verify(cosig) else {
            return Received::Bad;
        };
        // Verified: the signer is a member, so there are at most 64 of these maps.
        let waiting = self.early.entry(cosig.signer).or_default();
        waiting.insert(cosig.size, (*cosig, line));
        while waiting.len() > MAX_EARLY {
            waiting.pop_first();
        }
        Received::Early
    }

    /// The note of this checkpoint, if a quorum signed it and none larger; smaller ones are given up.
    pub(super) fn note(&mut self, size: TreeSize) -> Option<Noted> {
        let open = self.open.get(&size)?;
        let log_line = open.log_line.clone()?;
        if size < self.provable || open.lines.len() < self.signers.quorum {
            return None;
        }
        let Decided {
            height,
            time_ms,
            root,
            ..
        } = open.decided;
        let lines = open.lines.values().map(|(_, line)| line.clone());
        let lines = std::iter::once(log_line).chain(lines).collect();
        let note = Note::new(self.signers.text(size, root), lines).encode();
        self.provable = size;
        self.open = self.open.split_off(&size);
        Some(Noted {
            height,
            time_ms,
            size,
            root,
            note,
        })
    }

    /// The largest own checkpoint that has a quorum, if there is a new one.
    pub(super) fn newest_quorum(&mut self) -> Option<Noted> {
        let quorum = self.signers.quorum;
        let whole = |open: &Open| open.log_line.is_some() && open.lines.len() >= quorum;
        let found = self.open.iter().rev().find(|(_, open)| whole(open));
        let size = *found?.0;
        self.note(size)
    }
}
