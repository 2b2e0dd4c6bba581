//! Connections to services that are to switch protocols.
//!
//! Pingora notes the end of a request and reads the answer side by side, in no certain order. A
//! service that switches at once may be heard before the end of the request is noted, and Pingora
//! takes that end for the end of the tunnel: the client gets its 101 and nothing more. So here
//! nothing is read before everything else that is to be done after a write has been done. That
//! costs a tunnel one more look at the same task after a write, and other connections nothing.
//!
//! For Pingora such a connection has no descriptor, by which it tells kept ones apart; they are
//! for one exchange.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::ext;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Makes connections on which the end of a request comes before its answer.
#[derive(Debug)]
pub struct RequestFirst;

impl RequestFirst {
    /// Has this attempt make a connection of its own.
    pub fn prepare(peer: &mut HttpPeer) {
        peer.options.custom_l4 = Some(Arc::new(Self));
        // None of those that other requests have left, and none is left to them.
        peer.group_key = !peer.group_key;
        peer.options.idle_timeout = Some(Duration::ZERO);
    }
}

#[async_trait]
impl L4Connect for RequestFirst {
    /// Pingora limits the time.
    async fn connect(&self, address: &SocketAddr) -> pingora::Result<Stream> {
        let Some(address) = address.as_inet() else {
            return Error::e_explain(ErrorType::ConnectError, "not an address of a network");
        };
        let socket = Turns { inner: ext::connect(address, None).await?, written: false };
        Ok(VirtualSocketStream::new(Box::new(socket)).into())
    }
}

/// A connection that is not read at once after a write.
#[derive(Debug)]
struct Turns<S> {
    inner: S,
    written: bool,
}

impl VirtualSocket for Turns<tokio::net::TcpStream> {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.inner.set_nodelay(true),
            // No peer asks for any other.
            _ => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Turns<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.written) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Turns<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written = true;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn what_has_come_is_read_one_turn_after_a_write() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut turns = Turns { inner: near, written: false };
        far.write_all(b"answer").await.unwrap();
        turns.write_all(b"request").await.unwrap();
        let mut looks = 0;
        let mut bytes = [0; 64];
        poll_fn(|cx| {
            looks += 1;
            Pin::new(&mut turns).poll_read(cx, &mut ReadBuf::new(&mut bytes))
        })
        .await
        .unwrap();
        assert!(bytes.starts_with(b"answer"));
        assert_eq!(looks, 2);
        // Without a write in between, at once.
        far.write_all(b"more").await.unwrap();
        poll_fn(|cx| {
            let read = Pin::new(&mut turns).poll_read(cx, &mut ReadBuf::new(&mut bytes));
            assert!(read.is_ready());
            Poll::Ready(())
        })
        .await;
        assert!(bytes.starts_with(b"more"));
    }
}
