//! What happens to a request while Redis does not answer.
//!
//! What this node holds in advance was paid for, and what is known to be used up stays so. The
//! rest goes by the failure mode of each rule:
//!
//! - `open`: it passes uncounted.
//! - `closed`: it is refused with 503, because 429 would tell the client that it did wrong.
//! - `local`: this node counts by itself, its share of the limit: the limit divided by the nodes
//!   that were last seen, and never less than one request. What it admits is charged afterwards.
//!
//! One closed rule decides for the whole request. Every such outcome is marked as degraded.
//! Tests: `limiter/tests.rs`, `tests/e2e/degraded.rs`, `tests/e2e/outages.rs`.

use std::time::Duration;

use super::answer::{Answers, Quotas, Source, conclude, order, quota};
use super::shared::{Shared, Step};
use super::{Decision, Limiter, Outcome, Take};
use crate::clock::Moment;
use crate::model::FailureMode;

/// What a client is told to wait for when Redis has just failed and may be back at once.
const RETRY_SOON: Duration = Duration::from_secs(1);

impl Limiter {
    /// Decides without Redis.
    pub(super) fn degrade(
        &self,
        shared: &Shared,
        takes: &[Take],
        steps: &[Step],
        now: Moment,
    ) -> Outcome {
        let open = |step: &Step| matches!(step, Step::Ask);
        let asked = || takes.iter().zip(steps).filter(|(_, step)| open(step));
        let closes = |take: &Take| take.rule.failure_mode == FailureMode::Closed;
        if asked().any(|(take, _)| closes(take) && !take.rule.shadow) {
            return unavailable(takes, steps, shared.breaker.open_left(now.tick));
        }
        let counts = |take: &Take| take.rule.failure_mode == FailureMode::Local;
        let counted: Vec<&Take> =
            asked().map(|(take, _)| take).filter(|take| counts(take)).collect();
        let nodes = shared.fleet.nodes();
        let replies = self.local.take(&counted, nodes, now);
        let mut left = replies.iter().copied();
        let answers = takes.iter().zip(steps).map(|(take, step)| match step {
            Step::Held(reply) => (Source::Lease, Some(*reply)),
            Step::Known(reply) => (Source::Redis, Some(*reply)),
            Step::Ask if counts(take) => (Source::Local, left.next()),
            Step::Ask => (Source::Open, None),
        });
        let outcome = conclude(takes, &answers.collect::<Answers>());
        if outcome.decision == Decision::Allowed {
            let unix = self.local.unix(now);
            for (take, _) in counted.iter().zip(&replies).filter(|(_, reply)| reply.taken > 0) {
                shared.journal().note(take, nodes, unix);
            }
        }
        Outcome { degraded: true, ..outcome }
    }
}

/// Whether a request is counted on this node while Redis is away. A closed rule decides alone,
/// and requests that nobody counts owe nothing.
pub(super) fn counts_locally(takes: &[Take]) -> bool {
    takes.iter().all(|take| take.rule.failure_mode != FailureMode::Closed)
        && takes.iter().any(|take| take.rule.failure_mode == FailureMode::Local)
}

/// The outcome while Redis is away and a rule fails closed.
fn unavailable(takes: &[Take], steps: &[Step], open_left: Option<Duration>) -> Outcome {
    let wait = open_left.unwrap_or(RETRY_SOON).max(RETRY_SOON);
    let mut quotas = Quotas::new();
    for (take, step) in takes.iter().zip(steps).filter(|(take, _)| !take.rule.shadow) {
        let closed = matches!(step, Step::Ask) && take.rule.failure_mode == FailureMode::Closed;
        let mut quota = quota(take, None);
        if closed {
            take.rule.counts.unavailable.inc();
            quota.reset = wait;
        }
        quotas.push((closed, quota));
    }
    let quotas = order(quotas);
    Outcome { decision: Decision::Unavailable, quotas, degraded: true, ..Outcome::unlimited() }
}
