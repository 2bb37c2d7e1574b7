//! What holds for every request: its size, its time, how many at once; and the answer where there is no route.

use super::App;
use super::error::ApiError;
use super::listener::Answering;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CONTENT_LENGTH, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use std::time::Duration;

/// The route that waits by itself, and so has its own time-outs.
const WAITS: &str = "/v1/submissions";

/// Refuses a body that is announced too long before reading any of it, bounds the time, counts the answer.
pub(super) async fn every_request(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Response {
    let connection: Option<&ConnectInfo<Answering>> = request.extensions().get();
    let answering = connection.map(|connection| connection.0.clone());
    answering.iter().for_each(Answering::begin);
    let taken = announced(&request, app.config.max_body_bytes);
    let response = match taken.and_then(|()| readable(request.uri())) {
        Err(refused) => refused.into_response(),
        Ok(()) if request.uri().path() == WAITS => next.run(request).await,
        Ok(()) => in_time(app.config.request_timeout(), next.run(request)).await,
    };
    answering.iter().for_each(Answering::end);
    app.metrics.requests.count(class(response.status()));
    response
}

/// Answers at most as many requests at once as the configuration says.
pub(super) async fn concurrency(State(app): State<App>, request: Request, next: Next) -> Response {
    let Ok(permit) = Arc::clone(&app.0.requests).try_acquire_owned() else {
        let limit = app.config.max_requests;
        let message = format!("{limit} requests are being answered, which is the limit");
        let busy = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
            .hint("try again in a second, or ask another node");
        let mut response = busy.into_response();
        let soon = HeaderValue::from_static("1");
        response.headers_mut().insert(RETRY_AFTER, soon);
        return response;
    };
    let response = next.run(request).await;
    drop(permit);
    response
}

/// What is answered from the index waits for it.
pub(super) async fn index(State(app): State<App>, request: Request, next: Next) -> Response {
    match needs_index(&app) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// 503 while the index is being made again.
pub(super) fn needs_index(app: &App) -> Result<(), ApiError> {
    let Some(making) = &app.making else {
        return Ok(());
    };
    let (at, of) = making.progress();
    let message = format!(
        "this node makes its index again and is at block {at} of {of}; until then it serves blocks, hash tiles and the checkpoint alone"
    );
    let refused = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "index-rebuilding", message);
    Err(refused.hint("ask another node, or try again when /readyz says ready"))
}

async fn in_time(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    match tokio::time::timeout(limit, answer).await {
        Ok(response) => response,
        Err(_elapsed) => too_slow(limit).into_response(),
    }
}

fn too_slow(limit: Duration) -> ApiError {
    let message = format!(
        "the request was not answered within {} ms",
        limit.as_millis()
    );
    ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
        .hint("send less at once, or ask another node")
}

fn announced(request: &Request, limit: usize) -> Result<(), ApiError> {
    let Some(length) = request.headers().get(CONTENT_LENGTH) else {
        return Ok(());
    };
    let length = length
        .to_str()
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    match length {
        Some(length) if length <= u64::try_from(limit).unwrap_or(u64::MAX) => Ok(()),
        Some(length) => Err(too_large(Some(length), limit)),
        None => Err(ApiError::malformed("content-length is not a number")),
    }
}

/// Refuses a path whose escapes are not text: no route has such a name, and no extractor is to say so in its own words.
fn readable(uri: &Uri) -> Result<(), ApiError> {
    let mut bytes = Vec::new();
    let mut rest = uri.path().as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.first_chunk::<2>().filter(|_| *first == b'%');
        let escaped = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = match escaped {
            Some(_) => behind.get(2..).unwrap_or_default(),
            None => behind,
        };
    }
    match std::str::from_utf8(&bytes) {
        Ok(_) => Ok(()),
        Err(_) => Err(ApiError::malformed("the path is not UTF-8")),
    }
}

fn too_large(length: Option<u64>, limit: usize) -> ApiError {
    let length = length.map_or_else(String::new, |length| format!(" of {length} bytes"));
    let message = format!("a request body{length} is over the limit of {limit} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message)
        .hint("send fewer records at once")
}

/// Reads a whole body, within limit and time.
pub(super) async fn read_body(app: &App, body: Body) -> Result<Bytes, ApiError> {
    let (limit, time) = (app.config.max_body_bytes, app.config.request_timeout());
    match tokio::time::timeout(time, to_bytes(body, limit)).await {
        Err(_elapsed) => Err(too_slow(time)),
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if over_limit(&error) => Err(too_large(None, limit)),
        Ok(Err(_broken)) => Err(ApiError::malformed("the request body ended early")),
    }
}

/// A body without an announced length is over the limit only once it was read so far.
fn over_limit(error: &axum::Error) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if error.to_string().contains("length limit exceeded") {
            return true;
        }
        source = error.source();
    }
    false
}

/// 404 for a path that is none.
pub(super) async fn no_route(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    let message = format!("there is nothing at {path}");
    ApiError::new(StatusCode::NOT_FOUND, "no-route", message).hint("GET / lists the routes")
}

/// 405 for a method that a route does not have.
pub(super) async fn no_method(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    let message = format!("{path} does not take this method");
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "no-method", message)
        .hint("GET / lists the routes with their methods")
}

const fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}
