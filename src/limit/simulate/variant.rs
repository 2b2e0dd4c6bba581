//! The same numbers under another algorithm, and other numbers under the same.

use std::collections::BTreeMap;

use crate::clock::{Moment, Tick};
use crate::limit::LimitRule;
use crate::limit::math::Numbers;
use crate::model::{LimitAlgorithm, Problems, RateLimit, Severity, Span};
use crate::telemetry::Metrics;

/// The algorithms that share their numbers: so many in such a time.
pub(super) const RATES: [LimitAlgorithm; 4] = [
    LimitAlgorithm::TokenBucket,
    LimitAlgorithm::SlidingWindow,
    LimitAlgorithm::SlidingLog,
    LimitAlgorithm::FixedWindow,
];

/// An algorithm in the words of the configuration.
pub(super) const fn word(algorithm: LimitAlgorithm) -> &'static str {
    match algorithm {
        LimitAlgorithm::TokenBucket => "token_bucket",
        LimitAlgorithm::SlidingWindow => "sliding_window",
        LimitAlgorithm::SlidingLog => "sliding_log",
        LimitAlgorithm::FixedWindow => "fixed_window",
        LimitAlgorithm::Quota => "quota",
        LimitAlgorithm::Concurrency => "concurrency",
    }
}

/// What a limit is for callers of one plan, as if it had no plans.
pub(super) fn of_plan(model: &RateLimit, plan: Option<&str>) -> RateLimit {
    let mut own = RateLimit { plans: BTreeMap::new(), ..model.clone() };
    if let Some(other) = plan.and_then(|plan| model.plans.get(plan)) {
        own.limit = other.limit.or(model.limit);
        own.capacity = other.capacity.or(model.capacity);
        own.refill_per_second = other.refill_per_second.or(model.refill_per_second);
    }
    own
}

/// The same numbers under another algorithm: a bucket that is full again after a window. None
/// where there is no such thing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "limits are below 2^53; a time beyond u64 saturates and is refused as a window"
)]
pub(super) fn under(model: &RateLimit, algorithm: LimitAlgorithm) -> Option<RateLimit> {
    if model.algorithm == algorithm {
        return Some(model.clone());
    }
    if !RATES.contains(&model.algorithm) || !RATES.contains(&algorithm) {
        return None;
    }
    let mut other = RateLimit { algorithm, ..model.clone() };
    if algorithm == LimitAlgorithm::TokenBucket {
        let (limit, window) = (model.limit?, model.window?.get());
        (other.limit, other.window) = (None, None);
        other.capacity = Some(limit);
        other.refill_per_second = Some(limit as f64 / window.as_secs_f64());
    } else if model.algorithm == LimitAlgorithm::TokenBucket {
        let (capacity, refill) = (model.capacity?, model.refill_per_second?);
        (other.capacity, other.refill_per_second) = (None, None);
        other.limit = Some(capacity);
        other.window = Some(Span::from_millis((capacity as f64 / refill * 1e3).round() as u64));
    }
    Some(other)
}

/// The same with another limit: a bucket's refill grows with its capacity.
#[expect(clippy::cast_precision_loss, reason = "limits are below 2^53")]
pub(super) fn with_limit(model: &RateLimit, limit: u64) -> RateLimit {
    let mut other = model.clone();
    match (model.capacity, model.refill_per_second) {
        (Some(capacity), Some(refill)) if capacity > 0 => {
            other.refill_per_second = Some(refill * limit as f64 / capacity as f64);
            other.capacity = Some(limit);
        }
        _ => other.limit = Some(limit),
    }
    other
}

/// A limit as it is counted, by the same way as in a running gateway.
#[derive(Debug)]
pub(super) struct Counted(LimitRule);

impl Counted {
    /// What is counted at a time of the log: a quota's period is that in which it lies.
    pub(super) fn numbers(&self, at_ms: u64) -> Option<Numbers> {
        let at = Moment { tick: Tick::from_nanos(0), unix_ms: at_ms };
        self.0.tiers.first().map(|tier| tier.numbers(at))
    }
}

/// Compiles a limit.
///
/// # Errors
/// Why it cannot be counted.
pub(super) fn counted(model: &RateLimit, metrics: &Metrics) -> Result<Counted, String> {
    let mut problems = Problems::default();
    let rule = LimitRule::compile("simulated", model, "simulated", metrics, &mut problems);
    if let Some(rule) = rule {
        return Ok(Counted(rule));
    }
    let errors = problems.0.into_iter().filter(|problem| problem.severity == Severity::Error);
    let why = errors.map(|problem| problem.message).next();
    Err(why.unwrap_or_else(|| "it cannot be counted by what a log says".to_owned()))
}
