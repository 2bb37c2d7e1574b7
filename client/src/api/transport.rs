//! One request to one node after the other, bounded in time and size.

use super::ApiError;
use super::types::{ErrorBody, ErrorDetail, SubmissionResults, Submitted};
use reqwest::{Method, StatusCode, Url, redirect};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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

/// The nodes, and which of them answered last.
#[derive(Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    nodes: Vec<String>,
    current: AtomicUsize,
    timeout: Duration,
}

/// One request, to be sent to one node after the other.
pub(super) struct Request<'a> {
    /// Path and query.
    pub(super) path: &'a str,
    /// Media type and bytes, which make it a POST.
    pub(super) body: Option<(&'static str, Vec<u8>)>,
    /// How long one node may take.
    pub(super) timeout: Duration,
    /// The longest answer, in bytes.
    pub(super) limit: usize,
}

impl<'a> Request<'a> {
    pub(super) const fn get(path: &'a str, timeout: Duration, limit: usize) -> Self {
        Self {
            path,
            body: None,
            timeout,
            limit,
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

impl Transport {
    pub(super) fn new(nodes: &[String], timeout: Duration) -> Result<Self, ApiError> {
        let nodes = nodes
            .iter()
            .map(|url| check_url(url))
            .collect::<Result<Vec<_>, _>>()?;
        // An error means that this process has a provider already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(timeout)
            .build()
            .map_err(ApiError::Setup)?;
        Ok(Self {
            http,
            nodes,
            current: AtomicUsize::new(0),
            timeout,
        })
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// The node that answered last.
    pub(super) fn node(&self) -> String {
        let at = self.current.load(Ordering::Relaxed);
        self.nodes.get(at).cloned().unwrap_or_default()
    }

    /// The first answer that another node could not better.
    pub(super) async fn ask(&self, request: &Request<'_>) -> Result<Vec<u8>, ApiError> {
        let count = self.nodes.len();
        let first = self.current.load(Ordering::Relaxed);
        let mut silent = Vec::new();
        let mut other = None;
        for step in 0..count {
            let at = (first + step) % count;
            let node = &self.nodes[at];
            match self.ask_one(node, request).await {
                Outcome::Done(bytes) => {
                    self.current.store(at, Ordering::Relaxed);
                    return Ok(bytes);
                }
                Outcome::Stop(error) => {
                    self.current.store(at, Ordering::Relaxed);
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
        let method = match request.body {
            Some(_) => Method::POST,
            None => Method::GET,
        };
        let mut builder = self.http.request(method, url).timeout(request.timeout);
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
