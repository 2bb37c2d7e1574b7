//! Persistence gating (consensus.md, 3.11 and R10): nothing that depends on a record leaves before it is durable.
//!
//! Records gathered during one event become one `Persist`. A gated output waits until every record written before it
//! is durable; the order of outputs is kept. Everything that carries or follows from a vote or certificate is gated;
//! only questions to peers, and what goes to the node itself, is not.

use crate::journal::Record;
use crate::output::Output;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use ledger::planted;

/// Number of a `Persist`, ascending from 1 within one process. 0: before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Seq(pub u64);

/// Outputs that wait, and records that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    ready: VecDeque<Output>,
    waiting: VecDeque<(Seq, Output)>,
    records: Vec<Record>,
    issued: Seq,
    persisted: Seq,
}

impl Outbox {
    /// Adds a record to the batch of this event.
    pub(crate) fn persist(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Queues an output that may leave at once.
    pub(crate) fn now(&mut self, output: Output) {
        self.ready.push_back(output);
    }

    /// Queues an output that may leave once all records so far are durable.
    pub(crate) fn after_durable(&mut self, output: Output) {
        let after = if self.records.is_empty() {
            self.issued
        } else {
            Seq(self.issued.0.saturating_add(1))
        };
        let free = after <= self.persisted && self.waiting.is_empty();
        if free || planted!(SentBeforeSync) {
            self.ready.push_back(output);
        } else {
            self.waiting.push_back((after, output));
        }
    }

    /// Closes the batch of this event.
    pub(crate) fn close_batch(&mut self) {
        if self.records.is_empty() {
            return;
        }
        self.issued = Seq(self.issued.0.saturating_add(1));
        let records = core::mem::take(&mut self.records);
        self.ready.push_back(Output::Persist {
            seq: self.issued,
            records,
        });
    }

    /// Releases what waited for records up to `seq`. False if no such `Persist` was ever issued.
    pub(crate) fn persisted(&mut self, seq: Seq) -> bool {
        if seq > self.issued {
            return false;
        }
        self.persisted = self.persisted.max(seq);
        while let Some((after, _)) = self.waiting.front() {
            if *after > self.persisted {
                break;
            }
            if let Some((_, output)) = self.waiting.pop_front() {
                self.ready.push_back(output);
            }
        }
        true
    }

    /// Whether nothing waits, neither for the disk nor for the driver.
    pub(crate) fn is_settled(&self) -> bool {
        self.ready.is_empty() && self.waiting.is_empty() && self.records.is_empty()
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::header::BlockRef;

    fn gated() -> Output {
        Output::Head(BlockRef::default())
    }

    fn record() -> Record {
        Record::Quarantine { number: 1 }
    }

    #[test]
    fn gated_outputs_leave_only_after_their_batch() {
        let mut outbox = Outbox::default();
        outbox.persist(record());
        outbox.after_durable(gated());
        outbox.close_batch();
        assert!(matches!(
            outbox.pop(),
            Some(Output::Persist { seq: Seq(1), .. })
        ));
        assert!(outbox.pop().is_none(), "nothing leaves before Persisted");
        assert!(outbox.persisted(Seq(1)));
        assert!(matches!(outbox.pop(), Some(Output::Head(_))));
        assert!(outbox.is_settled());
    }

    #[test]
    fn later_outputs_never_overtake() {
        let mut outbox = Outbox::default();
        outbox.persist(record());
        outbox.after_durable(gated());
        outbox.close_batch();
        outbox.after_durable(gated());
        outbox.persist(record());
        outbox.after_durable(gated());
        outbox.close_batch();
        assert!(outbox.pop().is_some() && outbox.pop().is_some());
        assert!(outbox.persisted(Seq(1)));
        assert!(outbox.pop().is_some() && outbox.pop().is_some());
        assert!(outbox.pop().is_none(), "the third waits for batch 2");
        assert!(outbox.persisted(Seq(2)) && outbox.pop().is_some());
    }

    #[test]
    fn a_batch_never_issued_is_refused() {
        assert!(!Outbox::default().persisted(Seq(1)));
    }
}
