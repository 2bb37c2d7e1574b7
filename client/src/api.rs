//! A node's HTTP API (design.md, section 9). The only module that names HTTP.
//!
//! Nothing that comes from here is believed: receipts are verified, everything else is shown as what a node
//! says. Several nodes are tried in turn; the one that answered is asked first the next time. Every wait has
//! an end and every answer a largest size.

pub mod types;

pub use types::{Standing, Submitted};

use ledger::document::DocumentId;
use reqwest::{Method, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use types::{
    AuthorityInfo, Document, ErrorBody, ErrorDetail, History, KeyInfo, ReceiptResult,
    ReceiptsAnswer, ReceiptsRequest, Status, SubmissionResults,
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
    #[error("the node is busy: {}", detail.message)]
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

/// Who did not answer, and why.
#[derive(Debug)]
pub struct NoAnswer(Vec<(String, String)>);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (node, why)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{node} {why}")?;
        }
        Ok(())
    }
}

/// The API of one or several nodes of a network. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    nodes: Vec<String>,
    current: AtomicUsize,
    timeout: Duration,
}

/// One request, to be sent to one node after the other.
struct Request<'a> {
    method: Method,
    path: &'a str,
    body: Option<(&'static str, Vec<u8>)>,
    timeout: Duration,
    limit: usize,
}

impl<'a> Request<'a> {
    const fn get(path: &'a str, timeout: Duration) -> Self {
        Self {
            method: Method::GET,
            path,
            body: None,
            timeout,
            limit: MAX_ANSWER,
        }
    }
}

/// What one node answered.
enum Outcome {
    /// An answer with these bytes.
    Done(Vec<u8>),
    /// Another node may do better.
    Next(ApiError),
    /// A definite no.
    Stop(ApiError),
}

impl Api {
    /// An API at these addresses, tried in turn; each may stay silent for `timeout_s` seconds.
    ///
    /// # Errors
    /// [`ApiError::Url`], [`ApiError::Setup`].
    pub fn new(nodes: &[String], timeout_s: u64) -> Result<Self, ApiError> {
        let nodes = nodes
            .iter()
            .map(|url| check_url(url))
            .collect::<Result<Vec<_>, _>>()?;
        // An error means that this process has a provider already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let timeout = Duration::from_secs(timeout_s);
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(timeout)
            .build()
            .map_err(ApiError::Setup)?;
        Ok(Self(Arc::new(Inner {
            http,
            nodes,
            current: AtomicUsize::new(0),
            timeout,
        })))
    }

    /// How long a node may stay silent.
    pub fn timeout(&self) -> Duration {
        self.0.timeout
    }

    async fn ask(&self, request: &Request<'_>) -> Result<Vec<u8>, ApiError> {
        let count = self.0.nodes.len();
        let first = self.0.current.load(Ordering::Relaxed);
        let mut silent = Vec::new();
        let mut other = None;
        for step in 0..count {
            let at = (first + step) % count;
            let node = &self.0.nodes[at];
            match self.ask_one(node, request).await {
                Outcome::Done(bytes) => {
                    self.0.current.store(at, Ordering::Relaxed);
                    return Ok(bytes);
                }
                Outcome::Stop(error) => {
                    self.0.current.store(at, Ordering::Relaxed);
                    return Err(error);
                }
                Outcome::Next(ApiError::Unavailable(NoAnswer(more))) => silent.extend(more),
                Outcome::Next(error) => other = Some(error),
            }
        }
        Err(other.unwrap_or(ApiError::Unavailable(NoAnswer(silent))))
    }

    async fn ask_one(&self, node: &str, request: &Request<'_>) -> Outcome {
        let url = format!("{node}{}", request.path);
        let mut builder = self
            .0
            .http
            .request(request.method.clone(), url)
            .timeout(request.timeout);
        if let Some((kind, body)) = &request.body {
            builder = builder.header("content-type", *kind).body(body.clone());
        }
        let response = match builder.send().await {
            Ok(response) => response,
            Err(error) => return Outcome::Next(no_answer(node, &error, request.timeout)),
        };
        let status = response.status();
        let bytes = match read_bounded(response, request.limit).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                let problem = format!("it is over {} bytes long", request.limit);
                let node = node.into();
                return Outcome::Next(ApiError::Answer { node, problem });
            }
            Err(error) => return Outcome::Next(no_answer(node, &error, request.timeout)),
        };
        if status.is_success() {
            return Outcome::Done(bytes);
        }
        failure(node, status, &bytes)
    }

    async fn json<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<T, ApiError> {
        let bytes = self.ask(request).await?;
        serde_json::from_slice(&bytes).map_err(|error| ApiError::Answer {
            node: self.node(),
            problem: error.to_string(),
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.json(&Request::get(path, self.0.timeout)).await
    }

    /// The node that answered last.
    pub fn node(&self) -> String {
        let at = self.0.current.load(Ordering::Relaxed);
        self.0.nodes.get(at).cloned().unwrap_or_default()
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
            method: Method::POST,
            path: &path,
            body: Some(("application/octet-stream", body)),
            timeout: Duration::from_millis(patience_ms) + self.0.timeout,
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
            method: Method::POST,
            path: "/v1/receipts",
            body: Some(("application/json", body)),
            // All nodes together: a person waits for the answer.
            timeout: patience / u32::try_from(self.0.nodes.len().max(1)).unwrap_or(1),
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

    /// A node's own state.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn status(&self) -> Result<Status, ApiError> {
        self.get("/v1/status").await
    }
}

/// The address without a slash at its end.
fn check_url(url: &str) -> Result<String, ApiError> {
    let refused = |problem: &str| ApiError::Url {
        url: url.into(),
        problem: problem.into(),
    };
    let parsed = Url::parse(url).map_err(|error| refused(&error.to_string()))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(refused("it does not begin with http:// or https://"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(refused("it contains a user name or password"));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(refused("it has a query or a fragment"));
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

fn no_answer(node: &str, error: &reqwest::Error, timeout: Duration) -> ApiError {
    let why = if error.is_timeout() {
        format!("did not answer in {} s", timeout.as_secs().max(1))
    } else if error.is_connect() {
        "refused the connection".into()
    } else {
        "broke off".into()
    };
    ApiError::Unavailable(NoAnswer(vec![(node.to_owned(), why)]))
}

/// The body, or `None` if it is longer than `limit`.
async fn read_bounded(
    mut response: reqwest::Response,
    limit: usize,
) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// Whether the node has no time or room now.
const fn is_busy(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::INSUFFICIENT_STORAGE
    )
}

fn failure(node: &str, status: StatusCode, bytes: &[u8]) -> Outcome {
    // Results of submissions come with the status of the worst of them.
    if let Ok(answer) = serde_json::from_slice::<SubmissionResults>(bytes) {
        return match answer.results.as_slice() {
            [
                Submitted {
                    error: Some(detail),
                    ..
                },
            ] if is_busy(status) => Outcome::Next(ApiError::Busy {
                detail: detail.clone(),
            }),
            _ => Outcome::Done(bytes.to_vec()),
        };
    }
    let told = serde_json::from_slice::<ErrorBody>(bytes).map(|body| body.error);
    let detail = told.unwrap_or_else(|_not_json| ErrorDetail {
        code: "unknown".into(),
        message: format!("{node} answered {status}"),
        hint: None,
    });
    match status {
        StatusCode::NOT_FOUND => Outcome::Stop(ApiError::NotFound { detail }),
        _ if is_busy(status) => Outcome::Next(ApiError::Busy { detail }),
        _ if status.is_client_error() => Outcome::Stop(ApiError::Refused { detail }),
        _ => {
            let why = format!("answered {status}");
            Outcome::Next(ApiError::Unavailable(NoAnswer(vec![(node.into(), why)])))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_http_without_secrets() {
        assert_eq!(check_url("http://n:80/").unwrap(), "http://n");
        assert_eq!(
            check_url("https://n:8443/nachweis/").unwrap(),
            "https://n:8443/nachweis"
        );
        for bad in ["n:80", "ftp://n", "http://u:p@n", "http://n?x", ""] {
            assert!(matches!(check_url(bad), Err(ApiError::Url { .. })), "{bad}");
        }
    }
}
