//! A journal in real files, with the framing of production and a real `fdatasync` for each batch (`--files`).
//!
//! What a run does is the same with and without: virtual time does not see how long a real disk takes. What is read back
//! at each start is what the files hold, and it must be what the simulated disk says was synced.

use consensus::Record;
use ledger::journal::{
    self, Head, JournalId, Magic, Opening, Origin, SegmentHeader, Seq, segment_name,
};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The segments of one node, in a folder of its own.
pub(crate) struct JournalFiles {
    folder: PathBuf,
    head: Head,
    file: File,
}

impl JournalFiles {
    /// A new journal that holds these records; whatever the folder held is gone.
    pub(crate) fn create(folder: &Path, records: &[Record]) -> io::Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let magic = Magic(*b"magic of journal");
        let segment = SegmentHeader::first(JournalId([1; 16]), magic, Origin::Fresh);
        let mut files = Self {
            file: begin(folder, &segment)?,
            folder: folder.to_owned(),
            head: Head {
                segment,
                next: Seq(1),
                prev_crc: 0,
            },
        };
        if !records.is_empty() {
            files.append(records)?;
        }
        Ok(files)
    }

    /// One batch, durable on return.
    pub(crate) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let encoded: Vec<_> = records.iter().map(Record::encode).collect();
        let batch = self.head.encode_batch(&encoded).map_err(io::Error::other)?;
        self.file.write_all(&batch)?;
        self.file.sync_data()
    }

    /// A new segment that stands for all older ones, which are deleted once it is durable.
    pub(crate) fn snapshot(&mut self, records: &[Record]) -> io::Result<()> {
        let old = self.head.segment.number;
        self.head.segment = SegmentHeader::after(&self.head, Opening::Snapshot);
        self.file = begin(&self.folder, &self.head.segment)?;
        self.append(records)?;
        fs::remove_file(self.folder.join(segment_name(old)))?;
        File::open(&self.folder)?.sync_all()
    }

    /// All records, as a process that starts reads them.
    pub(crate) fn read(&self) -> io::Result<Vec<Record>> {
        let mut names: Vec<_> = fs::read_dir(&self.folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        names.sort();
        let segments: Vec<Vec<u8>> = names.iter().map(fs::read).collect::<Result<_, _>>()?;
        let segments: Vec<&[u8]> = segments.iter().map(Vec::as_slice).collect();
        let recovered = journal::recover(&segments).map_err(io::Error::other)?;
        let records = recovered.batches.iter().flat_map(|batch| &batch.records);
        records
            .map(|record| Record::decode(record).map_err(io::Error::other))
            .collect()
    }
}

fn begin(folder: &Path, segment: &SegmentHeader) -> io::Result<File> {
    let path = folder.join(segment_name(segment.number));
    let mut file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .open(path)?;
    file.write_all(&segment.encode())?;
    file.sync_all()?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}
