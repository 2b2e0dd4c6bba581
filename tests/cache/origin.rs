//! The service behind the gateway: it says what the case under way wants said, and keeps what it
//! was asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_kit::{Context, Error, Result, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::table::Manner;
use crate::values;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What is to be said.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) manner: Manner,
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    /// Fields that are not to be added.
    pub(crate) without: Vec<String>,
    pub(crate) body: Vec<u8>,
}

/// Listens on loopback. A case is the second part of a path: `/ROUTE/CASE/…`.
pub(crate) struct ScriptedOrigin {
    address: SocketAddr,
    cases: Arc<Mutex<HashMap<usize, Dialogue>>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Dialogue {
    script: Option<Script>,
    seen: Vec<Seen>,
}

impl ScriptedOrigin {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("scripted origin")?;
        let address = listener.local_addr()?;
        let cases = Arc::default();
        let task = tokio::spawn(serve(listener, Arc::clone(&cases)));
        Ok(Self { address, cases, task })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on a case's requests are answered so; without a script they are a mistake.
    pub(crate) fn script(&self, case: usize, script: Option<Script>) {
        self.cases.lock().entry(case).or_default().script = script;
    }

    /// Takes what was asked for a case since the last time.
    pub(crate) fn take(&self, case: usize) -> Vec<Seen> {
        std::mem::take(&mut self.cases.lock().entry(case).or_default().seen)
    }

    /// Waits until something was asked for a case.
    pub(crate) async fn asked(&self, case: usize) -> Result<()> {
        wait::until("the service to be asked behind the client's back", async || {
            self.cases.lock().get(&case).is_some_and(|case| !case.seen.is_empty()).then_some(())
        })
        .await
    }
}

impl Drop for ScriptedOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, cases: Arc<Mutex<HashMap<usize, Dialogue>>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let cases = Arc::clone(&cases);
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            let _ = exchange(stream, &cases).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Serves a connection until it ends.
async fn exchange(mut stream: TcpStream, cases: &Mutex<HashMap<usize, Dialogue>>) -> Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(seen) = read_request(&mut stream, &mut buffer).await? else { return Ok(()) };
        let case = seen.target.split('/').nth(2).and_then(|case| case.parse().ok());
        let script = {
            let mut cases = cases.lock();
            let dialogue = cases.entry(case.unwrap_or(usize::MAX)).or_default();
            dialogue.seen.push(seen.clone());
            dialogue.script.clone().unwrap_or_else(unasked)
        };
        match script.manner {
            Manner::Die => return Ok(()),
            Manner::Hang => {
                // Until the gateway gives up.
                while stream.read_buf(&mut buffer).await? > 0 {}
                return Ok(());
            }
            Manner::Whole | Manner::Cut => {
                let (bytes, stays) = script.to_bytes(&seen.method);
                stream.write_all(&bytes).await?;
                if !stays {
                    return stream.shutdown().await.context("shutdown");
                }
            }
        }
    }
}

/// What a service says that must not be asked.
fn unasked() -> Script {
    Script {
        manner: Manner::Whole,
        status: 500,
        fields: vec![("cache-control".to_owned(), "no-store".to_owned())],
        without: Vec::new(),
        body: b"the service was not to be asked".to_vec(),
    }
}

impl Script {
    /// The answer on the wire, and whether the connection goes on after it.
    fn to_bytes(&self, method: &str) -> (Vec<u8>, bool) {
        let has =
            |name: &str| self.fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let adds = |name: &str| !has(name) && !self.without.iter().any(|other| other == name);
        let mut head = format!("HTTP/1.1 {} Said\r\n", self.status);
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        if adds("date") {
            head += &format!("date: {}\r\n", values::now());
        }
        let bodiless = matches!(self.status, 204 | 304);
        let chunked = has("transfer-encoding");
        let promised =
            if self.manner == Manner::Cut { self.body.len() * 2 } else { self.body.len() };
        let counted = !bodiless && !chunked && adds("content-length");
        if counted {
            head += &format!("content-length: {promised}\r\n");
        }
        let mut bytes = (head + "\r\n").into_bytes();
        if bodiless || method == "HEAD" {
            return (bytes, true);
        }
        if chunked {
            bytes.extend(format!("{:x}\r\n", self.body.len()).into_bytes());
        }
        bytes.extend_from_slice(&self.body);
        let whole = self.manner == Manner::Whole;
        if chunked && whole {
            bytes.extend_from_slice(b"\r\n0\r\n\r\n");
        }
        (bytes, whole && (counted || chunked || has("content-length")))
    }
}

/// Reads a request; none at the end of the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<Seen>> {
    let Some(end) = upto(stream, buffer, b"\r\n\r\n").await? else { return Ok(None) };
    let head: Vec<u8> = buffer.drain(..end).collect();
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.trim_end().split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let mut seen = Seen {
        method: words.next().unwrap_or_default().to_owned(),
        target: words.next().unwrap_or_default().to_owned(),
        ..Seen::default()
    };
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        seen.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |name: &str| {
        seen.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    };
    if header("transfer-encoding").is_some() {
        loop {
            let end = upto(stream, buffer, b"\r\n").await?.context("a chunk")?;
            let line: Vec<u8> = buffer.drain(..end).collect();
            let size = String::from_utf8_lossy(&line);
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
                .context("the size of a chunk")?;
            let chunk = exactly(stream, buffer, size + 2).await?;
            if size == 0 {
                break;
            }
            seen.body.extend_from_slice(&chunk[..size]);
        }
    } else if let Some(length) = header("content-length").and_then(|length| length.parse().ok()) {
        seen.body = exactly(stream, buffer, length).await?;
    }
    Ok(Some(seen))
}

/// Reads until a mark is there; returns where it ends.
async fn upto(stream: &mut TcpStream, buffer: &mut Vec<u8>, mark: &[u8]) -> Result<Option<usize>> {
    loop {
        if let Some(at) = buffer.windows(mark.len()).position(|window| window == mark) {
            return Ok(Some(at + mark.len()));
        }
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() {
                Ok(None)
            } else {
                Err(Error::new("the gateway closed within a request"))
            };
        }
    }
}

async fn exactly(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize) -> Result<Vec<u8>> {
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(Error::new("the gateway closed within a body"));
        }
    }
    Ok(buffer.drain(..length).collect())
}
