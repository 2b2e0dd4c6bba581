//! From the answers for each rule to the outcome of a request.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::math::Reply;
use super::{Decision, Held, LimitRule, Outcome, Quota, Receipt, Take};

/// Who answered for a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Redis,
    Local,
    /// What this node holds in advance.
    Lease,
    /// Nobody, and the rule fails open.
    Open,
    /// Nobody: another rule has refused the request already.
    Nobody,
}

/// The answer for a rule, and whose it is.
pub(super) type Answer = (Source, Option<Reply>);

/// One for each take of a request.
pub(super) type Answers = SmallVec<[Answer; 2]>;

/// The answer of a counter that is known to have not enough for so long.
pub(super) fn refusal(wait: Duration) -> Reply {
    // Rounded up, so that nobody is told to come too early.
    let reset_ms = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    Reply { allowed: false, taken: 0, remaining: 0, reset_ms, epoch_ms: 0 }
}

/// Puts the answers for all rules of a request together, and counts them.
pub(super) fn conclude(takes: &[Take], answers: &[Answer]) -> Outcome {
    let refuses = |reply: &Option<Reply>| reply.is_some_and(|reply| !reply.allowed);
    let both = || takes.iter().zip(answers);
    let limited = both().any(|(take, (_, reply))| !take.rule.shadow && refuses(reply));
    let mut shadowed = None;
    let mut quotas = Quotas::with_capacity(answers.len());
    for (take, (source, reply)) in both() {
        count(&take.rule, *source, refuses(reply), limited);
        if !take.rule.shadow {
            quotas.push((refuses(reply), quota(take, *reply)));
        } else if refuses(reply) && shadowed.is_none() {
            shadowed = Some(Arc::clone(&take.rule.name));
        }
    }
    let decision = if limited { Decision::Limited } else { Decision::Allowed };
    let mut held = Held::nothing();
    let mut receipts = Vec::new();
    for (at, (take, (source, reply))) in both().enumerate().filter(|_| !limited) {
        if matches!(source, Source::Redis | Source::Local) && !refuses(reply) {
            held.note(take, *source == Source::Redis);
        }
        receipts.extend(Receipt::of(at, take, *source == Source::Local, *reply));
    }
    Outcome { decision, quotas: order(quotas), degraded: false, shadowed, receipts, held }
}

/// Counts a rule's decision. A rule that had enough in a request that another refused decided
/// nothing: nothing was taken.
fn count(rule: &LimitRule, source: Source, refused: bool, limited: bool) {
    let counts = &rule.counts;
    match (source, refused, limited) {
        (Source::Local, true, _) if rule.shadow => counts.shadow_local.inc(),
        (_, true, _) if rule.shadow => counts.shadow_redis.inc(),
        (Source::Local, true, _) => counts.limited_local.inc(),
        (_, true, _) => counts.limited_redis.inc(),
        (_, false, true) | (Source::Nobody, ..) => {}
        (Source::Redis, false, false) => counts.allowed_redis.inc(),
        (Source::Local, false, false) => counts.allowed_local.inc(),
        (Source::Lease, false, false) => counts.allowed_lease.inc(),
        (Source::Open, false, false) => counts.allowed_open.inc(),
    }
}

/// Whether a rule refused, and what is told of it.
pub(super) type Quotas = SmallVec<[(bool, Quota); 2]>;

/// What is told of a rule.
pub(super) fn quota(take: &Take, reply: Option<Reply>) -> Quota {
    let tier = take.tier();
    Quota {
        name: Arc::clone(&take.rule.name),
        limit: tier.limit,
        window_s: tier.window_s,
        remaining: reply.map(|reply| reply.remaining),
        reset: Duration::from_millis(reply.map_or(0, |reply| reply.reset_ms)),
        policy: tier.policy.clone(),
        limit_value: tier.limit_value.clone(),
    }
}

/// Refusals first, the longest wait in front, because a client that waits for less comes in
/// vain; then what has the least left; last what nobody counted.
pub(super) fn order(mut quotas: Quotas) -> Vec<Quota> {
    if quotas.len() > 1 {
        quotas.sort_by_key(|(refused, quota)| {
            let left = if *refused { 0 } else { quota.remaining.unwrap_or(u64::MAX) };
            (!refused, left, Reverse(quota.reset))
        });
    }
    quotas.into_iter().map(|(_, quota)| quota).collect()
}
