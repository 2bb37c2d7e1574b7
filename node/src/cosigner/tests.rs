//! Collecting cosignatures: what counts, what waits, what is refused.

use super::collection::{MAX_EARLY, MAX_OPEN};
use super::*;
use crate::testkit;
use ledger::genesis::Purpose;
use ledger::note::SignatureLine;
use ledger::tip::Founding;

fn founding() -> Founding {
    testkit::founding(4)
}

fn signers() -> Signers {
    let founding = founding();
    Signers::new(founding.genesis(), founding.set())
}

fn decided(size: u64) -> Decided {
    Decided {
        height: Height(size),
        time_ms: TimeMs(size * 10),
        size: TreeSize(size),
        root: root(size),
    }
}

fn root(size: u64) -> Hash {
    ledger::hash::sha256(&[&size.to_le_bytes()])
}

fn cosig(signer: u16, size: u64, root: Hash, time_s: u64) -> Cosig {
    let signers = signers();
    let signer = ValidatorIndex(signer);
    let key = testkit::key(signer.0, Purpose::Cosigner);
    let text = signers.text(TreeSize(size), root);
    let line = cosignature::cosign(signers.get(signer).unwrap(), &key, time_s, &text);
    Cosig {
        size: TreeSize(size),
        root,
        time_s,
        signer,
        signature: RawSignature(*line.blob.last_chunk().unwrap()),
    }
}

/// What this node (validator 0) adds itself.
fn sign(collection: &mut Collection, size: u64) {
    let signers = signers();
    let text = signers.text(TreeSize(size), root(size));
    let key = testkit::key(0, Purpose::Cosigner);
    let me = ValidatorIndex(0);
    let line = cosignature::cosign(signers.get(me).unwrap(), &key, 50, &text);
    let log_key = testkit::key(0, Purpose::Log);
    let log_line: SignatureLine = note::sign_log(signers.log(me).unwrap(), &log_key, &text);
    collection.sign(TreeSize(size), (me, 50), line, log_line);
}

#[test]
fn three_of_four_make_a_note_that_verifies() {
    let mut collection = Collection::new(signers());
    collection.decide(decided(7));
    sign(&mut collection, 7);
    assert!(collection.newest_quorum().is_none());
    assert_eq!(
        collection.receive(&cosig(1, 7, root(7), 100)),
        Received::Added
    );
    assert!(collection.note(TreeSize(7)).is_none());
    assert_eq!(
        collection.receive(&cosig(1, 7, root(7), 100)),
        Received::Known
    );
    assert!(collection.note(TreeSize(7)).is_none(), "one signer twice");
    assert_eq!(
        collection.receive(&cosig(3, 7, root(7), 101)),
        Received::Added
    );
    let noted = collection.note(TreeSize(7)).unwrap();
    assert!(collection.is_provable(TreeSize(7)));
    let kept = signers().read_note(&noted.note).unwrap();
    assert_eq!((kept.checkpoint.size, kept.lines.len()), (TreeSize(7), 3));
    let note = note::Note::parse(noted.note.as_bytes()).unwrap();
    let log = signers().log(ValidatorIndex(0)).unwrap().clone();
    assert!(
        note.lines()
            .iter()
            .any(|line| note::verify_log(&log, line, note.text()))
    );
    // A fourth line, and a newer time, make a better note of the same checkpoint.
    assert_eq!(
        collection.receive(&cosig(1, 7, root(7), 160)),
        Received::Added
    );
    let kept = signers()
        .read_note(&collection.note(TreeSize(7)).unwrap().note)
        .unwrap();
    assert_eq!(kept.lines[&ValidatorIndex(1)].0, 160);
}

#[test]
fn only_what_verifies_for_the_own_root_counts() {
    let mut collection = Collection::new(signers());
    collection.decide(decided(7));
    let mut forged = cosig(1, 7, root(7), 100);
    forged.time_s = 101;
    assert_eq!(collection.receive(&forged), Received::Bad);
    assert_eq!(
        collection.receive(&cosig(1, 7, root(8), 100)),
        Received::OtherRoot
    );
    let mut foreign = cosig(1, 7, root(7), 100);
    foreign.signer = ValidatorIndex(2);
    assert_eq!(collection.receive(&foreign), Received::Bad);
    foreign.signer = ValidatorIndex(9);
    assert_eq!(collection.receive(&foreign), Received::Bad);
}

#[test]
fn what_comes_early_waits_for_the_own_checkpoint_and_no_longer() {
    let mut collection = Collection::new(signers());
    for signer in 1..4 {
        let early = cosig(signer, 9, root(9), 100);
        assert_eq!(collection.receive(&early), Received::Early);
        let wrong = cosig(signer, 5, root(4), 100);
        assert_eq!(collection.receive(&wrong), Received::Early);
    }
    collection.decide(decided(5));
    sign(&mut collection, 5);
    assert!(
        collection.newest_quorum().is_none(),
        "the early ones name another root"
    );
    collection.decide(decided(9));
    assert!(collection.newest_quorum().is_none(), "not without the own");
    sign(&mut collection, 9);
    assert_eq!(collection.newest_quorum().unwrap().size, TreeSize(9));
    // What is smaller is given up.
    assert_eq!(
        collection.receive(&cosig(1, 5, root(5), 100)),
        Received::Known
    );
}

#[test]
fn what_waits_is_bounded() {
    let mut collection = Collection::new(signers());
    let many = u64::try_from(MAX_EARLY).unwrap() + 5;
    for size in 1..=many {
        collection.receive(&cosig(1, size, root(size), 100));
    }
    collection.decide(decided(1));
    sign(&mut collection, 1);
    collection.receive(&cosig(2, 1, root(1), 100));
    assert!(
        collection.note(TreeSize(1)).is_none(),
        "the oldest was given up"
    );
    for size in 2..u64::try_from(MAX_OPEN).unwrap() + 10 {
        collection.decide(decided(size));
    }
    assert_eq!(
        collection.receive(&cosig(3, 1, root(1), 100)),
        Received::Known
    );
}

#[test]
fn a_kept_note_counts_only_with_a_quorum_for_this_origin() {
    let mut collection = Collection::new(signers());
    collection.decide(decided(7));
    sign(&mut collection, 7);
    collection.receive(&cosig(1, 7, root(7), 100));
    collection.receive(&cosig(2, 7, root(7), 100));
    let text = collection.note(TreeSize(7)).unwrap().note;
    assert!(signers().read_note(&text).is_some());
    let missing = text.lines().filter(|line| !line.contains("authority-02"));
    let missing: String = missing.map(|line| format!("{line}\n")).collect();
    assert!(signers().read_note(&missing).is_none());
    let other = testkit::founding(5);
    let other = Signers::new(other.genesis(), other.set());
    assert!(other.read_note(&text).is_none());
}
