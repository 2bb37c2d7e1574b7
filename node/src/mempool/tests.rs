//! The pool's limits, order and windows.

use super::*;
use crate::testkit;
use ledger::tip::Founding;

const NOW: TimeMs = TimeMs(1_000_000);

fn founding() -> Founding {
    testkit::founding(4)
}

fn pending(authority: u16, nonce: u32, records: u32) -> Pending {
    window(authority, nonce, records, (NOW, NOW.saturating_add(10_000)))
}

fn window(authority: u16, nonce: u32, records: u32, window: (TimeMs, TimeMs)) -> Pending {
    testkit::register_in(&founding(), authority, (nonce * 100, records), window)
}

fn pool() -> Mempool {
    Mempool::new(config::Mempool {
        max_bytes: 12_000,
        max_bytes_per_authority: 8_000,
        max_bytes_per_peer: 5_000,
    })
}

#[test]
fn a_submission_is_pending_once() {
    let mut pool = pool();
    assert!(matches!(
        pool.insert(pending(0, 1, 1), Origin::Api, NOW),
        Ok(Inserted::New(_))
    ));
    let again = pool.insert(pending(0, 1, 1), Origin::Peer(ValidatorIndex(2)), NOW);
    assert!(matches!(again, Ok(Inserted::Known)));
    assert_eq!(pool.len(), 1);
}

#[test]
fn order_is_the_order_of_arrival_and_removal_frees_all_memory() {
    let mut pool = pool();
    let all: Vec<_> = [3, 1, 2]
        .map(|nonce| pending(0, nonce, 1))
        .into_iter()
        .collect();
    let hashes: Vec<_> = all.iter().map(|one| one.hash).collect();
    for one in all {
        pool.insert(one, Origin::Peer(ValidatorIndex(1)), NOW)
            .unwrap();
    }
    assert_eq!(pool.iter().map(|one| one.hash).collect::<Vec<_>>(), hashes);
    for hash in &hashes {
        let id = pool.iter().find(|one| one.hash == *hash).unwrap().id;
        assert_eq!(pool.by_id(&id).unwrap().hash, *hash);
        assert_eq!(pool.remove(hash).unwrap().hash, *hash);
    }
    assert_eq!(pool.bytes(), 0);
    assert!(pool.per_peer.is_empty() && pool.per_authority.is_empty() && pool.ends.is_empty());
}

#[test]
fn each_limit_is_named_when_it_is_met() {
    let mut pool = pool();
    let peer = ValidatorIndex(3);
    let mut refused = Vec::new();
    for nonce in 0..8 {
        let origin = if nonce < 4 {
            Origin::Peer(peer)
        } else {
            Origin::Api
        };
        refused.extend(pool.insert(pending(0, nonce, 1), origin, NOW).err());
    }
    for nonce in 8..20 {
        refused.extend(pool.insert(pending(1, nonce, 1), Origin::Api, NOW).err());
    }
    assert!(refused.contains(&PoolError::PeerQuota { peer, limit: 5_000 }));
    let authority = AuthorityIndex(0);
    assert!(refused.contains(&PoolError::AuthorityQuota {
        authority,
        limit: 8_000
    }));
    assert!(refused.contains(&PoolError::Full { limit: 12_000 }));
    assert!(pool.bytes() <= 12_000);
}

#[test]
fn windows_bound_admission_and_end_a_wait() {
    let mut pool = pool();
    let late = window(0, 1, 1, (TimeMs(0), TimeMs(NOW.0 - 1)));
    assert!(matches!(
        pool.insert(late, Origin::Api, NOW),
        Err(PoolError::Expired { .. })
    ));
    let far = NOW.saturating_add(MAX_EARLY_MS + 1);
    let early = window(0, 2, 1, (far, far));
    assert!(matches!(
        pool.insert(early, Origin::Api, NOW),
        Err(PoolError::TooEarly { .. })
    ));
    pool.insert(pending(0, 3, 1), Origin::Api, NOW).unwrap();
    assert!(pool.expire(NOW.saturating_add(10_000)).is_empty());
    assert_eq!(pool.expire(NOW.saturating_add(10_001)).len(), 1);
    assert!(pool.is_empty());
}
