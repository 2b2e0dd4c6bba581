//! What there is to see of the shared store.

use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use crate::telemetry::Metrics;

/// Counters of the shared store, found once.
#[derive(Debug)]
pub(super) struct Meters {
    /// An answer came from Redis.
    pub(super) hit: Look,
    /// Redis has none.
    pub(super) miss: Look,
    /// Redis did not say in time.
    pub(super) timeout: Look,
    /// Redis could not be asked, or refused.
    pub(super) error: Look,
    /// What Redis has is no answer to this request: broken, incomplete, of another version or key.
    pub(super) garbage: Look,
    /// Redis was not asked: it is left alone, or the node does not know all purges yet.
    pub(super) skipped: IntCounter,
    /// An answer was written to Redis.
    pub(super) written: IntCounter,
    /// There was no room to wait, or the answer was gone from memory by then.
    pub(super) dropped: IntCounter,
    /// The answer is larger than what is shared.
    pub(super) too_large: IntCounter,
    /// Redis did not take it.
    pub(super) failed: IntCounter,
}

/// Look-ups that ended in one way.
#[derive(Debug)]
pub(super) struct Look {
    count: IntCounter,
    duration: Histogram,
}

impl Look {
    /// Counts one that took that long.
    pub(super) fn note(&self, took: Duration) {
        self.count.inc();
        self.duration.observe(took.as_secs_f64());
    }
}

impl Meters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let count = |outcome| metrics.cache_shared.with_label_values(&[outcome]);
        let look = |outcome| Look {
            count: count(outcome),
            duration: metrics.cache_shared_duration.with_label_values(&[outcome]),
        };
        let write = |outcome| metrics.cache_shared_writes.with_label_values(&[outcome]);
        Self {
            hit: look("hit"),
            miss: look("miss"),
            timeout: look("timeout"),
            error: look("error"),
            garbage: look("garbage"),
            skipped: count("skipped"),
            written: write("written"),
            dropped: write("dropped"),
            too_large: write("too_large"),
            failed: write("failed"),
        }
    }
}
