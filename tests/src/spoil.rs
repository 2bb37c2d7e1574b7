//! Flips bits of archived blocks, as a bad disk does, while a node runs or not.

use ledger::frame::{HEADER_LEN, SegmentHeader, parse, segment_number};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The segment of a block, and where its payload lies in it.
///
/// # Panics
/// If there is no such block, or a file cannot be read.
pub fn payload(archive: &Path, height: u64) -> (PathBuf, std::ops::Range<usize>) {
    let mut names = fs::read_dir(archive).expect("an archive");
    let found = names.find_map(|entry| {
        let path = entry.expect("an archive").path();
        segment_number(path.file_name()?.to_str()?)?;
        let bytes = fs::read(&path).expect("an archive");
        let magic = SegmentHeader::decode(&bytes).expect("an archive").magic;
        let mut at = HEADER_LEN;
        while let Ok((frame, range)) = parse(&bytes[at..], magic) {
            if frame.height.0 == height {
                return Some((path, at + range.start..at + range.end));
            }
            at += frame.frame_len();
        }
        None
    });
    found.unwrap_or_else(|| panic!("block {height} is not in {}", archive.display()))
}

/// Flips a bit in the middle of each of these blocks.
///
/// # Panics
/// If one of them is not there.
pub fn spoil(archive: &Path, heights: &[u64]) {
    // All are looked for first: behind a spoiled one nothing is found.
    let found: Vec<_> = heights.iter().map(|at| payload(archive, *at)).collect();
    for (path, range) in found {
        flip(&path, range.start.midpoint(range.end));
    }
}

/// Flips a bit in its place: the file may be in use.
///
/// # Panics
/// If the file has no such byte or cannot be written.
pub fn flip(path: &Path, at: usize) {
    let byte = fs::read(path).expect("an archive")[at] ^ 2;
    let file = fs::File::options()
        .write(true)
        .open(path)
        .expect("an archive");
    file.write_all_at(&[byte], at as u64).expect("an archive");
}
