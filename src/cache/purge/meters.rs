//! What there is to see of purges.

use prometheus::{IntCounter, IntGauge};

use crate::link;
use crate::telemetry::Metrics;

/// Metrics, resolved once; without them nothing is counted.
#[derive(Debug, Default)]
pub(super) struct Meters {
    pub(super) link: link::Meters,
    figures: Option<Figures>,
}

#[derive(Debug)]
pub(super) struct Figures {
    pub(super) operator: IntCounter,
    pub(super) answer: IntCounter,
    pub(super) guard: IntCounter,
    pub(super) fleet: IntCounter,
    pub(super) records: IntGauge,
    pub(super) pending: IntGauge,
    pub(super) changed: IntCounter,
    pub(super) unchanged: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) lost: IntCounter,
    pub(super) behind: IntCounter,
    pub(super) unreadable: IntCounter,
    pub(super) folded: IntCounter,
    pub(super) overflow: IntCounter,
    pub(super) gone: IntCounter,
    pub(super) stale: IntCounter,
    pub(super) confirm: IntCounter,
}

impl Meters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let made = |by| metrics.cache_purges.with_label_values(&[by]);
        let read = |outcome| metrics.cache_purges_read.with_label_values(&[outcome]);
        let lost = |reason| metrics.cache_purges_lost.with_label_values(&[reason]);
        let purged = |how| metrics.cache_purged.with_label_values(&[how]);
        Self {
            link: link::Meters::of(metrics, "purges"),
            figures: Some(Figures {
                operator: made("operator"),
                answer: made("answer"),
                guard: made("guard"),
                fleet: made("fleet"),
                records: metrics.cache_purge_records.clone(),
                pending: metrics.cache_purges_pending.clone(),
                changed: read("changed"),
                unchanged: read("unchanged"),
                failed: read("failed"),
                lost: lost("lost"),
                behind: lost("behind"),
                unreadable: lost("unreadable"),
                folded: lost("folded"),
                overflow: lost("overflow"),
                gone: purged("gone"),
                stale: purged("stale"),
                confirm: purged("confirm"),
            }),
        }
    }

    /// Counts, where something is counted.
    pub(super) fn count(&self, count: impl FnOnce(&Figures)) {
        if let Some(figures) = &self.figures {
            count(figures);
        }
    }
}
