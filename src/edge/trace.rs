//! W3C Trace Context, level 1: continue a trace, or start one.
//!
//! The gateway writes version 00. Of the flags it passes on `sampled`, and `random` of level 2;
//! the others are reserved and must be zero. A trace that it starts is marked as sampled: the
//! access log does record it, and services that follow the flag would otherwise stop tracing.

use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::hex::{hex_digit, write_hex};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace that a request belongs to, with the gateway's own span.
#[derive(Clone, Debug)]
pub struct TraceContext {
    /// `traceparent` for the upstream: the client's trace id, the gateway's span id.
    pub traceparent: HeaderValue,
    /// `tracestate` for the upstream, kept only with a valid `traceparent`.
    pub tracestate: Option<HeaderValue>,
}

impl TraceContext {
    /// Continues a valid `traceparent`; anything else starts a new trace from the entropy.
    #[must_use]
    pub fn continue_or_start(headers: &HeaderMap, entropy: (u128, u64)) -> Self {
        let parent = read_parent(headers);
        // Ids of zero are forbidden; entropy of one is as good as entropy of zero.
        let (trace_id, flags) = parent.unwrap_or((entropy.0.max(1), SAMPLED));
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let fields =
            [(TRACE_ID, trace_id), (SPAN_ID, entropy.1.max(1).into()), (FLAGS, flags.into())];
        for (range, number) in fields {
            if let Some(slot) = text.get_mut(range) {
                write_hex(slot, number);
            }
        }
        Self {
            traceparent: HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("")),
            tracestate: parent.and_then(|_| read_state(headers)),
        }
    }

    /// The trace id, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.field(TRACE_ID)
    }

    /// The id of the gateway's span, 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> &str {
        self.field(SPAN_ID)
    }

    /// Whether the client's tracing may have recorded this trace, or the gateway started it.
    #[must_use]
    pub fn sampled(&self) -> bool {
        read_hex(self.field(FLAGS).as_bytes()).is_some_and(|flags| flags & u128::from(SAMPLED) != 0)
    }

    fn field(&self, range: Range<usize>) -> &str {
        self.traceparent.to_str().ok().and_then(|value| value.get(range)).unwrap_or_default()
    }
}

/// Where the fields stand in `traceparent`.
const VERSION: Range<usize> = 0..2;
const TRACE_ID: Range<usize> = 3..35;
const SPAN_ID: Range<usize> = 36..52;
const FLAGS: Range<usize> = 53..55;
const DASHES: [usize; 3] = [2, 35, 52];
const TRACEPARENT_BYTES: usize = 55;

const SAMPLED: u8 = 0x01;
const KNOWN_FLAGS: u8 = SAMPLED | 0x02;

/// The trace id and the flags of the one valid `traceparent`.
fn read_parent(headers: &HeaderMap) -> Option<(u128, u8)> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let (line, None) = (lines.next()?.as_bytes(), lines.next()) else { return None };
    let field = |range| line.get(range).and_then(read_hex);
    let version = field(VERSION)?;
    // Version ff is forbidden; versions to come keep these fields and add others behind a dash.
    let length_fits = match line.get(TRACEPARENT_BYTES) {
        None => true,
        Some(b'-') => version > 0,
        Some(_) => false,
    };
    let dashes = DASHES.iter().all(|&at| line.get(at) == Some(&b'-'));
    if version == 0xff || !length_fits || !dashes {
        return None;
    }
    let trace_id = field(TRACE_ID).filter(|id| *id != 0)?;
    field(SPAN_ID).filter(|id| *id != 0)?;
    let flags = u8::try_from(field(FLAGS)?).ok()?;
    Some((trace_id, flags & KNOWN_FLAGS))
}

/// Reads hexadecimal digits; only lower-case ones are valid here.
fn read_hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, byte| {
        let digit = hex_digit(*byte).filter(|_| !byte.is_ascii_uppercase())?;
        Some(number << 4 | u128::from(digit))
    })
}

/// Longest `tracestate` passed on, in bytes: what the specification says to support at least.
const STATE_BYTES_MAX: usize = 512;
/// Most members of a `tracestate`, by the specification.
const STATE_MEMBERS_MAX: usize = 32;

/// The whole `tracestate`, lines joined; none if it is too long or malformed.
fn read_state(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = || headers.get_all(TRACESTATE).iter();
    let commas = lines().count().checked_sub(1)?;
    let bytes = lines().map(HeaderValue::len).sum::<usize>() + commas;
    let members = || {
        lines()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    };
    let count = members().count();
    if bytes > STATE_BYTES_MAX || !(1..=STATE_MEMBERS_MAX).contains(&count) {
        return None;
    }
    if !members().all(is_state_member) {
        return None;
    }
    if commas == 0 {
        return lines().next().cloned();
    }
    let mut joined = Vec::with_capacity(bytes);
    for line in lines() {
        if !joined.is_empty() {
            joined.push(b',');
        }
        joined.extend_from_slice(line.as_bytes());
    }
    HeaderValue::try_from(joined).ok()
}

/// `key=value`, as the specification spells them.
fn is_state_member(member: &[u8]) -> bool {
    let Some(equals) = member.iter().position(|byte| *byte == b'=') else { return false };
    let (key, value) = member.split_at(equals);
    let value = value.get(1..).unwrap_or_default();
    let key_byte =
        |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let value_byte = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    (1..=256).contains(&key.len())
        && (1..=256).contains(&value.len())
        && key.iter().all(key_byte)
        && value.iter().all(value_byte)
}

#[cfg(test)]
mod tests;
