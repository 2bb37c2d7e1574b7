//! The core is bare: no standard library in what `ledger` and `consensus` are built of.

use std::process::Command;

/// Each crate that is linked into `package`, with its features; build scripts and derives run elsewhere.
fn linked(package: &str) -> Vec<(String, Vec<String>)> {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--offline", "--locked", "--package", package])
        .args(["--edges", "normal,no-proc-macro", "--prefix", "none"])
        .args(["--format", "{lib}|{f}"])
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).expect("names are UTF-8");
    let row = |line: &str| {
        let (name, features) = line.trim_end_matches(" (*)").split_once('|')?;
        Some((name.into(), features.split(',').map(Into::into).collect()))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn the_core_links_no_crate_with_the_feature_std() {
    for package in ["ledger", "consensus"] {
        let crates = linked(package);
        assert!(crates.iter().any(|(name, _)| name == "sha2"), "{crates:?}");
        for (name, features) in crates {
            assert!(
                !features.iter().any(|feature| feature == "std"),
                "{package}: {name} has std"
            );
            // No clock, no entropy, no input and output, no thread.
            let foreign = [
                "getrandom",
                "tokio",
                "serde",
                "rand",
                "chrono",
                "time",
                "libc",
            ];
            assert!(!foreign.contains(&name.as_str()), "{package} links {name}");
        }
    }
}
