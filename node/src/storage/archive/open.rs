//! Opening an archive: the offset table is rebuilt by walking frame headers, the last segment is checked frame by frame.
//!
//! Bad frames with readable ones (or a later segment) behind them had been synced: they become holes, and the archive
//! opens all the same. So does a segment that is not there, unless the operator moved it away. Nothing is allocated for
//! what a header claims and the disk does not hold. What is bad at the very end may be a torn write or damage; that is for the caller to say, who
//! knows what else is on the disk ([`super::Archive::settle`]).

use super::reader::{Content, Hole, Reader, Segment};
use super::scan::{self, Run, Stand};
use super::{Archive, OpenError, Tail, Writer, damaged};
use crate::storage::files::{self, DurableFile};
use ledger::frame::{
    FRAME_HEADER_LEN, FRAME_TRAILER_LEN, FrameError, FrameHeader, HEADER_LEN, SegmentHeader,
    segment_name, segment_number,
};
use ledger::hash::ChainId;
use ledger::id::Height;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Most blocks of a segment: their frames have offsets of 32 bits.
const MOST_BLOCKS: u64 = (1 << 32) / (FRAME_HEADER_LEN + FRAME_TRAILER_LEN) as u64;
/// What a repair was writing when the process ended.
pub(super) const UNFINISHED: &str = ".repair";

/// A segment's header, read or guessed from its first frame.
#[derive(Clone, Copy, Debug)]
struct Start {
    header: SegmentHeader,
    is_damaged: bool,
}

struct Opening<'a> {
    dir: &'a Path,
    chain: ChainId,
    /// Segments up to this number may be away.
    moved_away: u64,
    next: Height,
    segments: Vec<Segment>,
    tail: Option<Tail>,
}

pub(super) fn open(
    dir: &Path,
    chain: ChainId,
    segment_bytes: u64,
    moved_away: u64,
) -> Result<Archive, OpenError> {
    files::create_dir(dir)?;
    let names = files::list(dir)?;
    for name in names.iter().filter(|name| name.ends_with(UNFINISHED)) {
        files::remove(&dir.join(name))?;
    }
    let numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    let mut opening = Opening {
        dir,
        chain,
        moved_away,
        next: Height(1),
        segments: Vec::new(),
        tail: None,
    };
    let starts = numbers
        .iter()
        .map(|number| Ok((*number, opening.start(*number)?)))
        .collect::<Result<Vec<_>, OpenError>>()?;
    for (at, (number, start)) in starts.iter().enumerate() {
        opening.absent(*number, *start)?;
        let following = starts.get(at.saturating_add(1));
        match following {
            None => opening.last(*number, *start)?,
            Some((following, start_of_it)) => {
                let end = start_of_it.filter(|_| *following == number.saturating_add(1));
                opening.sealed(*number, *start, end.map(|start| start.header.first))?;
            }
        }
    }
    opening.finish(segment_bytes)
}

impl Opening<'_> {
    /// Reads a segment's header; `None` if neither it nor the first frame tells.
    fn start(&self, number: u64) -> Result<Option<Start>, OpenError> {
        let path = self.dir.join(segment_name(number));
        let bytes = files::read_start(&path, HEADER_LEN.saturating_add(FRAME_HEADER_LEN))?;
        let Ok(header) = SegmentHeader::decode(&bytes) else {
            return Ok(self.guess(number, &bytes));
        };
        if header.chain != self.chain {
            return Err(OpenError::OtherChain {
                path: self.dir.into(),
                found: header.chain,
                expected: self.chain,
            });
        }
        if header.number != number {
            return Err(damaged(number, 0, header.first, FrameError::SegmentHeader).into());
        }
        Ok(Some(Start {
            header,
            is_damaged: false,
        }))
    }

    /// A frame header is checksummed with its magic: a whole one tells both.
    fn guess(&self, number: u64, bytes: &[u8]) -> Option<Start> {
        let frame = bytes.get(HEADER_LEN..)?;
        let magic = ledger::frame::Magic(*frame.first_chunk::<16>()?);
        let first = FrameHeader::decode(frame, magic).ok()?.height;
        let header = SegmentHeader {
            chain: self.chain,
            magic,
            number,
            first,
        };
        Some(Start {
            header,
            is_damaged: true,
        })
    }

    /// Segments that are not here before this one: its header says how many blocks they hold.
    fn absent(&mut self, number: u64, start: Option<Start>) -> Result<(), OpenError> {
        let expected = self
            .segments
            .last()
            .map_or(0, Segment::last_number)
            .saturating_add(1);
        if number == expected {
            return Ok(());
        }
        let bad = || OpenError::from(damaged(number, 0, self.next, FrameError::SegmentHeader));
        let start = start.ok_or_else(bad)?;
        let first = start.header.first;
        let blocks = first.0.checked_sub(self.next.0).ok_or_else(bad)?;
        let (upto, segments) = (number.saturating_sub(1), number.saturating_sub(expected));
        // Where the first of them ended that was not moved away nothing tells: it is named with those that were.
        let content = if expected <= self.moved_away {
            Content::Away { upto, blocks }
        } else if segments <= blocks && blocks <= segments.saturating_mul(MOST_BLOCKS) {
            Content::Missing { upto, blocks }
        } else {
            return Err(bad());
        };
        self.segments.push(Segment {
            header: SegmentHeader {
                number: expected,
                first: self.next,
                // Frames with a magic of their own will be written.
                magic: ledger::frame::Magic(files::random()?),
                ..start.header
            },
            path: self.dir.join(segment_name(expected)),
            content,
        });
        self.next = first;
        Ok(())
    }

    /// A segment with another behind it: every frame in it was synced.
    fn sealed(
        &mut self,
        number: u64,
        start: Option<Start>,
        end: Option<Height>,
    ) -> Result<(), OpenError> {
        let path = self.dir.join(segment_name(number));
        let bad = |at, height, source| OpenError::from(damaged(number, at, height, source));
        let Some(start) = start else {
            // Nothing in it can be found any more.
            let end = end.ok_or_else(|| bad(0, self.next, FrameError::SegmentHeader))?;
            return self.push_lost(number, end);
        };
        let header = start.header;
        if header.first != self.next {
            return Err(bad(0, self.next, FrameError::SegmentHeader));
        }
        let file = DurableFile::open(&path)?;
        let (offsets, runs, next) = match walk(&file, &header)? {
            Some((offsets, next)) => (offsets, Vec::new(), next),
            None => {
                let scanned = scan::frames(
                    &files::read(&path)?,
                    header.magic,
                    header.first,
                    Stand::Sealed,
                );
                (scanned.offsets, scanned.runs, scanned.next)
            }
        };
        let lost = match end {
            Some(end) => self.lost(number, next, end)?,
            None => 0,
        };
        self.next = next.saturating_add(lost);
        self.push(start, offsets, runs, lost);
        Ok(())
    }

    /// How many blocks a segment's end lacks, by the next one's first block.
    fn lost(&self, number: u64, next: Height, end: Height) -> Result<u64, OpenError> {
        let lost = end.0.checked_sub(next.0);
        lost.filter(|lost| *lost <= MOST_BLOCKS)
            .ok_or_else(|| damaged(number, 0, next, FrameError::SegmentHeader).into())
    }

    /// The last segment: every frame is checked.
    fn last(&mut self, number: u64, start: Option<Start>) -> Result<(), OpenError> {
        let path = self.dir.join(segment_name(number));
        let bytes = files::read(&path)?;
        let Some(start) = start else {
            // Frames are written only after the header was synced: a file without any never had one.
            self.tail = Some(Tail {
                segment: number,
                offset: 0,
                height: self.next,
                bytes: as_u64(bytes.len()),
                source: FrameError::SegmentHeader,
                was_synced: bytes.len() > HEADER_LEN,
            });
            return Ok(());
        };
        let header = start.header;
        if header.first != self.next {
            return Err(damaged(number, 0, self.next, FrameError::SegmentHeader).into());
        }
        let scanned = scan::frames(&bytes, header.magic, header.first, Stand::Last);
        self.next = scanned.next;
        if let Some(source) = scanned.bad_end {
            self.tail = Some(Tail {
                segment: number,
                offset: as_u64(scanned.end),
                height: scanned.next,
                bytes: as_u64(bytes.len().saturating_sub(scanned.end)),
                source,
                was_synced: scanned.was_synced,
            });
        }
        self.push(start, scanned.offsets, scanned.runs, 0);
        Ok(())
    }

    fn push(&mut self, start: Start, offsets: Vec<u32>, runs: Vec<Run>, lost: u64) {
        let header = start.header;
        let hole = |run: Run| Hole {
            segment: header.number,
            offset: run.offset,
            first: run.first,
            last: run.last,
            source: run.source,
        };
        let whole = start.is_damaged.then(|| Hole::of_header(&header));
        let first = header.first.saturating_add(as_u64(offsets.len()));
        let end = (lost > 0).then(|| Run {
            offset: as_u64(HEADER_LEN),
            first,
            last: Height(first.0.saturating_add(lost).saturating_sub(1)),
            source: FrameError::Header,
        });
        self.segments.push(Segment {
            header,
            path: self.dir.join(segment_name(header.number)),
            content: Content::Here {
                replaced: 0,
                offsets,
                lost,
                holes: whole
                    .into_iter()
                    .chain(runs.into_iter().chain(end).map(hole))
                    .collect(),
            },
        });
    }

    /// A segment of which nothing can be read, up to the next one's first block.
    fn push_lost(&mut self, number: u64, end: Height) -> Result<(), OpenError> {
        let first = self.next;
        let lost = self.lost(number, first, end)?;
        let header = SegmentHeader {
            chain: self.chain,
            // Frames with a magic of their own will be written.
            magic: ledger::frame::Magic(files::random()?),
            number,
            first,
        };
        self.next = end;
        let start = Start {
            header,
            is_damaged: lost == 0,
        };
        self.push(start, Vec::new(), Vec::new(), lost);
        Ok(())
    }

    fn finish(self, segment_bytes: u64) -> Result<Archive, OpenError> {
        let number = self.segments.last().map_or(0, Segment::last_number);
        let file = match self.segments.last() {
            Some(segment) if matches!(segment.content, Content::Here { .. }) => {
                Some(DurableFile::open(&segment.path)?)
            }
            Some(_) | None => None,
        };
        let writer = Writer {
            file,
            next: self.next,
            number,
        };
        Ok(Archive {
            dir: self.dir.into(),
            chain: self.chain,
            segment_bytes,
            reader: Reader::new(self.segments),
            writer: Arc::new(Mutex::new(writer)),
            tail: self.tail,
            cut_bytes: 0,
        })
    }
}

/// Walks the frame headers of a segment; `None` if one of them is bad.
fn walk(
    file: &DurableFile,
    header: &SegmentHeader,
) -> Result<Option<(Vec<u32>, Height)>, files::FileError> {
    let (mut offsets, mut next, mut at) = (Vec::new(), header.first, as_u64(HEADER_LEN));
    while at < file.len() {
        let mut bytes = [0; FRAME_HEADER_LEN];
        if file.len().saturating_sub(at) < as_u64(FRAME_HEADER_LEN) {
            return Ok(None);
        }
        match file.read_exact_at(&mut bytes, at) {
            Err(error) if error.is_unreadable() => return Ok(None),
            read => read?,
        }
        let Ok(frame) = FrameHeader::decode(&bytes, header.magic) else {
            return Ok(None);
        };
        let end = at.saturating_add(as_u64(frame.frame_len()));
        let (true, Ok(offset)) = (frame.height == next && end <= file.len(), u32::try_from(at))
        else {
            return Ok(None);
        };
        offsets.push(offset);
        next = next.saturating_add(1);
        at = end;
    }
    Ok(Some((offsets, next)))
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
