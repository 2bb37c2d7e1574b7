//! The consensus journal: segment files of batches, one `fdatasync` each (consensus.md, section 3.11).
//!
//! Records are collected by [`Journal::append`] and made durable together by [`Journal::sync`]; batch
//! k+1 is written only after the sync of k returned, because `sync` does both. What a crash leaves is
//! judged by [`ledger::journal::recover`]; this module cuts what was never acknowledged and refuses the
//! rest. It does not know what a record says.

mod check;

use super::Fatal;
use super::files::{self, DirectoryLock, DurableFile, FileError};
pub use check::{Damage, Durable};
use ledger::hash::Tag;
use ledger::journal::{
    self as layout, Corrupt, Head, JournalId, MAX_BATCH_LEN, Magic, Opening, Origin, SegmentHeader,
    Seq, Verdict, segment_name, segment_number,
};
use std::path::{Path, PathBuf};

/// A segment is closed once it is this long, in bytes: some blocks of 4 MiB, and quick to read at start.
pub const SEGMENT_BYTES: u64 = 32 << 20;

/// An open journal: the only writer of its directory.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    file: DurableFile,
    head: Head,
    /// Numbers of the segments on disk, ascending; the last is `file`.
    segments: Vec<u64>,
    /// Bytes of the segments before the last.
    closed_bytes: u64,
    pending: Vec<Vec<u8>>,
    pending_bytes: usize,
    segment_bytes: u64,
    durable: Durable,
    _lock: DirectoryLock,
}

/// What opening a journal gives.
#[derive(Debug)]
pub struct Opened {
    /// The journal, ready to be written.
    pub journal: Journal,
    /// All records that count, in the order in which they were appended.
    pub records: Vec<Vec<u8>>,
    /// `Replacement` starts in quarantine.
    pub origin: Origin,
    /// Bytes of a torn tail that were cut off; 0 after a clean stop.
    pub cut_bytes: u64,
}

/// What became of [`Journal::prune`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pruned {
    /// The journal begins with what it was given.
    Whole,
    /// That is more than a batch holds: all is as it was.
    TooMuch {
        /// So much.
        bytes: usize,
    },
}

/// A journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none: quarantine.
    #[error("journal {0} is missing")]
    Missing(PathBuf),
    /// Another process has it.
    #[error("journal {0} is in use by another process")]
    Locked(PathBuf),
    /// It is not the one that the validator key names.
    #[error("journal {path} has id {found}, but the validator key names {expected}")]
    OtherJournal {
        /// Its directory.
        path: PathBuf,
        /// Id in its header.
        found: JournalId,
        /// Id in the key file.
        expected: JournalId,
    },
    /// Something acknowledged is damaged: quarantine.
    #[error("journal {path}")]
    Corrupt {
        /// Its directory.
        path: PathBuf,
        /// What and where.
        #[source]
        source: Corrupt,
    },
    /// Cutting off the torn tail failed.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// The file system says no.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Journal {
    /// Makes an empty journal, whose directory must not be there or be empty; durable on return.
    ///
    /// `Fresh` is for the ceremony that makes the validator key, and for nothing else.
    ///
    /// # Errors
    /// [`FileError`], also if there is a journal already.
    pub fn create(dir: &Path, id: JournalId, origin: Origin) -> Result<(), FileError> {
        files::create_dir(dir)?;
        let header = SegmentHeader::first(id, Magic(files::random()?), origin);
        DurableFile::create(&dir.join(segment_name(header.number)), &header.encode())?;
        Ok(())
    }

    /// Locks, reads and judges the journal that the validator key names.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is changed on disk but a torn tail and obsolete segments.
    pub fn open(dir: &Path, id: JournalId) -> Result<Opened, OpenError> {
        Self::open_with(dir, id, SEGMENT_BYTES)
    }

    /// As [`Journal::open`], with another segment length in bytes.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_with(dir: &Path, id: JournalId, segment_bytes: u64) -> Result<Opened, OpenError> {
        if !dir.is_dir() {
            return Err(OpenError::Missing(dir.into()));
        }
        let lock = DirectoryLock::take(dir)?.ok_or_else(|| OpenError::Locked(dir.into()))?;
        let names = files::list(dir)?;
        let mut numbers: Vec<u64> = names
            .iter()
            .filter_map(|name| segment_number(name))
            .collect();
        if numbers.is_empty() {
            return Err(OpenError::Missing(dir.into()));
        }
        let contents = numbers
            .iter()
            .map(|number| files::read(&dir.join(segment_name(*number))))
            .collect::<Result<Vec<_>, _>>()?;
        let slices: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
        let recovered = layout::recover(&slices).map_err(|source| OpenError::Corrupt {
            path: dir.into(),
            source,
        })?;
        if recovered.head.segment.journal != id {
            return Err(OpenError::OtherJournal {
                path: dir.into(),
                found: recovered.head.segment.journal,
                expected: id,
            });
        }
        let batches = recovered.batches.into_iter();
        let records: Vec<Vec<u8>> = batches
            .flat_map(|batch| batch.records.into_iter().map(<[u8]>::to_vec))
            .collect();
        let head = recovered.head;
        let mut cut_bytes = 0;
        if let Verdict::Truncate { segment, keep } = recovered.verdict {
            let number = numbers.get(segment).copied().unwrap_or_default();
            let keep = u64::try_from(keep).unwrap_or(u64::MAX);
            cut_bytes = cut(&dir.join(segment_name(number)), keep)?;
            if keep == 0 {
                numbers.retain(|other| *other != number);
            }
        }
        for number in numbers.drain(..recovered.obsolete.min(numbers.len())) {
            files::remove(&dir.join(segment_name(number)))?;
        }
        let file = DurableFile::open(&dir.join(segment_name(head.segment.number)))?;
        let lengths = contents
            .iter()
            .map(|bytes| u64::try_from(bytes.len()).unwrap_or(0));
        let closed_bytes = lengths.sum::<u64>().saturating_sub(file.len());
        let journal = Self {
            dir: dir.into(),
            file,
            head,
            segments: numbers,
            closed_bytes,
            pending: Vec::new(),
            pending_bytes: 0,
            segment_bytes,
            durable: Durable::new(dir),
            _lock: lock,
        };
        journal.tell_durable();
        let origin = head.segment.origin;
        Ok(Opened {
            journal,
            records,
            origin,
            cut_bytes,
        })
    }

    /// Adds records to the batch that the next [`Journal::sync`] makes durable. Gives its number.
    ///
    /// A batch that would grow over its limit is synced first.
    ///
    /// # Errors
    /// [`Fatal`]: end the process.
    pub fn append<R: Into<Vec<u8>>>(
        &mut self,
        records: impl IntoIterator<Item = R>,
    ) -> Result<Seq, Fatal> {
        for record in records {
            let record = record.into();
            let needs = record.len().saturating_add(4);
            if needs > MAX_BATCH_LEN {
                return Err(Fatal::Misuse {
                    path: self.dir.clone(),
                    what: format!("record of {needs} bytes is over the limit of {MAX_BATCH_LEN}"),
                });
            }
            if self.pending_bytes.saturating_add(needs) > MAX_BATCH_LEN {
                self.sync()?;
            }
            self.pending_bytes = self.pending_bytes.saturating_add(needs);
            self.pending.push(record);
        }
        Ok(self.head.next)
    }

    /// Writes the collected records as one batch and syncs it; all of them are durable on return.
    ///
    /// Without collected records nothing is written. Gives the number of the last durable batch.
    ///
    /// # Errors
    /// [`Fatal`]: end the process.
    pub fn sync(&mut self) -> Result<Seq, Fatal> {
        if !self.pending.is_empty() {
            if self.file.len() >= self.segment_bytes {
                self.roll_over(Opening::Continued)?;
            }
            self.write_pending()?;
            self.file.sync_data()?;
            self.tell_durable();
        }
        Ok(Seq(self.head.next.0.saturating_sub(1)))
    }

    /// Begins a new segment with these records, which hold all that still counts, and removes the older
    /// segments once the new one is durable.
    ///
    /// They are one batch, so that they are there all or none: more than fits one are refused, and everything stays.
    /// Records collected before are synced first, into the old segment.
    ///
    /// # Errors
    /// [`Fatal`]: end the process.
    pub fn prune(&mut self, snapshot: Vec<Vec<u8>>) -> Result<Pruned, Fatal> {
        let lengths = snapshot.iter().map(|record| record.len().saturating_add(4));
        let bytes = lengths.fold(0, usize::saturating_add);
        if bytes > MAX_BATCH_LEN {
            return Ok(Pruned::TooMuch { bytes });
        }
        self.sync()?;
        self.append(snapshot)?;
        self.roll_over(Opening::Snapshot)?;
        self.write_pending()?;
        self.file.sync_data()?;
        let keep = self.head.segment.number;
        self.durable.renew(&[keep], self.file.len());
        for number in std::mem::take(&mut self.segments) {
            if number == keep {
                self.segments.push(number);
            } else {
                files::remove(&self.dir.join(segment_name(number)))?;
            }
        }
        self.closed_bytes = 0;
        Ok(Pruned::Whole)
    }

    /// What is durable, for whoever reads it beside the writer.
    pub fn durable(&self) -> Durable {
        self.durable.clone()
    }

    fn tell_durable(&self) {
        self.durable.grow(&self.segments, self.file.len());
    }

    /// Bytes of all segments: prune when this is large.
    pub fn bytes(&self) -> u64 {
        self.closed_bytes.saturating_add(self.file.len())
    }

    /// The journal's id.
    pub const fn id(&self) -> JournalId {
        self.head.segment.journal
    }

    /// Which of its key's journals it is: one that was lost and replaced has another. Says nothing of the magic.
    pub fn incarnation(&self) -> JournalId {
        let hash = Tag::Restart.hash(&[&[3], &self.head.segment.magic.0]);
        let (front, _) = hash
            .as_bytes()
            .split_first_chunk()
            .expect("32 bytes have 16 at the front");
        JournalId(*front)
    }

    fn roll_over(&mut self, opening: Opening) -> Result<(), Fatal> {
        let header = SegmentHeader::after(&self.head, opening);
        let path = self.dir.join(segment_name(header.number));
        let file = DurableFile::create(&path, &header.encode())?;
        self.closed_bytes = self.bytes();
        self.file = file;
        self.head.segment = header;
        self.segments.push(header.number);
        Ok(())
    }

    fn write_pending(&mut self) -> Result<(), Fatal> {
        let records = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let bytes = self
            .head
            .encode_batch(&records)
            .map_err(|error| Fatal::Misuse {
                path: self.dir.clone(),
                what: error.to_string(),
            })?;
        self.file.append(&bytes)
    }
}

/// Cuts a file to `keep` bytes (0: removes it) and gives how many bytes went.
fn cut(path: &Path, keep: u64) -> Result<u64, OpenError> {
    let mut file = DurableFile::open(path)?;
    let gone = file.len().saturating_sub(keep);
    if keep == 0 {
        files::remove(path)?;
    } else {
        file.truncate(keep)?;
    }
    Ok(gone)
}

#[cfg(test)]
mod tests;
