//! Reading documents: changing files, folders, hashes.

use super::*;
use std::cell::Cell;
use std::os::unix::fs::symlink;
use std::sync::atomic::AtomicU64;

fn names(found: &Found, root: &Path) -> Vec<String> {
    let short = |file: &DocumentFile| file.path.strip_prefix(root).unwrap().display().to_string();
    found.files.iter().map(short).collect()
}

#[test]
fn a_folder_gives_its_documents_by_name_and_nothing_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("sub/deeper")).unwrap();
    fs::create_dir(root.join("state")).unwrap();
    for name in [
        "b.pdf",
        "a.pdf",
        "a.pdf.tlog-proof",
        ".hidden",
        "sub/c.pdf",
        "sub/deeper/d",
        "state/registrations",
    ] {
        fs::write(root.join(name), name).unwrap();
    }
    symlink("..", root.join("sub/loop")).unwrap();
    symlink("a.pdf", root.join("link.pdf")).unwrap();
    let twice = [root.to_path_buf(), root.join("a.pdf")];
    let found = find(&twice, Some(&root.join("state")));
    assert_eq!(
        names(&found, root),
        ["a.pdf", "b.pdf", "link.pdf", "sub/c.pdf", "sub/deeper/d"]
    );
    assert!(found.failed.is_empty(), "{:?}", found.failed);
}

#[test]
fn what_cannot_be_taken_is_listed_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("good"), "good").unwrap();
    fs::write(root.join("x.tlog-proof"), "").unwrap();
    symlink("nowhere", root.join("broken")).unwrap();
    let paths = ["empty", "gone", "x.tlog-proof", "broken", "good"].map(|name| root.join(name));
    let found = find(&paths, None);
    assert_eq!(names(&found, root), ["good"]);
    let troubles: Vec<_> = found.failed.iter().map(|f| f.trouble.to_string()).collect();
    assert_eq!(
        troubles,
        [
            "has no documents",
            "does not exist",
            "is a receipt, not a document",
            "does not exist"
        ]
    );
}

#[test]
fn a_device_is_not_opened_for_reading() {
    assert!(matches!(
        find(&["/dev/null".into()], None).failed[0].trouble,
        Trouble::Special
    ));
    assert!(matches!(
        hash(Path::new("/dev/null"), &|_| {}),
        Err(Trouble::Special)
    ));
}

#[test]
fn digests_come_in_order_and_every_byte_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = 0;
    for at in 0..20_usize {
        let bytes = vec![u8::try_from(at).unwrap(); at * 50_000];
        expected += bytes.len() as u64;
        fs::write(dir.path().join(format!("{at:02}")), bytes).unwrap();
    }
    let found = find(&[dir.path().into()], None);
    let read = AtomicU64::new(0);
    let digests = hash_all(&found.files, &|count| {
        read.fetch_add(count, Ordering::Relaxed);
    });
    assert_eq!(read.into_inner(), expected);
    for (file, digest) in found.files.iter().zip(digests) {
        let whole = ledger::hash::sha256(&[&fs::read(&file.path).unwrap()]);
        assert_eq!(digest.unwrap().as_bytes(), whole.as_bytes());
    }
}

/// Hashes a file of several chunks and does something to it after the first one.
fn disturbed(name: &str, act: impl Fn(&Path)) -> Trouble {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, vec![1; 3 * CHUNK]).unwrap();
    let first = Cell::new(true);
    hash(&path, &|_| {
        if first.replace(false) {
            act(&path);
        }
    })
    .unwrap_err()
}

#[test]
fn a_file_that_changes_while_it_is_hashed_is_refused() {
    let grown = disturbed("grown", |path| {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        io::Write::write_all(&mut file, b"more").unwrap();
    });
    assert!(matches!(grown, Trouble::Changed), "{grown:?}");
    let rewritten = disturbed("rewritten", |path| {
        // Same length, and the modification time put back: the change time still tells.
        let time = fs::metadata(path).unwrap().modified().unwrap();
        fs::write(path, vec![2; 3 * CHUNK]).unwrap();
        let file = OpenOptions::new().append(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    });
    assert!(matches!(rewritten, Trouble::Changed), "{rewritten:?}");
    let replaced = disturbed("replaced", |path| {
        let other = path.with_extension("new");
        fs::write(&other, vec![1; 3 * CHUNK]).unwrap();
        fs::rename(other, path).unwrap();
    });
    assert!(matches!(replaced, Trouble::Changed), "{replaced:?}");
    let gone = disturbed("gone", |path| fs::remove_file(path).unwrap());
    assert!(
        matches!(gone, Trouble::Changed | Trouble::Missing),
        "{gone:?}"
    );
}
