//! A node's HTTP API (design.md, section 9). The only module that names HTTP.
//!
//! Nothing that comes from here is believed: receipts are verified, everything else is shown as what a node
//! says. Several nodes are tried in turn; the one that answered is asked first the next time. Every wait has
//! an end and every answer a largest size.

mod transport;

pub use genesis::api as types;
pub use transport::NoAnswer;
pub use types::{Standing, Submitted};

use ledger::document::DocumentId;
use ledger::frame::MAX_PAYLOAD_LEN;
use ledger::id::{Epoch, Height};
use ledger::note::MAX_NOTE;
use ledger::restart::MAX_RESTART_LEN;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use transport::{Request, Transport};
use types::{
    AuthorityInfo, Document, ErrorDetail, History, KeyInfo, ReceiptResult, ReceiptsAnswer,
    ReceiptsRequest, Status, SubmissionResults,
};

/// Most receipts of one request.
pub const MAX_RECEIPTS: usize = 1000;
/// Longest body of a request for submissions, in bytes.
pub const MAX_BODY: usize = 4 * 1024 * 1024;
/// Longest answer with receipts: the most of them at their hard cap, base64 included.
const MAX_RECEIPTS_ANSWER: usize = MAX_RECEIPTS * 64 * 1024;
/// Longest other answer, in bytes.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// How far a submission must be before the node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Pending, and pushed to the other validators.
    Accepted,
    /// In a final block.
    Final,
    /// Covered by a quorum-cosigned checkpoint.
    Provable,
}

impl Wait {
    const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Final => "final",
            Self::Provable => "provable",
        }
    }
}

/// A node did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A node's address is none.
    #[error("{url:?} is no address of a node: {problem}")]
    Url {
        /// As configured.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// HTTP cannot be used on this computer.
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] reqwest::Error),
    /// Nobody answered in time.
    #[error("could not reach a node: {0}")]
    Unavailable(NoAnswer),
    /// It has no time or room now.
    #[error("the node cannot answer now: {}", detail.message)]
    Busy {
        /// What it said.
        detail: ErrorDetail,
    },
    /// It does not know what was asked for.
    #[error("{}", detail.message)]
    NotFound {
        /// What it said.
        detail: ErrorDetail,
    },
    /// It refuses.
    #[error("the node refuses: {}", detail.message)]
    Refused {
        /// What it said.
        detail: ErrorDetail,
    },
    /// The answer is not one of this API.
    #[error("the answer of {node} is not understood: {problem}")]
    Answer {
        /// Which node.
        node: String,
        /// What is wrong.
        problem: String,
    },
    /// More than one request can carry.
    #[error("{bytes} bytes of submissions are over the limit of {MAX_BODY} of one request")]
    TooLong {
        /// How many.
        bytes: usize,
    },
}

impl ApiError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Url { .. } => Some(
                "an address looks like http://127.0.0.1:8080; it is `node` in the configuration"
                    .into(),
            ),
            Self::Unavailable(_) => {
                Some("is the node running? its address is `node` in the configuration".into())
            }
            Self::Busy { detail } | Self::NotFound { detail } | Self::Refused { detail } => {
                detail.hint.clone()
            }
            Self::Answer { .. } => Some("is this the address of a Nachweis node?".into()),
            Self::Setup(_) | Self::TooLong { .. } => None,
        }
    }
}

/// The API of one or several nodes of a network. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api(Arc<Transport>);

impl Api {
    /// An API at these addresses, tried in turn; each may stay silent for `timeout_s` seconds.
    ///
    /// # Errors
    /// [`ApiError::Url`], [`ApiError::Setup`].
    pub fn new(nodes: &[String], timeout_s: u64) -> Result<Self, ApiError> {
        let timeout = Duration::from_secs(timeout_s);
        Ok(Self(Arc::new(Transport::new(nodes, timeout)?)))
    }

    /// How long a node may stay silent.
    pub fn timeout(&self) -> Duration {
        self.0.timeout()
    }

    async fn json<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<T, ApiError> {
        let bytes = self.0.ask(request).await?;
        serde_json::from_slice(&bytes).map_err(|error| ApiError::Answer {
            node: self.node(),
            problem: error.to_string(),
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.json(&Request::get(path, self.0.timeout(), MAX_ANSWER))
            .await
    }

    /// The node that answered last.
    pub fn node(&self) -> String {
        self.0.node()
    }

    /// Posts signed submissions and waits until all are as far as asked for, for at most `patience_ms`. Posting
    /// the same bytes again is harmless, and waits again.
    ///
    /// # Errors
    /// [`ApiError`]: whether they were taken is not known then, unless it is a refusal.
    pub async fn submit(
        &self,
        submissions: &[&[u8]],
        wait: Wait,
        patience_ms: u64,
    ) -> Result<Vec<Submitted>, ApiError> {
        let bytes: usize = submissions.iter().map(|one| one.len() + 4).sum();
        if bytes > MAX_BODY {
            return Err(ApiError::TooLong { bytes });
        }
        let mut body = Vec::with_capacity(bytes);
        for one in submissions {
            let length = u32::try_from(one.len()).map_err(|_over| ApiError::TooLong { bytes })?;
            body.extend_from_slice(&length.to_le_bytes());
            body.extend_from_slice(one);
        }
        let path = format!(
            "/v1/submissions?wait={}&timeout_ms={patience_ms}",
            wait.name()
        );
        let request = Request {
            path: &path,
            body: Some(("application/octet-stream", body)),
            timeout: Duration::from_millis(patience_ms) + self.0.timeout(),
            limit: MAX_ANSWER,
        };
        let answer: SubmissionResults = self.json(&request).await?;
        if answer.results.len() == submissions.len() {
            return Ok(answer.results);
        }
        let (asked, got) = (submissions.len(), answer.results.len());
        Err(ApiError::Answer {
            node: self.node(),
            problem: format!("{got} results for {asked} submissions"),
        })
    }

    /// Receipts of documents, all against one checkpoint, in the order asked for, within `patience`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn receipts(
        &self,
        documents: &[DocumentId],
        patience: Duration,
    ) -> Result<Vec<ReceiptResult>, ApiError> {
        let ids: Vec<String> = documents.iter().map(ToString::to_string).collect();
        let asked = ReceiptsRequest {
            documents: ids.clone(),
        };
        let unreadable = |problem: String| ApiError::Answer {
            node: self.node(),
            problem,
        };
        let body = serde_json::to_vec(&asked).map_err(|error| unreadable(error.to_string()))?;
        let request = Request {
            path: "/v1/receipts",
            body: Some(("application/json", body)),
            // All nodes together: a person waits for the answer.
            timeout: patience / u32::try_from(self.0.count().max(1)).unwrap_or(1),
            limit: MAX_RECEIPTS_ANSWER,
        };
        let answer: ReceiptsAnswer = self.json(&request).await?;
        let in_order = answer.receipts.iter().map(|one| &one.document).eq(&ids);
        if in_order {
            Ok(answer.receipts)
        } else {
            Err(unreadable("its receipts are for other documents".into()))
        }
    }

    /// What a node says about a document.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not know it, or others.
    pub async fn document(&self, id: &DocumentId) -> Result<Document, ApiError> {
        self.get(&format!("/v1/documents/{id}")).await
    }

    /// What a node says happened to a document.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not know it, or others.
    pub async fn history(&self, id: &DocumentId) -> Result<History, ApiError> {
        self.get(&format!("/v1/documents/{id}/history")).await
    }

    /// What a node says about a registrar key.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not know it, or others.
    pub async fn key(&self, key: &ledger::key::Key) -> Result<KeyInfo, ApiError> {
        self.get(&format!("/v1/keys/{key}")).await
    }

    /// The authorities of the network, as a node says.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn authorities(&self) -> Result<Vec<AuthorityInfo>, ApiError> {
        self.get("/v1/authorities").await
    }

    /// A final block with its finalization, as the node's archive keeps it.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] above the node's newest block, or others.
    pub async fn block(&self, height: Height) -> Result<Vec<u8>, ApiError> {
        let path = format!("/v1/blocks/{height}?raw");
        let request = Request::get(&path, self.0.timeout(), MAX_PAYLOAD_LEN);
        self.0.ask(&request).await
    }

    /// The newest checkpoint with its cosignatures, as a note.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is none yet, or others.
    pub async fn checkpoint(&self) -> Result<Vec<u8>, ApiError> {
        let request = Request::get("/log/checkpoint", self.0.timeout(), MAX_NOTE);
        self.0.ask(&request).await
    }

    /// The restart file that opened an epoch, or the lowest one above it.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if no restart did, or others.
    pub async fn restart(&self, epoch: Epoch) -> Result<Vec<u8>, ApiError> {
        let path = format!("/v1/restarts/{epoch}");
        let request = Request::get(&path, self.0.timeout(), MAX_RESTART_LEN);
        self.0.ask(&request).await
    }

    /// A node's own state.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn status(&self) -> Result<Status, ApiError> {
        self.get("/v1/status").await
    }
}
