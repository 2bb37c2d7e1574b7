//! A real network with nothing to do does nothing: no view change, no block, no sync; and is awake at once.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::fs;
use std::path::{Path, PathBuf};
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

/// A network whose nodes have a shim preloaded that lists every write and sync of their data, and these lists.
fn listed() -> (Running, Vec<PathBuf>) {
    let mut running = Running::founded();
    let shim = campaign::build_shim(&running.network, "failing").unwrap();
    let lists = NODES.map(|at| running.folder().join(format!("calls-{at}")));
    let order = running.folder().join("order");
    // Nothing fails: it only counts.
    fs::write(&order, "1 - - 0 -\n").unwrap();
    for at in NODES {
        let text = |path: &Path| path.display().to_string();
        let environment = [
            ("LD_PRELOAD", text(&shim)),
            ("FAULT_DIR", text(&running.dir(at).join("data"))),
            ("FAULT_ARM", text(&order)),
            ("FAULT_LOG", text(&lists[at])),
        ];
        running.network.start_with(at, &environment).unwrap();
    }
    for at in NODES {
        running.network.wait_ready(at).unwrap();
    }
    (running, lists.to_vec())
}

fn is_idle_for(time: Duration) {
    let (running, lists) = listed();
    let calls = || {
        let read = |list: &PathBuf| fs::read_to_string(list).unwrap();
        lists.iter().map(read).collect::<Vec<_>>()
    };
    running.becomes_provable(0);
    campaign::agree(&running.network).unwrap();
    // Certificates that are still on their way are written, too.
    let mut last = counters(&running);
    wait_for("the last record's votes are all written", || {
        std::thread::sleep(Duration::from_secs(1));
        let now = counters(&running);
        (std::mem::replace(&mut last, now.clone()) == now).then_some(())
    });
    // So is the note of the newest checkpoint, which waits a second.
    std::thread::sleep(Duration::from_secs(3));
    let before = calls();
    assert!(before.iter().all(|list| list.contains("archive fdatasync")));
    std::thread::sleep(time);
    assert_eq!(counters(&running), last);
    // No file is written or synced, but for the note with its signers' newer times, once a minute.
    let minutes = usize::try_from(time.as_secs() / 60).unwrap() + 1;
    for (before, after) in before.iter().zip(calls()) {
        let new: Vec<_> = after.strip_prefix(before).unwrap().lines().collect();
        let of_note = |line: &&&str| line.starts_with("checkpoint") || line.starts_with("./ fsync");
        let others: Vec<_> = new.iter().filter(|line| !of_note(line)).collect();
        assert!(others.is_empty(), "{others:?}");
        let renamed = new.iter().filter(|line| line.contains(" rename "));
        assert!(renamed.count() <= minutes, "{new:?}");
    }
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
