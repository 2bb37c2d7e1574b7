//! Short fault campaigns over real processes; longer ones by `scripts/kills`, `scripts/powercut` and `scripts/chaos`.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::time::Duration;
use tests::campaign::{self, Outcome};
use tests::ceremony::Reach;
use tests::chaos;
use tests::network::Network;

/// Runs a campaign on a network of its own; the campaign itself audits for loss and disagreement.
fn campaign(run: impl FnOnce(&mut Network) -> std::io::Result<Outcome>) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let mut network = Network::found(&folder.path().join("network"), 4).unwrap();
    network.start_all().unwrap();
    let outcome = run(&mut network);
    for at in 0..4 {
        network.kill(at).unwrap();
    }
    outcome.unwrap()
}

#[test]
fn killed_at_random_nothing_acknowledged_is_lost() {
    let outcome = campaign(|network| campaign::kills(network, 6, 11));
    assert!(outcome.acknowledged > 0, "{outcome:?}");
}

#[test]
fn power_cuts_at_random_writes_lose_nothing_acknowledged() {
    let outcome = campaign(|network| campaign::power_cuts(network, 12, 12));
    assert!(
        outcome.acknowledged > 0 && outcome.faults >= 12,
        "{outcome:?}"
    );
}

#[test]
fn killed_paused_cut_and_slow_at_random_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("network");
    let mut network = Network::found_with(&dir, 4, Reach::Between).unwrap();
    let outcome = chaos::run(&mut network, Duration::from_secs(20), 5);
    for at in 0..4 {
        network.kill(at).unwrap();
    }
    let outcome = outcome.unwrap();
    assert!(
        outcome.acknowledged > 0 && outcome.faults > 0,
        "{outcome:?}"
    );
}
