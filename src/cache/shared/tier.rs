//! Memory first, Redis behind it.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use pingora::Result;
use pingora_cache::key::CacheHashKey;
use pingora_cache::storage::{
    HandleMiss, HitHandler, MissFinishType, MissHandler, PurgeOutcome, PurgeTarget, Storage,
};
use pingora_cache::trace::SpanHandle;
use pingora_cache::{CacheEntryId, CacheKey, CacheMeta, PurgeType};
use tokio::time::timeout;

use super::asking::Turn;
use super::codec::{Answer, Identity};
use super::ledger::Ledger;
use super::meters::Meters;
use super::name::Name;
use super::queue::{Job, now};
use super::remote::{Remote, Users};
use super::settings::Settings;
use crate::cache::{MemoryStore, Note};
use crate::link;
use crate::model::SharedStore;
use crate::telemetry::Metrics;

/// In the extensions of an answer's meta data: it came from Redis just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromShared;

/// The node's memory with Redis behind it. One for the process: which Redis, and whether any, a
/// new configuration may change.
pub struct Tiered {
    memory: &'static MemoryStore,
    remote: ArcSwapOption<Remote>,
    purges: &'static dyn Ledger,
    /// Goes up with every purge of one entry: what was read before it must not come back.
    removals: AtomicU64,
    meters: Arc<Meters>,
    users: Users,
}

impl Tiered {
    /// Puts nothing behind `memory` yet. `purges` says whether this node knows all purges that
    /// entries in Redis may have to obey; until then Redis is not read.
    #[must_use]
    pub fn new(
        memory: &'static MemoryStore,
        purges: &'static dyn Ledger,
        metrics: &Metrics,
    ) -> Self {
        Self {
            memory,
            remote: ArcSwapOption::empty(),
            purges,
            removals: AtomicU64::new(0),
            meters: Arc::new(Meters::new(metrics)),
            users: Users {
                reads: link::Meters::of(metrics, "cache"),
                writes: link::Meters::of(metrics, "cache_writes"),
            },
        }
    }

    /// Adopts a new configuration: `redis` and `cache.shared`, if it has both. Unchanged settings
    /// keep connections, breaker and what waits to be written.
    pub fn configure(&self, redis: Option<&link::Settings>, shared: Option<&SharedStore>) {
        let (Some(place), Some(shared)) = (redis, shared) else {
            self.remote.store(None);
            return;
        };
        let settings = Settings::of(shared);
        let is_same = |old: &Arc<Remote>| old.place == *place && old.settings == settings;
        if self.remote.load().as_ref().is_some_and(is_same) {
            return;
        }
        let meters = Arc::clone(&self.meters);
        self.remote.store(Some(Arc::new(Remote::new(place, settings, meters, &self.users))));
    }

    /// Whether there is a Redis behind memory.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.remote.load().is_some()
    }

    /// Whether Redis has not been told everything yet, and can be.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.remote.load().as_ref().is_some_and(|remote| remote.is_behind())
    }

    fn push(&self, job: Job) {
        if let Some(remote) = self.remote.load().as_ref() {
            remote.begin(self.memory, self.purges);
            remote.push(job);
        }
    }

    /// What Redis has for a key, if it is fresher than what memory has (`kept`); it is in memory
    /// then. Of requests that ask at once one does, and the others look into memory after it.
    async fn ask(
        &'static self,
        remote: &Remote,
        key: &CacheKey,
        trace: &SpanHandle,
        kept: Option<(CacheMeta, HitHandler)>,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let Some(of) = Identity::of(key) else { return Ok(kept) };
        // Both before the number of purges is read that the note of a new answer gets: what a young
        // process fetches first is of use to others.
        let patience = remote.settings.timeout;
        if !remote.is_ready().await || !self.purges.catches_up(patience).await {
            remote.meters.skipped.inc();
            return Ok(kept);
        }
        let asked = match remote.asking.turn(key.combined_bin()) {
            Some(Turn::Ours(asked)) => asked,
            Some(Turn::Theirs(mut over)) => {
                // Nothing is ever sent: an error is the end of the wait, in time or not.
                let _ = timeout(remote.settings.timeout, over.changed()).await;
                let found = self.memory.lookup(key, trace).await?;
                return Ok(found.or(kept));
            }
            None => return Ok(kept),
        };
        let removals = self.removals.load(Ordering::Acquire);
        let Some((mut answer, body)) = remote.find(&of).await else { return Ok(kept) };
        answer.settle(now());
        answer.note = answer.note.map(|note| {
            let seen = self.purges.import(note.seen);
            Arc::new(Note { seen, ..Arc::unwrap_or_clone(note) })
        });
        if kept.as_ref().is_some_and(|(meta, _)| meta.fresh_until() >= answer.fresh_until) {
            return Ok(kept);
        }
        // While Redis was asked, this node may have fetched the answer, or been told to forget it.
        if let Some((meta, hit)) = self.memory.lookup(key, trace).await?
            && meta.fresh_until() >= answer.fresh_until
        {
            return Ok(Some((meta, hit)));
        }
        if self.removals.load(Ordering::Acquire) != removals {
            return Ok(kept);
        }
        let found = self.promote(key, answer, body, trace).await?;
        drop(asked);
        Ok(found.or(kept))
    }

    /// Puts an answer into memory and finds it there: whoever reads it has an entry of memory,
    /// with all that belongs to one. Nothing where memory has no place for it.
    async fn promote(
        &'static self,
        key: &CacheKey,
        answer: Answer,
        body: Bytes,
        trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let meta = answer.into_meta();
        let mut fill = self.memory.get_miss_handler(key, &meta, trace).await?;
        if !body.is_empty() && fill.write_body(body, true).await.is_err() {
            return Ok(None);
        }
        if !fill.finish().await.is_ok_and(|done| !matches!(done, MissFinishType::Created(0))) {
            return Ok(None);
        }
        let mut found = self.memory.lookup(key, trace).await?;
        if let Some((meta, _)) = &mut found {
            meta.extensions_mut().insert(FromShared);
        }
        Ok(found)
    }
}

#[async_trait]
impl Storage for Tiered {
    /// A fresh answer in memory is one; for all others Redis may have it, or a fresher one.
    async fn lookup(
        &'static self,
        key: &CacheKey,
        trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let kept = self.memory.lookup(key, trace).await?;
        if kept.as_ref().is_some_and(|(meta, _)| meta.is_fresh(now())) {
            return Ok(kept);
        }
        let Some(remote) = self.remote.load_full() else { return Ok(kept) };
        remote.begin(self.memory, self.purges);
        self.ask(&remote, key, trace, kept).await
    }

    async fn lookup_streaming_write(
        &'static self,
        key: &CacheKey,
        tag: Option<&[u8]>,
        trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        self.memory.lookup_streaming_write(key, tag, trace).await
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        trace: &SpanHandle,
    ) -> Result<MissHandler> {
        let fill = self.memory.get_miss_handler(key, meta, trace).await?;
        let note = Note::of(meta).cloned();
        Ok(Box::new(Tee { fill, tiered: self, key: key.clone(), note }))
    }

    async fn purge(
        &'static self,
        target: PurgeTarget<'_>,
        kind: PurgeType,
        trace: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        if let PurgeType::Invalidation = kind {
            self.removals.fetch_add(1, Ordering::AcqRel);
            self.push(Job::Remove(Name::of(target.key())));
        }
        self.memory.purge(target, kind, trace).await
    }

    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        trace: &SpanHandle,
    ) -> Result<bool> {
        let is_updated = self.memory.update_meta(key, meta, trace).await?;
        if is_updated {
            self.push(Job::Renew(key.clone(), Note::of(meta).cloned()));
        }
        Ok(is_updated)
    }

    fn support_streaming_partial_write(&self) -> bool {
        self.memory.support_streaming_partial_write()
    }

    /// Memory: readers of its entries look for it here.
    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self.memory.as_any()
    }
}

/// Fills memory, and has what is there then written to Redis.
struct Tee {
    fill: MissHandler,
    tiered: &'static Tiered,
    key: CacheKey,
    note: Option<Arc<Note>>,
}

#[async_trait]
impl HandleMiss for Tee {
    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.fill.write_body(data, end).await
    }

    async fn finish(self: Box<Self>) -> Result<MissFinishType> {
        let Self { fill, tiered, key, note } = *self;
        let done = fill.finish().await?;
        if !matches!(done, MissFinishType::Created(0)) {
            tiered.push(Job::Write(key, note));
        }
        Ok(done)
    }

    fn streaming_write_tag(&self) -> Option<&[u8]> {
        self.fill.streaming_write_tag()
    }

    fn entry_id(&self) -> Option<CacheEntryId> {
        self.fill.entry_id()
    }
}
