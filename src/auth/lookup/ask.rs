//! Who is asked, in which order, and what is made of no answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use prometheus::{Histogram, IntGauge};
use serde_json::Value;
use tokio::time::Instant;

use super::flight::Flight;
use super::known::{Answer, Known};
use super::records::{Broken, Records, RecordsError};
use super::shared::Cache;
use super::{DatabaseAccess, Kind, Since, Terms};
use crate::auth::Memory;
use crate::auth::database::{Database, DatabaseSettings};
use crate::auth::question::Unavailable;
use crate::clock::Moment;
use crate::link;
use crate::telemetry::Metrics;

/// The connections over which look-ups go, kept from one configuration to the next where its
/// settings are the same. Used on one runtime only: that of the data plane.
#[derive(Debug)]
pub(in crate::auth) struct Lookup {
    sources: ArcSwapOption<Sources>,
    metrics: Arc<Metrics>,
}

impl Lookup {
    pub(in crate::auth) const fn new(metrics: Arc<Metrics>) -> Self {
        Self { sources: ArcSwapOption::const_empty(), metrics }
    }

    /// Takes over the settings of a configuration: connections and what is remembered stay,
    /// unless they are of another database.
    pub(in crate::auth) fn adopt(
        &self,
        database: Option<&DatabaseAccess>,
        redis: Option<&link::Settings>,
        memory: &Memory,
    ) {
        let wanted = database.map(|database| Settings::of(database, redis));
        let current = self.sources.load_full();
        let now = current.as_deref().and_then(|sources| sources.settings.as_ref());
        let entries = database.map_or(0, |database| database.entries);
        let same_database =
            now.map(|now| &now.database) == wanted.as_ref().map(|new| &new.database);
        if now != wanted.as_ref() {
            self.sources.store(wanted.map(|new| Arc::new(Sources::new(new, &self.metrics))));
        }
        if same_database {
            memory.api_keys.resize(entries);
            memory.tenants.resize(entries);
        } else {
            memory.api_keys.clear(entries);
            memory.tenants.clear(entries);
        }
    }

    /// Asks Redis and the database what they know of a key.
    pub(in crate::auth) async fn ask<K: Kind>(
        &self,
        known: &Known<K>,
        terms: Option<Terms>,
        key: &K::Key,
        now: Moment,
    ) -> Answer<K> {
        let sources = self.sources.load_full();
        let (Some(sources), Some(terms)) = (sources, terms) else { return Err(Unavailable) };
        known.ask(&sources, terms, key, now).await
    }

    /// Asks these from now on.
    #[cfg(test)]
    pub(super) fn set(&self, sources: Sources) {
        self.sources.store(Some(Arc::new(sources)));
    }
}

/// Settings that need other connections when they change. Has no `Debug`: addresses may carry
/// passwords.
#[derive(PartialEq)]
struct Settings {
    database: DatabaseSettings,
    redis: Option<link::Settings>,
}

impl Settings {
    fn of(database: &DatabaseAccess, redis: Option<&link::Settings>) -> Self {
        Self { database: database.settings.clone(), redis: redis.cloned() }
    }
}

/// Whom to ask.
pub(in crate::auth) struct Sources {
    settings: Option<Settings>,
    records: Arc<dyn Records>,
    cache: Option<Cache>,
    /// Time limit of one look-up.
    timeout: Duration,
    /// Whether the database answered when it was asked last.
    is_up: AtomicBool,
    up: IntGauge,
    answered: Histogram,
    failed: Histogram,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Sources {
    fn new(settings: Settings, metrics: &Metrics) -> Self {
        let records: Arc<dyn Records> = match Database::new(&settings.database) {
            Ok(database) => Arc::new(database),
            Err(error) => {
                tracing::error!(%error, "the database cannot be used");
                Arc::new(Broken)
            }
        };
        let cache = settings.redis.as_ref().map(|redis| {
            let link = link::Redis::new(redis).metered(link::Meters::of(metrics, "callers"));
            Cache::new(link, redis.breaker(), metrics)
        });
        let timeout = settings.database.timeout;
        Self { settings: Some(settings), ..Self::with(records, cache, timeout, metrics) }
    }

    /// Asks these.
    pub(super) fn with(
        records: Arc<dyn Records>,
        cache: Option<Cache>,
        timeout: Duration,
        metrics: &Metrics,
    ) -> Self {
        let duration = |outcome| metrics.database_duration.with_label_values(&[outcome]);
        metrics.database_up.set(1);
        Self {
            settings: None,
            records,
            cache,
            timeout,
            is_up: AtomicBool::new(true),
            up: metrics.database_up.clone(),
            answered: duration("ok"),
            failed: duration("failed"),
        }
    }

    /// Asks the database, within the time limit.
    async fn read<K: Kind>(&self, key: &K::Key) -> Result<Option<K::Record>, RecordsError> {
        let started = Instant::now();
        let asked = tokio::time::timeout(self.timeout, K::find(&*self.records, key)).await;
        let result = asked.unwrap_or(Err(RecordsError::Timeout));
        let duration = if result.is_ok() { &self.answered } else { &self.failed };
        duration.observe(started.elapsed().as_secs_f64());
        match &result {
            Ok(_) => {
                if !self.is_up.swap(true, Ordering::AcqRel) {
                    self.up.set(1);
                    tracing::info!("the database answers again");
                }
            }
            Err(error) => {
                if self.is_up.swap(false, Ordering::AcqRel) {
                    self.up.set(0);
                    tracing::warn!(%error, "the database cannot be asked about callers");
                }
            }
        }
        result
    }
}

/// One look-up, for all who wait for it.
pub(super) async fn fly<K: Kind>(
    known: Known<K>,
    sources: Arc<Sources>,
    terms: Terms,
    flight: Flight<K::Key, Answer<K>>,
    now: Moment,
) {
    let began = Instant::now();
    let look = Look { known: &known, sources: &sources, terms: &terms, now };
    let key = flight.key().clone();
    let purges = known.purges();
    let (answer, keep) = look.find(&key, purges).await;
    flight.land(answer);
    // Nobody waits for this.
    if let (Some(record), Some(cache)) = (keep, &sources.cache)
        && known.purges() == purges
    {
        cache.put::<K>(&key, record, &terms, (now, began)).await;
    }
}

struct Look<'a, K: Kind> {
    known: &'a Known<K>,
    sources: &'a Sources,
    terms: &'a Terms,
    now: Moment,
}

impl<K: Kind> Look<'_, K> {
    /// The answer, and what to keep of it in Redis.
    async fn find(&self, key: &K::Key, purges: u64) -> (Answer<K>, Option<Value>) {
        let Self { known, sources, terms, now } = *self;
        // Another look-up may have landed while this one was begun.
        match known.look(key, now, terms) {
            super::Local::Found(value) => return (Ok(Some(value)), None),
            super::Local::Nobody => return (Ok(None), None),
            super::Local::Unknown => {}
        }
        let shared = match &sources.cache {
            Some(cache) => cache.get::<K>(key, now).await,
            None => None,
        };
        let old = shared.map(|shared| {
            let since = Since::ago(shared.age, now);
            (shared.record.and_then(K::value).map(Arc::new), shared.age, since)
        });
        if let Some((value, age, since)) = &old {
            let counts = if value.is_some() { terms.cache } else { terms.negative };
            if *age < counts {
                known.keep(key, value.as_ref(), *since, purges);
                let meter =
                    if value.is_some() { &known.meters().redis } else { &known.meters().none };
                meter.inc();
                return (Ok(value.clone()), None);
            }
        }
        let Ok(record) = sources.read::<K>(key).await else {
            known.meters().unavailable.inc();
            if let Some((Some(value), age, since)) = &old
                && *age < terms.stale
            {
                known.keep_old(key, value, *since, purges);
            }
            return (Err(Unavailable), None);
        };
        let text = record.as_ref().and_then(|record| serde_json::to_value(record).ok());
        let value = record.and_then(K::value).map(Arc::new);
        known.keep(key, value.as_ref(), Since::ago(Duration::ZERO, now), purges);
        let meter = if value.is_some() { &known.meters().database } else { &known.meters().none };
        meter.inc();
        let text = text.filter(|_| value.is_some()).unwrap_or_default();
        (Ok(value), Some(text))
    }
}

#[cfg(test)]
mod tests;
