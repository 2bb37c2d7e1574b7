//! The archive on a real file system: reading back, torn tails, damage.

use super::*;
use ledger::hash::Hash;
use proptest::prelude::*;
use std::fs;

const CHAIN: ChainId = ChainId(Hash([4; 32]));
const PAGE: usize = 4096;

fn payload(byte: u8, length: usize) -> Vec<u8> {
    let block = vec![byte; length].try_into().unwrap();
    Payload {
        block,
        finalization: None,
    }
    .encode()
}

fn filled(dir: &Path, groups: &[&[usize]]) -> Archive {
    let mut archive = Archive::open_with(dir, CHAIN, 10_000).unwrap();
    for group in groups {
        let payloads: Vec<_> = group.iter().map(|length| payload(7, *length)).collect();
        archive.append_group(&payloads).unwrap();
    }
    archive
}

#[test]
fn blocks_come_back_by_height_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Archive::open_with(dir.path(), CHAIN, 10_000).unwrap();
    let reader = archive.reader();
    assert_eq!((reader.last(), archive.next_height()), (None, Height(1)));
    for byte in 1..50 {
        archive.append_group(&[payload(byte, 1000)]).unwrap();
    }
    let check = |reader: &Reader| {
        assert_eq!(reader.last(), Some(Height(49)));
        let heights: Vec<u8> = reader
            .iter(Height(1))
            .map(|block| block.unwrap().1.block[0])
            .collect();
        assert_eq!(heights, (1..50).collect::<Vec<u8>>());
        assert_eq!(reader.read(Height(0)).unwrap(), None);
        assert_eq!(reader.read(Height(50)).unwrap(), None);
        assert_eq!(
            reader.read_encoded(Height(30)).unwrap(),
            Some(payload(30, 1000))
        );
    };
    check(&reader);
    assert!(files::list(dir.path()).unwrap().len() > 3);
    drop(archive);
    let archive = Archive::open_with(dir.path(), CHAIN, 10_000).unwrap();
    assert_eq!(
        (archive.next_height(), archive.cut_bytes()),
        (Height(50), 0)
    );
    check(&archive.reader());
}

#[test]
fn another_chain_and_a_missing_segment_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(
        dir.path(),
        &[&[9_000], &[9_000], &[9_000, 9_000], &[9_000]],
    ));
    let other = Archive::open(dir.path(), ChainId(Hash([5; 32])));
    assert!(matches!(other, Err(OpenError::OtherChain { .. })));
    fs::remove_file(dir.path().join(segment_name(1))).unwrap();
    let gap = Archive::open(dir.path(), CHAIN);
    assert!(matches!(gap, Err(OpenError::Gap { number: 1, .. })));
}

#[test]
fn damage_is_named_by_segment_offset_and_height() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(
        dir.path(),
        &[&[500], &[500], &[500], &[20_000], &[500], &[500]],
    ));
    let sealed = dir.path().join(segment_name(1));
    let last = dir.path().join(segment_name(2));
    let offset = as_u64(HEADER_LEN + frame_len(500));

    // A payload in a sealed segment is checked when it is read.
    let whole = fs::read(&sealed).unwrap();
    flip(&sealed, HEADER_LEN + frame_len(500) + 100);
    let archive = Archive::open_with(dir.path(), CHAIN, 10_000).unwrap();
    let reader = archive.reader();
    reader.read(Height(1)).unwrap();
    let Err(ReadError::Damaged(damaged)) = reader.read(Height(2)) else {
        panic!("not noticed");
    };
    assert_eq!(
        (damaged.segment, damaged.offset, damaged.height),
        (1, offset, Height(2))
    );
    reader.read(Height(3)).unwrap();
    drop(archive);

    // A frame header in a sealed segment is noticed at open.
    fs::write(&sealed, &whole).unwrap();
    flip(&sealed, HEADER_LEN + frame_len(500) + 20);
    let Err(OpenError::Damaged(damaged)) = Archive::open_with(dir.path(), CHAIN, 10_000) else {
        panic!("not noticed");
    };
    assert_eq!(
        (damaged.segment, damaged.offset, damaged.height),
        (1, offset, Height(2))
    );
    fs::write(&sealed, &whole).unwrap();

    // In the last segment everything is checked at open.
    let whole = fs::read(&last).unwrap();
    for at in HEADER_LEN..HEADER_LEN + frame_len(500) {
        flip(&last, at);
        let opened = Archive::open_with(dir.path(), CHAIN, 10_000);
        let Err(OpenError::Damaged(damaged)) = opened else {
            panic!("byte {at} not noticed");
        };
        assert_eq!((damaged.segment, damaged.height), (2, Height(5)));
        fs::write(&last, &whole).unwrap();
    }
}

#[test]
fn a_torn_segment_header_is_a_segment_that_never_was() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), &[&[500]]));
    let torn = dir.path().join(segment_name(2));
    fs::write(&torn, [0; 60]).unwrap();
    let mut archive = Archive::open_with(dir.path(), CHAIN, 10_000).unwrap();
    assert_eq!(
        (archive.cut_bytes(), archive.next_height()),
        (60, Height(2))
    );
    assert!(!torn.exists());
    archive.append_group(&[payload(2, 10)]).unwrap();
    drop(archive);
    let archive = Archive::open_with(dir.path(), CHAIN, 10_000).unwrap();
    assert_eq!(archive.next_height(), Height(3));
}

fn frame_len(block: usize) -> usize {
    FRAME_HEADER_LEN + payload(0, block).len() + frame::FRAME_TRAILER_LEN
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any subset of the pages of the last, unsynced group is lost: all groups before it are there.
    #[test]
    fn lost_pages_of_the_last_group_leave_the_groups_before(
        groups in prop::collection::vec(prop::collection::vec(0_usize..9_000, 1..4), 1..4),
        lost in prop::collection::vec(any::<bool>(), 40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = Archive::open(dir.path(), CHAIN).unwrap();
        let path = dir.path().join(segment_name(1));
        let mut durable = 0;
        let mut before = Height(1);
        for group in &groups {
            durable = fs::metadata(&path).map_or(HEADER_LEN, |meta| usize::try_from(meta.len()).unwrap());
            before = archive.next_height();
            let payloads: Vec<_> = group.iter().map(|length| payload(9, *length)).collect();
            archive.append_group(&payloads).unwrap();
        }
        let all = archive.next_height();
        drop(archive);
        let mut bytes = fs::read(&path).unwrap();
        for (page, lost) in (0..bytes.len().div_ceil(PAGE)).zip(lost) {
            let range = (page * PAGE).max(durable)..((page + 1) * PAGE).min(bytes.len());
            if lost && !range.is_empty() {
                bytes[range].fill(0);
            }
        }
        fs::write(&path, bytes).unwrap();
        let mut archive = Archive::open(dir.path(), CHAIN).unwrap();
        let found = archive.next_height();
        prop_assert!(found >= before && found <= all);
        archive.append_group(&[payload(1, 5)]).unwrap();
        let blocks = archive.reader().iter(Height(1)).collect::<Result<Vec<_>, _>>().unwrap();
        prop_assert_eq!(as_u64(blocks.len()), found.0);
    }
}
