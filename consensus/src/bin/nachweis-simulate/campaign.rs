//! Many seeds on all cores, and what is said about them.

use crate::crypto::Crypto;
use crate::plan::Plan;
use crate::random::mix;
use crate::run::{Outcome, run};
use crate::trace::Words;
use crate::twins::Campaign;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

thread_local! {
    /// The seed that this thread runs, for whoever reports a panic.
    static CURRENT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// What is common to all seeds of a campaign.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) nodes: Option<usize>,
    pub(crate) crypto: Crypto,
    /// Where journals are kept in real files, if they are.
    pub(crate) files: Option<PathBuf>,
    /// Bodies of more bytes are compact with any number of validators.
    pub(crate) compact_above: Option<usize>,
    /// Seeds are scripts of this campaign, if there is one.
    pub(crate) twins: Option<Campaign>,
}

/// What a campaign found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) passed: u64,
    /// Failed seeds, ascending.
    pub(crate) failed: Vec<u64>,
    pub(crate) events: u64,
    pub(crate) messages: u64,
    pub(crate) blocks: u64,
    pub(crate) epochs: u64,
    pub(crate) starts: u64,
    pub(crate) failed_writes: u64,
    pub(crate) offences: u64,
    /// Virtual ms from GST until all was final, one entry per seed.
    pub(crate) settled: Vec<u64>,
}

/// 99 % of the seeds have everything final so soon after GST and the last record, in ms (consensus.md, 5.5).
pub(crate) const SETTLED: u64 = 5_000;
/// Of fewer seeds the slowest hundredth says nothing.
const MANY: usize = 1_000;

/// Failures after which a campaign gives up.
const ENOUGH: usize = 5;

impl Terms {
    pub(crate) fn plan(&self, seed: u64) -> Plan {
        let mut plan = Plan::draw(seed, self.nodes, self.crypto, self.compact_above);
        plan.files = self.files.as_ref().map(|all| all.join(seed.to_string()));
        plan
    }

    /// The command that runs this seed again, with words.
    pub(crate) fn command(&self, seed: u64) -> String {
        if let Some(Campaign { views }) = self.twins {
            return format!("scripts/simulate twins --views {views} --replay {seed}");
        }
        let nodes = self.nodes.map(|n| format!(" --nodes {n}"));
        let compact = self
            .compact_above
            .map(|bytes| format!(" --compact {bytes}"));
        let crypto = if self.crypto == Crypto::Real {
            " --real-crypto"
        } else {
            ""
        };
        format!(
            "scripts/simulate{}{}{crypto} --replay {seed}",
            nodes.unwrap_or_default(),
            compact.unwrap_or_default()
        )
    }

    /// How many there are without another wish.
    pub(crate) fn usual_count(&self) -> u64 {
        self.twins.map_or(1_000, Campaign::cases)
    }

    /// The seed, or the case: those of a part of a campaign are spread over all of it.
    fn nth(&self, number: u64, count: u64) -> u64 {
        match self.twins {
            Some(campaign) if count < campaign.cases() => mix(number) % campaign.cases(),
            Some(_) | None => number,
        }
    }

    /// Runs one seed.
    pub(crate) fn run(&self, seed: u64, words: Words) -> Outcome {
        CURRENT.set(Some(seed));
        let outcome = match self.twins {
            Some(campaign) => campaign.run(seed, words),
            None => {
                let plan = self.plan(seed);
                let files = plan.files.clone();
                let outcome = run(plan, words);
                // Thousands of seeds would fill the disk; what stays behind only takes room.
                files.map(|files| fs::remove_dir_all(files).ok());
                outcome
            }
        };
        CURRENT.set(None);
        outcome
    }

    /// Runs a seed again that has failed, and says everything about it.
    pub(crate) fn explain(&self, seed: u64, out: &mut dyn Write) -> io::Result<()> {
        let outcome = self.run(seed, Words::Last(VecDeque::new()));
        if let Some(campaign) = self.twins {
            writeln!(out, "case {seed} failed: {}", campaign.case(seed))?;
        } else {
            let plan = self.plan(seed);
            writeln!(
                out,
                "seed {seed} failed: n = {}, GST at {} ms",
                plan.n, plan.gst
            )?;
            writeln!(out, "byzantine {:?}, dead {:?}", plan.byzantine, plan.dead)?;
        }
        writeln!(out, "last {} events:", outcome.last.len())?;
        for line in &outcome.last {
            writeln!(out, "{line}")?;
        }
        match outcome.result {
            Ok(()) => writeln!(
                out,
                "passed the second time: the simulator is not deterministic"
            )?,
            Err(failure) => writeln!(out, "{failure}")?,
        }
        writeln!(out, "to see all of it: {}", self.command(seed))
    }

    /// Runs the seeds `from..from + count` on `threads` threads.
    pub(crate) fn sweep(
        &self,
        from: u64,
        count: u64,
        threads: usize,
        out: &(dyn Fn(&str) + Sync),
    ) -> Report {
        let next = AtomicU64::new(from);
        let enough = AtomicBool::new(false);
        let report = Mutex::new(Report::default());
        thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    while !enough.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= from.saturating_add(count) {
                            return;
                        }
                        let seed = self.nth(seed, count);
                        let outcome = self.run(seed, Words::None);
                        let failed = outcome.result.is_err();
                        let Ok(mut report) = report.lock() else {
                            return;
                        };
                        report.add(seed, &outcome);
                        if failed {
                            let mut words = Vec::new();
                            if self.explain(seed, &mut words).is_ok() {
                                out(&String::from_utf8_lossy(&words));
                            }
                            enough.store(report.failed.len() >= ENOUGH, Ordering::Relaxed);
                        } else if report.passed.is_multiple_of(10_000) {
                            out(&format!("{} seeds passed", report.passed));
                        }
                    }
                });
            }
        });
        let mut report = report.into_inner().unwrap_or_default();
        report.failed.sort_unstable();
        report.settled.sort_unstable();
        report
    }
}

impl Report {
    fn add(&mut self, seed: u64, outcome: &Outcome) {
        match outcome.result {
            Ok(()) => {
                self.passed += 1;
                self.settled.push(outcome.figures.settled);
            }
            Err(_) => self.failed.push(seed),
        }
        self.events += outcome.figures.events;
        self.messages += outcome.figures.messages;
        self.blocks += outcome.height;
        self.epochs += outcome.epochs;
        self.starts += outcome.figures.starts;
        self.failed_writes += outcome.figures.failed_writes;
        self.offences += outcome.figures.offences;
    }

    /// What 99 % of the seeds took, if they are many and that is too long.
    pub(crate) fn late(&self) -> Option<u64> {
        let slowest = self.settled_by(990);
        (self.settled.len() >= MANY && slowest > SETTLED).then_some(slowest)
    }

    /// The time within which so many thousandths of the seeds were final after GST.
    pub(crate) fn settled_by(&self, per_mille: usize) -> u64 {
        let at = self.settled.len() * per_mille / 1_000;
        let last = self.settled.len().saturating_sub(1);
        self.settled.get(at.min(last)).copied().unwrap_or(0)
    }
}

/// A panic says which seed it was: the trace up to it comes from the replay.
pub(crate) fn name_the_seed_of_a_panic(terms: Terms) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        if let Some(seed) = CURRENT.get() {
            // Without a reader there is nobody to tell.
            writeln!(
                io::stderr(),
                "seed {seed} panics (I18); to see all of it: {}",
                terms.command(seed)
            )
            .ok();
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many seeds, of which so many take that long.
    fn with_slow_ones(seeds: usize, slow: usize, ms: u64) -> Report {
        let mut settled = vec![300; seeds - slow];
        settled.resize(seeds, ms);
        Report {
            settled,
            ..Report::default()
        }
    }

    #[test]
    fn many_seeds_are_too_slow_if_their_slowest_hundredth_is() {
        assert_eq!(with_slow_ones(1_000, 10, 5_001).late(), Some(5_001));
        assert_eq!(with_slow_ones(1_000, 10, 5_000).late(), None);
        assert_eq!(with_slow_ones(1_000, 9, 60_000).late(), None);
        assert_eq!(with_slow_ones(999, 500, 60_000).late(), None);
    }
}
