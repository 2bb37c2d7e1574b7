//! Who waits for whom, and what is not checked twice.

use super::*;
use crate::testkit;
use ledger::genesis::Purpose;
use ledger::hash::{BlockHash, Hash};
use ledger::header::BlockRef;
use ledger::id::{Height, View};
use ledger::vote::VoteKind;

fn peer(authority: u16) -> Peer {
    Peer(testkit::key(authority, Purpose::Network).key())
}

fn passage(from: Peer, connection: Option<u64>, same: Option<Same>) -> Passage {
    Passage {
        from,
        connection,
        same,
        room: Room::default(),
    }
}

fn statement(view: u64) -> Statement {
    Statement {
        kind: VoteKind::Notarize,
        view: View(view),
        block: BlockRef {
            height: Height(1),
            hash: BlockHash(Hash([7; 32])),
        },
    }
}

/// Whose is next, and the message; it must be there already.
async fn next(checks: &Checks<usize>, lane: Lane) -> (Peer, usize) {
    let next = tokio::time::timeout(std::time::Duration::from_secs(10), checks.next(lane));
    let (passage, message) = next.await.unwrap();
    checks.done(&passage);
    (passage.from, message)
}

#[tokio::test]
async fn a_peer_that_floods_waits_for_itself_alone() {
    let checks = Checks::default();
    let [flooder, honest, late] = [0, 1, 2].map(peer);
    let of = |from| passage(from, Some(1), None);
    for message in 0..WAITING {
        assert_eq!(checks.offer(Lane::Votes, of(flooder), message), Ok(()));
    }
    let more = checks.offer(Lane::Votes, of(flooder), WAITING);
    assert_eq!(more, Err(Refused::Full));
    for message in [1_000, 1_001] {
        assert_eq!(checks.offer(Lane::Votes, of(honest), message), Ok(()));
    }
    // The other lane neither fills nor waits.
    assert_eq!(checks.offer(Lane::Bodies, of(flooder), 5), Ok(()));
    assert_eq!(next(&checks, Lane::Bodies).await, (flooder, 5));
    assert_eq!(next(&checks, Lane::Votes).await, (flooder, 0));
    assert_eq!(next(&checks, Lane::Votes).await, (honest, 1_000));
    assert_eq!(checks.offer(Lane::Votes, of(late), 2_000), Ok(()));
    let turns = [(flooder, 1), (honest, 1_001), (late, 2_000), (flooder, 2)];
    for turn in turns {
        assert_eq!(next(&checks, Lane::Votes).await, turn);
    }
    for message in 3..WAITING {
        assert_eq!(next(&checks, Lane::Votes).await, (flooder, message));
    }
    // Nothing is left of anybody.
    let state = checks.lock();
    let of_votes = &state.lanes[0];
    assert!(of_votes.queues.is_empty() && of_votes.order.is_empty());
    assert!(state.under_way.is_empty());
}

#[tokio::test]
async fn one_copy_at_a_time_of_what_a_peer_sends_is_checked() {
    let checks = Checks::default();
    let [one, other] = [0, 1].map(peer);
    let certificate = Some(Same::Certificate(statement(3)));
    let offer = |from, connection, same| {
        let passage = passage(from, connection, same);
        checks.offer(Lane::Votes, passage, 0)
    };
    let now = Some(1);
    assert_eq!(offer(one, now, certificate), Ok(()));
    assert_eq!(offer(one, now, certificate), Err(Refused::UnderWay));
    // Another peer may lie about it, another connection may have begun, and these are others.
    assert_eq!(offer(other, now, certificate), Ok(()));
    assert_eq!(offer(one, Some(2), certificate), Ok(()));
    assert_eq!(
        offer(one, now, Some(Same::Certificate(statement(4)))),
        Ok(())
    );
    let vote = |signer| Some(Same::Vote(statement(3), ValidatorIndex(signer)));
    assert_eq!(offer(one, now, vote(1)), Ok(()));
    assert_eq!(offer(one, now, vote(2)), Ok(()));
    assert_eq!(offer(one, now, vote(2)), Err(Refused::UnderWay));
    // Until the engine has it, not only until it is taken to be checked.
    let (first, _) = checks.next(Lane::Votes).await;
    assert_eq!((first.from, first.same), (one, certificate));
    assert_eq!(offer(one, now, certificate), Err(Refused::UnderWay));
    checks.done(&first);
    assert_eq!(offer(one, now, certificate), Ok(()));
}
