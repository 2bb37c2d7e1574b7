//! The records that recovery still needs (consensus.md, 3.11).

use super::Engine;
use super::guard::Bar;
use crate::journal::Record;
use alloc::vec::Vec;
use ledger::id::View;
use ledger::vote::VoteKind;

impl Engine {
    pub(super) fn needed_records(&self) -> Vec<Record> {
        let epoch = self.epoch.epoch();
        let mut records = alloc::vec![Record::EpochStart {
            epoch,
            set: self.epoch.set_hash(),
            anchor: self.epoch.anchor().block.hash,
            restart: self.epoch.restart(),
        }];
        if self.guard.is_barred(Bar::Quarantine) {
            records.push(Record::Quarantine { epoch });
        }
        if self.guard.is_barred(Bar::Stopped) {
            records.push(Record::Stopped { epoch });
        }
        if self.guard.floor() > View(0) {
            let view = self.guard.floor();
            records.push(Record::Floor { epoch, view });
        }
        if let Some(finalization) = self.certificates.finalization() {
            let (view, block) = (finalization.view(), finalization.block());
            records.push(Record::FinTip { epoch, view, block });
            records.push(Record::Certificate(finalization.get().clone()));
        }
        let certificates = self.certificates.newest_first().cloned();
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
        records
    }
}
