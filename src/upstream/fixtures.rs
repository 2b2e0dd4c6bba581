//! What the tests of this module have in common.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http::{HeaderMap, Method};

use super::{Upstream, Upstreams};
use crate::clock::{Moment, Tick};
use crate::edge::{Facts, Identity, RequestView, Scheme};
use crate::model::{Config, Problems, Resolved};
use crate::telemetry::Metrics;

/// A moment that many seconds after the start.
pub(super) fn at(seconds: u64) -> Moment {
    Moment { tick: Tick::default(), unix_ms: 1_700_000_000_000 }.plus(Duration::from_secs(seconds))
}

/// A configuration with these services, in YAML.
pub(super) fn config(services: &str) -> Config {
    serde_yaml::from_str(&format!("services:\n{services}")).unwrap()
}

/// Compiles an upstream, given in YAML, of `routes[0]`.
pub(super) fn compile(
    upstream: &str,
    config: &Config,
    resolved: &Resolved,
) -> (Option<Upstream>, Problems) {
    let mut problems = Problems::default();
    let model = serde_yaml::from_str(upstream).unwrap();
    let compiled = Upstream::compile(
        &model,
        config,
        resolved,
        &Upstreams::default(),
        &Metrics::new().unwrap(),
        "routes[0].upstream",
        &mut problems,
    );
    (compiled, problems)
}

/// Compiles an upstream that has nothing wrong with it.
pub(super) fn sound(upstream: &str, services: &str) -> Upstream {
    let (compiled, problems) = compile(upstream, &config(services), &Resolved::default());
    assert_eq!(problems, Problems::default());
    compiled.unwrap()
}

/// Codes and places of problems, in order.
pub(super) fn codes(problems: &Problems) -> Vec<(&str, &str)> {
    problems.0.iter().map(|problem| (problem.code, problem.path.as_str())).collect()
}

/// A request, reduced to what keys are made of.
#[derive(Default)]
pub(super) struct Request {
    pub(super) headers: HeaderMap,
    pub(super) identity: Option<Identity>,
    pub(super) client: Option<IpAddr>,
    pub(super) id: String,
}

impl Request {
    /// Calls `read` with the facts of this request.
    pub(super) fn with<T>(&self, read: impl FnOnce(&Facts<'_>) -> T) -> T {
        let view = RequestView {
            method: &Method::GET,
            scheme: Scheme::Https,
            host: Cow::Borrowed("api.example.com"),
            port: None,
            path: Cow::Borrowed("/"),
            query: None,
            headers: &self.headers,
            client: self.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            peer_trusted: false,
            certificate: None,
        };
        read(&Facts {
            view: &view,
            identity: self.identity.as_ref(),
            request_id: &self.id,
            route: "orders",
            service: "api",
        })
    }
}
