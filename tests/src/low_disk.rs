//! A node's data disk at its low-water marks: real free bytes of a real file system, without writing much.
//!
//! The data goes onto a small file system of its own where this process may mount one. Where it may not, it stays on the
//! disk that it is on: the marks are set by what is free there now, and room is taken by a file whose blocks are reserved, not
//! written. Half a step lies between any mark and what is free then, so that others may use the disk meanwhile.

use crate::network::Network;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::fs::{self, File};
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Size of a file system of its own, as `mount` wants it.
const OWN: &str = "size=48m";
/// The longest step, in bytes.
const STEP: u64 = 1 << 30;
/// The shortest on a disk that others use, in bytes.
const SHARED_STEP: u64 = 128 << 20;

/// A disk that can be filled below one mark after the other.
#[derive(Debug)]
pub struct LowDisk {
    dir: PathBuf,
    step: u64,
    files: u32,
    /// Its own mount, which goes away with it; none on a disk that others use.
    #[expect(dead_code, reason = "it unmounts when it is dropped")]
    own: Option<Mount>,
}

#[derive(Debug)]
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

impl LowDisk {
    /// Puts a stopped node's data onto such a disk, and sets the node's marks by it.
    ///
    /// # Errors
    /// If that cannot be done: there is no disk here on which the test could be run.
    pub fn of(network: &Network, at: usize) -> Result<Self> {
        let node = &network.manifest().nodes[at].dir;
        let own = mount(&node.join("data"), &node.join("aside"))?;
        let dir = node.join("data");
        let free = free(&dir)?;
        let step = (free / 4).min(STEP);
        if own.is_none() && step < SHARED_STEP {
            let message = format!("{free} free bytes at {} are too few", dir.display());
            return Err(Error::other(message));
        }
        let marks = [step / 2, step + step / 2].map(|taken| (free - taken).to_string());
        let [first, second] = &marks;
        let keys = [("min_free_bytes", &**first), ("stop_free_bytes", second)];
        network.configure(at, &keys)?;
        Ok(Self {
            dir,
            step,
            files: 0,
            own,
        })
    }

    /// Takes so much room that the next mark is passed.
    ///
    /// # Errors
    /// Of the file system.
    pub fn fill(&mut self) -> Result<()> {
        self.files += 1;
        let file = File::create(self.ballast(self.files))?;
        Ok(fallocate(&file, FallocateFlags::empty(), 0, self.step)?)
    }

    /// Gives all of it back.
    ///
    /// # Errors
    /// Of the file system.
    pub fn make_room(&mut self) -> Result<()> {
        for number in 1..=std::mem::take(&mut self.files) {
            fs::remove_file(self.ballast(number))?;
        }
        Ok(())
    }

    fn ballast(&self, number: u32) -> PathBuf {
        self.dir.join(format!("ballast-{number}"))
    }
}

fn free(dir: &Path) -> Result<u64> {
    let space = statvfs(dir)?;
    Ok(space.f_bavail * space.f_frsize)
}

/// Moves the data onto a small file system of its own; `None`, and nothing is moved, where this process may not mount one.
fn mount(data: &Path, aside: &Path) -> Result<Option<Mount>> {
    fs::rename(data, aside)?;
    fs::create_dir(data)?;
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", OWN, "tmpfs"]).arg(data);
    let done = mount.stderr(Stdio::null()).status();
    if !done.is_ok_and(|status| status.success()) {
        fs::remove_dir(data)?;
        fs::rename(aside, data)?;
        return Ok(None);
    }
    let own = Mount(data.into());
    let copied = Command::new("cp")
        .arg("-a")
        .arg(aside.join("."))
        .arg(data)
        .status()?;
    if !copied.success() {
        return Err(Error::other("the data cannot be copied"));
    }
    Ok(Some(own))
}
