//! What independent code says: the C2SP crates, and a second, naive verification of inclusion.

use super::world::{COSIGNED, World};
use crate::hash::Hash;
use crate::id::{LeafIndex, TreeSize};
use crate::log;
use crate::receipt::{Receipt, inclusion_path};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use signed_note::{Note, StandardVerifier, Verifier, VerifierList};
use tlog_tiles::{Checkpoint, check_record};

/// A cosigner's key, as that crate wants it.
struct Cosigner(crate::note::VerifierKey);

impl Verifier for Cosigner {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn key_id(&self) -> u32 {
        u32::from_be_bytes(self.0.id())
    }

    fn verify(&self, text: &[u8], blob: &[u8]) -> bool {
        // The message is put together here once more, from the specification.
        let (time, signature) = blob.split_at(8);
        let time = u64::from_be_bytes(time.try_into().unwrap());
        let message = alloc::format!("cosignature/v1\ntime {time}\n");
        let message = [message.as_bytes(), text].concat();
        let key = self.0.key();
        let signature = crate::key::RawSignature(signature.try_into().unwrap());
        key.verify_strict(&message, &signature).is_ok()
    }
}

#[test]
fn other_implementations_accept_checkpoint_and_proof() {
    let (world, doc) = World::standard();
    let text = world.raw(&doc).text();
    let (proof, note) = text.split_once("\n\n").unwrap();
    let note = Note::from_bytes(note.as_bytes()).unwrap();
    let log_key = world.validators.log_key(&world.origin, 0);
    let mut keys: Vec<Box<dyn Verifier>> =
        vec![Box::new(StandardVerifier::new(&log_key.vkey()).unwrap())];
    for at in 0..4 {
        keys.push(Box::new(Cosigner(
            world.validators.cosigner_key(&world.origin, at),
        )));
    }
    let (known, unknown) = note.verify(&VerifierList::new(keys)).unwrap();
    assert_eq!((known.len(), unknown.len()), (4, 0));
    let checkpoint = Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!(
        (checkpoint.origin(), checkpoint.size()),
        (&*world.origin, 4)
    );
    let lines: Vec<&str> = proof.lines().collect();
    assert_eq!(lines[0], "c2sp.org/tlog-proof@v1");
    assert_eq!(lines[2], "index 1");
    let path = lines[3..]
        .iter()
        .map(|line| tlog_tiles::Hash::parse_hash(line).unwrap());
    let leaf = crate::leaf::LogLeaf::Record(doc.leaf).encode();
    let leaf = tlog_tiles::record_hash(&leaf);
    check_record(&path.collect(), 4, *checkpoint.hash(), 1, leaf).unwrap();
    assert_eq!(known[1].signature()[..8], COSIGNED.to_be_bytes());
}

/// The root that a path leads to, by the recursive definition of RFC 9162, 2.1.3.1; none if the length is wrong.
fn naive_root(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if size == 1 {
        return path.is_empty().then_some(leaf);
    }
    let (last, rest) = path.split_last()?;
    let mut left = 1;
    while left * 2 < size {
        left *= 2;
    }
    if index < left {
        let child = naive_root(leaf, index, left, rest)?;
        Some(log::node_hash(&child, last))
    } else {
        let child = naive_root(leaf, index - left, size - left, rest)?;
        Some(log::node_hash(last, &child))
    }
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count)
        .map(|at| log::leaf_hash(&at.to_le_bytes()))
        .collect()
}

#[test]
fn both_verifications_of_inclusion_agree_on_every_small_tree() {
    for size in 1..=33 {
        let leaves = leaves(size);
        let root = super::world::root(&leaves);
        for index in 0..size {
            let path = inclusion_path(&leaves, index).unwrap();
            let leaf = leaves[usize::try_from(index).unwrap()];
            let naive = naive_root(leaf, index, size, path.hashes());
            assert_eq!(naive, Some(root), "{index} of {size}");
            let found =
                log::verify_inclusion(&leaf, LeafIndex(index), TreeSize(size), &path, &root);
            assert_eq!(found, Ok(()), "{index} of {size}");
        }
        assert_eq!(inclusion_path(&leaves, size), None);
    }
}

proptest! {
    #[test]
    fn both_verifications_agree_on_any_path(
        size in 1_u64..200, index in 0_u64..200, leaf in 0_u64..200,
        cut in 0_usize..3, grow in 0_usize..2, flip in any::<Option<prop::sample::Index>>(),
    ) {
        let leaves = leaves(size);
        let root = super::world::root(&leaves);
        let leaf = leaves[usize::try_from(leaf % size).unwrap()];
        let mut hashes = inclusion_path(&leaves, index % size).unwrap().hashes().to_vec();
        hashes.truncate(hashes.len().saturating_sub(cut));
        hashes.extend(vec![Hash([7; 32]); grow]);
        if let (Some(flip), false) = (flip, hashes.is_empty()) {
            let at = flip.index(hashes.len());
            hashes[at].0[5] ^= 4;
        }
        let path = log::Path::new(hashes).unwrap();
        let ours = log::verify_inclusion(&leaf, LeafIndex(index), TreeSize(size), &path, &root);
        let naive = index < size && naive_root(leaf, index, size, path.hashes()) == Some(root);
        prop_assert_eq!(ours.is_ok(), naive);
    }
}

#[test]
fn paths_in_a_submission_of_many_records_reach_over_tiles() {
    let leaves = leaves(700);
    let root = super::world::root(&leaves);
    for index in [0, 255, 256, 511, 512, 699] {
        let path = inclusion_path(&leaves, index).unwrap();
        let leaf = leaves[usize::try_from(index).unwrap()];
        assert_eq!(naive_root(leaf, index, 700, path.hashes()), Some(root));
    }
}

#[test]
fn a_receipt_of_four_is_small() {
    let (world, doc) = World::standard();
    let text = world.raw(&doc).text();
    assert!(text.len() < 4096, "{}", text.len());
    Receipt::parse(text.as_bytes()).unwrap();
}
