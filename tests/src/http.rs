//! The smallest HTTP client that a test needs: one request, one answer, the connection closed.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer: status code, head and body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// Status line and headers, as sent.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// GET, with a time-out of 10 seconds.
///
/// # Errors
/// If nobody answers in time or what comes is not HTTP.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    get_within(address, path, Duration::from_secs(10))
}

/// GET, with a time-out.
///
/// # Errors
/// As [`get`].
pub fn get_within(address: SocketAddr, path: &str, patience: Duration) -> io::Result<Answer> {
    let head = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    exchange(address, &head, &[], patience)
}

/// POST, with a time-out of 70 seconds to read the answer.
///
/// # Errors
/// If nobody answers in time or what comes is not HTTP.
pub fn post(address: SocketAddr, path: &str, kind: &str, body: &[u8]) -> io::Result<Answer> {
    post_within(address, path, kind, body, Duration::from_secs(70))
}

/// POST, with a time-out to read the answer.
///
/// # Errors
/// As [`post`].
pub fn post_within(
    address: SocketAddr,
    path: &str,
    kind: &str,
    body: &[u8],
    patience: Duration,
) -> io::Result<Answer> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    exchange(address, &head, body, patience)
}

fn exchange(
    address: SocketAddr,
    head: &str,
    body: &[u8],
    patience: Duration,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(head.as_bytes())?;
    // A server may answer and close before it has read a body that it refuses.
    let sent = stream.write_all(body);
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    parse(bytes).or_else(|error| {
        sent?;
        read?;
        Err(error)
    })
}

fn parse(bytes: Vec<u8>) -> io::Result<Answer> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    let end = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(broken)?;
    Ok(Answer {
        status,
        head,
        body: bytes[end + 4..].to_vec(),
    })
}
