//! A body in Redis: compressed where that helps, cut into chunks where it is long.

use bytes::Bytes;
use http::header;
use pingora::http::ResponseHeader;
use xxhash_rust::xxh3::xxh3_128;

use super::bytes::{Reader, Writer};
use super::{Garbage, INLINE_BYTES_MAX};
use crate::cache::MAX_OBJECT_BYTES;

/// The most chunks that a body has.
pub(super) const CHUNKS_MAX: u64 = MAX_OBJECT_BYTES.div_ceil(INLINE_BYTES_MAX as u64);

/// The fastest that is worth it: what is saved is the network's and Redis's, not the client's.
const LEVEL: i32 = 1;

/// What a head says of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache::shared) struct Body {
    /// Its length as clients get it, in bytes.
    pub(in crate::cache::shared) length: u64,
    /// Its length in Redis, in bytes; shorter where it is compressed.
    pub(in crate::cache::shared) stored: u64,
    /// Checksum of what is in Redis.
    pub(in crate::cache::shared) sum: u128,
    /// Whose chunks are its own; 0 where it has none.
    pub(in crate::cache::shared) generation: u64,
}

impl Body {
    pub(in crate::cache::shared) const fn is_chunked(&self) -> bool {
        self.generation != 0
    }

    /// How many chunks it is cut into.
    pub(in crate::cache::shared) const fn chunks(&self) -> u64 {
        if self.is_chunked() { self.stored.div_ceil(INLINE_BYTES_MAX as u64) } else { 0 }
    }

    pub(super) fn write(&self, to: &mut Writer) {
        to.u64(self.length);
        to.u64(self.stored);
        to.u128(self.sum);
    }

    pub(super) fn read(from: &mut Reader<'_>, generation: u64) -> Option<Self> {
        let body = Self { length: from.u64()?, stored: from.u64()?, sum: from.u128()?, generation };
        let is_possible = body.stored <= body.length
            && body.length <= MAX_OBJECT_BYTES
            && (body.is_chunked() || body.stored <= INLINE_BYTES_MAX as u64);
        is_possible.then_some(body)
    }
}

/// Brings a body into its stored form. From `compress_from` bytes on it is compressed, unless it
/// is in a coding already or does not become shorter. `generation` names its chunks, if it needs
/// any; not 0.
pub(in crate::cache::shared) fn pack(
    plain: Vec<u8>,
    header: &ResponseHeader,
    compress_from: u64,
    generation: u64,
) -> (Body, Vec<u8>) {
    let length = plain.len() as u64;
    let is_coded = header.headers.contains_key(header::CONTENT_ENCODING);
    let compressed = (length >= compress_from && !is_coded)
        .then(|| zstd::bulk::compress(&plain, LEVEL).ok())
        .flatten()
        .filter(|compressed| compressed.len() < plain.len());
    let stored = compressed.unwrap_or(plain);
    let generation = if stored.len() > INLINE_BYTES_MAX { generation } else { 0 };
    let body = Body { length, stored: stored.len() as u64, sum: xxh3_128(&stored), generation };
    (body, stored)
}

/// Brings a body back from its stored form. Never makes more than the length that the head
/// states, which was bounded when it was read.
pub(in crate::cache::shared) fn unpack(body: &Body, stored: Vec<u8>) -> Result<Bytes, Garbage> {
    if stored.len() as u64 != body.stored || xxh3_128(&stored) != body.sum {
        return Err(Garbage);
    }
    if body.stored == body.length {
        return Ok(Bytes::from(stored));
    }
    let length = usize::try_from(body.length).map_err(|_| Garbage)?;
    let plain = zstd::bulk::decompress(&stored, length).map_err(|_| Garbage)?;
    if plain.len() != length {
        return Err(Garbage);
    }
    Ok(Bytes::from(plain))
}
