//! The house rules that a machine can see.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file; a longer one has outgrown its idea.
const MAX_LINES: usize = 800;
/// Longest script: scripts are thin.
const MAX_SCRIPT_LINES: usize = 150;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests is a folder of the workspace")
        .into()
}

fn files_below(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("folder can be read") {
        let path = entry.expect("entry can be read").path();
        if path.is_dir() {
            files_below(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for member in ["ledger", "consensus", "genesis", "node", "client", "tests"] {
        files_below(&root().join(member), "rs", &mut found);
    }
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("source is UTF-8");
            (
                path.strip_prefix(root())
                    .expect("below the root")
                    .to_owned(),
                text,
            )
        })
        .collect()
}

#[test]
fn every_source_file_opens_with_what_it_is() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(
        silent.is_empty(),
        "files without an opening `//!`: {silent:?}"
    );
}

#[test]
fn no_source_file_outgrows_its_idea() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "files over {MAX_LINES} lines: {long:?}");
}

#[test]
fn scripts_are_thin() {
    for entry in fs::read_dir(root().join("scripts")).expect("scripts can be read") {
        let path = entry.expect("entry can be read").path();
        let lines = fs::read_to_string(&path)
            .expect("script is UTF-8")
            .lines()
            .count();
        assert!(
            lines <= MAX_SCRIPT_LINES,
            "{} has {lines} lines",
            path.display()
        );
    }
}

#[test]
fn nothing_is_left_to_be_written() {
    let marks = ["todo!(", "unimplemented!(", "FIXME", "#[ignore"];
    for (path, text) in sources() {
        if path.ends_with("tidy.rs") {
            continue;
        }
        for mark in marks {
            assert!(!text.contains(mark), "{} contains {mark}", path.display());
        }
    }
}

#[test]
fn the_core_is_bare() {
    for core in ["ledger", "consensus"] {
        let lib = fs::read_to_string(root().join(core).join("src/lib.rs")).expect("lib.rs");
        assert!(lib.contains("#![no_std]"), "{core} must stay without std");
    }
    for (path, text) in sources() {
        let names = |word: &str| text.contains(&format!("{word}::"));
        if names("sled") {
            assert!(
                path.starts_with("node/src/storage"),
                "{} names sled",
                path.display()
            );
        }
        if names("libp2p") {
            let allowed = path.starts_with("node/src/network") || path.starts_with("node/tests");
            assert!(
                allowed || path.starts_with("tests"),
                "{} names libp2p",
                path.display()
            );
        }
    }
}

#[test]
fn every_promise_names_tests_that_exist() {
    let promises = fs::read_to_string(root().join("docs/promises.md")).expect("docs/promises.md");
    let all: String = sources().into_iter().map(|(_, text)| text).collect();
    let named: Vec<_> = promises
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.strip_prefix("fn "))
        .collect();
    assert!(
        named.len() >= 20,
        "docs/promises.md names only {} tests",
        named.len()
    );
    for name in named {
        assert!(
            all.contains(&format!("fn {name}(")),
            "docs/promises.md names no test: {name}"
        );
    }
}
