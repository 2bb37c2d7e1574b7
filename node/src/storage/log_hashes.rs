//! The log's hashes: one dense file per tile level, of which C2SP tiles are byte ranges (formats.md,
//! section 7.5).
//!
//! Level 0 holds leaf hashes; hash n of level l+1 is the root of the full tile n of level l (256
//! hashes). Everything here can be made again from the archive: writes are not synced one by one. Only
//! what [`LogHashes::checkpoint`] covered is believed at open; the caller pushes the rest again.

use super::Fatal;
use super::files::{self, DurableFile, FileError};
use ledger::hash::Hash;
use ledger::id::TreeSize;
use ledger::log::{Frontier, TileReader};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Hashes of a full tile.
pub const TILE_WIDTH: u64 = 256;
const HASH_LEN: u64 = 32;
/// Levels that a log of 2^64 leaves needs.
const MAX_LEVELS: usize = 8;

/// The only writer of a directory of hashes.
#[derive(Debug)]
pub struct LogHashes {
    dir: PathBuf,
    levels: Vec<DurableFile>,
    size: u64,
    reader: Reader,
}

/// Reads hashes beside the writer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader(Arc<RwLock<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    files: Vec<(PathBuf, Arc<File>)>,
    size: u64,
}

/// Hashes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The tree has fewer.
    #[error("hashes {start}+{count} of level {level} are behind the tree of size {size}")]
    Beyond {
        /// Tile level.
        level: u8,
        /// First hash asked for.
        start: u64,
        /// How many were asked for.
        count: usize,
        /// Leaves of the tree.
        size: u64,
    },
    /// The file system says no.
    #[error(transparent)]
    File(#[from] FileError),
}

impl LogHashes {
    /// Opens (and makes) the directory; the tree has the size of the last checkpoint.
    ///
    /// # Errors
    /// [`Fatal`]: also if the files cannot be cut to that size.
    pub fn open(dir: &Path) -> Result<Self, Fatal> {
        files::create_dir(dir)?;
        let mut hashes = Self {
            dir: dir.into(),
            levels: Vec::new(),
            size: 0,
            reader: Reader(Arc::default()),
        };
        while hashes.levels.len() < MAX_LEVELS && hashes.level_path(hashes.levels.len()).exists() {
            hashes.add_level()?;
        }
        let mark = files::read_if_exists(&hashes.mark_path())?;
        let mut size = mark.and_then(|bytes| parse_mark(&bytes)).unwrap_or(0);
        // A file that is shorter than the mark says was tampered with or lost: begin again.
        for level in 0..MAX_LEVELS {
            let wanted = hashes_at(size, level).saturating_mul(HASH_LEN);
            if wanted > hashes.levels.get(level).map_or(0, DurableFile::len) {
                size = 0;
            }
        }
        hashes.set_size(size)?;
        Ok(hashes)
    }

    /// Leaves of the tree.
    pub const fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// A reader of all that was and will be pushed.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Appends leaf hashes, and the roots of the tiles that they fill.
    ///
    /// # Errors
    /// [`Fatal`]: end the process.
    pub fn push(&mut self, leaves: &[Hash]) -> Result<(), Fatal> {
        let size = self
            .size
            .saturating_add(u64::try_from(leaves.len()).unwrap_or(u64::MAX));
        let mut fresh: Vec<Hash> = leaves.to_vec();
        for level in 0..MAX_LEVELS {
            if fresh.is_empty() {
                break;
            }
            if self.levels.len() == level {
                self.add_level()?;
            }
            let before = hashes_at(self.size, level);
            let Some(file) = self.levels.get_mut(level) else {
                break;
            };
            let bytes: Vec<u8> = fresh.iter().flat_map(|hash| hash.0).collect();
            file.write_at(&bytes, before.saturating_mul(HASH_LEN))?;
            fresh = full_tiles(file, before, hashes_at(size, level))?;
        }
        self.size = size;
        self.reader.set_size(size);
        Ok(())
    }

    /// Cuts the tree to its first `size` leaves. A larger size changes nothing.
    ///
    /// # Errors
    /// [`Fatal`]: end the process.
    pub fn truncate(&mut self, size: TreeSize) -> Result<(), Fatal> {
        if size.0 >= self.size {
            return Ok(());
        }
        // The mark first: it never covers more than what is there.
        files::write_atomic(&self.mark_path(), &mark(size.0))?;
        self.set_size(size.0)
    }

    /// Syncs all hashes and says so on disk; they are there at the next open.
    ///
    /// # Errors
    /// [`Fatal`]: end the process.
    pub fn checkpoint(&mut self) -> Result<(), Fatal> {
        for file in &mut self.levels {
            file.sync_data()?;
        }
        files::sync_dir(&self.dir)?;
        files::write_atomic(&self.mark_path(), &mark(self.size))?;
        Ok(())
    }

    fn set_size(&mut self, size: u64) -> Result<(), Fatal> {
        for (level, file) in self.levels.iter_mut().enumerate() {
            let len = hashes_at(size, level).saturating_mul(HASH_LEN);
            if file.len() != len {
                file.truncate(len)?;
            }
        }
        self.size = size;
        self.reader.set_size(size);
        Ok(())
    }

    fn add_level(&mut self) -> Result<(), Fatal> {
        let path = self.level_path(self.levels.len());
        let file = DurableFile::open_or_create(&path)?;
        self.reader.add_file(path, file.reader()?);
        self.levels.push(file);
        Ok(())
    }

    fn level_path(&self, level: usize) -> PathBuf {
        level_path(&self.dir, level)
    }

    fn mark_path(&self) -> PathBuf {
        self.dir.join("synced")
    }
}

fn level_path(dir: &Path, level: usize) -> PathBuf {
    dir.join(format!("level-{level}"))
}

impl Reader {
    /// Reads a directory that another process writes, and whose tree has, as that process found, at least this size.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn beside(dir: &Path, size: TreeSize) -> Result<Self, FileError> {
        let reader = Self(Arc::default());
        for level in (0..MAX_LEVELS).take_while(|level| hashes_at(size.0, *level) > 0) {
            let path = level_path(dir, level);
            let file = files::open_to_read(&path)?;
            reader.add_file(path, file);
        }
        reader.set_size(size.0);
        Ok(reader)
    }

    /// Leaves of the tree.
    pub fn size(&self) -> TreeSize {
        TreeSize(self.lock().size)
    }

    /// `count` hashes of a tile level from `start` on.
    ///
    /// # Errors
    /// [`ReadError::Beyond`] if the tree has not that many there.
    pub fn hashes(&self, level: u8, start: u64, count: usize) -> Result<Vec<Hash>, ReadError> {
        let shared = self.lock();
        let size = shared.size;
        let beyond = ReadError::Beyond {
            level,
            start,
            count,
            size,
        };
        let end = start.checked_add(u64::try_from(count).unwrap_or(u64::MAX));
        if end.is_none_or(|end| end > hashes_at(size, level.into())) {
            return Err(beyond);
        }
        let Some((path, file)) = shared.files.get(usize::from(level)) else {
            return if count == 0 {
                Ok(Vec::new())
            } else {
                Err(beyond)
            };
        };
        let (path, file) = (path.clone(), Arc::clone(file));
        drop(shared);
        let mut bytes = vec![0; count.saturating_mul(32)];
        files::read_exact_at(&file, &path, &mut bytes, start.saturating_mul(HASH_LEN))?;
        let (hashes, _) = bytes.as_chunks::<32>();
        Ok(hashes.iter().copied().map(Hash).collect())
    }

    /// The lowest full tile whose root is not the hash in the level above: its level, its number, and its root. Levels
    /// are looked at from below. `read` is told how many bytes were read, and ends the search with `false`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn unsound_tile(
        &self,
        mut read: impl FnMut(u64) -> bool,
    ) -> Result<Option<(u8, u64, Hash)>, ReadError> {
        let size = self.size().0;
        for level in 0..MAX_LEVELS {
            let tiles = hashes_at(size, level.saturating_add(1));
            let level = u8::try_from(level).unwrap_or(u8::MAX);
            for tile in 0..tiles {
                let root = self.tile_root(level, tile)?;
                let above = self.hashes(level.saturating_add(1), tile, 1)?;
                if above.first() != Some(&root) {
                    return Ok(Some((level, tile, root)));
                }
                if !read(TILE_WIDTH.saturating_mul(HASH_LEN)) {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// Root of a full tile, from its hashes.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn tile_root(&self, level: u8, tile: u64) -> Result<Hash, ReadError> {
        let width = usize::try_from(TILE_WIDTH).unwrap_or(usize::MAX);
        let mut frontier = Frontier::new();
        for hash in self.hashes(level, tile.saturating_mul(TILE_WIDTH), width)? {
            frontier.push(hash);
        }
        Ok(frontier.root())
    }

    /// Writes hashes that were made again over damaged ones; durable on return.
    ///
    /// # Errors
    /// [`FileError`]: end the process.
    pub fn mend(&self, level: u8, start: u64, hashes: &[Hash]) -> Result<(), FileError> {
        let shared = self.lock();
        let Some((path, _)) = shared.files.get(usize::from(level)) else {
            return Ok(());
        };
        let path = path.clone();
        drop(shared);
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        files::overwrite(&path, &bytes, start.saturating_mul(HASH_LEN))
    }

    fn lock(&self) -> std::sync::RwLockReadGuard<'_, Shared> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_size(&self, size: u64) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).size = size;
    }

    fn add_file(&self, path: PathBuf, file: File) {
        let mut shared = self.0.write().unwrap_or_else(PoisonError::into_inner);
        shared.files.push((path, Arc::new(file)));
    }
}

impl TileReader for Reader {
    type Error = ReadError;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, ReadError> {
        let hashes = self.hashes(level, index, 1)?;
        hashes.first().copied().ok_or_else(|| ReadError::Beyond {
            level,
            start: index,
            count: 1,
            size: self.size().0,
        })
    }
}

/// Hashes that a tree of `size` leaves has at a tile level: ⌊size / 256^level⌋.
fn hashes_at(size: u64, level: usize) -> u64 {
    (0..level).fold(size, |count, _| count / TILE_WIDTH)
}

/// Roots of the tiles of a level that became full between `before` and `after` hashes.
fn full_tiles(file: &DurableFile, before: u64, after: u64) -> Result<Vec<Hash>, FileError> {
    const TILE_BYTES: usize = 256 * 32;
    let mut roots = Vec::new();
    for tile in before / TILE_WIDTH..after / TILE_WIDTH {
        let mut bytes = [0; TILE_BYTES];
        let offset = tile.saturating_mul(TILE_WIDTH).saturating_mul(HASH_LEN);
        file.read_exact_at(&mut bytes, offset)?;
        let mut frontier = Frontier::new();
        for hash in bytes.as_chunks::<32>().0 {
            frontier.push(Hash(*hash));
        }
        roots.push(frontier.root());
    }
    Ok(roots)
}

/// The file `synced`: size u64 ‖ its crc32c u32.
fn mark(size: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&size.to_le_bytes());
    bytes[8..].copy_from_slice(&crc32c::crc32c(&size.to_le_bytes()).to_le_bytes());
    bytes
}

fn parse_mark(bytes: &[u8]) -> Option<u64> {
    let (size, _) = bytes.split_first_chunk::<8>()?;
    let size = u64::from_le_bytes(*size);
    (mark(size) == bytes).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::log::leaf_hash;

    fn leaves(from: u64, to: u64) -> Vec<Hash> {
        (from..to)
            .map(|index| leaf_hash(&index.to_le_bytes()))
            .collect()
    }

    /// Root of a run of leaves by the definition.
    fn root(leaves: &[Hash]) -> Hash {
        let mut frontier = Frontier::new();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        frontier.root()
    }

    #[test]
    fn tiles_hold_what_the_format_says() {
        let dir = tempfile::tempdir().unwrap();
        let all = leaves(0, 70_000);
        let mut log = LogHashes::open(dir.path()).unwrap();
        // In runs that end before, at and behind tile borders.
        let mut at = 0;
        for run in [1, 255, 1, 600, 69_143] {
            log.push(&all[at..at + run]).unwrap();
            at += run;
        }
        assert_eq!(log.size(), TreeSize(70_000));
        let reader = log.reader();
        assert_eq!(reader.hashes(0, 69_990, 10).unwrap(), &all[69_990..]);
        let first = reader.hashes(1, 0, 273).unwrap();
        for (tile, hash) in first.iter().enumerate() {
            assert_eq!(*hash, root(&all[tile * 256..(tile + 1) * 256]));
        }
        assert_eq!(reader.hashes(2, 0, 1).unwrap(), [root(&all[..65_536])]);
        for (level, count) in [(0, 70_001), (1, 274), (2, 2), (3, 1)] {
            let beyond = reader.hashes(level, 0, count);
            assert!(matches!(beyond, Err(ReadError::Beyond { .. })));
        }
    }

    #[test]
    fn a_damaged_hash_is_found_by_its_tile_and_mended() {
        let dir = tempfile::tempdir().unwrap();
        let all = leaves(0, 1000);
        let mut log = LogHashes::open(dir.path()).unwrap();
        log.push(&all).unwrap();
        let reader = log.reader();
        assert_eq!(reader.unsound_tile(|_| true).unwrap(), None);
        files::overwrite(&dir.path().join("level-0"), &[1], 300 * 32).unwrap();
        let (level, tile, _) = reader.unsound_tile(|_| true).unwrap().unwrap();
        assert_eq!((level, tile), (0, 1));
        reader.mend(0, 300, &all[300..301]).unwrap();
        files::overwrite(&dir.path().join("level-1"), &[1], 64).unwrap();
        let (level, tile, root) = reader.unsound_tile(|_| true).unwrap().unwrap();
        assert_eq!((level, tile), (0, 2));
        reader.mend(1, 2, &[root]).unwrap();
        assert_eq!(reader.unsound_tile(|_| true).unwrap(), None);
    }

    #[test]
    fn only_what_was_checkpointed_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let all = leaves(0, 1000);
        let mut log = LogHashes::open(dir.path()).unwrap();
        log.push(&all[..600]).unwrap();
        log.checkpoint().unwrap();
        log.push(&all[600..]).unwrap();
        drop(log);
        let mut log = LogHashes::open(dir.path()).unwrap();
        assert_eq!(log.size(), TreeSize(600));
        log.push(&all[600..]).unwrap();
        assert_eq!(log.reader().hashes(0, 0, 1000).unwrap(), all);
        assert_eq!(
            log.reader().hashes(1, 0, 3).unwrap()[2],
            root(&all[512..768])
        );
        log.truncate(TreeSize(300)).unwrap();
        drop(log);
        let log = LogHashes::open(dir.path()).unwrap();
        assert_eq!(log.size(), TreeSize(300));
        drop(log);
        std::fs::write(dir.path().join("level-1"), []).unwrap();
        assert_eq!(LogHashes::open(dir.path()).unwrap().size(), TreeSize(0));
    }
}
