//! Rate limits and the Redis they share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{KeyPart, Secret, Span};

/// Redis, for limits that several nodes share.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redis {
    /// `redis://[user:password@]host:port[/db]`, best by reference: `${env:REDIS_URL}`.
    pub url: Secret,
    /// Time limit of one call; a slower answer counts as a failure.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// First part of every key, so that gateways can share one Redis.
    #[serde(default = "default_prefix")]
    pub key_prefix: String,
    /// When to stop asking a Redis that does not answer.
    #[serde(default)]
    pub breaker: Breaker,
    /// Nodes that share the limits; while Redis is away each enforces its share.
    #[serde(default = "one")]
    pub expected_nodes: u32,
}

const fn default_timeout() -> Span {
    Span::from_millis(20)
}
fn default_prefix() -> String {
    "tidegate".to_owned()
}
const fn one() -> u32 {
    1
}

/// When to stop asking a dependency that fails.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Breaker {
    /// Consecutive failures that open the breaker.
    pub failures: u32,
    /// How long it stays open before one call probes.
    pub open_for: Span,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 5, open_for: Span::from_secs(30) }
    }
}

/// A rate limit. `token_bucket` takes `capacity` and `refillPerSecond`;
/// `sliding_window` takes `limit` and `window`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// How requests are counted.
    #[serde(default)]
    pub algorithm: LimitAlgorithm,
    /// Token bucket: the most tokens it holds, which is the largest burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// Token bucket: tokens that come back each second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refill_per_second: Option<f64>,
    /// Sliding window: requests admitted in any window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Sliding window: its length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// What is counted apart: each combination of these has its own budget.
    pub key: Vec<KeyPart>,
    /// Tokens that one request costs.
    #[serde(default = "one")]
    pub cost: u32,
    /// What happens while Redis cannot be asked.
    #[serde(default)]
    pub failure_mode: FailureMode,
}

/// How requests are counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum LimitAlgorithm {
    /// Bursts up to `capacity`, then `refillPerSecond`.
    TokenBucket,
    /// At most `limit` in any `window`: this window's count plus the overlapping share of the
    /// last one's.
    #[default]
    SlidingWindow,
}

/// What happens while Redis cannot be asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum FailureMode {
    /// Requests pass uncounted.
    Open,
    /// Requests are refused with 503.
    Closed,
    /// This node counts by itself.
    #[default]
    Local,
}
