//! Rate limits.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{KeyPart, MissingKey, Percent, Span};

/// A rate limit. `token_bucket` takes `capacity` and `refillPerSecond`; `sliding_window`,
/// `sliding_log` and `fixed_window` take `limit` and `window`; `quota` takes `limit` and
/// `period`; `concurrency` takes `limit`. Routes that name one limit share its budget.
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
    /// Requests admitted in any window or in a period; requests at once for `concurrency`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Windows: their length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// Quota: what it lasts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// Quota: the time zone in which periods begin, an IANA name such as `Europe/Berlin`;
    /// without it UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What is counted apart: each combination of these has its own budget. Several lines of a
    /// header count as one with commas; what is empty counts as missing.
    pub key: Vec<KeyPart>,
    /// What stands for a part that a request lacks: another part, or `refuse` (403). The
    /// client's address stands for that other part where it is missing too.
    #[serde(default)]
    pub missing_key: MissingKey,
    /// Leading bits of an IPv4 address that are one client; from 1 to 32. An IPv4 address on an
    /// IPv6 socket is one of these.
    #[serde(default = "ipv4_prefix")]
    pub ipv4_prefix: u8,
    /// Leading bits of an IPv6 address that are one client; from 1 to 128. A subscriber is given
    /// 64 or fewer.
    #[serde(default = "ipv6_prefix")]
    pub ipv6_prefix: u8,
    /// Each route that names this limit has a budget of its own.
    #[serde(default)]
    pub per_route: bool,
    /// Tokens that one request costs, where its route does not say. A request takes one place of
    /// `concurrency`, whatever it costs elsewhere.
    #[serde(default = "one")]
    pub cost: u32,
    /// The service says afterwards what a request has cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_cost: Option<ResponseCost>,
    /// Other numbers for callers of a plan, by its name. Callers of other plans, or of none,
    /// have those above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plans: BTreeMap<String, PlanLimit>,
    /// Whether Redis is asked for every request.
    #[serde(default)]
    pub mode: LimitMode,
    /// By how much all nodes together may pass the limit in mode `leased`: what they hold in
    /// advance; at most 10%.
    #[serde(default = "five_percent")]
    pub overage: Percent,
    /// By how much less is enforced than advertised, of a bucket both what it holds and what
    /// comes back; at most 50%, and one request is always enforced.
    #[serde(default)]
    pub margin: Percent,
    /// Counts and never refuses; clients are told nothing.
    #[serde(default)]
    pub shadow: bool,
    /// What happens while Redis cannot be asked.
    #[serde(default)]
    pub failure_mode: FailureMode,
}

const fn one() -> u32 {
    1
}
const fn ipv4_prefix() -> u8 {
    32
}
const fn ipv6_prefix() -> u8 {
    64
}
const fn five_percent() -> Percent {
    Percent::new(5)
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
    /// At most `limit` in any `window`, exactly: remembers every request. For few and costly
    /// ones.
    SlidingLog,
    /// At most `limit` from one multiple of `window` to the next, so up to twice as many around
    /// that.
    FixedWindow,
    /// At most `limit` in a `period` of the calendar.
    Quota,
    /// At most `limit` requests at once.
    Concurrency,
}

/// A period of the calendar.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of a month to the first of the next.
    Month,
}

/// What a service says of the cost of a request. What was taken in advance (`cost`) is set off:
/// the difference is charged, or given back. The answer of the last attempt counts, once; the
/// header stays in the answer.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResponseCost {
    /// The response header that holds it: one whole number from 0 to `max`. Without it the cost
    /// stays as taken, and with anything else too, which is counted in
    /// `tidegate_limit_response_costs_total`.
    pub header: String,
    /// The most that a response may say; at most what the limit and each plan enforces.
    pub max: u32,
}

/// A plan's numbers, in the words of its limit. What is left out is as in the limit itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PlanLimit {
    /// Windows, quota, concurrency: `limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Token bucket: `capacity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// Token bucket: `refillPerSecond`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refill_per_second: Option<f64>,
}

/// Whether Redis is asked for every request.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum LimitMode {
    /// Every request is counted in Redis before it passes.
    Exact,
    /// A node takes a few tokens in advance and spends them by itself, where the limit leaves
    /// room for that within `overage`; where not, as `exact`. `sliding_log` and `concurrency`
    /// are always exact.
    #[default]
    Leased,
}

/// What happens while Redis cannot be asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum FailureMode {
    /// Requests pass uncounted.
    Open,
    /// Requests are refused with 503.
    Closed,
    /// This node counts by itself: its share, the limit by the number of nodes last seen.
    #[default]
    Local,
}
