//! A refusal: a row of the fault table and what is particular to this occurrence.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::Fault;

/// Words that may be shown to a client: literals of this program or text of the configuration,
/// never a cause and never something a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint(Cow<'static, str>);

impl Hint {
    /// A hint that is a literal of this program.
    #[must_use]
    pub const fn literal(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// A hint that names something of the configuration: a scope, a header, a policy.
    #[must_use]
    pub fn from_config(text: String) -> Self {
        Self(Cow::Owned(text))
    }

    /// The words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a request is not served. Carried in the request's context until the one place that
/// writes responses turns it into `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The row of the table.
    pub fault: Fault,
    /// What the client may be told beyond the title.
    pub hint: Option<Hint>,
    /// How long the client should wait; sent as `Retry-After` in whole seconds, rounded up.
    pub retry_after: Option<Duration>,
    /// Further response headers that belong to the fault: `Allow`, `WWW-Authenticate`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Name of the rate limit that fired, for 429.
    pub violated: Option<std::sync::Arc<str>>,
}

impl Reject {
    /// A refusal with nothing beyond the table's words.
    #[must_use]
    pub const fn new(fault: Fault) -> Self {
        Self { fault, hint: None, retry_after: None, headers: Vec::new(), violated: None }
    }

    /// Adds words for the client.
    #[must_use]
    pub fn with_hint(mut self, hint: Hint) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Adds a response header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds the time after which the client may come back.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// `Retry-After` in whole seconds, rounded up so that a client never comes too early.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }
}

impl From<Fault> for Reject {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}
