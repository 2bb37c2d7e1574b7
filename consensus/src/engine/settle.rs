//! All rules, after every event, until none has anything left to do.

use super::Engine;
use super::blocks::{self, State};
use crate::event::Verdict;
use crate::output::Output;
use crate::time::Now;
use ledger::hash::BlockHash;

/// Rules are applied so many times per event at most. Each round does something that is done once per view or block,
/// so this is never reached; it only bounds the time of one event.
const MAX_ROUNDS: usize = 10_000;

impl Engine {
    /// Applies all rules until none has anything left to do. Every rule looks at the state, not at the event that
    /// led there: what was missing may come in any order, and nothing is forgotten.
    pub(super) fn settle(&mut self, now: Now) {
        for _ in 0..MAX_ROUNDS {
            self.link_final_chain();
            let mut moved = self.commit();
            moved |= self.check_blocks();
            self.stop_at_seal();
            self.update_head();
            self.update_arming(now);
            moved |= self.finalize_notarized(now);
            moved |= self.notarize(now);
            moved |= self.nullify(now);
            moved |= self.propose(now);
            if !moved {
                break;
            }
        }
        self.make_room();
        self.drop_assemblies();
        self.fetch_missing(now);
        self.request_certificates(now);
        self.request_blocks(now);
        self.spread(now.mono);
        self.retry(now);
        self.heartbeat(now);
        self.greet(now);
        self.ask_to_rejoin(now);
        self.watch_clock(now);
        self.set_timer(now);
    }

    /// 3.4, steps 1 and 3: headers here, bodies by the caller.
    pub(super) fn check_blocks(&mut self) -> bool {
        let mut moved = false;
        for hash in self.blocks.checkable() {
            let Some(block) = self.blocks.get(&hash).map(|entry| &entry.block) else {
                continue;
            };
            if block.header.epoch > self.run.epoch.epoch() {
                // A peer that lies may have it here before its epoch: only that says whether it fits. It is looked at again at
                // every event until then, and must not be copied for that.
                continue;
            }
            let Some(parent) = self.blocks.tip(&block.header.parent) else {
                continue;
            };
            let block = block.clone();
            moved = true;
            let rules = self.config.rules();
            if blocks::header_fits(rules, &self.run.epoch, &parent, &block.header) {
                self.blocks.mark(&hash, State::Checking);
                self.outbox.now(Output::Validate { hash, block });
            } else {
                self.blocks.mark(&hash, State::Invalid);
            }
        }
        moved
    }

    pub(super) fn block_validated(&mut self, hash: BlockHash, verdict: Verdict) {
        if self.blocks.state(&hash) != Some(State::Checking) {
            return;
        }
        match verdict {
            Verdict::Valid => self.blocks.mark(&hash, State::Valid),
            Verdict::Invalid => self.blocks.mark(&hash, State::Invalid),
            Verdict::BadDelivery => self.bad_delivery(hash),
        }
    }

    pub(super) fn work_changed(&mut self, head: BlockHash, includable: u32) {
        if self.run.work.head.is_some_and(|known| known.hash == head) {
            self.run.work.answered = true;
            self.run.work.includable = includable;
            // What was not there for the last request may be there now.
            self.run.build = self.run.build.filter(|build| !build.empty);
        }
    }
}
