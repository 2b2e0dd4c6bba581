//! One connection: bytes out, responses in.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use super::{Request, Response};
use crate::{Agreed, Context, Error, Result, TlsClient, wait};

/// Most header fields read.
const FIELDS_MAX: usize = 128;

/// A TCP connection, perhaps with TLS.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A connection on which whatever one likes is sent, and responses are read one by one.
pub struct RawConnection {
    stream: Box<dyn Wire>,
    local: SocketAddr,
    host: String,
    /// What was read beyond the last response.
    buffer: Vec<u8>,
}

impl RawConnection {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = wait::within("a connection", TcpStream::connect(address))
            .await?
            .context(format_args!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let (stream, host) = (Box::new(stream), address.to_string());
        Ok(Self { stream, local, host, buffer: Vec::new() })
    }

    /// Connects from an address of this machine: all of 127.0.0.0/8 are, so that a test can be
    /// several clients.
    pub async fn connect_from(local: IpAddr, address: SocketAddr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((local, 0).into()).context(format_args!("bind to {local}"))?;
        let stream = wait::within("a connection", socket.connect(address))
            .await?
            .context(format_args!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let (stream, host) = (Box::new(stream), address.to_string());
        Ok(Self { stream, local, host, buffer: Vec::new() })
    }

    /// Connects by TLS to a server that is called `name`.
    pub async fn tls(tls: &TlsClient, address: SocketAddr, name: &str) -> Result<(Self, Agreed)> {
        let (stream, agreed) = tls.connect(address, name).await?;
        let local = stream.get_ref().0.local_addr()?;
        let (stream, host) = (Box::new(stream), name.to_owned());
        Ok((Self { stream, local, host, buffer: Vec::new() }, agreed))
    }

    /// The client's end.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(self.local)
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.context("send")?;
        self.stream.flush().await.context("send")
    }

    /// Says that nothing more will be sent; answers can still be read.
    pub async fn finish(&mut self) -> Result<()> {
        self.stream.shutdown().await.context("finish")
    }

    /// Sends a request and reads the answer, which may come before all of the request is sent.
    pub async fn request(&mut self, request: &Request) -> Result<Response> {
        let bytes = request.to_bytes(&self.host);
        let start = Instant::now();
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let send = async {
            // A peer that refuses the request may stop reading it; its answer is what counts.
            let _ = writer.write_all(&bytes).await;
            let _ = writer.flush().await;
            std::future::pending::<()>().await;
        };
        let head = request.method() == "HEAD";
        let read = read_response(&mut reader, &mut self.buffer, head);
        let exchange = async {
            tokio::select! {
                response = read => response,
                () = send => unreachable!("sending ends in waiting"),
            }
        };
        let mut response = wait::within("a response", exchange).await??;
        response.took = start.elapsed();
        Ok(response)
    }

    /// The answer to a request on a connection that was kept; none where the connection ends
    /// before anything of an answer has come (RFC 9112, 9.3.1).
    pub async fn request_again(&mut self, request: &Request) -> Result<Option<Response>> {
        if self.send(&request.to_bytes(&self.host)).await.is_err() {
            return Ok(None);
        }
        let read = self.stream.read_buf(&mut self.buffer);
        match wait::within("a byte", read).await? {
            Ok(0) | Err(_) => Ok(None),
            Ok(_) => self.response().await.map(Some),
        }
    }

    /// Reads one response to a request that was not HEAD.
    pub async fn response(&mut self) -> Result<Response> {
        let read = read_response(&mut self.stream, &mut self.buffer, false);
        wait::within("a response", read).await?
    }

    /// Reads one response to a HEAD, which has no body whatever its header says.
    pub async fn head_response(&mut self) -> Result<Response> {
        let read = read_response(&mut self.stream, &mut self.buffer, true);
        wait::within("a response", read).await?
    }

    /// Waits until something of a response has come, and returns what is there so far.
    pub async fn peek(&mut self) -> Result<String> {
        let read = self.stream.read_buf(&mut self.buffer);
        wait::within("a byte", read).await??;
        Ok(String::from_utf8_lossy(&self.buffer).into_owned())
    }

    /// Waits for the peer to close the connection without sending anything more.
    pub async fn closed(&mut self) -> Result<()> {
        let mut rest = std::mem::take(&mut self.buffer);
        let end = wait::within("the end of a connection", self.stream.read_to_end(&mut rest));
        match end.await? {
            Ok(_) if !rest.is_empty() => Err(Error::new(format!(
                "expected the end of the connection, got {:?}",
                String::from_utf8_lossy(&rest)
            ))),
            // An end by reset is an end.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// How long the body of a response is.
enum Framing {
    None,
    Length(usize),
    Chunked,
    ToEnd,
}

/// Reads one response, after any interim ones (1xx).
async fn read_response(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    head: bool,
) -> Result<Response> {
    let (mut response, framing) = loop {
        let (response, framing) = read_head(reader, buffer, head).await?;
        if response.status >= 200 {
            break (response, framing);
        }
    };
    response.body = match framing {
        Framing::None => Vec::new(),
        Framing::Length(length) => {
            fill(reader, buffer, length).await.context("body")?;
            buffer.drain(..length).collect()
        }
        Framing::Chunked => read_chunks(reader, buffer).await.context("chunked body")?,
        Framing::ToEnd => {
            reader.read_to_end(buffer).await.context("body")?;
            std::mem::take(buffer)
        }
    };
    Ok(response)
}

async fn read_head(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    head: bool,
) -> Result<(Response, Framing)> {
    loop {
        if let Some((response, length)) = parse_head(buffer)? {
            buffer.drain(..length);
            let framing = framing(&response, head)?;
            return Ok((response, framing));
        }
        if reader.read_buf(buffer).await? == 0 {
            let got = String::from_utf8_lossy(buffer);
            return Err(Error::new(format!("the connection ended before a response: {got:?}")));
        }
    }
}

/// The head of a response and its length in bytes, once all of it is there.
fn parse_head(bytes: &[u8]) -> Result<Option<(Response, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut fields);
    let status = parsed.parse(bytes).context("response head")?;
    let httparse::Status::Complete(length) = status else { return Ok(None) };
    let headers = parsed.headers.iter().map(|field| {
        (field.name.to_ascii_lowercase(), String::from_utf8_lossy(field.value).into_owned())
    });
    let response = Response {
        status: parsed.code.unwrap_or_default(),
        headers: headers.collect(),
        body: Vec::new(),
        took: Duration::ZERO,
    };
    Ok(Some((response, length)))
}

fn framing(response: &Response, head: bool) -> Result<Framing> {
    if head || response.status < 200 || matches!(response.status, 204 | 304) {
        return Ok(Framing::None);
    }
    if let Some(coding) = response.header("transfer-encoding") {
        return if coding.eq_ignore_ascii_case("chunked") {
            Ok(Framing::Chunked)
        } else {
            Err(Error::new(format!("transfer-encoding: {coding}")))
        };
    }
    match response.header("content-length") {
        Some(_) => Ok(Framing::Length(
            usize::try_from(response.number("content-length")?).context("content-length")?,
        )),
        None => Ok(Framing::ToEnd),
    }
}

async fn read_chunks(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(reader, buffer).await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).context(format_args!("chunk size {line:?}"))?;
        if size == 0 {
            // Trailers, up to the empty line.
            while !read_line(reader, buffer).await?.is_empty() {}
            return Ok(body);
        }
        fill(reader, buffer, size + 2).await?;
        body.extend(buffer.drain(..size));
        buffer.drain(..2);
    }
}

/// Reads until the buffer holds this many bytes.
async fn fill(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    length: usize,
) -> Result<()> {
    while buffer.len() < length {
        if reader.read_buf(buffer).await? == 0 {
            return Err(Error::new(format!(
                "the connection ended after {} of {length} bytes",
                buffer.len()
            )));
        }
    }
    Ok(())
}

async fn read_line(reader: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Result<String> {
    loop {
        if let Some(at) = buffer.windows(2).position(|pair| pair == b"\r\n") {
            let line = buffer.drain(..at + 2).take(at).collect::<Vec<u8>>();
            return Ok(String::from_utf8_lossy(&line).into_owned());
        }
        fill(reader, buffer, buffer.len() + 1).await?;
    }
}
