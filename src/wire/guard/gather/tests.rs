use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, ReadBuf};

use super::*;
use crate::edge::Connection;
use crate::telemetry::{ListenerMeters, Metrics};
use crate::wire::{Ceiling, Door, Farewell, Rules, Speaks};

/// A buffered socket on which nothing comes.
#[derive(Debug, Default)]
struct Socket {
    buffer: Vec<u8>,
    wire: Arc<Mutex<Wire>>,
}

#[derive(Debug, Default)]
struct Wire {
    sent: Vec<u8>,
    is_full: bool,
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<Result<usize>> {
        self.buffer.extend_from_slice(b);
        Poll::Ready(Ok(b.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let mut wire = this.wire.lock();
        if wire.is_full && !this.buffer.is_empty() {
            return Poll::Pending;
        }
        wire.sent.append(&mut this.buffer);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_flush(cx)
    }
}

#[async_trait]
impl Shutdown for Socket {
    async fn shutdown(&mut self) {}
}

impl UniqueID for Socket {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl GetTimingDigest for Socket {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Socket {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Socket {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Ssl for Socket {}
impl Peek for Socket {}

fn pair() -> (Arc<Mutex<Wire>>, Guard) {
    let metrics = Metrics::new().unwrap();
    let ceiling = Arc::new(Ceiling::new(9, &metrics.connections_ceiling));
    let door = Arc::new(Door::new(ListenerMeters::new(&metrics, "main"), ceiling));
    let rules = Rules {
        speaks: Speaks::Both,
        header: Duration::from_mins(1),
        read: Duration::from_mins(1),
        idle: Duration::from_mins(1),
        min_rate: 0,
        requests: 9,
        header_bytes: 8192,
        streams: 9,
        resets: 9,
        control_frames: 9,
    };
    let place = door.enter(9).unwrap();
    let socket = Socket::default();
    let wire = Arc::clone(&socket.wire);
    let farewell = Arc::<Farewell>::default();
    let guard =
        Guard::new(Box::new(socket), Connection::default(), Arc::new(rules), place, farewell);
    (wire, guard)
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn write(guard: &mut Guard, bytes: &[u8], cx: &mut Context<'_>) {
    assert!(Pin::new(guard).poll_write(cx, bytes).is_ready());
}

fn is_flushed(guard: &mut Guard, cx: &mut Context<'_>) -> bool {
    Pin::new(guard).poll_flush(cx).is_ready()
}

/// Begins a turn: there is nothing to read.
fn turn(guard: &mut Guard, cx: &mut Context<'_>) {
    let mut room = [0; 16];
    assert!(Pin::new(guard).poll_read(cx, &mut ReadBuf::new(&mut room)).is_pending());
}

#[tokio::test]
async fn answers_of_one_turn_leave_together_with_the_next() {
    let (wire, mut guard) = pair();
    guard.speak_http2();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let cx = &mut Context::from_waker(&waker);
    for answer in [b"one", b"two"] {
        write(&mut guard, answer, cx);
        assert!(is_flushed(&mut guard, cx), "a flush is promised at once");
    }
    assert_eq!(woken.0.load(Ordering::Relaxed), 1, "one promise brings one turn");
    assert_eq!(wire.lock().sent, b"", "nothing has left by itself");
    turn(&mut guard, cx);
    assert_eq!(wire.lock().sent, b"onetwo");
    assert!(is_flushed(&mut guard, cx));
    assert_eq!(woken.0.load(Ordering::Relaxed), 1, "nothing to send brings no turn");
}

#[tokio::test]
async fn an_answer_of_http1_leaves_when_it_is_flushed() {
    let (wire, mut guard) = pair();
    let cx = &mut Context::from_waker(Waker::noop());
    write(&mut guard, b"one", cx);
    assert!(is_flushed(&mut guard, cx));
    assert_eq!(wire.lock().sent, b"one");
}

/// Nothing may be promised that a client does not take: streams would fill the memory.
#[tokio::test]
async fn what_a_client_does_not_take_holds_its_streams_up() {
    let (wire, mut guard) = pair();
    guard.speak_http2();
    let cx = &mut Context::from_waker(Waker::noop());
    write(&mut guard, b"one", cx);
    assert!(is_flushed(&mut guard, cx));
    wire.lock().is_full = true;
    turn(&mut guard, cx);
    write(&mut guard, b"two", cx);
    assert!(!is_flushed(&mut guard, cx), "a stuck flush is not promised again");
    wire.lock().is_full = false;
    turn(&mut guard, cx);
    assert_eq!(wire.lock().sent, b"onetwo");
    write(&mut guard, b"three", cx);
    assert!(is_flushed(&mut guard, cx), "what went on is promised as before");
    assert_eq!(wire.lock().sent, b"onetwo");
}

#[tokio::test(start_paused = true)]
async fn what_is_promised_leaves_before_the_connection_is_shut_down() {
    let (wire, mut guard) = pair();
    guard.speak_http2();
    let cx = &mut Context::from_waker(Waker::noop());
    write(&mut guard, b"last", cx);
    assert!(is_flushed(&mut guard, cx));
    // The client, which says nothing, is read on for a moment.
    assert!(Pin::new(&mut guard).poll_shutdown(cx).is_pending());
    assert_eq!(wire.lock().sent, b"last");
    poll_fn(|cx| Pin::new(&mut guard).poll_shutdown(cx)).await.unwrap();
}
