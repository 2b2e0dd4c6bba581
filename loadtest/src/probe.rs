//! One request at a time: is a process ready, and what do its metrics say.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::document::HOST;
use crate::{Context, Error, Result};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// A loopback address that was free a moment ago.
pub async fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("a free port")?;
    listener.local_addr().context("a free port")
}

/// Sends a GET on a connection of its own.
pub async fn get(address: SocketAddr, target: &str, headers: &str) -> Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {target} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(PATIENCE, exchange)
        .await
        .context(format_args!("GET {target} at {address}"))?
        .context(format_args!("GET {target} at {address}"))?;
    read(&answer).context(format_args!("GET {target} at {address}: not an HTTP answer"))
}

/// Opens a connection, has one request answered on it, and leaves it open.
pub async fn keep_alive(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await.context(address)?;
    stream.set_nodelay(true).context(address)?;
    again(&mut stream).await?;
    Ok(stream)
}

/// Has another request answered on a connection.
pub async fn again(stream: &mut TcpStream) -> Result<()> {
    let exchange = async {
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
        while !is_whole(&answer) {
            let bytes = stream.read(&mut piece).await?;
            if bytes == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend(piece.iter().take(bytes));
        }
        std::io::Result::Ok(answer)
    };
    let answer = timeout(PATIENCE, exchange).await.context("an answer")?.context("an answer")?;
    let answer = read(&answer).context("not an HTTP answer")?;
    if answer.status == 200 { Ok(()) } else { Err(Error::new(answer.head)) }
}

/// Whether an answer with a `Content-Length` has come whole.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| body.len() >= length)
}

/// The largest number that a label of a metric has.
#[must_use]
pub fn label(text: &str, name: &str, label: &str) -> Option<f64> {
    let wanted = format!("{label}=\"");
    let lines = text.lines().filter(|line| line.starts_with(name));
    let values = lines.filter_map(|line| line.split_once(&wanted)?.1.split('"').next());
    values.filter_map(|value| value.parse().ok()).reduce(f64::max)
}

/// Whether something accepts connections there.
pub async fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_ok()
}

/// The metrics of a gateway, in Prometheus text.
pub async fn metrics(admin: SocketAddr) -> Result<String> {
    let answer = get(admin, "/metrics", "Host: localhost\r\n").await?;
    if answer.status != 200 {
        return Err(Error::new(format!("/metrics at {admin} answered {}", answer.status)));
    }
    String::from_utf8(answer.body).context("/metrics")
}

/// The sum of a metric over all rows that carry every one of `labels`, whatever their case.
#[must_use]
pub fn sum(metrics: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted: Vec<String> = labels
        .iter()
        .map(|(label, value)| format!("{label}=\"{value}\"").to_ascii_lowercase())
        .collect();
    metrics
        .lines()
        .filter_map(|line| {
            let (row, value) = line.rsplit_once(' ')?;
            let rest = row.strip_prefix(name)?;
            let own = rest.is_empty() || rest.starts_with('{');
            let rest = rest.to_ascii_lowercase();
            let fits = own && wanted.iter().all(|label| rest.contains(label.as_str()));
            fits.then(|| value.parse::<f64>().ok())?
        })
        .sum()
}

/// Reads an answer that ended with its connection.
pub(crate) fn read(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = answer.split_at_checked(end + 4)?;
    let head = String::from_utf8_lossy(head).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head, body: body.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_the_rows_that_fit() {
        let text = "# HELP hits words 3\n\
                    hits{outcome=\"HIT\",route=\"a\"} 3\n\
                    hits{outcome=\"HIT\",route=\"b\"} 4\n\
                    hits{outcome=\"MISS\",route=\"a\"} 100\n\
                    hits_more{outcome=\"HIT\"} 1000\n\
                    gauge 0.5\n";
        let near = |left: f64, right: f64| (left - right).abs() < 1e-9;
        assert!(near(sum(text, "hits", &[("outcome", "hit")]), 7.0));
        assert!(near(sum(text, "hits", &[("outcome", "hit"), ("route", "b")]), 4.0));
        assert!(near(sum(text, "hits", &[]), 107.0));
        assert!(near(sum(text, "gauge", &[]), 0.5));
        assert!(near(sum(text, "hits", &[("outcome", "stale")]), 0.0));
    }

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = read(b"HTTP/1.1 401 Unauthorized\r\na: b\r\n\r\nno\r\n\r\n").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (401, b"no\r\n\r\n".as_slice()));
        assert!(read(b"HTTP/1.1 200 OK\r\n").is_none());
    }
}
