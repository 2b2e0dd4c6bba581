//! The gateway end to end: the real binary in a process of its own, real origins, a real
//! identity provider, a real `redis-server`, all on loopback.
//!
//! Every test has a gateway and ports of its own, so that they run in parallel and in any order.
//! Nothing waits a fixed time for something to happen, and nothing is tried twice; where a test
//! sleeps, a client or a service that is slow on purpose is what it tests. The parts are in
//! `tests/kit`.

mod actions;
mod admission;
mod api_keys;
mod auth;
mod authorization;
mod balancing;
mod bound_tokens;
mod breaker;
mod cache;
mod cache_faults;
mod cache_fills;
mod ceilings;
mod certificates;
mod cli;
mod compression;
mod concurrency;
mod connections;
mod credentials;
mod degraded;
mod discovery;
mod drain;
mod drills;
mod explain_token;
mod failures;
mod fleet;
mod health;
mod hostile;
mod identity_headers;
mod introspection;
mod keys;
mod keysets;
mod leak_guard;
mod leases;
mod limit_costs;
mod limit_keys;
mod limits;
mod limits_cli;
mod log_files;
mod notify;
mod observability;
mod outages;
mod overload;
mod protocols;
mod purge;
mod query;
mod redis;
mod reload;
mod reload_order;
mod reload_state;
mod renewals;
mod retries;
mod revocation;
mod rollout;
mod routing;
mod shadow;
mod shared_cache;
mod signatures;
mod tls;
mod tls_upstream;
mod token;
mod upgrade;
mod upgrade_faults;
mod upstreams;

use std::net::SocketAddr;

use tidegate_kit::{Gateway, Issuer, Result, Setup};

/// The gateway that is tested: the one of this build, or the one that `make test-program` names.
const BINARY: &str = match option_env!("TIDEGATE_PROGRAM") {
    Some(program) => program,
    None => env!("CARGO_BIN_EXE_tidegate"),
};

/// A gateway with this configuration, not started yet.
fn gateway(config: impl Into<String>) -> Setup {
    Setup::new(BINARY, config)
}

/// `services` with one service, `api`, of these endpoints.
fn api(endpoints: &[SocketAddr]) -> String {
    format!("services:\n  api: {{endpoints: [{}]}}\n", list(endpoints))
}

/// Endpoints as a YAML list without its brackets.
fn list(endpoints: &[SocketAddr]) -> String {
    let items: Vec<String> =
        endpoints.iter().map(|address| format!("{{address: \"{address}\"}}")).collect();
    items.join(", ")
}

/// `routes` with one public route, `all`, to the service `api`; `policies` are further ones.
fn open_route(policies: &str) -> String {
    format!(
        "routes:\n  - name: all\n    match: {{pathPrefix: /}}\n    upstream: {{service: api}}\n    \
         policies: {{auth: none{}{policies}}}\n",
        if policies.is_empty() { "" } else { ", " }
    )
}

/// `identityProviders` with one provider, `main`, that accepts the issuer's tokens.
fn provider(issuer: &Issuer) -> String {
    provider_with(issuer, "{}")
}

/// The same with these settings for its key set.
fn provider_with(issuer: &Issuer, jwks: &str) -> String {
    format!(
        "identityProviders:\n  main:\n    issuer: {}\n    audience: api.example.com\n    \
         algorithms: [ES256, RS256, EdDSA]\n    jwksUrl: {}\n    jwks: {jwks}\n",
        issuer.name(),
        issuer.jwks_url(),
    )
}

/// Waits until the gateway holds the issuer's keys, which it fetches in the background.
async fn has_keys(gateway: &Gateway) -> Result<()> {
    let labels = [("provider", "main"), ("outcome", "changed")];
    gateway.metric_until("tidegate_keyring_fetches_total", &labels, |n| n >= 1.0).await.map(|_| ())
}
