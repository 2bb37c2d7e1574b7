//! An observer's certificate: good for one key, one chain, one authority and one span of time.

use crate::samples::founded;
use crate::world::{A, START, key, signing_key};
use ledger::hash::{ChainId, Hash};
use ledger::id::{AuthorityIndex, TimeMs};
use ledger::key::Key;
use ledger::observer::{Certificate, MAX_VALID_MS, Permission, Refusal};

const NOW: TimeMs = TimeMs(START);
const LATER: TimeMs = TimeMs(START + 1_000);

fn permission() -> Permission {
    Permission {
        chain: founded().chain(),
        authority: A,
        network: key("observer/network"),
        not_after_ms: LATER,
    }
}

fn refusal(permission: Permission, admin: &str, shown_by: Key, now: TimeMs) -> Refusal {
    let certificate = permission.sign(&signing_key(admin));
    certificate.check(&founded(), &shown_by, now).unwrap_err()
}

#[test]
fn an_observers_certificate_is_good_until_its_last_moment() {
    let certificate = permission().sign(&signing_key("aa/admin"));
    for now in [NOW, LATER] {
        let checked = certificate.check(&founded(), &permission().network, now);
        assert_eq!(checked, Ok(permission()));
    }
    let longest = Permission {
        not_after_ms: NOW.saturating_add(MAX_VALID_MS),
        ..permission()
    };
    let longest = longest.sign(&signing_key("aa/admin"));
    longest
        .check(&founded(), &permission().network, NOW)
        .unwrap();
}

#[test]
fn each_broken_rule_of_an_observers_certificate_is_named() {
    let own = permission().network;
    let good = permission();
    let other_chain = Permission {
        chain: ChainId(Hash([7; 32])),
        ..good
    };
    let nobody = Permission {
        authority: AuthorityIndex(99),
        ..good
    };
    let foreign = Permission {
        authority: AuthorityIndex(1),
        ..good
    };
    let of_a_validator = Permission {
        network: key("aa/network"),
        ..good
    };
    let for_ever = Permission {
        not_after_ms: NOW.saturating_add(MAX_VALID_MS + 1),
        ..good
    };
    let admin = "aa/admin";
    assert!(matches!(
        refusal(other_chain, admin, own, NOW),
        Refusal::Chain { .. }
    ));
    assert_eq!(
        refusal(nobody, admin, own, NOW),
        Refusal::Authority(AuthorityIndex(99))
    );
    assert!(matches!(
        refusal(good, admin, key("thief"), NOW),
        Refusal::OtherKey { .. }
    ));
    assert_eq!(
        refusal(of_a_validator, admin, key("aa/network"), NOW),
        Refusal::Key(key("aa/network"))
    );
    assert!(matches!(
        refusal(good, admin, own, LATER.saturating_add(1)),
        Refusal::Expired { .. }
    ));
    assert!(matches!(
        refusal(for_ever, admin, own, NOW),
        Refusal::TooLong { .. }
    ));
    // Another authority's admin key, and a registrar's.
    for (permission, signer) in [(foreign, admin), (good, "aa/all")] {
        assert!(matches!(
            refusal(permission, signer, own, NOW),
            Refusal::Signature { .. }
        ));
    }
    let weak = Permission {
        network: Key::from_bytes([0; 32]),
        ..good
    };
    assert!(matches!(
        refusal(weak, admin, Key::from_bytes([0; 32]), NOW),
        Refusal::Key(_)
    ));
}

#[test]
fn an_observers_certificate_has_one_encoding_and_no_changed_bit_is_good() {
    let certificate = permission().sign(&signing_key("aa/admin"));
    let bytes = certificate.encode();
    assert_eq!(bytes.len(), Certificate::LEN);
    assert_eq!(Certificate::decode(&bytes), Ok(certificate));
    Certificate::decode(&[bytes.as_slice(), &[0]].concat()).unwrap_err();
    for at in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[at / 8] ^= 1 << (at % 8);
        let checked = Certificate::decode(&bad).map(|certificate| {
            let own = certificate.permission.network;
            certificate.check(&founded(), &own, NOW)
        });
        assert!(!matches!(checked, Ok(Ok(_))), "bit {at}");
    }
}
