//! One validator: its disk, its clocks and, while it runs, a process: the engine with the driver that the contract
//! of the `consensus` crate describes, and the application.

use crate::application::Application;
use crate::clock::{Clock, Time};
use crate::disk::{Disk, Frame};
use crate::items::LAYOUT;
use crate::oracle::Bounds;
use crate::roster::Roster;
use crate::violation::{Invariant, Violation, broken};
use consensus::{
    Commit, Config, Engine, EngineStatus, EpochInfo, EpochSpec, Event, Identity, Now, Output,
    Record, Seq, Setup,
};
use ledger::id::TimeMs;
use std::sync::Arc;

/// Most outputs that one event may cause: more would be a loop.
const MAX_OUTPUTS: usize = 4_096;

/// What a process does with its disk right now; lost or not by a crash.
pub(crate) enum Sync {
    /// A batch of records, and the newest `seq` in it.
    Batch(Seq, Vec<Record>),
    /// A new segment that stands for all older ones.
    Snapshot(Vec<Record>),
}

/// What of a batch under way is on the disk when its process dies, although nobody was told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Landed {
    Nothing,
    All,
    /// All but some of its pages: a bit for each.
    Without(u64),
}

/// A running process.
pub(crate) struct Process {
    pub(crate) engine: Engine,
    pub(crate) application: Application,
    pub(crate) started: Time,
    /// Number of this process among those of its node; events for an older one are dropped.
    pub(crate) incarnation: u32,
    /// Number of the last timer set; older ones are dropped.
    pub(crate) timer: u64,
    /// When evidence that waits may be pushed again.
    pub(crate) push_again: Time,
    /// Whether a `WorkChanged` is on its way.
    pub(crate) work_asked: bool,
    /// The newest head.
    pub(crate) head: ledger::header::BlockRef,
    /// What the wall clock showed when the engine last asked for a block.
    pub(crate) asked: TimeMs,
    /// Records that wait for the next sync.
    buffer: Vec<Record>,
    newest: Seq,
    sync: Option<Sync>,
    /// Committed blocks that are not synced to the archive yet.
    committed: Vec<Frame>,
    archiving: usize,
    bounds: Bounds,
    pub(crate) last_status: EngineStatus,
}

/// A validator.
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) disk: Disk,
    pub(crate) clock: Clock,
    pub(crate) process: Option<Process>,
    pub(crate) incarnations: u32,
    /// Never started again.
    pub(crate) gone: bool,
}

impl Node {
    pub(crate) fn new(index: usize, clock: Clock, disk: Disk) -> Self {
        Self {
            index,
            disk,
            clock,
            process: None,
            incarnations: 0,
            gone: false,
        }
    }

    /// Starts a process from what the disk holds. The caller gives it [`Event::Start`].
    pub(crate) fn start(
        &mut self,
        now: Time,
        roster: &Roster,
        config: Config,
    ) -> Result<(), Violation> {
        self.incarnations += 1;
        let blocks = self.disk.archive.iter().map(|(block, _)| block);
        let application = Application::new(Arc::clone(&roster.registry), blocks);
        let setup = Setup {
            config,
            layout: LAYOUT,
            epoch: spec(application.epoch()),
            previous: self.disk.previous(&application),
            identity: Identity {
                signer: Some(roster.signer(self.index)),
                instance: (roster.owner(self.index) as u64) << 32 | u64::from(self.incarnations),
            },
            journal: self.disk.journal_state(),
            records: self.disk.replay(),
            archived: self.disk.archived(application.epoch()),
        };
        let tip = setup.archived.tip.block;
        let engine = match Engine::recover(setup, roster.crypto().verifier()) {
            Ok(engine) => engine,
            Err(error) => {
                let detail = format!("#{} does not start: {error}", self.index);
                return broken(Invariant::Contract, detail);
            }
        };
        self.process = Some(Process {
            last_status: engine.status(),
            engine,
            application,
            started: now,
            incarnation: self.incarnations,
            timer: 0,
            push_again: 0,
            work_asked: false,
            head: tip,
            asked: TimeMs::default(),
            buffer: Vec::new(),
            newest: Seq(0),
            sync: None,
            committed: Vec::new(),
            archiving: 0,
            bounds: Bounds {
                nodes: roster.nodes(),
                window: config.timing().window,
            },
        });
        Ok(())
    }

    /// The process dies: its buffer is lost. Of what is being synced, some may be on the disk already: so much of the
    /// journal's batch, so many blocks of the archive's.
    pub(crate) fn crash(&mut self, landed: Landed, archived: usize) {
        let Some(process) = self.process.take() else {
            return;
        };
        match (landed, process.sync) {
            // After a snapshot the older segments were not deleted yet.
            (Landed::All, Some(Sync::Batch(_, records) | Sync::Snapshot(records))) => {
                self.disk.append(records);
            }
            (Landed::Without(lost), Some(Sync::Batch(_, records))) => {
                self.disk.tear(&records, lost);
            }
            // A new segment is read only when it is whole.
            (Landed::Nothing | Landed::Without(_), _) | (Landed::All, None) => {}
        }
        let frames = process.committed.into_iter().take(process.archiving);
        self.disk.archive.extend(frames.take(archived));
    }

    /// Whether a block is on its way to the disk.
    pub(crate) fn is_writing_a_block(&self) -> bool {
        let batch = self
            .process
            .as_ref()
            .and_then(|process| match &process.sync {
                Some(Sync::Batch(_, records)) => Some(records),
                Some(Sync::Snapshot(_)) | None => None,
            });
        batch.is_some_and(|records| {
            records
                .iter()
                .any(|record| matches!(record, Record::Block(_)))
        })
    }

    /// Both clocks.
    pub(crate) fn now(&self, now: Time) -> Now {
        let started = self.process.as_ref().map_or(now, |p| p.started);
        self.clock.read(started, now)
    }

    /// Gives the engine one event and drains it.
    pub(crate) fn feed(&mut self, now: Time, event: Event) -> Result<Vec<Output>, Violation> {
        let now = self.now(now);
        let Some(process) = &mut self.process else {
            return Ok(Vec::new());
        };
        process.engine.handle(now, event);
        process.drain()
    }

    /// The sync that was under way has ended. The batch's records are on the disk now, and `Persisted` is due.
    pub(crate) fn synced(&mut self) -> Option<(Seq, Vec<Record>)> {
        let process = self.process.as_mut()?;
        match process.sync.take()? {
            Sync::Batch(seq, records) => {
                self.disk.append(records.clone());
                Some((seq, records))
            }
            Sync::Snapshot(records) => {
                self.disk.replace(records);
                None
            }
        }
    }

    /// The archive's sync has ended.
    pub(crate) fn archived(&mut self) {
        if let Some(process) = &mut self.process {
            let count = std::mem::take(&mut process.archiving);
            self.disk.archive.extend(process.committed.drain(..count));
        }
    }
}

/// What defines an epoch.
pub(crate) fn spec(info: &EpochInfo) -> EpochSpec {
    EpochSpec {
        chain: info.chain(),
        epoch: info.epoch(),
        set: info.set().clone(),
        anchor: *info.anchor(),
        restart: info.restart(),
    }
}

impl Process {
    /// All that the engine wants to be done.
    pub(crate) fn drain(&mut self) -> Result<Vec<Output>, Violation> {
        let mut outputs = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            outputs.push(output);
            if outputs.len() > MAX_OUTPUTS {
                return broken(Invariant::Bounds, "one event causes outputs without end");
            }
        }
        self.bounds
            .check(&self.engine.held(), &self.engine.status())?;
        Ok(outputs)
    }

    /// Takes records for the next sync.
    pub(crate) fn persist(&mut self, seq: Seq, records: &[Record]) -> Result<(), Violation> {
        if seq.0 != self.newest.0 + 1 || records.is_empty() {
            return broken(
                Invariant::Contract,
                format!(
                    "Persist {} after {}, {} records",
                    seq.0,
                    self.newest.0,
                    records.len()
                ),
            );
        }
        self.newest = seq;
        self.buffer.extend_from_slice(records);
        Ok(())
    }

    /// Begins a sync if there is something to write and none is under way.
    pub(crate) fn begin_sync(&mut self) -> bool {
        if self.sync.is_some() || self.buffer.is_empty() {
            return false;
        }
        let records = std::mem::take(&mut self.buffer);
        self.sync = Some(Sync::Batch(self.newest, records));
        true
    }

    /// Begins a new journal segment, if nothing is under way and all is archived.
    pub(crate) fn begin_prune(&mut self) -> bool {
        let idle = self.sync.is_none() && self.buffer.is_empty() && self.committed.is_empty();
        let records = idle.then(|| self.engine.snapshot()).flatten();
        let Some(records) = records.filter(|records| !records.is_empty()) else {
            return false;
        };
        self.sync = Some(Sync::Snapshot(records));
        true
    }

    /// The records of a new segment that is being written.
    pub(crate) fn pruning(&self) -> &[Record] {
        match &self.sync {
            Some(Sync::Snapshot(records)) => records,
            Some(Sync::Batch(..)) | None => &[],
        }
    }

    /// Applies final blocks and queues them for the archive.
    pub(crate) fn commit(&mut self, commit: Commit) -> Result<(), Violation> {
        let last = commit.blocks.len().saturating_sub(1);
        for (at, block) in commit.blocks.into_iter().enumerate() {
            self.application.commit(&block)?;
            let own = if at == last {
                commit.finalization.clone()
            } else {
                None
            };
            self.committed.push((block, own));
        }
        Ok(())
    }

    /// Begins to sync the archive, if there is something and it is not under way.
    pub(crate) fn begin_archive(&mut self) -> bool {
        let begins = self.archiving == 0 && !self.committed.is_empty();
        if begins {
            self.archiving = self.committed.len();
        }
        begins
    }
}
