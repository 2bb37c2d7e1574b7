//! What a journal's files say after a crash: truncate, corrupt, or clean (consensus.md, section 3.11).

use super::{
    BATCH_HEADER_LEN, BATCH_TRAILER_LEN, HEADER_LEN, Head, HeaderError, Input, MAX_BATCH_LEN,
    Magic, Opening, SegmentHeader, Seq,
};
use crate::planted;
use alloc::vec::Vec;

/// One recovered batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Its number.
    pub seq: Seq,
    /// Its records in the order in which they were appended.
    pub records: Vec<&'a [u8]>,
}

/// What is to be done before the journal is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: the last batch ends where the last segment does.
    Clean,
    /// The last batch was never acknowledged: cut this segment to this many bytes (to nothing = delete
    /// it) and sync.
    Truncate {
        /// Position in the list of segments that was given.
        segment: usize,
        /// Length to keep, in bytes; 0 = delete the file.
        keep: usize,
    },
}

/// A journal as its files show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered<'a> {
    /// Batches that count, in order, from the newest snapshot on.
    pub batches: Vec<Batch<'a>>,
    /// Where the next batch attaches.
    pub head: Head,
    /// What is to be done with the last segment.
    pub verdict: Verdict,
    /// How many of the first segments are not needed: a later one begins with a snapshot.
    pub obsolete: usize,
}

/// Something that had been acknowledged is damaged: the journal may not be used (quarantine).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// There is no segment.
    #[error("journal has no segment")]
    Empty,
    /// The header of a segment that is not a torn last one.
    #[error("segment {segment} of the journal: {source}")]
    Header {
        /// Position in the list of segments.
        segment: usize,
        /// What is wrong.
        #[source]
        source: HeaderError,
    },
    /// A segment is missing, from another journal, or does not go on from the one before.
    #[error("segment {segment} of the journal does not follow the one before it")]
    Gap {
        /// Position in the list of segments.
        segment: usize,
    },
    /// A batch is bad although a later one was written.
    #[error("batch {seq:?} at byte {at} of segment {segment} is damaged and later ones exist")]
    Batch {
        /// Position in the list of segments.
        segment: usize,
        /// Where the bad batch begins.
        at: usize,
        /// Its number.
        seq: Seq,
    },
    /// Even the snapshot with which the oldest segment begins is missing.
    #[error("journal begins with a damaged snapshot")]
    Snapshot,
}

/// Reads all segments of a journal, oldest first, whole files.
///
/// # Errors
/// [`Corrupt`] when something that may have been acknowledged cannot be read: the caller quarantines.
pub fn recover<'a>(segments: &[&'a [u8]]) -> Result<Recovered<'a>, Corrupt> {
    let obsolete = newest_snapshot(segments);
    let mut walk = Walk {
        segments,
        batches: Vec::new(),
        head: None,
    };
    let mut verdict = Verdict::Clean;
    for segment in obsolete..segments.len() {
        verdict = walk.segment(segment)?;
    }
    Ok(Recovered {
        batches: walk.batches,
        head: walk.head.ok_or(Corrupt::Empty)?,
        verdict,
        obsolete,
    })
}

/// The segments, and what was read of them so far.
struct Walk<'s, 'a> {
    segments: &'s [&'a [u8]],
    batches: Vec<Batch<'a>>,
    head: Option<Head>,
}

impl<'a> Walk<'_, 'a> {
    /// Reads one segment; anything but `Clean` is possible for the last one alone.
    fn segment(&mut self, segment: usize) -> Result<Verdict, Corrupt> {
        let bytes: &'a [u8] = self.segments.get(segment).copied().unwrap_or_default();
        let drop_file = Verdict::Truncate { segment, keep: 0 };
        let header = match (SegmentHeader::decode(bytes), self.head) {
            (Ok(header), _) => header,
            // A roll-over that was cut short leaves a last file without a whole header.
            (Err(_), Some(head))
                if self.is_last(segment) && !shows_later(bytes, HEADER_LEN, &head) =>
            {
                return Ok(drop_file);
            }
            (Err(source), _) => return Err(Corrupt::Header { segment, source }),
        };
        let mut now = self.attach(segment, header)?;
        let end = read_batches(bytes, &mut now, &mut self.batches);
        if end < bytes.len() {
            self.check_torn(segment, end, &now)?;
        }
        if header.opening == Opening::Snapshot && now.next == header.first {
            // The snapshot was not acknowledged: what is before it counts, and the file goes.
            return self.head.map(|_| drop_file).ok_or(Corrupt::Snapshot);
        }
        self.head = Some(now);
        if end < bytes.len() {
            Ok(Verdict::Truncate { segment, keep: end })
        } else {
            Ok(Verdict::Clean)
        }
    }

    fn is_last(&self, segment: usize) -> bool {
        segment.saturating_add(1) == self.segments.len()
    }

    /// Where a segment's first batch attaches.
    fn attach(&self, segment: usize, header: SegmentHeader) -> Result<Head, Corrupt> {
        let follows = match self.head {
            Some(head) => SegmentHeader::after(&head, header.opening) == header,
            // The oldest segment there is must be the journal's first, or begin with a snapshot.
            None => header.opening == Opening::Snapshot || header.first == Seq(1),
        };
        if !follows {
            return Err(Corrupt::Gap { segment });
        }
        Ok(Head {
            segment: header,
            next: header.first,
            prev_crc: header.prev_crc,
        })
    }

    /// A bad batch is torn only if nothing was written behind it.
    fn check_torn(&self, segment: usize, at: usize, now: &Head) -> Result<(), Corrupt> {
        let bytes = self.segments.get(segment).copied().unwrap_or_default();
        let from = at.saturating_add(batch_len(bytes, at, now).unwrap_or(0));
        let rest = segment.saturating_add(1)..;
        let later = self.segments.get(rest).unwrap_or_default();
        if shows_later(bytes, from, now) || !later.is_empty() {
            return Err(Corrupt::Batch {
                segment,
                at,
                seq: now.next,
            });
        }
        Ok(())
    }
}

/// Position of the newest segment that begins with a whole snapshot; 0 if there is none.
fn newest_snapshot(segments: &[&[u8]]) -> usize {
    let whole = |bytes: &&[u8]| {
        SegmentHeader::decode(bytes).is_ok_and(|header| {
            let head = Head {
                segment: header,
                next: header.first,
                prev_crc: header.prev_crc,
            };
            header.opening == Opening::Snapshot && read_batch(bytes, HEADER_LEN, &head).is_some()
        })
    };
    segments.iter().rposition(whole).unwrap_or(0)
}

/// Appends the whole batches of a segment; gives where the first bad one begins (or the end).
fn read_batches<'a>(bytes: &'a [u8], head: &mut Head, batches: &mut Vec<Batch<'a>>) -> usize {
    let mut at = HEADER_LEN;
    while let Some((batch, end, crc)) = read_batch(bytes, at, head) {
        batches.push(batch);
        head.next = head.next.next();
        head.prev_crc = crc;
        at = end;
    }
    at
}

/// The batch at `at`, where it ends and its checksum, if it is whole and the one that `head` expects.
fn read_batch<'a>(bytes: &'a [u8], at: usize, head: &Head) -> Option<(Batch<'a>, usize, u32)> {
    let length = batch_len(bytes, at, head)?;
    let end = at.checked_add(length)?;
    let whole = bytes.get(at..end)?;
    let (covered, crc) = whole.split_last_chunk::<4>()?;
    let crc = u32::from_le_bytes(*crc);
    let (before, trailer) = covered.split_at_checked(covered.len().checked_sub(24)?)?;
    let mut trailer = Input(trailer);
    let fits = trailer.array::<16>()? == head.segment.magic.0
        && u64::from_le_bytes(trailer.array()?) == head.next.0
        && crc32c::crc32c(covered) == crc;
    if !fits {
        return None;
    }
    let mut input = Input(before.get(BATCH_HEADER_LEN..)?);
    let mut records = Vec::new();
    while !input.0.is_empty() {
        let length = usize::try_from(u32::from_le_bytes(input.array()?)).ok()?;
        records.push(input.take(length)?);
    }
    Some((
        Batch {
            seq: head.next,
            records,
        },
        end,
        crc,
    ))
}

/// Length of the batch at `at`, if its header is whole and the one that `head` expects.
fn batch_len(bytes: &[u8], at: usize, head: &Head) -> Option<usize> {
    let (seq, len, prev_crc) = read_batch_header(bytes, at, head.segment.magic)?;
    let length = usize::try_from(len).ok()?;
    let fits = seq == head.next && prev_crc == head.prev_crc && length <= MAX_BATCH_LEN;
    let frame = BATCH_HEADER_LEN.checked_add(BATCH_TRAILER_LEN)?;
    fits.then(|| length.saturating_add(frame))
}

fn read_batch_header(bytes: &[u8], at: usize, magic: Magic) -> Option<(Seq, u32, u32)> {
    let header = bytes.get(at..at.checked_add(BATCH_HEADER_LEN)?)?;
    let (covered, crc) = header.split_last_chunk::<4>()?;
    let mut input = Input(covered);
    let found = input.array::<16>()?;
    let seq = Seq(u64::from_le_bytes(input.array()?));
    let len = u32::from_le_bytes(input.array()?);
    let prev_crc = u32::from_le_bytes(input.array()?);
    let fits = found == magic.0 && crc32c::crc32c(covered) == u32::from_le_bytes(*crc);
    fits.then_some((seq, len, prev_crc))
}

/// Whether a batch header or trailer of a batch behind `head.next` stands anywhere from `from` on.
///
/// It then had been written after the sync of `head.next`, which is therefore damaged, not torn.
fn shows_later(bytes: &[u8], from: usize, head: &Head) -> bool {
    let Some(rest) = bytes.get(from..) else {
        return false;
    };
    rest.windows(24).any(|window| {
        window
            .split_first_chunk::<16>()
            .is_some_and(|(magic, seq)| {
                let seq = seq
                    .first_chunk::<8>()
                    .map_or(0, |seq| u64::from_le_bytes(*seq));
                let is_later = seq > head.next.0 || (planted!(TornByRecord) && seq == head.next.0);
                *magic == head.segment.magic.0 && is_later
            })
    })
}
