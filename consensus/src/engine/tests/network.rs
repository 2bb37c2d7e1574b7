//! Several nodes: finality, quiescence, restarts, loss of nodes.

use super::cluster::{Cluster, DELAY};
use alloc::vec::Vec;

#[test]
fn a_submission_at_an_idle_network_is_final_after_three_delays() {
    let mut cluster = Cluster::started(4);
    cluster.run_for(3_000);
    cluster.submit(1);
    let took = cluster.run_until(1_000, |cluster| cluster.has_everywhere(1));
    // Proposal, Notarize, Finalize; before each of them, and before the commit, one sync of 1 ms.
    assert!(took <= 3 * DELAY + 4, "took {took} ms");
    cluster.check_agreement();
}

#[test]
fn an_idle_network_sends_heartbeats_and_writes_nothing() {
    let mut cluster = Cluster::started(4);
    cluster.submit(1);
    cluster.run_for(3_000);
    assert!(cluster.has_everywhere(1));
    let begin = cluster.now;
    let views: Vec<_> = cluster.statuses().iter().map(|s| s.view).collect();
    let written: Vec<_> = cluster.nodes.iter().map(|node| node.persists).collect();
    cluster.run_for(30_000);
    assert_eq!(
        cluster.traffic_since(begin),
        Vec::<&super::cluster::Sent>::new()
    );
    let views_after: Vec<_> = cluster.statuses().iter().map(|s| s.view).collect();
    let written_after: Vec<_> = cluster.nodes.iter().map(|node| node.persists).collect();
    assert_eq!((views, written), (views_after, written_after));
}

#[test]
fn load_is_committed_in_every_view() {
    let mut cluster = Cluster::started(4);
    for item in 0..100 {
        cluster.submit(item);
        cluster.run_for(20);
    }
    cluster.run_for(500);
    assert!((0..100).all(|item| cluster.has_everywhere(item)));
    cluster.check_agreement();
    assert!(cluster.nodes.iter().all(|node| node.alarms.is_empty()));
}

#[test]
fn a_dead_leader_is_skipped() {
    let mut cluster = Cluster::started(4);
    cluster.run_for(100);
    cluster.crash(0);
    for item in 0..8 {
        cluster.submit(item);
        cluster.run_until(3_000, |cluster| cluster.has_everywhere(item));
    }
    cluster.check_agreement();
}

#[test]
fn a_dead_leader_is_skipped_while_idle_once() {
    let mut cluster = Cluster::started(4);
    cluster.run_for(3_000);
    let leader = cluster.epoch.leader(cluster.nodes[0].status().view);
    cluster.crash(usize::from(leader.0));
    cluster.run_for(10_000);
    let views: Vec<u64> = cluster.statuses().iter().map(|s| s.view.0).collect();
    assert_eq!(views, [2, 2, 2]);
    cluster.run_for(30_000);
    let views: Vec<u64> = cluster.statuses().iter().map(|s| s.view.0).collect();
    assert_eq!(views, [2, 2, 2], "one view change per dead leader");
    cluster.submit(1);
    let took = cluster.run_until(1_000, |cluster| cluster.has_everywhere(1));
    assert!(took < 30, "took {took} ms");
}

#[test]
fn one_node_restarts_and_catches_up() {
    let mut cluster = Cluster::started(4);
    cluster.run_for(100);
    cluster.submit(1);
    cluster.run_for(100);
    cluster.crash(2);
    for item in 2..40 {
        cluster.submit(item);
        cluster.run_until(3_000, |cluster| cluster.has_everywhere(item));
    }
    cluster.restart(2);
    cluster.run_until(3_000, |cluster| cluster.has_everywhere(39));
    cluster.submit(40);
    cluster.run_until(3_000, |cluster| cluster.has_everywhere(40));
    assert!(cluster.nodes[2].status().is_voting());
    cluster.check_agreement();
}

#[test]
fn all_nodes_restart_in_the_middle_of_a_view() {
    for wait in 0..40 {
        let mut cluster = Cluster::started(4);
        cluster.run_for(100);
        cluster.submit(1);
        cluster.run_for(wait);
        for index in 0..4 {
            cluster.crash(index);
        }
        for index in 0..4 {
            cluster.restart(index);
        }
        cluster.submit(1);
        cluster.submit(2);
        cluster.run_until(10_000, |cluster| {
            cluster.has_everywhere(1) && cluster.has_everywhere(2)
        });
        cluster.check_agreement();
        assert!(cluster.nodes.iter().all(|node| node.alarms.is_empty()));
        assert!(cluster.nodes.iter().all(|node| node.evidence.is_empty()));
    }
}

#[test]
fn two_of_four_dead_and_one_back_is_final_within_seconds() {
    for outage in [500, 5_000, 60_000] {
        let mut cluster = Cluster::started(4);
        cluster.run_for(100);
        cluster.submit(1);
        cluster.run_for(100);
        cluster.crash(0);
        cluster.crash(1);
        cluster.submit(2);
        cluster.run_for(outage);
        assert!(!cluster.has_everywhere(2));
        cluster.restart(1);
        let took = cluster.run_until(10_000, |cluster| cluster.has_everywhere(2));
        assert!(took < 5_000, "took {took} ms");
        cluster.check_agreement();
    }
}
