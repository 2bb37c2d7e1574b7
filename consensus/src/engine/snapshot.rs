//! The records that recovery still needs (consensus.md, 3.11).

use super::Engine;
use super::guard::Bar;
use super::recover::start_record;
use crate::journal::Record;
use alloc::vec::Vec;
use ledger::vote::VoteKind;

impl Engine {
    pub(super) fn needed_records(&self) -> Vec<Record> {
        let epoch = self.run.epoch.epoch();
        let mut records = alloc::vec![start_record(&self.run.epoch)];
        records.extend(self.key_records());
        if let Some(finalization) = self.run.certificates.finalization() {
            let (view, block) = (finalization.view(), finalization.block());
            records.push(Record::FinTip { epoch, view, block });
            records.push(Record::Certificate(finalization.get().clone()));
        }
        let certificates = self.run.certificates.newest_first().cloned();
        records.extend(certificates.map(Record::Certificate));
        let committed = self.blocks.committed().block.height;
        let blocks = self.blocks.iter().map(|(_, entry)| entry);
        let blocks =
            blocks.filter(|entry| entry.journalled && entry.block.header.height > committed);
        records.extend(blocks.map(|entry| Record::Block(entry.block.clone())));
        for (_, votes) in self.guard.newest_first() {
            records.extend(votes.all().map(|vote| {
                Record::OwnVote {
                    vote,
                    parent_view: votes
                        .parent_view
                        .filter(|_| vote.kind == VoteKind::Notarize),
                }
            }));
        }
        let evidence = self.evidence.iter().map(|evidence| {
            let (a, b) = evidence.votes();
            Record::Evidence { a: *a, b: *b }
        });
        records.extend(evidence);
        records.extend(self.later.iter().cloned());
        records
    }

    /// What binds the key in every epoch.
    fn key_records(&self) -> impl Iterator<Item = Record> {
        let epoch = self.run.epoch.epoch();
        let number = self.quarantines;
        let quarantined = self.guard.is_barred(Bar::Quarantine);
        let quarantine = quarantined.then_some(Record::Quarantine { number });
        let stopped = self.guard.is_barred(Bar::Stopped);
        let stopped = stopped.then_some(Record::Stopped { epoch });
        let ended = if quarantined {
            number.saturating_sub(1)
        } else {
            number
        };
        let (epoch, view) = self.guard.floor();
        let floor = (ended > 0).then_some(Record::Floor {
            number: ended,
            epoch,
            view,
        });
        [quarantine, stopped, floor].into_iter().flatten()
    }
}
