//! What the guard of a connection and its requests share.

use std::any::Any;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use pingora::protocols::Digest;

use super::{Deadline, Violation};
use crate::edge::Connection;

/// What is known of a connection, and what its guard has seen of its client.
#[derive(Debug)]
pub struct Watched {
    /// The connection.
    pub connection: Connection,
    /// When the exchange under way is given up.
    pub deadline: Deadline,
    violation: OnceLock<Violation>,
    /// An [`Ended`], or 0.
    ended: AtomicU8,
    /// An [`Other`], or 0.
    tunnel: AtomicU8,
    /// Bytes of the request in service; 0 while none is, [`UNKNOWN`] where that is not known.
    extent: AtomicU64,
}

/// Why the guard has given up reading a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client was too slow.
    Slow = 1,
    /// What came can be read in more than one way.
    Malformed = 2,
}

/// What a connection carries that is not HTTP any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// A `WebSocket` (RFC 6455).
    WebSocket = 1,
    /// What only its ends know.
    Unknown = 2,
}

/// The extent of a request whose length is not known before it ends.
const UNKNOWN: u64 = u64::MAX;

impl Watched {
    /// Nothing has been seen yet.
    #[must_use]
    pub const fn new(connection: Connection) -> Self {
        Self {
            connection,
            deadline: Deadline::none(),
            violation: OnceLock::new(),
            ended: AtomicU8::new(0),
            tunnel: AtomicU8::new(0),
            extent: AtomicU64::new(0),
        }
    }

    /// What is known of the connection that a request came on, from Pingora's digest of it.
    #[must_use]
    pub fn of(digest: Option<&Digest>) -> Option<&Arc<Self>> {
        let user_data = digest?.proxy_digest.as_ref()?.user_data.as_ref()?;
        let any: &(dyn Any + Send + Sync) = user_data.as_ref();
        any.downcast_ref::<Arc<Self>>()
    }

    /// What of the client's bytes can be read in more than one way. The request that they belong
    /// to is refused, and the connection serves no other.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.violation.get().copied()
    }

    /// Why the guard has given up reading, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        let ended = self.ended.load(Ordering::Relaxed);
        [Ended::Slow, Ended::Malformed].into_iter().find(|why| *why as u8 == ended)
    }

    /// A request of HTTP/1 has begun to be served: the length of its header, and of its body
    /// where that is known.
    pub fn serve(&self, header: usize, body: Option<u64>) {
        let extent = body.map_or(UNKNOWN, |body| body.saturating_add(header as u64));
        self.extent.store(extent, Ordering::Relaxed);
    }

    /// The gateway switches protocols: what the client sends from here on is not HTTP/1. To be
    /// called before the client can know.
    pub fn tunnel(&self, other: Other) {
        self.tunnel.store(other as u8, Ordering::Relaxed);
    }

    /// The other protocol that the connection carries by now, if it does.
    pub(super) fn tunnels(&self) -> Option<Other> {
        let tunnel = self.tunnel.load(Ordering::Relaxed);
        [Other::WebSocket, Other::Unknown].into_iter().find(|other| *other as u8 == tunnel)
    }

    /// Remembers the first violation.
    pub(super) fn violates(&self, violation: Violation) {
        let _ = self.violation.set(violation);
    }

    /// Remembers why reading has ended.
    pub(super) fn ends(&self, why: Ended) {
        self.ended.store(why as u8, Ordering::Relaxed);
    }

    /// Whether a request of HTTP/1 is being served.
    pub(super) fn is_serving(&self) -> bool {
        self.extent.load(Ordering::Relaxed) != 0
    }

    /// The request has been served. Gives its length; none where that is not known.
    pub(super) fn served(&self) -> Option<u64> {
        let extent = self.extent.swap(0, Ordering::Relaxed);
        (extent != UNKNOWN).then_some(extent)
    }
}
