//! HTTP/2 frames, read along by their headers: what asks for work without carrying anything.
//!
//! `h2` takes a connection apart; what it does not count is what a client makes it do for
//! nothing (RFC 9113 section 10.5). Frames that are malformed are left to it.

use std::time::Duration;

use tokio::time::Instant;

use super::Rules;

/// What an HTTP/2 client sends first, RFC 9113 section 3.4.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The time that frames are counted over.
const WINDOW: Duration = Duration::from_secs(10);

/// Bytes sent to a client that excuse one `WINDOW_UPDATE`: a client sends up to two for each
/// frame it gets, and a frame with one byte of content has ten.
const BYTES_PER_UPDATE: u64 = 4;
/// Bytes sent to a client that excuse one other control frame: gRPC clients measure with `PING`
/// how fast data comes. The answer to a `PING` has 17 bytes and so excuses a quarter of one.
const BYTES_PER_CONTROL: u64 = 64;

/// Most `CONTINUATION` frames of one header block: an honest one fills its frames.
const CONTINUATIONS_MAX: u16 = 32;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Why a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abuse {
    /// It is not HTTP/2 at all.
    NotHttp2,
    /// Too many frames that carry nothing.
    Flood,
}

/// Follows the bytes of an HTTP/2 client.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes of the preface that have come.
    preface: u8,
    /// The header of the present frame, and how much of it has come.
    head: [u8; 9],
    have: u8,
    /// Type of the present frame.
    kind: u8,
    /// Bytes of the present frame that are still to come.
    left: u32,
    /// The header block that is not complete.
    block: Option<Block>,
    /// Counted since then.
    began: Option<Instant>,
    opened: u32,
    reset: u32,
    control: u32,
    updates: u32,
    sent: u64,
}

#[derive(Debug)]
struct Block {
    bytes: u64,
    continuations: u16,
}

impl Frames {
    /// Takes the next bytes as they came.
    ///
    /// # Errors
    /// Why the connection is to be given up.
    pub(super) fn push(&mut self, bytes: &[u8], now: Instant, rules: &Rules) -> Result<(), Abuse> {
        let mut rest = self.skip_preface(bytes)?;
        while !rest.is_empty() {
            let skipped = rest.len().min(self.left as usize);
            self.left -= u32::try_from(skipped).unwrap_or(self.left);
            rest = rest.get(skipped..).unwrap_or_default();
            while usize::from(self.have) < self.head.len() {
                let (Some((byte, behind)), true) = (rest.split_first(), self.left == 0) else {
                    break;
                };
                if let Some(place) = self.head.get_mut(usize::from(self.have)) {
                    *place = *byte;
                }
                self.have += 1;
                rest = behind;
            }
            if usize::from(self.have) == self.head.len() {
                self.have = 0;
                self.frame(now, rules)?;
            }
        }
        Ok(())
    }

    /// Bytes went to the client.
    pub(super) fn answered(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// Whether the client is within a header: of the connection, of a frame, of a request.
    pub(super) fn in_header(&self) -> bool {
        let headers = matches!(self.kind, HEADERS | CONTINUATION) && self.left > 0;
        usize::from(self.preface) < PREFACE.len()
            || self.have > 0
            || self.block.is_some()
            || headers
    }

    fn skip_preface<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Abuse> {
        let due = PREFACE.get(usize::from(self.preface)..).unwrap_or_default();
        let (come, rest) = bytes.split_at(bytes.len().min(due.len()));
        if !due.starts_with(come) {
            return Err(Abuse::NotHttp2);
        }
        self.preface += u8::try_from(come.len()).unwrap_or_default();
        Ok(rest)
    }

    /// The header of a frame has come.
    fn frame(&mut self, now: Instant, rules: &Rules) -> Result<(), Abuse> {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        (self.kind, self.left) = (kind, length);
        if self.began.is_none_or(|began| now - began >= WINDOW) {
            self.began = Some(now);
            (self.opened, self.reset, self.control, self.updates, self.sent) = (0, 0, 0, 0, 0);
        }
        match kind {
            DATA => self.control += u32::from(length == 0 && flags & END_STREAM == 0),
            HEADERS => {
                self.opened += 1;
                self.block = Some(Block { bytes: u64::from(length), continuations: 0 });
            }
            CONTINUATION => {
                self.control += u32::from(length == 0);
                if let Some(block) = &mut self.block {
                    block.bytes += u64::from(length);
                    block.continuations += 1;
                }
            }
            RST_STREAM => self.reset += 1,
            WINDOW_UPDATE => self.updates += 1,
            // PRIORITY, SETTINGS, PUSH_PROMISE, PING, GOAWAY, and what is not known.
            _ => self.control += 1,
        }
        let flooded = self.is_flooded(rules);
        if matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS != 0 {
            self.block = None;
        }
        if flooded { Err(Abuse::Flood) } else { Ok(()) }
    }

    fn is_flooded(&self, rules: &Rules) -> bool {
        // Compressed headers are hardly ever longer than what they stand for.
        let block_max = rules.header_bytes.saturating_mul(2).saturating_add(16 * 1024);
        let block = self.block.as_ref().is_some_and(|block| {
            block.continuations > CONTINUATIONS_MAX || block.bytes > block_max
        });
        let finished = self.opened.saturating_sub(self.reset);
        let excused = |per: u64| u32::try_from(self.sent / per).unwrap_or(u32::MAX);
        let most = rules.control_frames;
        block
            || self.reset > rules.resets.saturating_add(finished)
            || self.control > most.saturating_add(excused(BYTES_PER_CONTROL))
            || self.updates > most.saturating_add(excused(BYTES_PER_UPDATE))
    }
}

#[cfg(test)]
mod tests;
