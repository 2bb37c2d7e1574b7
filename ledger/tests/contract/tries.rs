//! The status map against a second implementation, written from the words of formats.md, section 5.

use crate::world::{TestRng, seed_of};
use ledger::codec::{decode, encode};
use ledger::hash::{Hash, sha256};
use ledger::trie::{Terminal, Trie, TrieError, TrieKey, TrieProof, TrieValue};
use proptest::prelude::*;
use std::collections::BTreeMap;

type Entries = BTreeMap<[u8; 32], [u8; 32]>;

/// Bit `at` of a key, most significant first.
fn bit(key: &[u8; 32], at: usize) -> usize {
    usize::from(key[at / 8] >> (7 - at % 8) & 1)
}

/// The root over entries that share their first `depth` bits.
fn naive_root(entries: &[([u8; 32], [u8; 32])], depth: usize) -> [u8; 32] {
    match entries {
        [] => [0; 32],
        [(key, value)] => sha256(&[&[2], key, value]).0,
        _ => {
            let part = |side: usize| -> Vec<_> {
                let all = entries.iter().copied();
                all.filter(|(key, _)| bit(key, depth) == side).collect()
            };
            let [left, right] = [0, 1].map(|side| naive_root(&part(side), depth + 1));
            sha256(&[&[3], &left, &right]).0
        }
    }
}

/// The proof about `key` as the bytes of the format.
fn naive_proof(entries: &Entries, key: &[u8; 32]) -> Vec<u8> {
    let mut inside: Vec<_> = entries.iter().map(|(key, value)| (*key, *value)).collect();
    let mut siblings: Vec<[u8; 32]> = Vec::new();
    while inside.len() > 1 {
        let depth = siblings.len();
        let (mine, other): (Vec<_>, Vec<_>) = inside
            .into_iter()
            .partition(|(found, _)| bit(found, depth) == bit(key, depth));
        siblings.push(naive_root(&other, depth + 1));
        inside = mine;
    }
    siblings.reverse();
    let mut bytes = match inside.first() {
        Some((found, _)) if found == key => vec![1],
        Some(_) => vec![2],
        None => vec![3],
    };
    bytes.extend(u16::try_from(siblings.len()).unwrap().to_le_bytes());
    if let (2, Some((other, value))) = (bytes[0], inside.first()) {
        bytes.extend(other.iter().chain(value));
    }
    let mut bitmap = vec![0_u8; siblings.len().div_ceil(8)];
    for (at, sibling) in siblings.iter().enumerate() {
        if *sibling == [0; 32] {
            bitmap[at / 8] |= 1 << (at % 8);
        }
    }
    bytes.extend(bitmap);
    bytes.extend(siblings.iter().filter(|hash| **hash != [0; 32]).flatten());
    bytes
}

/// Checks proof bytes as the format says, from the bytes alone.
fn naive_verify(
    bytes: &[u8],
    root: &[u8; 32],
    key: &[u8; 32],
    value: Option<&[u8; 32]>,
) -> Option<()> {
    let (head, mut rest) = bytes.split_at_checked(3)?;
    let depth = usize::from(u16::from_le_bytes([head[1], head[2]]));
    let mut node = match (head[0], value) {
        (1, Some(value)) => sha256(&[&[2], key, value]).0,
        (2, None) => {
            let (leaf, after) = rest.split_at_checked(64)?;
            rest = after;
            let other: [u8; 32] = leaf[..32].try_into().ok()?;
            let agrees = depth <= 256 && (0..depth).all(|at| bit(&other, at) == bit(key, at));
            (other != *key && agrees).then_some(())?;
            sha256(&[&[2], leaf]).0
        }
        (3, None) => [0; 32],
        _ => return None,
    };
    let (bitmap, mut hashes) = rest.split_at_checked(depth.div_ceil(8))?;
    for at in 0..bitmap.len() * 8 {
        let empty = bitmap[at / 8] >> (at % 8) & 1 == 1;
        if at >= depth || (at == 0 && empty) {
            (!empty).then_some(())?;
            continue;
        }
        let sibling = if empty {
            [0; 32]
        } else {
            let (hash, after) = hashes.split_at_checked(32)?;
            hashes = after;
            let hash: [u8; 32] = hash.try_into().ok()?;
            (hash != [0; 32]).then_some(hash)?
        };
        let (left, right) = if bit(key, depth - 1 - at) == 0 {
            (node, sibling)
        } else {
            (sibling, node)
        };
        node = sha256(&[&[3], &left, &right]).0;
    }
    (hashes.is_empty() && node == *root).then_some(())
}

/// Our own verification of the same bytes.
fn verify(bytes: &[u8], root: &[u8; 32], key: &[u8; 32], value: Option<&[u8; 32]>) -> Option<()> {
    let proof: TrieProof = decode(bytes, TrieProof::MAX_LEN).ok()?;
    let value = value.map(|value| TrieValue(Hash(*value)));
    proof
        .verify(&Hash(*root), &TrieKey(Hash(*key)), value.as_ref())
        .ok()
}

fn trie_of(entries: &Entries) -> Trie {
    let mut trie = Trie::new();
    trie.extend(&batch(entries));
    trie
}

fn batch(entries: &Entries) -> BTreeMap<TrieKey, TrieValue> {
    let entry =
        |(key, value): (&[u8; 32], &[u8; 32])| (TrieKey(Hash(*key)), TrieValue(Hash(*value)));
    entries.iter().map(entry).collect()
}

fn root_of(entries: &Entries) -> [u8; 32] {
    let list: Vec<_> = entries.iter().map(|(key, value)| (*key, *value)).collect();
    naive_root(&list, 0)
}

/// Keys that share long prefixes: from one key, with few bits flipped.
fn close_keys() -> impl Strategy<Value = Vec<[u8; 32]>> {
    let flips = prop::collection::vec(0_usize..256, 0..3);
    prop::collection::vec(flips, 0..24).prop_map(|all| {
        let flip = |bits: Vec<usize>| {
            let mut key = seed_of("prefix").0;
            bits.into_iter()
                .for_each(|at| key[at / 8] ^= 0x80 >> (at % 8));
            key
        };
        all.into_iter().map(flip).collect()
    })
}

fn any_keys() -> impl Strategy<Value = Vec<[u8; 32]>> {
    prop_oneof![
        close_keys(),
        prop::collection::vec(any::<[u8; 32]>(), 0..40)
    ]
}

fn entries_of(keys: &[[u8; 32]], seed: u64) -> Entries {
    let mut rng = TestRng::new(&seed.to_string());
    let mut value = || {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    keys.iter().map(|key| (*key, value())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Roots, look-ups and proof bytes of both are the same, for members and for all others.
    #[test]
    fn both_implementations_agree(keys in any_keys(), others in any_keys(), seed: u64) {
        let entries = entries_of(&keys, seed);
        let trie = trie_of(&entries);
        let root = root_of(&entries);
        prop_assert_eq!(trie.root().0, root);
        for key in keys.iter().chain(&others) {
            let value = entries.get(key);
            let found = trie.get(&TrieKey(Hash(*key)));
            prop_assert_eq!(found.map(|value| value.0.0), value.copied());
            let proof = encode(&trie.prove(&TrieKey(Hash(*key))));
            prop_assert_eq!(&proof, &naive_proof(&entries, key));
            prop_assert_eq!(verify(&proof, &root, key, value), Some(()));
            prop_assert_eq!(naive_verify(&proof, &root, key, value), Some(()));
            // Neither presence for absence nor another value.
            let lie = if value.is_some() { None } else { Some(&[7; 32]) };
            prop_assert_eq!(verify(&proof, &root, key, lie), None);
            prop_assert_eq!(verify(&proof, &root, key, Some(&[8; 32])), None);
            prop_assert_eq!(verify(&proof, &[9; 32], key, value), None);
        }
    }

    /// In any order and in any portions, with later values over earlier ones.
    #[test]
    fn the_root_depends_on_the_set_alone(keys in any_keys(), seed: u64, portion in 1_usize..9) {
        let (old, new) = (entries_of(&keys, seed.wrapping_add(1)), entries_of(&keys, seed));
        let mut one_by_one = trie_of(&old);
        for (key, value) in new.iter().rev() {
            one_by_one.insert(TrieKey(Hash(*key)), TrieValue(Hash(*value)));
        }
        let mut in_portions = Trie::new();
        let all: Vec<_> = new.iter().map(|(key, value)| (*key, *value)).collect();
        for part in all.chunks(portion) {
            in_portions.extend(&batch(&part.iter().copied().collect()));
        }
        prop_assert_eq!(one_by_one.root().0, root_of(&new));
        prop_assert_eq!(in_portions.root(), one_by_one.root());
        // A clone is a value of its own.
        let before = in_portions.root();
        let mut changed = in_portions.clone();
        changed.insert(TrieKey(seed_of("one more")), TrieValue(Hash([1; 32])));
        prop_assert_eq!(in_portions.root(), before);
        prop_assert_ne!(changed.root(), before);
    }

    /// Of altered proof bytes both accept the same: the one canonical encoding.
    #[test]
    fn altered_proofs_are_refused_by_both(
        keys in any_keys(), key: [u8; 32], seed: u64, at in any::<prop::sample::Index>(), mask in 1_u8..,
    ) {
        let entries = entries_of(&keys, seed);
        let root = root_of(&entries);
        for key in keys.iter().take(2).chain([&key]) {
            let value = entries.get(key);
            let right = encode(&trie_of(&entries).prove(&TrieKey(Hash(*key))));
            let mut altered = right.clone();
            altered[at.index(right.len())] ^= mask;
            prop_assert_eq!(verify(&altered, &root, key, value), None);
            prop_assert_eq!(naive_verify(&altered, &root, key, value), None);
            let cut = &right[..at.index(right.len())];
            prop_assert_eq!(verify(cut, &root, key, value), None);
            let longer = [right.as_slice(), &[0]].concat();
            prop_assert_eq!(verify(&longer, &root, key, value), None);
        }
    }
}

/// Three entries: two that part at the last bit, one that parts at the first.
fn deepest() -> (Entries, [u8; 32], [u8; 32]) {
    let mut left = [0; 32];
    left[0] = 0x40;
    let mut last = left;
    last[31] = 1;
    (entries_of(&[left, last, [0xff; 32]], 5), left, last)
}

#[test]
fn a_proof_reaches_down_to_the_last_bit() {
    let (entries, left, last) = deepest();
    let (trie, root) = (trie_of(&entries), root_of(&entries));
    for key in [left, last] {
        let proof = trie.prove(&TrieKey(Hash(key)));
        assert_eq!((proof.depth(), *proof.terminal()), (256, Terminal::Member));
        let bytes = encode(&proof);
        assert_eq!(bytes.len(), 1 + 2 + 32 + 2 * 32);
        assert_eq!(verify(&bytes, &root, &key, entries.get(&key)), Some(()));
    }
    let worst = TrieProof::MAX_LEN;
    assert_eq!(worst, 1 + 2 + 64 + 32 + 32 * 256);
    let mut near = last;
    near[20] ^= 1;
    let proof = trie.prove(&TrieKey(Hash(near)));
    assert_eq!((proof.depth(), *proof.terminal()), (168, Terminal::Empty));
}

#[test]
fn the_smallest_tries() {
    let (key, value) = (TrieKey(seed_of("key")), TrieValue(seed_of("value")));
    let mut trie = Trie::new();
    assert_eq!(trie.root(), Hash::ZERO);
    let empty = trie.prove(&key);
    assert_eq!(encode(&empty), [3, 0, 0]);
    assert_eq!(empty.verify(&Hash::ZERO, &key, None), Ok(()));
    trie.insert(key, value);
    assert_eq!(
        trie.root(),
        sha256(&[&[2], &key.0.0, &value.0.0]),
        "a single leaf is the root"
    );
    assert_eq!(encode(&trie.prove(&key)), [1, 0, 0]);
    let other = TrieKey(seed_of("other"));
    let proof = trie.prove(&other);
    assert_eq!(*proof.terminal(), Terminal::OtherLeaf { key, value });
    assert_eq!(proof.verify(&trie.root(), &other, None), Ok(()));
    // The leaf that is there is no proof of its own absence.
    assert_eq!(
        proof.verify(&trie.root(), &key, None),
        Err(TrieError::OtherLeaf)
    );
    assert!(matches!(
        empty.verify(&trie.root(), &key, None),
        Err(TrieError::Root { .. })
    ));
}

/// Every rule on the bytes of a proof, broken alone in a proof that is right otherwise.
#[test]
fn each_malformed_proof_is_refused() {
    let (entries, left, _) = deepest();
    let (trie, root) = (trie_of(&entries), root_of(&entries));
    let member = encode(&trie.prove(&TrieKey(Hash([0xff; 32]))));
    let value = entries.get(&[0xff; 32]);
    let accepts = |bytes: &[u8]| verify(bytes, &root, &[0xff; 32], value).is_some();
    assert_eq!((member[0], member[1], member.len()), (1, 1, 1 + 2 + 1 + 32));
    assert!(accepts(&member));
    let decodes = |bytes: &[u8]| decode::<TrieProof>(bytes, TrieProof::MAX_LEN).is_ok();
    let with = |at: usize, byte: u8| {
        let mut bytes = member.clone();
        bytes[at] = byte;
        bytes
    };
    for spare in 1..8 {
        assert!(!decodes(&with(3, 1 << spare)), "spare bit {spare}");
    }
    for terminal in (0..=255).filter(|terminal| !(1..=3).contains(terminal)) {
        assert!(!decodes(&with(0, terminal)), "terminal {terminal}");
    }
    let empty_deepest = [1, 1, 0, 1];
    assert!(!decodes(&empty_deepest));
    let explicit_zero = [&member[..4], [0; 32].as_slice()].concat();
    assert!(!decodes(&explicit_zero));
    assert!(!decodes(&[1, 1, 1]), "257 levels");
    let mut too_deep = vec![1, 1, 1];
    too_deep.extend([0; 33]);
    too_deep.extend([5; 257 * 32]);
    assert!(decode::<TrieProof>(&too_deep, usize::MAX).is_err());
    // One level less or more: the bytes do not fit, or lead elsewhere.
    assert!(!accepts(&[1, 0, 0]));
    let deeper = [&[1, 2, 0, 0b10], &member[4..]].concat();
    assert!(decodes(&deeper));
    assert!(!accepts(&deeper));
    // Another leaf that is not on the key's path.
    let absent = |key: [u8; 32]| encode(&trie.prove(&TrieKey(Hash(key))));
    let mut beside = left;
    beside[0] = 0x80;
    let proof = absent(beside);
    assert_eq!(proof[0], 2);
    assert!(verify(&proof, &root, &beside, None).is_some());
    let moved: TrieProof = decode(&proof, TrieProof::MAX_LEN).unwrap();
    let elsewhere = TrieKey(Hash(left));
    assert_eq!(
        moved.verify(&Hash(root), &elsewhere, None),
        Err(TrieError::OtherLeaf)
    );
}
