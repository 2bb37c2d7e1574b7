//! What survives a crash: the journal's synced batches and the synced end of the block archive.

use crate::application::Application;
use crate::files::JournalFiles;
use crate::node::spec;
use consensus::{Archived, Block, EpochInfo, JournalState, Record, Sealed, Tip};
use ledger::certificate::Certificate;
use ledger::journal::{self, Head, JournalId, Magic, Origin, SegmentHeader, Seq};
use std::path::PathBuf;

/// A block of the archive with its own finalization, if it has one.
pub(crate) type Frame = (Block, Option<Certificate>);

/// What a disk writes or loses as one. Far smaller than a real page, so that a small batch has many of them.
const PAGE: usize = 128;

/// One node's disk. Everything in it is synced.
#[derive(Default)]
pub(crate) struct Disk {
    /// All records, in order.
    journal: Vec<Record>,
    /// Where the journal is kept in real files too, if it is.
    folder: Option<PathBuf>,
    /// Those files; none if they are not what `journal` says, since something happened to the disk.
    files: Option<JournalFiles>,
    /// Blocks from height 1 on.
    pub(crate) archive: Vec<Frame>,
    /// There was a journal, and it is gone or cannot be read; what is in `journal` is its replacement.
    lost: bool,
}

/// What a real disk refuses ends the whole campaign: it says nothing about the protocol.
const REAL_DISK: &str = "the folder of --files can be written and read";

impl Disk {
    /// An empty disk, with the journal in real files of this folder.
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self {
            folder,
            ..Self::default()
        }
    }

    pub(crate) fn journal(&self) -> &[Record] {
        &self.journal
    }

    /// A batch is durable.
    pub(crate) fn append(&mut self, records: Vec<Record>) {
        if let Some(files) = &mut self.files {
            files.append(&records).expect(REAL_DISK);
        }
        self.journal.extend(records);
    }

    /// A new segment is durable, and older ones are deleted.
    pub(crate) fn replace(&mut self, records: Vec<Record>) {
        if let Some(files) = &mut self.files {
            files.snapshot(&records).expect(REAL_DISK);
        }
        self.journal = records;
    }

    /// The disk is put back to what it held when the journal was so long.
    pub(crate) fn forget(&mut self, kept: usize) {
        self.journal.truncate(kept);
        self.files = None;
    }

    /// Becomes what another disk is.
    pub(crate) fn copy(&mut self, from: &Self) {
        self.journal.clone_from(&from.journal);
        self.archive.clone_from(&from.archive);
        self.lost = from.lost;
        self.files = None;
    }

    pub(crate) fn journal_state(&self) -> JournalState {
        match (self.journal.is_empty(), self.lost) {
            (true, true) => JournalState::Lost,
            (true, false) => JournalState::Fresh,
            (false, _) => JournalState::Intact,
        }
    }

    /// The journal is gone.
    pub(crate) fn lose_journal(&mut self) {
        self.journal.clear();
        self.files = None;
        self.lost = true;
    }

    /// The journal as a restarted process reads it: through its bytes.
    pub(crate) fn replay(&mut self) -> Vec<Record> {
        if let Some(files) = &self.files {
            let read = files.read().expect(REAL_DISK);
            assert_eq!(read, self.journal, "files hold what was synced");
            return read;
        }
        let create = |folder| JournalFiles::create(folder, &self.journal).expect(REAL_DISK);
        self.files = self.folder.as_deref().map(create);
        self.journal
            .iter()
            .map(|record| Record::decode(&record.encode()).expect("own records decode"))
            .collect()
    }

    /// How the epoch before that of the archive's end was finalized.
    pub(crate) fn previous(&self, application: &Application) -> Option<Sealed> {
        let epoch = application.epoch();
        let before = application.epoch_of(epoch.epoch().prev()?)?;
        let anchor = epoch.anchor().block;
        let at = usize::try_from(anchor.height.0).ok()?.checked_sub(1)?;
        let finalization = self.archive.get(at)?.1.clone();
        finalization.map(|finalization| Sealed {
            spec: spec(before),
            finalization,
        })
    }

    /// The journal through its file, whose last batch never ended: of the pages that it touches, those in `lost` are
    /// not on the disk. What the journal's reader makes of that is what is left.
    pub(crate) fn tear(&mut self, batch: &[Record], lost: u64) {
        let bytes = |records: &[Record]| -> Vec<_> { records.iter().map(Record::encode).collect() };
        let segment = SegmentHeader::first(
            JournalId([1; 16]),
            Magic(*b"magic of journal"),
            Origin::Fresh,
        );
        let mut head = Head {
            segment,
            next: Seq(1),
            prev_crc: 0,
        };
        let mut file = segment.encode().to_vec();
        file.extend(head.encode_batch(&bytes(&self.journal)).expect("fits"));
        let durable = file.len();
        file.extend(head.encode_batch(&bytes(batch)).expect("fits"));
        let first = durable / PAGE;
        for page in first..file.len().div_ceil(PAGE) {
            if lost >> ((page - first) % 64) & 1 == 1 {
                let end = file.len().min((page + 1) * PAGE);
                file[(page * PAGE).max(durable)..end].fill(0);
            }
        }
        match journal::recover(&[&file]) {
            Ok(recovered) => {
                let records = recovered.batches.iter().flat_map(|batch| &batch.records);
                let decoded = records.map(|record| Record::decode(record));
                self.journal = decoded
                    .collect::<Result<_, _>>()
                    .expect("own records decode");
                self.files = None;
            }
            Err(_) => self.lose_journal(),
        }
    }

    pub(crate) fn archived(&self, epoch: &EpochInfo) -> Archived {
        Archived {
            tip: self
                .archive
                .last()
                .map_or_else(|| *epoch.anchor(), |(block, _)| Tip::from(&block.header)),
            finalization: self
                .archive
                .iter()
                .rev()
                .find_map(|(_, certificate)| certificate.clone())
                .filter(|certificate| certificate.epoch() == epoch.epoch()),
        }
    }
}
