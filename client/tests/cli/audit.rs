//! `nachweis audit` where there is little to audit, or something else than asked for.

use crate::support::Desk;
use ::ledger::frame::{self, Magic, SegmentHeader, segment_name};
use ::ledger::hash::{ChainId, Hash, sha256};
use ::ledger::id::Height;
use genesis::trust;

fn segment(chain: ChainId, number: u64) -> Vec<u8> {
    let header = SegmentHeader {
        chain,
        magic: Magic([7; 16]),
        number,
        first: Height(1),
    };
    header.encode().to_vec()
}

fn put(desk: &Desk, number: u64, bytes: &[u8]) {
    desk.write(&format!("out/{}", segment_name(number)), bytes);
}

fn last_line(shown: &str) -> &str {
    let mut lines = shown.lines().rev();
    lines.find(|line| !line.starts_with('[')).unwrap()
}

#[test]
fn what_cannot_be_audited_is_told_apart_from_a_fault() {
    let desk = Desk::at(&[]);
    desk.write("out/notes.txt", b"none");
    assert_eq!(
        desk.run(&["audit", "out"]),
        "\
[stderr]
error: out holds no segment of an archive
hint: name a node's directory, or a folder of `nachweis-node export-archive`
[exit status: 2]
"
    );
    let shown = desk.run(&["audit", "--node", "http://127.0.0.1:9"]);
    assert!(shown.ends_with("[exit status: 3]\n"), "{shown}");
    let shown = desk.run(&["audit"]);
    assert!(shown.ends_with("[exit status: 2]\n"), "{shown}");
}

#[test]
fn the_first_fault_is_named_and_ends_with_one() {
    let desk = Desk::at(&[]);
    let chain = trust::load(&desk.path("trust.json")).unwrap().chain();
    let fault = |what: &str| {
        let shown = desk.run(&["audit", "out"]);
        assert!(shown.ends_with("[exit status: 1]\n"), "{shown}");
        assert_eq!(last_line(&shown), format!("FAULT          {what}"));
    };
    put(&desk, 1, &segment(ChainId(Hash([9; 32])), 1));
    fault(&format!(
        "segment 1, block 1: the segment belongs to chain {}",
        Hash([9; 32])
    ));
    put(&desk, 1, &segment(chain, 2));
    fault("segment 1, block 1: its header says segment 2 from block 1 on");
    // A whole frame that holds no payload.
    let mut bytes = segment(chain, 1);
    frame::append(&mut bytes, Magic([7; 16]), Height(1), Height(1), b"x").unwrap();
    put(&desk, 1, &bytes);
    let shown = desk.run(&["audit", "out"]);
    let expected = "FAULT          segment 1, block 1: damaged at byte 96: payload of a frame: ";
    assert!(last_line(&shown).starts_with(expected), "{shown}");
    // A segment that another one follows is not torn.
    put(&desk, 1, &segment(chain, 1));
    put(&desk, 3, &segment(chain, 3));
    fault("segment 2, block 1: the segment is missing");
}

#[test]
fn an_empty_chain_is_sound_and_a_torn_end_is_said() {
    let desk = Desk::at(&[]);
    let chain = trust::load(&desk.path("trust.json")).unwrap().chain();
    let mut bytes = segment(chain, 1);
    bytes.extend_from_slice(&[1, 2, 3]);
    put(&desk, 1, &bytes);
    let shown = desk.run(&["audit", "out"]);
    let torn = "torn end       3 bytes of segment 1 from byte 96 on, behind block 0\n";
    assert!(shown.contains(torn), "{shown}");
    assert_eq!(last_line(&shown), "SOUND          from genesis to block 0");
    // What a manifest lists is complete: the same bytes are a fault there, and so is another length.
    let listed = |length: usize, hash: &str| {
        let name = segment_name(1);
        let file = format!("{{\"file\":\"{name}\",\"length\":{length},\"sha256\":\"{hash}\"}}");
        let manifest = format!("{{\"chain\":\"{chain}\",\"height\":0,\"files\":[{file}]}}");
        desk.write("out/manifest.json", manifest.as_bytes());
        desk.run(&["audit", "--json", "out"])
    };
    let shown = listed(99, &sha256(&[&bytes]).to_string());
    assert!(shown.contains("\"sound\":false"), "{shown}");
    put(&desk, 1, &segment(chain, 1));
    let shown = listed(99, &sha256(&[&bytes]).to_string());
    assert!(
        shown.contains("the file is not the one in the manifest"),
        "{shown}"
    );
    assert!(shown.ends_with("[exit status: 1]\n"), "{shown}");
    let whole = sha256(&[&segment(chain, 1)]).to_string();
    let shown = listed(96, &whole);
    assert!(shown.contains("\"sound\":true"), "{shown}");
}
