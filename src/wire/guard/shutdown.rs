//! The end of a connection that the gateway closes.
//!
//! Where bytes of the client are unread when a socket is closed, the kernel tells it so at once
//! (RST), and forgets what the client has not acknowledged: the end of an answer, or the last
//! words of a tunnel (RFC 9112 section 9.6). So what may still come is read for a moment.

use std::io::{ErrorKind, Result};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::Shutdown;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};

use super::{Follow, Guard};
use crate::wire::Phase;

/// How long a client is read that has been told of the end.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes of such a client that are read at most: about what can be on its way.
const LINGER_BYTES: usize = 4 << 20;

/// Bytes that are read at once.
const PIECE: usize = 16 * 1024;

#[async_trait]
impl Shutdown for Guard {
    async fn shutdown(&mut self) {
        // A client that takes nothing is not waited for either.
        let _ = timeout(LINGER, self.inner.shutdown()).await;
        if self.may_have_unread() {
            // Made only now: this is not for connections that end between two requests.
            let _ = timeout(LINGER, Box::pin(self.read_on())).await;
        }
    }
}

impl Guard {
    /// Ends a connection of HTTP/2: sends what there is, at the pace that the listener asks for,
    /// and then reads on, because clients tell to the end how much they have taken.
    ///
    /// # Errors
    /// Those of the socket, and when the client takes nothing for too long.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let (until, mut left) = match self.lingers {
            Some(lingers) => lingers,
            None => match Pin::new(&mut self.inner).poll_shutdown(cx) {
                Poll::Pending => return self.wait_to_write(cx),
                Poll::Ready(outcome) => {
                    outcome?;
                    (Instant::now() + LINGER, LINGER_BYTES)
                }
            },
        };
        let mut piece = [MaybeUninit::uninit(); 1024];
        while left > 0 {
            let mut room = ReadBuf::uninit(&mut piece);
            match Pin::new(&mut self.inner).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) if !room.filled().is_empty() => {
                    left = left.saturating_sub(room.filled().len());
                }
                Poll::Ready(_) => break,
                Poll::Pending => {
                    self.lingers = Some((until, left));
                    if !self.alarm.passed(until, cx) {
                        return Poll::Pending;
                    }
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the client was within something when the connection ended, other than too slow.
    fn may_have_unread(&self) -> bool {
        let Follow::Http1(framing) = &self.follow else { return false };
        let within = self.tunnel.is_some() || framing.phase() != Phase::Idle;
        within && self.ended != Some(ErrorKind::TimedOut)
    }

    /// Reads what comes, and drops it.
    async fn read_on(&mut self) {
        let mut piece = vec![0; PIECE];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match self.inner.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(length) => left = left.saturating_sub(length),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use pingora::protocols::l4::stream::Stream as Socket;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpSocket, TcpStream};

    use super::*;
    use crate::edge::Connection;
    use crate::telemetry::{ListenerMeters, Metrics};
    use crate::wire::{Ceiling, Door, Farewell, Other, Rules, Speaks};

    const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

    /// A client that has room for little, and the guard at the other end, whose socket has room
    /// for more: what the client has not taken is lost in a reset.
    async fn connected(farewell: &Arc<Farewell>) -> (TcpStream, Guard) {
        let (listener, client) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap());
        listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        listener.set_send_buffer_size(400_000).unwrap();
        client.set_recv_buffer_size(4096).unwrap();
        let listener = listener.listen(1).unwrap();
        let client = client.connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let metrics = Metrics::new().unwrap();
        let ceiling = Arc::new(Ceiling::new(1, &metrics.connections_ceiling));
        let door = Arc::new(Door::new(ListenerMeters::new(&metrics, "main"), ceiling));
        let minute = Duration::from_mins(1);
        let rules = Rules {
            speaks: Speaks::Http1,
            header: minute,
            read: minute,
            idle: minute,
            min_rate: 0,
            requests: 10,
            header_bytes: 1000,
            streams: 1,
            resets: 1,
            control_frames: 1,
        };
        let (connection, place) = (Connection::default(), door.enter(1).unwrap());
        let socket = Box::new(Socket::from(socket));
        let farewell = Arc::clone(farewell);
        (client, Guard::new(socket, connection, Arc::new(rules), place, farewell))
    }

    /// Sends what begins a tunnel.
    async fn switch(guard: &mut Guard, other: Other) {
        guard.watched.tunnel(other);
        guard.write_all(SWITCH).await.unwrap();
    }

    /// What the client gets, and how that ends.
    async fn ends(client: &mut TcpStream) -> (Vec<u8>, Option<io::ErrorKind>) {
        let mut come = Vec::new();
        let end = client.read_to_end(&mut come).await;
        (come, end.err().map(|error| error.kind()))
    }

    #[tokio::test]
    async fn a_tunnel_is_read_to_its_end_before_it_is_closed() {
        let (mut client, mut guard) = connected(&Arc::default()).await;
        switch(&mut guard, Other::Unknown).await;
        client.write_all(&vec![7; 60_000]).await.unwrap();
        client.shutdown().await.unwrap();
        let bye = vec![b'x'; 100_000];
        guard.write_all(&bye).await.unwrap();
        Shutdown::shutdown(&mut guard).await;
        drop(guard);
        assert!(ends(&mut client).await == ([SWITCH, &bye].concat(), None), "the end is lost");
    }

    #[tokio::test]
    async fn a_body_that_nobody_wants_is_read_on() {
        let (mut client, mut guard) = connected(&Arc::default()).await;
        client.write_all(b"POST / HTTP/1.1\r\ncontent-length: 99999\r\n\r\n").await.unwrap();
        guard.read_exact(&mut [0; 42]).await.unwrap();
        client.write_all(&vec![7; 60_000]).await.unwrap();
        client.shutdown().await.unwrap();
        let answer = [b"HTTP/1.1 413 No\r\n\r\n".as_slice(), &vec![b' '; 100_000]].concat();
        guard.write_all(&answer).await.unwrap();
        Shutdown::shutdown(&mut guard).await;
        drop(guard);
        assert!(ends(&mut client).await == (answer, None), "the end is lost");
    }

    /// It is told of the end all the same.
    #[tokio::test]
    async fn a_client_that_does_not_go_is_not_waited_for_long() {
        let (mut client, mut guard) = connected(&Arc::default()).await;
        switch(&mut guard, Other::Unknown).await;
        let began = Instant::now();
        let over = tokio::spawn(async move {
            Shutdown::shutdown(&mut guard).await;
            guard
        });
        assert_eq!(ends(&mut client).await, (SWITCH.to_vec(), None));
        let mut guard = over.await.unwrap();
        assert!(began.elapsed() >= LINGER, "{:?}", began.elapsed());
        // Nor one that never stops.
        let endless =
            tokio::spawn(async move { while client.write_all(&[7; PIECE]).await.is_ok() {} });
        guard.read_on().await;
        drop(guard);
        endless.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_between_two_requests_is_closed_at_once() {
        let (mut client, mut guard) = connected(&Arc::default()).await;
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        guard.read_exact(&mut [0; 18]).await.unwrap();
        assert!(!guard.may_have_unread());
        guard.speak_http2();
        assert!(!guard.may_have_unread());
        drop(guard);
        assert_eq!(ends(&mut client).await.0, b"");
    }

    /// The rest of a frame still goes, and nothing behind it.
    #[tokio::test]
    async fn the_farewell_comes_behind_the_frame_that_has_begun() {
        let farewell = Arc::default();
        let (mut client, mut guard) = connected(&farewell).await;
        switch(&mut guard, Other::WebSocket).await;
        guard.write_all(b"\x81\x05wor").await.unwrap();
        guard.flush().await.unwrap();
        farewell.say();
        let waits = timeout(Duration::from_millis(50), guard.read(&mut [0; 9])).await;
        assert!(waits.is_err(), "within a frame");
        guard.write_all(b"ds\x81\x01x\x81\x02").await.unwrap();
        guard.write_all(b"yz").await.unwrap();
        assert_eq!(guard.read(&mut [0; 9]).await.unwrap(), 0);
        assert_eq!(guard.read(&mut [0; 9]).await.unwrap(), 0, "once");
        client.shutdown().await.unwrap();
        Shutdown::shutdown(&mut guard).await;
        let come = [SWITCH, b"\x81\x05words\x88\x02\x03\xe9"].concat();
        assert_eq!(ends(&mut client).await, (come, None));
    }
}
