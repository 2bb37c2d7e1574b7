//! A validator whose cosigner's guard is gone cosigns again once enough others have said how far they are.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::fs;
use tests::http;
use tests::load::{self, Maker};
use tests::running::{Running, wait_for};

const OCTETS: &str = "application/octet-stream";

/// Whether a quorum cosigns what is registered at a node, within three seconds.
fn is_provable_soon(running: &Running, at: usize) -> bool {
    let maker = Maker::new(&running.network, at).unwrap();
    let body = load::body([&maker.registrations(1).unwrap()]);
    let path = "/v1/submissions?wait=provable&timeout_ms=3000";
    let answer = http::post(running.api(at), path, OCTETS, &body).unwrap();
    assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
    answer.status == 200
}

#[test]
fn a_node_without_its_guard_serves_receipts_again_once_a_quorum_of_others_answers() {
    let mut running = Running::with_nodes(&[0, 1, 2, 3]);
    running.becomes_provable(3);
    running.network.stop(2).unwrap();
    running.network.stop(3).unwrap();
    let guard = running.dir(3).join("data/guard");
    fs::remove_file(&guard).unwrap();
    running.start(&[3]);
    // Two others are no quorum: it follows and votes, but signs no tree, so that there is no quorum of cosigners.
    assert!(!is_provable_soon(&running, 3));
    assert!(!guard.exists());
    assert!(running.log(3).contains("guard is lost"));
    running.start(&[2]);
    running.becomes_provable(3);
    assert!(guard.exists());
    let cosigner = format!("/{}", running.network.manifest().nodes[3].authority);
    wait_for("its own line stands in the notes it serves", || {
        let note = http::get(running.api(3), "/log/checkpoint").unwrap().text();
        let mut lines = note.lines();
        lines
            .any(|line| line.starts_with('\u{2014}') && line.contains(&cosigner))
            .then_some(())
    });
    // The new guard is a guard: the next start needs nobody's word.
    running.network.stop(2).unwrap();
    running.network.stop(3).unwrap();
    running.start(&[3]);
    assert!(is_provable_soon(&running, 3));
}
