//! What the limiter said.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{Held, Receipt, headers};
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
    /// The advertised window in seconds: for a token bucket the time in which it fills; 0 where
    /// there is none.
    pub window_s: u64,
    /// What is left; none where nobody counted (Redis away, or another rule refused first).
    pub remaining: Option<u64>,
    /// Time until more is there: after a refusal, until this request would pass. Zero where
    /// nobody counted.
    pub reset: Duration,
    /// The rule's item in `RateLimit-Policy`, made when the rule was compiled.
    pub policy: HeaderValue,
    /// The limit as `X-RateLimit-Limit` tells it, made when the rule was compiled.
    pub limit_value: HeaderValue,
}

/// What the limiter said.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whether the request may go on.
    pub decision: Decision,
    /// Every counter asked, but for rules in shadow, of which clients are told nothing; the one
    /// that refused first (of several the one with the longest wait), else the one with the
    /// least left first.
    pub quotas: Vec<Quota>,
    /// Redis could not be asked for at least one rule.
    pub degraded: bool,
    /// The first rule in shadow that would have refused the request.
    pub shadowed: Option<Arc<str>>,
    /// Takes whose cost the service has yet to say, and where they were counted.
    pub receipts: Vec<Receipt>,
    /// The places that the request holds, for as long as this is kept.
    pub held: Held,
}

impl Outcome {
    /// The outcome of a request that no rule applies to.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self {
            decision: Decision::Allowed,
            quotas: Vec::new(),
            degraded: false,
            shadowed: None,
            receipts: Vec::new(),
            held: Held::nothing(),
        }
    }

    /// Adds `RateLimit`, `RateLimit-Policy` and `X-RateLimit-*` to a response.
    pub fn write_headers(&self, mut set: impl FnMut(HeaderName, HeaderValue)) {
        headers::write(&self.quotas, &mut set);
    }

    /// Notes that so much more of a rule was charged: there is so much less left, and another
    /// rule may now be the tightest.
    pub(super) fn note_charged(&mut self, name: &Arc<str>, amount: u64) {
        let charged = self.quotas.iter_mut().find(|quota| Arc::ptr_eq(&quota.name, name));
        if let Some(left) = charged.and_then(|quota| quota.remaining.as_mut()) {
            *left = left.saturating_sub(amount);
        }
        self.quotas.sort_by_key(|quota| quota.remaining.unwrap_or(u64::MAX));
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
