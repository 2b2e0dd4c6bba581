//! HTTP/2 clients: one that behaves, one that sends whatever frames it is told to.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Context, Error, Result, wait};

/// A client of HTTP/2 in clear text, with prior knowledge; many requests may be under way.
#[derive(Clone)]
pub struct Http2Client {
    sender: SendRequest<Bytes>,
}

/// An answer over HTTP/2.
#[derive(Debug)]
pub struct Http2Response {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Http2Response {
    /// The first value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).context("body")
    }
}

impl Http2Client {
    /// Connects and exchanges the first frames.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let handshake = h2::client::handshake(stream);
        let (sender, connection) =
            wait::within("an HTTP/2 handshake", handshake).await?.context("handshake")?;
        // Ends with the connection, whose end shows in what is sent.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender })
    }

    /// Sends a request, and a body where it is not empty, and reads the answer.
    pub async fn send(&self, request: http::Request<()>, body: &[u8]) -> Result<Http2Response> {
        let exchange = async {
            let mut sender = self.sender.clone().ready().await.context("ready")?;
            let (answer, mut stream) =
                sender.send_request(request, body.is_empty()).context("send")?;
            if !body.is_empty() {
                // A peer that refuses the request may stop reading it; its answer is what counts.
                let _ = send_all(&mut stream, body).await;
            }
            let (head, mut content) = answer.await.context("answer")?.into_parts();
            let mut body = Vec::new();
            while let Some(piece) = content.data().await {
                let piece = piece.context("body")?;
                content.flow_control().release_capacity(piece.len()).context("capacity")?;
                body.extend_from_slice(&piece);
            }
            Ok(Http2Response { status: head.status, headers: head.headers, body })
        };
        wait::within("an answer over HTTP/2", exchange).await?
    }

    /// Sends a GET.
    pub async fn get(&self, url: &str) -> Result<Http2Response> {
        let request = http::Request::get(url).body(()).context(url)?;
        self.send(request, b"").await
    }
}

async fn send_all(stream: &mut h2::SendStream<Bytes>, body: &[u8]) -> Result<()> {
    let mut rest = Bytes::copy_from_slice(body);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.context("the stream has ended")?.context("capacity")?;
        let piece = rest.split_to(room.min(rest.len()));
        let last = rest.is_empty();
        stream.send_data(piece, last).context("data")?;
    }
    Ok(())
}

/// A frame, RFC 9113 section 4.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// Types and flags of frames, RFC 9113 section 6.
#[allow(missing_docs, reason = "the names of the RFC")]
pub mod frame {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
    pub const END_STREAM: u8 = 1;
    pub const ACK: u8 = 1;
    pub const END_HEADERS: u8 = 4;
}

/// What a client of HTTP/2 sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Frame {
    /// A frame.
    #[must_use]
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// A GET as one whole HEADERS frame that ends its stream, with further fields.
    #[must_use]
    pub fn get(stream: u32, target: &str, fields: &[(&str, &str)]) -> Self {
        let flags = frame::END_HEADERS | frame::END_STREAM;
        Self::new(frame::HEADERS, flags, stream, header_block("GET", target, fields))
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// The header block of a request for `api.example.com`: literals without Huffman coding and
/// without indexing (RFC 7541 section 6.2.2).
#[must_use]
pub fn header_block(method: &str, target: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "api.example.com"),
        (":path", target),
    ];
    let mut block = Vec::new();
    for (name, value) in pseudo.iter().chain(fields) {
        block.push(0);
        for text in [name, value] {
            string_length(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits, RFC 7541 section 5.1.
fn string_length(length: usize, block: &mut Vec<u8>) {
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(u8::try_from(length).unwrap_or(126));
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap_or(0));
}

/// A TCP connection on which frames are put by hand.
pub struct RawHttp2 {
    stream: TcpStream,
}

impl RawHttp2 {
    /// Connects, and sends nothing.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Connects, sends preface and settings, and reads the settings of the other side.
    pub async fn begin(address: SocketAddr) -> Result<Self> {
        let mut client = Self::connect(address).await?;
        client.send_bytes(PREFACE).await?;
        client.send(&Frame::new(frame::SETTINGS, 0, 0, [])).await?;
        client.until(|other| other.kind == frame::SETTINGS && other.flags == 0).await?;
        client.send(&Frame::new(frame::SETTINGS, frame::ACK, 0, [])).await?;
        Ok(client)
    }

    /// Sends bytes.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.context("send")
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &Frame) -> Result<()> {
        self.send_bytes(&frame.to_bytes()).await
    }

    /// Reads the next frame; none when the connection has ended.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        let mut head = [0; 9];
        match wait::within("a frame", self.stream.read_exact(&mut head)).await? {
            Ok(_) => {}
            Err(_) => return Ok(None),
        }
        let [high, middle, low, kind, flags, a, b, c, d] = head;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let mut payload = vec![0; length];
        let rest = self.stream.read_exact(&mut payload);
        wait::within("a frame's content", rest).await?.context("content")?;
        Ok(Some(Frame { kind, flags, stream: u32::from_be_bytes([a, b, c, d]), payload }))
    }

    /// Reads frames up to one that will do.
    pub async fn until(&mut self, good: impl Fn(&Frame) -> bool) -> Result<Frame> {
        loop {
            match self.next().await? {
                Some(frame) if good(&frame) => return Ok(frame),
                Some(_) => {}
                None => return Err(Error::new("the connection has ended")),
            }
        }
    }

    /// Reads frames up to the end of the connection, and gives them.
    pub async fn to_end(&mut self) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await? {
            frames.push(frame);
        }
        Ok(frames)
    }
}
