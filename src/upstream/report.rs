//! What operators are told about services and their endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::Serialize;

use super::health::Checked;
use super::{Endpoint, EndpointHealth, Pool, ServiceState, Upstreams};
use crate::clock::Moment;
use crate::fault::Fault;
use crate::model::Balance;

/// One service of the configuration in force.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReport {
    /// Its name.
    pub service: Arc<str>,
    /// How endpoints are chosen.
    pub algorithm: Balance,
    /// Its circuit, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit: Option<CircuitReport>,
    /// Its adaptive limit, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyReport>,
    /// Requests under way, where `maxRequests` bounds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Requests that wait for a connection, where `maxConnections` bounds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<u32>,
    /// Connections that may still be used, where they are bounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_connections: Option<usize>,
    /// Times an endpoint was left out for failing requests.
    pub ejections: u64,
    /// Its retry budget.
    pub retry_budget: BudgetReport,
    /// Its versions.
    pub versions: Vec<VersionReport>,
}

/// A circuit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitReport {
    /// `closed`, `half_open` or `open`.
    pub state: &'static str,
    /// How long it stays open, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_for_seconds: Option<f64>,
    /// Times it has opened after it was closed.
    pub opened: u64,
}

/// A limit that is found out by latency (`adaptiveConcurrency`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConcurrencyReport {
    /// Requests that the service may have at once, at the moment.
    pub limit: u32,
    /// Requests that it has.
    pub in_flight: u32,
    /// Requests refused for it.
    pub refused: u64,
    /// How long answers take while the service is not pressed, in milliseconds, once that is
    /// known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_rest_ms: Option<f64>,
}

/// A retry budget; all figures are of the last ten seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetReport {
    /// Requests.
    pub requests: u64,
    /// Attempts repeated.
    pub retries: u64,
    /// Attempts that may be repeated.
    pub allowed: u64,
}

/// A version.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionReport {
    /// Its name.
    pub version: Arc<str>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointReport>,
}

/// An endpoint.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointReport {
    /// Its address.
    pub address: Arc<str>,
    /// Its share.
    pub weight: u32,
    /// `up`, or why it gets no requests: `unreachable`, `ejected`, `failing_checks`,
    /// `awaiting_check`.
    pub state: &'static str,
    /// Requests that it is answering.
    pub in_flight: u32,
    /// What the active check says: `unknown`, `awaited`, `passing`, `failing`.
    pub check: &'static str,
    /// How long until a request may try it, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_for_seconds: Option<f64>,
    /// Failed requests in a row.
    pub consecutive_failures: u32,
    /// Times it was left out for failing requests.
    pub ejections: u64,
    /// Code of the last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<&'static str>,
}

impl Upstreams {
    /// Every service of the configuration in force, by name.
    #[must_use]
    pub fn report(&self, now: Moment) -> Vec<ServiceReport> {
        let in_force = self.in_force();
        let mut services: Vec<ServiceReport> = Vec::new();
        for ((name, version), pools) in &in_force.pools {
            let Some(first) = pools.first() else { continue };
            let version =
                VersionReport { version: Arc::clone(version), endpoints: all(pools, now) };
            match services.last_mut() {
                Some(last) if last.service == *name => last.versions.push(version),
                _ => services.push(ServiceReport::of(first.service(), version, now)),
            }
        }
        services
    }
}

/// The endpoints of all these pools, each address once.
fn all(pools: &[Arc<Pool>], now: Moment) -> Vec<EndpointReport> {
    let mut endpoints = BTreeMap::new();
    for pool in pools {
        for endpoint in &pool.current().endpoints {
            endpoints.entry(endpoint.address).or_insert_with(|| EndpointReport::of(endpoint, now));
        }
    }
    endpoints.into_values().collect()
}

impl ServiceReport {
    fn of(service: &ServiceState, version: VersionReport, now: Moment) -> Self {
        let (gate, budget) = (&service.gate, &service.budget);
        Self {
            service: Arc::clone(&service.name),
            algorithm: service.balance,
            circuit: service.circuit.as_ref().map(|circuit| CircuitReport {
                state: circuit.state(now).as_str(),
                open_for_seconds: circuit.left(now).map(|left| left.as_secs_f64()),
                opened: circuit.opened(),
            }),
            concurrency: service.adaptive().map(|adaptive| ConcurrencyReport {
                limit: adaptive.limit(),
                in_flight: adaptive.in_flight(),
                refused: adaptive.refused(),
                at_rest_ms: adaptive.at_rest().map(|rest| rest.as_secs_f64() * 1e3),
            }),
            requests: gate.as_ref().and_then(super::gate::Gate::requests),
            pending: gate.as_ref().and_then(super::gate::Gate::pending),
            free_connections: gate.as_ref().and_then(super::gate::Gate::free),
            ejections: service.memory.ejections.load(Relaxed),
            retry_budget: BudgetReport {
                requests: budget.requests(now),
                retries: budget.retries(now),
                allowed: budget.allowed(now),
            },
            versions: vec![version],
        }
    }

    /// Every endpoint of every version.
    pub fn endpoints(&self) -> impl Iterator<Item = &EndpointReport> {
        self.versions.iter().flat_map(|version| &version.endpoints)
    }
}

impl EndpointReport {
    fn of(endpoint: &Endpoint, now: Moment) -> Self {
        let health = &endpoint.health;
        Self {
            address: Arc::clone(&endpoint.name),
            weight: endpoint.weight,
            state: health.state(),
            in_flight: health.in_flight(),
            check: match health.check_state() {
                Checked::Unknown => "unknown",
                Checked::Passing => "passing",
                Checked::Awaited => "awaited",
                Checked::Failing => "failing",
            },
            out_for_seconds: health.out_left(now).as_ref().map(Duration::as_secs_f64),
            consecutive_failures: health.failures_in_a_row(),
            ejections: health.ejections(),
            last_error: health.last_error().map(Fault::code),
        }
    }
}

impl EndpointHealth {
    /// `up`, or why it gets no requests.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self.check_state() {
            _ if self.is_unreachable() => "unreachable",
            _ if self.is_out() => "ejected",
            Checked::Failing => "failing_checks",
            Checked::Awaited => "awaiting_check",
            Checked::Unknown | Checked::Passing => "up",
        }
    }
}
