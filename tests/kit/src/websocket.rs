//! WebSocket: an origin and a client.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

pub use tokio_tungstenite::tungstenite::Error as WebSocketError;
pub use tokio_tungstenite::tungstenite::Message;

use crate::{Context, Result, ports, wait};

/// A WebSocket server. What it does follows from the last segment of the path:
///
/// | Segment | |
/// |---|---|
/// | `echo` | sends back every text and every binary message |
/// | `greet` | says `hello` and nothing more |
/// | `gone` | says `hello` and drops the connection without a closing frame |
/// | `refuse` | answers the handshake with 400 |
pub struct WebSocketOrigin {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl WebSocketOrigin {
    /// Starts on a free port.
    pub async fn start() -> Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, ports::free()?).into();
        let listener = TcpListener::bind(address).await.context("WebSocket origin")?;
        Ok(Self { address, task: tokio::spawn(accept(listener)) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for WebSocketOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream));
    }
}

async fn serve(stream: TcpStream) {
    let mut path = String::new();
    #[expect(clippy::result_large_err, reason = "so the library wants it")]
    let judge = |request: &Request,
                 mut response: Response|
     -> std::result::Result<_, ErrorResponse> {
        request.uri().path().clone_into(&mut path);
        response.headers_mut().insert("x-origin", HeaderValue::from_static("websocket"));
        if path.ends_with("/refuse") {
            let mut refused = ErrorResponse::new(Some("no".to_owned()));
            *refused.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::BAD_REQUEST;
            refused.headers_mut().insert("content-length", HeaderValue::from_static("2"));
            return Err(refused);
        }
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, judge).await else { return };
    match path.rsplit('/').next() {
        Some("gone") => {
            let _ = socket.send(Message::text("hello")).await;
        }
        Some("greet") => {
            let _ = socket.send(Message::text("hello")).await;
            while let Some(Ok(_)) = socket.next().await {}
        }
        _ => {
            while let Some(Ok(message)) = socket.next().await {
                let echo = message.is_text() || message.is_binary();
                if echo && socket.send(message).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A client's end.
pub struct WebSocket {
    socket: WebSocketStream<TcpStream>,
    /// The id that the gateway gave to the request.
    pub request_id: String,
}

impl WebSocket {
    /// Connects; an answer other than 101 is the error [`WebSocketError::Http`].
    pub async fn connect(
        address: SocketAddr,
        path: &str,
    ) -> Result<std::result::Result<Self, WebSocketError>> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        let request = format!("ws://{address}{path}").into_client_request();
        let request = request.context("WebSocket request")?;
        let shaken = tokio_tungstenite::client_async(request, stream);
        let (socket, response) = match wait::within("a handshake", shaken).await? {
            Ok(shaken) => shaken,
            Err(error) => return Ok(Err(error)),
        };
        let id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok());
        Ok(Ok(Self { socket, request_id: id.unwrap_or_default().to_owned() }))
    }

    /// Sends a message.
    pub async fn send(&mut self, message: Message) -> Result<()> {
        wait::within("a message to be sent", self.socket.send(message)).await?.context("send")
    }

    /// The next message; none at the end, an error where the connection broke.
    pub async fn next(&mut self) -> Result<Option<std::result::Result<Message, WebSocketError>>> {
        wait::within("a message", self.socket.next()).await
    }

    /// The next message, which must be one.
    pub async fn message(&mut self) -> Result<Message> {
        self.next().await?.context("the connection ended")?.context("message")
    }

    /// Sends a closing frame, and waits for the other one and the end.
    pub async fn close(&mut self) -> Result<()> {
        wait::within("a closing frame to be sent", self.socket.close(None))
            .await?
            .context("close")?;
        while let Some(message) = self.next().await? {
            if message.is_err() {
                break;
            }
        }
        Ok(())
    }
}
