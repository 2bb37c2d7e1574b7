//! Large blocks among real nodes: proposed by the ids of their items, and not sent to everybody once more.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use tests::load::{self, Maker};
use tests::running::Running;
use tests::{campaign, http};

const NODES: [usize; 4] = [0, 1, 2, 3];
/// Blocks are above 64 KiB with a single one of these.
const RECORDS: u64 = 1_000;
const SUBMISSIONS: usize = 3;
const ROUNDS: usize = 5;

/// Bytes that a node has written to its peers' bulk lanes.
fn bulk_out(running: &Running, at: usize) -> u64 {
    let answer = http::get(running.api(at), "/metrics").unwrap().text();
    let series = answer.lines().filter(|line| {
        line.starts_with("nachweis_peer_bytes_total")
            && line.contains(r#"lane="bulk""#)
            && line.contains(r#"way="out""#)
    });
    let values = series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    values.sum()
}

#[test]
fn a_large_block_is_proposed_by_ids_and_its_leader_does_not_send_its_body_to_all() {
    let running = Running::with_nodes(&NODES);
    running.becomes_provable(0);
    let maker = Maker::new(&running.network, 0).unwrap();
    let all_out = || NODES.map(|at| bulk_out(&running, at)).iter().sum::<u64>();
    let sum = |name: &str| NODES.map(|at| running.metric(at, name)).iter().sum::<u64>();
    let before = all_out();
    let mut bodies = 0;
    for _ in 0..ROUNDS {
        let submissions = [(); SUBMISSIONS].map(|()| maker.registrations(RECORDS).unwrap());
        for submission in &submissions {
            assert!(submission.encoded().len() > 64 << 10);
            bodies += submission.encoded().len() as u64;
        }
        let body = load::body(&submissions);
        let path = "/v1/submissions?wait=final";
        let answer = http::post(running.api(0), path, "application/octet-stream", &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    campaign::agree(&running.network).unwrap();
    let peers = NODES.len() as u64 - 1;
    let blocks = running.metric(0, "nachweis_final_blocks_total");
    let sent = all_out() - before;
    let (held, lacked) = (
        sum("nachweis_gathered_items_total"),
        sum("nachweis_lacked_items_total"),
    );
    // Node 0 pushes what its client gave it to all: that is one body for each peer. Whole proposals are another one.
    println!(
        "{blocks} blocks, {bodies} bytes of bodies: {sent} bytes sent by all, {} beside the push; of {} items \
         the pools lacked {lacked}",
        sent.saturating_sub(bodies * peers),
        held + lacked,
    );
    let submissions = (ROUNDS * SUBMISSIONS) as u64;
    // Whoever lags behind catches up with whole blocks; who votes has put the body together.
    assert!(held + lacked >= submissions, "not all were compact");
    assert!(held > lacked, "the pools hold most");
    assert!(sent >= bodies * peers, "every submission was pushed to all");
    assert!(
        sent - bodies * peers < bodies * peers / 2,
        "proposals cost {} bytes for bodies of {bodies}",
        sent - bodies * peers
    );
}
