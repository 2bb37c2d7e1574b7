//! What a validator's journal remembers of its key's past, and whether that is all that matters of it.

use crate::recovery::Recovered;
use consensus::{JournalState, Record};
use ledger::hash::Hash;
use ledger::id::{Epoch, View};
use ledger::restart::{Memory, Top};
use ledger::vote::VoteKind;
use std::collections::BTreeSet;

/// The key's past in the journal, as far as it matters here.
pub(super) struct Past {
    pub(super) quarantines: u32,
    floors: u32,
    floor: (Epoch, View),
    pub(super) entered: Vec<Epoch>,
    pub(super) stopped: bool,
}

impl Past {
    pub(super) fn read(recovered: &Recovered, epoch: Epoch) -> Self {
        let mut past = Self {
            quarantines: u32::from(recovered.journal_state == JournalState::Lost),
            floors: 0,
            floor: (Epoch(0), View(0)),
            entered: Vec::new(),
            stopped: false,
        };
        for record in &recovered.records {
            match record {
                Record::Quarantine { number } => past.quarantines = past.quarantines.max(*number),
                Record::Floor {
                    number,
                    epoch,
                    view,
                } => {
                    past.floors = past.floors.max(*number);
                    past.floor = past.floor.max((*epoch, *view));
                }
                Record::EpochStart { epoch, .. } => past.entered.push(*epoch),
                Record::Stopped { epoch: stopped } => past.stopped |= *stopped >= epoch,
                Record::Block(_)
                | Record::Certificate(_)
                | Record::OwnVote { .. }
                | Record::FinTip { .. }
                | Record::Evidence { .. } => {}
            }
        }
        past
    }

    pub(super) const fn is_quarantined(&self) -> bool {
        self.quarantines > self.floors
    }

    /// A validator that rejoined in this very epoch may have forgotten votes of it, in views below its floor. It counts as
    /// whole again once it holds a certificate of each of these views above the last final one, as who answers a rejoin
    /// must: whatever was finalized there is then final here, or not above the block that it reports.
    pub(super) fn memory(&self, (epoch, finalized): (Epoch, View), known: &Known) -> Memory {
        let (of, floor) = self.floor;
        let rejoined_here = self.floors > 0 && of >= epoch;
        let certified = of == epoch && known.certifies(finalized, floor);
        if self.is_quarantined() || (rejoined_here && !certified) {
            Memory::Lost
        } else {
            Memory::Whole
        }
    }
}

/// Whether a validator was stopped for a restart whose file it has not installed.
pub fn is_stopped(records: &[Record]) -> bool {
    let (mut stopped, mut restarted) = (None, None);
    for record in records {
        match record {
            Record::Stopped { epoch } => stopped = stopped.max(Some(*epoch)),
            Record::EpochStart { epoch, restart, .. } if *restart != Hash::ZERO => {
                restarted = restarted.max(Some(*epoch));
            }
            Record::EpochStart { .. }
            | Record::Quarantine { .. }
            | Record::Floor { .. }
            | Record::Block(_)
            | Record::Certificate(_)
            | Record::OwnVote { .. }
            | Record::FinTip { .. }
            | Record::Evidence { .. } => {}
        }
    }
    stopped.is_some() && restarted <= stopped
}

/// What the certificates that a stopped node holds say of its epoch's views.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Views with any certificate.
    views: BTreeSet<View>,
    /// The highest view with a certificate of a block …
    named: View,
    /// … and of one that is here: the one that is reported.
    pub(super) top: View,
}

impl Known {
    pub(super) fn new(recovered: &Recovered, epoch: Epoch, top: Option<&Top>) -> Self {
        let mut known = Self {
            top: top.map_or(View(0), |top| top.certificate().view()),
            ..Self::default()
        };
        for record in &recovered.records {
            if let Record::Certificate(certificate) = record
                && certificate.epoch() == epoch
            {
                let view = certificate.view();
                known.views.insert(view);
                if certificate.kind() != VoteKind::Nullify {
                    known.named = known.named.max(view);
                }
            }
        }
        known
    }

    /// Whether no block can have been finalized in a view between these two that the report does not cover.
    fn certifies(&self, finalized: View, floor: View) -> bool {
        let between = floor.0.saturating_sub(finalized.0).saturating_sub(1);
        let held = self.views.iter();
        let held = held.filter(|view| finalized < **view && **view < floor);
        let all = u64::try_from(held.count()).is_ok_and(|held| held == between);
        all && self.named <= self.top.max(finalized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(views: &[u64], named: u64, top: u64) -> Known {
        Known {
            views: views.iter().copied().map(View).collect(),
            named: View(named),
            top: View(top),
        }
    }

    #[test]
    fn who_rejoined_counts_as_whole_once_every_view_below_its_floor_is_certified() {
        let past = |floor: u64, quarantines| Past {
            quarantines,
            floors: 1,
            floor: (Epoch(2), View(floor)),
            entered: Vec::new(),
            stopped: false,
        };
        let memory =
            |past: &Past, finalized, known: &Known| past.memory((Epoch(2), View(finalized)), known);
        let none = Known::default();
        // Floor 9: views up to 8 may hold forgotten votes.
        assert_eq!(memory(&past(9, 1), 8, &none), Memory::Whole);
        assert_eq!(memory(&past(9, 1), 20, &none), Memory::Whole);
        assert_eq!(memory(&past(9, 1), 7, &none), Memory::Lost);
        assert_eq!(memory(&past(9, 1), 6, &known(&[7, 8], 0, 0)), Memory::Whole);
        assert_eq!(
            memory(&past(9, 1), 6, &known(&[7, 8, 9], 8, 8)),
            Memory::Whole
        );
        // One view is missing; a block was certified that is not here; certificates above the floor count for nothing.
        assert_eq!(memory(&past(9, 1), 6, &known(&[8, 9], 0, 0)), Memory::Lost);
        assert_eq!(memory(&past(9, 1), 6, &known(&[7, 8], 8, 7)), Memory::Lost);
        assert_eq!(
            memory(&past(9, 1), 6, &known(&[8, 9, 10], 9, 9)),
            Memory::Lost
        );
        // A newer quarantine, an older and a later epoch.
        assert_eq!(memory(&past(9, 2), 20, &none), Memory::Lost);
        let other = |epoch| past(9, 1).memory((Epoch(epoch), View(0)), &none);
        assert_eq!(other(3), Memory::Whole);
        assert_eq!(other(1), Memory::Lost);
    }
}
