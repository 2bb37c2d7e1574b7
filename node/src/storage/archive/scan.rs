//! What the bytes of one segment hold: where each block's frame begins, and which blocks cannot be read any more.
//!
//! Behind a bad frame the next whole frame header is looked for by the segment's magic, so that one bad frame costs
//! no other block. Pure: no files.

use ledger::frame::{
    FRAME_HEADER_LEN, FRAME_TRAILER_LEN, FrameError, FrameHeader, HEADER_LEN, Magic, parse,
    shows_later_group,
};
use ledger::id::Height;

/// Stands in an offset table where a block cannot be read.
pub(super) const UNREADABLE: u32 = u32::MAX;

/// A run of blocks of one segment that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) offset: u64,
    pub(super) first: Height,
    pub(super) last: Height,
    pub(super) source: FrameError,
}

/// The frames of one segment.
#[derive(Debug)]
pub(super) struct Scanned {
    /// One for each block from the first on; [`UNREADABLE`] within a run.
    pub(super) offsets: Vec<u32>,
    /// Blocks with readable ones behind them.
    pub(super) runs: Vec<Run>,
    /// Where the last readable frame ends.
    pub(super) end: usize,
    /// What is wrong behind that; `None` if nothing is there.
    pub(super) bad_end: Option<FrameError>,
    /// Whether something of it was synced for certain.
    pub(super) was_synced: bool,
    /// Height behind the last readable block.
    pub(super) next: Height,
}

/// Which frames were synced for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// All: another segment follows.
    Sealed,
    /// Those with a later group behind them: a group that was torn may have lost any of its pages.
    Last,
}

/// Reads every frame of a segment whose first block has height `first`.
pub(super) fn frames(bytes: &[u8], magic: Magic, first: Height, stand: Stand) -> Scanned {
    let mut scanned = Scanned {
        offsets: Vec::new(),
        runs: Vec::new(),
        end: HEADER_LEN,
        bad_end: None,
        was_synced: stand == Stand::Sealed,
        next: first,
    };
    let mut at = HEADER_LEN;
    // Set while blocks before `at` are unreadable.
    let mut run: Option<Run> = None;
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let expected = run
            .as_ref()
            .map_or(scanned.next, |run| run.last.saturating_add(1));
        let source = match parse(rest, magic) {
            Ok((frame, _)) if frame.height == expected => {
                if let Some(run) = run.take() {
                    let blocks = run.last.0.saturating_sub(scanned.next.0).saturating_add(1);
                    let blocks = usize::try_from(blocks).unwrap_or(usize::MAX);
                    let length = scanned.offsets.len().saturating_add(blocks);
                    scanned.offsets.resize(length, UNREADABLE);
                    scanned.runs.push(run);
                }
                scanned
                    .offsets
                    .push(u32::try_from(at).unwrap_or(UNREADABLE));
                scanned.next = frame.height.saturating_add(1);
                at = at.saturating_add(frame.frame_len());
                scanned.end = at;
                continue;
            }
            Ok(_) => FrameError::Header,
            Err(source) => source,
        };
        let (offset, source) = match &run {
            Some(run) => (run.offset, run.source),
            None => (u64::try_from(at).unwrap_or(u64::MAX), source),
        };
        let behind = rest.get(1..).unwrap_or_default();
        let synced = stand == Stand::Sealed || shows_later_group(behind, magic, expected);
        let next = next_header(behind, magic, expected).filter(|_| synced);
        let Some((skipped, height)) = next else {
            scanned.was_synced |= run.is_some();
            scanned.bad_end = Some(source);
            return scanned;
        };
        run = Some(Run {
            offset,
            first: scanned.next,
            last: Height(height.0.saturating_sub(1)),
            source,
        });
        at = at.saturating_add(1).saturating_add(skipped);
    }
    // A header that was found has its frame behind it: the loop does not end within a run.
    scanned
}

/// The next whole frame header above a height: where it stands, and its height.
///
/// No more blocks are believed to be skipped than fit between.
fn next_header(bytes: &[u8], magic: Magic, above: Height) -> Option<(usize, Height)> {
    let starts = bytes.windows(FRAME_HEADER_LEN).enumerate();
    let mut found = starts.filter(|(_, window)| window.starts_with(&magic.0));
    found.find_map(|(at, window)| {
        let header = FrameHeader::decode(window, magic).ok()?;
        let skipped = header.height.0.checked_sub(above.0)?;
        let room = at / FRAME_HEADER_LEN.saturating_add(FRAME_TRAILER_LEN);
        let room = u64::try_from(room).ok()?.saturating_add(1);
        (skipped > 0 && skipped <= room).then_some((at, header.height))
    })
}
