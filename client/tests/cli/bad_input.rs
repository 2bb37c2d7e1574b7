//! Bad input gets a clear error, and nothing is lost or left behind.

use crate::support::Desk;
use crate::support::node::{Behaviour, Node};
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

#[test]
fn files_that_cannot_be_processed_are_listed_and_the_others_go_on() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 2);
    desk.write("lost.tlog-proof", b"");
    symlink("nowhere", desk.path("akte/dangling.txt")).unwrap();
    symlink("round.txt", desk.path("akte/round.txt")).unwrap();
    fs::create_dir(desk.path("empty")).unwrap();
    let arguments = [
        "register",
        "akte",
        "gone.txt",
        "empty",
        "lost.tlog-proof",
        "/dev/null",
    ];
    assert_eq!(
        desk.run(&arguments),
        "\
REGISTERED          NW-ID  akte/000.txt
REGISTERED          NW-ID  akte/001.txt
[stderr]
hashing 2 files
registering 2 documents
checking the receipts of 2 documents
2 documents registered, every receipt checked
6 files could not be processed:
  akte/dangling.txt  does not exist
  akte/round.txt  cannot be read: Too many levels of symbolic links (os error 40)
  gone.txt  does not exist
  empty  has no documents
  lost.tlog-proof  is a receipt, not a document
  /dev/null  is neither a file nor a folder
final after T s, provable after T s, N documents/s
[exit status: 7]
"
    );
}

#[test]
fn an_empty_folder_is_nothing_to_do() {
    let desk = Desk::at(&["http://127.0.0.1:9"]);
    fs::create_dir(desk.path("empty")).unwrap();
    assert_eq!(
        desk.run(&["register", "empty"]),
        "[stderr]\nerror: there is nothing to do: no documents in empty\n[exit status: 2]\n"
    );
    assert!(!desk.path("state").exists(), "nothing is created");
    let verified = desk.run(&["verify", "--offline", "empty"]);
    assert_eq!(
        verified,
        "NOT CHECKED  empty  has no documents\n[exit status: 7]\n"
    );
}

#[test]
fn a_changed_file_is_a_document_of_its_own_only_if_asked_for() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 1);
    desk.output(&["register", "akte"]);
    let first = fs::read(desk.path("akte/000.txt.tlog-proof")).unwrap();
    fs::write(desk.path("akte/000.txt"), "another version").unwrap();
    let refused = desk.run(&["register", "akte"]);
    assert!(
        refused
            .contains("  akte/000.txt  changed since it was registered as NW-ID\n[exit status: 7]"),
        "{refused}"
    );
    // The same without the state: the receipt beside the file tells.
    fs::rename(desk.path("state"), desk.path("away")).unwrap();
    assert_eq!(desk.run(&["register", "akte"]), refused);
    fs::remove_dir_all(desk.path("state")).unwrap();
    fs::rename(desk.path("away"), desk.path("state")).unwrap();

    let taken = desk.run(&["register", "--changed", "akte"]);
    assert!(taken.starts_with("REGISTERED"), "{taken}");
    assert_eq!(node.registrations(), 2);
    let receipts = desk.receipts("akte");
    assert_eq!(receipts.len(), 2, "{receipts:?}");
    assert_eq!(
        fs::read(desk.path("akte").join(&receipts[0])).unwrap(),
        first
    );
    assert!(desk.run(&["verify", "akte"]).starts_with("CURRENT"));
}

#[test]
fn a_node_that_is_down_hangs_or_is_no_node_is_could_not_tell() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 2);
    desk.output(&["register", "akte/000.txt"]);
    let cases = [
        (
            Behaviour::Hangs,
            "could not reach a node: http://NODE did not answer in ",
        ),
        (
            Behaviour::Fails(500),
            "could not reach a node: http://NODE answered 500 Internal Server Error",
        ),
        (
            Behaviour::Fails(503),
            "the node took no submission in 2 s: told to fail",
        ),
        (
            Behaviour::OtherProgram,
            "the answer of http://NODE is not understood",
        ),
    ];
    for (behaviour, says) in cases {
        node.behave(behaviour);
        let start = Instant::now();
        let shown = desk.run(&["register", "--wait", "2", "akte/001.txt"]);
        assert!(
            shown.contains(&format!("error: {says}")),
            "{behaviour:?}: {shown}"
        );
        assert!(shown.contains("run the same command again"), "{shown}");
        assert!(shown.ends_with("[exit status: 3]\n"), "{shown}");
        assert!(start.elapsed() < Duration::from_secs(20), "{behaviour:?}");

        let start = Instant::now();
        let verified = desk.run(&["verify", "akte/000.txt"]);
        assert!(verified.starts_with("CURRENT"), "{verified}");
        assert!(verified.contains("note: no fresh status: "), "{verified}");
        assert!(
            verified.ends_with("the receipt speaks alone\n[exit status: 0]\n"),
            "{verified}"
        );
        assert!(start.elapsed() < Duration::from_secs(10), "{behaviour:?}");

        let history = desk.run(&["history", "akte/000.txt"]);
        assert!(history.ends_with("[exit status: 3]\n"), "{history}");
    }
    node.behave(Behaviour::Good);
    assert!(
        desk.run(&["register", "akte"])
            .ends_with("[exit status: 0]\n")
    );
    assert_eq!(node.registrations(), 2);
}

#[test]
fn nobody_at_the_address_is_could_not_tell() {
    let desk = Desk::at(&["http://127.0.0.1:9"]);
    desk.documents("akte", 1);
    let shown = desk.run(&["register", "akte"]);
    assert!(
        shown.contains(
            "error: could not reach a node: http://NODE refused the connection\n\
             hint: is the node running? its address is `node` in the configuration; run the same command again"
        ),
        "{shown}"
    );
    assert!(shown.ends_with("[exit status: 3]\n"), "{shown}");
}

#[test]
fn a_key_file_that_others_can_read_is_refused_and_nothing_is_left() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 1);
    desk.mode("registrar.key", 0o640);
    assert_eq!(
        desk.run(&["register", "akte"]),
        "\
[stderr]
error: key file registrar.key is open to others: mode 0640
hint: chmod 600 registrar.key; if others could read it, make a new key instead
[exit status: 4]
"
    );
    assert!(!desk.path("state").exists());
    desk.key_file("registrar.key", "registrar", "vg-leipzig", "registrar-3");
    let other = desk.run(&["register", "akte"]);
    assert!(
        other.contains("error: the key file is of vg-leipzig, the configuration of bamf"),
        "{other}"
    );
    assert!(other.ends_with("[exit status: 2]\n"), "{other}");
    desk.key_file("registrar.key", "admin", "bamf", "admin-0");
    let purpose = desk.run(&["register", "akte"]);
    assert!(
        purpose.contains("is for admin, not for registrar"),
        "{purpose}"
    );
    assert_eq!(node.registrations(), 0);
}

#[test]
fn a_wrong_trust_file_is_told_from_a_wrong_network() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 1);
    desk.output(&["register", "akte"]);
    desk.trust("other.test");
    let other = desk.run(&["verify", "akte"]);
    assert!(
        other.starts_with("PROOF INVALID (step 2 (origin))  akte/000.txt"),
        "{other}"
    );
    assert!(other.ends_with("[exit status: 1]\n"), "{other}");
    desk.write("akte/new.txt", b"new");
    // The state belongs to the network that it was made for.
    let state = desk.run(&["register", "akte/new.txt"]);
    assert!(
        state.contains("error: the state in state belongs to authority #0 of network"),
        "{state}"
    );
    assert!(state.ends_with("[exit status: 2]\n"), "{state}");
    desk.configure(&format!("node = {:?}\nstate = \"other\"\n", node.url));
    let refused = desk.run(&["register", "akte/new.txt"]);
    assert!(
        refused.contains("error: the ledger refuses: the rule is wrong-chain"),
        "{refused}"
    );
    assert!(refused.ends_with("[exit status: 4]\n"), "{refused}");
    for bad in [b"{}".as_slice(), b"", b"\xff"] {
        desk.write("trust.json", bad);
        let broken = desk.run(&["verify", "akte"]);
        assert!(
            broken.contains("error: trust file is not the JSON of this format"),
            "{broken}"
        );
        assert!(broken.ends_with("[exit status: 2]\n"), "{broken}");
    }
    fs::remove_file(desk.path("trust.json")).unwrap();
    let none = desk.run(&["verify", "akte"]);
    assert!(
        none.contains("trust.json cannot be read: No such file"),
        "{none}"
    );
    assert!(none.ends_with("[exit status: 2]\n"), "{none}");
}

#[test]
fn usage_and_configuration_are_told_apart_and_explained() {
    let desk = Desk::at(&["http://127.0.0.1:9"]);
    let mut bare = desk.command(&["verify", "x"]);
    let output = bare.args(["--config", "nowhere.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", desk.shown(&output));
    desk.configure("nodes = \"x\"\n");
    assert_eq!(
        desk.run(&["verify", "x"]),
        "\
[stderr]
error: configuration desk.toml is not understood: line 5: unknown field `nodes`, expected one of `authority`, `node`, `trust`, `key`, `admin_key`, `state`, `timeout_s`
hint: known keys: authority, node, trust, key, admin_key, state, timeout_s
[exit status: 2]
"
    );
    desk.configure("");
    desk.documents("akte", 1);
    let missing = desk.run(&["register", "akte"]);
    assert_eq!(
        missing,
        "\
[stderr]
error: configuration desk.toml has no `node`
hint: add a line `node = \"…\"` to it
[exit status: 2]
"
    );
    desk.configure("node = \"n\"\nstate = \"state\"\n");
    let address = desk.run(&["register", "akte"]);
    assert!(
        address.contains("error: \"n\" is no address of a node"),
        "{address}"
    );
    assert!(address.ends_with("[exit status: 2]\n"), "{address}");
    for bad in [
        &["register"] as &[&str],
        &["register", "--batch", "10001", "akte"],
        &["revoke", "x", "--reason", "no"],
    ] {
        assert!(desk.run(bad).ends_with("[exit status: 2]\n"), "{bad:?}");
    }
}
