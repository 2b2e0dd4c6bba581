//! Upstream services.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;

/// A named group of endpoints. Either `endpoints`, or `versions` that have them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// Endpoints of a service without versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// Versions, which `upstream.splits` share traffic between. Without splits the first
    /// version takes it all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<Version>,
    /// Time for a connection to be made.
    #[serde(default = "default_connect")]
    pub connect_timeout: Span,
    /// How long an idle connection is kept for reuse.
    #[serde(default = "default_idle")]
    pub idle_timeout: Span,
}

const fn default_connect() -> Span {
    Span::from_secs(2)
}
const fn default_idle() -> Span {
    Span::from_secs(55)
}

/// A version of a service.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Version {
    /// Its name, for example `stable` or `canary`.
    pub name: String,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One address of a service.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// `host` or `host:port`. Without a port, that of the route's `upstream.port`.
    pub address: String,
}
