//! The node's configuration: a TOML file, parsed once into values that are known to fit together.
//!
//! [`Config::load`] is the only door; nothing re-checks later. [`template`] is the commented file that
//! `init` writes, and a test keeps it and the parser equal. What is consensus-critical is not here but in
//! the genesis.

use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the file in a node's directory.
pub const FILE: &str = "node.toml";
/// Longest configuration file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// Least memory for the pool: one submission of the largest size for each of several authorities.
const MIN_POOL_BYTES: usize = 8 * 1024 * 1024;
/// Longest that a request may wait for its submissions, in milliseconds.
pub const MAX_WAIT_MS: u64 = 60_000;
/// Hard cap on a request's body, in bytes; the configuration may only lower it.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Everything an operator can set, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The node's directory; relative paths start here.
    pub dir: PathBuf,
    /// HTTP API.
    pub api: Api,
    /// libp2p.
    pub network: Network,
    /// Timers and pacing.
    pub consensus: Consensus,
    /// Pending submissions.
    pub mempool: Mempool,
    /// Disk.
    pub storage: Storage,
    /// Receipts.
    pub receipts: Receipts,
    /// Fetching blocks.
    pub sync: Sync,
}

/// HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Address to listen at.
    pub listen: SocketAddr,
    /// Longest request body, in bytes.
    pub max_body_bytes: usize,
    /// Most requests answered at the same time.
    pub max_requests: usize,
    /// Time-out of a request that does not wait for a submission, in milliseconds.
    pub request_timeout_ms: u64,
}

/// libp2p.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Multiaddress to listen at.
    pub listen: String,
}

/// Timers and pacing. Local: nodes may differ.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consensus {
    /// Expected longest message delay Δ, in milliseconds.
    pub delta_ms: u64,
    /// Cap of the back-off, in milliseconds.
    pub delta_max_ms: u64,
    /// Interval of the heartbeat, in milliseconds.
    pub heartbeat_ms: u64,
    /// Silence after which a leader's view is given up, in milliseconds.
    pub quiet_ms: u64,
    /// Least age of a parent block before the next is proposed, in milliseconds.
    pub min_block_interval_ms: u64,
    /// Interval of the cosigner's heartbeat on an idle chain, in milliseconds.
    pub cosign_heartbeat_ms: u64,
}

/// Pending submissions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mempool {
    /// Most bytes in all.
    pub max_bytes: usize,
    /// Most bytes of one authority's submissions.
    pub max_bytes_per_authority: usize,
    /// Most bytes that one peer may have brought.
    pub max_bytes_per_peer: usize,
}

/// Disk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Folder of the data, below the node's directory.
    pub data: PathBuf,
    /// Folder of the key files.
    pub keys: PathBuf,
    /// The signed genesis.
    pub genesis: PathBuf,
    /// Cache of the index, in bytes.
    pub index_cache_bytes: u64,
    /// Free bytes below which the node does not start and takes no submissions.
    pub min_free_bytes: u64,
    /// Free bytes below which a running node stops; `None`, as in older files, is a quarter of the above.
    #[serde(default)]
    pub stop_free_bytes: Option<u64>,
    /// Length of an archive segment, in bytes.
    #[serde(default = "default_segment_bytes")]
    pub segment_bytes: u64,
    /// The oldest segments of the archive, up to this number, were moved away; what else is missing is damage.
    #[serde(default)]
    pub segments_away: u64,
    /// Pace of the scrub, in MiB per second; 0 = no scrub.
    #[serde(default = "default_scrub_mib_per_s")]
    pub scrub_mib_per_s: u64,
    /// Pause between two passes of the scrub, in seconds.
    #[serde(default = "default_scrub_pause_s")]
    pub scrub_pause_s: u64,
}

// What holds where a file of an older version lacks the key.

const fn default_segment_bytes() -> u64 {
    64 << 20
}

const fn default_scrub_mib_per_s() -> u64 {
    4
}

const fn default_scrub_pause_s() -> u64 {
    3_600
}

impl Storage {
    /// Free bytes below which a running node stops.
    pub fn stop_free_bytes(&self) -> u64 {
        self.stop_free_bytes.unwrap_or(self.min_free_bytes / 4)
    }
}

/// Receipts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipts {
    /// Most final blocks that may await their cosignatures while receipts can still be made for the newest provable one.
    pub max_unproved_blocks: usize,
}

/// Fetching blocks while far behind, and as an observer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// Validators that are asked at the same time.
    pub peers: usize,
    /// Ranges of blocks under way at a time.
    pub ranges: usize,
    /// Most blocks of a range.
    pub range_blocks: u32,
    /// Threads that check signatures.
    pub threads: usize,
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            peers: 64,
            ranges: 12,
            range_blocks: 512,
            threads: 4,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    api: Api,
    network: Network,
    consensus: Consensus,
    mempool: Mempool,
    storage: Storage,
    receipts: Receipts,
    /// Later than the others: a file without it is from an older version.
    #[serde(default)]
    sync: Sync,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration cannot be read: {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is over its limit.
    #[error("configuration has {length} bytes, over the limit of {MAX_FILE}: {}", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// Not the keys that are expected.
    #[error("configuration is not valid: {}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value is out of its range.
    #[error("{key} must be {rule}, not {value}")]
    Range {
        /// Which key.
        key: &'static str,
        /// What is asked.
        rule: String,
        /// What was given.
        value: String,
    },
}

impl ConfigError {
    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "a node's directory is made by `nachweis-node init`",
            Self::TooLong { .. } | Self::Parse { .. } => {
                "`nachweis-node init` writes this file with every key explained; compare"
            }
            Self::Range { .. } => "change it in node.toml",
        }
    }
}

impl Config {
    /// Reads and checks `node.toml` of a node's directory.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the key and the rule.
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join(FILE);
        let read = |source| ConfigError::Read {
            path: path.clone(),
            source,
        };
        let length = std::fs::metadata(&path).map_err(read)?.len();
        if length > MAX_FILE {
            return Err(ConfigError::TooLong { path, length });
        }
        let text = std::fs::read_to_string(&path).map_err(read)?;
        let parse = |source| ConfigError::Parse {
            path: path.clone(),
            source: Box::new(source),
        };
        let file: File = toml::from_str(&text).map_err(parse)?;
        Self::new(dir, file)
    }

    fn new(dir: &Path, file: File) -> Result<Self, ConfigError> {
        let config = Self {
            dir: dir.to_owned(),
            api: file.api,
            network: file.network,
            consensus: file.consensus,
            mempool: file.mempool,
            storage: file.storage,
            receipts: file.receipts,
            sync: file.sync,
        };
        config.check_consensus()?;
        config.check_bounds()?;
        Ok(config)
    }

    fn check_consensus(&self) -> Result<(), ConfigError> {
        let c = &self.consensus;
        within("consensus.delta_ms", c.delta_ms, 5, 60_000)?;
        within(
            "consensus.delta_max_ms",
            c.delta_max_ms,
            c.delta_ms,
            600_000,
        )?;
        within("consensus.heartbeat_ms", c.heartbeat_ms, 50, 60_000)?;
        within(
            "consensus.quiet_ms",
            c.quiet_ms,
            c.heartbeat_ms.saturating_mul(2),
            600_000,
        )?;
        within(
            "consensus.min_block_interval_ms",
            c.min_block_interval_ms,
            0,
            c.delta_ms / 2,
        )?;
        within(
            "consensus.cosign_heartbeat_ms",
            c.cosign_heartbeat_ms,
            1_000,
            3_600_000,
        )
    }

    fn check_bounds(&self) -> Result<(), ConfigError> {
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let pool = number(self.mempool.max_bytes);
        let least = number(MIN_POOL_BYTES);
        within(
            "api.max_body_bytes",
            number(self.api.max_body_bytes),
            1_024,
            number(MAX_BODY_BYTES),
        )?;
        within("api.max_requests", number(self.api.max_requests), 8, 65_536)?;
        within(
            "api.request_timeout_ms",
            self.api.request_timeout_ms,
            100,
            MAX_WAIT_MS,
        )?;
        within("mempool.max_bytes", pool, least, 4 * 1024 * 1024 * 1024)?;
        let share = number(self.mempool.max_bytes_per_authority);
        within("mempool.max_bytes_per_authority", share, least / 2, pool)?;
        let share = number(self.mempool.max_bytes_per_peer);
        within("mempool.max_bytes_per_peer", share, least / 2, pool)?;
        within(
            "storage.index_cache_bytes",
            self.storage.index_cache_bytes,
            1 << 20,
            1 << 40,
        )?;
        within(
            "storage.min_free_bytes",
            self.storage.min_free_bytes,
            1 << 20,
            u64::MAX,
        )?;
        within(
            "storage.stop_free_bytes",
            self.storage.stop_free_bytes(),
            0,
            self.storage.min_free_bytes,
        )?;
        within(
            "storage.segment_bytes",
            self.storage.segment_bytes,
            1 << 10,
            1 << 30,
        )?;
        within(
            "storage.scrub_mib_per_s",
            self.storage.scrub_mib_per_s,
            0,
            10_000,
        )?;
        within(
            "storage.scrub_pause_s",
            self.storage.scrub_pause_s,
            0,
            31_536_000,
        )?;
        let unproved = number(self.receipts.max_unproved_blocks);
        within("receipts.max_unproved_blocks", unproved, 16, 65_536)?;
        within("sync.peers", number(self.sync.peers), 1, 64)?;
        within("sync.ranges", number(self.sync.ranges), 1, 64)?;
        within("sync.range_blocks", self.sync.range_blocks.into(), 1, 1_024)?;
        within("sync.threads", number(self.sync.threads), 1, 64)
    }

    /// Folder of the data.
    pub fn data(&self) -> PathBuf {
        self.dir.join(&self.storage.data)
    }

    /// Folder of the key files.
    pub fn keys(&self) -> PathBuf {
        self.dir.join(&self.storage.keys)
    }

    /// The signed genesis.
    pub fn genesis(&self) -> PathBuf {
        self.dir.join(&self.storage.genesis)
    }
}

impl Api {
    /// [`Api::request_timeout_ms`] as a duration.
    pub const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

fn within(key: &'static str, value: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let (rule, value) = (format!("between {least} and {most}"), value.to_string());
    Err(ConfigError::Range { key, rule, value })
}

/// The commented file that `init` writes.
#[expect(clippy::too_many_lines, reason = "one text")]
pub fn template(network: &str, api: SocketAddr) -> String {
    let quoted = network.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        r#"# Configuration of nachweis-node. Every key is listed, with the value that is used. Paths are relative
# to this file's folder. What all nodes must agree on is in the genesis, not here. Older files may lack [sync], and in
# [storage] segment_bytes, scrub_… and stop_free_bytes (then a quarter of min_free_bytes): what stands here holds.

[api]
# Address of the HTTP API. It speaks plain HTTP: put a TLS proxy before it if it leaves this machine.
listen = "{api}"
# Longest request body, in bytes; at most {MAX_BODY_BYTES}.
max_body_bytes = {MAX_BODY_BYTES}
# Most requests answered at the same time; more are told to come back later (503).
max_requests = 512
# Time-out of a request that does not wait for a submission, in ms; at most {MAX_WAIT_MS}.
request_timeout_ms = 10000

[network]
# libp2p multiaddress to listen at. The peers' addresses are in the genesis.
listen = "{quoted}"

[consensus]
# Longest expected delay of one message between two validators, validation and fsync included, in ms:
# 150 suits a country, 30 one data centre. Nodes may differ.
delta_ms = 150
# Cap of the back-off, in ms; at least twice the real delay.
delta_max_ms = 2400
# Interval of the heartbeat to the peers, in ms.
heartbeat_ms = 2000
# Silence after which a leader is passed over, in ms; at least twice the heartbeat.
quiet_ms = 6000
# Least age of a block before the next one is proposed, in ms; at most delta_ms / 2. More = fewer, larger blocks.
min_block_interval_ms = 10
# Interval at which an idle node cosigns its newest checkpoint again, in ms.
cosign_heartbeat_ms = 60000

[mempool]
# Memory for pending submissions, in bytes: in all, of one authority, brought by one peer. Beyond: 429.
max_bytes = 67108864
max_bytes_per_authority = 33554432
max_bytes_per_peer = 16777216

[storage]
# Folder of journal, block archive, log and index.
data = "data"
# Folder of the key files (mode 0600).
keys = "keys"
# The genesis with its signatures.
genesis = "genesis.nachweis"
# Cache of the index, in bytes.
index_cache_bytes = 67108864
# Free bytes on the data disk below which the node does not start and takes no submissions (507).
min_free_bytes = 268435456
# Free bytes below which a running node stops by itself (exit code 75), so that no write meets a full disk;
# less than min_free_bytes.
stop_free_bytes = 67108864
# Length at which an archive segment is closed, in bytes.
segment_bytes = 67108864
# The oldest segments, up to this number, were moved to other storage. What else is missing is fetched from peers.
segments_away = 0
# The scrub reads all that is archived again and again, so that damage is found while peers can still repair it: its
# pace in MiB per second (0 = off), and the pause between two passes in seconds.
scrub_mib_per_s = 4
scrub_pause_s = 3600

[receipts]
# Final blocks (of 250,000 log entries at most) that may wait, in memory, while receipts are made for the newest provable one.
max_unproved_blocks = 1024

[sync]
# Fetching blocks while far behind, and as an observer: validators asked at the same time,
peers = 64
# ranges of blocks under way at a time, each of about 1 MiB,
ranges = 12
# most blocks of a range,
range_blocks = 512
# and threads that check signatures.
threads = 4
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        Config::load(dir.path())
    }

    fn default_text() -> String {
        template("/ip4/127.0.0.1/tcp/7000", "127.0.0.1:8080".parse().unwrap())
    }

    #[test]
    fn the_written_file_is_a_valid_configuration() {
        let config = parse(&default_text()).unwrap();
        assert_eq!(config.api.max_body_bytes, MAX_BODY_BYTES);
        assert_eq!(config.mempool.max_bytes, 64 * 1024 * 1024);
        assert!(config.consensus.min_block_interval_ms <= config.consensus.delta_ms / 2);
    }

    #[test]
    fn every_key_of_the_written_file_is_documented() {
        let mut explained = false;
        for line in default_text().lines() {
            let key = line.contains(" = ");
            assert!(!key || explained, "{line} has no comment above it");
            explained = line.starts_with('#') || (key && explained);
        }
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let slow =
            default_text().replace("min_block_interval_ms = 10", "min_block_interval_ms = 76");
        let refused = parse(&slow).unwrap_err().to_string();
        assert_eq!(
            refused,
            "consensus.min_block_interval_ms must be between 0 and 75, not 76"
        );
        let big = default_text().replace("max_body_bytes = 4194304", "max_body_bytes = 4194305");
        assert!(
            parse(&big)
                .unwrap_err()
                .to_string()
                .starts_with("api.max_body_bytes must be")
        );
    }

    #[test]
    fn unknown_and_missing_keys_are_refused() {
        let unknown = default_text().replace("[network]", "[network]\nlisten_twice = 1");
        assert!(matches!(parse(&unknown), Err(ConfigError::Parse { .. })));
        let missing = default_text().replace("delta_ms = 150", "");
        assert!(matches!(parse(&missing), Err(ConfigError::Parse { .. })));
    }

    #[test]
    fn a_file_of_an_older_version_gives_what_init_writes() {
        let later = [
            "stop_free_bytes",
            "segment_bytes",
            "segments_away",
            "scrub_mib_per_s",
            "scrub_pause_s",
        ];
        let text = default_text();
        let (before_sync, _) = text.split_once("\n[sync]").unwrap();
        let is_later = |line: &&str| later.iter().any(|key| line.starts_with(key));
        let older: Vec<&str> = before_sync.lines().filter(|line| !is_later(line)).collect();
        assert_eq!(older.len() + later.len(), before_sync.lines().count());
        let (older, mut new) = (parse(&older.join("\n")).unwrap(), parse(&text).unwrap());
        assert_eq!(
            older.storage.stop_free_bytes(),
            new.storage.stop_free_bytes()
        );
        new.storage.stop_free_bytes = None;
        assert_eq!((older.storage, older.sync), (new.storage, new.sync));
    }

    #[test]
    fn an_older_file_with_a_small_reserve_is_taken() {
        let small = default_text()
            .replace("min_free_bytes = 268435456", "min_free_bytes = 1048576")
            .replace("stop_free_bytes = 67108864", "");
        assert_eq!(parse(&small).unwrap().storage.stop_free_bytes(), 262_144);
    }
}
