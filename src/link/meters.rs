//! What there is to see of connections to Redis.

use std::sync::Arc;

use prometheus::{IntCounter, IntGauge};

use crate::telemetry::Metrics;

/// Figures of one user of Redis: its connections and calls. Updated where things happen, so that
/// nothing has to be collected; a call costs two additions. Without figures nothing is counted.
#[derive(Clone, Debug, Default)]
pub struct Meters(Option<Arc<Figures>>);

#[derive(Debug)]
struct Figures {
    open: IntGauge,
    connecting: IntGauge,
    connected: IntCounter,
    failed: IntCounter,
    closed: IntCounter,
    replica: IntCounter,
    moved: IntCounter,
    silent: IntCounter,
    dropped: IntCounter,
    in_flight: IntGauge,
}

/// Why a connection was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// It broke.
    Closed,
    /// The server is a replica.
    Replica,
    /// The Sentinels name another server.
    Moved,
    /// The server answered not even a `PING`.
    Silent,
    /// Its user gave it up.
    Dropped,
}

impl Meters {
    /// Figures that are shown under the name of a user of Redis.
    #[must_use]
    pub fn of(metrics: &Metrics, user: &str) -> Self {
        let state = |state| metrics.redis_connections.with_label_values(&[user, state]);
        let connects = |outcome| metrics.redis_connects.with_label_values(&[user, outcome]);
        let loss = |reason| metrics.redis_losses.with_label_values(&[user, reason]);
        Self(Some(Arc::new(Figures {
            open: state("open"),
            connecting: state("connecting"),
            connected: connects("ok"),
            failed: connects("failed"),
            closed: loss("closed"),
            replica: loss("replica"),
            moved: loss("moved"),
            silent: loss("silent"),
            dropped: loss("dropped"),
            in_flight: metrics.redis_in_flight.with_label_values(&[user]),
        })))
    }

    /// A connection is open for as long as the result lives.
    pub(super) fn open(&self) -> Counted {
        self.counted(|figures| &figures.open)
    }

    /// A connection is being made for as long as the result lives.
    pub(super) fn connecting(&self) -> Counted {
        self.counted(|figures| &figures.connecting)
    }

    /// A call is under way for as long as the result lives.
    pub(super) fn call(&self) -> InFlight<'_> {
        let in_flight = self.0.as_deref().map(|figures| &figures.in_flight);
        if let Some(in_flight) = in_flight {
            in_flight.inc();
        }
        InFlight(in_flight)
    }

    /// An attempt to connect has ended.
    pub(super) fn connected(&self, is_ok: bool) {
        if let Some(figures) = &self.0 {
            if is_ok { figures.connected.inc() } else { figures.failed.inc() }
        }
    }

    /// A connection was given up.
    pub(super) fn lost(&self, loss: Loss) {
        let Some(figures) = &self.0 else { return };
        let counter = match loss {
            Loss::Closed => &figures.closed,
            Loss::Replica => &figures.replica,
            Loss::Moved => &figures.moved,
            Loss::Silent => &figures.silent,
            Loss::Dropped => &figures.dropped,
        };
        counter.inc();
    }

    fn counted(&self, gauge: impl Fn(&Figures) -> &IntGauge) -> Counted {
        let gauge = self.0.as_deref().map(|figures| gauge(figures).clone());
        if let Some(gauge) = &gauge {
            gauge.inc();
        }
        Counted(gauge)
    }
}

/// One more in a gauge for as long as it lives.
#[derive(Debug)]
pub(super) struct Counted(Option<IntGauge>);

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(gauge) = &self.0 {
            gauge.dec();
        }
    }
}

/// A call under way.
#[derive(Debug)]
pub(super) struct InFlight<'a>(Option<&'a IntGauge>);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(gauge) = self.0 {
            gauge.dec();
        }
    }
}
