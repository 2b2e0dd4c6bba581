//! How look-ups fare, counted with labels resolved once.

use prometheus::IntCounter;

use crate::telemetry::Metrics;

/// Outcomes of look-ups of one kind.
#[derive(Debug)]
pub(super) struct Meters {
    /// Found on this node.
    pub(super) local: IntCounter,
    /// Found in Redis.
    pub(super) redis: IntCounter,
    /// Found in the database.
    pub(super) database: IntCounter,
    /// Nobody knows it, whoever said so.
    pub(super) none: IntCounter,
    /// Nobody could be asked.
    pub(super) unavailable: IntCounter,
    /// Nobody could be asked, and what was known last counted.
    pub(super) stale: IntCounter,
}

impl Meters {
    pub(super) fn new(kind: &str, metrics: &Metrics) -> Self {
        let counter = |outcome| metrics.lookups.with_label_values(&[kind, outcome]);
        Self {
            local: counter("local"),
            redis: counter("redis"),
            database: counter("database"),
            none: counter("none"),
            unavailable: counter("unavailable"),
            stale: counter("stale"),
        }
    }
}
