mod leased;

use super::super::testing::{rule, take};
use super::*;
use crate::limit::LimitRule;
use crate::limit::answer::refusal;
use crate::limit::math::Reply;
use std::time::Duration;

fn limiter() -> (Limiter, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new().unwrap());
    (Limiter::new(Arc::clone(&metrics)), metrics)
}

/// Takes from a limiter that never has to wait.
fn take_now(limiter: &Limiter, takes: &[Take], ms: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(limiter.take(takes, at(ms)))
}

fn at(ms: u64) -> Moment {
    Moment { tick: Tick::from_nanos(ms * 1_000_000), unix_ms: 0 }
}

fn minute(limit: u32, mode: &str) -> Arc<LimitRule> {
    let yaml = format!("{{limit: {limit}, window: 1m, key: [clientIp], failureMode: {mode}}}");
    rule(&format!("{mode}-{limit}"), &yaml)
}

fn names(outcome: &Outcome) -> Vec<&str> {
    outcome.quotas.iter().map(|quota| &*quota.name).collect()
}

#[test]
fn no_rules_is_no_work() {
    assert_eq!(take_now(&limiter().0, &[], 0), Outcome::unlimited());
}

#[test]
fn without_redis_limits_count_here_in_full_and_are_not_degraded() {
    let (limiter, metrics) = limiter();
    limiter.configure(None);
    assert_eq!(metrics.limit_local.get(), 1);
    for mode in ["open", "closed", "local"] {
        let takes = [take(&minute(3, mode), "a")];
        let outcomes: Vec<_> = (0..5).map(|_| take_now(&limiter, &takes, 0)).collect();
        let allowed = outcomes.iter().filter(|o| o.decision == Decision::Allowed).count();
        assert_eq!(allowed, 3, "{mode}");
        assert!(outcomes.iter().all(|outcome| !outcome.degraded));
        let counts = &takes[0].rule.counts;
        assert_eq!((counts.allowed_local.get(), counts.limited_local.get()), (3, 2));
    }
}

#[test]
fn the_tightest_rule_comes_first() {
    let (limiter, _) = limiter();
    let takes = [take(&minute(9, "local"), "a"), take(&minute(2, "local"), "a")];
    let outcome = take_now(&limiter, &takes, 0);
    assert_eq!(names(&outcome), ["local-2", "local-9"]);
    assert_eq!(outcome.quotas[0].remaining, Some(1));
    take_now(&limiter, &takes, 0);
    let refused = take_now(&limiter, &takes, 0);
    assert_eq!(refused.decision, Decision::Limited);
    assert_eq!(names(&refused), ["local-2", "local-9"]);
    assert_eq!(refused.quotas[0].remaining, Some(0));
    assert_eq!(refused.quotas[1].remaining, Some(7), "nothing was taken from it");
    assert_eq!(takes[0].rule.counts.allowed_local.get(), 2, "it decided nothing the third time");
}

#[test]
fn of_several_refusals_the_longest_wait_comes_first() {
    let takes = [take(&minute(1, "local"), "a"), take(&minute(2, "local"), "a")];
    let reply = |reset_ms| Reply { allowed: false, taken: 0, remaining: 0, reset_ms, epoch_ms: 0 };
    let answers = [5, 500].map(|ms| (Source::Redis, Some(reply(ms))));
    assert_eq!(names(&conclude(&takes, &answers)), ["local-2", "local-1"]);
    let known = refusal(Duration::from_nanos(2_999_999_999));
    let answers = [(Source::Nobody, None), (Source::Redis, Some(known))];
    let known = conclude(&takes, &answers);
    assert_eq!(names(&known), ["local-2", "local-1"]);
    assert_eq!(known.quotas[1].remaining, None);
    assert_eq!(known.reject().unwrap().retry_after_seconds(), Some(3));
}

/// Settings that lead nowhere: every call fails at once, without a network.
fn nowhere(url: &str) -> link::Settings {
    link::Settings { expected_nodes: 2, failures: 2, ..link::Settings::server(url, "test") }
}

#[test]
fn without_an_answer_each_rule_goes_by_its_failure_mode() {
    let (limiter, metrics) = limiter();
    limiter.configure(Some(&nowhere("nowhere")));
    assert_eq!(metrics.limit_local.get(), 0);

    let open = take_now(&limiter, &[take(&minute(1, "open"), "a")], 0);
    assert_eq!((open.decision, open.degraded), (Decision::Allowed, true));
    assert_eq!(open.quotas[0].remaining, None, "R069: no number");
    assert_eq!(metrics.limit_local.get(), 1);

    let local = [take(&minute(10, "local"), "a"), take(&minute(1, "open"), "a")];
    let outcomes: Vec<_> = (0..10).map(|_| take_now(&limiter, &local, 0)).collect();
    let allowed = outcomes.iter().filter(|o| o.decision == Decision::Allowed).count();
    assert_eq!(allowed, 5, "one node's share of two");
    assert!(outcomes.iter().all(|outcome| outcome.degraded));
    assert_eq!(local[1].rule.counts.allowed_open.get(), 5);

    let closed = [take(&minute(9, "local"), "b"), take(&minute(1, "closed"), "b")];
    let refused = take_now(&limiter, &closed, 10_000);
    assert_eq!((refused.decision.clone(), refused.degraded), (Decision::Unavailable, true));
    assert_eq!(names(&refused), ["closed-1", "local-9"]);
    assert_eq!(refused.reject().unwrap().retry_after_seconds(), Some(20), "the breaker's rest");
    assert_eq!(closed[1].rule.counts.unavailable.get(), 1);
    assert_eq!(closed[0].rule.counts.allowed_local.get(), 0);
}

#[test]
fn the_breaker_bounds_the_calls() {
    let (limiter, metrics) = limiter();
    limiter.configure(Some(&nowhere("nowhere")));
    let takes = [take(&minute(1, "open"), "a")];
    (0..50).for_each(|_| drop(take_now(&limiter, &takes, 0)));
    assert_eq!(metrics.limit_redis_failures.get(), 2);
    assert_eq!(metrics.limit_breaker_open.get(), 1);
    (0..50).for_each(|_| drop(take_now(&limiter, &takes, 30_000)));
    assert_eq!(metrics.limit_redis_failures.get(), 3, "one probe");
    // The same settings again keep the breaker; other settings and none start afresh.
    limiter.configure(Some(&nowhere("nowhere")));
    take_now(&limiter, &takes, 31_000);
    assert_eq!(metrics.limit_redis_failures.get(), 3);
    limiter.configure(Some(&nowhere("elsewhere")));
    assert_eq!(metrics.limit_breaker_open.get(), 0);
    take_now(&limiter, &takes, 31_000);
    assert_eq!(metrics.limit_redis_failures.get(), 4);
    limiter.configure(None);
    assert!(!take_now(&limiter, &takes, 31_000).degraded);
}
