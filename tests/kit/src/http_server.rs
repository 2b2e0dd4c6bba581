//! The HTTP server under origins and the identity provider: real sockets, keep-alive, and a
//! switch to turn it off and on again at the same address.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::{Context, Result, TlsServer, ports};

/// An answer: whole, or in pieces as they come.
pub(crate) type Answer = hyper::Response<Either<Full<Bytes>, Pieces>>;

/// Serves requests; an error closes the connection without a further byte.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
        connection: Connection,
    ) -> Pin<Box<dyn Future<Output = std::result::Result<Answer, Abort>> + Send>>;
}

/// The connection that a request came on.
#[derive(Clone, Default)]
pub(crate) struct Connection {
    reset: Arc<AtomicBool>,
    /// The name that the client asked for in its TLS handshake.
    pub(crate) server_name: Option<String>,
    /// The client's certificate, in DER.
    pub(crate) certificate: Option<Vec<u8>>,
}

impl Connection {
    /// Makes closing this connection a reset (RST) instead of an orderly end.
    pub(crate) fn reset_on_close(&self) {
        self.reset.store(true, Ordering::SeqCst);
    }
}

/// What a server speaks.
#[derive(Clone, Debug, Default)]
pub enum Speaks {
    /// HTTP/1.1 in clear text.
    #[default]
    Http1,
    /// HTTP/2 in clear text, with prior knowledge.
    Http2,
    /// What is agreed on by ALPN, behind TLS.
    Tls(TlsServer),
}

/// Breaks a connection off.
#[derive(Debug)]
pub(crate) struct Abort;

impl std::fmt::Display for Abort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off on purpose")
    }
}

impl std::error::Error for Abort {}

/// A body that comes in pieces through a channel, perhaps with trailers behind it.
pub(crate) struct Pieces(
    pub(crate) mpsc::Receiver<std::result::Result<Bytes, Abort>>,
    pub(crate) Option<HeaderMap>,
);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Abort>>> {
        match self.0.poll_recv(task) {
            Poll::Ready(None) => Poll::Ready(self.1.take().map(|last| Ok(Frame::trailers(last)))),
            piece => piece.map(|piece| piece.map(|data| data.map(Frame::data))),
        }
    }
}

/// How long a child process may hold copies of sockets.
const BIND_DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);

/// A server on a loopback port of its own.
pub(crate) struct HttpServer {
    address: SocketAddr,
    handler: Arc<dyn Handler>,
    speaks: Mutex<Speaks>,
    accepting: Mutex<Option<JoinHandle<()>>>,
    accepted: Arc<AtomicU64>,
}

impl HttpServer {
    /// Starts on a port; 0 takes a free one.
    pub(crate) async fn start(handler: Arc<dyn Handler>, port: u16) -> Result<Self> {
        Self::start_speaking(Speaks::Http1, handler, port).await
    }

    /// Starts a server of another protocol.
    pub(crate) async fn start_speaking(
        speaks: Speaks,
        handler: Arc<dyn Handler>,
        port: u16,
    ) -> Result<Self> {
        let port = if port == 0 { ports::free()? } else { port };
        let server = Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            handler,
            speaks: Mutex::new(speaks),
            accepting: Mutex::new(None),
            accepted: Arc::default(),
        };
        server.restart().await?;
        Ok(server)
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted since the start.
    pub(crate) fn connections(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Closes the listening socket and every connection; new ones are refused.
    pub(crate) async fn stop(&self) {
        let task = self.accepting.lock().take();
        if let Some(task) = task {
            task.abort();
            // Ends when the task and with it every connection is gone.
            let _ = task.await;
        }
    }

    /// Binds the address. A test that starts a process forks, and until the child has become
    /// that process it holds copies of this one's sockets: the address is then taken a moment
    /// longer than the socket was open here.
    async fn bind(&self) -> std::io::Result<TcpListener> {
        let bound = async {
            loop {
                match TcpListener::bind(self.address).await {
                    Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                        tokio::task::yield_now().await;
                    }
                    other => return other,
                }
            }
        };
        tokio::time::timeout(BIND_DEADLINE, bound)
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::AddrInUse.into()))
    }

    /// Speaks something else from the next [`HttpServer::restart`] on.
    pub(crate) fn speak(&self, speaks: Speaks) {
        *self.speaks.lock() = speaks;
    }

    /// Listens again at the same address.
    pub(crate) async fn restart(&self) -> Result<()> {
        self.stop().await;
        let listener = self.bind().await.context(format_args!("origin at {}", self.address))?;
        let speaks = self.speaks.lock().clone();
        let ends = Ends::new(&speaks)?;
        let (handler, accepted) = (Arc::clone(&self.handler), Arc::clone(&self.accepted));
        let task = tokio::spawn(accept(listener, ends, handler, accepted));
        *self.accepting.lock() = Some(task);
        Ok(())
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        if let Some(task) = self.accepting.lock().take() {
            task.abort();
        }
    }
}

/// [`Speaks`], ready for connections.
#[derive(Clone)]
enum Ends {
    Http1,
    Http2,
    Tls(TlsAcceptor),
}

impl Ends {
    fn new(speaks: &Speaks) -> Result<Self> {
        Ok(match speaks {
            Speaks::Http1 => Self::Http1,
            Speaks::Http2 => Self::Http2,
            Speaks::Tls(server) => Self::Tls(TlsAcceptor::from(server.config()?)),
        })
    }

    /// Serves one connection to its end.
    async fn serve(self, stream: TcpStream, handler: Arc<dyn Handler>) -> Option<()> {
        let mut connection = Connection::default();
        let socket = Socket { stream, reset: Arc::clone(&connection.reset) };
        let acceptor = match self {
            Self::Http1 => return serve(socket, false, connection, handler).await,
            Self::Http2 => return serve(socket, true, connection, handler).await,
            Self::Tls(acceptor) => acceptor,
        };
        let stream = acceptor.accept(socket).await.ok()?;
        let (_, session) = stream.get_ref();
        connection.server_name = session.server_name().map(str::to_owned);
        connection.certificate =
            session.peer_certificates().and_then(|list| list.first()).map(|leaf| leaf.to_vec());
        let http2 = session.alpn_protocol() == Some(b"h2");
        serve(stream, http2, connection, handler).await
    }
}

async fn serve<S>(
    stream: S,
    http2: bool,
    connection: Connection,
    handler: Arc<dyn Handler>,
) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service =
        service_fn(move |request| Arc::clone(&handler).handle(request, connection.clone()));
    let stream = TokioIo::new(stream);
    if http2 {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.serve_connection(stream, service).await.ok()
    } else {
        let server = hyper::server::conn::http1::Builder::new();
        server.serve_connection(stream, service).await.ok()
    }
}

/// Accepts for ever; dropping this future drops its connections with it.
async fn accept(
    listener: TcpListener,
    ends: Ends,
    handler: Arc<dyn Handler>,
    accepted: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        accepted.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        connections.spawn(ends.clone().serve(stream, Arc::clone(&handler)));
        while connections.try_join_next().is_some() {}
    }
}

/// A stream that can end with a reset.
struct Socket {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.reset.load(Ordering::SeqCst) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(task, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<std::io::Result<()>> {
        // An orderly shutdown would send FIN first; a reset must come instead of it.
        if self.reset.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
