//! The index, brought to the archive's end: kept if it fits the archive, made again from the blocks if not.

use super::ahead;
use super::seen::{Asked, Seen};
use super::{Elsewhere, Made, Making, Progress, RecoveryError, ReplayError, read_header};
use crate::epochs::Epochs;
use crate::publisher;
use crate::range;
use crate::states::{Post, States};
use crate::storage::Fatal;
use crate::storage::archive;
use crate::storage::index::{Index, Place, Run, Start};
use crate::storage::log_hashes;
use crate::storage::restarts::Restarts;
use ledger::block::{Block, Body, CheckedBody, ReceiveError};
use ledger::body::Item;
use ledger::execute::{self, BlockError};
use ledger::hash::ItemId;
use ledger::header::Header;
use ledger::id::Height;
use ledger::log::Frontier;
use ledger::tip::{Founding, Tip};
use ledger::trie::Trie;
use ledger::view::{Effects, Overlay, StateView};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::Scope;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Entries that are written together: the more, the closer to each other they lie in the store. Twice as many are in memory.
const RUN: usize = 400_000;
/// Blocks that take so long that something is served meanwhile.
const LONG: u64 = 64;
/// How often it is looked how far an index is that is made elsewhere.
const LOOK: Duration = Duration::from_millis(100);

/// Brings the index and what is above it to the archive's end.
pub(super) struct Rebuild<'a> {
    pub(super) restarts: &'a Restarts,
    pub(super) founding: &'a Founding,
    pub(super) archive: &'a archive::Reader,
    pub(super) log: log_hashes::Reader,
    pub(super) dir: PathBuf,
    pub(super) cache: u64,
    /// Where the index should stand: the kept checkpoint; the archive's end if there is none.
    pub(super) stand: Option<Height>,
    pub(super) max_unproved: usize,
    /// Ends it.
    pub(super) stop: CancellationToken,
    /// Makes it if there is much to make.
    pub(super) elsewhere: Option<&'a dyn Elsewhere>,
}

impl Rebuild<'_> {
    /// The states to go on with. `begun` is told when it takes long.
    pub(super) fn states(
        &self,
        begun: &mut dyn FnMut(Arc<Making>),
    ) -> Result<States, RecoveryError> {
        let (index, base, start) = self.filled(begun)?;
        let index = match start {
            Start::Kept => index,
            Start::Empty => self.reopen(&index)?,
        };
        self.replayed(index, base)
    }

    /// The states to close again: an index of ten million entries takes 500 MB to open, hence it stays as it was made.
    pub(super) fn states_to_close(&self) -> Result<States, RecoveryError> {
        let (index, base, _) = self.filled(&mut |_| ())?;
        self.replayed(index, base)
    }

    /// Makes it, and closes it.
    pub(super) fn made(&self, say: &mut dyn FnMut(Height)) -> Result<(), RecoveryError> {
        let (index, base) = self.open()?;
        let making = Arc::new(Making::default());
        let filled = self.fill_or_close(&index, base, &making, say);
        filled.and_then(|_| Ok(index.close()?))
    }

    fn filled(
        &self,
        begun: &mut dyn FnMut(Arc<Making>),
    ) -> Result<(Index, Tip, Start), RecoveryError> {
        let (mut index, mut base) = self.open()?;
        let making = Arc::new(Making::default());
        making.of.store(self.upto().0, Ordering::Relaxed);
        if self.left(&base) >= LONG {
            begun(Arc::clone(&making));
            if let Some(elsewhere) = self.elsewhere {
                (index, base) = self.made_elsewhere(index, base, (elsewhere, &making))?;
            }
        }
        let start = base.1.as_ref().map_or(Start::Kept, |_| Start::Empty);
        let mut progress = Progress::new("index entries", self.archive);
        let mut say = |height| progress.say(height);
        let base = self.fill_or_close(&index, base, &making, &mut say)?;
        Ok((index, base, start))
    }

    /// The index and where it stands, with what it holds if that is the genesis alone.
    fn open(&self) -> Result<(Index, Base), RecoveryError> {
        let opened = Index::open(&self.dir, self.founding.chain(), self.cache)?;
        let kept = match opened.start {
            Start::Kept => self.base(&opened.index)?,
            Start::Empty => None,
        };
        if let Some(base) = kept {
            return Ok((opened.index, (base, None)));
        }
        let index = if opened.start == Start::Kept {
            tracing::warn!("the index does not fit the archive: it is made again");
            drop(opened.index);
            // Its marker is gone since it was opened: it is thrown away.
            Index::open(&self.dir, self.founding.chain(), self.cache)?.index
        } else {
            opened.index
        };
        let seen = Seen::new(self.log.size().0.saturating_mul(2));
        let base = self.begin(&index)?;
        Ok((index, (base, Some(seen))))
    }

    /// Blocks that are not in the index and should be.
    fn left(&self, (base, _): &Base) -> u64 {
        self.upto().0.saturating_sub(base.height.0)
    }

    /// Closes it, has it made by somebody else, and opens what that left.
    fn made_elsewhere(
        &self,
        index: Index,
        base: Base,
        (elsewhere, making): (&dyn Elsewhere, &Making),
    ) -> Result<(Index, Base), RecoveryError> {
        // One without its marker is begun anew, as one with nothing in it should be.
        if base.1.is_none() {
            index.close()?;
        }
        drop((index, base));
        let mut progress = Progress::new("index entries", self.archive);
        let made = std::thread::scope(|scope| {
            let (ended, end) = sync_channel::<()>(0);
            scope.spawn(move || {
                while end.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                    progress.say(making.progress().0);
                }
            });
            let made = elsewhere.make(self.upto(), making, &self.stop);
            drop(ended);
            made
        });
        match made {
            Ok(Made::Stopped) => return Err(RecoveryError::Stopped),
            Ok(Made::Whole) => {}
            Ok(Made::NotWritten(said)) => return Err(RecoveryError::NotWritten(said)),
            Err(error) => tracing::warn!(
                %error,
                "the process that makes the index failed: this one goes on with it"
            ),
        }
        self.open()
    }

    fn replayed(&self, index: Index, base: Tip) -> Result<States, RecoveryError> {
        let states = States::new(index, base);
        self.replay(&states)?;
        Ok(states)
    }

    /// What was made with a small cache goes on with the one that the configuration names.
    fn reopen(&self, made: &Index) -> Result<Index, RecoveryError> {
        made.close()?;
        let opened = Index::open(&self.dir, self.founding.chain(), self.cache)?;
        match opened.start {
            Start::Kept => Ok(opened.index),
            Start::Empty => {
                let what = "the index that was just made cannot be opened".to_owned();
                let path = self.dir.clone();
                Err(Fatal::Misuse { path, what }.into())
            }
        }
    }

    /// Up to where nothing needs to wait above the index.
    fn upto(&self) -> Height {
        let last = self.archive.last().unwrap_or_default();
        let waiting = u64::try_from(self.max_unproved).unwrap_or(u64::MAX);
        let stand = self.stand.unwrap_or(last);
        stand.max(Height(last.0.saturating_sub(waiting)))
    }

    fn fill_or_close(
        &self,
        index: &Index,
        from: Base,
        making: &Making,
        say: &mut dyn FnMut(Height),
    ) -> Result<Tip, RecoveryError> {
        let filled = self.fill(index, from, making, say);
        if matches!(filled, Err(RecoveryError::Stopped)) {
            // What is in it is whole blocks, and the next start goes on above.
            index.close()?;
        }
        filled
    }

    /// Executes the archive's blocks and writes many at a time: they are opened ahead on several threads, executed on this
    /// one, and written by another, while this one goes on above what is being written.
    fn fill(
        &self,
        index: &Index,
        (base, mut seen): Base,
        making: &Making,
        say: &mut dyn FnMut(Height),
    ) -> Result<Tip, RecoveryError> {
        let upto = self.upto();
        if base.height >= upto {
            return Ok(base);
        }
        let heights = (base.height.saturating_add(1), upto);
        let mut tip = base;
        std::thread::scope(|scope| {
            let mut writer = Writer::start(scope, index);
            let executed = ahead::each(
                self.archive,
                heights,
                |portion| self.open_ahead(portion),
                |(header, body)| {
                    if self.stop.is_cancelled() {
                        return Err(RecoveryError::Stopped);
                    }
                    let height = header.height;
                    let fault = |source| RecoveryError::Replay { height, source };
                    let body = match body {
                        Contents::Checked(body) => body,
                        Contents::Bytes(body) => self
                            .open_body(&tip, &header, &body)
                            .map_err(|error| fault(error.into()))?,
                    };
                    let view = index.view()?;
                    let mut state = Overlay::new(&view as &dyn StateView);
                    for run in writer.above() {
                        state = state.with(run.effects());
                    }
                    let state = Asked {
                        below: &state,
                        seen: seen.as_ref(),
                    };
                    let executed =
                        execute::check_block(self.founding, &state, &tip, &header, &body);
                    drop(view);
                    let executed = executed.map_err(|error| fault(error.into()))?;
                    if let Some(seen) = &mut seen {
                        seen.add(&executed.effects);
                    }
                    let place = Place::of(&executed.tip, executed.leaves.len());
                    tip = self.restarts.go_on(&tip.epoch, executed.tip);
                    writer.push(place, executed.effects)?;
                    making.reached(height);
                    say(height);
                    Ok(())
                },
            );
            // Also if it was stopped: what was executed is kept.
            match executed {
                Ok(()) | Err(RecoveryError::Stopped) => writer.finish().and(executed),
                Err(error) => Err(error),
            }
        })?;
        Ok(tip)
    }

    /// What of a portion's blocks does not depend on those before them.
    fn open_ahead(
        &self,
        portion: ahead::Portion,
    ) -> Result<Vec<(Header, Contents)>, RecoveryError> {
        let mut blocks = Vec::with_capacity(portion.len());
        for (height, payload) in portion {
            let block = Block::decode(&payload.block);
            let block = block.map_err(|error| RecoveryError::Replay {
                height,
                source: error.into(),
            })?;
            blocks.push(block);
        }
        let known = range::checked(self.founding, blocks.iter().map(|block| &block.body));
        let epoch = self.founding.epoch();
        let opened = blocks.into_iter().map(|Block { header, body }| {
            // What evidence is worth depends on the epoch, which only the blocks before tell.
            if body
                .items()
                .iter()
                .any(|item| matches!(item.parse(), Ok(Item::Evidence(_))))
            {
                return Ok((header, Contents::Bytes(body)));
            }
            let rng = crate::admission::system_rng();
            let look = |id: &ItemId| known.get(id).map(Arc::clone);
            let checked = CheckedBody::receive(self.founding, &epoch, &header, &body, look, rng);
            let checked = checked.map_err(|error| RecoveryError::Replay {
                height: header.height,
                source: error.into(),
            })?;
            Ok((header, Contents::Checked(checked)))
        });
        opened.collect()
    }

    /// An empty index with the genesis in it.
    fn begin(&self, index: &Index) -> Result<Tip, RecoveryError> {
        let tip = self.founding.tip();
        let tip = self.restarts.go_on(&self.founding.epoch(), tip);
        let effects = self.founding.effects();
        index.apply(Place::of(&tip, 0), &effects)?;
        Ok(tip)
    }

    /// Where a kept index stands; `None` if it is not a state of this archive's chain.
    fn base(&self, index: &Index) -> Result<Option<Tip>, RecoveryError> {
        let view = index.view()?;
        let Some(height) = view.applied()? else {
            return Ok(None);
        };
        let mut entries = std::collections::BTreeMap::new();
        view.for_each_trie_entry(|key, value| {
            entries.insert(key, value);
        })?;
        let mut trie = Trie::new();
        trie.extend(&entries);
        let genesis = self.founding.tip();
        if height == Height(0) {
            let fits = trie.root() == genesis.trie.root();
            return Ok(fits.then(|| self.restarts.go_on(&self.founding.epoch(), genesis)));
        }
        let Some(header) = read_header(self.archive, height)? else {
            return Ok(None);
        };
        let log = Frontier::read(&self.log, header.log_size)?;
        let fits = trie.root() == header.status_root && log.root() == header.log_root;
        let epochs = Epochs {
            founding: self.founding,
            archive: self.archive,
            restarts: self.restarts,
        };
        // A set that the genesis does not give is made by executing the blocks again.
        let Some(epoch) = epochs.after(&header)?.filter(|_| fits) else {
            return Ok(None);
        };
        Ok(Some(Tip {
            height,
            hash: header.hash(),
            time_ms: header.time_ms,
            epoch: Arc::new(epoch),
            log,
            trie,
        }))
    }

    /// Executes the archive's blocks above the index.
    fn replay(&self, states: &States) -> Result<(), RecoveryError> {
        let stand = self.stand.unwrap_or(Height(u64::MAX));
        let from = states.base().height.saturating_add(1);
        let mut progress = Progress::new("index entries", self.archive);
        for frame in self.archive.iter(from) {
            let (height, payload) = frame?;
            let post = self
                .execute(states, &payload.block)
                .map_err(|source| RecoveryError::Replay { height, source })?;
            states.finalize(std::slice::from_ref(&post));
            while let Some(oldest) = states.oldest_final()
                && (oldest.tip().height <= stand || states.excess(self.max_unproved).is_some())
            {
                publisher::apply(states.index(), &oldest)?;
                states.settle(oldest.tip().height);
            }
            progress.say(height);
        }
        Ok(())
    }

    fn execute(&self, states: &States, bytes: &[u8]) -> Result<Post, ReplayError> {
        let Block { header, body } = Block::decode(bytes)?;
        let branch = states.final_branch();
        let body = self.open_body(branch.tip(), &header, &body)?;
        let checked = branch.with(states, |state: &dyn StateView, tip| {
            execute::check_block(self.founding, state, tip, &header, &body)
        });
        match checked {
            Ok(executed) => {
                let mut executed = executed?;
                let deciding = &branch.tip().epoch;
                executed.tip = self.restarts.go_on(deciding, executed.tip);
                Ok(Post::new(executed))
            }
            Err(closed) => Err(BlockError::Unavailable(ledger::view::StateUnavailable(
                closed.to_string(),
            ))
            .into()),
        }
    }

    fn open_body(
        &self,
        parent: &Tip,
        header: &Header,
        body: &Body,
    ) -> Result<CheckedBody, ReceiveError> {
        let rng = crate::admission::system_rng();
        CheckedBody::receive(self.founding, &parent.epoch, header, body, |_| None, rng)
    }
}

/// Where an index stands, and which documents it holds if all of them are known.
type Base = (Tip, Option<Seen>);

/// A block's body on its way to be executed.
enum Contents {
    Checked(CheckedBody),
    /// It holds evidence, which is checked in its epoch.
    Bytes(Body),
}

/// Writes one run while the next is made.
struct Writer {
    next: Run,
    /// On its way into the index.
    writing: Option<Arc<Run>>,
    runs: SyncSender<Arc<Run>>,
    written: Receiver<Result<(), Fatal>>,
}

impl Writer {
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, index: &Index) -> Self {
        let (runs, inlet) = sync_channel::<Arc<Run>>(1);
        let (outlet, written) = sync_channel(1);
        let index = index.clone();
        scope.spawn(move || {
            for run in inlet {
                if outlet.send(index.apply_run(&run)).is_err() {
                    return;
                }
            }
        });
        Self {
            next: Run::default(),
            writing: None,
            runs,
            written,
        }
    }

    /// What is not in the index for certain, oldest first.
    fn above(&self) -> impl Iterator<Item = &Run> {
        self.writing.as_deref().into_iter().chain([&self.next])
    }

    fn push(&mut self, place: Place, effects: Effects) -> Result<(), Fatal> {
        self.next.push(place, effects);
        if self.next.len() >= RUN {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Fatal> {
        self.wait()?;
        let run = Arc::new(std::mem::take(&mut self.next));
        // The thread ends only behind this sender.
        self.runs.send(Arc::clone(&run)).ok();
        self.writing = Some(run);
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Fatal> {
        match self.writing.take() {
            Some(_) => self.written.recv().unwrap_or(Ok(())),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<(), RecoveryError> {
        self.write()?;
        Ok(self.wait()?)
    }
}
