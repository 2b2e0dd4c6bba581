//! Stands between the socket and Pingora.
//!
//! Pingora waits for a client as long as the client likes, and reads HTTP/1 more kindly than is
//! safe. The guard reads along, and ends what takes too long or cannot be read in one way only.
//! An ordinary request costs it one look at its bytes; it looks at the clock only when it has to
//! wait for the client, and sets a timer hardly ever (see [`super::alarm`]).

mod apology;
mod gather;
mod io;
mod shutdown;
mod tunnel;

use std::any::Any;
use std::future::poll_fn;
use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pingora::protocols::Stream;
use pingora::protocols::raw_connect::ProxyDigest;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use self::gather::Gather;
use self::tunnel::Tunnel;
use super::alarm::Alarm;
use super::frames::{Abuse, Frames, PREFACE};
use super::pace::{Pace, TooSlow};
use super::prefix::Prefix;
use super::{Ended, Farewell, Framing, Phase, Place, Rules, Watched};
use crate::edge::Connection;
use crate::telemetry::Refused;

/// A connection, watched.
#[derive(Debug)]
pub struct Guard {
    inner: Stream,
    digest: Arc<ProxyDigest>,
    watched: Arc<Watched>,
    rules: Arc<Rules>,
    place: Place,
    follow: Follow,
    /// What was read to find out what comes, and is not handed on yet.
    prefix: Prefix,
    /// Until when what the client has begun must be whole.
    due: Option<Instant>,
    reading: Pace,
    writing: Pace,
    /// What the client's machine had acknowledged when `writing` began its window.
    acknowledged: u64,
    gather: Gather,
    /// Until when a client of HTTP/2 that was told of the end is read, and how much at most.
    lingers: Option<(Instant, usize)>,
    alarm: Alarm,
    /// There once something has been sent in a tunnel.
    tunnel: Option<Box<Tunnel>>,
    farewell: Arc<Farewell>,
    /// Whether a request has been served already.
    served: bool,
    /// Bytes of HTTP/1 handed on that belong to no request that was served; none where that is
    /// not known.
    unserved: Option<u64>,
    /// Why nothing is read any more.
    ended: Option<ErrorKind>,
}

/// What is read along.
#[derive(Debug)]
enum Follow {
    Http1(Framing),
    Http2(Frames),
}

impl Guard {
    /// Watches a connection that speaks HTTP/1, unless found or told otherwise. Should it become
    /// a tunnel, the farewell ends it.
    #[must_use]
    pub fn new(
        inner: Stream,
        connection: Connection,
        rules: Arc<Rules>,
        place: Place,
        farewell: Arc<Farewell>,
    ) -> Self {
        let watched = Arc::new(Watched::new(connection));
        let shared: Box<dyn Any + Send + Sync> = Box::new(Arc::clone(&watched));
        let nothing = pingora::http::ResponseHeader::from(http::Response::new(()).into_parts().0);
        let digest = Arc::new(ProxyDigest::new(Box::new(nothing), Some(shared)));
        Self {
            inner,
            digest,
            watched,
            rules,
            place,
            follow: Follow::Http1(Framing::default()),
            prefix: Prefix::default(),
            due: None,
            reading: Pace::default(),
            writing: Pace::default(),
            acknowledged: 0,
            gather: Gather::default(),
            lingers: None,
            alarm: Alarm::default(),
            tunnel: None,
            farewell,
            served: false,
            unserved: Some(0),
            ended: None,
        }
    }

    /// What holds for the connection.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The connection speaks HTTP/2, by agreement or because nothing else is spoken here.
    pub fn speak_http2(&mut self) {
        self.due = Some(Instant::now() + self.rules.header);
        self.follow = Follow::Http2(Frames::default());
    }

    /// The client speaks a protocol that the listener does not.
    pub fn refuse_protocol(&self) {
        self.place.refused(Refused::Protocol);
    }

    /// Tells by its first bytes whether a client speaks HTTP/2 (RFC 9113 section 3.4): as they
    /// come, up to the first that differs, so that a short request of HTTP/1 is not held up.
    ///
    /// # Errors
    /// When the connection ends, or time does.
    pub async fn detect_http2(&mut self) -> Result<bool> {
        loop {
            let come = self.prefix.come();
            if !PREFACE.starts_with(come) {
                return Ok(false);
            }
            if come.len() == PREFACE.len() {
                return Ok(true);
            }
            let first = come.is_empty();
            poll_fn(|cx| self.poll_prefix(cx, PREFACE.len())).await?;
            if first {
                // A header's time begins with its first byte.
                self.due = Some(Instant::now() + self.rules.header);
            }
        }
    }

    /// Waits for the first byte of a request of HTTP/1. False when the client has gone, or is
    /// not waited for any longer.
    ///
    /// Between requests there is nothing but this: Pingora's session, its buffers and the future
    /// of a request come into being when a request does, and an idle connection stays small.
    /// Where bytes of the next request may have been read along with the one before, Pingora has
    /// them and is asked at once.
    pub async fn next_request(&mut self) -> bool {
        if self.prefix.come().is_empty() && self.unserved == Some(0) {
            if poll_fn(|cx| self.poll_prefix(cx, 1)).await.is_err() {
                return false;
            }
            self.due = None;
        }
        self.served = true;
        true
    }

    /// The connection comes back from a request of HTTP/1.
    pub fn request_served(&mut self) {
        let extent = self.watched.served();
        let handed_on = self.unserved.zip(extent);
        self.unserved = handed_on.and_then(|(bytes, extent)| bytes.checked_sub(extent));
    }

    /// Reads on until the prefix has grown, to at most this length.
    fn poll_prefix(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Result<()>> {
        let begun = self.prefix.length > 0;
        let room = self.prefix.bytes.get_mut(usize::from(self.prefix.length)..most);
        let mut room = ReadBuf::new(room.unwrap_or_default());
        match Pin::new(&mut self.inner).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) if room.filled().is_empty() => {
                Poll::Ready(Err(ErrorKind::UnexpectedEof.into()))
            }
            Poll::Ready(Ok(())) => {
                self.prefix.length += u8::try_from(room.filled().len()).unwrap_or_default();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let span = if self.served { self.rules.idle } else { self.rules.header };
                let due = *self.due.get_or_insert_with(|| Instant::now() + span);
                if !self.alarm.passed(due, cx) {
                    return Poll::Pending;
                }
                if begun || !self.served {
                    self.place.refused(Refused::HeaderTimeout);
                }
                if begun {
                    self.apologise(cx);
                }
                Poll::Ready(Err(ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Ends reading for good.
    fn end(&mut self, why: ErrorKind) -> Error {
        self.ended = Some(why);
        why.into()
    }

    /// Looks at bytes that are about to be handed on.
    fn look(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.follow {
            Follow::Http1(framing) => {
                let before = framing.phase();
                if before == Phase::Tunnel {
                    return Ok(());
                }
                if self.watched.tunnels().is_some() {
                    framing.tunnel();
                    self.due = None;
                    return Ok(());
                }
                self.unserved = self.unserved.map(|before| before + bytes.len() as u64);
                let outcome = framing.push(bytes);
                let phase = framing.phase();
                self.due = match phase {
                    _ if outcome.is_err() => self.due,
                    Phase::Header => self.due.or_else(|| Some(Instant::now() + self.rules.header)),
                    _ => None,
                };
                if phase == Phase::Body {
                    self.reading.moved(bytes.len());
                } else if before == Phase::Body {
                    self.reading = Pace::default();
                }
                outcome.or_else(|violation| {
                    self.watched.violates(violation);
                    // What of a body was handed on is on its way; the rest stays here. A header
                    // is handed on, for its request to be refused with the reason.
                    if before == Phase::Body && phase == Phase::Body {
                        self.watched.ends(Ended::Malformed);
                        return Err(self.end(ErrorKind::InvalidData));
                    }
                    Ok(())
                })
            }
            Follow::Http2(frames) => {
                let now = Instant::now();
                let outcome = frames.push(bytes, now, &self.rules);
                if frames.in_header() {
                    self.due.get_or_insert(now + self.rules.header);
                } else {
                    self.due = None;
                }
                outcome.map_err(|abuse| {
                    self.place.refused(match abuse {
                        Abuse::NotHttp2 => Refused::Protocol,
                        Abuse::Flood => Refused::Http2Flood,
                    });
                    self.end(ErrorKind::InvalidData)
                })
            }
        }
    }

    /// Nothing has come. How long is that in order?
    fn wait_to_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(at) = self.watched.deadline.at()
            && self.alarm.passed(at, cx)
        {
            self.watched.deadline.pass();
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        if self.hears_farewell(cx) {
            return self.leave(cx);
        }
        if let Some(due) = self.due {
            if !self.alarm.passed(due, cx) {
                return Poll::Pending;
            }
            if !self.is_idle() {
                self.place.refused(Refused::HeaderTimeout);
                self.apologise(cx);
            }
            return Poll::Ready(Err(self.end(ErrorKind::TimedOut)));
        }
        // Bodies of HTTP/2 are timed by their requests: many share the connection, and one may
        // be waiting for its service.
        let Follow::Http1(framing) = &self.follow else { return Poll::Pending };
        match framing.phase() {
            Phase::Idle if !self.watched.is_serving() => return self.wait_for_header(cx),
            Phase::Header => return self.wait_for_header(cx),
            Phase::Idle | Phase::Tunnel => return Poll::Pending,
            Phase::Body => {}
        }
        loop {
            let due = self.reading.wait(&self.rules, Instant::now);
            if !self.alarm.passed(due, cx) {
                return Poll::Pending;
            }
            if let Err(slow) = self.reading.judge(&self.rules, Instant::now()) {
                self.watched.ends(Ended::Slow);
                self.place.refused(match slow {
                    TooSlow::Pause => Refused::ReadTimeout,
                    TooSlow::Rate => Refused::Rate,
                });
                return Poll::Ready(Err(self.end(ErrorKind::TimedOut)));
            }
        }
    }

    /// Pingora waits for a request of which the guard has not seen the end: one that was read
    /// ahead in part, that began with an empty line, or that cannot be read in one way only.
    fn wait_for_header(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        // Whoever has nothing in between and reads has nothing left over either.
        let begun = self.unserved.get_or_insert(0) != &0;
        let span = if begun { self.rules.header } else { self.rules.idle };
        self.due = Some(Instant::now() + span);
        self.wait_to_read(cx)
    }

    /// Whether nothing of a request of HTTP/1 has come.
    fn is_idle(&self) -> bool {
        let Follow::Http1(framing) = &self.follow else { return false };
        framing.phase() == Phase::Idle && self.unserved == Some(0)
    }

    /// The client does not take what there is for it. How long is that in order?
    ///
    /// What counts is what its machine acknowledges: the buffers between here and there are large
    /// enough for minutes of a slow line.
    fn wait_to_write<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T>> {
        if self.writing.is_fresh() {
            self.acknowledged = self.acknowledged_now();
        }
        loop {
            let due = self.writing.wait(&self.rules, Instant::now);
            if !self.alarm.passed(due, cx) {
                return Poll::Pending;
            }
            let acknowledged = self.acknowledged_now();
            self.writing.counted(acknowledged.saturating_sub(self.acknowledged));
            if self.writing.judge(&self.rules, Instant::now()).is_err() {
                self.place.refused(Refused::Rate);
                return Poll::Ready(Err(self.end(ErrorKind::TimedOut)));
            }
            self.acknowledged = acknowledged;
        }
    }

    /// Bytes that the client's machine has acknowledged so far.
    fn acknowledged_now(&self) -> u64 {
        let socket = self.inner.get_socket_digest();
        socket.and_then(|socket| socket.tcp_info()).map_or(0, |tcp| tcp.tcpi_bytes_acked)
    }

    /// Notes what a write came to.
    fn written(
        &mut self,
        outcome: Poll<Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize>> {
        match outcome {
            Poll::Ready(Ok(bytes)) => {
                self.writing.moved(0);
                self.gather();
                if let Follow::Http2(frames) = &mut self.follow {
                    frames.answered(bytes);
                }
                outcome
            }
            Poll::Ready(Err(_)) => outcome,
            Poll::Pending => self.wait_to_write(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_handed_on_in_its_order_whatever_the_room() {
        let mut prefix = Prefix::default();
        prefix.bytes[..5].copy_from_slice(b"PRI *");
        prefix.length = 5;
        let mut handed = Vec::new();
        for room in [2, 0, 1, 9] {
            let mut bytes = [0; 9];
            let mut buf = ReadBuf::new(&mut bytes[..room]);
            prefix.hand_on(&mut buf);
            handed.extend_from_slice(buf.filled());
        }
        assert_eq!((handed.as_slice(), prefix.length), (b"PRI *".as_slice(), 0));
    }

    /// Ten thousand idle connections are to fit in 320 MiB; each has one of these.
    #[test]
    fn a_guard_is_small() {
        let size = size_of::<Guard>();
        assert!(size <= 512, "{size}");
    }
}
