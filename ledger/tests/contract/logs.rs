//! The RFC 9162 tree against the recursive definitions of the RFC, and the made log of formats.md 7.8.

use crate::world::{seed_of, signing_key};
use ledger::checkpoint::Checkpoint;
use ledger::cosignature::{self, CosignedAt};
use ledger::hash::{Hash, sha256};
use ledger::id::{AuthorityId, LeafIndex, TreeSize};
use ledger::log::{
    Frontier, Path, ProofError, TileReader, leaf_hash, node_hash, prove_consistency,
    prove_inclusion, root, verify_consistency, verify_inclusion,
};
use ledger::note::{Note, SignatureLine, VerifierKey, sign_log, verify_log};
use proptest::prelude::*;
use std::convert::Infallible;

/// MTH of RFC 9162, 2.1.1, over leaf hashes.
pub(crate) fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [one] => *one,
        _ => {
            let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
            node_hash(&mth(left), &mth(right))
        }
    }
}

fn largest_power_below(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// PATH of 2.1.3.1.
fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = largest_power_below(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut below, sibling) = if m < k {
        (path(m, left), mth(right))
    } else {
        (path(m - k, right), mth(left))
    };
    below.push(sibling);
    below
}

/// SUBPROOF of 2.1.4.1.
fn subproof(m: usize, leaves: &[Hash], known: Known) -> Vec<Hash> {
    if m == leaves.len() {
        return match known {
            Known::Yes => Vec::new(),
            Known::No => vec![mth(leaves)],
        };
    }
    let k = largest_power_below(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut below, sibling) = if m <= k {
        (subproof(m, left, known), mth(right))
    } else {
        (subproof(m - k, right, Known::No), mth(left))
    };
    below.push(sibling);
    below
}

#[derive(Clone, Copy)]
enum Known {
    Yes,
    No,
}

pub(crate) fn hashes<T: AsRef<[u8]>>(leaves: &[T]) -> Vec<Hash> {
    leaves.iter().map(|leaf| leaf_hash(leaf.as_ref())).collect()
}

pub(crate) fn numbered(n: usize) -> Vec<Hash> {
    (0..n).map(|at| leaf_hash(&at.to_le_bytes())).collect()
}

/// A log as tiles: level 0 the leaf hashes, each level above the roots of full runs of 256.
pub(crate) struct Tiles(pub(crate) Vec<Vec<Hash>>);

impl Tiles {
    pub(crate) fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        loop {
            let below = &levels[levels.len() - 1];
            let full: Vec<Hash> = below.chunks_exact(256).map(mth).collect();
            if full.is_empty() {
                break;
            }
            levels.push(full);
        }
        Self(levels)
    }

    pub(crate) fn leaves(&self) -> &[Hash] {
        &self.0[0]
    }
}

impl TileReader for Tiles {
    type Error = Infallible;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
        Ok(self.0[usize::from(level)][usize::try_from(index).unwrap()])
    }
}

fn inclusion(tiles: &Tiles, index: usize, size: usize) -> Option<Path> {
    let (index, size) = (LeafIndex(index as u64), TreeSize(size as u64));
    let Ok(path) = prove_inclusion(tiles, index, size);
    path
}

fn consistency(tiles: &Tiles, old: usize, new: usize) -> Option<Path> {
    let Ok(path) = prove_consistency(tiles, TreeSize(old as u64), TreeSize(new as u64));
    path
}

fn check_inclusion(
    leaf: &Hash,
    index: usize,
    size: usize,
    path: &Path,
    root: &Hash,
) -> Result<(), ProofError> {
    let (index, size) = (LeafIndex(index as u64), TreeSize(size as u64));
    verify_inclusion(leaf, index, size, path, root)
}

fn check_consistency(
    (old, old_root): (usize, &Hash),
    (new, new_root): (usize, &Hash),
    path: &Path,
) -> Result<(), ProofError> {
    let (old, new) = (TreeSize(old as u64), TreeSize(new as u64));
    verify_consistency((old, old_root), (new, new_root), path)
}

/// The path with one hash altered, left out or added, at every place.
fn damaged(path: &Path) -> Vec<Path> {
    let right = path.hashes().to_vec();
    let mut all = Vec::new();
    for at in 0..right.len() {
        let mut flipped = right.clone();
        flipped[at].0[at % 32] ^= 1;
        let mut shorter = right.clone();
        shorter.remove(at);
        all.extend([flipped, shorter]);
    }
    for at in 0..=right.len() {
        let mut longer = right.clone();
        longer.insert(at, Hash([at.to_le_bytes()[0]; 32]));
        all.push(longer);
    }
    all.into_iter().filter_map(Path::new).collect()
}

/// Largest size at which every position and pair of sizes is tried.
const EVERY: usize = 70;

#[test]
fn every_inclusion_path_of_small_trees_is_the_rfcs_and_nothing_else_verifies() {
    let tiles = Tiles::new(numbered(EVERY));
    for size in 1..=EVERY {
        let leaves = &tiles.leaves()[..size];
        let whole = mth(leaves);
        for index in 0..size {
            let proof = inclusion(&tiles, index, size).expect("index < size");
            assert_eq!(proof.hashes(), path(index, leaves), "{index} of {size}");
            let leaf = &leaves[index];
            assert_eq!(check_inclusion(leaf, index, size, &proof, &whole), Ok(()));
            for other in damaged(&proof) {
                assert!(check_inclusion(leaf, index, size, &other, &whole).is_err());
            }
            // Another place, even if its path happens to have the same length.
            for other in (0..size).filter(|other| *other != index) {
                assert!(check_inclusion(leaf, other, size, &proof, &whole).is_err());
            }
        }
        assert_eq!(inclusion(&tiles, size, size), None);
    }
}

#[test]
fn every_consistency_path_of_small_trees_is_the_rfcs_and_nothing_else_verifies() {
    let tiles = Tiles::new(numbered(EVERY));
    let roots: Vec<Hash> = (0..=EVERY)
        .map(|size| mth(&tiles.leaves()[..size]))
        .collect();
    for new in 1..=EVERY {
        let leaves = &tiles.leaves()[..new];
        for old in 1..=new {
            let proof = consistency(&tiles, old, new).expect("0 < old <= new");
            assert_eq!(
                proof.hashes(),
                subproof(old, leaves, Known::Yes),
                "{old} to {new}"
            );
            let (before, after) = ((old, &roots[old]), (new, &roots[new]));
            assert_eq!(check_consistency(before, after, &proof), Ok(()));
            for other in damaged(&proof) {
                assert!(check_consistency(before, after, &other).is_err());
            }
            let forked = seed_of("another history");
            assert!(check_consistency((old, &forked), after, &proof).is_err());
            assert!(check_consistency(before, (new, &forked), &proof).is_err());
            if old < new {
                assert!(check_consistency(after, before, &proof).is_err());
                assert_eq!(consistency(&tiles, new, old), None);
            }
        }
    }
}

/// The edges on which libraries differ: decided in formats.md 7.0 and in the module's own text.
#[test]
fn nothing_and_equal_sizes() {
    let tiles = Tiles::new(numbered(3));
    let (empty, none) = (mth(&[]), Path::default());
    assert_eq!(Frontier::new().root(), empty);
    assert_eq!(
        empty.to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(root(&tiles, TreeSize(0)), Ok(empty));
    assert_eq!(inclusion(&tiles, 0, 0), None);
    assert!(matches!(
        check_inclusion(&empty, 0, 0, &none, &empty),
        Err(ProofError::Position { .. })
    ));
    assert_eq!(consistency(&tiles, 0, 0), Some(none.clone()));
    assert_eq!(check_consistency((0, &empty), (0, &empty), &none), Ok(()));
    let three = mth(tiles.leaves());
    assert_eq!(consistency(&tiles, 0, 3), None, "says nothing");
    assert!(check_consistency((0, &empty), (3, &three), &none).is_err());
    assert_eq!(consistency(&tiles, 3, 3), Some(none.clone()));
    assert_eq!(check_consistency((3, &three), (3, &three), &none), Ok(()));
    assert!(check_consistency((3, &three), (3, &empty), &none).is_err());
    let some = Path::new(vec![three]).unwrap();
    assert!(check_consistency((3, &three), (3, &three), &some).is_err());
    assert!(check_consistency((0, &empty), (0, &empty), &some).is_err());
    let one = tiles.leaves()[0];
    assert_eq!(check_inclusion(&one, 0, 1, &none, &one), Ok(()));
    assert!(check_inclusion(&one, 0, 1, &some, &one).is_err());
    let huge = (LeafIndex(u64::MAX - 1), TreeSize(u64::MAX));
    assert!(verify_inclusion(&one, huge.0, huge.1, &none, &one).is_err());
    let longest = Path::new(vec![one; 64]).unwrap();
    assert!(verify_inclusion(&one, huge.0, huge.1, &longest, &one).is_err());
    assert!(
        verify_consistency(
            (TreeSize(1 << 63), &one),
            (TreeSize(u64::MAX), &one),
            &longest
        )
        .is_err()
    );
    assert_eq!(Path::new(vec![one; 65]), None);
}

/// Roots made for paths that go on above their tree: only the count of hashes tells them from right ones.
#[test]
fn a_path_that_goes_on_above_its_tree_is_refused() {
    let leaves = numbered(4);
    let above = seed_of("above");
    let length = |index, size| Err(ProofError::Length { index, size });
    let path = Path::new(vec![leaves[0]]).unwrap();
    let two = mth(&leaves[..2]);
    assert_eq!(check_inclusion(&leaves[1], 0, 1, &path, &two), length(0, 1));
    assert_eq!(check_inclusion(&leaves[1], 1, 2, &path, &two), Ok(()));
    let tiles = Tiles::new(leaves.clone());
    let mut longer = consistency(&tiles, 3, 4).unwrap().hashes().to_vec();
    longer.push(above);
    let longer = Path::new(longer).unwrap();
    let [before, after] = [3, 4].map(|size| node_hash(&above, &mth(&leaves[..size])));
    assert_eq!(
        check_consistency((3, &before), (4, &after), &longer),
        length(3, 4)
    );
}

/// The eight leaves and roots that certificate transparency published with its first tree.
#[test]
fn the_published_tree_of_eight_leaves() {
    let leaves = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = Frontier::new();
    for (leaf, root) in leaves.iter().zip(roots) {
        tree.push(leaf_hash(&hex::decode(leaf).unwrap()));
        assert_eq!(tree.root().to_string(), root);
    }
}

/// Three levels of tiles.
#[test]
fn a_tree_of_seventy_thousand_leaves() {
    const SIZE: usize = 70_000;
    let tiles = Tiles::new(numbered(SIZE));
    assert_eq!(
        tiles.0.iter().map(Vec::len).collect::<Vec<_>>(),
        [70_000, 273, 1]
    );
    let whole = mth(tiles.leaves());
    assert_eq!(root(&tiles, TreeSize(SIZE as u64)), Ok(whole));
    let Ok(frontier) = Frontier::read(&tiles, TreeSize(SIZE as u64));
    assert_eq!(frontier.root(), whole);
    for index in [0, 65_535, 65_536, 69_887, 69_888, 69_999] {
        let proof = inclusion(&tiles, index, SIZE).unwrap();
        assert_eq!(proof.hashes(), path(index, tiles.leaves()), "{index}");
        assert_eq!(
            check_inclusion(&tiles.leaves()[index], index, SIZE, &proof, &whole),
            Ok(())
        );
    }
    for old in [1, 256, 65_535, 65_536, 65_537, 69_999] {
        let proof = consistency(&tiles, old, SIZE).unwrap();
        assert_eq!(
            proof.hashes(),
            subproof(old, tiles.leaves(), Known::Yes),
            "{old}"
        );
        let before = mth(&tiles.leaves()[..old]);
        assert_eq!(
            check_consistency((old, &before), (SIZE, &whole), &proof),
            Ok(())
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn proofs_of_larger_trees_are_the_rfcs(
        size in 71_usize..3_000,
        at in any::<prop::sample::Index>(),
        old in any::<prop::sample::Index>(),
        bit in 0_usize..256,
    ) {
        let tiles = Tiles::new(numbered(size));
        let (index, old) = (at.index(size), old.index(size) + 1);
        let whole = mth(tiles.leaves());
        let proof = inclusion(&tiles, index, size).unwrap();
        prop_assert_eq!(proof.hashes(), path(index, tiles.leaves()));
        let leaf = tiles.leaves()[index];
        prop_assert_eq!(check_inclusion(&leaf, index, size, &proof, &whole), Ok(()));
        let mut other = leaf;
        other.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(check_inclusion(&other, index, size, &proof, &whole).is_err());
        let proof = consistency(&tiles, old, size).unwrap();
        prop_assert_eq!(proof.hashes(), subproof(old, tiles.leaves(), Known::Yes));
        let before = mth(&tiles.leaves()[..old]);
        prop_assert_eq!(check_consistency((old, &before), (size, &whole), &proof), Ok(()));
        for wrong in damaged(&proof) {
            prop_assert!(check_consistency((old, &before), (size, &whole), &wrong).is_err());
        }
    }

    /// A tree grown leaf by leaf, one read back from tiles, and the definition agree.
    #[test]
    fn a_frontier_grows_and_is_read_back(first in 0_usize..1_200, more in 0_usize..600) {
        let leaves = numbered(first + more);
        let tiles = Tiles::new(leaves.clone());
        let Ok(mut grown) = Frontier::read(&tiles, TreeSize(first as u64));
        prop_assert_eq!(grown.root(), mth(&leaves[..first]));
        for leaf in &leaves[first..] {
            grown.push(*leaf);
        }
        prop_assert_eq!(grown.root(), mth(&leaves));
        prop_assert_eq!(grown.size(), (first + more) as u64);
    }
}

/// The entries of the made log of formats.md, 7.8.
pub(crate) fn made_entries() -> Vec<String> {
    let entry = |at: usize| {
        let doc = sha256(&[format!("doc{at}").as_bytes()]);
        format!(r#"{{"rec":{at},"doc":"{doc}","auth":"A{}"}}"#, at % 4)
    };
    (0..1000).map(entry).collect()
}

pub(crate) const MADE_ORIGIN: &str = "ledger.example/audit-chain";

/// The values that four independent implementations accepted (formats.md, 7.8).
#[test]
fn the_made_log_of_a_thousand_entries_has_its_published_values() {
    let entries = made_entries();
    let leaves = hashes(&entries);
    assert_eq!(
        leaves[0].to_string(),
        "1d1d66fe89c72fbe67c7d5190e3229233a5b4ce0f541aa61ef4342b0195dd7d7"
    );
    assert_eq!(
        mth(&leaves[..7]).to_string(),
        "be9ad57a2decaafa330454bb83a5a1a0374d82717240bc0e1c7ff3a816e02783"
    );
    let mut tree = Frontier::new();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    assert_eq!(
        tree.root().to_string(),
        "007bce3a496e0a5b2b5975ce556c39e8d498a3099adacdc42983f22b3b07a8d3"
    );
    let checkpoint = Checkpoint {
        origin: MADE_ORIGIN.into(),
        size: TreeSize(1000),
        root: tree.root(),
    };
    let text = checkpoint.text();
    assert_eq!(
        text,
        "ledger.example/audit-chain\n1000\nAHvOOkluClsrWXXOVWw56NSYowma2s3EKYPyKzsHqNM=\n"
    );
    assert_eq!(Checkpoint::parse(&text), Ok(checkpoint));

    let key = signing_key("log");
    let log = VerifierKey::log(MADE_ORIGIN, key.key());
    assert_eq!(
        log.vkey(),
        "ledger.example/audit-chain+eba004ec+ATuevbQHH3sARYCi3FcxhRfLSCTca6MkpDHjYJT40Aoo"
    );
    let log_line = sign_log(&log, &key, &text);
    assert_eq!(
        log_line.text(),
        "\u{2014} ledger.example/audit-chain 66AE7K8JScQZMWgneZtsAiqZRVDqPvirnBnBDHN5aeyU4AljU8\
         wAkI+LzhgrdGxtf1hMSodAr916UlFT7vZCcyaW9gE=\n"
    );
    let key = signing_key("auth-a");
    let id = AuthorityId::new("validator").unwrap();
    let cosigner = VerifierKey::cosigner("authority-a.example", &id, key.key());
    assert_eq!(
        cosigner.vkey(),
        "authority-a.example/validator+dc749c26+BEvEvkNwMgTUT+gvz9Wzs3yTN6w2p5eSfxqEKPYXWINL"
    );
    let line = cosignature::cosign(&cosigner, &key, 1_790_000_000, &text);
    assert_eq!(
        line.text(),
        "\u{2014} authority-a.example/validator 3HScJgAAAABqsTuAuEdzaDMVy2/nMAGRAxxUkskukXklGSOZD\
         l2FhnwmTrQAC6tnPo67wy5pDYU84eg77wSN6/hzO5+9ZztWhQ9KBw==\n"
    );
    assert!(verify_log(&log, &log_line, &text));
    assert_eq!(
        cosignature::verify(&cosigner, &line, &text),
        Some(CosignedAt(1_790_000_000))
    );
    let note = Note::new(text, vec![log_line, line]);
    assert_eq!(Note::parse(note.encode().as_bytes()), Ok(note));
}

/// A line is its signer's, over that text, at that time, whole, and nobody else's.
#[test]
fn a_line_verifies_for_its_key_and_text_alone() {
    let text = "origin\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
    let key = signing_key("cosigner");
    let by = VerifierKey::cosigner("origin", &AuthorityId::new("aa").unwrap(), key.key());
    let line = cosignature::cosign(&by, &key, 77, text);
    assert_eq!(cosignature::verify(&by, &line, text), Some(CosignedAt(77)));
    assert_eq!(cosignature::verify(&by, &line, "origin\n2\n"), None);
    for at in 0..line.blob.len() {
        let mut blob = line.blob.clone();
        blob[at] ^= 1;
        let other = SignatureLine {
            blob,
            ..line.clone()
        };
        assert_eq!(cosignature::verify(&by, &other, text), None, "byte {at}");
        let short = SignatureLine {
            blob: line.blob[..at].to_vec(),
            ..line.clone()
        };
        assert_eq!(cosignature::verify(&by, &short, text), None);
    }
    let long = SignatureLine {
        blob: [line.blob.as_slice(), &[0]].concat(),
        ..line.clone()
    };
    assert_eq!(cosignature::verify(&by, &long, text), None);
    let other = VerifierKey::cosigner("origin", &AuthorityId::new("bb").unwrap(), key.key());
    assert_eq!(
        cosignature::verify(&other, &line, text),
        None,
        "the name is part of the key id"
    );
    let as_log = VerifierKey::log("origin/aa", key.key());
    assert_ne!(as_log.id(), by.id(), "the type is part of the key id");
    let log_line = sign_log(&as_log, &key, text);
    assert!(verify_log(&as_log, &log_line, text));
    assert!(!verify_log(&as_log, &log_line, "origin\n2\n"));
    assert!(!verify_log(
        &by,
        &SignatureLine::new(&by, log_line.blob),
        text
    ));
    // A time over 2^63 - 1 has no meaning, however well it is signed.
    for (time, meant) in [(i64::MAX as u64, true), (1 << 63, false)] {
        let signature = key.sign_raw(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
        let blob = [time.to_be_bytes().as_slice(), &signature.0].concat();
        let verified = cosignature::verify(&by, &SignatureLine::new(&by, blob), text);
        assert_eq!(verified, meant.then_some(CosignedAt(time)));
    }
}
