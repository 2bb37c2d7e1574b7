//! A node's API with lies in it: what a client must not believe.

use crate::http::{self, Answer};
use std::io::{BufRead as _, BufReader, Result, Write as _};
use std::net::{SocketAddr, TcpListener};

/// Serves what the node at `api` serves, after `lie` was told the path and had its way with the answer. Gives the address
/// as a URL; it serves, one request at a time, until the process ends.
///
/// # Errors
/// If no socket can be had.
pub fn serve(
    api: SocketAddr,
    mut lie: impl FnMut(&str, &mut Answer) + Send + 'static,
) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let head = BufReader::new(&stream).lines().map_while(Result::ok);
            let head: Vec<_> = head.take_while(|line| !line.is_empty()).collect();
            let path = head.first().and_then(|line| line.split(' ').nth(1));
            let Some((path, mut answer)) =
                path.and_then(|path| Some((path, http::get(api, path).ok()?)))
            else {
                continue;
            };
            lie(path, &mut answer);
            let (status, length) = (answer.status, answer.body.len());
            let head = format!(
                "HTTP/1.1 {status} \r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream
                .write_all(&[head.as_bytes(), &answer.body].concat())
                .ok();
        }
    });
    Ok(url)
}
