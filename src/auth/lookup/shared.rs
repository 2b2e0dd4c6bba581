//! What nodes share through Redis: answers of the database, for as long as they count.
//!
//! Layout, behind the deployment's prefix: `auth:key:HASH` and `auth:tenant:ID`, each a JSON text
//! with the record (or null), when it was read from the database, and how long Redis was told to
//! keep it. An answer's age is what Redis' own clock says, and never less than what the clocks of
//! the nodes say, so that neither a clock that is wrong nor a Redis that is slow makes it younger.
//! `lua/keep_answer.lua` writes, and does not write over the word `purged`: whoever changes a
//! record puts that in its place for longer than a look-up may take, so that none which began
//! before puts back what was then.

use std::time::Duration;

use redis::Script;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::{Kind, Terms};
use crate::clock::{Moment, Tick};
use crate::link::{self, Breaker, Failure};
use crate::telemetry::Metrics;

/// The script that keeps an answer.
const KEEP: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/keep_answer.lua"));

/// An answer as it is kept in Redis.
#[derive(Debug, Serialize, Deserialize)]
struct Parcel {
    /// When it was read from the database, Unix milliseconds.
    at: u64,
    /// Its age in milliseconds when it was written.
    age: u64,
    /// How long Redis was told to keep it, in milliseconds.
    ttl: u64,
    /// The record; null where there is none.
    record: Value,
}

/// An answer that Redis had.
#[derive(Debug)]
pub(super) struct Shared<R> {
    /// What the database said.
    pub(super) record: Option<R>,
    /// How long ago it said so.
    pub(super) age: Duration,
}

/// The Redis that nodes share answers through.
#[derive(Debug)]
pub(super) struct Cache {
    link: link::Redis,
    breaker: Breaker,
    keep: Script,
    failures: prometheus::IntCounter,
}

impl Cache {
    pub(super) fn new(link: link::Redis, breaker: Breaker, metrics: &Metrics) -> Self {
        let failures = metrics.lookup_redis_failures.clone();
        Self { link, breaker, keep: Script::new(KEEP), failures }
    }

    /// What is kept under a key. None where there is nothing that can be read, and where Redis
    /// does not answer: then it is left alone for a while, so that it costs time only once.
    pub(super) async fn get<K: Kind>(
        &self,
        key: &K::Key,
        now: Moment,
    ) -> Option<Shared<K::Record>> {
        if !self.breaker.admits(now.tick) {
            return None;
        }
        let name = self.name::<K>(key);
        let mut look = redis::pipe();
        look.cmd("GET").arg(&name).cmd("PTTL").arg(&name);
        let look = &look;
        let asked = self.link.call(async |mut connection| {
            Ok(look.query_async::<(Option<Vec<u8>>, i64)>(&mut connection).await?)
        });
        let (text, left) = self.note(asked.await, now.tick)?;
        read(&text?, left, now.unix_ms)
    }

    /// Keeps what the database said to a question that was asked at `asked`, while `began` was
    /// the time of timers.
    pub(super) async fn put<K: Kind>(
        &self,
        key: &K::Key,
        record: Value,
        terms: &Terms,
        (asked, began): (Moment, Instant),
    ) {
        let age = began.elapsed();
        let keep = if record.is_null() { terms.negative } else { terms.cache.max(terms.stale) };
        let ttl = millis(keep.saturating_sub(age));
        if ttl == 0 || !self.breaker.admits(asked.tick) {
            return;
        }
        let parcel = Parcel { at: asked.unix_ms, age: millis(age), ttl, record };
        let Ok(text) = serde_json::to_vec(&parcel) else { return };
        let mut call = self.keep.key(self.name::<K>(key));
        call.arg(text).arg(ttl);
        let call = &call;
        let kept = self
            .link
            .call(async |mut connection| Ok(call.invoke_async::<i64>(&mut connection).await?));
        self.note(kept.await, asked.tick);
    }

    fn name<K: Kind>(&self, key: &K::Key) -> String {
        format!("{}{}", self.link.prefix(), K::redis_key(key))
    }

    /// Notes how a call went, and says so in the log when Redis is left alone from now on, or
    /// asked again.
    fn note<T>(&self, result: Result<T, Failure>, now: Tick) -> Option<T> {
        match result {
            Ok(answer) => {
                if self.breaker.succeed() {
                    tracing::info!("Redis answers again about callers");
                }
                Some(answer)
            }
            Err(error) => {
                self.failures.inc();
                if self.breaker.fail(now) {
                    // A connection that only times out may be dead without a sign.
                    self.link.disconnect();
                    tracing::warn!(%error, "Redis is not asked about callers for a while");
                }
                None
            }
        }
    }
}

/// Reads an answer. `left` is the time that Redis keeps it on, in milliseconds.
fn read<R: serde::de::DeserializeOwned>(text: &[u8], left: i64, unix_ms: u64) -> Option<Shared<R>> {
    let parcel: Parcel = serde_json::from_slice(text).ok()?;
    // Without an end nobody knows how old it is.
    let left = u64::try_from(left).ok()?;
    let by_redis = parcel.age.saturating_add(parcel.ttl.checked_sub(left)?);
    let age = by_redis.max(unix_ms.saturating_sub(parcel.at));
    let record = match parcel.record {
        Value::Null => None,
        record => Some(serde_json::from_value(record).ok()?),
    };
    Some(Shared { record, age: Duration::from_millis(age) })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(text: &str, left: i64, unix_ms: u64) -> Option<u64> {
        read::<String>(text.as_bytes(), left, unix_ms).map(|found| millis(found.age))
    }

    const TEXT: &str = r#"{"at":10000,"age":40,"ttl":1000,"record":"ACTIVE"}"#;

    #[test]
    fn the_older_of_two_ages_counts() {
        assert_eq!(age(TEXT, 1000, 10_040), Some(40));
        assert_eq!(age(TEXT, 300, 10_740), Some(740));
        assert_eq!(age(TEXT, 300, 9_000), Some(740), "a node whose clock is behind");
        assert_eq!(age(TEXT, 300, 11_000), Some(1_000), "a Redis that wrote late");
    }

    #[test]
    fn what_cannot_be_meant_is_nothing() {
        assert_eq!(age(TEXT, -1, 10_040), None, "no end");
        assert_eq!(age(TEXT, -2, 10_040), None, "gone meanwhile");
        assert_eq!(age(TEXT, 1_001, 10_040), None, "an end that nobody set");
        for text in ["purged", "", "null", "7", "{}", r#"{"at":1,"age":1,"ttl":1}"#] {
            assert_eq!(age(text, 1, 1), None, "{text}");
        }
        let number = TEXT.replace("\"ACTIVE\"", "7");
        assert_eq!(age(&number, 1000, 10_040), None, "a record of another kind");
        let none = read::<String>(TEXT.replace("\"ACTIVE\"", "null").as_bytes(), 1000, 10_040);
        assert!(none.unwrap().record.is_none());
    }
}
