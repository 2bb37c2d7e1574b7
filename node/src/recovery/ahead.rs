//! The archive's blocks, prepared ahead of their use: read and checksummed on one thread, worked on by several, handed out
//! in order. What is under way is bounded: one portion before and one behind each worker.

use super::RecoveryError;
use crate::storage::archive;
use ledger::frame::Payload;
use ledger::id::Height;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Blocks of one portion …
const BLOCKS: usize = 32;
/// … and their bytes, but for the last.
const BYTES: usize = 1 << 18;
/// More workers than this are of no use: the blocks are executed one after the other.
const MAX_WORKERS: usize = 8;

/// Consecutive blocks as they stand on the disk.
pub(super) type Portion = Vec<(Height, Payload)>;
type Read = Result<Portion, archive::ReadError>;
type Done<T> = Result<Vec<T>, RecoveryError>;

/// Hands the blocks from `first` to `last` to `work`, several portions at a time, and what it makes of them to `take`, in
/// order. Ends with the first error.
pub(super) fn each<T: Send>(
    archive: &archive::Reader,
    (first, last): (Height, Height),
    work: impl Fn(Portion) -> Done<T> + Sync,
    mut take: impl FnMut(T) -> Result<(), RecoveryError>,
) -> Result<(), RecoveryError> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let count = count.min(MAX_WORKERS);
    std::thread::scope(|scope| {
        let mut inlets = Vec::with_capacity(count);
        let mut outlets = Vec::with_capacity(count);
        for _ in 0..count {
            let (inlet, portions) = sync_channel(1);
            let (results, outlet) = sync_channel(1);
            let work = &work;
            scope.spawn(move || run(&portions, &results, work));
            inlets.push(inlet);
            outlets.push(outlet);
        }
        scope.spawn(move || read(archive, (first, last), &inlets));
        // Portions go round: the first worker that has nothing more is where the blocks end.
        for outlet in outlets.iter().cycle() {
            let Ok(done) = outlet.recv() else {
                break;
            };
            done?.into_iter().try_for_each(&mut take)?;
        }
        Ok(())
    })
}

fn run<T>(
    portions: &Receiver<Read>,
    results: &SyncSender<Done<T>>,
    work: impl Fn(Portion) -> Done<T>,
) {
    for portion in portions {
        let done = portion.map_err(RecoveryError::from).and_then(&work);
        // Whoever takes the results may have ended with an error.
        if results.send(done).is_err() {
            return;
        }
    }
}

fn read(archive: &archive::Reader, (first, last): (Height, Height), inlets: &[SyncSender<Read>]) {
    let mut blocks = archive.iter(first);
    let mut inlets = inlets.iter().cycle();
    let mut failed = None;
    let mut is_over = false;
    while !is_over {
        let (mut portion, mut bytes) = (Vec::new(), 0_usize);
        while !is_over && portion.len() < BLOCKS && bytes < BYTES {
            match blocks.next() {
                Some(Ok((height, payload))) if height <= last => {
                    bytes = bytes.saturating_add(payload.block.len());
                    portion.push((height, payload));
                }
                Some(Err(error)) => {
                    failed = Some(error);
                    is_over = true;
                }
                Some(Ok(_)) | None => is_over = true,
            }
        }
        // What stands before a fault is used first, so that the first fault is the one that is told.
        for read in [Some(Ok(portion)), failed.take().map(Err)]
            .into_iter()
            .flatten()
        {
            let sent = inlets.next().map(|inlet| inlet.send(read));
            if !matches!(sent, Some(Ok(()))) {
                return;
            }
        }
    }
}
