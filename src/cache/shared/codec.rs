//! The form of an answer in Redis.
//!
//! A head with everything but the body, and the body behind it, or in chunks beside it where it
//! is long. The head begins with its version and what a writer must know to clear away the
//! chunks of what it replaces; a checksum covers all of it. Numbers are big-endian, every text
//! has its length in front.
//!
//! What is read is taken for an answer only if all of it is right: version, checksum, the whole
//! key and the place of the variant, every length. Anything else is [`Garbage`], which is nothing.
//! The checksum is against accidents: whoever can write into Redis can put answers there.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use pingora_cache::key::{CacheHashKey, HashBinary};
use pingora_cache::{CacheKey, CacheMeta};
use xxhash_rust::xxh3::xxh3_128;

use super::name::Name;
use crate::cache::{KeyHash, Note, Tag};

mod body;
mod bytes;

pub(super) use body::{Body, pack, unpack};
use bytes::{Reader, Writer};

/// Longest head with the body behind it, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = INLINE_BYTES_MAX + 128 * 1024;

/// Longest stored body that stays with its head; longer ones are cut into chunks of this length.
pub(super) const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Length of the part that every version of the form begins with, in bytes.
pub(super) const FRONT_BYTES: usize = 16;

/// First bytes of a head; the last is the version of its form.
const MAGIC: [u8; 4] = *b"TGA\x01";

/// No answer is fresh for longer, whatever was written (RFC 9111 has no use for more).
const LIFETIME_MAX: Duration = Duration::from_hours(365 * 24);

/// What was read is no answer to this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbage;

/// Whose answer it is: written into it, and compared when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The whole key.
    pub(super) key: KeyHash,
    /// The place in Redis, which tells variants apart.
    pub(super) name: Name,
}

impl Identity {
    /// The identity of what is under a key; none where the key is not a hash, and not shared.
    pub(super) fn of(key: &CacheKey) -> Option<Self> {
        Some(Self { key: key.primary_key().try_into().ok()?, name: Name::of(key) })
    }
}

/// A stored answer but for its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) created: SystemTime,
    pub(super) epoch: SystemTime,
    pub(super) fresh_until: SystemTime,
    pub(super) while_revalidate_s: u32,
    pub(super) if_error_s: u32,
    pub(super) variance: Option<HashBinary>,
    pub(super) header: ResponseHeader,
    pub(super) note: Option<Arc<Note>>,
}

impl Answer {
    /// Takes what is to be kept out of Pingora's form. Of `created` and `provenance` one is kept,
    /// the one that Pingora compares: when the family of variants began in the place that all
    /// variants are found from, when this variant was made in the others.
    pub(super) fn of(key: &CacheKey, meta: &CacheMeta, note: Option<Arc<Note>>) -> Self {
        let is_primary = key.variance_bin().is_none();
        Self {
            created: if is_primary { meta.provenance() } else { meta.created() },
            epoch: meta.epoch(),
            fresh_until: meta.fresh_until(),
            while_revalidate_s: meta.stale_while_revalidate_sec(),
            if_error_s: meta.stale_if_error_sec(),
            variance: meta.variance(),
            header: meta.response_header_copy(),
            note,
        }
    }

    /// Pingora's form, with the note.
    pub(super) fn into_meta(self) -> CacheMeta {
        let (stale, error) = (self.while_revalidate_s, self.if_error_s);
        let mut meta = CacheMeta::new(self.fresh_until, self.created, stale, error, self.header);
        meta.set_epoch_override(self.epoch);
        if let Some(variance) = self.variance {
            meta.set_variance(variance);
        }
        if let Some(note) = self.note {
            meta.extensions_mut().insert(note);
        }
        meta
    }

    /// For how long it is of use from `now` on, be it stale.
    pub(super) fn left(&self, now: SystemTime) -> Duration {
        let stale = Duration::from_secs(self.while_revalidate_s.max(self.if_error_s).into());
        let fresh = self.fresh_until.duration_since(now);
        match fresh {
            Ok(fresh) => fresh.saturating_add(stale),
            Err(past) => stale.saturating_sub(past.duration()),
        }
    }

    /// Makes its instants plausible by the clock of this node. What was made in the future was
    /// made now, and is fresh for as long as its writer meant.
    pub(super) fn settle(&mut self, now: SystemTime) {
        let lifetime = self.fresh_until.duration_since(self.epoch).unwrap_or_default();
        let is_fresh = self.fresh_until > self.epoch;
        let was_ahead = self.epoch > now;
        if was_ahead {
            self.epoch = now;
        }
        if is_fresh && (was_ahead || lifetime > LIFETIME_MAX) {
            self.fresh_until = self.epoch + lifetime.min(LIFETIME_MAX);
        } else if !is_fresh {
            self.fresh_until = self.fresh_until.min(self.epoch);
        }
    }
}

/// What a head says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) answer: Answer,
    pub(super) body: Body,
    /// The stored body, where it is behind the head.
    pub(super) inline: Vec<u8>,
}

/// Writes a head, with the stored body behind it unless that is in chunks. None where it is too
/// long.
pub(super) fn encode(
    of: &Identity,
    answer: &Answer,
    body: &Body,
    stored: &[u8],
) -> Option<Vec<u8>> {
    let mut rest = Writer::default();
    rest.bytes(&of.key);
    rest.bytes(&of.name.0);
    for instant in [answer.created, answer.epoch, answer.fresh_until] {
        rest.u64(nanos(instant));
    }
    rest.u32(answer.while_revalidate_s);
    rest.u32(answer.if_error_s);
    rest.u8(answer.variance.is_some().into());
    rest.bytes(&answer.variance.unwrap_or_default());
    encode_header(&mut rest, &answer.header)?;
    rest.u8(answer.note.is_some().into());
    if let Some(note) = &answer.note {
        rest.u64(note.seen);
        rest.u64(note.caller);
        rest.u16(u16::try_from(note.tags.len()).ok()?);
        note.tags.iter().for_each(|tag| rest.u64(tag.bits()));
    }
    body.write(&mut rest);
    if !body.is_chunked() {
        rest.bytes(stored);
    }
    let rest = rest.finish();
    let mut head = Writer::default();
    head.bytes(&MAGIC);
    head.u64(body.generation);
    head.u32(u32::try_from(body.chunks()).ok()?);
    head.u128(checksum(head.front(), &rest));
    head.bytes(&rest);
    Some(head.finish()).filter(|head| head.len() <= HEAD_BYTES_MAX)
}

/// Reads a head of this identity whose body has at most that length.
pub(super) fn decode(text: &[u8], of: &Identity, body_bytes_max: u64) -> Result<Head, Garbage> {
    read(text, of).filter(|head| head.body.length <= body_bytes_max).ok_or(Garbage)
}

/// The generation and number of the chunks that a head says it has, by its front alone.
pub(super) fn chunks_of(front: &[u8]) -> Option<(u64, u64)> {
    let mut reader = Reader::new(front);
    let (magic, generation, chunks) = (reader.array::<4>()?, reader.u64()?, reader.u32()?);
    let chunks = u64::from(chunks);
    let is_ours = magic == MAGIC && generation != 0 && chunks <= body::CHUNKS_MAX;
    is_ours.then_some((generation, chunks))
}

fn read(text: &[u8], of: &Identity) -> Option<Head> {
    let (front, _) = text.split_first_chunk::<FRONT_BYTES>()?;
    let mut reader = Reader::new(text);
    let (magic, generation, chunks) = (reader.array::<4>()?, reader.u64()?, reader.u32()?);
    let sum = reader.u128()?;
    if magic != MAGIC || sum != checksum(front, reader.rest()) {
        return None;
    }
    if reader.array()? != of.key || reader.array()? != of.name.0 {
        return None;
    }
    let (created, epoch, fresh_until) =
        (instant(reader.u64()?)?, instant(reader.u64()?)?, instant(reader.u64()?)?);
    let (while_revalidate_s, if_error_s) = (reader.u32()?, reader.u32()?);
    let (varies, variance) = (reader.flag()?, reader.array()?);
    let header = read_header(&mut reader)?;
    let note = if reader.flag()? { Some(Arc::new(read_note(&mut reader, of)?)) } else { None };
    let body = Body::read(&mut reader, generation)?;
    if body.chunks() != u64::from(chunks) {
        return None;
    }
    let inline = reader.rest();
    let inline_bytes = if body.is_chunked() { 0 } else { body.stored };
    if inline.len() as u64 != inline_bytes {
        return None;
    }
    let variance = varies.then_some(variance);
    Some(Head {
        answer: Answer {
            created,
            epoch,
            fresh_until,
            while_revalidate_s,
            if_error_s,
            variance,
            header,
            note,
        },
        body,
        inline: inline.to_vec(),
    })
}

fn encode_header(to: &mut Writer, header: &ResponseHeader) -> Option<()> {
    to.u16(header.status.as_u16());
    to.u16(u16::try_from(header.headers.len()).ok()?);
    for (name, value) in &header.headers {
        to.u16(u16::try_from(name.as_str().len()).ok()?);
        to.bytes(name.as_str().as_bytes());
        to.u32(u32::try_from(value.len()).ok()?);
        to.bytes(value.as_bytes());
    }
    Some(())
}

fn read_header(reader: &mut Reader<'_>) -> Option<ResponseHeader> {
    let status = StatusCode::from_u16(reader.u16()?).ok()?;
    // Others are not the end of an exchange, or no status at all.
    if !(200..600).contains(&status.as_u16()) {
        return None;
    }
    let fields = usize::from(reader.u16()?);
    let mut header = ResponseHeader::build_no_case(status, Some(fields.min(64))).ok()?;
    for _ in 0..fields {
        let length = usize::from(reader.u16()?);
        let name = HeaderName::from_bytes(reader.take(length)?).ok()?;
        let length = usize::try_from(reader.u32()?).ok()?;
        let value = HeaderValue::from_bytes(reader.take(length)?).ok()?;
        header.append_header(name, value).ok()?;
    }
    Some(header)
}

fn read_note(reader: &mut Reader<'_>, of: &Identity) -> Option<Note> {
    let (seen, caller) = (reader.u64()?, reader.u64()?);
    let tags = usize::from(reader.u16()?);
    let tags = (0..tags).map(|_| reader.u64().map(Tag::from_bits));
    Some(Note { key: of.key, tags: tags.collect::<Option<_>>()?, seen, caller, ..Note::default() })
}

fn checksum(front: &[u8], rest: &[u8]) -> u128 {
    xxh3_128(rest) ^ xxh3_128(front).rotate_left(1)
}

/// Nanoseconds since the epoch; what lies before it is the epoch, what lies beyond the year 2500
/// is the latest instant there is.
fn nanos(instant: SystemTime) -> u64 {
    let since = instant.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn instant(nanos: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests;
