//! A Redis, and what this node knows and holds of its counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::Take;
use super::answer::{Answers, Source, refusal};
use super::fleet::Fleet;
use super::journal::Journal;
use super::known::Known;
use super::lease::Leases;
use super::math::{Ask, Reply};
use super::redis::Redis;
use super::settle::{Due, Settle};
use super::upkeep::PATIENCE;
use crate::clock::{Moment, Tick};
use crate::link::{self, Breaker, Failure};
use crate::telemetry::Metrics;

/// Leases of fewer tokens cost more than they save.
const LEASE_MIN: u64 = 2;

/// A Redis and what is known about it. Replaced whole when its settings change: what was held
/// of the old one's counters is lost with it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: link::Settings,
    pub(super) redis: Redis,
    /// For calls that no request waits for: on the runtime of the upkeep.
    pub(super) background: Redis,
    pub(super) breaker: Breaker,
    pub(super) fleet: Fleet,
    pub(super) known: Known,
    pub(super) leases: Leases,
    settle: Arc<Settle>,
    watch: Arc<Watch>,
    /// What tests say instead of the fleet; 0 where they say nothing.
    #[cfg(test)]
    pub(super) lenders_told: std::sync::atomic::AtomicU32,
}

/// What this node can say of one counter without asking.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// It was paid for in advance.
    Held(Reply),
    /// Redis has said that it has not enough.
    Known(Reply),
    /// Nothing.
    Ask,
}

/// One for each take of a request.
pub(super) type Steps = SmallVec<[Step; 2]>;

/// What this node can say of a request without asking.
pub(super) enum AtHand {
    /// Everything; of the counter of that take more should be called for.
    Decided(Answers, Option<usize>),
    /// Not everything.
    Open(Steps),
}

impl Shared {
    /// Prepares; connects to nothing yet.
    pub(super) fn new(settings: &link::Settings, watch: &Arc<Watch>, settle: &Arc<Settle>) -> Self {
        let fleet = Fleet::new(settings.expected_nodes);
        let leases = Leases::new(fleet.id(), &watch.metrics);
        Self {
            redis: Redis::new(settings, fleet.id(), "limits", &watch.metrics),
            background: Redis::new(
                &settings.with_timeout_min(PATIENCE),
                fleet.id(),
                "limits_upkeep",
                &watch.metrics,
            ),
            breaker: settings.breaker(),
            fleet,
            known: Known::new(),
            leases,
            settings: settings.clone(),
            settle: Arc::clone(settle),
            watch: Arc::clone(watch),
            #[cfg(test)]
            lenders_told: std::sync::atomic::AtomicU32::new(0),
        }
    }

    /// Decides a request from what this node holds and knows, if it can.
    pub(super) fn at_hand(&self, takes: &[Take], now: Tick) -> AtHand {
        let spent = self.leases.spend(takes, now);
        if spent.replies.iter().all(Option::is_some) {
            let answers = spent.replies.into_iter().map(|reply| (Source::Lease, reply));
            return AtHand::Decided(answers.collect(), spent.low);
        }
        let (mut refused, mut open) = (false, false);
        let step = |(take, held): (&Take, &Option<Reply>)| {
            if let Some(reply) = *held {
                return Step::Held(reply);
            }
            if let Some(wait) = self.known.wait(take, now) {
                refused |= !take.rule.shadow;
                return Step::Known(refusal(wait));
            }
            open = true;
            Step::Ask
        };
        let steps: Steps = takes.iter().zip(&spent.replies).map(step).collect();
        if open && !refused {
            return AtHand::Open(steps);
        }
        let answer = |(take, step): (&Take, Step)| match step {
            Step::Held(_) if refused => {
                self.leases.put_back(take);
                (Source::Nobody, None)
            }
            Step::Held(reply) => {
                self.leases.keep(take);
                (Source::Lease, Some(reply))
            }
            Step::Known(reply) => (Source::Redis, Some(reply)),
            Step::Ask => (Source::Nobody, None),
        };
        AtHand::Decided(takes.iter().zip(steps).map(answer).collect(), spent.low)
    }

    /// What to ask of a counter for a request of this cost, or for none (0). More than the cost
    /// only from one caller at a time, who then says how it ended.
    pub(super) fn ask(&self, take: &Take, cost: u64, now: Tick) -> Ask {
        let mut ask = Ask { cost, want: cost, share: 1, shadow: take.rule.shadow };
        let lease = take.tier().lease;
        if lease == 0 {
            return ask;
        }
        let Some(lenders) = self.lenders(now) else { return ask };
        let most = lease / u64::from(lenders.max(1));
        if most < LEASE_MIN {
            return ask;
        }
        let (advance, due) = self.leases.ask(take, cost, now, most);
        if let Some(due) = due {
            self.settle.put(due);
            self.known.forget(&take.key);
        }
        ask.want += advance;
        ask.share = 2 * u64::from(lenders.max(1));
        ask
    }

    /// Calls for more of a counter, in a task of its own: no request waits for it.
    pub(super) fn fetch(self: &Arc<Self>, take: &Take, at: Moment) {
        let now = at.tick;
        let ask = self.ask(take, 0, now);
        if ask.want == 0 {
            return;
        }
        if !self.breaker.admits(now) {
            self.leases.failed(take);
            return;
        }
        let (shared, take) = (Arc::clone(self), take.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            match shared.redis.take(&[(&take, ask)], at).await {
                Ok(replies) => {
                    shared.leases.note_round_trip(began.elapsed());
                    shared.note_answer(now);
                    if let [Some(reply)] = *replies {
                        shared.leases.granted(&take, 0, &reply);
                        shared.leases.told(&take, reply, now, true);
                    }
                }
                Err(failure) => {
                    shared.leases.failed(&take);
                    shared.note_failure(&failure, now);
                }
            }
        });
    }

    /// Leaves to be settled what has expired.
    pub(super) fn give_back_expired(&self, now: Tick) {
        self.give_back(now, false);
    }

    /// Leaves to be settled whatever this node holds in advance; it takes no more from then on.
    pub(super) fn give_back_all(&self, now: Tick) {
        self.leases.close();
        self.give_back(now, true);
    }

    fn give_back(&self, now: Tick, everything: bool) {
        self.leases.sweep(now, everything, |due| {
            if let Due::GiveBack { take, .. } = &due {
                self.known.forget(&take.key);
            }
            self.settle.put(due);
        });
    }

    fn lenders(&self, now: Tick) -> Option<u32> {
        #[cfg(test)]
        if let told @ 1.. = self.lenders_told.load(Ordering::Relaxed) {
            return Some(told);
        }
        self.fleet.lenders(now)
    }

    /// Redis has answered.
    pub(super) fn note_answer(&self, now: Tick) {
        self.watch.note_answer(&self.breaker, now);
    }

    /// Redis has not answered.
    pub(super) fn note_failure(&self, failure: &Failure, now: Tick) {
        self.watch.metrics.limit_redis_failures.inc();
        let opened = self.breaker.fail(now);
        if opened {
            self.redis.disconnect();
        }
        if self.breaker.open_left(now).is_some() {
            self.watch.journal.begin_outage();
        }
        self.watch.note_failure(failure, opened);
    }

    /// What was admitted without Redis.
    pub(super) fn journal(&self) -> &Journal {
        &self.watch.journal
    }
}

/// Tells operators whether Redis answers: by metrics, and in the log once for each change.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) metrics: Arc<Metrics>,
    pub(super) journal: Journal,
    /// Whether the log has been told that limits count on this node. Told once, not per request.
    told_local: AtomicBool,
}

impl Watch {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let journal = Journal::new(metrics.limit_journal_dropped.clone());
        Self { metrics, journal, told_local: AtomicBool::new(false) }
    }

    /// The configuration names no Redis.
    pub(super) fn note_absent(&self) {
        self.metrics.limit_breaker_open.set(0);
        self.metrics.limit_local.set(1);
        if !self.told_local.swap(true, Ordering::Relaxed) {
            tracing::warn!("no Redis is configured: limits count on this node alone");
        }
    }

    /// The configuration names a Redis that is not known yet.
    pub(super) fn note_new(&self) {
        self.metrics.limit_breaker_open.set(0);
        self.metrics.limit_local.set(0);
        self.told_local.store(false, Ordering::Relaxed);
    }

    fn note_answer(&self, breaker: &Breaker, now: Tick) {
        if breaker.succeed() {
            self.journal.note_answer(now);
            self.metrics.limit_breaker_open.set(0);
        }
        // What is counted locally stays so for a while after an outage, and is said to.
        if self.told_local.load(Ordering::Relaxed)
            && !self.journal.stays_local(now)
            && self.told_local.swap(false, Ordering::Relaxed)
        {
            self.metrics.limit_local.set(0);
            tracing::info!("Redis answers again: limits are shared between nodes");
        }
    }

    fn note_failure(&self, failure: &Failure, opened: bool) {
        if opened {
            self.metrics.limit_breaker_open.set(1);
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
