//! One stored answer, and reading it.
//!
//! An entry owns what it weighs: header and body are copied out of the buffers that they came
//! in, which are larger and would be held as long as the entry lives. Hits copy nothing; they
//! share the bytes.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use pingora::http::{ResponseHeader, header_value_from_raw};
use pingora::{Error, ErrorType, Result};
use pingora_cache::key::{CacheHashKey, HashBinary};
use pingora_cache::storage::{HandleHit, Storage};
use pingora_cache::trace::SpanHandle;
use pingora_cache::{CacheKey, CacheMeta};

/// What an entry knows about its answer beside the body.
///
/// Pingora's [`CacheMeta`] cannot be cloned, so a hit builds a new one from this. Two of its
/// instants cannot be set from outside, and do not need to be: `updated` only serves `Age`, for
/// which `epoch` stands in, and `provenance`, which marks when a family of variants began, only
/// matters for the primary entry, whose `created` in turn matters to nobody. So one instant is
/// kept, the one that Pingora will ask for.
#[derive(Debug)]
pub(super) struct Head {
    header: ResponseHeader,
    fresh_until: SystemTime,
    created: SystemTime,
    epoch: SystemTime,
    updated: SystemTime,
    while_revalidate: u32,
    if_error: u32,
    variance: Option<HashBinary>,
}

impl Head {
    /// Copies what the entry under `key` needs.
    ///
    /// # Errors
    /// When the header cannot be built again, which no valid header causes.
    pub(super) fn of(key: &CacheKey, meta: &CacheMeta) -> Result<Self> {
        let is_primary = key.variance_bin().is_none();
        Ok(Self {
            header: compact(meta.response_header())?,
            fresh_until: meta.fresh_until(),
            created: if is_primary { meta.provenance() } else { meta.created() },
            epoch: meta.epoch(),
            updated: meta.updated(),
            while_revalidate: meta.stale_while_revalidate_sec(),
            if_error: meta.stale_if_error_sec(),
            variance: meta.variance(),
        })
    }

    /// When this was written: the newest instant that the store knows without a clock.
    pub(super) const fn updated(&self) -> SystemTime {
        self.updated
    }

    /// The length of the body that the header promises, where it does.
    pub(super) fn promised_length(&self) -> Option<u64> {
        self.header.headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    fn weight(&self) -> u64 {
        let fields = self.header.headers.iter();
        let bytes: usize = fields.map(|(name, value)| name.as_str().len() + value.len()).sum();
        bytes as u64 + FIELD_OVERHEAD * self.header.headers.len() as u64
    }

    fn meta(&self) -> CacheMeta {
        let mut meta = CacheMeta::new(
            self.fresh_until,
            self.created,
            self.while_revalidate,
            self.if_error,
            self.header.clone(),
        );
        meta.set_epoch_override(self.epoch);
        if let Some(variance) = self.variance {
            meta.set_variance(variance);
        }
        meta
    }
}

/// The same header in one allocation for all values, in lower case: on the wire Pingora writes
/// common names in their usual case.
fn compact(header: &ResponseHeader) -> Result<ResponseHeader> {
    let length = header.headers.values().map(http::HeaderValue::len).sum();
    let mut values = BytesMut::with_capacity(length);
    for value in header.headers.values() {
        values.extend_from_slice(value.as_bytes());
    }
    let mut values = values.freeze();
    let mut copy = ResponseHeader::build_no_case(header.status, Some(header.headers.len()))?;
    for (name, value) in &header.headers {
        copy.append_header(name, header_value_from_raw(values.split_to(value.len())))?;
    }
    Ok(copy)
}

/// A stored answer.
#[derive(Debug)]
pub(super) struct Entry {
    head: Head,
    body: Bytes,
    /// Whether it was used since the store last came by in search of room.
    used: AtomicBool,
}

impl Entry {
    pub(super) const fn new(head: Head, body: Bytes) -> Self {
        Self { head, body, used: AtomicBool::new(false) }
    }

    /// What the entry counts for against the store's bound, in bytes: body, header, key, and
    /// what the machinery around them takes.
    pub(super) fn weight(&self) -> u64 {
        ENTRY_OVERHEAD + self.head.weight() + self.body.len() as u64
    }

    pub(super) const fn updated(&self) -> SystemTime {
        self.head.updated()
    }

    pub(super) fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// Notes a use, then hands out meta data and a reader.
    pub(super) fn hit(&self) -> (CacheMeta, Hit) {
        // Reading first keeps the cache line of a popular entry shared between threads.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        let body = self.body.clone();
        (self.head.meta(), Hit { position: 0, end: body.len(), body, weight: self.weight() })
    }

    /// Whether it was used since this was last asked.
    pub(super) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Whether it was of no more use at `now`, not even stale.
    pub(super) fn is_over(&self, now: SystemTime) -> bool {
        let stale = self.head.while_revalidate.max(self.head.if_error);
        let until = self.head.fresh_until.checked_add(Duration::from_secs(stale.into()));
        until.is_some_and(|until| until < now)
    }
}

/// Reads the body of an entry; goes on reading even if the entry is replaced or evicted.
pub(super) struct Hit {
    body: Bytes,
    position: usize,
    end: usize,
    weight: u64,
}

#[async_trait]
impl HandleHit for Hit {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let next = self.end.min(self.position.saturating_add(READ_BYTES));
        if next <= self.position {
            return Ok(None);
        }
        let part = self.body.slice(self.position..next);
        self.position = next;
        Ok(Some(part))
    }

    async fn finish(
        self: Box<Self>,
        _: &'static (dyn Storage + Sync),
        _: &CacheKey,
        _: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    fn can_seek(&self) -> bool {
        true
    }

    fn seek(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        if start >= self.body.len() {
            return Error::e_explain(
                ErrorType::InternalError,
                format!("cannot seek to {start} in a body of {} bytes", self.body.len()),
            );
        }
        self.position = start;
        self.end = end.unwrap_or(usize::MAX).min(self.body.len());
        Ok(())
    }

    fn get_eviction_weight(&self) -> usize {
        usize::try_from(self.weight).unwrap_or(usize::MAX)
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

/// Bytes handed to the client's connection at once: few writes for large bodies, each short
/// enough for a write timeout to mean something.
const READ_BYTES: usize = 64 * 1024;

/// Rough memory of an entry beside its bytes: key, index, ring, reference counts, instants.
const ENTRY_OVERHEAD: u64 = 512;

/// Rough memory of a header field beside its bytes.
const FIELD_OVERHEAD: u64 = 96;
