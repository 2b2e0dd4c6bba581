//! Protection of the node and of services from more than they can take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ByteSize, KeyPart, Span};

/// What happens when more requests come than this node can serve. At least one of `maxInFlight`
/// and `maxMemory` is given.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Overload {
    /// Requests served at once. Beyond that they wait, and those who share fairly come first.
    /// Without it, as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// Memory that the process may hold (resident, as the kernel counts it). Above it new requests
    /// that need a service or the cache are refused (503) and the cache gives room back, until
    /// memory is a sixteenth below it. Without it, memory is not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<ByteSize>,
    /// Among whom the node is shared: each has the same right to it while it is full.
    #[serde(default = "tenant_id")]
    pub fair_by: KeyPart,
    /// Requests that may wait; those of whoever has most are refused first (503).
    #[serde(default = "queue_limit")]
    pub queue_limit: u32,
    /// How long a request may wait before it is refused (503).
    #[serde(default = "queue_timeout")]
    pub queue_timeout: Span,
}

const fn tenant_id() -> KeyPart {
    KeyPart::TenantId
}
const fn queue_limit() -> u32 {
    100
}
const fn queue_timeout() -> Span {
    Span::from_millis(100)
}

/// Finds out how many requests at once a service can take, by how much slower it gets. Requests
/// beyond that are refused (503) or wait, as with `maxConnections`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AdaptiveConcurrency {
    /// Never fewer than this.
    pub min: u32,
    /// Never more than this.
    pub max: u32,
    /// How many times as slow as at rest the service may get before fewer requests are sent.
    pub tolerance: f64,
}

impl Default for AdaptiveConcurrency {
    fn default() -> Self {
        Self { min: 4, max: 1000, tolerance: 2.0 }
    }
}
