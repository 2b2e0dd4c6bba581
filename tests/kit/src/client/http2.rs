//! An HTTP/2 client: one connection, requests on streams of their own.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Response;
use crate::{Agreed, Context, Result, TlsClient, wait};

/// An HTTP/2 connection.
pub struct Http2Client {
    requests: SendRequest<Bytes>,
    base: String,
    connection: JoinHandle<()>,
}

impl Http2Client {
    /// Connects in clear text, with prior knowledge.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = wait::within("a connection", TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Self::over(stream, format!("http://{address}")).await
    }

    /// Connects by TLS, offering `h2` alone, to a server that is called `name`.
    pub async fn tls(tls: &TlsClient, address: SocketAddr, name: &str) -> Result<(Self, Agreed)> {
        let (stream, agreed) = tls.clone().protocols(&["h2"]).connect(address, name).await?;
        Ok((Self::over(stream, format!("https://{name}")).await?, agreed))
    }

    async fn over<S>(stream: S, base: String) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake = h2::client::handshake(stream);
        let (requests, connection) =
            wait::within("an HTTP/2 handshake", handshake).await?.context("HTTP/2")?;
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { requests, base, connection })
    }

    /// Sends a request on a stream of its own and reads the answer to its end.
    pub async fn request(&self, method: &str, path: &str, body: &[u8]) -> Result<Response> {
        let exchange = self.exchange(method, path, &[], body);
        wait::within("an HTTP/2 answer", exchange).await??.context("a request that was taken")
    }

    /// Sends a GET with these headers and reads the answer to its end.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
        self.try_get(path, headers).await?.context("a request that was taken")
    }

    /// The same; none where the peer says that it will not have looked at the request, as it takes
    /// leave (RFC 9113, 6.8 and 8.7), or where the connection had ended before.
    pub async fn try_get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Option<Response>> {
        wait::within("an HTTP/2 answer", self.exchange("GET", path, headers, &[])).await?
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Option<Response>> {
        let start = Instant::now();
        let mut request =
            http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.version(http::Version::HTTP_2).body(()).context("request")?;
        let begun =
            async { self.requests.clone().ready().await?.send_request(request, body.is_empty()) };
        let (answer, mut stream) = match begun.await {
            Ok(begun) => begun,
            Err(error) if error.is_io() || is_leave(&error) => return Ok(None),
            Err(error) => return Err(error).context("request header"),
        };
        let send = async {
            let mut rest = Bytes::copy_from_slice(body);
            while !rest.is_empty() {
                stream.reserve_capacity(rest.len());
                let Some(Ok(room)) = std::future::poll_fn(|task| stream.poll_capacity(task)).await
                else {
                    break;
                };
                let piece = rest.split_to(room.min(rest.len()));
                if stream.send_data(piece, rest.is_empty()).is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let read = async {
            let (head, mut body) = match answer.await {
                Ok(answer) => answer.into_parts(),
                Err(error) if is_leave(&error) => return Ok(None),
                Err(error) => return Err(error).context("answer"),
            };
            let mut bytes = Vec::new();
            while let Some(piece) = body.data().await {
                let piece = piece.context("answer's body")?;
                let _ = body.flow_control().release_capacity(piece.len());
                bytes.extend_from_slice(&piece);
            }
            let headers = head.headers.iter().map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            });
            Ok(Some(Response {
                status: head.status.as_u16(),
                headers: headers.collect(),
                body: bytes,
                took: start.elapsed(),
            }))
        };
        tokio::select! {
            response = read => response,
            () = send => unreachable!("sending ends in waiting"),
        }
    }
}

/// Whether the peer says by an error that the request was none of those that it takes.
fn is_leave(error: &h2::Error) -> bool {
    let reason = error.reason();
    (error.is_go_away() && reason == Some(Reason::NO_ERROR))
        || (error.is_reset() && reason == Some(Reason::REFUSED_STREAM))
}

impl Drop for Http2Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
