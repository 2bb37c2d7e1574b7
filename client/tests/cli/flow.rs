//! The main job: register, prove, replace, revoke, keys.

use crate::support::Desk;
use crate::support::node::{Behaviour, Node};
use std::fs;
use std::process::Stdio;

#[test]
fn documents_are_registered_once_and_proved() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 3);
    assert_eq!(
        desk.run(&["register", "akte"]),
        "\
REGISTERED          NW-ID  akte/000.txt
REGISTERED          NW-ID  akte/001.txt
REGISTERED          NW-ID  akte/002.txt
[stderr]
hashing 3 files
registering 3 documents
checking the receipts of 3 documents
3 documents registered, every receipt checked
final after T s, provable after T s, N documents/s
[exit status: 0]
"
    );
    assert_eq!(
        desk.run(&["register", "akte"]),
        "\
ALREADY REGISTERED  NW-ID  akte/000.txt
ALREADY REGISTERED  NW-ID  akte/001.txt
ALREADY REGISTERED  NW-ID  akte/002.txt
[stderr]
hashing 3 files
3 documents already registered
[exit status: 0]
"
    );
    assert_eq!(node.registrations(), 3);
    for verify in [
        &["verify", "akte"] as &[&str],
        &["verify", "--offline", "akte"],
    ] {
        assert_eq!(
            desk.run(verify),
            "\
CURRENT  akte/000.txt  NW-ID  as of TIME
CURRENT  akte/001.txt  NW-ID  as of TIME
CURRENT  akte/002.txt  NW-ID  as of TIME
[exit status: 0]
"
        );
    }
}

#[test]
fn a_document_is_replaced_another_revoked_and_both_say_so_offline() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 3);
    desk.output(&["register", "akte"]);
    assert_eq!(
        desk.run(&["supersede", "akte/000.txt", "akte/001.txt"]),
        "\
SUPERSEDED  NW-ID  akte/000.txt
        by  NW-ID  akte/001.txt
[exit status: 0]
"
    );
    assert_eq!(
        desk.run(&["revoke", "akte/002.txt", "--reason", "court-order"]),
        "\
REVOKED (court order)  NW-ID  akte/002.txt
[exit status: 0]
"
    );
    assert_eq!(
        desk.run(&["verify", "--offline", "akte"]),
        "\
SUPERSEDED (by NW-ID)  akte/000.txt  NW-ID  as of TIME
CURRENT  akte/001.txt  NW-ID  as of TIME
REVOKED (court order)  akte/002.txt  NW-ID  as of TIME
[exit status: 1]
"
    );
    assert_eq!(
        desk.run(&["history", "akte/000.txt"]),
        "\
NW-ID
  TIME  register    by bamf, code 4  (log index 0)
  TIME  supersede   by bamf, code 4  (log index 4)
[stderr]
as http://NODE says; the status is proved by: nachweis verify
[exit status: 0]
"
    );
}

#[test]
fn a_new_version_is_registered_and_replaces_the_old_one_in_one_step() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 2);
    desk.output(&["register", "akte/000.txt"]);
    assert_eq!(
        desk.run(&["supersede", "akte/000.txt", "akte/001.txt"]),
        "\
SUPERSEDED  NW-ID  akte/000.txt
        by  NW-ID  akte/001.txt
[exit status: 0]
"
    );
    assert_eq!(
        node.bodies.lock().unwrap().len(),
        2 * 2,
        "two submissions, each also until provable"
    );
    // Once more changes nothing.
    assert!(
        desk.run(&["supersede", "akte/000.txt", "akte/001.txt"])
            .contains("[exit status: 0]")
    );
    assert_eq!(node.registrations(), 2);
    assert_eq!(
        desk.receipts("akte"),
        ["000.txt.tlog-proof", "001.txt.tlog-proof"]
    );
    assert!(desk.run(&["verify", "akte/001.txt"]).starts_with("CURRENT"));
}

#[test]
fn what_cannot_be_replaced_registers_nothing() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 2);
    desk.output(&["register", "akte/000.txt"]);
    desk.output(&["revoke", "akte/000.txt", "--reason", "other"]);
    assert_eq!(
        desk.run(&["supersede", "akte/000.txt", "akte/001.txt"]),
        "[stderr]\nerror: the ledger refuses: document NW-ID has ended already\n[exit status: 4]\n"
    );
    assert_eq!(node.registrations(), 1);
    assert!(
        desk.run(&["verify", "akte/001.txt"])
            .starts_with("NOT FOUND")
    );
}

#[test]
fn an_interrupted_replacement_is_finished_by_saying_it_again() {
    // It never gets there; or it is in, and the client never hears of it.
    for deaths in 0..=1 {
        let node = Node::start();
        let desk = Desk::new(&node);
        desk.documents("akte", 2);
        desk.output(&["register", "akte/000.txt"]);
        node.behave(Behaviour::DiesAfter(deaths));
        let shown = desk.run(&["supersede", "akte/000.txt", "akte/001.txt"]);
        assert!(shown.ends_with("[exit status: 3]\n"), "{shown}");
        assert_eq!(node.registrations(), 1 + deaths);
        node.behave(Behaviour::Good);
        let shown = desk.run(&["supersede", "akte/000.txt", "akte/001.txt"]);
        assert!(shown.ends_with("[exit status: 0]\n"), "{shown}");
        assert_eq!(node.registrations(), 2);
        let verified = desk.run(&["verify", "--offline", "akte"]);
        assert!(
            verified.starts_with("SUPERSEDED (by NW-ID)  akte/000.txt"),
            "{verified}"
        );
        assert!(verified.contains("\nCURRENT  akte/001.txt"), "{verified}");
    }
}

#[test]
fn details_show_what_was_proved_and_against_whom() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 1);
    desk.output(&["register", "akte"]);
    let shown = desk.run(&["verify", "-v", "--offline", "akte"]);
    let key = crate::support::key("registrar-0").key();
    let expected = format!(
        "\
CURRENT  akte/000.txt  NW-ID  as of TIME
  issued by    Behörde bamf (bamf)
  responsible  Behörde bamf (bamf)
  registered   TIME (block 1, log index 0)
  by key       {key}
  as of        TIME (log of 2 entries, block time TIME, cosigned by bamf, lds-sachsen, vg-leipzig)
  checked with the receipt beside it
  step 1 (form): "
    );
    assert!(shown.starts_with(&expected), "{shown}");
    assert!(shown.contains("  step 15 (freshness): fresh\n"), "{shown}");
    let shown = desk.run(&["--lang", "de", "show", "akte/000.txt"]);
    assert!(
        shown.starts_with("NW-ID\n  status       CURRENT [gültig]  as of TIME\n"),
        "{shown}"
    );
    assert!(
        shown.ends_with("  proved by    receipt beside the file\n[exit status: 0]\n"),
        "{shown}"
    );
}

#[test]
fn a_document_id_alone_is_shown_by_a_fresh_checked_receipt() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 1);
    let line = String::from_utf8(desk.output(&["register", "akte"]).stdout).unwrap();
    let id = line.split_whitespace().nth(1).unwrap();
    let shown = desk.run(&["show", &id.to_lowercase()]);
    let start = "NW-ID\n  status       LOCATOR KNOWN, BYTES NOT CHECKED  as of TIME\n";
    assert!(shown.starts_with(start), "{shown}");
    let error = desk.run(&["show", &id.replace("NW-", "NW-1")]);
    assert!(
        error.contains("is neither a file nor a document id"),
        "{error}"
    );
    let folder = desk.run(&["show", "akte"]);
    assert!(
        folder.contains("akte is a folder: name a file in it"),
        "{folder}"
    );
    assert!(error.ends_with("[exit status: 2]\n"), "{error}");
}

#[test]
fn machines_get_one_object_a_line_with_these_members() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 1);
    desk.write("alone.txt", b"never registered");
    let registered = desk.output(&["register", "--json", "akte"]).stdout;
    let registered: serde_json::Value = serde_json::from_slice(&registered).unwrap();
    let members = |value: &serde_json::Value| {
        let object = value.as_object().unwrap();
        object.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(members(&registered), ["document", "file", "state"]);
    assert_eq!(registered["state"], "registered");
    let verified = desk.output(&["verify", "--json", "akte", "alone.txt"]);
    assert_eq!(verified.status.code(), Some(3));
    let lines = String::from_utf8(verified.stdout).unwrap();
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        members(&lines[0]),
        [
            "also",
            "as_of",
            "document",
            "exit",
            "file",
            "fresh",
            "index",
            "issuer",
            "registered_ms",
            "source",
            "text",
            "word"
        ]
    );
    assert_eq!(lines[0]["document"], registered["document"]);
    assert_eq!(
        (&lines[0]["word"], &lines[0]["exit"]),
        (&"CURRENT".into(), &0.into())
    );
    assert_eq!(lines[0]["source"], "node");
    assert_eq!(
        members(&lines[0]["as_of"]),
        ["block_time_ms", "cosigned_at_s", "size"]
    );
    assert_eq!(members(&lines[1]), ["exit", "file", "word"]);
    assert_eq!(lines[1]["word"], "NOT FOUND");
}

#[test]
fn a_lost_receipt_is_made_again_from_the_state() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 2);
    desk.output(&["register", "akte"]);
    let receipt = desk.path("akte/000.txt.tlog-proof");
    fs::remove_file(&receipt).unwrap();
    assert!(
        desk.run(&["receipt", "akte/000.txt"])
            .starts_with("CURRENT  akte/000.txt")
    );
    fs::remove_file(&receipt).unwrap();
    let again = desk.run(&["register", "akte"]);
    assert!(
        again.starts_with("REGISTERED          NW-ID  akte/000.txt\nALREADY"),
        "{again}"
    );
    assert_eq!(node.registrations(), 2);
    assert!(
        desk.run(&["verify", "--offline", "akte"])
            .ends_with("[exit status: 0]\n")
    );
}

#[test]
fn keys_are_made_enrolled_used_and_retired() {
    let node = Node::start();
    let desk = Desk::new(&node);
    let made = desk.run(&["key", "new", "new.key"]);
    assert!(made.ends_with(
        "new.key\n[stderr]\nenrol it with: nachweis key enrol new.key\n[exit status: 0]\n"
    ));
    let taken = desk.run(&["key", "new", "new.key"]);
    assert_eq!(
        taken,
        "[stderr]\nerror: key file new.key exists already\nhint: keys are never overwritten; name another folder\n[exit status: 4]\n"
    );
    let more = format!("node = {:?}\nstate = \"state\"\n", node.url);
    desk.configure(&more);
    let config = fs::read_to_string(desk.path("desk.toml")).unwrap();
    desk.write(
        "desk.toml",
        config.replace("registrar.key", "new.key").as_bytes(),
    );
    desk.documents("akte", 1);
    let refused = desk.run(&["register", "akte"]);
    assert!(
        refused.contains("error: the ledger refuses: the rule is unknown-key"),
        "{refused}"
    );
    assert!(refused.ends_with("[exit status: 4]\n"), "{refused}");
    assert!(
        desk.run(&["key", "enrol", "new.key"])
            .starts_with("ENROLLED")
    );
    let shown = desk.run(&["key", "show"]);
    assert!(
        shown.contains("enrolled for bamf with role issue, exchange"),
        "{shown}"
    );
    // What was refused before is taken now, once.
    let taken = desk.run(&["register", "akte"]);
    assert!(taken.starts_with("REGISTERED"), "{taken}");
    assert_eq!(node.registrations(), 1);
    assert!(
        desk.run(&["key", "retire", "new.key"])
            .starts_with("RETIRED")
    );
    desk.write("akte/more.txt", b"more");
    assert!(desk.run(&["register", "akte"]).contains("unknown-key"));
}

#[test]
fn a_network_is_pinned_once_and_never_replaced_by_another() {
    let desk = Desk::at(&[]);
    fs::rename(desk.path("trust.json"), desk.path("given.json")).unwrap();
    let added = desk.run(&["trust", "add", "given.json"]);
    assert!(
        added.starts_with("network nachweis.test\nfingerprint"),
        "{added}"
    );
    assert_eq!(desk.run(&["trust", "show"]), added);
    assert!(
        added.contains("4 validators, 3 of which must cosign"),
        "{added}"
    );
    assert!(
        desk.run(&["trust", "add", "given.json"])
            .ends_with("[exit status: 0]\n")
    );
    let pinned = fs::read(desk.path("trust.json")).unwrap();
    desk.trust("other.test");
    fs::rename(desk.path("trust.json"), desk.path("other.json")).unwrap();
    desk.write("trust.json", &pinned);
    let other = desk.run(&["trust", "add", "other.json"]);
    assert!(other.contains("exists and is another network's"), "{other}");
    assert!(other.ends_with("[exit status: 4]\n"), "{other}");
    let wrong = desk.run(&["trust", "add", "given.json", "--fingerprint", "00"]);
    assert!(wrong.ends_with("[exit status: 2]\n"), "{wrong}");
    assert_eq!(fs::read(desk.path("trust.json")).unwrap(), pinned);
}

#[test]
fn a_reader_that_goes_away_changes_no_answer() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 1);
    desk.output(&["register", "akte"]);
    desk.write("akte/000.txt", b"changed");
    let mut command = desk.command(&["verify", "--offline", "akte"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
