//! Golden bytes of every format (formats.md, 1.6): changing one is changing the format.
//!
//! `tests/golden/formats.txt` holds them as `name = hex`, one a line; texts stand as they are, with
//! `\n` for a line feed. `NACHWEIS_WRITE_GOLDEN=1` writes the file anew; the change then shows in review.

use crate::restarts;
use crate::samples::{
    application, auth_state, block, body, certificate, commitment_inputs, detail_leaves,
    detail_root, doc_state, founded, header, key_state, leaves, records, statement, submission,
    vote,
};
use crate::world::{A, START, double_vote, key, leader, seed_of, signing_key};
use borsh::BorshSerialize;
use ledger::body::ItemBytes;
use ledger::checkpoint::Checkpoint;
use ledger::codec::encode;
use ledger::cosignature;
use ledger::document::{CommitmentContext, CommitmentRole};
use ledger::frame;
use ledger::genesis::{Purpose, possession_bytes};
use ledger::guard::{Guard, Permit};
use ledger::hash::{Hash, Tag};
use ledger::id::{AuthorityId, Height, TimeMs, TreeSize, ValidatorIndex, View};
use ledger::journal::{self, Head, JournalId, Opening, Origin, Seq};
use ledger::log::{Frontier, Path, leaf_hash};
use ledger::note::{Note, VerifierKey, sign_log};
use ledger::observer::Permission;
use ledger::record::{Role, enrol_possession};
use ledger::state::{AuthState, DocState, KeyState};
use ledger::submission::record_leaf;
use ledger::tip::Founding;
use ledger::trie::{Trie, TrieKey, TrieValue};
use std::fmt::Write as _;

const WRITE: &str = "NACHWEIS_WRITE_GOLDEN";

/// The lines of the golden file.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn bytes(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        writeln!(self.0, "{name} = {}", hex::encode(bytes)).unwrap();
    }

    fn value<T: BorshSerialize>(&mut self, name: &str, value: &T) {
        self.bytes(name, encode(value));
    }

    fn text(&mut self, name: &str, text: &str) {
        assert!(!text.contains('\\'));
        writeln!(self.0, "{name} = {}", text.replace('\n', "\\n")).unwrap();
    }
}

fn founding_lines(lines: &mut Lines, founding: &Founding) {
    let genesis = founding.genesis();
    lines.value("genesis", genesis);
    lines.value("genesis chain", &founding.chain());
    lines.bytes("genesis sign bytes", genesis.sign_bytes());
    lines.text("genesis origin", &genesis.origin());
    lines.value("genesis status root", &founding.tip().status_root_hash());
    lines.value("validator set", founding.set());
    lines.value("validator set hash", &founding.set().hash());
    let application = application(founding);
    lines.value("application", &application);
    let message = possession_bytes(
        &application.domain,
        application.created_ms,
        &application.authority,
        Purpose::Cosigner,
        &key("aa/cosigner"),
    );
    lines.bytes("application possession bytes", message);
    let permission = Permission {
        chain: founding.chain(),
        authority: A,
        network: key("observer/network"),
        not_after_ms: TimeMs(START),
    };
    lines.bytes("observer sign bytes", permission.sign_bytes());
    let certificate = permission.sign(&signing_key("aa/admin"));
    lines.bytes("observer certificate", certificate.encode());
}

/// So that the golden list reads as the format's own words.
trait StatusRoot {
    fn status_root_hash(&self) -> Hash;
}

impl StatusRoot for ledger::tip::Tip {
    fn status_root_hash(&self) -> Hash {
        self.trie.root()
    }
}

fn consensus_lines(lines: &mut Lines, founding: &Founding) {
    let epoch = founding.epoch();
    lines.value("epoch context", &epoch.context);
    let views = 1..=u64::try_from(epoch.set.n()).unwrap();
    let leaders: Vec<_> = views.map(|view| leader(&epoch, View(view))).collect();
    lines.value("leaders of views 1 to 4", &leaders);
    let header = header(founding);
    lines.value("header", &header);
    lines.value("block hash", &header.hash());
    lines.bytes("vote sign bytes", statement().sign_bytes(&epoch.context));
    lines.value("vote", &vote(founding));
    lines.value("certificate", &certificate(founding));
    let evidence = double_vote(&epoch, ValidatorIndex(2));
    lines.value("evidence", &evidence);
    lines.value("evidence item id", &ItemBytes::evidence(&evidence).id());
    let body = body(founding);
    lines.value("body", &body);
    lines.value("body root", &body.root());
    lines.value("block", &block(founding));
}

fn restart_lines(lines: &mut Lines, founding: &Founding) {
    let file = restarts::sample(founding);
    let report = &file.reports()[1];
    lines.bytes("restart sign bytes", report.statement.sign_bytes());
    lines.value("restart report", report);
    lines.bytes("restart file", file.encode());
    lines.value("restart file hash", &file.hash());
}

fn record_lines(lines: &mut Lines, founding: &Founding) {
    for record in records(founding) {
        let name = format!("record {} {}", record.code(), record.name());
        lines.bytes(&name, record.encode());
    }
    let first = &records(founding)[0];
    lines.bytes("record leaf data", record_leaf(&first.encode()));
    let (role, key) = (Role::ISSUE, key("new registrar"));
    let enrol = enrol_possession(&founding.chain(), A, role, &key, TimeMs(START));
    lines.bytes("enrol possession bytes", enrol);
    let submission = submission(founding);
    lines.value("submission body", submission.body());
    lines.bytes("submission sign bytes", submission.body().sign_bytes());
    lines.value("submission hash", &submission.hash());
    lines.value("submission signature", submission.signature());
    lines.bytes("submission", submission.encoded());
    lines.value("submission item id", &submission.item_id());
    for (leaf, name) in
        leaves(founding)
            .iter()
            .zip(["leaf record", "leaf trailer", "leaf evidence"])
    {
        lines.bytes(name, leaf.encode());
        lines.value(&format!("{name} hash"), &leaf.hash());
    }
}

fn document_lines(lines: &mut Lines, founding: &Founding) {
    let (document, salt) = commitment_inputs(founding);
    lines.value("document id", &document);
    lines.text("document id text", &document.to_string());
    lines.bytes("commitment salt", salt);
    lines.bytes("commitment file", seed_of("file").as_bytes());
    for role in CommitmentRole::ALL {
        let context = CommitmentContext {
            chain: &founding.chain(),
            document: &document,
            role: *role,
        };
        let made = context.commit(&crate::world::salt("salt"), seed_of("file").as_bytes());
        lines.value(&format!("commitment role {}", role.code()), &made);
    }
    for (leaf, k) in detail_leaves(founding, &document).iter().zip(0..) {
        lines.bytes(&format!("detail leaf {k}"), leaf);
    }
    lines.value("detail root", &detail_root(founding, &document));
}

fn state_lines(lines: &mut Lines, founding: &Founding) {
    let state = doc_state(founding);
    lines.value("doc state", &state);
    lines.value("doc state trie key", &DocState::trie_key(&state.id));
    lines.value("doc state trie value", &state.trie_value());
    let state = key_state();
    lines.value("key state", &state);
    lines.value("key state trie key", &KeyState::trie_key(&key("aa/all")));
    lines.value("key state trie value", &state.trie_value());
    let state = auth_state();
    lines.value("auth state", &state);
    lines.value("auth state trie key", &AuthState::trie_key(A));
    lines.value("auth state trie value", &state.trie_value());
    let mut trie = Trie::new();
    lines.value("trie empty root", &trie.root());
    lines.value("trie proof of the empty trie", &trie.prove(&trie_key(0)));
    for (at, name) in ["one", "two", "three", "four"].iter().enumerate() {
        trie.insert(trie_key(at), TrieValue(seed_of(name)));
        lines.value(&format!("trie root of {}", at + 1), &trie.root());
    }
    lines.value("trie proof member", &trie.prove(&trie_key(0)));
    lines.value(
        "trie proof other leaf",
        &trie.prove(&near(trie_key(0), 255)),
    );
    lines.value("trie proof empty", &trie.prove(&absent(&trie)));
}

fn trie_key(at: usize) -> TrieKey {
    TrieKey(seed_of(&format!("trie key {at}")))
}

/// The key with one bit flipped.
fn near(key: TrieKey, bit: usize) -> TrieKey {
    let mut hash = key.0;
    hash.0[bit / 8] ^= 0x80 >> (bit % 8);
    TrieKey(hash)
}

/// A key whose path ends in nothing.
fn absent(trie: &Trie) -> TrieKey {
    let ends_empty = |key: &TrieKey| {
        let proof = trie.prove(key);
        *proof.terminal() == ledger::trie::Terminal::Empty && proof.depth() > 0
    };
    let mut keys = (100..).map(trie_key);
    keys.find(ends_empty).expect("some path is empty")
}

fn note_lines(lines: &mut Lines, founding: &Founding) {
    let origin = founding.genesis().origin();
    let mut tree = Frontier::new();
    for leaf in leaves(founding) {
        tree.push(leaf.hash());
    }
    let checkpoint = Checkpoint {
        origin: origin.clone(),
        size: TreeSize(tree.size()),
        root: tree.root(),
    };
    let text = checkpoint.text();
    lines.text("checkpoint", &text);
    let log = VerifierKey::log(&origin, key("aa/log"));
    lines.text("log vkey", &log.vkey());
    let log_line = sign_log(&log, &signing_key("aa/log"), &text);
    lines.text("log line", &log_line.text());
    let id = AuthorityId::new("aa").unwrap();
    let cosigner = VerifierKey::cosigner(&origin, &id, key("aa/cosigner"));
    lines.text("cosigner vkey", &cosigner.vkey());
    let secret = signing_key("aa/cosigner");
    let line = cosignature::cosign(&cosigner, &secret, 1_790_000_000, &text);
    lines.text("cosignature line", &line.text());
    let note = Note::new(text, vec![log_line, line]);
    lines.text("note", &note.encode());
    lines.value(
        "path",
        &Path::new(vec![leaf_hash(b"a"), leaf_hash(b"b")]).unwrap(),
    );
}

fn disk_lines(lines: &mut Lines, founding: &Founding) {
    let segment = journal::SegmentHeader::first(
        JournalId([0x1d; 16]),
        journal::Magic([0x3a; 16]),
        Origin::Fresh,
    );
    lines.bytes("journal segment header", segment.encode());
    let mut head = Head {
        segment,
        next: Seq(1),
        prev_crc: 0,
    };
    lines.bytes("journal batch", head.encode_batch(&["first", ""]).unwrap());
    lines.bytes("journal batch 2", head.encode_batch(&["second"]).unwrap());
    let next = journal::SegmentHeader::after(&head, Opening::Snapshot);
    lines.bytes("journal snapshot header", next.encode());
    let magic = frame::Magic([0x4b; 16]);
    let header = frame::SegmentHeader {
        chain: founding.chain(),
        magic,
        number: 2,
        first: Height(3),
    };
    lines.bytes("archive segment header", header.encode());
    let payload = frame::Payload {
        block: block(founding).encode().try_into().unwrap(),
        finalization: Some(certificate(founding)),
    };
    let mut bytes = Vec::new();
    frame::append(&mut bytes, magic, Height(3), Height(2), &payload.encode()).unwrap();
    lines.bytes("archive frame", bytes);
    let guard = Guard::new(key("aa/cosigner"));
    let file = guard.file();
    lines.bytes("guard slot new", &file[..ledger::guard::SLOT_LEN]);
    let Ok(Permit::Larger(_, write)) = guard.permit(TreeSize(3), leaf_hash(b"root")) else {
        panic!("a larger tree may be signed");
    };
    assert_eq!(write.offset, ledger::guard::SLOT_STRIDE);
    lines.bytes("guard slot", write.bytes);
}

fn tag_lines(lines: &mut Lines) {
    let tags = [
        Tag::Genesis,
        Tag::GenesisSign,
        Tag::Application,
        Tag::ValidatorSet,
        Tag::Submission,
        Tag::Record,
        Tag::DocId,
        Tag::Document,
        Tag::Detail,
        Tag::DocState,
        Tag::KeyState,
        Tag::AuthState,
        Tag::Enrol,
        Tag::Block,
        Tag::Vote,
        Tag::Epoch,
        Tag::Leaders,
        Tag::Readiness,
        Tag::Restart,
        Tag::Observer,
        Tag::Query,
        Tag::Delivery,
        Tag::AccessLog,
        Tag::Vault,
    ];
    for tag in tags {
        lines.bytes(&format!("tag {tag:?}"), tag.bytes());
    }
}

fn golden() -> String {
    let founding = founded();
    let mut lines = Lines::default();
    tag_lines(&mut lines);
    founding_lines(&mut lines, &founding);
    document_lines(&mut lines, &founding);
    record_lines(&mut lines, &founding);
    consensus_lines(&mut lines, &founding);
    state_lines(&mut lines, &founding);
    restart_lines(&mut lines, &founding);
    note_lines(&mut lines, &founding);
    disk_lines(&mut lines, &founding);
    lines.0.push_str(&crate::rules::golden_states());
    for (name, bytes) in crate::keys::golden_vectors() {
        lines.bytes(name, bytes);
    }
    lines.0
}

#[test]
fn every_format_has_its_golden_bytes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/formats.txt");
    let found = golden();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap();
    let (mut new, mut old) = (found.lines(), expected.lines());
    loop {
        match (new.next(), old.next()) {
            (None, None) => break,
            (new, old) => assert_eq!(new, old, "golden bytes differ; see {WRITE}"),
        }
    }
}

#[test]
fn no_two_golden_values_share_a_name() {
    let golden = golden();
    let names: Vec<_> = golden
        .lines()
        .map(|line| line.split_once(" = ").unwrap().0)
        .collect();
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), distinct.len());
}
