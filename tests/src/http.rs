//! The smallest HTTP client that a test needs: one request, one answer, the connection closed; or, for who asks many
//! times a second, kept.

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

/// A connection that is kept for the next question.
///
/// A closed one stays in the kernel's table for a minute, and whoever asks 40 times a second leaves thousands there.
#[derive(Debug)]
pub struct Kept {
    address: SocketAddr,
    patience: Duration,
    stream: Option<TcpStream>,
}

impl Kept {
    /// Connects with the first question.
    pub const fn new(address: SocketAddr, patience: Duration) -> Self {
        Self {
            address,
            patience,
            stream: None,
        }
    }

    /// GET.
    ///
    /// # Errors
    /// As [`get`]; the next question finds a new connection.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address, self.patience)?,
        };
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut bytes = Vec::new();
        let mut part = [0; 4_096];
        while !is_whole(&bytes) {
            let read = stream.read(&mut part)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&part[..read]);
        }
        self.stream = Some(stream);
        parse(bytes)
    }
}

/// Whether an answer is there to its end.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let mut lines = head.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    bytes.len() >= end + 4 + length.unwrap_or(0_usize)
}

fn connect(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

fn exchange(
    address: SocketAddr,
    head: &str,
    body: &[u8],
    patience: Duration,
) -> io::Result<Answer> {
    let mut stream = connect(address, patience)?;
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
