//! A few seeds for whoever runs the unit tests; `scripts/test` runs thousands with the optimised program.

use crate::campaign::Terms;
use crate::crypto::Crypto;
use crate::plan::Plan;
use crate::run::run;
use crate::trace::Words;
use crate::twins::Campaign;

/// Runs seeds on this thread; the first failure ends the test with its last events.
fn seeds(nodes: usize, from: u64, count: u64) {
    run_all(nodes, None, from, count);
}

fn run_all(nodes: usize, compact_above: Option<usize>, from: u64, count: u64) {
    let terms = Terms {
        nodes: Some(nodes),
        crypto: Crypto::Mock,
        files: None,
        compact_above,
        twins: None,
    };
    for seed in from..from + count {
        let outcome = terms.run(seed, Words::None);
        if outcome.result.is_err() {
            let mut words = Vec::new();
            terms.explain(seed, &mut words).expect("memory takes it");
            panic!("{}", String::from_utf8_lossy(&words));
        }
    }
}

#[test]
fn one_seed_is_one_trace() {
    let terms = Terms {
        nodes: None,
        crypto: Crypto::Mock,
        files: None,
        compact_above: None,
        twins: None,
    };
    let hashes = || -> Vec<_> {
        (0..20)
            .map(|seed| terms.run(seed, Words::None).hash)
            .collect()
    };
    let first = hashes();
    assert_eq!(first, hashes());
    let mut distinct = first.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), first.len(), "seeds differ");
}

#[test]
fn seeds_with_real_signatures() {
    let terms = Terms {
        nodes: Some(4),
        crypto: Crypto::Real,
        files: None,
        compact_above: None,
        twins: None,
    };
    let outcome = terms.run(1, Words::None);
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
}

macro_rules! slices {
    ($($name:ident: $nodes:literal from $from:literal count $count:literal;)+) => {
        $(#[test]
        fn $name() {
            seeds($nodes, $from, $count);
        })+
    };
}

slices! {
    seeds_of_4: 4 from 0 count 40;
    seeds_of_5: 5 from 0 count 25;
    seeds_of_7: 7 from 0 count 15;
    seeds_of_10: 10 from 0 count 8;
    seeds_of_13_propose_by_ids: 13 from 0 count 6;
}

#[test]
fn seeds_with_bodies_on_both_sides_of_the_limit() {
    run_all(4, Some(100), 0, 25);
}

#[test]
fn a_failed_write_ends_its_process_which_starts_again() {
    // Odd: an even seed ends with a power cut.
    let mut plan = Plan::calm(1, 4);
    plan.gst = 20_000;
    plan.load = (0..100).map(|at| at * 200).zip((0..4).cycle()).collect();
    plan.failing_writes = 40;
    let outcome = run(plan, Words::None);
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    let failed = outcome.figures.failed_writes;
    assert!(failed >= 10, "{failed} writes failed");
    assert_eq!(outcome.figures.starts, 4 + failed, "nobody dies otherwise");
}

#[test]
fn some_seeds_have_writes_that_fail() {
    let terms = Terms {
        nodes: None,
        crypto: Crypto::Mock,
        files: None,
        compact_above: None,
        twins: None,
    };
    let with = |seed: &u64| terms.plan(*seed).failing_writes > 0;
    let seeds = (0..200).filter(with).count();
    assert!((10..60).contains(&seeds), "{seeds} of 200");
}

#[test]
fn twins_split_nothing() {
    let terms = Terms {
        nodes: None,
        crypto: Crypto::Mock,
        files: None,
        compact_above: None,
        twins: Some(Campaign { views: 5 }),
    };
    let report = terms.sweep(0, 60, 1, &|words| panic!("{words}"));
    assert_eq!(report.passed, 60);
    assert!(report.blocks > 180, "three finalizations each, and more");
}
