//! The state file: what is kept, locked, and found again.

use super::*;
use ledger::document::{Commitment, CommitmentContext, CommitmentRole, DocumentId, Nonce, Salt};
use ledger::hash::Hash;
use ledger::id::TimeMs;
use ledger::key::SigningKey;
use ledger::record::{Record, Retention};
use ledger::submission::{Draft, Submission};

const OWNER: Owner = Owner {
    chain: ChainId(Hash([7; 32])),
    authority: AuthorityIndex(2),
};

fn entry(number: u8) -> (FileEntry, Record) {
    let nonce = Nonce([number; 32]);
    let document = DocumentId::derive(&OWNER.chain, OWNER.authority, &nonce);
    let salt = Salt::new([number; 64]).unwrap();
    let digest = [number; 32];
    let context = CommitmentContext {
        chain: &OWNER.chain,
        document: &document,
        role: CommitmentRole::Internal,
    };
    let internal: Commitment = context.commit(&salt, &digest);
    let place = place_bytes(Path::new(&format!("/akten/{number}.pdf"))).unwrap();
    let record = Record::Register {
        document,
        nonce,
        internal,
        citizen: None,
        detail: None,
        retention: Retention::Unspecified,
    };
    let file = FileEntry {
        document,
        digest,
        salt,
        place,
    };
    (file, record)
}

/// A batch of the numbered files, in a window that begins at `start`.
fn batch(numbers: &[u8], start: u64) -> (VerifiedSubmission, Vec<FileEntry>) {
    let (files, records) = numbers.iter().map(|number| entry(*number)).unzip();
    let draft = Draft {
        chain: OWNER.chain,
        authority: OWNER.authority,
        not_before_ms: TimeMs(start),
        not_after_ms: TimeMs(start + 1000),
        records,
    };
    (
        Submission::sign(draft, &SigningKey::from_seed(&[1; 32])).unwrap(),
        files,
    )
}

fn open(dir: &Path) -> State {
    State::open(dir, OWNER).unwrap()
}

fn begin(state: &mut State, numbers: &[u8], start: u64) -> Pending {
    let (submission, files) = batch(numbers, start);
    state.begin(&submission, files).unwrap()
}

#[test]
fn what_was_written_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("state");
    let (first, second) = {
        let mut state = open(&dir);
        let first = begin(&mut state, &[1, 2], 0);
        let second = begin(&mut state, &[3], 0);
        state.settle(&first.hash).unwrap();
        (first, second)
    };
    let state = open(&dir);
    let registrations = state.registrations();
    let pending: Vec<_> = registrations.pending().collect();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].hash, second.hash);
    assert_eq!(pending[0].bytes, second.bytes);
    let (file, progress) = registrations.at(Path::new("/akten/2.pdf")).unwrap();
    assert_eq!((file, progress), (&first.files[1], Progress::Proved));
    let (_, progress) = registrations.at(Path::new("/akten/3.pdf")).unwrap();
    assert_eq!(progress, Progress::Pending);
    assert_eq!(registrations.len(), 3);
}

#[test]
fn signed_again_replaces_what_was_pending() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&dir.path().join("state"));
    begin(&mut state, &[1, 2], 0);
    begin(&mut state, &[3], 0);
    let again = begin(&mut state, &[1, 2], 5000);
    drop(state);
    let state = open(&dir.path().join("state"));
    let hashes: Vec<_> = state.registrations().pending().map(|p| p.hash).collect();
    assert_eq!(hashes.len(), 2);
    assert!(hashes.contains(&again.hash));
    assert_eq!(state.registrations().len(), 3);
}

/// Cut off at every byte: what was whole is there, the rest is gone, and writing goes on.
#[test]
fn a_file_cut_off_anywhere_loses_only_what_was_never_acted_upon() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let mut ends = Vec::new();
    let path = whole.join("registrations");
    let length = || fs::metadata(&path).unwrap().len();
    {
        let mut state = open(&whole);
        ends.push(length());
        let first = begin(&mut state, &[1, 2], 0);
        ends.push(length());
        state.settle(&first.hash).unwrap();
        ends.push(length());
        begin(&mut state, &[3], 0);
        ends.push(length());
    }
    let bytes = fs::read(&path).unwrap();
    let torn = dir.path().join("torn");
    drop(open(&torn));
    for cut in 0..=bytes.len() {
        fs::write(torn.join("registrations"), &bytes[..cut]).unwrap();
        let frames = ends.iter().filter(|end| **end <= cut as u64).count();
        let expected = [(0, 0), (0, 0), (2, 1), (2, 0), (3, 1)][frames];
        let known = look(&torn, OWNER).unwrap().unwrap();
        let found = (known.len(), known.pending().count());
        assert_eq!(found, expected, "cut at {cut}");
        // Going on costs several syncs: at the ends of frames, beside them, and now and then.
        if cut % 50 != 0 && !ends.iter().any(|end| end.abs_diff(cut as u64) <= 1) {
            continue;
        }
        let mut state = open(&torn);
        assert_eq!(state.registrations().len(), expected.0);
        begin(&mut state, &[9], 0);
        drop(state);
        assert_eq!(open(&torn).registrations().len(), expected.0 + 1);
    }
}

/// A last frame with all its length and not all its bytes, as a power cut may leave it.
#[test]
fn a_last_frame_of_wrong_bytes_was_never_acted_upon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registrations");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let mut state = open(dir.path());
    begin(&mut state, &[1], 0);
    drop(state);
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 40..].fill(0);
    fs::write(&path, &bytes).unwrap();
    assert!(open(dir.path()).registrations().is_empty());
}

#[test]
fn damage_in_the_middle_is_an_error_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("state");
    let mut state = open(&dir);
    begin(&mut state, &[1], 0);
    begin(&mut state, &[2], 0);
    drop(state);
    let path = dir.join("registrations");
    let mut bytes = fs::read(&path).unwrap();
    bytes[200] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = State::open(&dir, OWNER).unwrap_err();
    assert!(
        matches!(&error, StateError::Journal(JournalError::Damaged { .. })),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), bytes);
    fs::write(&path, "something else\n").unwrap();
    let error = State::open(&dir, OWNER).unwrap_err();
    assert!(
        matches!(&error, StateError::Journal(JournalError::Heading(_))),
        "{error}"
    );
}

#[test]
fn only_one_client_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("state");
    let first = open(&dir);
    assert!(matches!(
        State::open(&dir, OWNER),
        Err(StateError::Locked(_))
    ));
    // Looking needs no lock.
    assert!(look(&dir, OWNER).unwrap().is_some());
    drop(first);
    open(&dir);
}

#[test]
fn another_network_or_an_open_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("state");
    drop(open(&dir));
    let other = Owner {
        authority: AuthorityIndex(3),
        ..OWNER
    };
    assert!(matches!(
        State::open(&dir, other),
        Err(StateError::Foreign { .. })
    ));
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(
        State::open(&dir, OWNER),
        Err(StateError::Open { .. })
    ));
}

#[test]
fn everything_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("state");
    begin(&mut open(&dir), &[1], 0);
    remember(&dir, TreeSize(5)).unwrap();
    for name in ["registrations", "lock", "seen"] {
        let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn the_newest_checkpoint_is_remembered_and_never_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(seen(dir.path()), TreeSize(0));
    remember(dir.path(), TreeSize(5)).unwrap();
    remember(dir.path(), TreeSize(3)).unwrap();
    assert_eq!(seen(dir.path()), TreeSize(5));
    fs::write(dir.path().join("seen"), "many\n").unwrap();
    assert_eq!(seen(dir.path()), TreeSize(0));
}
