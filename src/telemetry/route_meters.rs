//! The meters of one route, resolved once.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use once_cell::sync::OnceCell;
use prometheus::{Histogram, IntCounter, IntGauge};

use super::{Distinct, Metrics};
use crate::fault::Fault;

/// Methods that have a label of their own; others are `other` (no request datum is a label).
const METHODS: [Method; 8] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::TRACE,
];

/// Statuses that have a label of their own; others count as their class, `2xx`.
const STATUSES: [u16; 32] = [
    101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409,
    410, 412, 413, 414, 415, 422, 429, 431, 499, 500, 502, 503, 504,
];

const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

const COLUMNS: usize = STATUSES.len() + CLASSES.len();

/// Counters by method and status; a row appears with a method's first request, so that ten
/// thousand idle routes cost nothing.
#[derive(Debug, Default)]
struct Requests {
    rows: [OnceCell<Box<[OnceCell<IntCounter>]>>; METHODS.len() + 1],
}

/// The meters of one route. Children of the metric vectors are looked up at first use and kept.
#[derive(Debug)]
pub struct RouteMeters {
    metrics: Arc<Metrics>,
    route: Arc<str>,
    service: Arc<str>,
    requests: Requests,
    duration: OnceCell<Histogram>,
    upstream_duration: OnceCell<Histogram>,
    rejects: Box<[OnceCell<IntCounter>]>,
    reused: [OnceCell<IntCounter>; 2],
    cache: [OnceCell<IntCounter>; 8],
    collapsed: OnceCell<IntCounter>,
    served: OnceCell<IntCounter>,
    keys: OnceCell<(Distinct, IntGauge)>,
    renewals: [OnceCell<IntCounter>; 5],
    verified: [OnceCell<IntCounter>; 4],
    compressed: [OnceCell<[IntCounter; 3]>; 3],
}

impl RouteMeters {
    /// Meters for requests that no route takes; `_none` cannot be the name of a route.
    #[must_use]
    pub fn unrouted(metrics: &Arc<Metrics>) -> Self {
        let none = Arc::from("_none");
        Self::new(metrics, &none, &none)
    }

    /// Meters for a route; nothing is registered before it is used.
    #[must_use]
    pub fn new(metrics: &Arc<Metrics>, route: &Arc<str>, service: &Arc<str>) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            route: Arc::clone(route),
            service: Arc::clone(service),
            requests: Requests::default(),
            duration: OnceCell::new(),
            upstream_duration: OnceCell::new(),
            rejects: Fault::ALL.iter().map(|_| OnceCell::new()).collect(),
            reused: Default::default(),
            cache: Default::default(),
            collapsed: OnceCell::new(),
            served: OnceCell::new(),
            keys: OnceCell::new(),
            renewals: Default::default(),
            verified: Default::default(),
            compressed: Default::default(),
        }
    }

    /// A request was answered.
    pub fn answered(&self, method: &Method, status: u16, took: Duration) {
        let row = METHODS.iter().position(|known| known == method).unwrap_or(METHODS.len());
        let column = STATUSES.iter().position(|known| *known == status);
        let column = column.unwrap_or_else(|| STATUSES.len() + class(status));
        if let Some(row_cell) = self.requests.rows.get(row) {
            let cells = row_cell.get_or_init(|| (0..COLUMNS).map(|_| OnceCell::new()).collect());
            if let Some(cell) = cells.get(column) {
                cell.get_or_init(|| self.request_counter(row, column)).inc();
            }
        }
        self.duration
            .get_or_init(|| self.metrics.request_duration.with_label_values(&[&*self.route]))
            .observe(took.as_secs_f64());
    }

    /// The gateway refused or failed a request.
    pub fn rejected(&self, fault: Fault) {
        if let Some(cell) = self.rejects.get(fault as usize) {
            let vector = &self.metrics.rejects;
            cell.get_or_init(|| vector.with_label_values(&[&*self.route, fault.code()])).inc();
        }
    }

    /// The service answered an attempt with a header.
    pub fn upstream_answered(&self, took: Duration) {
        let vector = &self.metrics.upstream_duration;
        self.upstream_duration
            .get_or_init(|| vector.with_label_values(&[&*self.route, &*self.service]))
            .observe(took.as_secs_f64());
    }

    /// A connection to the service was used for an attempt.
    pub fn connected(&self, reused: bool) {
        let vector = &self.metrics.upstream_connections;
        let word = if reused { "true" } else { "false" };
        let [fresh, pooled] = &self.reused;
        let cell = if reused { pooled } else { fresh };
        cell.get_or_init(|| vector.with_label_values(&[&*self.service, word])).inc();
    }

    /// An attempt failed. Rare, so the child is looked up each time.
    pub fn upstream_failed(&self, fault: Fault) {
        let labels = [&*self.service, fault.code()];
        self.metrics.upstream_failures.with_label_values(&labels).inc();
    }

    /// An attempt is repeated. Rare, so the child is looked up each time.
    pub fn retried(&self, reason: &'static str) {
        self.metrics.retries.with_label_values(&[&*self.route, reason]).inc();
    }

    /// The service's budget did not grant a repeated attempt. The child is looked up each time.
    pub fn retry_refused(&self) {
        let labels = [&*self.route, &*self.service];
        self.metrics.retries_refused.with_label_values(&labels).inc();
    }

    /// A request was hedged. The child is looked up each time.
    pub fn hedged(&self, winner: &'static str) {
        self.metrics.hedges.with_label_values(&[&*self.route, winner]).inc();
    }

    /// The cache did something; `index` is the outcome's place among at most eight, `outcome`
    /// its word.
    pub fn cached(&self, index: usize, outcome: &'static str) {
        if let Some(cell) = self.cache.get(index) {
            let vector = &self.metrics.cache;
            cell.get_or_init(|| vector.with_label_values(&[&*self.route, outcome])).inc();
        }
    }

    /// A request was answered with what another had fetched meanwhile.
    pub fn collapsed(&self) {
        let vector = &self.metrics.cache_collapsed;
        self.collapsed.get_or_init(|| vector.with_label_values(&[&*self.route])).inc();
    }

    /// That many bytes of a body came from the store.
    pub fn served(&self, bytes: u64) {
        let vector = &self.metrics.cache_served;
        self.served.get_or_init(|| vector.with_label_values(&[&*self.route])).inc_by(bytes);
    }

    /// A key with this hash was asked for.
    pub fn asked(&self, hash: u64) {
        let (distinct, gauge) = self.keys.get_or_init(|| {
            let gauge = self.metrics.cache_keys.with_label_values(&[&*self.route]);
            (Distinct::default(), gauge)
        });
        if distinct.add(hash) {
            gauge.set(i64::try_from(distinct.estimate()).unwrap_or(i64::MAX));
        }
    }

    /// How often the cache did that, as [`cached`](Self::cached) counts it.
    #[must_use]
    pub fn cached_count(&self, index: usize, outcome: &'static str) -> u64 {
        let vector = &self.metrics.cache;
        let count = |cell: &OnceCell<IntCounter>| {
            cell.get_or_init(|| vector.with_label_values(&[&*self.route, outcome])).get()
        };
        self.cache.get(index).map_or(0, count)
    }

    /// An entry was to be renewed in the background; `index` is the outcome's place, `outcome` its
    /// word.
    pub fn renewed(&self, index: usize, outcome: &'static str) {
        if let Some(cell) = self.renewals.get(index) {
            let vector = &self.metrics.cache_renewals;
            cell.get_or_init(|| vector.with_label_values(&[&*self.route, outcome])).inc();
        }
    }

    /// A hit was compared; `index` is the outcome's place, `outcome` its word.
    pub fn verified(&self, index: usize, outcome: &'static str) {
        if let Some(cell) = self.verified.get(index) {
            let vector = &self.metrics.cache_verified;
            cell.get_or_init(|| vector.with_label_values(&[&*self.route, outcome])).inc();
        }
    }

    /// An answer was compressed, with so many bytes before and after; `index` is the coding's
    /// place among at most three, `coding` its word.
    pub fn compressed(&self, index: usize, coding: &'static str, bytes: (u64, u64)) {
        let Some(cell) = self.compressed.get(index) else { return };
        let metrics = &self.metrics;
        let [answers, before, after] = cell.get_or_init(|| {
            [&metrics.compressed, &metrics.compressed_in, &metrics.compressed_out]
                .map(|vector| vector.with_label_values(&[&*self.route, coding]))
        });
        answers.inc();
        before.inc_by(bytes.0);
        after.inc_by(bytes.1);
    }

    fn request_counter(&self, row: usize, column: usize) -> IntCounter {
        let method = METHODS.get(row).map_or("other", Method::as_str);
        let status = STATUSES.get(column).map_or_else(
            || CLASSES.get(column - STATUSES.len()).map_or_else(String::new, |c| (*c).to_owned()),
            u16::to_string,
        );
        self.metrics.requests.with_label_values(&[&*self.route, method, status.as_str()])
    }
}

/// Index of a status's class in [`CLASSES`].
const fn class(status: u16) -> usize {
    match status {
        100..=199 => 1,
        200..=299 => 2,
        300..=399 => 3,
        400..=499 => 4,
        500..=599 => 5,
        _ => 0,
    }
}

/// Counts one request as in flight for as long as it lives; a panic that drops the request's
/// context gives the place back.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl InFlight {
    /// Counts one more request.
    #[must_use]
    pub fn enter(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meters(metrics: &Arc<Metrics>) -> RouteMeters {
        RouteMeters::new(metrics, &Arc::from("orders"), &Arc::from("orders-api"))
    }

    #[test]
    fn known_and_unknown_statuses_and_methods_have_bounded_labels() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let meters = meters(&metrics);
        meters.answered(&Method::GET, 200, Duration::from_millis(1));
        meters.answered(&Method::GET, 299, Duration::from_millis(1));
        meters.answered(&Method::from_bytes(b"BREW").unwrap(), 999, Duration::from_millis(1));
        let text = String::from_utf8(metrics.render()).unwrap();
        for labels in [
            r#"method="GET",route="orders",status="200""#,
            r#"method="GET",route="orders",status="2xx""#,
            r#"method="other",route="orders",status="other""#,
        ] {
            assert!(text.contains(&format!("tidegate_requests_total{{{labels}}} 1")), "{text}");
        }
        assert!(text.contains(r#"tidegate_request_duration_seconds_count{route="orders"} 3"#));
    }

    #[test]
    fn every_fault_has_a_reject_counter() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let meters = meters(&metrics);
        for fault in Fault::ALL {
            meters.rejected(*fault);
        }
        let text = String::from_utf8(metrics.render()).unwrap();
        for fault in Fault::ALL {
            assert!(text.contains(&format!("code=\"{}\"", fault.code())), "{fault:?}");
        }
    }

    #[test]
    fn in_flight_comes_back_even_from_a_panic() {
        let metrics = Metrics::new().unwrap();
        let gauge = metrics.in_flight.clone();
        let outcome = std::panic::catch_unwind(|| {
            let _guard = InFlight::enter(&gauge);
            panic!("as a defect would");
        });
        assert!(outcome.is_err());
        assert_eq!(metrics.in_flight.get(), 0);
    }
}
