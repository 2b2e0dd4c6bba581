//! The HTTP/1.1 server under origins and the identity provider: real sockets, keep-alive, and a
//! switch to turn it off and on again at the same address.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::{Context, Result, ports};

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
pub(crate) struct Connection(Arc<AtomicBool>);

impl Connection {
    /// Makes closing this connection a reset (RST) instead of an orderly end.
    pub(crate) fn reset_on_close(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
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

/// A body that comes in pieces through a channel.
pub(crate) struct Pieces(pub(crate) mpsc::Receiver<std::result::Result<Bytes, Abort>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Abort>>> {
        self.0.poll_recv(task).map(|piece| piece.map(|data| data.map(Frame::data)))
    }
}

/// How long a child process may hold copies of sockets.
const BIND_DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);

/// A server on a loopback port of its own.
pub(crate) struct HttpServer {
    address: SocketAddr,
    handler: Arc<dyn Handler>,
    accepting: Mutex<Option<JoinHandle<()>>>,
    accepted: Arc<AtomicU64>,
}

impl HttpServer {
    /// Starts on a port; 0 takes a free one.
    pub(crate) async fn start(handler: Arc<dyn Handler>, port: u16) -> Result<Self> {
        let port = if port == 0 { ports::free()? } else { port };
        let server = Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            handler,
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

    /// Listens again at the same address.
    pub(crate) async fn restart(&self) -> Result<()> {
        self.stop().await;
        let listener = self.bind().await.context(format_args!("origin at {}", self.address))?;
        let task =
            tokio::spawn(accept(listener, Arc::clone(&self.handler), Arc::clone(&self.accepted)));
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

/// Accepts for ever; dropping this future drops its connections with it.
async fn accept(listener: TcpListener, handler: Arc<dyn Handler>, accepted: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        accepted.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        let handler = Arc::clone(&handler);
        connections.spawn(async move {
            let connection = Connection::default();
            let socket = Socket { stream, connection: connection.clone() };
            let service =
                service_fn(move |request| Arc::clone(&handler).handle(request, connection.clone()));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// A stream that can end with a reset.
struct Socket {
    stream: TcpStream,
    connection: Connection,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.connection.0.load(Ordering::SeqCst) {
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
        if self.connection.0.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
