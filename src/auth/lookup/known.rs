//! What is known on this node of the callers of one kind.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ask::{self, Sources};
use super::flight::{Entry, Flights};
use super::kept::Kept;
use super::meters::Meters;
use super::{Kind, Since, Terms};
use crate::auth::question::Unavailable;
use crate::clock::Moment;
use crate::telemetry::Metrics;

/// Keys kept that nobody holds. In a place of their own: whoever makes keys up displaces nothing
/// but what others made up.
const NOBODY_ENTRIES: usize = 8_192;

/// What was found out: what is held, or that there is nothing.
pub(super) type Answer<K> = Result<Option<Arc<<K as Kind>::Value>>, Unavailable>;

/// What this node can say by itself.
#[derive(Debug)]
pub(in crate::auth) enum Local<V> {
    /// This was found lately.
    Found(Arc<V>),
    /// Nothing was found lately.
    Nobody,
    /// Somebody has to be asked.
    Unknown,
}

/// What is known of one kind, bounded. A handle: its copies know the same.
pub(in crate::auth) struct Known<K: Kind>(Arc<Inner<K>>);

struct Inner<K: Kind> {
    found: Kept<K::Key, Arc<K::Value>>,
    nobody: Kept<K::Key, ()>,
    flights: Arc<Flights<K::Key, Answer<K>>>,
    /// Counts purges: what was asked for before one is not kept after it.
    purges: AtomicU64,
    meters: Meters,
}

impl<K: Kind> Clone for Known<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Kind> fmt::Debug for Known<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Known({}, room for {})", K::WORD, self.0.found.room())
    }
}

impl<K: Kind> Known<K> {
    /// Knows nothing, and keeps nothing before it is given room.
    pub(in crate::auth) fn new(metrics: &Metrics) -> Self {
        let entries = |known| metrics.lookup_entries.with_label_values(&[K::WORD, known]);
        Self(Arc::new(Inner {
            found: Kept::new(entries("found")),
            nobody: Kept::new(entries("none")),
            flights: Arc::default(),
            purges: AtomicU64::new(0),
            meters: Meters::new(K::WORD, metrics),
        }))
    }

    /// Forgets everything and makes room for so many entries.
    pub(in crate::auth) fn clear(&self, entries: usize) {
        self.0.purges.fetch_add(1, Ordering::SeqCst);
        self.0.found.clear(entries);
        self.0.nobody.clear(if entries == 0 { 0 } else { NOBODY_ENTRIES });
    }

    /// Makes room for another number of entries; forgets everything where that differs.
    pub(super) fn resize(&self, entries: usize) {
        // The room is rounded down to full sets, and one size must not be taken for another.
        if self.0.found.room() / 8 != entries / 8 {
            self.clear(entries);
        }
    }

    /// What this node can say of a key at `now`.
    pub(in crate::auth) fn look(
        &self,
        key: &K::Key,
        now: Moment,
        terms: &Terms,
    ) -> Local<K::Value> {
        let Inner { found, nobody, meters, .. } = &*self.0;
        if let Some((value, since)) = found.get(key)
            && since.age(now) < terms.cache
        {
            meters.local.inc();
            return Local::Found(value);
        }
        if let Some(((), since)) = nobody.get(key)
            && since.age(now) < terms.negative
        {
            meters.none.inc();
            return Local::Nobody;
        }
        Local::Unknown
    }

    /// What was known last, where that may count although nobody can be asked.
    pub(in crate::auth) fn last(
        &self,
        key: &K::Key,
        now: Moment,
        terms: &Terms,
    ) -> Option<Arc<K::Value>> {
        let (value, since) = self.0.found.get(key)?;
        if since.age(now) >= terms.stale {
            return None;
        }
        self.0.meters.stale.inc();
        Some(value)
    }

    /// Drops what is known of a key, here and with whoever asks at the moment.
    pub(in crate::auth) fn forget(&self, key: &K::Key) {
        // In this order: a look-up that puts its answer after it was dropped here sees the count.
        self.0.purges.fetch_add(1, Ordering::SeqCst);
        self.0.flights.abandon(key);
        self.0.found.forget(key);
        self.0.nobody.forget(key);
    }

    /// Asks Redis and the database, together with all others who want to know the same.
    pub(super) async fn ask(
        &self,
        sources: &Arc<Sources>,
        terms: Terms,
        key: &K::Key,
        now: Moment,
    ) -> Answer<K> {
        let mut receiver = match self.0.flights.enter(key) {
            Entry::Join(receiver) => receiver,
            Entry::Begin(flight, receiver) => {
                let (known, sources) = (self.clone(), Arc::clone(sources));
                tokio::spawn(ask::fly(known, sources, terms, flight, now));
                receiver
            }
            Entry::Full => {
                self.0.meters.unavailable.inc();
                return Err(Unavailable);
            }
        };
        let landed = receiver.wait_for(Option::is_some).await;
        // It was lost on the way: the runtime ends, or a defect.
        landed.ok().and_then(|answer| answer.clone()).unwrap_or(Err(Unavailable))
    }

    /// The count of purges, to be shown again with what was found meanwhile.
    pub(super) fn purges(&self) -> u64 {
        self.0.purges.load(Ordering::SeqCst)
    }

    /// Keeps what was found, unless there was a purge since `purges` was read.
    pub(super) fn keep(
        &self,
        key: &K::Key,
        value: Option<&Arc<K::Value>>,
        since: Since,
        purges: u64,
    ) {
        let Inner { found, nobody, .. } = &*self.0;
        if let Some(value) = value {
            found.put(key.clone(), Arc::clone(value), since);
            nobody.forget(key);
        } else {
            nobody.put(key.clone(), (), since);
            found.forget(key);
        }
        if self.purges() != purges {
            found.forget(key);
            nobody.forget(key);
        }
    }

    /// Keeps what Redis knew last, where this node knows nothing newer.
    pub(super) fn keep_old(&self, key: &K::Key, value: &Arc<K::Value>, since: Since, purges: u64) {
        let newer = |(_, known): &(Arc<K::Value>, Since)| *known >= since;
        if !self.0.found.get(key).as_ref().is_some_and(newer) {
            self.keep(key, Some(value), since, purges);
        }
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.0.meters
    }
}
