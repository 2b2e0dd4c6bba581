//! An origin that a test plays itself, byte by byte.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{Context, Error, Result, ports, wait};

/// Accepts connections when the test says so.
pub struct ManualOrigin {
    listener: TcpListener,
    address: SocketAddr,
}

/// A connection from the gateway.
pub struct Exchange {
    /// The header as it came, with the empty line; empty where it was not read.
    pub head: String,
    stream: TcpStream,
    /// What was read beyond the header.
    buffer: Vec<u8>,
}

impl ManualOrigin {
    /// Listens on a free port.
    pub async fn start() -> Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, ports::free()?).into();
        let listener = TcpListener::bind(address).await.context("manual origin")?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes the next connection, of which nothing has been read.
    pub async fn connection(&self) -> Result<Exchange> {
        let (stream, _) = wait::within("a connection", self.listener.accept()).await??;
        stream.set_nodelay(true)?;
        Ok(Exchange { head: String::new(), stream, buffer: Vec::new() })
    }

    /// Takes the next connection and reads the header of its request.
    pub async fn request(&self) -> Result<Exchange> {
        let mut exchange = self.connection().await?;
        let head = exchange.until("\r\n\r\n").await?;
        exchange.head = head;
        Ok(exchange)
    }
}

impl Exchange {
    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.stream.write_all(bytes.as_ref()).await.context("send")
    }

    /// Reads up to and with a text.
    pub async fn until(&mut self, end: &str) -> Result<String> {
        wait::within(&format!("{end:?} from the gateway"), async {
            loop {
                let text = String::from_utf8_lossy(&self.buffer).into_owned();
                if let Some(at) = text.find(end) {
                    let length = at + end.len();
                    self.buffer.drain(..length);
                    return Ok(text[..length].to_owned());
                }
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    return Err(Error::new(format!("the gateway closed after {text:?}")));
                }
            }
        })
        .await?
    }

    /// The value of a header of the request.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Waits until the gateway has closed or reset the connection.
    pub async fn closed(&mut self) -> Result<()> {
        wait::within("the gateway to close", async {
            while matches!(self.stream.read_buf(&mut self.buffer).await, Ok(read) if read > 0) {}
        })
        .await
    }
}
