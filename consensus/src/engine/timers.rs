//! Deadlines: when the engine wants to be woken (consensus.md, 3.8 and 3.9). All of them are monotonic.

use super::Engine;
use super::work::Parent;
use crate::output::Output;
use crate::time::{Mono, Now};

impl Engine {
    /// T_prop = 3Δ_k.
    pub(super) fn propose_timeout(&self) -> u64 {
        self.delta_k().saturating_mul(3)
    }

    /// T_view = 6Δ_k.
    pub(super) fn view_timeout(&self) -> u64 {
        self.delta_k().saturating_mul(6)
    }

    fn delta_k(&self) -> u64 {
        let f = self.run.epoch.set().f();
        self.config.delta_k(self.failed_views(), f)
    }

    /// Sets the timer to the earliest deadline ahead. What is due already was done, or waits for an event.
    pub(super) fn set_timer(&mut self, now: Now) {
        let mono = now.mono;
        let mut next = self
            .last_status
            .plus(self.config.timing().heartbeat_ms)
            .max(mono.plus(1));
        let mut consider = |at: Mono| {
            if at > mono {
                next = next.min(at);
            }
        };
        self.view_deadlines(now, &mut consider);
        self.run.assemblies.deadlines().for_each(&mut consider);
        self.run.fetches.deadlines().for_each(&mut consider);
        self.run.catch_up.deadlines().for_each(&mut consider);
        self.sync_deadlines().for_each(&mut consider);
        if self.is_asking() {
            consider(self.run.start_check.deadline());
        }
        if let Some(at) = self.rejoin_deadline() {
            consider(at);
        }
        if self.timer != Some(next) {
            self.timer = Some(next);
            self.outbox.now(Output::SetTimer { at: next });
        }
    }

    fn view_deadlines(&self, now: Now, consider: &mut impl FnMut(Mono)) {
        let timing = self.config.timing();
        if let Some(armed) = self.run.current.armed_at {
            consider(armed.plus(self.propose_timeout()));
            consider(armed.plus(self.view_timeout()));
        }
        if self.run.current.was_busy {
            consider(self.run.current.last_retry.plus(self.config.retry_ms()));
        }
        if let Some(at) = self.run.current.spread_at {
            consider(at);
        }
        if let Some(since) = self.unfinal_since() {
            consider(since.plus(self.config.unfinal_ms()));
        }
        if let Some(at) = self.acceptable_at(now) {
            consider(at);
        }
        if let Some(at) = self.anchor_at(now) {
            consider(at);
        }
        let leader = self.run.epoch.leader(self.run.current.view);
        if self.guard.me() != Some(leader) {
            if let Some(leader) = self.run.epoch.peer_of(leader) {
                consider(self.peers.silent_since(&leader).plus(timing.quiet_ms));
            }
        } else if self.has_work(now)
            && let Parent::Found { block, .. } = self.parent()
            && let Some(at) = self.paced_until(&block)
        {
            consider(at);
        }
    }

    /// When an ANCHOR block becomes due on the head.
    fn anchor_at(&self, now: Now) -> Option<Mono> {
        let interval = self.config.rules().anchor_interval_ms;
        if interval == 0 || self.run.sealed || self.diverged {
            return None;
        }
        let head = self.run.work.head?;
        let tip = self.blocks.tip(&head.hash)?;
        let due = tip.time_ms.0.saturating_add(interval);
        Some(now.mono.plus(due.saturating_sub(now.wall.0)))
    }
}
