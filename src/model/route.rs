//! Routes: what they match, where they lead, which policies they apply.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Auth, Authorization, ByteSize, Cache, Compression, Hedge, KeyPart, OneOrMany, Redirect,
    Respond, Rewrite, Rollout, Stream,
};

/// A route.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Unique name in kebab-case: `^[a-z0-9-]+$`.
    #[schemars(regex(pattern = r"^[a-z0-9-]+$"))]
    pub name: String,
    /// Which requests it takes.
    pub r#match: Match,
    /// Decides last, between routes that are equally specific; the higher wins.
    #[serde(default)]
    pub priority: i32,
    /// Where its requests go. Exactly one of `upstream`, `redirect` and `respond` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// Sends clients elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Answers without a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
    /// How the path is written that the service sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// What is applied on the way.
    #[serde(default)]
    pub policies: Policies,
    /// Which requests are refused for their shape.
    #[serde(default)]
    pub request_policy: RequestPolicy,
}

/// Which requests a route takes. All conditions must hold. At most one of `path`, `pathPrefix`
/// and `pathRegex` is given; with none, every path matches.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Match {
    /// `api.example.com`, or `*.example.com` for every name below it. Without it, any host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The first segments of the path: `/v1/admin` takes `/v1/admin/x`, not `/v1/administrator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// A regular expression over the whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_regex: Option<String>,
    /// Methods; without it, any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Method>,
    /// Conditions on request headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<FieldMatch>,
    /// Conditions on query parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<FieldMatch>,
    /// The API version that `Accept-Version` asks for, as in `v2`; `2` asks for it too. A route
    /// without it takes what asks for no version or another; without such a route that is 404.
    /// Versions in paths are matched with `pathPrefix: /v2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_version: Option<String>,
    /// Conditions on claims of the verified caller, by the credentials that the route accepts.
    /// A caller that is not verified meets none, and is left to other routes. `subject`,
    /// `tenantId`, `tenantStatus`, `roles`, `scopes`, `email`, `plan`, `clientId`, `apiKey` and
    /// `provider` are facts, which API keys prove too; any other name is a claim of the token,
    /// and `claim:plan` is one that has the name of a fact. Lists meet `contains`, by elements.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<FieldMatch>,
    /// Tenants of the verified caller; where there is no caller, or one without tenant, of the
    /// host (`tenants.*.hosts`). A caller of one tenant at a host of another gets 403. With
    /// `auth: none` the host alone decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<OneOrMany<String>>,
    /// Where clients are: ISO 3166 country codes, or continents as in `continent:EU`. Needs
    /// `geo.database`. A client whose place is not known is nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<OneOrMany<String>>,
}

/// An HTTP method, in capitals.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
#[serde(transparent)]
pub struct Method(pub String);

/// A condition on a header, a query parameter or a claim. Exactly one of `exact`, `contains`,
/// `present` and `regex` is given.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldMatch {
    /// Name of the header, parameter or claim.
    pub name: String,
    /// The whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// One whole item of a comma-separated list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// `true`: it is there, whatever its value; `false`: it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
    /// A regular expression over the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Headers only: counts only where the connection comes from a trusted proxy of the listener,
    /// so that clients cannot choose.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trusted_only: bool,
}

/// Where a route's requests go.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Upstream {
    /// Name of a service in `services`.
    pub service: String,
    /// Port of those endpoints that do not name their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Shares of traffic by version of the service, out of 10000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<Split>,
    /// What keeps a caller on one version: the first of these that the request has. Without it
    /// `userId`, then `requestId`. `random` spreads every request anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split_key: Vec<KeyPart>,
    /// Raises the share of a new version step by step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// `true`: the service sees the address of its endpoint as `Host`; the client's is in
    /// `X-Forwarded-Host` in any case.
    #[serde(default)]
    pub change_origin: bool,
}

/// A version's share of traffic.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Split {
    /// Name of a version of the service.
    pub version: String,
    /// Its share out of 10000.
    pub weight: u32,
}

/// What a route applies. A key that a route leaves out takes the value of the root `policies`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policies {
    /// Whether callers must prove who they are: `required`, `none`, or details. Every route has
    /// a value, its own or that of the root `policies`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// What a caller must be allowed to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// Names of limits in `rateLimits`; all of them apply together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<OneOrMany<String>>,
    /// What a request of this route costs at each of those limits, instead of their `cost`; at
    /// `concurrency` it takes one place all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit_cost: Option<u32>,
    /// Time for the whole exchange with the service, over all attempts; at most 30000.
    #[schemars(range(max = 30_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Further attempts after the first; at most 2.
    #[schemars(range(max = 2))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// What is retried. Without it `connect-failure`. Nothing is where the service's
    /// `retryBudget` is used up, or no time is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<Vec<RetryOn>>,
    /// POST and PATCH are repeated too where the request has one `Idempotency-Key` that is not
    /// empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_idempotency_key: Option<bool>,
    /// Largest request body that is kept to be sent again, at most 64 KiB; requests with more
    /// are not repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_body_bytes: Option<ByteSize>,
    /// Time limit of one attempt, to the header of its answer, and of each silence within the
    /// answer; without it `timeoutMs`.
    #[schemars(range(max = 30_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_timeout_ms: Option<u64>,
    /// A request header with the client's own deadline in milliseconds, which shortens
    /// `timeoutMs`; `grpc-timeout` is read in its own form. A value that cannot be read is
    /// ignored. The service gets the header with the time that is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_header: Option<String>,
    /// A second attempt while the first has not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hedge: Option<Hedge>,
    /// The route's answers go on for long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<Stream>,
    /// Protocols that a connection may be upgraded to, as in `[websocket]`. The others are not
    /// passed on, and the request is an ordinary one. Upgraded connections have the limits of
    /// `stream`, or its default values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrades: Option<Vec<String>>,
    /// Whether and how answers are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// Whether answers are compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Whether `Authorization`, `Cookie` and API keys reach the service. Not by default on
    /// routes that authenticate; always on routes that do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_credentials: Option<bool>,
}

/// A condition under which an attempt is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryOn {
    /// `connect-failure`: the connection could not be made; nothing was sent.
    ConnectFailure,
    /// `reset`: the connection broke before an answer came.
    Reset,
    /// `timeout-connect`: the connection was not made in time; nothing was sent.
    TimeoutConnect,
    /// `timeout`: no answer came within `attemptTimeoutMs`.
    Timeout,
    /// `502`, with or without quotes: the service answered so. One of 429, 500, 502, 503, 504.
    /// Repeated once its `Retry-After` is over; not at all where that is too late.
    Status(u16),
}

/// Which requests are refused for their shape.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestPolicy {
    /// Largest request body; more gives 413. Without it 10 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<ByteSize>,
    /// Content types that a body may have; others give 415. Without it, any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_content_types: Option<Vec<String>>,
    /// Headers that must be there; their absence gives 400. `x-request-id` is always there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_headers: Option<Vec<String>>,
}
