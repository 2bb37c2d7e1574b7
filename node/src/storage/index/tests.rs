//! The index: what is applied can be asked, and nothing survives an unclean stop.

use super::*;
use ledger::state::RegistrationKind;

const CHAIN: ChainId = ChainId(Hash([4; 32]));
const CACHE: u64 = 8 << 20;

fn open(dir: &Path) -> Opened {
    Index::open(dir, CHAIN, CACHE).unwrap()
}

fn id(number: u32) -> DocumentId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    DocumentId(bytes)
}

/// A block that registers `count` documents from `first` on.
fn registers(height: u64, first: u32, count: u32) -> Effects {
    let mut effects = Effects::default();
    for number in first..first + count {
        let index = LeafIndex(u64::from(number));
        let registration = Registration {
            index,
            height: Height(height),
            time_ms: TimeMs(height * 10),
            authority: AuthorityIndex(1),
            kind: RegistrationKind::ALL[0],
        };
        effects.registrations.insert(id(number), registration);
        effects.history.push((id(number), index));
    }
    effects
}

fn place(height: u64, first: u64, effects: &Effects) -> Place {
    let last = effects.history.iter().map(|(_, leaf)| leaf.0).max();
    Place {
        height: Height(height),
        time_ms: TimeMs(height * 10),
        log_before: TreeSize(first),
        log_size: TreeSize(last.map_or(first, |last| last + 1)),
    }
}

fn apply(index: &Index, height: u64, first: u64, effects: &Effects) -> Result<(), Fatal> {
    index.apply(place(height, first, effects), effects)
}

#[test]
fn what_was_applied_can_be_asked_and_survives_a_clean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    assert_eq!(opened.start, Start::Empty);
    let index = opened.index;
    assert_eq!(index.applied().unwrap(), None);
    apply(&index, 0, 0, &Effects::default()).unwrap();
    apply(&index, 1, 0, &registers(1, 0, 1000)).unwrap();
    apply(&index, 2, 1001, &registers(2, 1001, 3)).unwrap();
    let mut third = Effects::default();
    third.history.push((id(7), LeafIndex(1005)));
    third.published.insert((Hash([8; 32]), id(9)));
    third.published.insert((Hash([8; 32]), id(8)));
    third.evidence.insert((Epoch(2), ValidatorIndex(3)));
    apply(&index, 3, 1005, &third).unwrap();

    let check = |index: &Index| {
        let view = index.view().unwrap();
        assert_eq!(view.applied().unwrap(), Some(Height(3)));
        assert_eq!(
            view.registration(&id(999)).unwrap().unwrap().index,
            LeafIndex(999)
        );
        assert_eq!(view.registration(&id(1000)).unwrap(), None);
        assert_eq!(view.doc_state(&id(1)).unwrap(), None);
        for (leaf, height, first) in [(0, 1, 0), (1000, 1, 0), (1001, 2, 1001), (1009, 3, 1005)] {
            let found = view.block_of(LeafIndex(leaf)).unwrap();
            assert_eq!(found, Some((Height(height), LeafIndex(first))));
        }
        assert_eq!(
            view.history(&id(7), 0, 10).unwrap(),
            [LeafIndex(7), LeafIndex(1005)]
        );
        assert_eq!(view.history(&id(7), 1, 10).unwrap(), [LeafIndex(1005)]);
        assert_eq!(view.history(&id(7), 0, 1).unwrap(), [LeafIndex(7)]);
        assert_eq!(view.published(&Hash([8; 32])).unwrap(), [id(8), id(9)]);
        assert!(view.has_evidence(Epoch(2), ValidatorIndex(3)).unwrap());
        assert!(!view.has_evidence(Epoch(2), ValidatorIndex(2)).unwrap());
    };
    check(&index);
    index.close().unwrap();
    assert!(matches!(index.view(), Err(ReadError::Closed)));
    let opened = open(dir.path());
    assert_eq!(opened.start, Start::Kept);
    check(&opened.index);
}

#[test]
fn without_the_clean_marker_it_is_thrown_away_unopened() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path()).index;
    apply(&index, 0, 0, &Effects::default()).unwrap();
    index.checkpoint().unwrap();
    drop(index);
    // What stands there would not even open.
    std::fs::write(dir.path().join("sled/db"), [0xff; 10_000]).unwrap();
    let opened = open(dir.path());
    assert_eq!(opened.start, Start::Empty);
    assert_eq!(opened.index.applied().unwrap(), None);
    opened.index.close().unwrap();
    let other = Index::open(dir.path(), ChainId(Hash([5; 32])), CACHE).unwrap();
    assert_eq!(other.start, Start::Empty);
}

#[test]
fn blocks_come_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path()).index;
    let none = Effects::default();
    assert!(matches!(
        apply(&index, 1, 0, &none),
        Err(Fatal::Misuse { .. })
    ));
    apply(&index, 0, 0, &none).unwrap();
    assert!(matches!(
        apply(&index, 0, 0, &none),
        Err(Fatal::Misuse { .. })
    ));
    assert!(matches!(
        apply(&index, 2, 0, &none),
        Err(Fatal::Misuse { .. })
    ));
    apply(&index, 1, 0, &none).unwrap();
}

#[test]
fn submissions_are_forgotten_after_their_window() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path()).index;
    let hash = |byte| SubmissionHash(Hash([byte; 32]));
    let mut effects = Effects::default();
    for (byte, end) in [(1, 10), (2, 20), (3, 30)] {
        let inclusion = Inclusion {
            height: Height(0),
            time_ms: TimeMs(0),
            first: LeafIndex(0),
            count: 1,
            not_after_ms: TimeMs(end),
        };
        effects.submissions.insert(hash(byte), inclusion);
    }
    apply(&index, 0, 0, &effects).unwrap();
    apply(&index, 1, 0, &Effects::default()).unwrap();
    apply(&index, 2, 0, &Effects::default()).unwrap();
    // Block 2 has time 20: a window that ends then is not over.
    let view = index.view().unwrap();
    assert_eq!(view.inclusion(&hash(1)).unwrap(), None);
    assert!(view.inclusion(&hash(2)).unwrap().is_some());
    assert!(view.inclusion(&hash(3)).unwrap().is_some());
}

#[test]
fn the_status_map_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path()).index;
    let mut effects = Effects::default();
    for byte in 1..5 {
        let state = KeyState {
            authority: AuthorityIndex(u16::from(byte)),
            role: ledger::record::Role::ISSUE,
            enrolled: LeafIndex(0),
            not_after_ms: TimeMs(0),
            retired: None,
            compromised_since: None,
        };
        effects.keys.insert(Key::from_bytes([byte; 32]), state);
    }
    apply(&index, 0, 0, &effects).unwrap();
    let mut found = std::collections::BTreeMap::new();
    let view = index.view().unwrap();
    view.for_each_trie_entry(|key, value| {
        found.insert(key, value);
    })
    .unwrap();
    assert_eq!(found, effects.trie_entries());
}

/// An index with two blocks that nobody closed.
fn unclosed(dir: &Path) {
    let index = open(dir).index;
    apply(&index, 0, 0, &Effects::default()).unwrap();
    apply(&index, 1, 0, &registers(1, 0, 1_000)).unwrap();
    apply(&index, 2, 1_000, &registers(2, 1_000, 10)).unwrap();
}

/// Writes past the index, as a crash leaves it behind.
fn tamper(dir: &Path, change: impl FnOnce(&sled::Db)) {
    let store = open_store(dir, CACHE).unwrap();
    change(&store);
    store.flush().unwrap();
}

fn why(dir: &Path) -> Unsound {
    match check(dir, CHAIN, CACHE).unwrap() {
        Checked::Unsound(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_index_that_was_not_closed_goes_on_if_all_of_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        check(dir.path(), CHAIN, CACHE),
        Ok(Checked::Nothing)
    ));
    unclosed(dir.path());
    let found = check(dir.path(), CHAIN, CACHE).unwrap();
    assert!(matches!(found, Checked::Sound(Height(2))), "{found:?}");
    let opened = open(dir.path());
    assert_eq!(opened.start, Start::Kept);
    apply(&opened.index, 3, 1_010, &registers(3, 1_010, 10)).unwrap();
    opened.index.close().unwrap();
    assert!(matches!(
        check(dir.path(), CHAIN, CACHE),
        Ok(Checked::Nothing)
    ));
}

#[test]
fn of_a_block_that_was_not_applied_whole_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    unclosed(dir.path());
    // A kill between the batches of block 3: its additions are there, the mark is not.
    tamper(dir.path(), |store| {
        let effects = registers(3, 1_010, 300);
        let place = place(3, 1_010, &effects);
        for (key, value) in writes::additions(&[place], &effects, TimeMs(0)) {
            store.insert(key, value).unwrap();
        }
    });
    let found = check(dir.path(), CHAIN, CACHE).unwrap();
    assert!(matches!(found, Checked::Sound(Height(2))), "{found:?}");
    let opened = open(dir.path());
    let view = opened.index.view().unwrap();
    assert_eq!(view.registration(&id(1_010)).unwrap(), None);
    assert!(view.registration(&id(1_009)).unwrap().is_some());
}

#[test]
fn an_index_that_lacks_or_changed_anything_does_not_go_on() {
    let key = Entry::Registration(id(7)).encode();
    let tampered = |change: &dyn Fn(&sled::Db)| {
        let dir = tempfile::tempdir().unwrap();
        unclosed(dir.path());
        tamper(dir.path(), change);
        let found = why(dir.path());
        assert_eq!(open(dir.path()).start, Start::Empty);
        found
    };
    let lost = tampered(&|store| drop(store.remove(&key).unwrap()));
    assert!(matches!(lost, Unsound::Sum(Height(2))), "{lost:?}");
    let changed = tampered(&|store| {
        let mut value = store.get(&key).unwrap().unwrap().to_vec();
        value[0] ^= 1;
        store.insert(&key, value).unwrap();
    });
    assert!(matches!(changed, Unsound::Sum(Height(2))), "{changed:?}");
    let foreign = tampered(&|store| drop(store.insert(b"x", b"y").unwrap()));
    assert!(matches!(foreign, Unsound::Entry(_)), "{foreign:?}");
    let unmarked = tampered(&|store| drop(store.remove(Entry::Applied.encode()).unwrap()));
    assert!(matches!(unmarked, Unsound::Empty), "{unmarked:?}");
    let dir = tempfile::tempdir().unwrap();
    unclosed(dir.path());
    let other = check(dir.path(), ChainId(Hash([5; 32])), CACHE).unwrap();
    assert!(
        matches!(other, Checked::Unsound(Unsound::Other)),
        "{other:?}"
    );
}

#[test]
fn a_run_of_blocks_comes_to_what_they_come_to_one_by_one() {
    let (one, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (apart, together) = (open(one.path()).index, open(many.path()).index);
    let mut run = Run::default();
    for height in 0..20 {
        let first = u32::try_from(height).unwrap() * 100;
        let mut effects = registers(height, first, 100);
        let inclusion = Inclusion {
            height: Height(height),
            time_ms: TimeMs(height * 10),
            first: LeafIndex(u64::from(first)),
            count: 100,
            not_after_ms: TimeMs(height * 10 + 40),
        };
        let hash = SubmissionHash(ledger::hash::sha256(&[&height.to_le_bytes()]));
        effects.submissions.insert(hash, inclusion);
        effects
            .history
            .push((id(0), LeafIndex(u64::from(first) + 1)));
        apply(&apart, height, first.into(), &effects).unwrap();
        run.push(place(height, first.into(), &effects), effects);
    }
    together.apply_run(&run).unwrap();
    let all = |index: &Index| {
        let guard = index.0.store.read().unwrap();
        let store = guard.as_ref().unwrap();
        store.iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(all(&apart), all(&together));
    drop((apart, together));
    for dir in [one, many] {
        let found = check(dir.path(), CHAIN, CACHE).unwrap();
        assert!(matches!(found, Checked::Sound(Height(19))), "{found:?}");
    }
}
