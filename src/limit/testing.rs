//! Rules and requests for the tests of this module.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};

use super::{CounterKey, LimitRule, Take};
use crate::edge::{Facts, Identity, RequestView, Scheme};
use crate::model::{Problems, RateLimit};
use crate::telemetry::Metrics;

/// Compiles a rule written in YAML, with metrics of its own.
pub(super) fn compile(name: &str, yaml: &str) -> (Option<LimitRule>, Problems) {
    let model: RateLimit = serde_yaml::from_str(yaml).unwrap();
    let mut problems = Problems::default();
    let path = format!("rateLimits.{name}");
    let rule = LimitRule::compile(name, &model, &path, &Metrics::new().unwrap(), &mut problems);
    (rule, problems)
}

/// A rule that must compile.
pub(super) fn rule(name: &str, yaml: &str) -> Arc<LimitRule> {
    let (rule, problems) = compile(name, yaml);
    assert!(!problems.has_errors(), "{problems:?}");
    Arc::new(rule.unwrap())
}

/// A take from a counter of that rule; `who` stands for what the key is made of.
pub(super) fn take(rule: &Arc<LimitRule>, who: &str) -> Take {
    let mut hash = Sha256::new();
    hash.update(&*rule.tiers[0].key_prefix);
    hash.update(who);
    let id = u128::from_be_bytes(*hash.finalize().first_chunk().unwrap());
    Take { rule: Arc::clone(rule), tier: 0, cost: rule.cost, key: CounterKey::numbered(id) }
}

/// Reads `facts` of a request from `client` on route `route`.
pub(super) fn with_facts<T>(
    client: &str,
    route: &str,
    headers: &HeaderMap,
    identity: Option<&Identity>,
    read: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let client: IpAddr = client.parse().unwrap();
    let view = RequestView {
        method: &Method::GET,
        scheme: Scheme::Http,
        host: "api.example".into(),
        port: None,
        path: "/".into(),
        query: None,
        headers,
        client,
        peer_trusted: false,
        certificate: None,
    };
    read(&Facts { view: &view, identity, request_id: "r1", route, service: "api" })
}
