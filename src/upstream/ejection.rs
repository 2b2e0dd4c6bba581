//! When an endpoint that fails requests is left out for a while.
//!
//! One endpoint is judged by what it did itself; how many may be out at once is judged by the
//! set, so that a fault that all share does not take the service away altogether.

use std::time::Duration;

use super::{Endpoint, EndpointSet};
use crate::clock::Moment;
use crate::model;

/// The settings of a service.
#[derive(Debug)]
pub(super) struct EjectionPolicy {
    /// Failures in a row; none is looked at where this is 0.
    consecutive: u32,
    error_percent: u64,
    min_requests: u64,
    window: Duration,
    eject_for: Duration,
    max_percent: usize,
    /// Health is ignored when fewer endpoints than this are well, in percent.
    pub(super) panic_percent: usize,
}

impl EjectionPolicy {
    pub(super) fn new(model: &model::Ejection) -> Self {
        Self {
            consecutive: model.consecutive_failures,
            error_percent: u64::from(model.error_percent),
            min_requests: u64::from(model.min_requests),
            window: model.window.get(),
            eject_for: model.eject_for.get(),
            max_percent: usize::try_from(model.max_ejected_percent).unwrap_or(100),
            panic_percent: usize::try_from(model.panic_percent).unwrap_or(0),
        }
    }

    /// A request was answered well.
    pub(super) fn succeeded(&self, endpoint: &Endpoint, now: Moment) {
        if self.error_percent > 0 {
            endpoint.health.requests.add(now, self.window);
        }
    }

    /// A request failed, the one after `in_a_row` less one: leaves the endpoint out if that is
    /// too much, and returns whether it did. `probe` when it had been out, and this request was to
    /// find out.
    pub(super) fn failed(
        &self,
        set: &EndpointSet,
        endpoint: &Endpoint,
        in_a_row: u32,
        probe: bool,
        now: Moment,
    ) -> bool {
        let health = &endpoint.health;
        let many = self.error_percent > 0 && self.too_many(endpoint, now);
        if health.is_out() {
            // Those that were under way when it went out say nothing new.
            let again = probe && !health.is_unreachable();
            if again {
                health.eject(self.eject_for, now);
            }
            return again;
        }
        let row = self.consecutive > 0 && in_a_row >= self.consecutive;
        let ejects = (row || many) && self.has_room(set, endpoint);
        if ejects {
            health.requests.clear();
            health.errors.clear();
            health.eject(self.eject_for, now);
        }
        ejects
    }

    fn too_many(&self, endpoint: &Endpoint, now: Moment) -> bool {
        let health = &endpoint.health;
        health.requests.add(now, self.window);
        health.errors.add(now, self.window);
        let requests = health.requests.sum(now, self.window);
        let errors = health.errors.sum(now, self.window);
        requests >= self.min_requests && errors * 100 >= requests * self.error_percent
    }

    /// Whether one more may be left out. The only endpoint never is: a service that answers
    /// badly is better than none.
    fn has_room(&self, set: &EndpointSet, endpoint: &Endpoint) -> bool {
        let all = set.endpoints.len();
        let most = (all * self.max_percent / 100).max(1);
        let others = set.endpoints.iter().filter(|other| other.id() != endpoint.id());
        let out = others.filter(|other| other.health.is_spared()).count();
        all > 1 && out < most
    }
}
