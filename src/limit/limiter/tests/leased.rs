//! Leases against a real Redis. The nodes are told how many they are; time is counted by hand, so
//! that nothing depends on how busy the machine is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_kit::{Outcome as Done, Redis, Result};

use super::{Limiter, at};
use crate::limit::testing::{rule, take};
use crate::limit::{Decision, LimitRule, Take};
use crate::link;
use crate::telemetry::Metrics;

const HOURLY: &str = "{limit: 1000, window: 1h, key: [clientIp], failureMode: closed}";

/// A node of a fleet of this size, patient with a busy machine.
fn node(redis: &Redis, lenders: u32) -> (Limiter, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let limiter = Limiter::new(Arc::clone(&metrics));
    let settings = link::Settings {
        timeout: Duration::from_secs(20),
        ..link::Settings::server(&redis.url(), "test")
    };
    limiter.configure(Some(&settings));
    let shared = limiter.shared.load_full().unwrap();
    shared.lenders_told.store(lenders, Ordering::Relaxed);
    (limiter, metrics)
}

fn held(limiter: &Limiter, take: &Take) -> u64 {
    limiter.shared.load().as_ref().unwrap().leases.held(&take.key).0
}

async fn passes(limiter: &Limiter, takes: &[Take], ms: u64) -> bool {
    let outcome = limiter.take(takes, at(ms)).await;
    assert!(!outcome.degraded);
    // Lets a call for more go on, as it does beside a request.
    tokio::task::yield_now().await;
    outcome.decision == Decision::Allowed
}

/// How often Redis ran a script.
async fn calls(redis: &Redis) -> Result<u64> {
    let text = redis.query(&["INFO", "commandstats"]).await?.texts().concat();
    let calls = text.split("cmdstat_evalsha:calls=").nth(1).unwrap_or("0");
    Ok(calls.split(',').next().unwrap_or_default().parse().unwrap_or(0))
}

/// A node that holds tokens of this rule at `ms`.
async fn warm(limiter: &Limiter, rule: &Arc<LimitRule>, ms: u64) -> Take {
    let take = take(rule, "a");
    for n in 0..200 {
        assert!(passes(limiter, std::slice::from_ref(&take), ms - 200 + n).await);
        if held(limiter, &take) > 9 {
            return take;
        }
    }
    panic!("no lease after 200 requests");
}

#[tokio::test]
async fn a_busy_key_needs_few_calls_and_gets_its_limit_to_the_last_token() -> Done {
    let redis = Redis::start().await?;
    let (limiter, metrics) = node(&redis, 1);
    let takes = [take(&rule("hourly", HOURLY), "a")];
    let (mut passed, mut left) = (0, u64::MAX);
    for n in 0..200 {
        passed += u64::from(passes(&limiter, &takes, 1_000 + n * 5).await);
    }
    assert_eq!(passed, 200);
    let after_200 = calls(&redis).await?;
    assert!(after_200 < 40, "{after_200} calls for 200 requests");
    for n in 200..1_200 {
        let outcome = limiter.take(&takes, at(1_000 + n * 5)).await;
        let remaining = outcome.quotas[0].remaining.unwrap();
        assert!(remaining <= left, "R058: {remaining} after {left}");
        left = remaining;
        passed += u64::from(outcome.decision == Decision::Allowed);
        tokio::task::yield_now().await;
    }
    assert_eq!((passed, left), (1_000, 0));
    let counts = &takes[0].rule.counts;
    assert!(counts.allowed_lease.get() > 800, "{}", counts.allowed_lease.get());
    assert_eq!(counts.allowed_lease.get() + counts.allowed_redis.get(), 1_000);
    assert_eq!(counts.limited_redis.get(), 200);
    assert!(metrics.limit_lease_calls.with_label_values(&["granted"]).get() > 5);
    Ok(())
}

#[tokio::test]
async fn several_nodes_pass_the_limit_by_no_more_than_they_may_hold() -> Done {
    let redis = Redis::start().await?;
    let nodes = [(); 4].map(|()| node(&redis, 4).0);
    let takes = [take(&rule("hourly", HOURLY), "a")];
    let mut random = fastrand::Rng::with_seed(64);
    let mut passed = 0;
    for n in 0..2_000 {
        // Most of the traffic comes to the first node.
        let node = &nodes[random.usize(0..4) * random.usize(0..2)];
        passed += u64::from(passes(node, &takes, 1_000 + n).await);
    }
    assert!(passed <= 1_050, "{passed}");
    let stranded: u64 = nodes.iter().map(|node| held(node, &takes[0])).sum();
    assert_eq!(passed + stranded, 1_000, "every token was admitted or is held");
    Ok(())
}

#[tokio::test]
async fn what_was_paid_for_comes_back_when_another_counter_refuses() -> Done {
    let redis = Redis::start().await?;
    let (limiter, _) = node(&redis, 1);
    let leased = warm(&limiter, &rule("hourly", HOURLY), 5_000).await;
    let exact = rule("exact", "{limit: 3, window: 1h, key: [clientIp], mode: exact}");
    let takes = [leased.clone(), take(&exact, "a")];
    let before = held(&limiter, &leased);
    for n in 0..3 {
        assert!(passes(&limiter, &takes, 5_000 + n).await);
    }
    assert_eq!(held(&limiter, &leased), before - 3);
    for n in 0..3 {
        assert!(!passes(&limiter, &takes, 5_003 + n).await, "asked once, known afterwards");
    }
    assert_eq!(held(&limiter, &leased), before - 3);
    assert_eq!(exact.counts.allowed_lease.get(), 0);
    Ok(())
}

#[tokio::test]
async fn without_redis_a_lease_is_spent_until_it_expires() -> Done {
    let mut redis = Redis::start().await?;
    let (limiter, _) = node(&redis, 1);
    let takes = [warm(&limiter, &rule("hourly", HOURLY), 5_000).await];
    redis.kill().await?;
    let before = held(&limiter, &takes[0]);
    assert!(passes(&limiter, &takes, 5_001).await);
    assert_eq!(held(&limiter, &takes[0]), before - 1);
    let outcome = limiter.take(&takes, at(6_500)).await;
    assert_eq!((outcome.decision, outcome.degraded), (Decision::Unavailable, true));
    Ok(())
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() -> Done {
    let redis = Redis::start().await?;
    let (limiter, _) = node(&redis, 1);
    let leased = warm(&limiter, &rule("hourly", HOURLY), 5_000).await;
    let other = take(&rule("other", HOURLY), "a");
    let (before, takes) = (held(&limiter, &leased), [leased.clone(), other]);
    redis.freeze()?;
    {
        let mut request = std::pin::pin!(limiter.take(&takes, at(5_001)));
        let waits = futures_util::poll!(request.as_mut()).is_pending();
        assert!(waits);
        assert_eq!(held(&limiter, &leased), before - 1);
    }
    assert_eq!(held(&limiter, &leased), before);
    redis.thaw()?;
    Ok(())
}

#[tokio::test]
async fn a_shadow_that_would_refuse_is_named_and_refuses_nothing() -> Done {
    let redis = Redis::start().await?;
    let (limiter, _) = node(&redis, 1);
    let shadow = rule("shadow", "{limit: 1, window: 1h, key: [clientIp], shadow: true}");
    let takes = [take(&rule("hourly", HOURLY), "a"), take(&shadow, "a")];
    for (n, named) in [None, Some("shadow"), Some("shadow")].into_iter().enumerate() {
        let outcome = limiter.take(&takes, at(1_000 + n as u64)).await;
        assert_eq!(outcome.decision, Decision::Allowed);
        assert_eq!(outcome.shadowed.as_deref(), named);
        assert_eq!(outcome.quotas.len(), 1, "clients are told nothing of it");
    }
    assert_eq!((shadow.counts.allowed_redis.get(), shadow.counts.shadow_redis.get()), (1, 2));
    Ok(())
}

#[tokio::test]
async fn who_leaves_has_given_everything_back() -> Done {
    let redis = Redis::start().await?;
    let (limiter, metrics) = node(&redis, 1);
    let take = warm(&limiter, &rule("hourly", HOURLY), 5_000).await;
    while limiter.shared.load_full().unwrap().leases.is_called_for(&take) {
        tokio::task::yield_now().await;
    }
    let (spent, before) = (take.rule.counts.allowed_lease.get(), held(&limiter, &take));
    let called = take.rule.counts.allowed_redis.get();
    let old = limiter.shared.load_full().unwrap();
    assert_eq!(limiter.stands(&take, None, at(5_000)).held, Some(before));

    // Another Redis is configured: what the old one gave goes back to that, and nowhere else.
    let other = Redis::start().await?;
    limiter.configure(Some(&link::Settings::server(&other.url(), "test")));
    limiter.leave(&old, &|| at(5_000)).await;
    assert_eq!(metrics.limit_settle_dropped.get(), 0);
    let used = old.background.peek(&take, at(5_000)).await.unwrap().used;
    assert_eq!(used, spent + called);
    assert_eq!(other.query(&["DBSIZE"]).await?.number(), Some(0));
    let new = limiter.shared.load_full().unwrap();
    new.lenders_told.store(1, Ordering::Relaxed);
    let ask = (0..200).map(|n| new.ask(&take, 1, at(5_000 + n).tick).want).max();
    assert!(ask > Some(1), "the new one lends");
    Ok(())
}

#[tokio::test]
async fn what_is_held_of_a_counter_that_starts_afresh_is_forgotten() -> Done {
    let redis = Redis::start().await?;
    let (limiter, _) = node(&redis, 1);
    let take = warm(&limiter, &rule("hourly", HOURLY), 5_000).await;
    limiter.reset(&take).await;
    assert_eq!(held(&limiter, &take), 0);
    let stands = limiter.look(&take, at(5_000)).await;
    assert_eq!((stands.held, stands.redis.unwrap().unwrap().used), (None, 0));
    Ok(())
}

#[tokio::test]
async fn on_the_way_out_what_is_held_is_left_to_be_given_back() -> Done {
    let redis = Redis::start().await?;
    let (limiter, metrics) = node(&redis, 1);
    let takes = [warm(&limiter, &rule("hourly", HOURLY), 5_000).await];
    let before = held(&limiter, &takes[0]);
    limiter.shared.load().as_ref().unwrap().give_back_all(at(5_000).tick);
    assert_eq!(held(&limiter, &takes[0]), 0);
    assert_eq!(metrics.limit_lease_given_back.get(), before);
    assert_eq!(limiter.settle.next(9).len(), 1);
    for n in 0..50 {
        assert!(passes(&limiter, &takes, 5_001 + n).await);
    }
    assert_eq!(held(&limiter, &takes[0]), 0, "nothing is taken in advance any more");
    Ok(())
}
