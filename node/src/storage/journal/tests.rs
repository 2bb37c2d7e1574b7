//! The journal on a real file system, with what crashes leave behind.

use super::*;
use proptest::prelude::*;
use std::fs;

const ID: JournalId = JournalId([5; 16]);
const PAGE: usize = 4096;

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("journal");
    Journal::create(&dir, ID, Origin::Fresh).unwrap();
    (root, dir)
}

fn record(byte: u8, length: usize) -> Vec<u8> {
    vec![byte; length]
}

#[test]
fn records_come_back_in_order_after_a_restart() {
    let (_root, dir) = fresh();
    let mut opened = Journal::open(&dir, ID).unwrap();
    assert_eq!((opened.records.len(), opened.origin), (0, Origin::Fresh));
    assert_eq!(opened.journal.sync().unwrap(), Seq(0));
    assert_eq!(
        opened
            .journal
            .append([record(1, 10), record(2, 20)])
            .unwrap(),
        Seq(1)
    );
    opened.journal.append([record(3, 0)]).unwrap();
    assert_eq!(opened.journal.sync().unwrap(), Seq(1));
    opened.journal.append([record(4, 9)]).unwrap();
    drop(opened);
    let opened = Journal::open(&dir, ID).unwrap();
    assert_eq!(opened.records, [record(1, 10), record(2, 20), record(3, 0)]);
    assert_eq!(opened.cut_bytes, 0);
}

#[test]
fn only_one_process_and_one_key_open_it() {
    let (_root, dir) = fresh();
    let open = Journal::open(&dir, ID).unwrap();
    assert!(matches!(Journal::open(&dir, ID), Err(OpenError::Locked(_))));
    drop(open);
    let other = Journal::open(&dir, JournalId([6; 16]));
    assert!(matches!(other, Err(OpenError::OtherJournal { .. })));
    let missing = Journal::open(&dir.join("none"), ID);
    assert!(matches!(missing, Err(OpenError::Missing(_))));
    assert!(Journal::create(&dir, ID, Origin::Fresh).is_err());
}

#[test]
fn segments_roll_over_and_a_snapshot_prunes_them() {
    let (_root, dir) = fresh();
    let mut journal = Journal::open_with(&dir, ID, 1000).unwrap().journal;
    for byte in 0..20 {
        journal.append([record(byte, 300)]).unwrap();
        journal.sync().unwrap();
    }
    assert!(files::list(&dir).unwrap().len() > 5);
    let on_disk = |dir: &Path| -> u64 {
        let names = files::list(dir).unwrap();
        names
            .iter()
            .map(|name| fs::metadata(dir.join(name)).unwrap().len())
            .sum()
    };
    assert_eq!(journal.bytes(), on_disk(&dir));
    drop(journal);
    let opened = Journal::open_with(&dir, ID, 1000).unwrap();
    assert_eq!(opened.records.len(), 20);
    let mut journal = opened.journal;
    assert_eq!(journal.bytes(), on_disk(&dir));
    journal.append([record(20, 300)]).unwrap();
    journal.prune(vec![record(99, 50)]).unwrap();
    assert_eq!(files::list(&dir).unwrap().len(), 1);
    assert_eq!(journal.bytes(), on_disk(&dir));
    journal.append([record(21, 7)]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let opened = Journal::open_with(&dir, ID, 1000).unwrap();
    assert_eq!(opened.records, [record(99, 50), record(21, 7)]);
    assert_eq!(opened.origin, Origin::Fresh);
}

#[test]
fn a_snapshot_that_is_no_single_batch_is_refused_and_everything_stays() {
    let (_root, dir) = fresh();
    let mut journal = Journal::open_with(&dir, ID, 1000).unwrap().journal;
    for byte in 0..5 {
        journal.append([record(byte, 300)]).unwrap();
        journal.sync().unwrap();
    }
    let before = (files::list(&dir).unwrap(), journal.bytes());
    // Two batches: a crash between them would leave the second without the first, or the first alone.
    let half = MAX_BATCH_LEN / 2;
    let refused = journal.prune(vec![record(8, half), record(9, half)]);
    assert_eq!(
        refused.unwrap(),
        Pruned::TooMuch {
            bytes: 2 * half + 8
        }
    );
    assert_eq!((files::list(&dir).unwrap(), journal.bytes()), before);
    journal.append([record(5, 300)]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let mut opened = Journal::open_with(&dir, ID, 1000).unwrap();
    let all: Vec<_> = (0..6).map(|byte| record(byte, 300)).collect();
    assert_eq!(opened.records, all);
    let pruned = opened.journal.prune(vec![record(7, 10)]);
    assert_eq!(pruned.unwrap(), Pruned::Whole);
}

#[test]
fn a_cut_roll_over_and_a_cut_snapshot_are_undone() {
    let (_root, dir) = fresh();
    let mut journal = Journal::open(&dir, ID).unwrap().journal;
    journal.append([record(1, 300)]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let torn = dir.join(segment_name(2));
    fs::write(&torn, [0; 50]).unwrap();
    let opened = Journal::open(&dir, ID).unwrap();
    assert_eq!((opened.records.len(), opened.cut_bytes), (1, 50));
    assert!(!torn.exists());
    let mut journal = opened.journal;
    journal.append([record(2, 300)]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    assert_eq!(Journal::open(&dir, ID).unwrap().records.len(), 2);
}

#[test]
fn damage_before_the_last_batch_is_refused() {
    let (_root, dir) = fresh();
    let mut journal = Journal::open(&dir, ID).unwrap().journal;
    for byte in 0..3 {
        journal.append([record(byte, 300)]).unwrap();
        journal.sync().unwrap();
    }
    drop(journal);
    let path = dir.join(segment_name(1));
    let mut bytes = fs::read(&path).unwrap();
    bytes[300] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let refused = Journal::open(&dir, ID);
    assert!(matches!(refused, Err(OpenError::Corrupt { .. })));
    assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was changed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any subset of the 4 KiB pages of the last, unsynced batch is lost, and any of its growth.
    #[test]
    fn lost_pages_of_the_last_batch_leave_the_batches_before(
        batches in prop::collection::vec(prop::collection::vec(0_usize..9_000, 1..4), 1..4),
        lost in prop::collection::vec(any::<bool>(), 32),
        grown in 0.0..=1.0_f64,
    ) {
        let (_root, dir) = fresh();
        let mut journal = Journal::open(&dir, ID).unwrap().journal;
        let mut durable = journal.bytes();
        let mut expected = Vec::new();
        for (number, lengths) in batches.iter().enumerate() {
            durable = journal.bytes();
            let byte = u8::try_from(number).unwrap();
            let records: Vec<_> = lengths.iter().map(|n| record(byte + 1, *n)).collect();
            journal.append(records.clone()).unwrap();
            journal.sync().unwrap();
            if number + 1 < batches.len() {
                expected.extend(records);
            }
        }
        drop(journal);
        let path = dir.join(segment_name(1));
        let mut bytes = fs::read(&path).unwrap();
        let durable = usize::try_from(durable).unwrap();
        let mut changed = false;
        for (page, lost) in (0..bytes.len().div_ceil(PAGE)).zip(lost) {
            let range = (page * PAGE).max(durable)..((page + 1) * PAGE).min(bytes.len());
            if lost && !range.is_empty() {
                bytes[range].fill(0);
                changed = true;
            }
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a length")]
        let keep = durable + ((bytes.len() - durable) as f64 * grown) as usize;
        changed |= keep < bytes.len();
        bytes.truncate(keep);
        fs::write(&path, &bytes).unwrap();
        prop_assume!(changed);

        let opened = Journal::open(&dir, ID).unwrap();
        prop_assert_eq!(&opened.records, &expected);
        let mut journal = opened.journal;
        journal.append([record(77, 5)]).unwrap();
        journal.sync().unwrap();
        drop(journal);
        expected.push(record(77, 5));
        prop_assert_eq!(Journal::open(&dir, ID).unwrap().records, expected);
    }
}
