//! Takes from counters: Redis, behind a breaker, else this node's own.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::known::Known;
use super::local::Local;
use super::math::Reply;
use super::redis::Redis;
use super::{Decision, LimitRule, Outcome, Quota, Take};
use crate::clock::{Moment, Tick};
use crate::link::{Breaker, Failure};
use crate::model::{self, FailureMode};
use crate::telemetry::Metrics;

/// What a client is told to wait for when Redis has just failed and may be back at once.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// The limiter of a process. Lives as long as it; a new configuration reconfigures it.
#[derive(Debug)]
pub struct Limiter {
    metrics: Arc<Metrics>,
    shared: ArcSwapOption<Shared>,
    local: Local,
    /// Whether the log has been told that limits count on this node. Told once, not per request.
    told_local: AtomicBool,
}

/// A Redis and what is known about it. Replaced whole when its settings change.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    redis: Redis,
    breaker: Breaker,
    known: Known,
}

/// What a [`Shared`] was made from.
#[derive(PartialEq, Eq)]
struct Settings {
    url: String,
    key_prefix: String,
    timeout: Duration,
    breaker: model::Breaker,
    expected_nodes: u32,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the address: it may carry a password.
        f.debug_struct("Settings").field("key_prefix", &self.key_prefix).finish_non_exhaustive()
    }
}

/// Who answered for a rule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Redis,
    Local,
    /// Nobody: the rule fails open.
    Open,
}

impl Limiter {
    /// A limiter that counts on this node until it is given a Redis.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        metrics.limit_local.set(1);
        Self {
            local: Local::new(metrics.limit_local_keys.clone()),
            shared: ArcSwapOption::empty(),
            told_local: AtomicBool::new(false),
            metrics,
        }
    }

    /// Adopts the Redis settings of a new configuration; `url` is the resolved one. Unchanged
    /// settings keep the connection and the breaker; local counters are always kept.
    pub fn configure(&self, redis: Option<(&model::Redis, &str)>) {
        let Some((model, url)) = redis else {
            self.shared.store(None);
            self.metrics.limit_breaker_open.set(0);
            self.metrics.limit_local.set(1);
            if !self.told_local.swap(true, Ordering::Relaxed) {
                tracing::warn!("no Redis is configured: limits count on this node alone");
            }
            return;
        };
        let settings = Settings {
            url: url.to_owned(),
            key_prefix: model.key_prefix.clone(),
            timeout: model.timeout.get(),
            breaker: model.breaker.clone(),
            expected_nodes: model.expected_nodes.max(1),
        };
        if self.shared.load().as_ref().is_some_and(|shared| shared.settings == settings) {
            return;
        }
        let redis = Redis::new(url, &settings.key_prefix, settings.timeout, &self.metrics);
        let breaker = Breaker::new(settings.breaker.failures, settings.breaker.open_for.get());
        let shared = Shared { settings, redis, breaker, known: Known::new() };
        self.shared.store(Some(Arc::new(shared)));
        self.metrics.limit_breaker_open.set(0);
        self.metrics.limit_local.set(0);
        self.told_local.store(false, Ordering::Relaxed);
    }

    /// Takes everything, or nothing where a counter has not enough.
    ///
    /// Asks Redis unless the answer is known or the breaker is open; without an answer each rule
    /// goes by its failure mode. Takes at most the time limit of a call to Redis, and a few
    /// microseconds where Redis is not asked.
    pub async fn take(&self, takes: &[Take], now: Moment) -> Outcome {
        let now = now.tick;
        if takes.is_empty() {
            return Outcome::unlimited();
        }
        let Some(shared) = self.shared.load_full() else {
            let replies = self.local.take(takes, 1, now);
            return conclude(&pair(takes, Source::Local, &replies));
        };
        if let Some(waits) = shared.known.waits(takes, now) {
            return refuse_known(takes, &waits);
        }
        if shared.breaker.admits(now) {
            match shared.redis.take(takes).await {
                Ok(replies) => {
                    self.note_answer(&shared);
                    return shared.conclude(takes, &replies, now);
                }
                Err(failure) => self.note_failure(&shared, &failure, now),
            }
        }
        self.degrade(&shared, takes, now)
    }

    /// Decides without Redis.
    fn degrade(&self, shared: &Shared, takes: &[Take], now: Tick) -> Outcome {
        if takes.iter().any(|take| take.rule.failure_mode == FailureMode::Closed) {
            return unavailable(takes, shared.breaker.open_left(now));
        }
        let counted: Vec<&Take> =
            takes.iter().filter(|take| take.rule.failure_mode == FailureMode::Local).collect();
        let replies = self.local.take(&counted, shared.settings.expected_nodes, now);
        let mut replies = replies.into_iter();
        let answers = takes.iter().map(|take| match take.rule.failure_mode {
            FailureMode::Local => (take, Source::Local, replies.next()),
            FailureMode::Open | FailureMode::Closed => (take, Source::Open, None),
        });
        Outcome { degraded: true, ..conclude(&answers.collect::<Vec<_>>()) }
    }

    fn note_answer(&self, shared: &Shared) {
        if shared.breaker.succeed() {
            self.metrics.limit_breaker_open.set(0);
        }
        if self.told_local.load(Ordering::Relaxed) && self.told_local.swap(false, Ordering::Relaxed)
        {
            self.metrics.limit_local.set(0);
            tracing::info!("Redis answers again: limits are shared between nodes");
        }
    }

    fn note_failure(&self, shared: &Shared, failure: &Failure, now: Tick) {
        self.metrics.limit_redis_failures.inc();
        let opened = shared.breaker.fail(now);
        if opened {
            self.metrics.limit_breaker_open.set(1);
            shared.redis.disconnect();
        }
        // One late answer is not an outage: it is counted, and the log waits for the breaker.
        if (opened || !matches!(failure, Failure::Timeout))
            && !self.told_local.swap(true, Ordering::Relaxed)
        {
            self.metrics.limit_local.set(1);
            tracing::warn!(reason = %failure, "Redis is away: limits go by their failure modes");
        }
    }
}

impl Shared {
    /// The outcome of Redis's answer; refusals are remembered.
    fn conclude(&self, takes: &[Take], replies: &[Reply], now: Tick) -> Outcome {
        for (take, reply) in takes.iter().zip(replies) {
            if !reply.allowed {
                self.known.note(&take.key, Duration::from_millis(reply.reset_ms), now);
            }
        }
        conclude(&pair(takes, Source::Redis, replies))
    }
}

/// Each take with the answer of the one who counted them all.
fn pair<'a>(
    takes: &'a [Take],
    source: Source,
    replies: &[Reply],
) -> Vec<(&'a Take, Source, Option<Reply>)> {
    takes.iter().zip(replies).map(|(take, reply)| (take, source, Some(*reply))).collect()
}

/// Puts the answers for all rules of a request together, and counts them.
fn conclude(answers: &[(&Take, Source, Option<Reply>)]) -> Outcome {
    let refuses = |reply: &Option<Reply>| reply.is_some_and(|reply| !reply.allowed);
    let limited = answers.iter().any(|(_, _, reply)| refuses(reply));
    let quotas = answers.iter().map(|(take, source, reply)| {
        count(&take.rule, *source, refuses(reply), limited);
        (refuses(reply), quota(&take.rule, *reply))
    });
    let decision = if limited { Decision::Limited } else { Decision::Allowed };
    Outcome { decision, quotas: order(quotas.collect()), degraded: false }
}

/// Counts a rule's decision. A rule that had enough in a request that another refused decided
/// nothing: nothing was taken.
fn count(rule: &LimitRule, source: Source, refused: bool, limited: bool) {
    let counts = &rule.counts;
    match (source, refused, limited) {
        (Source::Redis, true, _) => counts.limited_redis.inc(),
        (Source::Local, true, _) => counts.limited_local.inc(),
        (_, false, true) => {}
        (Source::Redis, false, false) => counts.allowed_redis.inc(),
        (Source::Local, false, false) => counts.allowed_local.inc(),
        (Source::Open, _, _) => counts.allowed_open.inc(),
    }
}

/// The outcome for a request of which Redis has already said that it may not pass yet.
fn refuse_known(takes: &[Take], waits: &[Option<Duration>]) -> Outcome {
    let quota = |(take, wait): (&Take, &Option<Duration>)| {
        let Some(wait) = *wait else { return (false, quota(&take.rule, None)) };
        take.rule.counts.limited_redis.inc();
        (true, Quota { remaining: Some(0), reset: wait, ..quota(&take.rule, None) })
    };
    let quotas = order(takes.iter().zip(waits).map(quota).collect());
    Outcome { decision: Decision::Limited, quotas, degraded: false }
}

/// The outcome while Redis is away and a rule fails closed.
fn unavailable(takes: &[Take], open_left: Option<Duration>) -> Outcome {
    let wait = open_left.unwrap_or(RETRY_SOON).max(RETRY_SOON);
    let quota = |take: &Take| {
        let closed = take.rule.failure_mode == FailureMode::Closed;
        let mut quota = quota(&take.rule, None);
        if closed {
            take.rule.counts.unavailable.inc();
            quota.reset = wait;
        }
        (closed, quota)
    };
    let quotas = order(takes.iter().map(quota).collect());
    Outcome { decision: Decision::Unavailable, quotas, degraded: true }
}

fn quota(rule: &LimitRule, reply: Option<Reply>) -> Quota {
    Quota {
        name: Arc::clone(&rule.name),
        limit: rule.numbers.limit,
        window_s: rule.window_s,
        remaining: reply.map(|reply| reply.remaining),
        reset: Duration::from_millis(reply.map_or(0, |reply| reply.reset_ms)),
        policy: rule.policy.clone(),
    }
}

/// Refusals first, the longest wait in front, because a client that waits for less comes in
/// vain; then what has the least left; last what nobody counted.
fn order(mut quotas: Vec<(bool, Quota)>) -> Vec<Quota> {
    if quotas.len() > 1 {
        quotas.sort_by_key(|(refused, quota)| {
            let left = if *refused { 0 } else { quota.remaining.unwrap_or(u64::MAX) };
            (!refused, left, Reverse(quota.reset))
        });
    }
    quotas.into_iter().map(|(_, quota)| quota).collect()
}

#[cfg(test)]
mod tests;
