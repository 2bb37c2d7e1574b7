//! Only a quorum's checkpoint of this very tree is shown.

use super::*;
use crate::testkit;
use ledger::checkpoint::Checkpoint;
use ledger::cosignature;
use ledger::genesis::Purpose;
use ledger::hash::{Hash, sha256};
use ledger::note::{self, Note, VerifierKey};
use ledger::tip::Founding;

fn founding() -> Founding {
    testkit::founding(4)
}

fn root(size: u64) -> Hash {
    sha256(&[&size.to_le_bytes()])
}

/// A note by these cosigners at this time, with a log line of the first if it is to have one.
fn noted(size: u64, root: Hash, signers: &[u16], time_s: u64, logs: &[u16]) -> String {
    let founding = founding();
    let origin = founding.genesis().origin();
    let set = founding.set();
    let member = |at: u16| set.get(ledger::id::ValidatorIndex(at)).unwrap();
    let text = Checkpoint {
        origin: origin.clone(),
        size: TreeSize(size),
        root,
    }
    .text();
    let mut lines = Vec::new();
    for at in logs {
        let by = VerifierKey::log(&origin, member(*at).log);
        lines.push(note::sign_log(&by, &testkit::key(*at, Purpose::Log), &text));
    }
    for at in signers {
        let by = VerifierKey::cosigner(&origin, &member(*at).id, member(*at).cosigner);
        let key = testkit::key(*at, Purpose::Cosigner);
        lines.push(cosignature::cosign(&by, &key, time_s, &text));
    }
    Note::new(text, lines).encode()
}

#[test]
fn a_served_note_needs_a_quorum_and_a_log_line() {
    let founding = founding();
    let signers = Signers::new(founding.genesis(), founding.set());
    let read = |text: &str| signers.read_served_note(text).map(|it| it.checkpoint.size);
    assert_eq!(
        read(&noted(7, root(7), &[0, 1, 2], 5, &[0])),
        Some(TreeSize(7))
    );
    assert_eq!(read(&noted(7, root(7), &[0, 1], 5, &[0])), None);
    assert_eq!(read(&noted(7, root(7), &[0, 1, 2], 5, &[])), None);
    let text = noted(7, root(7), &[0, 1, 2], 5, &[3]);
    assert_eq!(read(&text), Some(TreeSize(7)));
    assert_eq!(read(&text.replace("\n7\n", "\n8\n")), None);
    assert_eq!(read("no note"), None);
}
