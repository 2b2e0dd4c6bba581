//! Whether what is kept answers a request: the rules of RFC 9111 section 4 on a route's terms.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pingora_cache::CacheMeta;

use super::purge::Verdict;
use super::rules::control::{AnswerControl, Fields, SECONDS_MAX};
use super::rules::reuse::{Stock, Use, decide};
use super::rules::targeted;
use super::{CachePlan, CachePolicy};
use crate::clock::Moment;

/// What to do with a kept answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It answers; it is fresh.
    Fresh,
    /// It answers although it is stale: the client puts up with that.
    Stale,
    /// It answers although it is stale, and is renewed beside that.
    Renew,
    /// The service is asked whether it is still the answer: it is stale since this moment.
    Expired(SystemTime),
    /// The same because the client or a purge wants it so: it must not be used unconfirmed.
    Confirm(Why),
    /// It counts for nothing.
    Gone,
    /// The client wants nothing but what is kept, and this is not what it wants.
    Refuse,
}

/// Who wants an answer confirmed that could be used as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The client.
    Request,
    /// The operator, or the service.
    Purge,
}

/// Decides about a kept answer at `now`; `verdict` is what the purges say of it.
#[must_use]
pub fn reuse(
    policy: &CachePolicy,
    plan: &CachePlan,
    meta: &CacheMeta,
    verdict: Verdict,
    now: Moment,
) -> Reuse {
    let stale_at = match verdict {
        Verdict::Gone | Verdict::Confirm if plan.wants.only_if_cached => return Reuse::Refuse,
        Verdict::Gone => return Reuse::Gone,
        Verdict::Confirm => return Reuse::Confirm(Why::Purge),
        Verdict::Stale(ms) => meta.fresh_until().min(UNIX_EPOCH + Duration::from_millis(ms)),
        Verdict::Keep => meta.fresh_until(),
    };
    let instant = UNIX_EPOCH + Duration::from_millis(now.unix_ms);
    let epoch = meta.epoch();
    let age = whole_seconds(instant, epoch);
    // A lifetime that ends within a second ends for all of it, or `Age` could exceed it unseen.
    let lifetime = whole_seconds(stale_at, epoch);
    let stock = Stock {
        age: if instant < stale_at {
            age.min(lifetime.saturating_sub(1))
        } else {
            age.max(lifetime)
        },
        lifetime,
        while_revalidate: meta.stale_while_revalidate_sec(),
        strict: plan.wants.max_stale.is_some() && is_strict(meta),
    };
    let wants = if policy.terms.heeds_client { plan.wants } else { plan.wants.as_ignored() };
    let fresh = instant < stale_at;
    match decide(stock, &wants, policy.terms.heeds_client) {
        Use::Fresh => Reuse::Fresh,
        Use::Stale => Reuse::Stale,
        Use::StaleWhileRevalidate => Reuse::Renew,
        Use::Confirm if fresh => Reuse::Confirm(Why::Request),
        Use::Confirm => Reuse::Expired(stale_at),
        Use::Refuse => Reuse::Refuse,
    }
}

/// Whether a kept answer must not be used stale, whatever a client would put up with.
fn is_strict(meta: &CacheMeta) -> bool {
    let control = targeted::read(meta.headers()).or_else(|| AnswerControl::of(meta.headers()));
    control.is_some_and(|control| {
        control.must_revalidate
            || control.proxy_revalidate
            || control.s_maxage.is_some()
            || control.no_cache == Fields::All
    })
}

fn whole_seconds(later: SystemTime, earlier: SystemTime) -> u32 {
    let seconds = later.duration_since(earlier).map_or(0, |since| since.as_secs());
    u32::try_from(seconds).map_or(SECONDS_MAX, |seconds| seconds.min(SECONDS_MAX))
}
