//! Repeated attempts, streams and rollouts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;

/// A second attempt to another endpoint while the first has not answered, for GET, HEAD and
/// OPTIONS without a body. The answer that comes first is used. Counts against the retry budget,
/// and comes on top of `retries`. Cannot be used together with `cache`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hedge {
    /// How slow the first attempt must be: slower than this share, in percent, of the service's
    /// answers lately. Nothing is asked twice before there have been twenty answers.
    pub percentile: u32,
    /// The shortest wait.
    pub min_delay: Span,
}

impl Default for Hedge {
    fn default() -> Self {
        Self { percentile: 95, min_delay: Span::from_millis(10) }
    }
}

/// Marks a route whose answers go on for long: server-sent events, gRPC streams, web sockets.
/// `timeoutMs` then ends with the header of the answer.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Stream {
    /// Longest silence of the service.
    pub idle_timeout: Span,
    /// Longest duration of the whole exchange.
    pub max_duration: Span,
}

impl Default for Stream {
    fn default() -> Self {
        Self { idle_timeout: Span::from_secs(60), max_duration: Span::from_secs(3600) }
    }
}

/// Raises the share of a new version step by step, for as long as it does well beside the first
/// version of `splits`. Every node judges by what it sees itself. A version that does badly goes
/// back to 0 and stays there until the configuration changes or the process starts anew.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollout {
    /// The new version; its weight in `splits` is that of the first step.
    pub version: String,
    /// Its shares, out of 10000, rising.
    pub steps: Vec<u32>,
    /// How long it must do well at each step.
    pub hold: Span,
    /// Requests of it that a step needs before it is judged.
    #[serde(default = "default_requests")]
    pub min_requests: u64,
    /// How much higher its share of failed requests may be, in percentage points.
    #[serde(default = "default_error")]
    pub max_error_percent: f64,
    /// How many times as long its 99th percentile may be.
    #[serde(default = "default_latency")]
    pub max_latency_ratio: f64,
}

const fn default_requests() -> u64 {
    100
}
const fn default_error() -> f64 {
    1.0
}
const fn default_latency() -> f64 {
    1.5
}
