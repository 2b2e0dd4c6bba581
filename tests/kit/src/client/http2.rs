//! An HTTP/2 client: one connection, requests on streams of their own.

use std::net::SocketAddr;

use bytes::Bytes;
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
        wait::within("an HTTP/2 answer", self.exchange(method, path, &[], body)).await?
    }

    /// Sends a GET with these headers and reads the answer to its end.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
        wait::within("an HTTP/2 answer", self.exchange("GET", path, headers, &[])).await?
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        let start = Instant::now();
        let mut request =
            http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.version(http::Version::HTTP_2).body(()).context("request")?;
        let mut requests = self.requests.clone().ready().await.context("a free stream")?;
        let (answer, mut stream) =
            requests.send_request(request, body.is_empty()).context("request header")?;
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
            let (head, mut body) = answer.await.context("answer")?.into_parts();
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
            Ok(Response {
                status: head.status.as_u16(),
                headers: headers.collect(),
                body: bytes,
                took: start.elapsed(),
            })
        };
        tokio::select! {
            response = read => response,
            () = send => unreachable!("sending ends in waiting"),
        }
    }
}

impl Drop for Http2Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
