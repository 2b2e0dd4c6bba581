//! What the limiter said.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::headers;
use crate::fault::{Fault, Reject};

/// Whether the request may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Every counter had enough.
    Allowed,
    /// A counter had not.
    Limited,
    /// Redis cannot be asked and a rule fails closed.
    Unavailable,
}

/// The state of one counter after the decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    /// Name of the rule.
    pub name: Arc<str>,
    /// The advertised limit: capacity, or requests per window.
    pub limit: u64,
    /// The advertised window in seconds: for a token bucket the time in which it fills.
    pub window_s: u64,
    /// What is left; none where nobody counted (Redis away, or another rule refused first).
    pub remaining: Option<u64>,
    /// Time until more is there: after a refusal, until this request would pass. Zero where
    /// nobody counted.
    pub reset: Duration,
    /// The rule's item in `RateLimit-Policy`, made when the rule was compiled.
    pub policy: HeaderValue,
}

/// What the limiter said.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whether the request may go on.
    pub decision: Decision,
    /// Every counter asked; the one that refused first (of several the one with the longest
    /// wait), else the one with the least left first.
    pub quotas: Vec<Quota>,
    /// Redis could not be asked for at least one rule.
    pub degraded: bool,
}

impl Outcome {
    /// The outcome of a request that no rule applies to.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { decision: Decision::Allowed, quotas: Vec::new(), degraded: false }
    }

    /// Adds `RateLimit`, `RateLimit-Policy` and `X-RateLimit-*` to a response.
    pub fn write_headers(&self, mut set: impl FnMut(HeaderName, HeaderValue)) {
        headers::write(&self.quotas, &mut set);
    }

    /// The refusal, where there is one: 429 or 503, with `Retry-After`.
    #[must_use]
    pub fn reject(&self) -> Option<Reject> {
        let fault = match self.decision {
            Decision::Allowed => return None,
            Decision::Limited => Fault::LimitExceeded,
            Decision::Unavailable => Fault::LimiterUnavailable,
        };
        let mut reject = Reject::new(fault);
        if let Some(refused) = self.quotas.first() {
            reject = reject.with_retry_after(refused.reset);
            if self.decision == Decision::Limited {
                reject.violated = Some(Arc::clone(&refused.name));
            }
        }
        Some(reject)
    }
}
