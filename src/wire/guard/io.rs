//! The guard as a stream: what Pingora reads, writes and asks.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Follow, Guard};

impl AsyncRead for Guard {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(why) = this.ended {
            return Poll::Ready(Err(why.into()));
        }
        let before = buf.filled().len();
        if this.prefix.length > 0 {
            this.prefix.hand_on(buf);
        }
        let outcome = if buf.remaining() > 0 {
            Pin::new(&mut this.inner).poll_read(cx, buf)
        } else {
            Poll::Ready(Ok(()))
        };
        let come = buf.filled().get(before..).unwrap_or_default();
        if come.is_empty() {
            return match outcome {
                Poll::Pending => this.wait_to_read(cx),
                Poll::Ready(ended) => Poll::Ready(ended),
            };
        }
        // An end or an error behind the prefix shows again with the next read.
        let looked = this.look(come);
        if looked.is_err() {
            buf.set_filled(before);
        }
        Poll::Ready(looked)
    }
}

impl AsyncWrite for Guard {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.written(outcome, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_flush(cx) {
            Poll::Pending => this.wait_to_write(cx),
            Poll::Ready(outcome) => {
                this.writing.moved(0);
                Poll::Ready(outcome)
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.written(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Guard {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Guard {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Guard {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    /// How Pingora learns what is spoken, in clear text too.
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.follow {
            Follow::Http1(_) => Some(ALPN::H1),
            Follow::Http2(_) => Some(ALPN::H2),
        }
    }
}

impl GetTimingDigest for Guard {
    /// Nothing: nobody asks, and a list would be made for every request.
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Guard {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl GetSocketDigest for Guard {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

impl Peek for Guard {}
