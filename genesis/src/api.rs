//! The JSON of a node's HTTP API: what a node writes and a client reads, its own types beside the ledger's.
//!
//! Hashes and keys are lower-case hex, document ids `NW-…`, times integers of milliseconds, indices integers.

use serde::{Deserialize, Serialize};

/// `{"error": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong, for machines and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// Kebab-case, stable.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What a person can do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// Where a submission stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Pending, and pushed to the other validators.
    Accepted,
    /// In a final block.
    Final,
    /// Covered by a checkpoint that a quorum cosigned.
    Provable,
    /// Not taken, or fallen out of the pool.
    Refused,
    /// Not as far as was asked for when the time was over; it may get there.
    Timeout,
}

/// The outcome for one submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Its hash; empty if its bytes are no submission.
    pub submission: String,
    /// Where it stands.
    pub state: Standing,
    /// Height of its block.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub height: Option<u64>,
    /// Time of its block.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time_ms: Option<u64>,
    /// Log index of its first record.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_index: Option<u64>,
    /// Number of its records.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub count: Option<u64>,
    /// Size of the checkpoint that proves it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size: Option<u64>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<ErrorDetail>,
}

/// Answer to `POST /v1/submissions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmissionResults {
    /// One for each submission of the request, in its order.
    pub results: Vec<Submitted>,
}

/// A checkpoint, by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointSummary {
    /// Leaves of the tree.
    pub size: u64,
    /// Block time.
    pub time_ms: u64,
    /// Block height.
    pub height: u64,
}

/// Answer to `GET /v1/documents/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Document id.
    pub id: String,
    /// Log index of the registration.
    pub registration: u64,
    /// `register`, `derive` or `publish`.
    pub record: String,
    /// Authority that registered it.
    pub authority: String,
    /// `in-force`, `superseded` or `revoked`.
    pub lifecycle: String,
    /// Id of the successor of a superseded document.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub successor: Option<String>,
    /// Code of a revocation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<u8>,
    /// Outcome code of a retired document.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retired: Option<u8>,
    /// Reason code of a suspended document.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub suspended: Option<u8>,
    /// Authority that issued it.
    pub issuer: String,
    /// Authority that is responsible for it.
    pub responsible: String,
    /// Authorities that hold it.
    pub holders: Vec<String>,
    /// Number of open disputes.
    pub disputes: u64,
    /// As of this final block.
    pub checkpoint: CheckpointSummary,
}

/// One record of a document's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Log index.
    pub index: u64,
    /// Block height.
    pub height: u64,
    /// Block time.
    pub time_ms: u64,
    /// Authority that wrote it.
    pub authority: String,
    /// Key that signed it.
    pub key: String,
    /// Name of the record.
    pub record: String,
    /// Its codes and references.
    pub detail: serde_json::Value,
}

/// Answer to `GET /v1/documents/{id}/history`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Document id.
    pub id: String,
    /// At most 1,000 records in log order.
    pub records: Vec<HistoryEntry>,
}

/// Body of `POST /v1/receipts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptsRequest {
    /// At most 1,000 document ids.
    pub documents: Vec<String>,
}

/// One receipt, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptResult {
    /// Document id, as asked.
    pub document: String,
    /// The tlog-proof with its public parts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receipt: Option<String>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<ErrorDetail>,
}

/// Answer to `POST /v1/receipts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptsAnswer {
    /// One for each document, in the order of the request, all against one checkpoint.
    pub receipts: Vec<ReceiptResult>,
}

/// Answer to `GET /v1/keys/{key}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// The key.
    pub key: String,
    /// Whose it is.
    pub authority: String,
    /// Role mask.
    pub role: u8,
    /// Log index of its Enrol; 0 for the genesis.
    pub enrolled: u64,
    /// Last block time at which it may sign; 0 = no end.
    pub not_after_ms: u64,
    /// Log index of its RetireKey.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retired: Option<u64>,
    /// From this log index on its signatures are doubtful.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub compromised_since: Option<u64>,
}

/// Answer to `GET /v1/blocks/{height}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockSummary {
    /// Height.
    pub height: u64,
    /// Block hash.
    pub hash: String,
    /// Parent's hash.
    pub parent: String,
    /// Epoch.
    pub epoch: u64,
    /// View in which it was first proposed.
    pub view: u64,
    /// Authority that proposed it.
    pub proposer: String,
    /// Block time.
    pub time_ms: u64,
    /// Leaves of the log after it.
    pub log_size: u64,
    /// Root of the log after it.
    pub log_root: String,
    /// Root of the status map after it.
    pub status_root: String,
    /// Bytes of its body.
    pub body_len: u32,
    /// Hashes of its submissions.
    pub submissions: Vec<String>,
    /// Contradictions of validators that it records.
    pub evidence: Vec<Accusation>,
}

/// Evidence on the chain: a validator signed two votes that exclude each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accusation {
    /// Whose validator.
    pub authority: String,
    /// Its place in the validator set.
    pub validator: u16,
    /// Epoch of both votes.
    pub epoch: u64,
    /// View of both votes.
    pub view: u64,
    /// What it voted: `notarize`, `nullify` or `finalize`, twice.
    pub votes: [String; 2],
}

/// One of `GET /v1/authorities`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityInfo {
    /// Position in order of admission.
    pub index: u16,
    /// Short id.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Admin key.
    pub admin: String,
    /// Its validator, if it runs one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub validator: Option<ValidatorInfo>,
}

/// An authority's validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorInfo {
    /// Vote key.
    pub vote: String,
    /// Cosigner key.
    pub cosigner: String,
    /// Log key.
    pub log: String,
    /// Network key.
    pub network: String,
    /// libp2p multiaddresses.
    pub addresses: Vec<String>,
}

/// Answer to `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The chain.
    pub chain: String,
    /// The authority that runs this node.
    pub authority: String,
    /// Newest final block.
    pub height: u64,
    /// Its time.
    pub time_ms: u64,
    /// Leaves of the log.
    pub log_size: u64,
    /// Size of the newest checkpoint that a quorum cosigned.
    pub provable_size: u64,
    /// What a person must look at, the newest of all since the node began.
    #[serde(default)]
    pub alarm: Option<String>,
    /// Why this node cosigns nothing, and what to do.
    #[serde(default)]
    pub unguarded: Option<String>,
    /// While no quorum cosigned the newest block: the authorities whose validators have not.
    #[serde(default)]
    pub missing_cosigners: Vec<String>,
    /// Current view.
    pub view: u64,
    /// Current epoch.
    pub epoch: u64,
    /// Whether this node votes, and if not, why: for people. Empty from a node that is older than this field.
    #[serde(default)]
    pub standing: String,
    /// The disk of its data.
    #[serde(default)]
    pub disk: DiskInfo,
    /// The other validators.
    pub peers: Vec<PeerInfo>,
    /// Pending submissions.
    pub pool: u64,
    /// What is known of the archived blocks on this node's disk.
    pub archive: ArchiveInfo,
    /// Program version.
    pub version: String,
}

/// The disk that a node's data lie on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskInfo {
    /// Bytes free; none if the system does not say.
    pub free_bytes: Option<u64>,
    /// Below these it takes no submissions, and does not start.
    pub min_free_bytes: u64,
}

/// The archived blocks on a node's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveInfo {
    /// Damage that is not repaired yet, by place.
    pub damaged: Vec<String>,
    /// Segments that are not on this disk.
    pub away: Vec<String>,
    /// Blocks repaired from peers since the start.
    pub repaired_blocks: u64,
    /// Block that the scrub read last.
    pub scrub_height: u64,
    /// Its whole passes since the start.
    pub scrub_passes: u64,
    /// What it found to be damaged since the start.
    pub scrub_findings: u64,
}

/// Another validator as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its authority.
    pub authority: String,
    /// Whether a connection stands.
    pub connected: bool,
    /// Its newest final block, as last heard.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub height: Option<u64>,
}
