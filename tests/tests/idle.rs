//! A real network with nothing to do does nothing: no view change, no block, no sync; and is awake at once.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::time::{Duration, Instant};
use tests::load::{self, Maker};
use tests::running::{Running, wait_for};
use tests::{campaign, http};

const NODES: [usize; 4] = [0, 1, 2, 3];
/// What stands still while nothing is to be done.
const STILL: [&str; 5] = [
    "nachweis_view",
    "nachweis_height",
    "nachweis_final_blocks_total",
    "nachweis_journal_syncs_total",
    "nachweis_archive_syncs_total",
];
/// How long the next record may take until it is final, on a busy machine with a debug build; four message delays
/// are a few milliseconds here.
const AWAKE: Duration = Duration::from_secs(2);

fn counters(running: &Running) -> Vec<(usize, &'static str, u64)> {
    let all = NODES.iter().flat_map(|at| STILL.map(|name| (*at, name)));
    all.map(|(at, name)| (at, name, running.metric(at, name)))
        .collect()
}

fn is_idle_for(time: Duration) {
    let running = Running::with_nodes(&NODES);
    running.becomes_provable(0);
    campaign::agree(&running.network).unwrap();
    // Certificates that are still on their way are written, too.
    let mut last = counters(&running);
    wait_for("the last record's votes are all written", || {
        std::thread::sleep(Duration::from_secs(1));
        let now = counters(&running);
        (std::mem::replace(&mut last, now.clone()) == now).then_some(())
    });
    std::thread::sleep(time);
    assert_eq!(counters(&running), last);
    let maker = Maker::new(&running.network, 1).unwrap();
    let body = load::body([&maker.registrations(1).unwrap()]);
    let begun = Instant::now();
    let path = "/v1/submissions?wait=final";
    let answer = http::post(running.api(1), path, "application/octet-stream", &body).unwrap();
    let took = begun.elapsed();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        took < AWAKE,
        "the first record after {time:?} took {took:?}"
    );
}

#[test]
fn an_idle_network_of_real_nodes_is_silent_and_awake_at_once() {
    // Longer than a silent leader is waited for.
    is_idle_for(Duration::from_secs(15));
}

#[test]
fn an_idle_network_of_real_nodes_is_silent_for_ten_minutes_slow() {
    is_idle_for(Duration::from_secs(600));
}
