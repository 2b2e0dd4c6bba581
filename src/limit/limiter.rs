//! Takes from counters: what this node holds, Redis behind a breaker, else this node's own.

mod report;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::answer::{Answer, Source, conclude};
use super::degrade::counts_locally;
use super::desk::Desk;
use super::held::Asked;
use super::local::Local;
use super::pending::Pending;
use super::settle::Settle;
use super::shared::{AtHand, Shared, Watch};
use super::{Decision, Outcome, Take};
use crate::clock::{Moment, Tick};
use crate::link;
use crate::model;
use crate::telemetry::Metrics;
pub use report::{RedisReport, Report};

/// The limiter of a process. Lives as long as it; a new configuration reconfigures it.
#[derive(Debug)]
pub struct Limiter {
    pub(super) shared: ArcSwapOption<Shared>,
    pub(super) local: Local,
    pub(super) settle: Arc<Settle>,
    pub(super) watch: Arc<Watch>,
    /// Told to the upkeep: another Redis, or the way out.
    pub(super) changed: Notify,
    pub(super) retired: AtomicBool,
    /// What was held has gone back, and the fleet knows.
    pub(super) left: AtomicBool,
    pub(super) desk: Desk,
    pub(super) metrics: Arc<Metrics>,
}

impl Limiter {
    /// A limiter that counts on this node until it is given a Redis.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self::with_keys(metrics, model::Server::default().limit_keys)
    }

    /// The same, that counts so many keys on this node at most (`server.limitKeys`).
    #[must_use]
    pub fn with_keys(metrics: Arc<Metrics>, limit_keys: usize) -> Self {
        metrics.limit_local.set(1);
        Self {
            local: Local::new(limit_keys, &metrics),
            shared: ArcSwapOption::empty(),
            settle: Arc::new(Settle::new(metrics.limit_settle_dropped.clone())),
            watch: Arc::new(Watch::new(Arc::clone(&metrics))),
            changed: Notify::new(),
            retired: AtomicBool::new(false),
            left: AtomicBool::new(false),
            desk: Desk::default(),
            metrics,
        }
    }

    /// Adopts the Redis of a new configuration. Unchanged settings keep the connection, the
    /// breaker and what is held in advance; local counters are always kept.
    pub fn configure(&self, redis: Option<&link::Settings>) {
        self.desk.adopt(redis, &self.metrics);
        let Some(settings) = redis else {
            self.shared.store(None);
            self.changed.notify_one();
            self.watch.note_absent();
            return;
        };
        if self.shared.load().as_ref().is_some_and(|shared| shared.settings == *settings) {
            return;
        }
        let shared = Shared::new(settings, &self.watch, &self.settle);
        self.shared.store(Some(Arc::new(shared)));
        self.changed.notify_one();
        self.watch.note_new();
    }

    /// Takes everything, or nothing where a counter has not enough. `now` is when this is
    /// called, not when the request began: what is held in advance may not be spent later than
    /// it lasts.
    ///
    /// Asks Redis unless the answer is known, this node holds enough of every counter, or the
    /// breaker is open; without an answer each rule goes by its failure mode. Takes at most the
    /// time limit of a call to Redis, and a few microseconds where Redis is not asked.
    pub async fn take(&self, takes: &[Take], now: Moment) -> Outcome {
        if takes.is_empty() {
            return Outcome::unlimited();
        }
        let mut asked = Asked::new(takes, &self.local.places, &self.settle);
        let mut outcome = self.decide(takes, &mut asked, now).await;
        if let Some(asked) = asked {
            outcome.held.begin(asked);
        }
        outcome
    }

    async fn decide(&self, takes: &[Take], asked: &mut Option<Asked<'_>>, now: Moment) -> Outcome {
        let (shared, steps) = {
            let shared = self.shared.load();
            let Some(shared) = shared.as_ref() else {
                let replies = self.local.take(takes, 1, now);
                let answers = replies.into_iter().map(|reply| (Source::Local, Some(reply)));
                return conclude(takes, &answers.collect::<smallvec::SmallVec<[Answer; 2]>>());
            };
            match shared.at_hand(takes, now.tick) {
                AtHand::Decided(answers, low) => {
                    if let Some(low) = low.and_then(|n| takes.get(n)) {
                        shared.fetch(low, now);
                    }
                    return conclude(takes, &answers);
                }
                AtHand::Open(steps) => (Arc::clone(shared), steps),
            }
        };
        self.call(&shared, Pending::new(&shared, takes, steps), asked, now).await
    }

    /// Asks Redis for what this node does not know or hold, unless it is left alone, or has just
    /// come back and is not yet told by all nodes what they admitted without it.
    async fn call(
        &self,
        shared: &Shared,
        mut pending: Pending<'_>,
        asked: &mut Option<Asked<'_>>,
        now: Moment,
    ) -> Outcome {
        let stays_local = self.watch.journal.stays_local(now.tick)
            && counts_locally(pending.takes())
            && shared.breaker.open_left(now.tick).is_none();
        if !stays_local && shared.breaker.admits(now.tick) {
            let asks = pending.asks(now.tick);
            let call = asked.as_mut().map_or_else(|| shared.redis.next_call(), Asked::send);
            let began = Instant::now();
            match shared.redis.take_as(call, &asks, now).await {
                Ok(replies) => {
                    asked.iter_mut().for_each(Asked::answered);
                    shared.leases.note_round_trip(began.elapsed());
                    shared.note_answer(now.tick);
                    return pending.answered(&replies, now.tick);
                }
                Err(failure) => {
                    shared.note_failure(&failure, now.tick);
                    pending.failed();
                }
            }
        }
        let outcome = self.degrade(shared, pending.takes(), pending.steps(), now);
        pending.close(outcome.decision == Decision::Allowed);
        outcome
    }

    /// Nodes that share what is counted here: this one alone without Redis.
    pub(super) fn nodes(&self) -> u32 {
        self.shared.load().as_ref().map_or(1, |shared| shared.fleet.nodes())
    }

    /// Leaves to be settled what expired unspent, and forgets keys that nobody asks for. To be
    /// called about twice a second.
    pub fn give_back_expired(&self, now: Tick) {
        if let Some(shared) = self.shared.load().as_ref() {
            shared.give_back_expired(now);
        }
    }
}

#[cfg(test)]
mod tests;
