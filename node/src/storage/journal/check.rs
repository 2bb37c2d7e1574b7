//! What of a journal is durable, read again from the disk while the node runs: for the scrub.
//!
//! The writer says how far each sync brought it; only that is read, so a batch under way is never taken for damage. A
//! damaged journal is not mended from its own bytes: the engine holds all that still counts, and the driver begins the
//! journal anew with it ([`super::Journal::prune`]) as soon as it sees [`Durable::is_damaged`].

use super::files::{self, FileError};
use ledger::journal::{self as layout, Corrupt, Verdict, segment_name};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The durable part of an open journal.
#[derive(Clone, Debug)]
pub struct Durable(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    extent: Mutex<Extent>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Extent {
    /// Numbers of the segments, ascending.
    segments: Vec<u64>,
    /// Synced bytes of the last one; the others are whole.
    last_len: u64,
    /// Which beginning it is: a journal that was begun anew has other files.
    beginning: u64,
    damaged: bool,
}

/// What is wrong with a journal in use.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// Its bytes are not what was written.
    #[error("journal {path}")]
    Corrupt {
        /// Its directory.
        path: PathBuf,
        /// What and where.
        #[source]
        source: Corrupt,
    },
    /// A batch that was synced is not whole, and nothing stands behind it.
    #[error("journal segment {path} is damaged at byte {at}, and was synced up to byte {synced}")]
    End {
        /// The file.
        path: PathBuf,
        /// Where the first bad batch begins.
        at: usize,
        /// How long it had been.
        synced: u64,
    },
    /// A segment cannot be read, or is too short.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Durable {
    pub(super) fn new(dir: &Path) -> Self {
        Self(Arc::new(Shared {
            dir: dir.into(),
            extent: Mutex::default(),
        }))
    }

    /// A sync returned.
    pub(super) fn grow(&self, segments: &[u64], last_len: u64) {
        let mut extent = self.extent();
        segments.clone_into(&mut extent.segments);
        extent.last_len = last_len;
    }

    /// The journal was begun anew.
    pub(super) fn renew(&self, segments: &[u64], last_len: u64) {
        let mut extent = self.extent();
        *extent = Extent {
            segments: segments.to_vec(),
            last_len,
            beginning: extent.beginning.saturating_add(1),
            damaged: false,
        };
    }

    /// Whether a look at it found damage since it was begun.
    pub fn is_damaged(&self) -> bool {
        self.extent().damaged
    }

    /// Reads from the disk what is durable; damage is remembered. Gives the bytes that were read.
    ///
    /// # Errors
    /// [`Damage`]; once for each beginning of the journal.
    pub fn check(&self) -> Result<u64, Damage> {
        let extent = self.extent().clone();
        if extent.damaged {
            return Ok(0);
        }
        let found = self.read(&extent);
        if found.is_err() {
            let mut now = self.extent();
            if now.beginning != extent.beginning {
                // Its files went away under the reader.
                return Ok(0);
            }
            now.damaged = true;
        }
        found
    }

    fn read(&self, extent: &Extent) -> Result<u64, Damage> {
        let paths = extent
            .segments
            .iter()
            .map(|number| self.0.dir.join(segment_name(*number)));
        let paths: Vec<PathBuf> = paths.collect();
        let contents = paths.iter().map(|path| files::read_from_disk(path));
        let mut contents = contents.collect::<Result<Vec<_>, _>>()?;
        if let Some(last) = contents.last_mut() {
            // What is behind it is under way.
            last.truncate(usize::try_from(extent.last_len).unwrap_or(usize::MAX));
        }
        let slices: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
        let recovered = layout::recover(&slices).map_err(|source| Damage::Corrupt {
            path: self.0.dir.clone(),
            source,
        })?;
        let lengths = || {
            slices
                .iter()
                .map(|bytes| u64::try_from(bytes.len()).unwrap_or(0))
        };
        let (at, last) = match recovered.verdict {
            Verdict::Truncate { segment, keep } => (Some(keep), segment),
            Verdict::Clean => (None, slices.len().saturating_sub(1)),
        };
        let whole = lengths().next_back() == Some(extent.last_len);
        match (at, paths.into_iter().nth(last)) {
            (None, _) if whole => Ok(lengths().sum()),
            (at, path) => Err(Damage::End {
                path: path.unwrap_or_default(),
                at: at.unwrap_or_else(|| slices.last().map_or(0, |bytes| bytes.len())),
                synced: extent.last_len,
            }),
        }
    }

    fn extent(&self) -> MutexGuard<'_, Extent> {
        self.0.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Journal, JournalId, Origin};
    use super::*;
    use std::os::unix::fs::FileExt as _;

    fn flip(path: &Path, at: u64) {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    fn journal() -> (tempfile::TempDir, PathBuf, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("journal");
        Journal::create(&dir, JournalId([1; 16]), Origin::Fresh).unwrap();
        let mut journal = Journal::open_with(&dir, JournalId([1; 16]), 400)
            .unwrap()
            .journal;
        for number in 0..8_u8 {
            journal.append([vec![number; 100]]).unwrap();
            journal.sync().unwrap();
        }
        (folder, dir, journal)
    }

    #[test]
    fn every_flipped_bit_of_what_is_durable_is_found_also_in_the_last_batch() {
        let (_folder, dir, journal) = journal();
        let numbers = journal.durable().extent().segments.clone();
        assert!(numbers.len() > 2, "{numbers:?}");
        for number in numbers {
            let path = dir.join(segment_name(number));
            for at in 0..std::fs::metadata(&path).unwrap().len() {
                let durable = Durable::new(&dir);
                *durable.extent() = journal.durable().extent().clone();
                flip(&path, at);
                let found = durable.check();
                assert!(
                    found.is_err() && durable.is_damaged(),
                    "segment {number}, byte {at}"
                );
                flip(&path, at);
            }
        }
        assert!(journal.durable().check().unwrap() > 800);
    }

    #[test]
    fn a_damaged_journal_is_whole_once_it_was_begun_anew() {
        let (_folder, dir, mut journal) = journal();
        let durable = journal.durable();
        flip(&dir.join(segment_name(1)), 200);
        assert!(matches!(durable.check(), Err(Damage::Corrupt { .. })));
        // Told once.
        assert_eq!(durable.check().unwrap(), 0);
        journal.prune(vec![b"all that counts".to_vec()]).unwrap();
        assert!(!durable.is_damaged());
        assert!(durable.check().unwrap() > 0);
        drop(journal);
        let opened = Journal::open(&dir, JournalId([1; 16])).unwrap();
        assert_eq!(opened.records, [b"all that counts".to_vec()]);
        assert_eq!(opened.origin, Origin::Fresh);
    }

    #[test]
    fn a_batch_under_way_is_no_damage_and_a_shorter_file_is() {
        let (_folder, dir, journal) = journal();
        let durable = journal.durable();
        let last = *journal.durable().extent().segments.last().unwrap();
        let path = dir.join(segment_name(last));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(&[7; 30]);
        std::fs::write(&path, &bytes).unwrap();
        durable.check().unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
        assert!(matches!(durable.check(), Err(Damage::End { .. })));
    }
}
