//! How fast this machine hashes, signs and syncs, on one core: what every other figure is to be read beside.

use ledger::hash::{Hash, sha256};
use ledger::key::SigningKey;
use ledger::log::node_hash;
use std::fmt;
use std::fs::File;
use std::hint::black_box;
use std::io::{Error, Result, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long each rate is measured.
const LONG: Duration = Duration::from_millis(500);
/// Appends that are synced one by one.
const SYNCS: usize = 200;

/// Rates of one core, and the disk's sync.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// SHA-256 of 1 MiB pieces, in bytes a second.
    pub sha256_bytes: u64,
    /// Inner nodes of the log (65 bytes hashed) a second.
    pub node_hashes: u64,
    /// Ed25519 signatures a second.
    pub signatures: u64,
    /// Strict Ed25519 verifications a second.
    pub verifications: u64,
    /// Median of an append of 4 KiB with `fdatasync`.
    pub sync: Duration,
}

impl Machine {
    /// Measures, with a file in this folder.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub fn measure(folder: &Path) -> Result<Self> {
        let piece = vec![7; 1 << 20];
        let key = SigningKey::from_seed(&[7; 32]);
        let message = [7; 120];
        let signature = key.sign(&message);
        let public = key.key();
        public
            .verify_strict(&message, &signature.raw())
            .map_err(Error::other)?;
        Ok(Self {
            sha256_bytes: rate(|| sha256(&[&piece])) * (1 << 20),
            node_hashes: rate(|| node_hash(&Hash::ZERO, &Hash::ZERO)),
            signatures: rate(|| key.sign(&message)),
            verifications: rate(|| public.verify_strict(&message, &signature.raw())),
            sync: sync(folder)?,
        })
    }
}

/// How often a second.
fn rate<T>(work: impl Fn() -> T) -> u64 {
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < LONG {
        for _ in 0..64 {
            black_box(work());
        }
        done += 64;
    }
    let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    done * 1_000_000 / micros.max(1)
}

fn sync(folder: &Path) -> Result<Duration> {
    let mut file = File::create(folder.join("sync"))?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[SYNCS / 2])
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sha256_bytes,
            node_hashes,
            signatures,
            verifications,
            sync,
        } = self;
        let mega = sha256_bytes / 1_000_000;
        writeln!(
            f,
            "SHA-256                 {mega} MB/s, {node_hashes} inner nodes/s"
        )?;
        writeln!(
            f,
            "Ed25519                 {signatures} signed/s, {verifications} verified/s"
        )?;
        write!(f, "4 KiB with fdatasync    {sync:.0?} (median)")
    }
}
