//! Keeping the list: telling the others, hearing from them, reading, saving, forgetting.
//!
//! Runs on the upkeep runtime; connections belong to it. Changes made by operators are waiting in
//! the list, and everything that waits is saved and told together, so that a thousand changes at
//! once cost one file and a few calls.

use std::pin::pin;

use tokio::time::MissedTickBehavior;

use super::list::Batch;
use super::record::Record;
use super::shared::Shared;
use super::{Done, Revocations};
use crate::auth::news::{self, News};
use crate::clock::{self, Moment, Tick};
use crate::link::Failure;

/// A version of the list; none where there is no list.
#[derive(Debug, PartialEq, Eq)]
struct Version(Option<Vec<u8>>);

/// What is known of the shared list.
#[derive(Debug, Default)]
struct Known {
    /// Version that was read last; none if the list must be read whatever it says.
    version: Option<Version>,
    /// When it was last read, or found to be what was read.
    read_at: Option<Tick>,
    /// Redis has all that this node knows. What it lacks, reading shows.
    is_level: bool,
    /// The last reading failed.
    is_failing: bool,
}

/// The list is on its way to disk. Unless that is done it is written again: it may have failed, or
/// a new configuration may have come in between, so that nobody knows how it went.
struct Writing<'a> {
    of: &'a Revocations,
    done: bool,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.of.list.lock().not_saved();
        }
    }
}

impl Revocations {
    /// Keeps the list for as long as it is polled. `on_purge` gets the hash of every API key
    /// that another gateway says must be asked about anew.
    pub(in crate::auth) async fn run(&self, on_purge: impl Fn(&News)) {
        loop {
            let shared = self.shared.load_full();
            let shared = shared.as_deref();
            tokio::select! {
                () = self.adopted.notified() => {}
                () = self.keep(shared) => {}
                () = self.hear(shared, &on_purge) => {}
            }
        }
    }

    async fn hear(&self, shared: Option<&Shared>, on_purge: &impl Fn(&News)) {
        let Some(shared) = shared else { return std::future::pending().await };
        let on_news = |news| match news {
            News::Revoked(record) => {
                self.merge([record], clock::now());
                self.changed.notify_one();
            }
            News::Changed => self.told.notify_one(),
            purge @ (News::PurgeApiKey(_) | News::PurgeTenant(_)) => on_purge(&purge),
            News::Unreadable => self.meters.unreadable.inc(),
        };
        news::listen(&shared.redis, on_news).await;
    }

    async fn keep(&self, shared: Option<&Shared>) {
        let mut known = Known::default();
        let mut interval = tokio::time::interval(self.settings.load().written.interval.get());
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_due = {
                let (changed, told) = (pin!(self.changed.notified()), pin!(self.told.notified()));
                tokio::select! {
                    () = changed => false,
                    () = told => { known.version = None; true }
                    _ = interval.tick() => true,
                }
            };
            let now = clock::now();
            let batch = self.batch(now);
            let (upto, unshared) = (batch.upto, self.save(batch).await);
            let is_shared = match shared {
                Some(shared) => self.tell(shared, &unshared, &mut known).await,
                None => false,
            };
            self.done.send_replace(Done { upto, is_shared, is_kept: self.is_kept() });
            if let Some(shared) = shared.filter(|_| is_due) {
                self.read(shared, &mut known, now).await;
            }
            self.show(&known, shared.is_some());
        }
    }

    /// Writes the list to disk where it changed; hands back what is to be told.
    async fn save(&self, batch: Batch) -> Vec<Record> {
        let (Some(disk), Some(records)) = (self.disk.clone(), batch.unsaved) else {
            return batch.unshared;
        };
        let mut writing = Writing { of: self, done: false };
        let saved = tokio::task::spawn_blocking(move || disk.write(&records)).await;
        let error = match saved {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        writing.done = error.is_none();
        drop(writing);
        self.saved(error);
        batch.unshared
    }

    /// Writes records to Redis and tells the others. Returns whether Redis has everything that
    /// this node knows, as far as that is known.
    async fn tell(&self, shared: &Shared, records: &[Record], known: &mut Known) -> bool {
        if records.is_empty() {
            return known.is_level;
        }
        let Err(error) = shared.push(records).await else { return true };
        tracing::warn!(%error, "revocations cannot be shared; they will be when Redis is back");
        shared.redis.disconnect();
        known.is_level = false;
        known.version = None;
        false
    }

    async fn read(&self, shared: &Shared, known: &mut Known, now: Moment) {
        let outcome = self.try_read(shared, known, now).await;
        let counter = match &outcome {
            Ok(true) => &self.meters.changed,
            Ok(false) => &self.meters.unchanged,
            Err(_) => &self.meters.failed,
        };
        counter.inc();
        match (&outcome, known.is_failing) {
            (Err(error), false) => tracing::warn!(
                %error,
                "the shared revocations cannot be read; those that are known stay in force"
            ),
            (Ok(_), true) => tracing::info!("the shared revocations can be read again"),
            _ => {}
        }
        known.is_failing = outcome.is_err();
        if outcome.is_ok() {
            known.read_at = Some(clock::now().tick);
            known.is_level = true;
        } else {
            shared.redis.disconnect();
            known.version = None;
        }
    }

    /// Reads the list if it changed, and writes what it lacks: that it lacks something does not
    /// mean that it was taken back, which is a record of its own, but that Redis lost it. Returns
    /// whether there was anything to read.
    async fn try_read(
        &self,
        shared: &Shared,
        known: &mut Known,
        now: Moment,
    ) -> Result<bool, Failure> {
        // Before reading: what changes meanwhile has another version, and is read the next time.
        let version = Version(shared.version().await?);
        if known.version.as_ref() == Some(&version) {
            return Ok(false);
        }
        let records_max = self.settings.load().written.max_entries;
        let found = shared.read(records_max, now.unix_seconds()).await?;
        self.meters.skipped(found.unreadable, found.beyond);
        let missing = self.list.lock().missing(&found.records);
        self.merge(found.records.into_values(), now);
        if missing.is_empty() {
            known.version = Some(version);
        } else {
            shared.push(&missing).await?;
            known.version = None;
        }
        Ok(true)
    }

    fn show(&self, known: &Known, is_shared: bool) {
        let age = known.read_at.filter(|_| is_shared).map(|at| clock::now().tick.since(at));
        let seconds = age.map_or(-1, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        self.meters.age.set(seconds);
    }
}
