//! Interrupted runs continue, and nothing is registered twice, whatever a node says.

use crate::support::node::{Behaviour, Node};
use crate::support::{Desk, key};
use client::documents;
use client::registration::Batch;
use client::state::{Owner, State};
use genesis::trust;
use ledger::id::{AuthorityIndex, TimeMs};
use ledger::submission::{Draft, Submission};
use std::fs;

fn all_good(desk: &Desk, node: &Node, count: usize) {
    let shown = desk.run(&["register", "--batch", "1", "akte"]);
    assert!(shown.ends_with("[exit status: 0]\n"), "{shown}");
    assert_eq!(node.registrations(), count);
    assert_eq!(desk.receipts("akte").len(), count);
    let shown = desk.run(&["verify", "--offline", "akte"]);
    assert_eq!(shown.matches("CURRENT").count(), count, "{shown}");
    // Everything is settled: nothing is sent any more.
    node.bodies.lock().unwrap().clear();
    desk.output(&["register", "akte"]);
    assert!(node.bodies.lock().unwrap().is_empty());
}

#[test]
fn a_node_that_dies_before_answering_costs_nothing() {
    for deaths in 1..4 {
        let node = Node::start();
        let desk = Desk::new(&node);
        desk.documents("akte", 3);
        node.behave(Behaviour::DiesAfter(deaths));
        let shown = desk.run(&["register", "--batch", "1", "akte"]);
        assert!(
            shown.contains("error: could not reach a node: http://NODE broke off"),
            "{shown}"
        );
        assert!(
            shown.contains("run the same command again: it continues"),
            "{shown}"
        );
        assert!(shown.ends_with("[exit status: 3]\n"), "{shown}");
        assert_eq!(node.registrations(), deaths);
        node.behave(Behaviour::Good);
        all_good(&desk, &node, 3);
    }
}

#[test]
fn a_node_that_lies_about_success_is_found_out() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 2);
    node.behave(Behaviour::Lies);
    let shown = desk.run(&["register", "akte"]);
    assert!(
        shown.contains("2 files could not be processed:\n  akte/000.txt  no receipt yet: document NW-ID is not known"),
        "{shown}"
    );
    assert!(shown.ends_with("[exit status: 7]\n"), "{shown}");
    assert!(desk.receipts("akte").is_empty());
    node.behave(Behaviour::Good);
    all_good(&desk, &node, 2);
}

#[test]
fn a_receipt_that_is_no_proof_is_not_written() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 1);
    node.behave(Behaviour::BadReceipts);
    let shown = desk.run(&["register", "akte"]);
    assert!(
        shown.contains("akte/000.txt  the node's receipt is refused: PROOF INVALID"),
        "{shown}"
    );
    assert!(shown.ends_with("[exit status: 7]\n"), "{shown}");
    assert!(desk.receipts("akte").is_empty());
    node.behave(Behaviour::Good);
    all_good(&desk, &node, 1);
}

/// A desk whose state holds a submission of an earlier run with a window that is over.
fn with_an_expired_submission(node: &Node) -> (Desk, Vec<u8>) {
    let desk = Desk::new(node);
    desk.documents("akte", 1);
    let trust = trust::load(&desk.path("trust.json")).unwrap();
    let owner = Owner {
        chain: trust.chain(),
        authority: AuthorityIndex(0),
    };
    let found = documents::find(&[desk.path("akte")], None);
    let file = &found.files[0];
    let digest = documents::hash(&file.path, &|_| {}).unwrap();
    let signatory = client::desk::Signatory {
        authority: owner.authority,
        key: key("registrar-0"),
    };
    let mut batch = Batch::default();
    batch.add(&trust, &signatory, &file.place, &digest).unwrap();
    let then = client::when::now().unwrap().0 - 3 * 60 * 60 * 1000;
    let draft = Draft {
        chain: owner.chain,
        authority: owner.authority,
        not_before_ms: TimeMs(then),
        not_after_ms: TimeMs(then + 60_000),
        records: batch.records,
    };
    let submission = Submission::sign(draft, &signatory.key).unwrap();
    let mut state = State::open(&desk.path("state"), owner).unwrap();
    state.begin(&submission, batch.files).unwrap();
    node.ledger.lock().unwrap().time = Some(TimeMs(then + 1000));
    (desk, submission.encoded().to_vec())
}

#[test]
fn a_submission_that_was_never_sent_and_is_over_is_signed_again() {
    let node = Node::start();
    let (desk, _) = with_an_expired_submission(&node);
    node.ledger.lock().unwrap().time = None;
    let shown = desk.run(&["register", "akte"]);
    assert!(
        shown.contains("continuing an interrupted registration"),
        "{shown}"
    );
    assert!(shown.ends_with("[exit status: 0]\n"), "{shown}");
    all_good(&desk, &node, 1);
}

#[test]
fn a_submission_that_is_over_and_was_included_is_not_signed_again() {
    let node = Node::start();
    let (desk, submission) = with_an_expired_submission(&node);
    {
        let mut ledger = node.ledger.lock().unwrap();
        ledger.submit(&submission);
        ledger.time = None;
        // As a node that has forgotten submissions whose window is over.
        ledger.forget_submissions();
    }
    all_good(&desk, &node, 1);
}

#[test]
fn files_that_are_not_named_again_are_finished_too() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 3);
    desk.documents("andere", 1);
    node.behave(Behaviour::DiesAfter(1));
    desk.output(&["register", "--batch", "1", "akte"]);
    node.behave(Behaviour::Good);
    // One of them changed meanwhile, one is gone: what was registered stands, and is told.
    fs::write(desk.path("akte/000.txt"), "changed").unwrap();
    let shown = desk.run(&["register", "andere"]);
    assert!(
        shown.contains("REGISTERED          NW-ID  andere/000.txt"),
        "{shown}"
    );
    assert!(
        shown.contains("REGISTERED          NW-ID  DIR/akte/001.txt"),
        "{shown}"
    );
    assert!(
        shown.contains("DIR/akte/000.txt  its registration stands (LOCATOR KNOWN, BYTES NOT CHECKED), but the file changed or is gone"),
        "{shown}"
    );
    assert!(shown.ends_with("[exit status: 7]\n"), "{shown}");
    assert_eq!(node.registrations(), 4);
}

#[test]
fn without_a_quorum_it_waits_says_so_and_gives_up_when_told() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 1);
    node.behave(Behaviour::NoQuorum);
    let shown = desk.run(&["register", "--wait", "3", "akte"]);
    assert_eq!(
        shown,
        "\
[stderr]
hashing 1 file
registering 1 document
waiting for a quorum: 2 of 4 validators answer, 3 are needed
error: nothing became final in 3 s
hint: run the same command again: it continues, and registers nothing twice
[exit status: 3]
"
    );
    node.behave(Behaviour::Good);
    all_good(&desk, &node, 1);
}

#[test]
fn it_ends_by_itself_when_the_quorum_is_back() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 1);
    node.behave(Behaviour::NoQuorum);
    let client = desk.start(&["register", "akte"]);
    // The first submission is there before the quorum comes back.
    while node.bodies.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    node.behave(Behaviour::Good);
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", desk.shown(&output));
    all_good(&desk, &node, 1);
}

#[test]
fn a_node_without_room_is_asked_again() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 2);
    node.behave(Behaviour::BusyFor(3));
    all_good(&desk, &node, 2);
}

#[test]
fn the_second_node_is_asked_when_the_first_is_down() {
    let node = Node::start();
    let desk = Desk::at(&["http://127.0.0.1:9", &node.url]);
    desk.documents("akte", 2);
    all_good(&desk, &node, 2);
}

#[test]
fn two_clients_with_one_state_take_turns() {
    let node = Node::start();
    let desk = Desk::new(&node);
    desk.documents("akte", 1);
    let trust = trust::load(&desk.path("trust.json")).unwrap();
    let owner = Owner {
        chain: trust.chain(),
        authority: AuthorityIndex(0),
    };
    let first = State::open(&desk.path("state"), owner).unwrap();
    assert_eq!(
        desk.run(&["register", "akte"]),
        "\
[stderr]
error: another nachweis is at work with the state in state
hint: wait until it has ended; it and this one would register twice
[exit status: 4]
"
    );
    drop(first);
    all_good(&desk, &node, 1);
}

#[test]
fn two_desks_that_register_the_same_file_get_two_documents() {
    let node = Node::start();
    let desks = [Desk::new(&node), Desk::new(&node)];
    for desk in &desks {
        desk.write("akte/same.txt", b"the same bytes");
        assert!(
            desk.run(&["register", "akte"])
                .ends_with("[exit status: 0]\n")
        );
    }
    assert_eq!(node.registrations(), 2);
    for desk in &desks {
        assert!(desk.run(&["verify", "akte"]).starts_with("CURRENT"));
    }
}
