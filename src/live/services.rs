//! The services of the configuration in force, as operators see them.

use super::Live;
use crate::clock;
use crate::telemetry::ServiceGauges;
use crate::upstream::{EndpointReport, ServiceReport};

impl Live {
    /// Every service, its endpoints and how they do at the moment.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceReport> {
        self.upstreams.report(clock::now())
    }

    /// All metrics in Prometheus text format, those of services as they are at the moment.
    #[must_use]
    pub fn scrape(&self) -> Vec<u8> {
        let services = self.services();
        let gauges: Vec<ServiceGauges<'_>> = services.iter().map(gauges).collect();
        self.metrics.show_services(&gauges);
        self.metrics.overload_in_flight.set(i64::from(self.overload.in_flight()));
        self.metrics.overload_waiting.set(i64::from(self.overload.waiting()));
        self.metrics.render()
    }
}

fn gauges(service: &ServiceReport) -> ServiceGauges<'_> {
    let circuit = service.circuit.as_ref();
    ServiceGauges {
        service: &service.service,
        endpoints: service.endpoints().map(|one| (&*one.address, is_up(one))).collect(),
        in_flight: service.endpoints().map(|one| i64::from(one.in_flight)).sum(),
        pending: service.pending.map(i64::from),
        circuit: circuit.map(|circuit| {
            let level = ["closed", "half_open", "open"].iter().position(|s| *s == circuit.state);
            (level.and_then(|level| i64::try_from(level).ok()).unwrap_or(0), circuit.opened)
        }),
        concurrency: service
            .concurrency
            .as_ref()
            .map(|concurrency| (i64::from(concurrency.limit), concurrency.refused)),
        ejections: service.ejections,
    }
}

fn is_up(endpoint: &EndpointReport) -> bool {
    endpoint.state == "up"
}
