//! I13: the times of the new blocks that honest validators notarize (consensus.md, 3.16), judged when a validator writes its
//! vote, for that is the moment at which its clock counted: it may be sent much later, and again.

use crate::trace;
use crate::violation::{Checked, Invariant, check};
use consensus::{EngineStatus, Record, Rules};
use ledger::hash::BlockHash;
use ledger::header::Header;
use ledger::id::TimeMs;
use ledger::vote::{Vote, VoteKind};
use std::collections::BTreeMap;

/// The factor of how far back a time may lie doubles this often.
const DOUBLINGS: u64 = 6;

/// What a validator goes by when it judges a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    /// What its wall clock shows.
    pub(crate) wall: TimeMs,
    /// What that showed when it last asked its application for a block: a leader judges then.
    pub(crate) asked: TimeMs,
    /// Where its engine stood before this event.
    pub(crate) before: EngineStatus,
}

/// All blocks that honest validators wrote, which they do before they notarize one.
#[derive(Default)]
pub(super) struct Times(BTreeMap<BlockHash, Header>);

impl Times {
    /// An honest node writes a block, or begins with it.
    pub(super) fn writes(&mut self, record: &Record) {
        if let Record::Block(block) = record {
            self.0
                .entry(block.hash())
                .or_insert_with(|| block.header.clone());
        }
    }

    /// An honest node writes these. `committed` knows the times of blocks on the chain.
    pub(super) fn judge(
        &self,
        node: usize,
        watch: &Watch,
        rules: &Rules,
        records: &[Record],
        committed: impl Fn(&BlockHash) -> Option<TimeMs>,
    ) -> Checked {
        let votes = records.iter().filter_map(|record| match record {
            Record::OwnVote { vote, .. } if vote.kind == VoteKind::Notarize => Some(vote),
            _ => None,
        });
        for vote in votes {
            let header = self.0.get(&vote.block.hash);
            check(header.is_some(), Invariant::Times, || {
                format!("#{node} writes {} and not its block", trace::vote(vote))
            })?;
            let Some(header) = header.filter(|header| header.view == vote.view) else {
                // An old block again: whoever notarized it first has looked at its time.
                continue;
            };
            let parent = committed(&header.parent)
                .or_else(|| self.0.get(&header.parent).map(|parent| parent.time_ms));
            check(parent.is_some(), Invariant::Times, || {
                format!(
                    "#{node} writes {} on a parent that nobody has",
                    trace::vote(vote)
                )
            })?;
            within(node, watch, rules, vote, header, parent.unwrap_or_default())?;
        }
        Ok(())
    }
}

/// L ≤ t ≤ U.
fn within(
    node: usize,
    watch: &Watch,
    rules: &Rules,
    vote: &Vote,
    header: &Header,
    parent: TimeMs,
) -> Checked {
    let own = header.proposer == vote.signer;
    let clock = if own { watch.asked } else { watch.wall };
    // A finalization in the same event may have raised it before the vote was given: that would be stricter.
    let finalized = if watch.before.epoch == vote.epoch {
        watch.before.finalized_view.0
    } else {
        0
    };
    let failed = vote.view.0.saturating_sub(1).saturating_sub(finalized);
    let past = rules.past_ms << failed.min(DOUBLINGS);
    let always = parent.0.saturating_add(1);
    let earliest = always.max(clock.0.saturating_sub(past));
    let latest = always.max(clock.0.saturating_add(rules.drift_ms));
    let time = header.time_ms.0;
    check(earliest <= time && time <= latest, Invariant::Times, || {
        format!(
            "#{node} gives {} for a block of {time}, by its clock ({}) from {earliest} to {latest}",
            trace::vote(vote),
            clock.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::Standing;
    use ledger::header::{BlockRef, Flags, HEADER_VERSION};
    use ledger::id::{Epoch, Height, ValidatorIndex, View};
    use ledger::key::RawSignature;

    /// Whether validator 1, whose clock shows a million, may notarize a block of that time in view 3.
    fn allows(proposer: u16, time: u64, finalized: u64) -> bool {
        let header = Header {
            version: HEADER_VERSION,
            chain: Default::default(),
            epoch: Epoch(0),
            height: Height(1),
            view: View(3),
            parent: Default::default(),
            time_ms: TimeMs(time),
            proposer: ValidatorIndex(proposer),
            flags: Flags::NONE,
            body_len: 0,
            body_root: Default::default(),
            log_size: Default::default(),
            log_root: Default::default(),
            status_root: Default::default(),
            validator_set: Default::default(),
            next_set: Default::default(),
        };
        let vote = Vote {
            epoch: Epoch(0),
            view: View(3),
            kind: VoteKind::Notarize,
            block: BlockRef::default(),
            signer: ValidatorIndex(1),
            signature: RawSignature([0; 64]),
        };
        let watch = Watch {
            wall: TimeMs(1_000_000),
            asked: TimeMs(900_000),
            before: EngineStatus {
                epoch: Epoch(0),
                view: View(3),
                finalized_view: View(finalized),
                committed: BlockRef::default(),
                finalized_height: Height(0),
                floor: (Epoch(0), View(0)),
                standing: Standing::Voting,
            },
        };
        let parent = TimeMs(10_000);
        within(1, &watch, &Rules::default(), &vote, &header, parent).is_ok()
    }

    #[test]
    fn a_time_lies_between_both_bounds_by_the_clock_that_counts() {
        // After a finalization in the view before, after two views without any, and as the block's leader.
        for (proposer, finalized, first, last) in [
            (0, 2, 995_000, 1_001_000),
            (0, 0, 980_000, 1_001_000),
            (1, 2, 895_000, 901_000),
        ] {
            for time in [first, last] {
                assert!(allows(proposer, time, finalized), "{time}");
            }
            for time in [first - 1, last + 1] {
                assert!(!allows(proposer, time, finalized), "{time}");
            }
        }
    }
}
