//! What a listener asks of its connections.

use std::time::Duration;

/// The settings of a listener that hold for the life of a connection. A reload changes them for
/// connections that come after it.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What is spoken.
    pub speaks: Speaks,
    /// Time for a request header from its first byte, and for each thing before the first.
    pub header: Duration,
    /// Longest pause inside a request's body, and the time that rates are averaged over.
    pub read: Duration,
    /// How long an idle connection stays open.
    pub idle: Duration,
    /// Bytes per second of a body or an answer; 0 asks for nothing.
    pub min_rate: u64,
    /// Requests on one connection, at least 1.
    pub requests: u32,
    /// Largest header block, in bytes.
    pub header_bytes: u64,
    /// HTTP/2: requests at once.
    pub streams: u32,
    /// HTTP/2: streams reset in ten seconds, beyond those that end otherwise.
    pub resets: u32,
    /// HTTP/2: frames that ask for work and carry nothing, in ten seconds.
    pub control_frames: u32,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1 and HTTP/1.0.
    Http1,
    /// HTTP/2.
    Http2,
    /// Either; the client chooses.
    Both,
}

impl Speaks {
    /// Whether HTTP/1 is among it.
    #[must_use]
    pub const fn http1(self) -> bool {
        matches!(self, Self::Http1 | Self::Both)
    }

    /// Whether HTTP/2 is among it.
    #[must_use]
    pub const fn http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Both)
    }
}

impl Rules {
    /// Bytes that a client must move while it was waited for the length of `read`.
    #[must_use]
    pub fn bytes_due(&self) -> u64 {
        let millis = u64::try_from(self.read.as_millis()).unwrap_or(u64::MAX);
        self.min_rate.saturating_mul(millis) / 1000
    }
}
