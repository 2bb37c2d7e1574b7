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
    get_within(TIME_OUT, address, path).map_err(|error| said_by_name(error, TIME_OUT))
}

fn get_within(time: Duration, address: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, time)?;
    stream.set_read_timeout(Some(time))?;
    stream.set_write_timeout(Some(time))?;
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

/// A node that takes the question and says nothing, as one that was halted: the system's own words for that are no help.
fn said_by_name(error: io::Error, time: Duration) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            let seconds = time.as_secs();
            io::Error::new(error.kind(), format!("no answer in {seconds} s"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_takes_the_question_and_is_silent_is_said_to_be_so() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let time = Duration::from_millis(50);
        let error = get_within(time, silent.local_addr().unwrap(), "/v1/status").unwrap_err();
        let said = said_by_name(error, Duration::from_secs(5)).to_string();
        assert_eq!(said, "no answer in 5 s");
    }
}
