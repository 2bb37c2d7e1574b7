//! Receipts that are no good, each with the reason; old ones; and nodes that are behind.

use crate::support::Desk;
use crate::support::node::{Behaviour, Node};
use ledger::receipt::Receipt;
use std::fs;

/// A desk with one registered document, and its receipt's text.
fn registered(node: &Node) -> (Desk, String) {
    let desk = Desk::new(node);
    desk.documents("akte", 1);
    let shown = desk.run(&["register", "akte"]);
    assert!(shown.starts_with("REGISTERED"), "{shown}");
    let text = fs::read_to_string(desk.path("akte/000.txt.tlog-proof")).unwrap();
    (desk, text)
}

/// What `verify` says of the document with this as its receipt, with a node and without.
#[track_caller]
fn judge(desk: &Desk, receipt: &[u8]) -> String {
    desk.write("akte/000.txt.tlog-proof", receipt);
    let offline = desk.run(&["verify", "--offline", "akte"]);
    let online = desk.run(&["verify", "akte"]);
    assert_eq!(offline, online, "a node does not make a bad receipt good");
    offline
}

#[test]
fn a_receipt_of_other_bytes_says_modified() {
    let node = Node::start();
    let (desk, _) = registered(&node);
    desk.write("akte/000.txt", b"akte 1\n");
    assert_eq!(
        desk.run(&["verify", "akte"]),
        "MODIFIED  akte/000.txt  NW-ID  as of TIME  changed since registration, or the receipt is another document's\n[exit status: 1]\n"
    );
}

#[test]
fn a_receipt_that_is_no_receipt_says_why() {
    let node = Node::start();
    let (desk, text) = registered(&node);
    let invalid = |why: &str| {
        format!("PROOF INVALID (step 1 (form))  akte/000.txt  {why}\n[exit status: 1]\n")
    };
    let cut = &text.as_bytes()[..text.len() / 2];
    let shown = judge(&desk, cut);
    assert!(
        shown.starts_with("PROOF INVALID (step 1 (form))  akte/000.txt  "),
        "{shown}"
    );
    assert_eq!(
        judge(&desk, b"\xff\xfe"),
        invalid("receipt is not UTF-8 text")
    );
    let long = vec![b'x'; 10 * 1024 * 1024];
    assert_eq!(
        judge(&desk, &long),
        invalid("a receipt of 10485760 bytes is over the limit of 65536")
    );
    assert_eq!(
        judge(&desk, b""),
        invalid("line 1 of the receipt is not c2sp.org/tlog-proof@v1")
    );
}

/// The document's receipt by another set of cosigners, opened with the one at hand.
fn cosigned(node: &Node, text: &str, cosigners: &[usize]) -> String {
    let good = Receipt::parse(text.as_bytes()).unwrap();
    let mut ledger = node.ledger.lock().unwrap();
    ledger.cosigners = cosigners.to_vec();
    let receipt = ledger.receipt(&good.document()).unwrap();
    receipt
        .with_openings(good.openings().to_vec())
        .unwrap()
        .encode()
}

#[test]
fn too_few_or_doubled_cosigners_are_no_quorum() {
    let node = Node::start();
    let (desk, text) = registered(&node);
    let few = cosigned(&node, &text, &[0, 2]);
    let shown = judge(&desk, few.as_bytes());
    assert!(
        shown.starts_with("PROOF INVALID (step 4 (signers))"),
        "{shown}"
    );
    assert!(
        shown.contains("2 validators cosigned the checkpoint, 3 are needed"),
        "{shown}"
    );
    let doubled = cosigned(&node, &text, &[0, 1, 1]);
    let shown = judge(&desk, doubled.as_bytes());
    assert!(shown.contains("occurs twice"), "{shown}");
    assert!(shown.ends_with("[exit status: 1]\n"), "{shown}");
}

#[test]
fn a_receipt_of_another_network_is_not_believed() {
    let node = Node::start();
    let (desk, _) = registered(&node);
    let elsewhere = Node::of("other.test");
    let other = Desk::new(&elsewhere);
    other.trust("other.test");
    other.documents("akte", 1);
    other.output(&["register", "akte"]);
    let receipt = fs::read(other.path("akte/000.txt.tlog-proof")).unwrap();
    let shown = judge(&desk, &receipt);
    assert!(
        shown.starts_with("PROOF INVALID (step 2 (origin))"),
        "{shown}"
    );
    assert!(shown.contains("not of the trusted log"), "{shown}");
    // It is not registered over either: the receipt may be somebody's only proof.
    fs::remove_dir_all(desk.path("state")).unwrap();
    let refused = desk.run(&["register", "akte"]);
    assert!(
        refused.contains("has a receipt beside it that is not good"),
        "{refused}"
    );
    assert_eq!(
        fs::read(desk.path("akte/000.txt.tlog-proof")).unwrap(),
        receipt
    );
}

#[test]
fn without_a_receipt_nothing_is_known_which_proves_nothing() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 1);
    assert_eq!(
        desk.run(&["verify", "akte"]),
        "NOT FOUND  akte/000.txt  no receipt beside it, which proves nothing about it\n[exit status: 3]\n"
    );
    let unknown = desk.run(&["revoke", "akte/000.txt", "--reason", "other"]);
    assert!(
        unknown.contains("has no receipt beside it, and was not registered from here"),
        "{unknown}"
    );
    assert!(unknown.ends_with("[exit status: 3]\n"), "{unknown}");
}

#[test]
fn an_old_proof_is_in_force_as_of_then() {
    let node = Node::start();
    let (desk, text) = registered(&node);
    node.ledger.lock().unwrap().age_s = 2 * 86_400;
    let old = cosigned(&node, &text, &[0, 1, 3]);
    desk.write("akte/000.txt.tlog-proof", old.as_bytes());
    let shown = desk.run(&["verify", "--offline", "akte"]);
    assert!(
        shown.starts_with("IN FORCE AS OF  akte/000.txt  NW-ID  as of TIME  the proof is "),
        "{shown}"
    );
    assert!(shown.ends_with("[exit status: 5]\n"), "{shown}");
    // A node makes it fresh again.
    node.ledger.lock().unwrap().age_s = 0;
    assert!(desk.run(&["verify", "akte"]).starts_with("CURRENT"));
}

/// A node that was left behind knows the document, and not that it was revoked.
#[test]
fn a_node_that_is_behind_cannot_hide_what_was_seen() {
    let node = Node::start();
    let (desk, _) = registered(&node);
    let behind = Node::start();
    let body = node.bodies.lock().unwrap()[0].clone();
    behind.ledger.lock().unwrap().submit(&body[4..]);
    let first = fs::read(desk.path("akte/000.txt.tlog-proof")).unwrap();
    desk.output(&["revoke", "akte/000.txt", "--reason", "deception"]);
    desk.configure(&format!("node = {:?}\nstate = \"state\"\n", behind.url));
    let shown = desk.run(&["verify", "akte"]);
    assert!(
        shown.starts_with("REVOKED (obtained by deception)"),
        "{shown}"
    );
    assert!(
        shown.contains("note: the node is behind the receipt of NW-ID"),
        "{shown}"
    );
    // With the old receipt at hand, the newer checkpoint that was seen keeps it from being fresh.
    desk.write("akte/000.txt.tlog-proof", &first);
    let shown = desk.run(&["verify", "akte"]);
    assert!(shown.starts_with("IN FORCE AS OF"), "{shown}");
    assert!(shown.contains("a newer checkpoint was seen"), "{shown}");
}

#[test]
fn a_node_with_bad_receipts_is_not_used() {
    let node = Node::start();
    let (desk, text) = registered(&node);
    node.behave(Behaviour::BadReceipts);
    let shown = desk.run(&["verify", "akte"]);
    assert!(shown.starts_with("CURRENT"), "{shown}");
    assert!(
        shown.contains("note: the node's receipt of NW-ID is not good and was not used"),
        "{shown}"
    );
    let refused = desk.run(&["receipt", "akte/000.txt"]);
    assert!(
        refused.contains("error: the node's receipt of NW-ID is not good: "),
        "{refused}"
    );
    assert!(refused.ends_with("[exit status: 3]\n"), "{refused}");
    assert_eq!(
        fs::read_to_string(desk.path("akte/000.txt.tlog-proof")).unwrap(),
        text
    );
}
