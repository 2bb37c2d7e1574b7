//! The time rule, and this node's own clock against its peers' (consensus.md, 3.16).

use super::Engine;
use crate::output::{Alarm, Output};
use crate::time::{Mono, Now};
use alloc::vec::Vec;
use ledger::id::TimeMs;
use ledger::planted;

/// A person is told when the clock is off by so much, in ms.
const ALARM_MS: u64 = 200;

impl Engine {
    /// k of 3.9: views since the last finalization. Only a finalization resets the back-off.
    pub(super) fn failed_views(&self) -> u64 {
        let certified = if planted!(BackoffByNotarization) {
            self.run.certificates.top_notarized_view()
        } else {
            self.run.certificates.finalized_view()
        };
        let since = certified.0.saturating_add(1);
        self.run.current.view.0.saturating_sub(since)
    }

    /// 3.16: whether a new block's time lies within [L, U] of this clock.
    pub(super) fn time_rule(&self, now: Now, parent: TimeMs, time: TimeMs) -> bool {
        let always = parent.saturating_add(1);
        let past = self.config.past_k(self.failed_views());
        let earliest = always.max(now.wall.saturating_sub(past));
        let latest = always.max(now.wall.saturating_add(self.config.rules().drift_ms));
        earliest <= time && time <= latest
    }

    /// When a proposal that is too early now will be acceptable.
    pub(super) fn acceptable_at(&self, now: Now) -> Option<Mono> {
        let time = self.run.slots.get(self.run.current.view)?.header.time_ms;
        let wait = time
            .0
            .saturating_sub(now.wall.0.saturating_add(self.config.rules().drift_ms));
        (wait > 0).then(|| now.mono.plus(wait))
    }

    /// The lower median of the peers' distances; `None` while fewer than q − 1 are known.
    fn clock_offset(&self, now: Now) -> Option<i64> {
        let peers = self.peers.members().filter(|(_, peer)| peer.up);
        let mut offsets: Vec<i64> = peers
            .filter_map(|(_, peer)| peer.clock_offset(now))
            .collect();
        let needed = self.run.epoch.set().quorum().saturating_sub(1);
        if offsets.is_empty() || offsets.len() < needed {
            return None;
        }
        offsets.sort_unstable();
        let middle = offsets.len().saturating_sub(1).div_euclid(2);
        offsets.get(middle).copied()
    }

    /// 3.16: a clock that is off does not date blocks, unless views keep failing (then every leader proposes).
    pub(super) fn refuses_to_propose(&self, now: Now) -> bool {
        let limit = self.config.rules().drift_ms.div_euclid(2);
        let f = u64::try_from(self.run.epoch.set().f()).unwrap_or(u64::MAX);
        self.failed_views() <= f
            && self
                .clock_offset(now)
                .is_some_and(|offset| offset.unsigned_abs() >= limit)
    }

    /// Tells a person, once for each time that the clock goes wrong.
    pub(super) fn watch_clock(&mut self, now: Now) {
        let offset = self.clock_offset(now).unwrap_or(0);
        let is_off = offset.unsigned_abs() >= ALARM_MS;
        if is_off && !self.clock_alarmed {
            self.outbox.now(Output::Alarm(Alarm::Clock(offset)));
        }
        self.clock_alarmed = is_off;
    }
}
