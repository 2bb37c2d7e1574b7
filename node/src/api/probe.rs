//! One GET to a node on this machine, for `status`: the node needs no HTTP client beyond it.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long connecting, sending and each read may take.
const TIME_OUT: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// The body of a 200 answer.
///
/// # Errors
/// Of the network; `InvalidData` for any other answer.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, TIME_OUT)?;
    stream.set_read_timeout(Some(TIME_OUT))?;
    stream.set_write_timeout(Some(TIME_OUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n");
    let end = end.ok_or_else(|| invalid("not an HTTP answer"))?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let first = head.lines().next().unwrap_or_default();
    if first.split(' ').nth(1) != Some("200") {
        return Err(invalid(first));
    }
    Ok(answer.split_off(end + 4))
}
