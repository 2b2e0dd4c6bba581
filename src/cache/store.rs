//! The bounded in-memory store.
//!
//! Two bounds, both hard: what all entries weigh together never exceeds the capacity, and what
//! unfinished fills hold never exceeds a further quarter of it. Room is made before an entry goes
//! in, not after. The index is spread over shards by key, so that threads seldom wait for each
//! other; bound and eviction order are one for all, so that no shard evicts while another has room,
//! and one large entry fits wherever it falls. A hit takes the read lock of one shard and counts
//! its use in the entry; it moves nothing.
//!
//! A fill can be read while it is under way (`filling`): whoever asks for what another request is
//! fetching follows it, byte by byte, and gets an error if it breaks off.
//!
//! Locks: a shard's lock and the one of the queues are never held together. Whoever takes an entry
//! out of the index, under the shard's write lock, marks its record as gone; the queues heed the
//! mark. That one, and no other, takes its weight off the sum.
//!
//! Pingora's own eviction managers are not used: they learn of an entry after it is stored, and
//! evict in the background.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use pingora::Result;
use pingora_cache::key::{CacheHashKey, HashBinary};
use pingora_cache::storage::{HitHandler, MissHandler, PurgeOutcome, PurgeTarget, Storage};
use pingora_cache::trace::SpanHandle;
use pingora_cache::{CacheEntryKey, CacheKey, CacheMeta, PurgeType};
use sha2::{Digest, Sha256};

use super::KeyHash;
use crate::telemetry::Metrics;

mod backend;
mod entry;
mod fill;
mod filling;
mod hit;
mod look;
mod meters;
mod queue;
mod record;
mod shard;

use entry::{Entry, Head, unix_seconds};
use fill::Fill;
use filling::Filling;
use hit::Hit;
use meters::{Meters, Reason};
use queue::Queues;
use record::{Record, Ticket};
use shard::Shard;

pub use backend::CacheBackend;
pub use fill::BodyLimit;
pub use hit::note_of;

/// Largest body that is stored, in bytes, whatever a route allows.
pub const MAX_OBJECT_BYTES: u64 = 8 << 20;

/// A store bounded by bytes.
#[derive(Debug)]
pub struct MemoryStore {
    shards: [Lock; SHARDS],
    queues: Mutex<Queues>,
    capacity: AtomicU64,
    /// What all entries weigh, and those about to go in.
    weight: AtomicU64,
    /// What unfinished fills hold.
    filling: AtomicU64,
    /// Counts fills and their readers.
    numbers: AtomicU64,
    meters: Meters,
}

/// A shard behind its lock.
type Lock = RwLock<Shard>;

impl MemoryStore {
    /// An empty store for entries that weigh up to `capacity` bytes together; `metrics` show what
    /// it holds and does.
    #[must_use]
    pub fn new(capacity: u64, metrics: &Metrics) -> Self {
        let meters = Meters::of(metrics);
        meters.capacity.set(i64::try_from(capacity).unwrap_or(i64::MAX));
        Self {
            shards: std::array::from_fn(|_| Lock::default()),
            queues: Mutex::default(),
            capacity: AtomicU64::new(capacity),
            weight: AtomicU64::new(0),
            filling: AtomicU64::new(0),
            numbers: AtomicU64::new(0),
            meters,
        }
    }

    /// What all entries weigh, in bytes.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// What all entries may weigh, in bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Changes what all entries may weigh, in bytes, at `now`: entries leave until they fit.
    pub fn set_capacity(&self, bytes: u64, now: SystemTime) {
        self.capacity.store(bytes, Ordering::Relaxed);
        self.meters.capacity.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.shrink(now);
    }

    /// Largest body stored: in a small store an eighth of it, so that one answer does not push
    /// out everything else.
    fn object_bytes_max(&self) -> u64 {
        MAX_OBJECT_BYTES.min(self.capacity() / 8)
    }

    /// Puts the entry in that a fill became, making room first, unless the fill was purged or
    /// overtaken meanwhile; says whether it is in.
    fn admit(&self, slot: HashBinary, entry: Entry, fill: &Filling) -> bool {
        let (weight, now) = (entry.weight(), entry.head.updated());
        if !fill.is_listed() || !self.make_room(weight, now) {
            return false;
        }
        let record = Arc::clone(&entry.record);
        record.set_over(entry.head.over());
        let mut shard = self.shard(&slot).write();
        if !fill.unlist() {
            drop(shard);
            self.weight.fetch_sub(weight, Ordering::Relaxed);
            return false;
        }
        let replaced = shard.insert(slot, Arc::new(entry));
        drop(shard);
        self.meters.entries.inc();
        self.meters.bytes.add(signed(weight));
        self.removed(replaced.as_deref(), Reason::Replaced);
        self.queues.lock().push(slot, record, weight);
        self.shrink(now);
        true
    }

    /// Sets memory aside for an unfinished fill.
    fn reserve_fill(&self, bytes: u64) -> bool {
        let bound = self.capacity() / FILL_SHARE;
        let add = |held: u64| held.checked_add(bytes).filter(|held| *held <= bound);
        let is_free = self.filling.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        if is_free {
            self.meters.filling.add(signed(bytes));
        }
        is_free
    }

    fn release_fill(&self, bytes: u64) {
        self.filling.fetch_sub(bytes, Ordering::Relaxed);
        self.meters.filling.sub(signed(bytes));
    }

    /// Forgets a fill that has ended.
    fn end_fill(&self, slot: &HashBinary, fill: &Arc<Filling>) {
        self.shard(slot).write().end(slot, fill);
        self.meters.fills.dec();
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes `weight` out of the capacity, evicting entries until it fits. False when it never
    /// will: everything is out, and what is missing belongs to others on their way in.
    fn make_room(&self, weight: u64, now: SystemTime) -> bool {
        let add = |all: u64| all.checked_add(weight).filter(|all| *all <= self.capacity());
        while self.weight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_err() {
            if weight > self.capacity() || !self.evict_one(now) {
                return false;
            }
        }
        true
    }

    /// Evicts what is too much since the capacity became less.
    fn shrink(&self, now: SystemTime) {
        while self.weight() > self.capacity() && self.evict_one(now) {}
    }

    /// Evicts the entry whose turn it is; says whether there was one.
    fn evict_one(&self, now: SystemTime) -> bool {
        loop {
            let victim = self.queues.lock().victim(self.capacity(), unix_seconds(now));
            let Some((slot, reason)) = victim else { return false };
            let is_victim = |entry: &Entry| Arc::ptr_eq(&entry.record, &slot.record);
            let evicted = self.shard(&slot.key).write().remove(&slot.key, is_victim);
            if evicted.is_some() {
                self.discount(evicted.as_deref(), reason);
                return true;
            }
        }
    }

    /// For whoever took an entry out of the index that may be in a queue.
    fn removed(&self, entry: Option<&Entry>, reason: Reason) {
        if let Some(entry) = entry {
            self.queues.lock().forget(&entry.record);
        }
        self.discount(entry, reason);
    }

    fn discount(&self, entry: Option<&Entry>, reason: Reason) {
        let Some(entry) = entry else { return };
        self.weight.fetch_sub(entry.weight(), Ordering::Relaxed);
        self.meters.bytes.sub(signed(entry.weight()));
        self.meters.entries.dec();
        self.meters.left(reason).inc();
    }

    fn shard(&self, key: &HashBinary) -> &Lock {
        let [first, ..] = *key;
        self.shard_at(usize::from(first))
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is below the number of shards")]
    const fn shard_at(&self, turn: usize) -> &Lock {
        &self.shards[turn % SHARDS]
    }

    /// Puts `head` in the place of the header of the entry that `old` is; says whether that was
    /// still there.
    fn swap_head(&self, slot: &HashBinary, old: &Arc<Entry>, head: Head) -> bool {
        let (now, over) = (head.updated(), head.over());
        let new = Arc::new(old.with_head(head));
        let (before, after) = (old.weight(), new.weight());
        if !self.make_room(after.saturating_sub(before), now) {
            return false;
        }
        let mut shard = self.shard(slot).write();
        let current = shard.entries.get_mut(slot).filter(|current| Arc::ptr_eq(current, old));
        let Some(current) = current else {
            drop(shard);
            self.weight.fetch_sub(after.saturating_sub(before), Ordering::Relaxed);
            return false;
        };
        *current = Arc::clone(&new);
        drop(shard);
        self.weight.fetch_sub(before.saturating_sub(after), Ordering::Relaxed);
        self.meters.bytes.add(signed(after) - signed(before));
        new.record.set_over(over);
        self.queues.lock().weigh(&new.record, after);
        true
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The whole key. Keys of the gateway are hashes already.
fn whole(key: &CacheKey) -> KeyHash {
    let bytes = key.primary_key();
    KeyHash::try_from(bytes).unwrap_or_else(|_| Sha256::digest(bytes).into())
}

#[async_trait]
impl Storage for MemoryStore {
    /// Entries that are no longer fresh are found too: Pingora revalidates them with the service
    /// (RFC 9111 section 4.3). They leave when they are replaced or when room is needed. The whole
    /// key is compared; an answer under another one is a miss.
    async fn lookup(
        &'static self,
        key: &CacheKey,
        _: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        Ok(self.find(key, true))
    }

    async fn lookup_streaming_write(
        &'static self,
        key: &CacheKey,
        tag: Option<&[u8]>,
        trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let Some(tag) = tag else { return self.lookup(key, trace).await };
        let Ok(number) = tag.try_into().map(u64::from_be_bytes) else { return Ok(None) };
        let slot = key.combined_bin();
        let Some(fill) = self.shard(&slot).read().fill(&slot, number).cloned() else {
            return Ok(None);
        };
        let meta = fill.head.meta(&fill.record);
        Ok(fill.follow(true).map(|reader| (meta, Box::new(Hit::of_fill(reader)) as HitHandler)))
    }

    /// The body is kept up to the [`BodyLimit`] in the extensions of `meta` and the store's own
    /// limit; a longer one passes.
    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _: &SpanHandle,
    ) -> Result<MissHandler> {
        let slot = key.combined_bin();
        let own = self.object_bytes_max();
        let limit = meta.extensions().get::<BodyLimit>().map_or(own, |limit| limit.0.min(own));
        let record = Record::new(whole(key), self.next_number());
        let head = Head::of(key, meta, None)?;
        let filling = Arc::new(Filling::new(self, slot, record, head, limit));
        self.shard(&slot).write().begin(slot, Arc::clone(&filling));
        self.meters.fills.inc();
        Ok(Box::new(Fill::new(self, slot, filling)))
    }

    /// Fills under way are purged too: they are not found any more, and not kept when they end.
    async fn purge(
        &'static self,
        target: PurgeTarget<'_>,
        _: PurgeType,
        _: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        // Entries have no identity beyond their key, so none can be the identified one.
        if matches!(target, PurgeTarget::Exact(CacheEntryKey::Identified { .. })) {
            return Ok(PurgeOutcome::NotFound);
        }
        let was_there = self.remove(&target.key().combined_bin());
        Ok(if was_there { PurgeOutcome::Purged(None) } else { PurgeOutcome::NotFound })
    }

    /// Replaces header, note and freshness and keeps the body; says whether the entry was still
    /// there. `meta` must come from a look-up in this store, as Pingora's do: if the entry was
    /// purged or replaced since then, what is there now stays as it is.
    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _: &SpanHandle,
    ) -> Result<bool> {
        let slot = key.combined_bin();
        let old = self.shard(&slot).read().entries.get(&slot).cloned();
        let Some(old) = old.filter(|entry| Ticket::names(meta, &entry.record)) else {
            return Ok(false);
        };
        let head = Head::of(key, meta, old.head.note.as_ref())?;
        Ok(self.swap_head(&slot, &old, head))
    }

    fn support_streaming_partial_write(&self) -> bool {
        true
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}

/// Parts that the index is split into, so that threads seldom wait for each other.
const SHARDS: usize = 64;

/// Unfinished fills may hold one part in this many of the capacity, on top of it.
const FILL_SHARE: u64 = 4;

#[cfg(test)]
mod tests;
