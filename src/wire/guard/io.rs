//! The guard as a stream: what Pingora reads, writes and asks.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
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
        this.keep_promise(cx)?;
        if this.is_leaving() {
            return this.leave(cx);
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
        if let Some(other) = this.watched.tunnels() {
            return this.write_in_tunnel(other, buf, cx);
        }
        let outcome = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.written(outcome, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().flush_soon(cx)
    }

    /// How connections of HTTP/2 end: those of HTTP/1 end by `shutdown`.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_end(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(other) = this.watched.tunnels() {
            return this.write_first_in_tunnel(other, bufs, cx);
        }
        let outcome = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.written(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
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
