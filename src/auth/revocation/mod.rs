//! Credentials that are refused although they would be good (R099).
//!
//! A revocation names one token by its `jti`, a caller, or everything that a provider issued
//! before a time. Operators make them through the admin listener (`/admin/revocations`). Each has
//! an end, after which whatever it refuses has expired by itself.
//!
//! Every request asks [`Revocations::names`], whatever the caller proved itself with and however
//! long ago that was verified. It never waits: the `index` is immutable and swapped in parts, and
//! an identity notes the state of the list in which it was last looked for, so that an unchanged
//! list costs one comparison.
//!
//! Where there is a Redis the list is shared through it (`shared`): the node that got the order
//! writes it there and tells the others at once; all read it every few seconds besides. While
//! Redis is away, what is known stays in force, and what is ordered meanwhile is written when it
//! is back. Where there is a state folder the list is on disk too (`disk`).
//!
//! Connections that were admitted before stay: streams and upgraded connections are not ended.

mod disk;
mod index;
mod list;
mod order;
mod record;
mod settings;
mod shared;
mod upkeep;
mod view;

#[cfg(test)]
pub(in crate::auth) mod testing;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::{Notify, watch};

use crate::clock::Moment;
use crate::edge::Identity;
use crate::link;
use crate::telemetry::Metrics;
use disk::Disk;
use index::Index;
use list::{Batch, List};
use shared::Shared;

pub(in crate::auth) use record::Record;
pub(in crate::auth) use settings::Settings;
pub use view::{Ordered, Refused};

/// Revocations that are known here.
#[derive(Debug)]
pub struct Revocations {
    index: Index,
    /// Never touched by a request.
    list: Mutex<List>,
    settings: ArcSwap<Settings>,
    shared: ArcSwapOption<Shared>,
    disk: Option<Disk>,
    was_read: AtomicBool,
    is_disk_failing: AtomicBool,
    /// Wakes the upkeep: other settings, a change made here, news to read.
    adopted: Notify,
    changed: Notify,
    told: Notify,
    /// How far the upkeep has come.
    done: watch::Sender<Done>,
    meters: Meters,
}

/// What became of changes made on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Done {
    /// Number of the last change that was looked after.
    upto: u64,
    is_shared: bool,
    is_kept: bool,
}

/// Metrics, resolved once.
#[derive(Debug)]
struct Meters {
    link: link::Meters,
    entries: IntGauge,
    age: IntGauge,
    refused: IntCounter,
    changed: IntCounter,
    unchanged: IntCounter,
    failed: IntCounter,
    unreadable: IntCounter,
    full: IntCounter,
}

impl Meters {
    fn new(metrics: &Metrics) -> Self {
        let read = |outcome| metrics.revocations_read.with_label_values(&[outcome]);
        let skipped = |reason| metrics.revocations_skipped.with_label_values(&[reason]);
        metrics.revocations_age.set(-1);
        Self {
            link: link::Meters::of(metrics, "revocations"),
            entries: metrics.revocations.clone(),
            age: metrics.revocations_age.clone(),
            refused: metrics.revoked_refused.clone(),
            changed: read("changed"),
            unchanged: read("unchanged"),
            failed: read("failed"),
            unreadable: skipped("unreadable"),
            full: skipped("full"),
        }
    }

    fn skipped(&self, unreadable: usize, no_place: usize) {
        if unreadable > 0 {
            tracing::warn!(unreadable, "some shared revocations cannot be read and are skipped");
        }
        if no_place > 0 {
            tracing::error!(
                no_place,
                "the list of revocations is full and others are not in force here; raise \
                 `revocation.maxEntries`"
            );
        }
        self.unreadable.inc_by(unreadable as u64);
        self.full.inc_by(no_place as u64);
    }
}

impl Revocations {
    /// An empty list.
    pub(in crate::auth) fn new(metrics: &Metrics) -> Self {
        Self {
            index: Index::default(),
            list: Mutex::default(),
            settings: ArcSwap::default(),
            shared: ArcSwapOption::empty(),
            disk: None,
            was_read: AtomicBool::new(false),
            is_disk_failing: AtomicBool::new(false),
            adopted: Notify::new(),
            changed: Notify::new(),
            told: Notify::new(),
            done: watch::Sender::default(),
            meters: Meters::new(metrics),
        }
    }

    /// A list that is kept in a folder, where there is one.
    pub(in crate::auth) fn kept_in(self, folder: Option<&Path>) -> Self {
        Self { disk: folder.map(Disk::new), ..self }
    }

    /// Takes over the settings of a new configuration; the first time, reads what is on disk.
    /// Blocks for that; not for a request.
    pub(in crate::auth) fn adopt(&self, settings: &Settings, redis: Option<&link::Settings>) {
        let before = self.settings.swap(Arc::new(settings.clone()));
        let shared = self.shared.load_full();
        let is_same = match (redis, &shared) {
            (Some(settings), Some(shared)) => shared.is_of(settings),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            let new = |settings| Shared::new(settings, self.meters.link.clone());
            let shared = redis.map(|settings| Arc::new(new(settings)));
            self.shared.store(shared);
        }
        if !is_same || before.written.interval != settings.written.interval {
            self.adopted.notify_one();
        }
        if !self.was_read.swap(true, Ordering::Relaxed) {
            self.recall();
        }
    }

    /// Whether what this caller proved itself with was revoked. Lock-free; allocates nothing.
    pub(in crate::auth) fn names(&self, identity: &Identity, now: Moment) -> bool {
        let epoch = self.index.epoch();
        if identity.cleared() == epoch {
            return false;
        }
        if self.index.names(identity, now.unix_seconds()) {
            self.meters.refused.inc();
            return true;
        }
        identity.clear(epoch);
        false
    }

    /// What was on disk when the process started.
    fn recall(&self) {
        let Some(disk) = &self.disk else { return };
        match disk.read() {
            Ok((records, unreadable)) => {
                let count = records.len();
                // Without a clock: what is over is found so by whoever asks, and purged.
                let entries_max = self.settings.load().written.max_entries;
                let mut list = self.list.lock();
                let merged = list.merge(records, entries_max, &self.index, 0);
                self.meters.skipped(unreadable, merged.no_place);
                self.meters.entries.set(as_gauge(list.count()));
                tracing::info!(count, "revocations were read from disk");
            }
            Err(error) => tracing::error!(
                %error,
                "the revocations on disk cannot be read; those that nobody else knows are lost"
            ),
        }
    }

    /// Takes over what other nodes know.
    fn merge(&self, records: impl IntoIterator<Item = Record>, now: Moment) {
        let entries_max = self.settings.load().written.max_entries;
        let mut list = self.list.lock();
        let merged = list.merge(records, entries_max, &self.index, now.unix_seconds());
        self.meters.skipped(0, merged.no_place);
        if merged.changed > 0 {
            self.meters.entries.set(as_gauge(list.count()));
        }
    }

    /// What waits to be told and kept, without what is over.
    fn batch(&self, now: Moment) -> Batch {
        let mut list = self.list.lock();
        list.purge(&self.index, now.unix_seconds());
        self.meters.entries.set(as_gauge(list.count()));
        list.batch(self.disk.is_some())
    }

    /// Notes how writing to disk went.
    fn saved(&self, error: Option<String>) {
        let failed = error.is_some();
        match (error, self.is_disk_failing.swap(failed, Ordering::Relaxed)) {
            (Some(error), false) => {
                tracing::error!(error, "the revocations cannot be written to disk");
            }
            (None, true) => tracing::info!("the revocations are on disk again"),
            _ => {}
        }
    }

    /// Whether what was done last is on disk.
    fn is_kept(&self) -> bool {
        self.disk.is_some() && !self.is_disk_failing.load(Ordering::Relaxed)
    }
}

fn as_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
