//! Upstream services: where their endpoints are, and how they are spoken to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AdaptiveConcurrency, CircuitBreaker, Discovery, Ejection, HealthCheck, LoadBalancing,
    RetryBudget, Span,
};

/// A named group of endpoints. Exactly one of `endpoints`, `discovery`, and `versions` that have
/// them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// Endpoints of a service without versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// Where endpoints of a service without versions are looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
    /// Versions, which `upstream.splits` share traffic between. Without splits the first
    /// version takes it all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<Version>,
    /// What is spoken with its endpoints.
    #[serde(default)]
    pub protocol: UpstreamProtocol,
    /// Connections to its endpoints are encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Time for a connection to be made.
    #[serde(default = "default_connect")]
    pub connect_timeout: Span,
    /// How long an idle connection is kept for reuse.
    #[serde(default = "default_idle")]
    pub idle_timeout: Span,
    /// Which endpoint takes a request.
    #[serde(default)]
    pub load_balancing: LoadBalancing,
    /// Asks endpoints whether they are well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// When an endpoint that fails requests is left out for a while.
    #[serde(default)]
    pub ejection: Ejection,
    /// When requests are no longer sent to the service at all.
    #[serde(default)]
    pub circuit_breaker: CircuitBreaker,
    /// Finds out how many requests at once the service can take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive_concurrency: Option<AdaptiveConcurrency>,
    /// How many attempts may be repeated.
    #[serde(default)]
    pub retry_budget: RetryBudget,
}

const fn default_connect() -> Span {
    Span::from_secs(2)
}
const fn default_idle() -> Span {
    Span::from_secs(55)
}

/// A version of a service: `endpoints` or `discovery`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Version {
    /// Its name, for example `stable` or `canary`.
    pub name: String,
    /// Its endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// Where its endpoints are looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
}

/// One address of a service. The addresses of a host name are looked up again as they expire.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// `host` or `host:port`. Without a port, that of the route's `upstream.port`.
    pub address: String,
    /// Its share of the requests, beside the other endpoints.
    #[serde(default = "one")]
    pub weight: u32,
}

const fn one() -> u32 {
    1
}

/// What is spoken with endpoints.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: agreed on by ALPN behind TLS, with prior knowledge without. What gRPC needs.
    Http2,
    /// Behind TLS HTTP/2 where the endpoint offers it, else HTTP/1.1.
    Auto,
}

/// How connections to endpoints are encrypted. Certificates are always verified.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// The name that is asked for and that the certificate must be for. Without it, the host of
    /// the endpoint's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Authorities to trust, in a PEM file, instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The gateway's own certificate, in a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// Its private key, in a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
}
