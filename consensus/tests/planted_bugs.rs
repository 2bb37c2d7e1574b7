//! The planted bugs of the mutation check exist in its own build alone, and all thirty are really planted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LIST: &str = include_str!("../../ledger/src/planted.rs");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Names and descriptions of all bugs, as the list says them.
fn bugs() -> Vec<(&'static str, &'static str)> {
    let lines = LIST.lines().map(str::trim);
    let entries = lines.filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    let bugs = entries.filter_map(|line| {
        let (head, what) = line.split_once('"')?;
        let name = head.split_whitespace().nth(1)?;
        Some((name, what.trim_end_matches("\";")))
    });
    bugs.collect()
}

fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).expect("folder can be read") {
        let path = entry.expect("entry can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&fs::read_to_string(&path).expect("source is UTF-8"));
        }
    }
}

#[test]
fn a_normal_build_has_no_trace_of_the_planted_bugs() {
    let program = env!("CARGO_BIN_EXE_nachweis-simulate");
    let bytes = fs::read(program).expect("the simulator was built");
    let text = String::from_utf8_lossy(&bytes);
    for (name, what) in bugs() {
        assert!(!text.contains(what), "{name} is in the normal build");
    }
    let refused = Command::new(program).arg("mutants").output().expect("runs");
    assert_eq!(refused.status.code(), Some(2), "no such command");
}

#[test]
fn only_the_mutation_check_sets_the_flag() {
    for folder in ["scripts", "."] {
        for entry in fs::read_dir(root().join(folder)).expect("folder can be read") {
            let path = entry.expect("entry can be read").path();
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            let sets = text.contains("cfg planted_bugs") || text.contains("cfg=planted_bugs");
            assert_eq!(
                sets,
                path.ends_with("scripts/mutants"),
                "{}",
                path.display()
            );
        }
    }
    let node = fs::read_to_string(root().join("node/src/lib.rs")).expect("source");
    assert!(
        node.contains("#[cfg(planted_bugs)]\ncompile_error!"),
        "no node is built with them"
    );
}

#[test]
fn all_bugs_are_planted() {
    let mut code = String::new();
    for folder in ["ledger/src", "consensus/src"] {
        sources(&root().join(folder), &mut code);
    }
    let hooks: Vec<&str> = code
        .split("planted!(")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .flat_map(|named| named.split('|').map(str::trim))
        .collect();
    let bugs = bugs();
    assert_eq!(bugs.len(), 31);
    for (name, _) in bugs {
        assert!(hooks.contains(&name), "{name} is planted nowhere");
    }
}
