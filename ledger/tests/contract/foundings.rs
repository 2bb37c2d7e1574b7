//! What may found a network: the genesis and its first validator set.

use crate::world::{A, Chain, START, genesis, genesis_with, key};
use ledger::codec::List;
use ledger::genesis::{Genesis, GenesisError, Params, Purpose, Registrar};
use ledger::hash::sha256;
use ledger::id::{AuthorityId, AuthorityIndex, Epoch, Height, TimeMs, TreeSize};
use ledger::key::{BadKey, Key};
use ledger::record::Role;
use ledger::state::KeyState;
use ledger::tip::Founding;
use ledger::trie::Trie;
use ledger::validator_set::{Member, SetError, ValidatorSet};
use ledger::view::Effects;
use std::collections::BTreeSet;

fn refused(change: impl FnOnce(&mut Genesis)) -> GenesisError {
    let mut genesis = genesis();
    change(&mut genesis);
    genesis.check().unwrap_err()
}

fn with_params(change: impl FnOnce(&mut Params)) -> Result<ValidatorSet, GenesisError> {
    let mut params = Params::default();
    change(&mut params);
    genesis_with(params).check()
}

#[test]
fn each_fault_of_a_genesis_is_named() {
    let id = |text: &str| AuthorityId::new(text).unwrap();
    assert_eq!(
        refused(|g| g.authorities.swap(0, 1)),
        GenesisError::Order(id("aa"))
    );
    assert_eq!(
        refused(|g| g.authorities[1] = g.authorities[0].clone()),
        GenesisError::Order(id("aa"))
    );
    let none = |g: &mut Genesis| g.authorities[0].registrars = List::new();
    assert_eq!(refused(none), GenesisError::Registrars(id("aa")));
    let reversed = |g: &mut Genesis| {
        let all: Vec<Registrar> = g.authorities[0].registrars.iter().rev().copied().collect();
        g.authorities[0].registrars = all.try_into().unwrap();
    };
    assert_eq!(refused(reversed), GenesisError::Registrars(id("aa")));
    // One key with two roles is out of order too: a key stands once.
    let doubled = |g: &mut Genesis| {
        let key = g.authorities[0].registrars[0].key;
        let two = [Role::ISSUE, Role::EXCHANGE].map(|role| Registrar { key, role });
        g.authorities[0].registrars = two.to_vec().try_into().unwrap();
    };
    assert_eq!(refused(doubled), GenesisError::Registrars(id("aa")));
    let weak = Key::from_bytes([0; 32]);
    assert_eq!(
        refused(|g| g.authorities[4].admin = weak),
        GenesisError::Key {
            authority: id("ee"),
            source: BadKey::SmallOrder(weak)
        }
    );
    let vote = key("aa/vote");
    assert_eq!(
        refused(|g| g.authorities[4].admin = vote),
        GenesisError::Repeated {
            authority: id("ee"),
            key: vote
        }
    );
    assert_eq!(
        refused(|g| g.authorities[3].validator = None),
        GenesisError::Validators { found: 3, max: 64 }
    );
}

#[test]
fn each_parameter_has_its_range() {
    let parameter = |name| Err(GenesisError::Parameter(name));
    assert!(with_params(|_| {}).is_ok());
    assert_eq!(
        with_params(|p| p.max_validators = 65),
        parameter("max_validators")
    );
    assert_eq!(
        with_params(|p| p.max_authorities = 513),
        parameter("max_authorities")
    );
    assert_eq!(with_params(|p| p.block_hard = 0), parameter("block_hard"));
    assert_eq!(
        with_params(|p| p.block_hard = 4 * 1024 * 1024 + 1),
        parameter("block_hard")
    );
    assert_eq!(
        with_params(|p| p.block_target = 0),
        parameter("block_target")
    );
    assert_eq!(
        with_params(|p| p.block_hard = p.block_target - 1),
        parameter("block_target")
    );
    assert_eq!(
        with_params(|p| p.max_validators = 3),
        Err(GenesisError::Validators { found: 4, max: 3 })
    );
    assert_eq!(
        with_params(|p| p.max_authorities = 4),
        Err(GenesisError::Authorities { found: 5, max: 4 })
    );
}

#[test]
fn a_chain_is_its_genesis() {
    let (one, other) = (
        genesis(),
        genesis_with(Params {
            past_ms: 1,
            ..Params::default()
        }),
    );
    assert_ne!(one.chain(), other.chain(), "every parameter is in it");
    let bytes = ledger::codec::encode(&one);
    assert_eq!(one.chain().0, sha256(&[b"nachweis/genesis/v1\0", &bytes]));
    let chain = one.chain().to_string();
    assert_eq!(
        one.origin(),
        format!("ledger.example/nachweis/{}", &chain[..32])
    );
    let signed = [
        b"nachweis/genesis-sign/v1\0".as_slice(),
        one.chain().as_bytes(),
    ]
    .concat();
    assert_eq!(one.sign_bytes(), signed);
}

/// The anchor of epoch 0 (formats.md, section 2).
#[test]
fn the_first_tip_holds_the_keys_of_the_genesis_and_nothing_else() {
    let founding = Founding::new(genesis()).unwrap();
    let tip = founding.tip();
    assert_eq!((tip.height, tip.hash.0), (Height(0), founding.chain().0));
    assert_eq!((tip.time_ms, tip.log_size()), (TimeMs(START), TreeSize(0)));
    assert!(tip.opens_epoch());
    assert_eq!(
        (tip.epoch.epoch, tip.epoch.anchor),
        (Epoch(0), tip.block_ref())
    );
    let mut trie = Trie::new();
    for (authority, founder) in founding.genesis().indexed() {
        for registrar in &founder.registrars {
            let state = KeyState {
                authority,
                role: registrar.role,
                enrolled: Default::default(),
                not_after_ms: TimeMs(0),
                retired: None,
                compromised_since: None,
            };
            trie.insert(KeyState::trie_key(&registrar.key), state.trie_value());
        }
    }
    assert_eq!(tip.trie.root(), trie.root());
    assert_eq!(founding.effects().keys.len(), 25);
    let nothing_else = Effects {
        keys: founding.effects().keys,
        ..Effects::empty()
    };
    assert_eq!(founding.effects(), nothing_else);
    for founder in &founding.genesis().authorities {
        for (purpose, key) in founder.keys() {
            assert!(founding.names_key(&key), "{purpose:?}");
        }
    }
    assert!(!founding.names_key(&key("somebody")));
    let purposes: Vec<Purpose> = founding.genesis().authorities[0]
        .keys()
        .iter()
        .map(|(purpose, _)| *purpose)
        .collect();
    assert_eq!(purposes.len(), 1 + 5 + 4);
    assert_eq!(founding.admin(A), Some(key("aa/admin")));
    assert_eq!(founding.admin(AuthorityIndex(5)), None);
    assert_eq!(Chain::new().tip, tip);
}

fn members(count: usize) -> Vec<Member> {
    let member = |at: usize| {
        let key =
            |purpose: &str| Key::from_bytes(sha256(&[purpose.as_bytes(), &at.to_le_bytes()]).0);
        Member {
            authority: AuthorityIndex(u16::try_from(at * 2).unwrap()),
            id: AuthorityId::new(&format!("v{at}")).unwrap(),
            vote: key("vote"),
            cosigner: key("cosigner"),
            log: key("log"),
            network: key("network"),
        }
    };
    (0..count).map(member).collect()
}

#[test]
fn a_quorum_is_all_but_a_third() {
    assert_eq!(ValidatorSet::new(members(0)), Err(SetError::Count(0)));
    assert_eq!(ValidatorSet::new(members(65)), Err(SetError::Count(65)));
    for n in 1..=64 {
        let set = ValidatorSet::new(members(n)).unwrap();
        let (f, quorum) = (set.f(), set.quorum());
        assert!(3 * f < n && n <= 3 * f + 3, "f is the most of {n}");
        assert_eq!(quorum, n - f);
        // Two quorums share an honest member.
        assert!(2 * quorum > n + f);
        assert_eq!(set.indices().count(), n);
    }
}

#[test]
fn a_set_is_ascending_and_distinct_in_ids_and_keys() {
    let good = members(4);
    let mut wrong = good.clone();
    wrong.swap(1, 2);
    assert_eq!(
        ValidatorSet::new(wrong),
        Err(SetError::Order(good[1].authority))
    );
    let repeated = Err(SetError::Repeated(good[3].authority));
    let mut wrong = good.clone();
    wrong[3].id = wrong[0].id.clone();
    assert_eq!(ValidatorSet::new(wrong), repeated);
    for (at, own) in [0, 1, 2, 3].into_iter().zip([3, 2, 1, 0]) {
        let mut wrong = good.clone();
        let taken = wrong[at].keys()[own];
        let member = &mut wrong[3];
        let keys = [
            &mut member.vote,
            &mut member.cosigner,
            &mut member.log,
            &mut member.network,
        ];
        for (place, key) in keys.into_iter().enumerate() {
            if place == at {
                *key = taken;
            }
        }
        // Member 3 repeats another's key, or its own in a second place.
        let distinct: BTreeSet<Key> = wrong.iter().flat_map(|member| member.keys()).collect();
        assert_eq!(distinct.len(), 15);
        assert_eq!(ValidatorSet::new(wrong), repeated);
    }
    let set = ValidatorSet::new(good.clone()).unwrap();
    assert_eq!(
        set.position_of_vote_key(&good[2].vote).map(|at| at.0),
        Some(2)
    );
    assert_eq!(set.position_of_vote_key(&good[2].log), None);
    let mut other = good;
    other[0].id = AuthorityId::new("other").unwrap();
    assert_ne!(ValidatorSet::new(other).unwrap().hash(), set.hash());
}
