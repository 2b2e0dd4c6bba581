//! Which answers are kept, under which key, for how long.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ByteSize, Percent, Span};

/// The store of answers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CacheStore {
    /// What all answers kept in this node's memory may take together.
    pub memory_bytes: ByteSize,
    /// A second store in `redis`, which all nodes share. Without it each node has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedStore>,
    /// Networks of clients that are told the key in `Cache-Status`; without it nobody is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_visible_to: Vec<String>,
}

impl Default for CacheStore {
    fn default() -> Self {
        Self { memory_bytes: ByteSize::new(256 << 20), shared: None, key_visible_to: Vec::new() }
    }
}

/// Answers in Redis.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SharedStore {
    /// How long a request waits for Redis before it goes on as if nothing were there.
    pub timeout: Span,
    /// Largest body that is shared.
    pub max_body_bytes: ByteSize,
    /// Bodies from this size on are compressed for Redis.
    pub compress_from: ByteSize,
}

impl Default for SharedStore {
    fn default() -> Self {
        Self {
            timeout: Span::from_millis(5),
            max_body_bytes: ByteSize::new(1 << 20),
            compress_from: ByteSize::new(4 << 10),
        }
    }
}

/// Whether and how answers are kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub struct Cache {
    /// How long an answer is fresh when the service does not say.
    pub ttl: Span,
    /// How long an answer is fresh whatever the service says of that; it never makes one kept that
    /// the service wants not to be (`no-store`, `private`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_ttl: Option<Span>,
    /// The same as `ttl` for answers with these statuses, which are then kept although they are no
    /// success: `{404: 10s}`.
    #[serde(skip_serializing_if = "Statuses::is_empty")]
    pub statuses: Statuses,
    /// Where the service does not say, but tells when the answer was changed last: a tenth of the
    /// time since then, at most this. Without it nothing is guessed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heuristic_max: Option<Span>,
    /// For how long an answer may be used stale while it is fetched anew, where the service does
    /// not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate: Option<Span>,
    /// For how long an answer may be used stale while the service fails, where it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_if_error: Option<Span>,
    /// What makes two requests different, beyond method, scheme, host and path.
    pub key: CacheKey,
    /// On a route that authenticates: `true` lets all callers share entries.
    pub shared: bool,
    /// Largest body kept.
    pub max_body_bytes: ByteSize,
    /// What answers can be purged by, beside what the service writes into `Cache-Tag`,
    /// `Surrogate-Key` and `Cache-Groups`: `products:{path.id}`, `tenant:{tenant}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Answers that set a cookie are kept, without it. Otherwise they are not kept.
    pub drop_set_cookie: bool,
    /// What clients ask for in `Cache-Control` counts for nothing: they cannot demand that the
    /// service is asked.
    pub ignore_request_control: bool,
    /// How long requests wait for one that fetches the same answer, before they ask the service
    /// too.
    pub lock_timeout: Span,
    /// Answers of this route are kept in the node's memory only, even where `cache.shared` is set.
    pub local: bool,
    /// Hits that are fetched anew for their caller and compared, in percent: an answer that differs
    /// between callers is a leak, and is not used again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Percent>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            ttl: Span::from_secs(300),
            force_ttl: None,
            statuses: Statuses::default(),
            heuristic_max: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            key: CacheKey::default(),
            shared: false,
            max_body_bytes: ByteSize::new(1024 * 1024),
            tags: Vec::new(),
            drop_set_cookie: false,
            ignore_request_control: false,
            lock_timeout: Span::from_secs(5),
            local: false,
            verify: None,
        }
    }
}

/// A time for each of some statuses.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct Statuses(pub BTreeMap<u16, Span>);

impl Statuses {
    /// Whether none is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What makes two requests different.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CacheKey {
    /// `all` parameters (sorted), `none`, a list of names, or all but some:
    /// `{except: [utm_source]}`. Without it, `all`.
    pub query: CacheQuery,
    /// The caller's tenant.
    pub tenant: bool,
    /// The caller.
    pub user: bool,
    /// The caller's scopes, in whatever order.
    pub scopes: bool,
    /// Languages to tell apart: the first of these that `Accept-Language` prefers, else the
    /// first of the list.
    pub language: Vec<String>,
    /// Request headers whose values are told apart.
    pub headers: Vec<String>,
}

/// Which query parameters count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CacheQuery {
    /// Every parameter.
    #[default]
    All,
    /// No parameter.
    None,
    /// These parameters.
    Names(Vec<String>),
    /// All but these parameters.
    Except(Vec<String>),
}

/// Answers of services are compressed for clients that can read it, and kept so: once for each
/// coding. Services are asked for the coding that suits the client; what they code themselves
/// stays as it is. Answers that are streams, or that say `no-transform`, are left alone.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Compression {
    /// Codings to offer, the one preferred first among those that a client likes equally.
    pub codings: Vec<Coding>,
    /// Content types that are compressed; `type/*` stands for all of a kind that are not
    /// compressed already.
    pub types: Vec<String>,
    /// Shorter answers are left as they are. Those of unknown length are compressed.
    pub min_bytes: ByteSize,
}

/// A content coding.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// Brotli (RFC 7932).
    Br,
    /// Zstandard (RFC 8878).
    Zstd,
    /// Gzip (RFC 1952).
    Gzip,
}

impl Coding {
    /// Its name in `Accept-Encoding` and `Content-Encoding`, and in the configuration.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/json",
            "application/problem+json",
            "application/javascript",
            "application/xml",
            "application/wasm",
            "image/svg+xml",
        ];
        Self {
            codings: vec![Coding::Zstd, Coding::Br, Coding::Gzip],
            types: types.map(str::to_owned).into(),
            min_bytes: ByteSize::new(1024),
        }
    }
}
