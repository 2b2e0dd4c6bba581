//! gRPC: an origin and a client, written by hand where a compiler of `.proto` files would.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::{Context, Result, ports, wait};

pub use tonic;

/// The one message there is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Word {
    /// Some text.
    #[prost(string, tag = "1")]
    pub text: String,
    /// A number.
    #[prost(uint32, tag = "2")]
    pub number: u32,
    /// Ballast.
    #[prost(bytes = "vec", tag = "3")]
    pub data: Vec<u8>,
}

impl Word {
    /// A text and a number.
    #[must_use]
    pub fn new(text: &str, number: u32) -> Self {
        Self { text: text.to_owned(), number, data: Vec::new() }
    }
}

/// A gRPC server (HTTP/2 with prior knowledge). What it does follows from the method:
///
/// | Method | |
/// |---|---|
/// | `Say` | answers a message with itself, its metadata `x-asked` in `x-answered` |
/// | `Fail` | fails with the code in `number` and the words in `text` |
/// | `Count` | answers with as many messages as `number` says |
/// | `Sum` | answers many messages with the sum of their numbers |
/// | `Chat` | answers every message as it comes |
/// | `Tail` | answers with one message, and goes on without another |
/// | `Hang` | never answers |
pub struct GrpcOrigin {
    address: SocketAddr,
    task: Mutex<Option<JoinHandle<()>>>,
    state: Arc<State>,
}

struct State {
    /// Calls that `Tail` and `Hang` were left in.
    abandoned: watch::Sender<u32>,
    /// Calls begun.
    calls: watch::Sender<u32>,
    /// The header of the last call.
    last: Mutex<Option<http::request::Parts>>,
}

impl GrpcOrigin {
    /// Starts on a free port.
    pub async fn start() -> Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, ports::free()?).into();
        let listener = TcpListener::bind(address).await.context("gRPC origin")?;
        let state = Arc::new(State {
            abandoned: watch::Sender::new(0),
            calls: watch::Sender::new(0),
            last: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, task: Mutex::new(Some(task)), state })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Number of calls so far.
    #[must_use]
    pub fn calls(&self) -> u32 {
        *self.state.calls.borrow()
    }

    /// Waits until this many calls have begun.
    pub async fn called(&self, count: u32) -> Result<()> {
        let mut calls = self.state.calls.subscribe();
        wait::within("a call", calls.wait_for(|calls| *calls >= count)).await.map(|_| ())
    }

    /// Waits until this many clients have left a call that was not over.
    pub async fn abandoned(&self, count: u32) -> Result<()> {
        let mut left = self.state.abandoned.subscribe();
        wait::within("a call to be left", left.wait_for(|left| *left >= count)).await.map(|_| ())
    }

    /// The header of the last call.
    #[must_use]
    pub fn last(&self) -> Option<http::request::Parts> {
        self.state.last.lock().clone()
    }

    /// Stops listening and drops all connections.
    pub async fn stop(&self) {
        let task = self.task.lock().take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for GrpcOrigin {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&state), request));
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    state: Arc<State>,
    request: http::Request<Incoming>,
) -> std::result::Result<http::Response<tonic::body::Body>, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    *state.last.lock() = Some(head.clone());
    let request = http::Request::from_parts(head, body);
    state.calls.send_modify(|calls| *calls += 1);
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let codec: ProstCodec<Word, Word> = ProstCodec::default();
    let mut grpc =
        tonic::server::Grpc::new(codec).apply_max_message_size_config(Some(LARGEST), Some(LARGEST));
    Ok(grpc.streaming(Method { method, state }, request).await)
}

/// Largest message, in bytes.
const LARGEST: usize = 64 << 20;

/// All kinds of calls are one on the wire: messages in, messages out.
struct Method {
    method: String,
    state: Arc<State>,
}

type Words = Pin<Box<dyn Stream<Item = std::result::Result<Word, Status>> + Send>>;

impl tonic::server::StreamingService<Word> for Method {
    type Response = Word;
    type ResponseStream = Words;
    type Future =
        Pin<Box<dyn Future<Output = std::result::Result<Response<Words>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Word>>) -> Self::Future {
        Box::pin(run(self.method.clone(), Arc::clone(&self.state), request))
    }
}

async fn run(
    method: String,
    state: Arc<State>,
    request: Request<Streaming<Word>>,
) -> std::result::Result<Response<Words>, Status> {
    let asked = request.metadata().get("x-asked").cloned();
    let mut words = request.into_inner();
    let mut response: Response<Words> = Response::new(match method.as_str() {
        "Say" => {
            let word = words.message().await?.unwrap_or_default();
            Box::pin(tokio_stream::once(Ok(word)))
        }
        "Fail" => {
            let word = words.message().await?.unwrap_or_default();
            let code = i32::try_from(word.number).unwrap_or(2);
            return Err(Status::new(tonic::Code::from(code), word.text));
        }
        "Count" => {
            let word = words.message().await?.unwrap_or_default();
            let counted = (0..word.number).map(|number| Ok(Word::new("count", number)));
            Box::pin(tokio_stream::iter(counted.collect::<Vec<_>>()))
        }
        "Sum" => {
            let mut sum = 0;
            while let Some(word) = words.message().await? {
                sum += word.number;
            }
            Box::pin(tokio_stream::once(Ok(Word::new("sum", sum))))
        }
        "Chat" => Box::pin(words),
        "Tail" => {
            let left = Left(Arc::clone(&state));
            Box::pin(tokio_stream::once(Ok(Word::new("first", 1))).chain(Never(left)))
        }
        "Hang" => {
            let _left = Left(Arc::clone(&state));
            std::future::pending().await
        }
        other => return Err(Status::unimplemented(other)),
    });
    if let Some(asked) = asked {
        response.metadata_mut().insert("x-answered", asked);
    }
    Ok(response)
}

/// Counts when it is dropped.
struct Left(Arc<State>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.abandoned.send_modify(|left| *left += 1);
    }
}

/// A stream without an item and without an end.
struct Never(#[expect(dead_code, reason = "dropped with the stream")] Left);

impl Stream for Never {
    type Item = std::result::Result<Word, Status>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

/// A client.
#[derive(Clone)]
pub struct GrpcClient {
    channel: Channel,
    service: String,
}

impl GrpcClient {
    /// Connects; calls go to the methods of `service`.
    pub async fn connect(address: SocketAddr, service: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).context("address")?;
        let channel = wait::within("a channel", endpoint.connect()).await?.context("connect")?;
        Ok(Self { channel, service: service.to_owned() })
    }

    /// One message, one answer.
    pub async fn unary(
        &self,
        method: &str,
        request: Request<Word>,
    ) -> Result<std::result::Result<Response<Word>, Status>> {
        let (mut grpc, path, codec) = self.call(method).await?;
        wait::within("an answer", grpc.unary(request, path, codec)).await
    }

    /// One message, many answers.
    pub async fn server_stream(
        &self,
        method: &str,
        word: Word,
    ) -> Result<std::result::Result<Streaming<Word>, Status>> {
        let (mut grpc, path, codec) = self.call(method).await?;
        let call = grpc.server_streaming(Request::new(word), path, codec);
        Ok(wait::within("an answer", call).await?.map(Response::into_inner))
    }

    /// Many messages, one answer.
    pub async fn client_stream(
        &self,
        method: &str,
        words: Vec<Word>,
    ) -> Result<std::result::Result<Word, Status>> {
        let (mut grpc, path, codec) = self.call(method).await?;
        let request = Request::new(tokio_stream::iter(words));
        let call = grpc.client_streaming(request, path, codec);
        Ok(wait::within("an answer", call).await?.map(Response::into_inner))
    }

    /// Many messages, many answers.
    pub async fn both_stream(
        &self,
        method: &str,
    ) -> Result<(mpsc::Sender<Word>, std::result::Result<Streaming<Word>, Status>)> {
        let (mut grpc, path, codec) = self.call(method).await?;
        let (sender, words) = mpsc::channel(8);
        let request = Request::new(tokio_stream::wrappers::ReceiverStream::new(words));
        let call = grpc.streaming(request, path, codec);
        Ok((sender, wait::within("an answer", call).await?.map(Response::into_inner)))
    }

    async fn call(
        &self,
        method: &str,
    ) -> Result<(tonic::client::Grpc<Channel>, http::uri::PathAndQuery, ProstCodec<Word, Word>)>
    {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone())
            .max_decoding_message_size(LARGEST)
            .max_encoding_message_size(LARGEST);
        wait::within("a channel", grpc.ready()).await?.context("channel")?;
        let path = format!("/{}/{method}", self.service).parse().context("path")?;
        Ok((grpc, path, ProstCodec::default()))
    }
}

/// The next message of a stream, or how the stream ended.
pub async fn next(
    words: &mut Streaming<Word>,
) -> Result<std::result::Result<Option<Word>, Status>> {
    wait::within("a message", words.message()).await
}

/// A request with a deadline.
#[must_use]
pub fn within(word: Word, deadline: Duration) -> Request<Word> {
    let mut request = Request::new(word);
    request.set_timeout(deadline);
    request
}
