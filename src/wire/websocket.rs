//! Where the frames of a `WebSocket` end, as its client sees them (RFC 6455 section 5.2).
//!
//! A frame of the gateway's own may only stand between two of the service's: anywhere else the
//! client would take it for content. So what goes to the client is followed by the lengths in the
//! frames' headers; content is skipped, not looked at.

/// "Going away", in a closing frame without a text. Frames to a client have no mask.
pub(super) const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xE9];

const CLOSE: u8 = 8;

/// Follows the bytes to a client, from the header of the answer on that switches protocols.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frames {
    head: Head,
    /// The header of the present frame, and how much of it has passed.
    header: [u8; 10],
    have: u8,
    /// Bytes of the present frame behind its header that have not passed.
    left: u64,
    /// Whether a closing frame has begun.
    closing: bool,
}

impl Frames {
    /// Takes what has passed.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let passed = self.step(rest);
            rest = rest.get(passed..).unwrap_or_default();
        }
    }

    /// How many of these bytes, which have not passed, belong to what has begun: a frame, or the
    /// answer in front of the first one.
    pub(super) fn rest_of_frame(mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while !self.is_between() && passed < bytes.len() {
            passed += self.step(bytes.get(passed..).unwrap_or_default());
        }
        passed
    }

    /// Whether what has passed ends with a frame, or with the answer in front of the first one.
    pub(super) const fn is_between(&self) -> bool {
        self.head.is_over && self.have == 0 && self.left == 0
    }

    /// Whether the service has said itself that nothing more comes (RFC 6455 section 5.5.1).
    pub(super) const fn is_closing(&self) -> bool {
        self.closing
    }

    /// Takes at least one byte, and none behind the end of a frame. Says how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if !self.head.is_over {
            return self.head.step(bytes);
        }
        if self.left > 0 {
            let passed = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= passed as u64;
            return passed;
        }
        if let (Some(place), Some(byte)) =
            (self.header.get_mut(usize::from(self.have)), bytes.first())
        {
            *place = *byte;
        }
        self.have += 1;
        if self.have == self.header_length() {
            self.left = self.length();
            self.closing |= self.header[0] & 0x0F == CLOSE;
            self.have = 0;
        }
        1
    }

    /// Length of the present frame's header, without a mask: as far as is known, at least 2.
    const fn header_length(&self) -> u8 {
        match (self.have, self.header[1] & 0x7F) {
            (0 | 1, _) => 2,
            (_, 126) => 4,
            (_, 127) => 10,
            _ => 2,
        }
    }

    /// Bytes behind the header. A service must not mask; one that does has four more.
    fn length(&self) -> u64 {
        let [_, second, length @ ..] = self.header;
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let content = match second & 0x7F {
            126 => u64::from(u16::from_be_bytes([length[0], length[1]])),
            127 => u64::from_be_bytes(length),
            short => u64::from(short),
        };
        content.saturating_add(mask)
    }
}

/// Finds the end of the answer with 101. Others may pass before it: 103 (RFC 8297).
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    is_over: bool,
    /// Bytes of the present answer, up to its status.
    at: u8,
    switches: bool,
    /// How much of the empty line has passed that ends it.
    end: u8,
}

impl Head {
    /// Before and behind the status in `HTTP/1.1 101 `.
    const STATUS: std::ops::Range<u8> = 9..12;

    /// Takes the bytes up to the end, or all. Says how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        for (passed, byte) in bytes.iter().enumerate() {
            if self.at < Self::STATUS.end {
                if Self::STATUS.contains(&self.at) {
                    let due = b"101".get(usize::from(self.at - Self::STATUS.start));
                    self.switches =
                        due == Some(byte) && (self.at == Self::STATUS.start || self.switches);
                }
                self.at += 1;
            }
            self.end = match (self.end, byte) {
                (0 | 2, b'\r') | (1 | 3, b'\n') => self.end + 1,
                (_, b'\r') => 1,
                _ => 0,
            };
            if self.end == 4 {
                *self = Self { is_over: self.switches, ..Self::default() };
                if self.is_over {
                    return passed + 1;
                }
            }
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests;
