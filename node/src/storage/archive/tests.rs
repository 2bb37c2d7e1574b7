//! The archive on a real file system: reading back, torn tails, damage.

use super::*;
use ledger::frame::{FRAME_HEADER_LEN, HEADER_LEN, Payload};
use ledger::hash::Hash;
use proptest::prelude::*;
use std::collections::BTreeMap;
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
fn another_chain_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), &[&[9_000]]));
    let other = Archive::open(dir.path(), ChainId(Hash([5; 32])));
    assert!(matches!(other, Err(OpenError::OtherChain { .. })));
}

#[test]
fn segments_that_were_moved_away_are_named_and_the_rest_is_served() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(
        dir.path(),
        &[&[9_000], &[9_000], &[9_000, 9_000], &[9_000], &[9_000]],
    ));
    assert_eq!(files::list(dir.path()).unwrap().len(), 3);
    for number in [1, 2] {
        fs::remove_file(dir.path().join(segment_name(number))).unwrap();
    }
    let open = || Archive::open_without(dir.path(), CHAIN, 10_000, 2).unwrap();
    let mut archive = open();
    let reader = archive.reader();
    assert_eq!((reader.last(), reader.holes()), (Some(Height(6)), vec![]));
    let away = reader.away();
    assert_eq!(
        (away[0].first_segment, away[0].last_segment, away[0].last),
        (1, 2, Height(4))
    );
    for height in 1..5 {
        let read = reader.read(Height(height));
        assert!(matches!(read, Err(ReadError::Away { segment: 1, .. })));
    }
    assert_eq!(reader.readable_from(Height(2)), Some(Height(5)));
    reader.read(Height(5)).unwrap().unwrap();
    archive.append_group(&[payload(3, 9_000)]).unwrap();
    archive.append_group(&[payload(3, 10)]).unwrap();
    drop(archive);
    assert_eq!(open().next_height(), Height(9));
}

/// The one hole of an archive, as segment, offset, first and last block.
fn hole(archive: &Archive) -> (u64, u64, Height, Height) {
    let holes = archive.reader().holes();
    let [hole] = holes.as_slice() else {
        panic!("{holes:?}");
    };
    (hole.segment, hole.offset, hole.first, hole.last)
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
    let open = || Archive::open_with(dir.path(), CHAIN, 10_000).unwrap();

    // A payload in a sealed segment is checked when it is read.
    let whole = fs::read(&sealed).unwrap();
    flip(&sealed, HEADER_LEN + frame_len(500) + 100);
    let archive = open();
    let reader = archive.reader();
    reader.read(Height(1)).unwrap();
    assert_eq!(reader.holes(), []);
    for _ in 0..2 {
        let Err(ReadError::Damaged(damaged)) = reader.read(Height(2)) else {
            panic!("not noticed");
        };
        let place = (damaged.segment, damaged.offset, damaged.height);
        assert_eq!(place, (1, offset, Height(2)));
    }
    assert_eq!(hole(&archive), (1, offset, Height(2), Height(2)));
    reader.read(Height(3)).unwrap();
    drop(archive);

    // Every bit of a frame's header in a sealed segment is noticed at open, and costs one block.
    for at in 0..FRAME_HEADER_LEN {
        fs::write(&sealed, &whole).unwrap();
        flip(&sealed, HEADER_LEN + frame_len(500) + at);
        let archive = open();
        assert_eq!(hole(&archive), (1, offset, Height(2), Height(2)), "{at}");
        archive.reader().read(Height(3)).unwrap().unwrap();
        assert_eq!(archive.next_height(), Height(7));
    }

    // A segment's own header is told by its first frame.
    for at in 0..HEADER_LEN {
        fs::write(&sealed, &whole).unwrap();
        flip(&sealed, at);
        let archive = open();
        assert_eq!(hole(&archive), (1, 0, Height(1), Height(0)), "{at}");
        archive.reader().read(Height(2)).unwrap().unwrap();
    }

    // A segment that ends too early lacks its last blocks.
    fs::write(&sealed, &whole[..HEADER_LEN + frame_len(500) + 60]).unwrap();
    let (segment, _, first, end) = hole(&open());
    assert_eq!((segment, first, end), (1, Height(2), Height(4)));
    fs::write(&sealed, &whole).unwrap();

    // In the last segment everything is checked at open.
    let whole = fs::read(&last).unwrap();
    for at in HEADER_LEN..HEADER_LEN + frame_len(500) {
        flip(&last, at);
        let archive = open();
        let place = (2, as_u64(HEADER_LEN), Height(5), Height(5));
        assert_eq!(hole(&archive), place, "byte {at} not noticed");
        archive.reader().read(Height(6)).unwrap().unwrap();
        fs::write(&last, &whole).unwrap();
    }
}

#[test]
fn a_damaged_end_is_kept_aside_and_a_torn_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), &[&[500], &[500]]));
    let path = dir.path().join(segment_name(1));
    let whole = fs::read(&path).unwrap();
    let end = HEADER_LEN + frame_len(500);
    for (ending, files) in [(Ending::Torn, 1), (Ending::Damaged, 2)] {
        fs::write(&path, &whole).unwrap();
        flip(&path, end + 60);
        let bad = fs::read(&path).unwrap();
        let mut archive = Archive::open_with(dir.path(), CHAIN, 10_000).unwrap();
        let tail = archive.tail().unwrap();
        let place = (tail.segment, tail.offset, tail.height, tail.was_synced);
        assert_eq!(place, (1, as_u64(end), Height(2), false));
        assert!(archive.append_group(&[payload(1, 1)]).is_err());
        let kept = archive.settle(ending).unwrap();
        assert_eq!(archive.next_height(), Height(2));
        assert_eq!(fs::read(&path).unwrap(), &whole[..end]);
        assert_eq!(files::list(dir.path()).unwrap().len(), files);
        if let Some(kept) = kept {
            assert_eq!(fs::read(kept).unwrap(), &bad[end..]);
        }
        archive.append_group(&[payload(1, 1)]).unwrap();
    }
}

#[test]
fn a_repaired_segment_has_its_blocks_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = filled(
        dir.path(),
        &[&[500], &[500], &[500], &[20_000], &[500], &[500]],
    );
    let reader = archive.reader();
    for (segment, at, lost) in [(1, frame_len(500) + 100, 2), (2, 100, 5)] {
        let path = dir.path().join(segment_name(segment));
        flip(&path, HEADER_LEN + at);
        reader.read(Height(lost)).unwrap_err();
        let holes = reader.holes();
        archive
            .repairer()
            .put_back(segment, &BTreeMap::new())
            .unwrap();
        assert_eq!(reader.holes(), holes, "without its block nothing changes");
        let blocks = BTreeMap::from([(Height(lost), payload(7, 500))]);
        let aside = archive.repairer().put_back(segment, &blocks).unwrap();
        assert!(aside.unwrap().exists());
        assert_eq!(reader.holes(), []);
    }
    archive.append_group(&[payload(8, 10)]).unwrap();
    let all = |reader: &Reader| {
        let blocks = reader
            .iter(Height(1))
            .map(|block| block.unwrap().1.block[0]);
        blocks.collect::<Vec<u8>>()
    };
    assert_eq!(all(&reader), [7, 7, 7, 7, 7, 7, 8]);
    drop(archive);
    let archive = Archive::open_with(dir.path(), CHAIN, 10_000).unwrap();
    assert_eq!(all(&archive.reader()), [7, 7, 7, 7, 7, 7, 8]);
    assert_eq!(archive.reader().holes(), []);
}

/// Every byte of an archive's blocks, as far as they can be read.
fn read_all(reader: &Reader) -> Vec<Option<Vec<u8>>> {
    let last = reader.last().unwrap_or_default().0;
    let heights = (1..=last).map(Height);
    heights
        .map(|height| reader.read_encoded(height).ok().flatten())
        .collect()
}

#[test]
fn of_two_damaged_blocks_one_is_put_back_and_the_other_stays_as_it_is() {
    for lost in [[1, 2], [2, 3], [3, 1], [2, 1]] {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(
            dir.path(),
            &[&[500], &[500], &[500], &[20_000], &[500]],
        ));
        let path = dir.path().join(segment_name(1));
        let at = |height: usize| HEADER_LEN + (height - 1) * frame_len(500);
        // The one by its payload, the other by its frame's header.
        flip(&path, at(lost[0]) + 100);
        flip(&path, at(lost[1]) + 20);
        let wreck = fs::read(&path).unwrap()[at(lost[1])..][..frame_len(500)].to_vec();
        let open = || Archive::open_with(dir.path(), CHAIN, 10_000).unwrap();
        let archive = open();
        archive.reader().condemn_all();
        let blocks = BTreeMap::from([(Height(lost[0] as u64), payload(7, 500))]);
        archive.repairer().put_back(1, &blocks).unwrap();
        let rest = Height(lost[1] as u64);
        let whole = |archive: &Archive| {
            let (segment, _, first, last) = hole(archive);
            assert_eq!((segment, first, last), (1, rest, rest));
            let bytes = fs::read(&path).unwrap();
            let kept = bytes.windows(wreck.len()).any(|found| found == wreck);
            assert!(kept, "{rest}");
        };
        whole(&archive);
        drop(archive);
        let archive = open();
        archive.reader().condemn_all();
        whole(&archive);
        let blocks = BTreeMap::from([(Height(lost[1] as u64), payload(7, 500))]);
        archive.repairer().put_back(1, &blocks).unwrap();
        assert_eq!(archive.reader().holes(), []);
    }
}

#[test]
fn missing_segments_are_holes_until_all_their_blocks_are_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let groups: [&[usize]; 8] = [
        &[500; 20],
        &[500; 20],
        &[500; 20],
        &[9],
        &[9_990],
        &[500],
        &[500],
        &[1],
    ];
    drop(filled(dir.path(), &groups));
    let open = || Archive::open_with(dir.path(), CHAIN, 10_000).unwrap();
    let archive = open();
    let right = read_all(&archive.reader());
    let parts = archive.reader().parts();
    assert!(parts.len() >= 4, "{parts:?}");
    let (first, last) = (parts[1].blocks.0, Height(parts[2].blocks.1.0 - 1));
    drop(archive);
    for number in [2, 3] {
        fs::remove_file(dir.path().join(segment_name(number))).unwrap();
    }
    let archive = open();
    let reader = archive.reader();
    assert_eq!(hole(&archive), (2, 0, first, last));
    assert_eq!(
        (reader.away(), reader.last()),
        (vec![], Some(Height(as_u64(right.len()))))
    );
    assert!(matches!(
        reader.read(first),
        Err(ReadError::Damaged(Damaged {
            source: FrameError::Missing,
            ..
        }))
    ));
    let nothing = archive.repairer().put_back(2, &BTreeMap::new());
    assert!(matches!(nothing, Err(RepairError::Nothing(2))));
    let blocks = |from: Height, to: Height| -> BTreeMap<Height, Vec<u8>> {
        let heights = (from.0..=to.0).map(Height);
        let bytes = |height: Height| {
            right[usize::try_from(height.0).unwrap() - 1]
                .clone()
                .unwrap()
        };
        heights.map(|height| (height, bytes(height))).collect()
    };
    // A part of it, then all: one block is left for the second of the two.
    let some = Height(first.0 + 2);
    archive
        .repairer()
        .put_back(2, &blocks(first, some))
        .unwrap();
    assert_eq!(hole(&archive), (3, 0, Height(some.0 + 1), last));
    archive
        .repairer()
        .put_back(3, &blocks(Height(some.0 + 1), Height(last.0 - 1)))
        .unwrap();
    let (number, _, from, to) = hole(&archive);
    assert_eq!((number, from, to), (3, last, last));
    drop((archive, reader));
    let archive = open();
    assert_eq!((hole(&archive).2, hole(&archive).3), (last, last));
    archive.repairer().put_back(3, &blocks(last, last)).unwrap();
    for archive in [archive, open()] {
        assert_eq!(archive.reader().holes(), []);
        assert_eq!(read_all(&archive.reader()), right);
    }
}

#[test]
fn a_file_that_goes_away_while_its_archive_is_open_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let archive = filled(dir.path(), &[&[500], &[20_000], &[500]]);
    let reader = archive.reader();
    let right = read_all(&reader);
    let part = reader.parts().remove(0);
    fs::remove_file(dir.path().join(segment_name(1))).unwrap();
    assert_eq!(reader.check_header(&part).unwrap(), Stand::Whole);
    assert_eq!(hole(&archive), (1, 0, Height(1), Height(2)));
    let blocks = [1, 2].map(|height| {
        (
            Height(height),
            right[usize::try_from(height).unwrap() - 1].clone().unwrap(),
        )
    });
    let aside = archive
        .repairer()
        .put_back(1, &BTreeMap::from(blocks))
        .unwrap();
    assert_eq!(aside, None);
    assert_eq!(read_all(&reader), right);
}

/// A header that claims what no segment can hold is refused by its place; what it could claim costs no memory.
#[test]
fn what_a_header_claims_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(
        dir.path(),
        &[&[500], &[20_000], &[500], &[20_000], &[500]],
    ));
    let path = |number| dir.path().join(segment_name(number));
    let claim = |number, first| {
        let mut bytes = fs::read(path(number)).unwrap();
        let mut header = SegmentHeader::decode(&bytes).unwrap();
        header.first = Height(first);
        bytes[..HEADER_LEN].copy_from_slice(&header.encode());
        fs::write(path(number), bytes).unwrap();
    };
    let open = || Archive::open_with(dir.path(), CHAIN, 10_000);
    let third = fs::read(path(3)).unwrap();
    for first in [1 << 27, 1 << 40, u64::MAX] {
        claim(3, first);
        let whole = fs::read(path(2)).unwrap();
        // Behind a good one, behind one of which nothing is left, and behind none.
        for lost in [None, Some(()), None] {
            if lost.is_some() {
                fs::write(path(2), [0; 700]).unwrap();
            }
            let Err(OpenError::Damaged(damaged)) = open() else {
                panic!("{first} was taken");
            };
            assert_eq!(damaged.segment, 2);
        }
        fs::remove_file(path(2)).unwrap();
        assert!(matches!(open(), Err(OpenError::Damaged(damaged)) if damaged.segment == 3));
        fs::write(path(2), whole).unwrap();
    }
    fs::write(path(3), third).unwrap();
    open().unwrap();
}

#[test]
fn few_files_are_open_however_many_segments_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let groups = [[10_000_usize].as_slice(); 150];
    let open_files = || {
        let all = fs::read_dir("/proc/self/fd").unwrap();
        let names = all.filter_map(|one| fs::read_link(one.unwrap().path()).ok());
        names.filter(|name| name.starts_with(dir.path())).count()
    };
    let archive = filled(dir.path(), &groups);
    assert_eq!(archive.reader().parts().len(), 150);
    let most = reader::OPEN_FILES + 1;
    let mut all = read_all(&archive.reader());
    assert!(open_files() <= most, "{}", open_files());
    drop(archive);
    let archive = Archive::open_with(dir.path(), CHAIN, 10_000).unwrap();
    assert!(open_files() <= most, "{}", open_files());
    for _ in 0..2 {
        assert_eq!(read_all(&archive.reader()), all);
        all.truncate(150);
    }
    assert!(open_files() <= most, "{}", open_files());
}

#[test]
fn the_newest_three_of_a_segments_damaged_files_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let archive = filled(dir.path(), &[&[500], &[500], &[20_000], &[500]]);
    for number in 1..=7 {
        archive.reader().condemn(Height(1)).unwrap();
        let blocks = BTreeMap::from([(Height(1), payload(number, 500))]);
        archive.repairer().put_back(1, &blocks).unwrap();
    }
    let mut kept = files::list(dir.path()).unwrap();
    kept.retain(|name| name.contains("damaged"));
    let name = segment_name(1);
    assert_eq!(
        kept,
        [5, 6, 7].map(|number| format!("{name}.damaged-{number}"))
    );
}

#[test]
fn a_torn_segment_header_is_a_segment_that_never_was() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), &[&[500]]));
    let torn = dir.path().join(segment_name(2));
    fs::write(&torn, [0; 60]).unwrap();
    let mut archive = Archive::open(dir.path(), CHAIN).unwrap();
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
