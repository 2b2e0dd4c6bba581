//! A server of the gRPC health checking protocol, and of nothing else.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::Result;

/// Answers `grpc.health.v1.Health/Check` over HTTP/2 with prior knowledge.
pub struct GrpcHealth {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// `HealthCheckResponse.ServingStatus`: 1 serves, 2 does not.
    status: AtomicU8,
    asked: AtomicU64,
    /// The last message, with its prefix of five bytes.
    message: Mutex<Vec<u8>>,
}

impl GrpcHealth {
    /// Starts it on a free port; it says that it serves.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { status: AtomicU8::new(1), ..State::default() });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it says.
    pub fn serves(&self, serves: bool) {
        self.state.status.store(if serves { 1 } else { 2 }, Ordering::SeqCst);
    }

    /// How often it was asked.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.state.asked.load(Ordering::SeqCst)
    }

    /// The service that it was asked about last.
    #[must_use]
    pub fn about(&self) -> String {
        let message = self.state.message.lock();
        String::from_utf8_lossy(message.get(7..).unwrap_or_default()).into_owned()
    }
}

impl Drop for GrpcHealth {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&state)));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond, Arc::clone(&state)));
    }
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    state: Arc<State>,
) {
    let (head, mut body) = request.into_parts();
    let mut message = Vec::new();
    while let Some(Ok(part)) = body.data().await {
        message.extend_from_slice(&part);
        let _ = body.flow_control().release_capacity(part.len());
    }
    *state.message.lock() = message;
    state.asked.fetch_add(1, Ordering::SeqCst);
    let known = head.uri.path() == "/grpc.health.v1.Health/Check" && head.method == "POST";
    let outcome = if known { "0" } else { "12" };
    let header = http::Response::builder().header("content-type", "application/grpc").body(());
    let Ok(mut stream) = respond.send_response(header.unwrap_or_default(), false) else { return };
    let status = state.status.load(Ordering::SeqCst);
    let _ = stream.send_data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]), false);
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static(outcome));
    let _ = stream.send_trailers(trailers);
}
