//! The Redis that gateways share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, Span};

/// Redis, for what several nodes share. Exactly one of `url`, `cluster` and `sentinel`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redis {
    /// One server: `redis://[user:password@]host:port[/db]`, with TLS `rediss://`; best by
    /// reference: `${env:REDIS_URL}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// A Redis Cluster: `host:port` of some of its nodes, from which the others are learned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster: Vec<String>,
    /// Servers whose primary is named by Sentinels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<Sentinel>,
    /// The user (ACL) at the servers of `cluster` or `sentinel`; without it the default user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<Secret>,
    /// Its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The database at the servers of `sentinel`. A cluster has only 0.
    #[serde(default)]
    pub database: u8,
    /// Connections to `cluster` or `sentinel` are encrypted; with `url`, what `rediss://` trusts
    /// and shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RedisTls>,
    /// Time limit of one call; a slower answer counts as a failure.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// First part of every key, so that gateways can share one Redis.
    #[serde(default = "default_prefix")]
    pub key_prefix: String,
    /// When to stop asking a Redis that does not answer.
    #[serde(default)]
    pub breaker: Breaker,
    /// Nodes that share the limits, as long as Redis has never said how many there are. Later
    /// the number is that of the nodes that were last seen alive.
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

/// Servers that watch over a primary and its replicas and say which one is primary.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sentinel {
    /// `host:port` of the Sentinels.
    pub addresses: Vec<String>,
    /// The name by which they know the primary.
    pub master: String,
    /// The user at the Sentinels; without it the default user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<Secret>,
    /// Its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// How connections to Redis are encrypted. Certificates are always verified.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RedisTls {
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
