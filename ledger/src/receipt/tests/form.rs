//! The file: what is refused, and that no damage to a good receipt is ever taken for good.

use super::refused;
use super::world::{COPY, FILE, NOW, Raw, World, digest, opening};
use crate::document::CommitmentRole;
use crate::hash::Hash;
use crate::id::AuthorityIndex;
use crate::note::NoteError;
use crate::receipt::{
    Extra, Failure, Fault, Finding, MAX_RECEIPT, Receipt, ReceiptError, Verdict, issue, verify,
};
use crate::state::Lane;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

fn standard() -> (World, String) {
    let (world, doc) = World::standard();
    let text = world.raw(&doc).text();
    (world, text)
}

fn verdict(world: &World, bytes: &[u8]) -> Verdict {
    verify(&digest(FILE), bytes, &world.trust(), NOW, None)
}

#[test]
fn the_text_is_what_independent_code_makes_of_the_parts() {
    let (world, text) = standard();
    let receipt = Receipt::parse(text.as_bytes()).unwrap();
    assert_eq!(receipt.encode(), text);
    assert_eq!(receipt.size().0, 4);
    assert_eq!(receipt.index().0, 1);
    assert_eq!(receipt.checkpoint().origin, world.origin);
    assert!(receipt.note_text().starts_with(&world.origin));
}

#[test]
fn a_receipt_that_ends_early_is_refused_at_every_line_and_byte() {
    let (world, text) = standard();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for count in 0..lines.len() {
        let shortened = lines[..count].concat();
        let found = verdict(&world, shortened.as_bytes());
        assert!(
            matches!(found.finding(), Finding::ProofInvalid(_)),
            "{count} lines"
        );
    }
    for length in 0..text.len() {
        // Only where a signature line ends is the rest a whole note.
        let found = Receipt::parse(&text.as_bytes()[..length]);
        assert!(
            found.is_err() || text[..length].ends_with("=\n"),
            "{length} bytes"
        );
    }
}

#[test]
fn lines_out_of_place_are_refused() {
    let (world, text) = standard();
    let line = |line, expected| ReceiptError::Line { line, expected };
    let cases = [
        (
            text.replacen("@v1", "@v2", 1),
            line(1, "c2sp.org/tlog-proof@v1"),
        ),
        (
            text.replacen("extra ", "extra  ", 1),
            line(2, "an extra line in base64"),
        ),
        (
            text.replacen("\nextra ", "\nEXTRA ", 1),
            line(2, "an extra line in base64"),
        ),
        (text.replacen("index 1", "index 01", 1), line(3, "an index")),
        (text.replacen("index 1", "index +1", 1), line(3, "an index")),
        (
            text.replacen("index 1\n", "index 1\r\n", 1),
            line(3, "an index"),
        ),
        (format!("\n{text}"), line(1, "c2sp.org/tlog-proof@v1")),
    ];
    for (text, error) in cases {
        assert_eq!(Receipt::parse(text.as_bytes()), Err(error), "{text}");
    }
    // The C2SP proof without the extra line.
    let plain: Vec<&str> = text.split_inclusive('\n').collect();
    let plain = [&plain[..1], &plain[2..]].concat().concat();
    refused!(
        verdict(&world, plain.as_bytes()),
        Form,
        Fault::Form(ReceiptError::Line { line: 2, .. })
    );
    // Something behind the note.
    for tail in ["\n", "x", "x\n", "\n\n"] {
        refused!(
            verdict(&world, format!("{text}{tail}").as_bytes()),
            Form,
            Fault::Form(ReceiptError::Note(_))
        );
    }
}

#[test]
fn other_bytes_than_text_and_very_long_ones_are_refused() {
    let (world, text) = standard();
    let mut bytes = text.clone().into_bytes();
    bytes[10] = 0xff;
    refused!(
        verdict(&world, &bytes),
        Form,
        Fault::Form(ReceiptError::Text)
    );
    let long = vec![b'A'; 10 * 1024 * 1024];
    refused!(
        verdict(&world, &long),
        Form,
        Fault::Form(ReceiptError::TooLong(10_485_760))
    );
    refused!(
        verdict(&world, b""),
        Form,
        Fault::Form(ReceiptError::Line { line: 1, .. })
    );
    let nul = text.replacen("nachweis.test", "nachweis\0test", 1);
    refused!(
        verdict(&world, nul.as_bytes()),
        Form,
        Fault::Form(ReceiptError::Note(NoteError::Text))
    );
    let extended = text.replacen("\n4\n", "\n4\nextension\n", 1);
    refused!(
        verdict(&world, extended.as_bytes()),
        Form,
        Fault::Form(ReceiptError::Checkpoint)
    );
}

#[test]
fn a_path_of_65_hashes_is_refused() {
    let (world, doc) = World::standard();
    let mut raw = world.raw(&doc);
    raw.path = vec![Hash([1; 32]); 65];
    refused!(world.judge(&raw), Form, Fault::Form(ReceiptError::Path));
    raw.path.pop();
    refused!(world.judge(&raw), Registration, Fault::Log(_));
}

#[test]
fn every_byte_of_the_extra_line_is_consumed_and_canonical() {
    let (world, doc) = World::standard();
    let raw = world.raw(&doc);
    let bytes = crate::codec::encode(&raw.extra);
    let decode = |bytes: &[u8]| crate::codec::decode::<Extra>(bytes, MAX_RECEIPT);
    assert_eq!(decode(&bytes).as_ref(), Ok(&raw.extra));
    decode(&[bytes.as_slice(), &[0]].concat()).unwrap_err();
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "{length}");
    }
    let mut version = bytes;
    version[0] = 2;
    decode(&version).unwrap_err();
    let text = raw.text();
    let extra = text.lines().nth(1).unwrap();
    // Base64 with other spare bits, without padding, or with an inner break is another text of the same bytes.
    let unpadded = text.replacen(extra, extra.trim_end_matches('='), 1);
    let broken = text.replacen(extra, &format!("{}\n{}", &extra[..50], &extra[50..]), 1);
    for text in [broken, format!("{unpadded} ")] {
        refused!(verdict(&world, text.as_bytes()), Form, Fault::Form(_));
    }
}

#[test]
fn authorities_and_details_are_strictly_ascending() {
    let (mut world, doc) = World::standard();
    world.named = vec![0, 1];
    let mut raw = world.raw(&doc);
    for k in [3, 5] {
        raw.extra.details.set(doc.details[k].clone()).unwrap();
    }
    let bytes = crate::codec::encode(&raw.extra);
    let swap = |one: Vec<u8>, two: Vec<u8>| {
        let both = [one.as_slice(), two.as_slice()].concat();
        let at = bytes.windows(both.len()).position(|w| w == both).unwrap();
        let mut swapped = bytes.clone();
        swapped.splice(at..at + both.len(), [two, one].concat());
        crate::codec::decode::<Extra>(&swapped, MAX_RECEIPT)
    };
    let [first, second] = [0, 1].map(|at| crate::codec::encode(&raw.extra.authorities[at]));
    swap(first, second).unwrap_err();
    let [first, second] = [0, 1].map(|at| crate::codec::encode(&raw.extra.details[at]));
    swap(first, second).unwrap_err();
    raw.extra.details = Default::default();
    assert_eq!(*world.judge(&raw).finding(), Finding::Current);
}

#[test]
fn openings_can_be_added_and_taken_away() {
    let (world, doc) = World::standard();
    let public = issue(world.parts(&doc, &world.close())).unwrap();
    assert!(public.openings().is_empty() && public.details().is_empty());
    let openings = vec![
        opening(CommitmentRole::Internal, FILE),
        opening(CommitmentRole::Citizen, COPY),
    ];
    let full = public.clone().with_openings(openings.clone()).unwrap();
    assert_eq!(full.openings(), openings);
    assert_eq!(full.document(), doc.id);
    assert_eq!(full.clone().without_openings(), public);
    let shown = full.with_details(doc.details[1..3].to_vec()).unwrap();
    assert_eq!(shown.details().len(), 2);
    assert_eq!(
        Receipt::parse(shown.encode().as_bytes()).as_ref(),
        Ok(&shown)
    );
    let found = verdict(&world, shown.encode().as_bytes());
    assert_eq!(*found.finding(), Finding::Current);
    let many = vec![opening(CommitmentRole::Internal, FILE); 17];
    assert!(matches!(
        public.with_openings(many),
        Err(ReceiptError::Full(_))
    ));
}

#[test]
fn a_receipt_over_64_kib_is_not_issued() {
    let (mut world, doc) = World::standard();
    for authority in 1..400 {
        let lane = Lane {
            authority: AuthorityIndex(authority),
            head: doc.index,
        };
        world.state(&doc).lanes.set(lane).unwrap();
    }
    let closed = world.close();
    issue(world.parts(&doc, &closed)).unwrap();
    // 17 related documents with states of 4 KB.
    let mut parts = world.parts(&doc, &closed);
    let related = world.relative(&doc, &closed);
    parts.related = vec![related; 17];
    assert!(matches!(
        issue(parts),
        Err(crate::receipt::IssueError::Receipt(ReceiptError::TooLong(
            _
        )))
    ));
}

/// Bytes that no step looks at: the signature lines of keys that no trusted set has.
fn with_unknown_lines() -> (World, Vec<u8>, usize) {
    let (world, doc) = World::standard();
    let mut raw = world.raw(&doc);
    let known = raw.text().len();
    raw.edit_lines(|lines| {
        lines.push("\u{2014} witness.example AAECAwQFBgc=".into());
    });
    (world, raw.text().into_bytes(), known)
}

#[test]
fn no_single_changed_byte_is_current() {
    let (world, bytes, known) = with_unknown_lines();
    assert_eq!(*verdict(&world, &bytes).finding(), Finding::Current);
    // Every byte of the text around the extra line, one bit each; the long extra line is sampled below.
    let text = core::str::from_utf8(&bytes).unwrap();
    let extra = text.find("\nindex").unwrap();
    for at in (0..40).chain(extra..known) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let found = verdict(&world, &changed);
        assert_ne!(*found.finding(), Finding::Current, "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn flipped_bits_are_never_current(flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 1..4)) {
        let (world, mut bytes, known) = with_unknown_lines();
        let original = bytes.clone();
        for (at, bit) in flips {
            bytes[at.index(known)] ^= 1 << bit;
        }
        if bytes != original {
            let found = verdict(&world, &bytes);
            prop_assert_ne!(found.finding(), &Finding::Current);
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let (world, _) = World::standard();
        let found = verdict(&world, &bytes);
        prop_assert!(matches!(found.finding(), Finding::ProofInvalid(_)));
    }

    #[test]
    fn a_changed_extra_never_panics_and_is_never_current(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let (world, doc) = World::standard();
        let raw = world.raw(&doc);
        let mut bytes = crate::codec::encode(&raw.extra);
        for (at, byte) in &flips {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        // What still decodes reaches the later steps.
        let decoded = crate::codec::decode::<Extra>(&bytes, MAX_RECEIPT).ok();
        if let Some(extra) = decoded.filter(|extra| *extra != raw.extra) {
            let found = world.judge(&Raw { extra, ..raw });
            prop_assert_ne!(found.finding(), &Finding::Current);
        }
    }
}

#[test]
fn the_failure_names_its_step() {
    let (world, text) = standard();
    let found = verdict(&world, text.replacen("@v1", "@v2", 1).as_bytes());
    let Finding::ProofInvalid(Failure { step, .. }) = found.finding() else {
        panic!("invalid")
    };
    assert_eq!(format!("{step}"), "step 1 (form)");
    assert_eq!(
        format!("{}", found.finding()),
        "PROOF INVALID (step 1 (form))"
    );
    assert!(found.steps().is_empty());
    let mut numbers = crate::receipt::Step::ALL.map(crate::receipt::Step::number);
    numbers.sort_unstable();
    assert_eq!(numbers.to_vec(), (1..=15).collect::<Vec<u8>>());
}
