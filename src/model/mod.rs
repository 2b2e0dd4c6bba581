//! The configuration as a person writes it.
//!
//! These types are the vocabulary and nothing else: no defaults that depend on other keys, no
//! runtime. [`load_file`] turns text into a [`Config`] or into *all* the problems it has;
//! `snapshot::compile` turns a `Config` into what the data plane runs. The JSON Schema that
//! editors use is generated from these types, so their doc comments are written for the person
//! who edits the file.
//!
//! A text passes through `parse` (YAML), `check` (form, against the `shape` that the `schema`
//! gives) and `recover` (types). What is wrong is put into words by `describe`, given its place
//! by `locate`, and shown by `render`. What the gateway says is held by `tests/golden`.

// The vocabulary.
mod access;
mod action;
mod attempts;
mod authorization;
mod balance;
mod cache;
mod config;
mod discovery;
mod identity;
mod identity_header;
mod key_part;
mod limit;
mod listener;
mod partner;
pub mod pem;
mod protect;
mod resolved;
mod route;
mod scalar;
mod service;
mod store;
mod word;

// From text to the vocabulary.
mod check;
mod describe;
mod load;
mod parse;
mod recover;
mod schema;
mod shape;

// What to tell about it, and where.
mod locate;
mod path;
mod problem;
mod render;

pub use access::{AccessLog, Admin, Geo, Server, ServerTiming};
pub use action::{Redirect, RegexRewrite, ReplacePrefix, Respond, Rewrite};
pub use attempts::{Hedge, Rollout, Stream};
pub use authorization::{
    Auth, AuthFailureMode, AuthMethod, AuthSettings, Authorization, MethodAuthorization,
};
pub use balance::{
    Balance, CheckKind, CircuitBreaker, Ejection, HealthCheck, LoadBalancing, RetryBudget,
};
pub use cache::{
    Cache, CacheKey, CacheQuery, CacheStore, Coding, Compression, SharedStore, Statuses,
};
pub use config::Config;
pub use discovery::{ConsulSource, Discovery, DnsRecord, DnsSource};
pub use identity::{
    Algorithm, ApiKey, ApiKeyCarriers, ClaimNames, Database, IdentityProvider, Introspection,
    JwksSettings, Revocation, Tenant,
};
pub use identity_header::{HeaderEncoding, IdentityHeader};
pub use key_part::{KeyPart, MissingKey};
pub use limit::{
    FailureMode, LimitAlgorithm, LimitMode, Period, PlanLimit, RateLimit, ResponseCost,
};
pub use listener::{
    Certificate, ClientCertificate, ClientCertificateMode, Http2, Listener, ListenerTls, Protocol,
    ProxyProtocol, TlsVersion, UnknownServerName,
};
pub use load::{Loaded, load_file, load_text};
pub use partner::{
    CertificateCaller, CertificateName, ClientCertificates, IdentityKey, IdentitySignature,
    MessageSignatures, SignatureAlgorithm, Signer,
};
pub use problem::{Problem, Problems, Severity};
pub use protect::{AdaptiveConcurrency, Overload};
pub use resolved::Resolved;
pub use route::{
    FieldMatch, Match, Method, Policies, RequestPolicy, RetryOn, Route, Split, Upstream,
};
pub use scalar::{ByteSize, OneOrMany, Percent, Secret, Span};
pub use schema::json_schema;
pub use service::{Endpoint, Service, UpstreamProtocol, UpstreamTls, Version};
pub use store::{Breaker, Redis, RedisTls, Sentinel};
