//! An origin that says exactly these bytes, valid HTTP or not.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::{Context, Result, ports};

/// Answers every request with the same bytes and closes the connection.
pub struct RawOrigin {
    address: SocketAddr,
    heads: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl RawOrigin {
    /// Starts on a free port.
    pub async fn start(answer: impl Into<Vec<u8>>) -> Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, ports::free()?).into();
        let listener = TcpListener::bind(address).await.context("raw origin")?;
        let heads = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(serve(listener, Arc::new(answer.into()), Arc::clone(&heads)));
        Ok(Self { address, heads, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Number of request heads read.
    #[must_use]
    pub fn total(&self) -> usize {
        self.heads.load(Ordering::SeqCst)
    }
}

impl Drop for RawOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, answer: Arc<Vec<u8>>, heads: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (answer, heads) = (Arc::clone(&answer), Arc::clone(&heads));
        connections.spawn(async move {
            let _ = exchange(stream, &answer, &heads).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn exchange(
    mut stream: TcpStream,
    answer: &[u8],
    heads: &AtomicUsize,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    heads.fetch_add(1, Ordering::SeqCst);
    stream.write_all(answer).await?;
    stream.shutdown().await
}
