//! Unfinalized blocks seen as layers read like the same blocks applied.

use crate::samples::auth_state;
use crate::world::TestRng;
use ledger::document::DocumentId;
use ledger::hash::{Hash, SubmissionHash};
use ledger::id::{AuthorityIndex, Epoch, Height, LeafIndex, TimeMs, ValidatorIndex};
use ledger::key::Key;
use ledger::record::Role;
use ledger::state::{AuthState, DocState, Inclusion, KeyState, Registration, RegistrationKind};
use ledger::view::{Effects, MemoryState, Overlay, StateView};
use proptest::prelude::*;

/// Few names, so that layers meet.
const NAMES: u8 = 4;
/// End of every submission's window: behind all blocks here.
const END: TimeMs = TimeMs(1_000);

fn document(name: u8) -> DocumentId {
    DocumentId([name; 16])
}

fn submission(name: u8) -> SubmissionHash {
    SubmissionHash(Hash([name; 32]))
}

/// Effects of one block, about some of the names.
fn effects(rng: &mut TestRng) -> Effects {
    let mut effects = Effects::default();
    for name in 0..NAMES {
        let drawn = rng.next_u64();
        let wanted = |bit: u32| drawn >> bit & 1 == 1;
        let (index, small) = (LeafIndex(drawn >> 20), drawn.to_le_bytes()[7] % 4);
        let registration = Registration {
            index,
            height: Height(1),
            time_ms: TimeMs(2),
            authority: AuthorityIndex(small.into()),
            kind: RegistrationKind::Publish,
        };
        let id = document(name);
        if wanted(0) {
            effects.registrations.insert(id, registration);
        }
        if wanted(1) {
            effects
                .documents
                .insert(id, DocState::registered(id, &registration));
        }
        if wanted(2) {
            let state = KeyState {
                authority: AuthorityIndex(1),
                role: Role::ISSUE,
                enrolled: index,
                not_after_ms: TimeMs(0),
                retired: wanted(3).then_some(index),
                compromised_since: None,
            };
            effects.keys.insert(Key::from_bytes([name; 32]), state);
        }
        if wanted(4) {
            let state = AuthState {
                joined: index,
                ..auth_state()
            };
            effects
                .authorities
                .insert(AuthorityIndex(name.into()), state);
        }
        if wanted(5) {
            let inclusion = Inclusion {
                height: Height(drawn),
                time_ms: TimeMs(1),
                first: index,
                count: 1,
                not_after_ms: END,
            };
            effects.submissions.insert(submission(name), inclusion);
        }
        if wanted(6) {
            effects
                .evidence
                .insert((Epoch(0), ValidatorIndex(name.into())));
        }
        if wanted(7) {
            effects.published.insert((Hash([small; 32]), id));
        }
        if wanted(8) {
            effects.history.push((id, index));
        }
    }
    effects
}

/// Everything that a view says about all names.
fn told<V: StateView>(view: &V) -> Vec<String> {
    let mut all = Vec::new();
    for name in 0..NAMES {
        let (id, authority) = (document(name), AuthorityIndex(name.into()));
        all.push(format!("{:?}", view.registration(&id)));
        all.push(format!("{:?}", view.doc_state(&id)));
        all.push(format!(
            "{:?}",
            view.key_state(&Key::from_bytes([name; 32]))
        ));
        all.push(format!("{:?}", view.auth_state(authority)));
        all.push(format!("{:?}", view.inclusion(&submission(name))));
        all.push(format!(
            "{:?}",
            view.has_evidence(Epoch(0), ValidatorIndex(name.into()))
        ));
        all.push(format!(
            "{:?}",
            view.has_evidence(Epoch(1), ValidatorIndex(name.into()))
        ));
        all.push(format!("{:?}", view.published(&Hash([name; 32]))));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn layers_read_like_applied_blocks(seed: u64) {
        let mut rng = TestRng::new(&seed.to_string());
        let [below, first, second, third] = std::array::from_fn(|_| effects(&mut rng));
        let mut state = MemoryState::new();
        let mut entries = below.trie_entries();
        state.apply(below, TimeMs(1));
        let layered = Overlay::new(&state).with(&first).with(&second).with(&third);
        let mut applied = state.clone();
        for effects in [&first, &second, &third] {
            applied.apply(effects.clone(), TimeMs(1));
        }
        prop_assert_eq!(told(&layered), told(&applied));
        // Together in one, and layers on layers, it is the same.
        let mut absorbed = first.clone();
        absorbed.absorb(second.clone());
        absorbed.absorb(third.clone());
        prop_assert_eq!(told(&Overlay::new(&state).with(&absorbed)), told(&applied));
        let lower = Overlay::new(&state).with(&first);
        prop_assert_eq!(told(&Overlay::new(&lower).with(&second).with(&third)), told(&applied));
        let mut at_once = state.clone();
        at_once.apply(absorbed.clone(), TimeMs(1));
        prop_assert_eq!(&at_once, &applied);
        // What the status map takes of it: documents, keys and authorities.
        let count = absorbed.documents.len() + absorbed.keys.len() + absorbed.authorities.len();
        prop_assert_eq!(absorbed.trie_entries().len(), count);
        entries.extend(absorbed.trie_entries());
        prop_assert_eq!(applied.trie_entries(), entries);
        // A submission is forgotten when its window is over, and not before.
        applied.apply(Effects::default(), END);
        prop_assert_eq!(told(&at_once), told(&applied));
        applied.apply(Effects::default(), END.next().unwrap());
        for name in 0..NAMES {
            prop_assert_eq!(applied.inclusion(&submission(name)), Ok(None));
        }
    }
}
