//! Gauges of services and endpoints, set when they are asked for.
//!
//! Endpoints come and go, and a label that stays behind would tell of an endpoint that is no
//! more. So nothing is kept between two scrapes: each shows what there is.

use prometheus::IntCounterVec;

use super::Metrics;

/// A service as a scrape shows it.
#[derive(Debug)]
pub struct ServiceGauges<'a> {
    /// Its name.
    pub service: &'a str,
    /// Its endpoints, and whether each gets requests.
    pub endpoints: Vec<(&'a str, bool)>,
    /// Attempts under way.
    pub in_flight: i64,
    /// Requests that wait, where they would.
    pub pending: Option<i64>,
    /// 0 closed, 1 half open, 2 open, and how often it opened, where there is a circuit.
    pub circuit: Option<(i64, u64)>,
    /// The adaptive limit and the requests refused for it, where there is one.
    pub concurrency: Option<(i64, u64)>,
    /// Times an endpoint was left out.
    pub ejections: u64,
}

impl Metrics {
    /// Shows these services and no others.
    pub fn show_services(&self, services: &[ServiceGauges<'_>]) {
        self.upstream_endpoint_up.reset();
        self.upstream_in_flight.reset();
        self.upstream_pending.reset();
        self.upstream_circuit_state.reset();
        self.upstream_concurrency_limit.reset();
        for shown in services {
            let name = [shown.service];
            for (endpoint, up) in &shown.endpoints {
                let labels = [shown.service, endpoint];
                self.upstream_endpoint_up.with_label_values(&labels).set(i64::from(*up));
            }
            self.upstream_in_flight.with_label_values(&name).set(shown.in_flight);
            if let Some(pending) = shown.pending {
                self.upstream_pending.with_label_values(&name).set(pending);
            }
            if let Some((state, opened)) = shown.circuit {
                self.upstream_circuit_state.with_label_values(&name).set(state);
                raise(&self.upstream_circuit_opened, shown.service, opened);
            }
            if let Some((limit, refused)) = shown.concurrency {
                self.upstream_concurrency_limit.with_label_values(&name).set(limit);
                raise(&self.upstream_concurrency_refused, shown.service, refused);
            }
            raise(&self.upstream_ejections, shown.service, shown.ejections);
        }
    }
}

/// Brings a counter up to what was counted elsewhere. Where that began anew, because the service
/// was gone for a while, it stays.
fn raise(counters: &IntCounterVec, service: &str, counted: u64) {
    let shown = counters.with_label_values(&[service]);
    shown.inc_by(counted.saturating_sub(shown.get()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauges(endpoint: &str) -> ServiceGauges<'_> {
        ServiceGauges {
            service: "orders",
            endpoints: vec![(endpoint, true)],
            in_flight: 2,
            pending: None,
            circuit: Some((2, 3)),
            concurrency: Some((40, 7)),
            ejections: 5,
        }
    }

    #[test]
    fn an_endpoint_that_goes_takes_its_label_with_it() {
        let metrics = Metrics::new().unwrap();
        let text = || String::from_utf8(metrics.render()).unwrap();
        metrics.show_services(&[gauges("10.0.0.1:80")]);
        assert!(text().contains(r#"up{endpoint="10.0.0.1:80",service="orders"} 1"#), "{}", text());
        metrics.show_services(&[gauges("10.0.0.2:80")]);
        assert!(!text().contains("10.0.0.1:80") && text().contains("10.0.0.2:80"));
        assert!(text().contains(r#"tidegate_upstream_ejections_total{service="orders"} 5"#));
        assert!(text().contains(r#"tidegate_upstream_circuit_opened_total{service="orders"} 3"#));
        assert!(text().contains(r#"upstream_concurrency_limit{service="orders"} 40"#));
        assert!(text().contains(r#"upstream_concurrency_refused_total{service="orders"} 7"#));
        metrics.show_services(&[]);
        assert!(!text().contains(r#"concurrency_limit{service="orders"}"#));
        assert!(!text().contains(r#"in_flight{service="orders"}"#));
    }
}
