//! Validators whose cosigners' guards are gone cosign again once it is known what their keys may have signed.

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

/// Whether this node's own line stands in the notes that it serves.
fn signs(running: &Running, at: usize) -> Option<()> {
    let cosigner = format!("/{}", running.network.manifest().nodes[at].authority);
    let note = http::get(running.api(at), "/log/checkpoint")
        .unwrap()
        .text();
    let mut lines = note.lines();
    let own = lines.any(|line| line.starts_with('\u{2014}') && line.contains(&cosigner));
    own.then_some(())
}

#[test]
fn however_many_guards_are_lost_the_journals_tell_from_where_each_cosigns_again() {
    let mut running = Running::with_nodes(&[0, 1, 2, 3]);
    running.becomes_provable(3);
    running.network.stop_all().unwrap();
    let guard = |running: &Running, at| running.dir(at).join("data/guard");
    for at in [1, 2, 3] {
        fs::remove_file(guard(&running, at)).unwrap();
    }
    // Alone it cannot ask what the others saw of its key: nothing is signed, and it says why.
    running.network.start(3).unwrap();
    wait_for("it says why it cosigns nothing", || {
        let answer = http::get(running.api(3), "/v1/status").ok()?;
        let status: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        status["unguarded"]
            .as_str()?
            .contains("guard is lost")
            .then_some(())
    });
    assert_eq!(running.metric(3, "nachweis_cosigner_unguarded"), 1);
    assert!(!guard(&running, 3).exists());
    assert!(running.log(3).contains("guard is lost"));
    // With two others, one of whom has lost its guard too.
    running.start(&[0, 1]);
    running.becomes_provable(3);
    running.start(&[2]);
    for at in [1, 2, 3] {
        wait_for("its own line stands in the notes it serves", || {
            running.becomes_provable(at);
            signs(&running, at)
        });
        assert!(guard(&running, at).exists());
        assert_eq!(running.metric(at, "nachweis_cosigner_unguarded"), 0);
        assert!(running.status(at)["unguarded"].is_null());
    }
    // The new guards are guards: the next start needs nobody's word.
    running.network.stop(2).unwrap();
    running.network.stop(3).unwrap();
    running.start(&[3]);
    assert!(is_provable_soon(&running, 3));
}
