//! What the store counts.

use prometheus::{IntCounter, IntGauge};

use crate::telemetry::Metrics;

/// Why an entry left the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Others needed the room.
    Room,
    /// It was of no more use, not even stale, when room was needed.
    Over,
    /// A newer answer took its place.
    Replaced,
    /// It was purged.
    Purged,
}

/// How a fill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It became an entry.
    Kept,
    /// It broke off, or its length was not the promised one.
    Aborted,
    /// It was too large to keep, or there was no memory for it.
    Outgrown,
    /// It came whole, but was purged, overtaken or found no room.
    Dropped,
}

/// Gauges and counters, looked up once.
#[derive(Debug)]
pub(super) struct Meters {
    pub(super) bytes: IntGauge,
    pub(super) entries: IntGauge,
    pub(super) capacity: IntGauge,
    pub(super) filling: IntGauge,
    pub(super) fills: IntGauge,
    left: [IntCounter; 4],
    ended: [IntCounter; 4],
}

impl Meters {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let left = |reason| metrics.cache_evictions.with_label_values(&[reason]);
        let ended = |outcome| metrics.cache_fills.with_label_values(&[outcome]);
        Self {
            bytes: metrics.cache_bytes.clone(),
            entries: metrics.cache_entries.clone(),
            capacity: metrics.cache_capacity.clone(),
            filling: metrics.cache_fill_bytes.clone(),
            fills: metrics.cache_fills_open.clone(),
            left: ["room", "over", "replaced", "purged"].map(left),
            ended: ["kept", "aborted", "outgrown", "dropped"].map(ended),
        }
    }

    pub(super) const fn left(&self, reason: Reason) -> &IntCounter {
        let [room, over, replaced, purged] = &self.left;
        match reason {
            Reason::Room => room,
            Reason::Over => over,
            Reason::Replaced => replaced,
            Reason::Purged => purged,
        }
    }

    pub(super) const fn ended(&self, outcome: Outcome) -> &IntCounter {
        let [kept, aborted, outgrown, dropped] = &self.ended;
        match outcome {
            Outcome::Kept => kept,
            Outcome::Aborted => aborted,
            Outcome::Outgrown => outgrown,
            Outcome::Dropped => dropped,
        }
    }
}
