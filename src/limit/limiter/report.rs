//! What operators are told of the limiter as a whole, and what it knows of one counter.

use std::time::Duration;

use serde::Serialize;

use super::Limiter;
use crate::clock::Moment;
use crate::limit::desk::{Stand, Stands};
use crate::limit::{CounterKey, Take};

/// The limiter of this node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether limits count on this node alone, because Redis is absent or away.
    pub counting_locally: bool,
    /// Redis, where one is configured.
    pub redis: Option<RedisReport>,
    /// Nodes that share the limits, as last seen; this one is among them.
    pub nodes: u32,
    /// Keys that are counted exactly on this node.
    pub local_keys: i64,
    /// Tokens of all counters that this node holds in advance, as counted last: twice a second.
    pub held: i64,
}

/// What is known of Redis.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisReport {
    /// `closed` while Redis is asked, `open` while it is left alone for its failures.
    pub breaker: &'static str,
    /// Milliseconds for which it stays open; 0 when one call may find out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_for_ms: Option<u64>,
    /// Calls that failed or came too late, since the process began.
    pub failures: u64,
}

impl Limiter {
    /// How the limiter does at the moment.
    #[must_use]
    pub fn report(&self, now: Moment) -> Report {
        let shared = self.shared.load();
        let redis = shared.as_ref().map(|shared| {
            let open = shared.breaker.open_left(now.tick);
            let ms = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            RedisReport {
                breaker: if open.is_some() { "open" } else { "closed" },
                open_for_ms: open.map(ms),
                failures: self.metrics.limit_redis_failures.get(),
            }
        });
        Report {
            counting_locally: self.metrics.limit_local.get() != 0,
            nodes: self.nodes(),
            redis,
            local_keys: self.metrics.limit_local_keys.get(),
            held: self.metrics.limit_lease_tokens.get(),
        }
    }

    /// What this node counts, holds and knows of a counter, with what Redis says of it.
    pub(in crate::limit) fn stands(
        &self,
        take: &Take,
        redis: Option<Result<Stand, String>>,
        now: Moment,
    ) -> Stands {
        let shared = self.shared.load();
        let held = shared.as_ref().map(|shared| shared.leases.held(&take.key));
        let held = held.filter(|(held, until)| *held > 0 && now.tick < *until);
        Stands {
            redis,
            node: self.local.look(take, self.nodes(), now),
            held: held.map(|(held, _)| held),
            refused_for: shared.as_ref().and_then(|shared| shared.known.wait(take, now.tick)),
        }
    }

    /// Forgets what this node counts and knows of a counter.
    pub(in crate::limit) fn forget(&self, key: &CounterKey) {
        self.local.forget(key);
        self.watch.journal.forget(key);
        if let Some(shared) = self.shared.load().as_ref() {
            shared.known.forget(key);
            shared.leases.forget(key);
        }
    }
}
