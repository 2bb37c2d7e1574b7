//! Memory, processor time and disk of a node, as the kernel counts them.

use std::fs;
use std::io::{Error, Result};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a process used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Most memory that it held at a time, in KiB (`VmHWM`).
    pub peak_kib: u64,
    /// Processor time of all its threads.
    pub processor: Duration,
}

/// What a running process has used until now; `None` once it is gone.
pub fn used(pid: i32) -> Option<Used> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields
        .get(11..13)?
        .iter()
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    Some(Used {
        peak_kib: peak.split_whitespace().next()?.parse().ok()?,
        // A tick is a hundredth of a second on every Linux that Rust runs on.
        processor: Duration::from_millis(ticks * 10),
    })
}

/// The process that makes the index of a running node, while there is one.
pub fn index_maker(node: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{node}/task/{node}/children")).ok()?;
    let mut children = children.split_whitespace();
    children.find_map(|pid| {
        let said = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let is_maker = said.split(|byte| *byte == 0).any(|it| it == b"make-index");
        is_maker.then(|| pid.parse().ok())?
    })
}

/// Runs a command to its end: how long it took and what it used, looked at every few milliseconds.
///
/// # Errors
/// If it cannot be started or does not succeed.
pub fn run(command: &mut Command) -> Result<(Duration, Used)> {
    let start = Instant::now();
    let mut child = command.spawn()?;
    let pid = i32::try_from(child.id()).map_err(Error::other)?;
    let mut last = Used::default();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        last = used(pid).unwrap_or(last);
        std::thread::sleep(Duration::from_millis(5));
    };
    if status.success() {
        return Ok((start.elapsed(), last));
    }
    Err(Error::other(format!("{command:?} ended with {status}")))
}

/// Parts of a node's data, by the name in its data folder.
pub const KINDS: [&str; 4] = ["archive", "log", "index", "journal"];

/// Bytes that a node's data take on the disk: one of [`KINDS`] each, then everything else.
///
/// # Errors
/// If a folder cannot be read.
pub fn disk(node: &Path) -> Result<[(&'static str, u64); 5]> {
    let data = node.join("data");
    let mut parts = KINDS.map(|kind| (kind, 0));
    for (kind, bytes) in &mut parts {
        *bytes = allocated(&data.join(kind))?;
    }
    let known: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    let [archive, log, index, journal] = parts;
    let other = allocated(&data)?.saturating_sub(known);
    Ok([archive, log, index, journal, ("other", other)])
}

/// What a file or folder takes, not how long it says that it is.
fn allocated(path: &Path) -> Result<u64> {
    let meta = fs::symlink_metadata(path)?;
    let mut bytes = meta.blocks() * 512;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += allocated(&entry?.path())?;
        }
    }
    Ok(bytes)
}
