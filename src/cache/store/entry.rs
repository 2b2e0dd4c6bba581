//! One stored answer.
//!
//! An entry owns what it weighs: header and body are copied out of the buffers that they came
//! in, which are larger and would be held as long as the entry lives. Hits copy nothing; they
//! share the bytes.

use std::mem::size_of;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use pingora::Result;
use pingora::http::{ResponseHeader, header_value_from_raw};
use pingora_cache::key::{CacheHashKey, HashBinary};
use pingora_cache::{CacheKey, CacheMeta};

use super::super::{KeyHash, Note};
use super::record::{Record, Ticket};
use crate::cache::purge::Tag;

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
    /// What the answer knows of itself.
    pub(super) note: Option<Arc<Note>>,
    weight: u64,
}

impl Head {
    /// Copies what the entry under `key` needs; `former` is the note of the entry whose header
    /// this replaces, kept unless there is a new one.
    ///
    /// # Errors
    /// When the header cannot be built again, which no valid header causes.
    pub(super) fn of(key: &CacheKey, meta: &CacheMeta, former: Option<&Arc<Note>>) -> Result<Self> {
        let is_primary = key.variance_bin().is_none();
        let header = compact(meta.response_header())?;
        let note = Note::of(meta).or(former).cloned();
        let weight = header_weight(&header.headers) + note.as_deref().map_or(0, note_weight);
        Ok(Self {
            header,
            fresh_until: meta.fresh_until(),
            created: if is_primary { meta.provenance() } else { meta.created() },
            epoch: meta.epoch(),
            updated: meta.updated(),
            while_revalidate: meta.stale_while_revalidate_sec(),
            if_error: meta.stale_if_error_sec(),
            variance: meta.variance(),
            note,
            weight,
        })
    }

    /// When this was written: the newest instant that the store knows without a clock.
    pub(super) const fn updated(&self) -> SystemTime {
        self.updated
    }

    /// The length of the body that the header promises, where it does.
    pub(super) fn promised_length(&self) -> Option<u64> {
        self.header.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// From when on it is of no use, not even stale, in seconds since the epoch.
    pub(super) fn over(&self) -> u64 {
        let stale = self.while_revalidate.max(self.if_error);
        let until = self.fresh_until.checked_add(Duration::from_secs(stale.into()));
        until.map_or(u64::MAX, unix_seconds)
    }

    /// Whether a look-up under `key` means this answer: in the slot of a variant, it must be that
    /// variant.
    pub(super) fn suits(&self, key: &CacheKey) -> bool {
        let wanted = key.variance_bin();
        wanted.is_none() || wanted == self.variance
    }

    /// What it counts for beside its body, in bytes.
    pub(super) const fn weight(&self) -> u64 {
        self.weight
    }

    /// Meta data as Pingora wants them, with a ticket for `record`.
    pub(super) fn meta(&self, record: &Arc<Record>) -> CacheMeta {
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
        Ticket::attach(record, &mut meta);
        meta
    }
}

/// Seconds since the epoch; 0 before it.
pub(super) fn unix_seconds(instant: SystemTime) -> u64 {
    instant.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The same header in one allocation for all values, in lower case: on the wire Pingora writes
/// common names in their usual case.
fn compact(header: &ResponseHeader) -> Result<ResponseHeader> {
    let length = header.headers.values().map(HeaderValue::len).sum();
    let mut values = BytesMut::with_capacity(length);
    for value in header.headers.values() {
        values.extend_from_slice(value.as_bytes());
    }
    let mut values = values.freeze();
    let mut copy = ResponseHeader::build_no_case(header.status, Some(header.headers.keys_len()))?;
    for (name, value) in &header.headers {
        copy.append_header(name, header_value_from_raw(values.split_to(value.len())))?;
    }
    Ok(copy)
}

/// A stored answer.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Arc<Record>,
    pub(super) head: Arc<Head>,
    body: Bytes,
    weight: u64,
}

impl Entry {
    pub(super) fn new(record: Arc<Record>, head: Arc<Head>, body: Bytes) -> Self {
        let weight = ENTRY_BYTES + head.weight() + held(body.len() as u64) + BUFFER_BYTES;
        Self { record, head, body, weight }
    }

    /// The same body under another header.
    pub(super) fn with_head(&self, head: Head) -> Self {
        Self::new(Arc::clone(&self.record), Arc::new(head), self.body.clone())
    }

    /// What the entry counts for against the store's bound, in bytes: body, header, note, key, and
    /// what the machinery around them takes.
    pub(super) const fn weight(&self) -> u64 {
        self.weight
    }

    pub(super) const fn body(&self) -> &Bytes {
        &self.body
    }

    /// Whether a look-up under `key`, whose whole hash is `whole`, may use this.
    pub(super) fn answers(&self, key: &CacheKey, whole: &KeyHash) -> bool {
        self.record.key == *whole && self.head.suits(key)
    }
}

/// What a header map takes: its table, its fields, and what they point to.
fn header_weight(headers: &HeaderMap) -> u64 {
    let keys = headers.keys_len() as u64;
    // As `http` sizes its tables: a third more than asked for, then a power of two, of which three
    // quarters are usable.
    let table = (keys + keys / 3).next_power_of_two();
    let fields = table - table / 4;
    let values: u64 = headers.values().map(|value| value.len() as u64).sum();
    let repeated = (headers.len() as u64).saturating_sub(keys) * REPEATED_BYTES;
    let names: u64 = headers
        .keys()
        .filter(|name| !COMMON.contains(name))
        .map(|name| name.as_str().len() as u64 + BUFFER_BYTES)
        .sum();
    held(table * 4) + held(fields * FIELD_BYTES) + held(values) + BUFFER_BYTES + repeated + names
}

fn note_weight(note: &Note) -> u64 {
    let tags = if note.tags.spilled() { note.tags.capacity() * size_of::<Tag>() } else { 0 };
    COUNTS_BYTES + (size_of::<Note>() + tags) as u64
}

/// What an allocation of that many bytes takes: allocators round up, by an eighth at most.
const fn held(bytes: u64) -> u64 {
    bytes + bytes / 16
}

/// Names that take no memory of their own: the ones that answers usually carry of those that the
/// `http` library knows.
static COMMON: [header::HeaderName; 20] = [
    header::ACCEPT_RANGES,
    header::AGE,
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_LOCATION,
    header::CONTENT_SECURITY_POLICY,
    header::CONTENT_TYPE,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::SERVER,
    header::STRICT_TRANSPORT_SECURITY,
    header::VARY,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
];

/// Two reference counts.
const COUNTS_BYTES: u64 = 16;

/// What stands before shared bytes: where they are and who else has them.
const BUFFER_BYTES: u64 = 32;

/// A field of a header map, and one that repeats a name.
const FIELD_BYTES: u64 = 104;
const REPEATED_BYTES: u64 = 80;

/// A place in the index, which is on average two thirds full.
const INDEX_BYTES: u64 = (size_of::<HashBinary>() + size_of::<usize>() + 1) as u64 * 3 / 2;

/// A place in a queue, and one among the ghosts: as many ghosts as entries are remembered.
const QUEUE_BYTES: u64 = 32 + 40;

/// Memory of an entry beside header, note and body.
const ENTRY_BYTES: u64 = INDEX_BYTES
    + QUEUE_BYTES
    + 3 * COUNTS_BYTES
    + (size_of::<Entry>() + size_of::<Head>() + size_of::<Record>()) as u64;
