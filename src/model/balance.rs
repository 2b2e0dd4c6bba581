//! How the endpoints of a service share its requests, and when they are spared.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{KeyPart, Span};

/// Which endpoint takes a request.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LoadBalancing {
    /// How an endpoint is chosen.
    pub algorithm: Balance,
    /// `consistent_hash`: the first of these that the request has; `clientIp` where it has none.
    /// Without it `userId`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hash_key: Vec<KeyPart>,
    /// An endpoint that is new or has come back takes a growing share for this long. Not used by
    /// `consistent_hash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Span>,
}

/// How an endpoint is chosen. Weights count in each of them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, evenly spread.
    #[default]
    RoundRobin,
    /// The one of two random endpoints that has fewer requests in flight.
    LeastRequests,
    /// At random.
    Random,
    /// By the hash of a key (ketama), so that few keys move when endpoints come and go.
    ConsistentHash,
}

impl Balance {
    /// The word for it in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastRequests => "least_requests",
            Self::Random => "random",
            Self::ConsistentHash => "consistent_hash",
        }
    }
}

/// Asks endpoints whether they are well.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheck {
    /// How they are asked.
    #[serde(default)]
    pub kind: CheckKind,
    /// `http`: the path to get.
    #[serde(default = "default_path")]
    pub path: String,
    /// `http`: the `Host` to send. Without it, the endpoint's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `http`: statuses that mean well. Without it 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
    /// `grpc`: the service to ask about. Without it, the server as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_service: Option<String>,
    /// Another port than that of the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Time between two checks, give or take a tenth.
    #[serde(default = "default_interval")]
    pub interval: Span,
    /// Time limit of one check.
    #[serde(default = "default_check_timeout")]
    pub timeout: Span,
    /// Failed checks in a row that take an endpoint out.
    #[serde(default = "three")]
    pub unhealthy_after: u32,
    /// Passed checks in a row that bring it back.
    #[serde(default = "two")]
    pub healthy_after: u32,
}

fn default_path() -> String {
    "/health".to_owned()
}
const fn default_interval() -> Span {
    Span::from_secs(5)
}
const fn default_check_timeout() -> Span {
    Span::from_secs(1)
}
const fn three() -> u32 {
    3
}
const fn two() -> u32 {
    2
}

/// How endpoints are asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// A GET request.
    #[default]
    Http,
    /// A connection.
    Tcp,
    /// The gRPC health checking protocol.
    Grpc,
}

/// When an endpoint that fails requests is left out for a while. Failures are connections that
/// are not made or break, timeouts, and answers with 502, 503 or 504. The only endpoint is never
/// left out. Whatever stands here, one that takes no connection three times in a row is out until
/// it takes one.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ejection {
    /// Failures in a row. 0 looks at none.
    pub consecutive_failures: u32,
    /// Share of failures, in percent of the requests of `window`. 0 looks at none.
    pub error_percent: u32,
    /// Requests in `window` below which `errorPercent` means nothing.
    pub min_requests: u32,
    /// What `errorPercent` looks back on.
    pub window: Span,
    /// How long it is left out before one request tries it; twice as long each time it happens
    /// again soon, up to ten times as long. Passed active checks bring it back earlier.
    pub eject_for: Span,
    /// Most endpoints left out at once, in percent of the service; one may always be.
    pub max_ejected_percent: u32,
    /// When fewer endpoints than this are well, in percent, health is ignored: a service that
    /// looks broken as a whole is better asked than given up.
    pub panic_percent: u32,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            error_percent: 0,
            min_requests: 20,
            window: Span::from_secs(10),
            eject_for: Span::from_secs(10),
            max_ejected_percent: 50,
            panic_percent: 0,
        }
    }
}

/// When requests are no longer sent to a service. Counts are of this node.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CircuitBreaker {
    /// Requests in flight at once; more give 503. Counted from the first attempt to the last
    /// byte of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
    /// Requests that may use a connection at once; further ones wait, in order, no longer than
    /// `connectTimeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection; more give 503.
    pub max_pending: u32,
    /// Share of failures, in percent of the requests of `window`, that opens the circuit: while it
    /// is open, requests give 503. 0 never opens it. Failures are those of `ejection`; an attempt
    /// that is repeated is none.
    pub error_percent: u32,
    /// Requests in `window` below which `errorPercent` means nothing.
    pub min_requests: u32,
    /// What `errorPercent` looks back on.
    pub window: Span,
    /// How long the circuit stays open before one request probes.
    pub open_for: Span,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            max_requests: None,
            max_connections: None,
            max_pending: 1024,
            error_percent: 0,
            min_requests: 20,
            window: Span::from_secs(10),
            open_for: Span::from_secs(5),
        }
    }
}

/// How many attempts of a service's requests may be repeated.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetryBudget {
    /// Repeated attempts, in percent of the requests of the last ten seconds.
    pub percent: u32,
    /// Repeated attempts in ten seconds that are allowed in any case.
    pub min_retries: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, min_retries: 3 }
    }
}
