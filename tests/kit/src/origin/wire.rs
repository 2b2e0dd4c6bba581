//! An origin that keeps every request as it came off the wire, and says what a script says.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::{Context, Result, ports};

/// A request as it came off the wire, and as the plainest of servers would read it.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// The request line.
    pub line: String,
    /// The fields, names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// The body, out of its chunks.
    pub body: Vec<u8>,
}

/// What a script puts on the wire.
#[derive(Clone, Debug)]
pub enum Step {
    /// These bytes, at once.
    Say(Vec<u8>),
    /// A pause long enough for what was said to be read on its own.
    Pause,
    /// The end of the connection.
    Close,
}

/// Answers `200` and `ok` to every request, on connections that stay open, and remembers what it
/// read; a request whose target is the name of a script gets that instead.
pub struct WireOrigin {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    taken: Mutex<Vec<Taken>>,
    scripts: Mutex<HashMap<String, Vec<Step>>>,
}

impl WireOrigin {
    /// Starts on a free port.
    pub async fn start() -> Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, ports::free()?).into();
        let listener = TcpListener::bind(address).await.context("wire origin")?;
        let state = Arc::new(State::default());
        let task = tokio::spawn(serve(listener, Arc::clone(&state)));
        Ok(Self { address, state, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on, requests for this target are answered so.
    pub fn script(&self, target: &str, steps: Vec<Step>) {
        self.state.scripts.lock().insert(target.to_owned(), steps);
    }

    /// Every request since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Taken> {
        std::mem::take(&mut *self.state.taken.lock())
    }
}

impl Drop for WireOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            let _ = exchange(stream, &state).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// How long a pause is. What follows it need not come apart for a test to hold; it only usually
/// does.
const PAUSE: Duration = Duration::from_millis(20);

async fn exchange(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = find(&buffer, b"\r\n\r\n") {
                break buffer.drain(..end + 4).collect::<Vec<u8>>();
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let mut taken = read_head(&String::from_utf8_lossy(&head));
        // Noted before its body is there: a request that never ends has been sent all the same.
        let index = {
            let mut all = state.taken.lock();
            all.push(taken.clone());
            all.len() - 1
        };
        let header = |name: &str| {
            taken.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        if header("expect").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let target = taken.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let coding = header("transfer-encoding");
        let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        taken.body = match coding {
            Some(_) => read_chunks(&mut stream, &mut buffer).await?,
            None => read_exactly(&mut stream, &mut buffer, length).await?,
        };
        if let Some(entry) = state.taken.lock().get_mut(index) {
            entry.body = taken.body;
        }
        let script = state.scripts.lock().get(&target).cloned();
        let usual = vec![Step::Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())];
        for step in script.unwrap_or(usual) {
            match step {
                Step::Say(bytes) => stream.write_all(&bytes).await?,
                Step::Pause => tokio::time::sleep(PAUSE).await,
                Step::Close => return stream.shutdown().await,
            }
        }
    }
}

fn read_head(text: &str) -> Taken {
    let mut lines = text.trim_end().split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    Taken { line, headers: headers.collect(), body: Vec::new() }
}

async fn read_exactly(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    length: usize,
) -> std::io::Result<Vec<u8>> {
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.drain(..length).collect())
}

async fn read_chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = loop {
            match find(buffer, b"\r\n") {
                Some(end) => break end,
                None if stream.read_buf(buffer).await? == 0 => {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                None => {}
            }
        };
        let line = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end + 2);
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
            .map_err(|_| std::io::ErrorKind::InvalidData)?;
        let mut chunk = read_exactly(stream, buffer, size + 2).await?;
        if size == 0 {
            return Ok(body);
        }
        chunk.truncate(size);
        body.append(&mut chunk);
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
