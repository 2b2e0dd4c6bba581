//! Where endpoints are looked up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, Span};

/// Where endpoints are looked up: exactly one of `dns`, `consul` and `file`.
///
/// The last good answer is kept for as long as none comes. An answer without endpoints empties a
/// service only when it is repeated.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Discovery {
    /// A name in the DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsSource>,
    /// A service in Consul.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consul: Option<ConsulSource>,
    /// A file with one `address:port` a line, or `address:port weight`. It ends with a line
    /// break; without one it counts as half-written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Time between two look-ups, from `1s` to `1h`, give or take a tenth; a DNS answer that
    /// expires sooner is looked up sooner, at most once a second.
    #[serde(default = "default_refresh")]
    pub refresh: Span,
    /// Time limit of one look-up, up to `30s`. The start of the gateway waits so long for the
    /// first one.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// Empty answers in a row that empty the service.
    #[serde(default = "default_confirmations")]
    pub empty_answers: u32,
}

const fn default_refresh() -> Span {
    Span::from_secs(10)
}
const fn default_timeout() -> Span {
    Span::from_secs(2)
}
const fn default_confirmations() -> u32 {
    3
}

/// A name in the DNS.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsSource {
    /// The name.
    pub name: String,
    /// `A` for addresses (A and AAAA records), `SRV` for addresses with ports and weights.
    #[serde(default)]
    pub record: DnsRecord,
    /// Port of the endpoints, for `A` records. Without it, that of the route's `upstream.port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `address:port` of the name server to ask, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// A kind of DNS records.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
pub enum DnsRecord {
    /// A and AAAA records.
    #[default]
    A,
    /// SRV records; of several priorities the lowest number is used.
    #[serde(rename = "SRV")]
    Srv,
}

/// A service in Consul. Only instances whose checks all pass are used.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsulSource {
    /// URL of the agent, as in `http://127.0.0.1:8500`.
    pub url: String,
    /// Name of the service.
    pub service: String,
    /// Only instances with this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The datacenter, instead of the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<String>,
    /// ACL token, best by reference: `${file:/run/secrets/consul}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}
