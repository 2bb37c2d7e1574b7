//! Recovery of a journal from what a crash or a rotten disk leaves.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use super::*;
use proptest::prelude::*;

const PAGE: usize = 4096;

fn header() -> SegmentHeader {
    SegmentHeader::first(JournalId([1; 16]), Magic([0xa7; 16]), Origin::Fresh)
}

fn head() -> Head {
    let segment = header();
    Head {
        segment,
        next: Seq(1),
        prev_crc: 0,
    }
}

/// A segment with batches of these record lengths, and where each batch ends.
fn build(batches: &[Vec<usize>]) -> (Vec<u8>, Vec<usize>) {
    let mut head = head();
    let mut bytes = head.segment.encode().to_vec();
    let mut ends = alloc::vec![bytes.len()];
    for (number, lengths) in batches.iter().enumerate() {
        let records: Vec<Vec<u8>> = lengths
            .iter()
            .map(|n| alloc::vec![u8::try_from(number).unwrap(); *n])
            .collect();
        bytes.extend(head.encode_batch(&records).unwrap());
        ends.push(bytes.len());
    }
    (bytes, ends)
}

#[test]
fn batches_come_back_in_order() {
    let (bytes, _) = build(&[alloc::vec![3, 0, 70_000], Vec::new(), alloc::vec![1]]);
    let recovered = recover(&[&bytes]).unwrap();
    assert_eq!(recovered.verdict, Verdict::Clean);
    let lengths: Vec<Vec<usize>> = recovered
        .batches
        .iter()
        .map(|batch| batch.records.iter().map(|record| record.len()).collect())
        .collect();
    assert_eq!(
        lengths,
        [alloc::vec![3, 0, 70_000], Vec::new(), alloc::vec![1]]
    );
    assert_eq!(recovered.head.next, Seq(4));
    assert_eq!(recovered.head.segment.origin, Origin::Fresh);
}

#[test]
fn a_damaged_batch_with_a_later_one_is_corruption() {
    let (bytes, ends) = build(&[alloc::vec![50], alloc::vec![60], alloc::vec![70]]);
    for at in HEADER_LEN..ends[2] {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        assert!(
            matches!(recover(&[&bad]), Err(Corrupt::Batch { .. })),
            "byte {at}"
        );
    }
    // Behind the last batch there is nothing; but a number that rotted into a later one counts as one.
    let header_seq = ends[2] + 16..ends[2] + 24;
    for at in ends[2]..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        let keep = ends[2];
        match recover(&[&bad]) {
            Ok(recovered) => assert_eq!(recovered.verdict, Verdict::Truncate { segment: 0, keep }),
            Err(corrupt) => assert!(header_seq.contains(&at), "byte {at}: {corrupt}"),
        }
    }
}

#[test]
fn a_damaged_first_header_is_corruption() {
    let (bytes, _) = build(&[alloc::vec![50]]);
    for at in 0..HEADER_LEN {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(matches!(
            recover(&[&bad]),
            Err(Corrupt::Header { segment: 0, .. })
        ));
    }
    assert_eq!(recover(&[]), Err(Corrupt::Empty));
}

#[test]
fn segments_continue_each_other_and_a_snapshot_replaces_the_old() {
    let mut head = head();
    let mut first = head.segment.encode().to_vec();
    first.extend(head.encode_batch(&[b"a"]).unwrap());
    head.segment = SegmentHeader::after(&head, Opening::Continued);
    let mut second = head.segment.encode().to_vec();
    second.extend(head.encode_batch(&[b"b"]).unwrap());
    let before = head;
    head.segment = SegmentHeader::after(&head, Opening::Snapshot);
    let mut third = head.segment.encode().to_vec();
    third.extend(head.encode_batch(&[b"snapshot"]).unwrap());

    let both = recover(&[&first, &second]).unwrap();
    assert_eq!((both.batches.len(), both.obsolete), (2, 0));
    assert_eq!(recover(&[&second]), Err(Corrupt::Gap { segment: 0 }));
    for files in [
        &[&first[..], &second, &third][..],
        &[&second, &third],
        &[&third],
    ] {
        let recovered = recover(files).unwrap();
        assert_eq!(recovered.batches.len(), 1);
        assert_eq!(recovered.batches[0].records, [b"snapshot"]);
        assert_eq!(recovered.obsolete, files.len() - 1);
        assert_eq!(recovered.head, head);
    }
    // A snapshot that was not acknowledged leaves the journal before it.
    for keep in 0..third.len() {
        let recovered = recover(&[&first, &second, &third[..keep]]).unwrap();
        assert_eq!(
            recovered.verdict,
            Verdict::Truncate {
                segment: 2,
                keep: 0
            }
        );
        assert_eq!((recovered.batches.len(), recovered.head), (2, before));
    }
    assert!(matches!(
        recover(&[&third[..third.len() - 1]]),
        Err(Corrupt::Snapshot)
    ));
}

#[test]
fn names_sort_as_numbers() {
    assert_eq!(segment_number(&segment_name(7)), Some(7));
    assert_eq!(segment_number("7.journal"), None);
    assert!(segment_name(9) < segment_name(10));
}

proptest! {
    /// An unsynced append may leave any subset of its pages, and any length of the file.
    #[test]
    fn any_lost_pages_of_the_last_batch_leave_the_batches_before(
        batches in prop::collection::vec(prop::collection::vec(0_usize..9_000, 0..4), 1..5),
        lost in prop::collection::vec(any::<bool>(), 64),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let (whole, ends) = build(&batches);
        let durable = ends[ends.len() - 2];
        let mut bytes = whole.clone();
        for (page, lost) in (0..bytes.len().div_ceil(PAGE)).zip(lost) {
            let range = (page * PAGE).max(durable)..((page + 1) * PAGE).min(bytes.len());
            if lost && !range.is_empty() {
                bytes[range].fill(0);
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(durable + cut.index(whole.len() - durable));
        }
        let recovered = recover(&[&bytes]).unwrap();
        if bytes == whole {
            prop_assert_eq!(recovered.batches.len(), batches.len());
            prop_assert_eq!(recovered.verdict, Verdict::Clean);
        } else {
            prop_assert_eq!(recovered.batches.len(), batches.len() - 1);
            let verdict = if bytes.len() == durable {
                Verdict::Clean
            } else {
                Verdict::Truncate { segment: 0, keep: durable }
            };
            prop_assert_eq!(recovered.verdict, verdict);
        }
    }
}
