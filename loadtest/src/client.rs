//! A client that keeps its connection and times one answer after the other.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::{Context, Error, Result};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection, and what came on it beyond the last answer.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
    input: Vec<u8>,
}

impl Client {
    /// A client of this address; it connects when it has something to ask, and again when the
    /// other end has closed the connection for its age.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, input: Vec::new() }
    }

    /// Sends a request and reads the whole answer; returns its status and the time it took,
    /// without that for a connection.
    pub async fn ask(&mut self, request: &[u8]) -> Result<(u16, Duration)> {
        let mut stream = if let Some(stream) = self.stream.take() {
            stream
        } else {
            let stream = TcpStream::connect(self.address).await.context(self.address)?;
            stream.set_nodelay(true).context(self.address)?;
            stream
        };
        let began = Instant::now();
        let exchange = async {
            stream.write_all(request).await.context("a request")?;
            self.input.clear();
            loop {
                if let Some(answer) = read(&self.input) {
                    return Ok(answer);
                }
                if stream.read_buf(&mut self.input).await.context("an answer")? == 0 {
                    return Err(Error::new("the connection ended before its answer"));
                }
            }
        };
        let (status, close) = timeout(PATIENCE, exchange).await.context("an answer")??;
        let took = began.elapsed();
        self.stream = Some(stream).filter(|_| !close);
        Ok((status, took))
    }
}

/// Status of an answer and whether it is the last of its connection, once it is whole. Answers
/// here have a `Content-Length` or come in chunks, without trailers.
fn read(input: &[u8]) -> Option<(u16, bool)> {
    let end = input.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = input.split_at_checked(end + 4)?;
    let head = std::str::from_utf8(head).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let length: usize = field("content-length").map_or(Some(0), |text| text.parse().ok())?;
    let is_chunked = field("transfer-encoding").is_some();
    if is_chunked && !body.ends_with(b"0\r\n\r\n") {
        return None;
    }
    let close = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    (body.len() >= length).then_some((status, close))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        let whole = b"HTTP/1.1 429 Too Many\r\nContent-Length: 2\r\nConnection: Close\r\n\r\nno";
        for end in 0..whole.len() {
            assert_eq!(read(whole.split_at(end).0), None, "{end}");
        }
        assert_eq!(read(whole), Some((429, true)));
        assert_eq!(read(b"HTTP/1.1 204 No Content\r\n\r\n"), Some((204, false)));
    }
}
