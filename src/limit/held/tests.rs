use super::super::local::Local;
use super::super::math::Reply;
use super::super::testing::{rule, take};
use super::super::{Decision, Limiter, Outcome};
use super::*;
use crate::clock::{Moment, Tick};
use crate::telemetry::Metrics;

const NOW: Moment = Moment { tick: Tick::from_nanos(1_000_000_000), unix_ms: 1_790_000_000_000 };

fn at_once(limit: u32, who: &str) -> Take {
    take(&rule("r", &format!("{{algorithm: concurrency, limit: {limit}, key: [clientIp]}}")), who)
}

fn limiter() -> (Limiter, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let limiter = Limiter::new(Arc::clone(&metrics));
    limiter.configure(None);
    (limiter, metrics)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn try_take(limiter: &Limiter, takes: &[Take]) -> Outcome {
    block_on(limiter.take(takes, NOW))
}

/// What waits to be released, by call.
fn released(settle: &Settle) -> Vec<u64> {
    let call = |due: &Due| match due {
        Due::Release { member, .. } => *member,
        other => panic!("{other:?}"),
    };
    settle.next(100).iter().map(call).collect()
}

#[test]
fn a_place_is_held_as_long_as_the_outcome_is_kept() {
    let (limiter, metrics) = limiter();
    let takes = [at_once(2, "a")];
    let (one, two) = (try_take(&limiter, &takes), try_take(&limiter, &takes));
    assert_eq!((one.quotas[0].remaining, two.quotas[0].remaining), (Some(1), Some(0)));
    let refused = try_take(&limiter, &takes);
    assert_eq!(refused.decision, Decision::Limited);
    assert_eq!(refused.quotas[0].reset, Duration::from_millis(PLACE_WAIT_MS));
    assert_eq!(metrics.limit_places_held.get(), 2);
    assert_eq!(try_take(&limiter, &[at_once(2, "b")]).decision, Decision::Allowed);

    let copy = one.clone();
    drop(one);
    assert_eq!(try_take(&limiter, &takes).decision, Decision::Limited, "a copy holds it too");
    drop(copy);
    let three = try_take(&limiter, &takes);
    assert_eq!(three.decision, Decision::Allowed);
    drop((two, three, refused));
    assert_eq!(metrics.limit_places_held.get(), 0);
    let empty = limiter.local.places.counts.iter().all(|part| part.lock().is_empty());
    assert!(empty, "nothing stays of keys that hold nothing");
    assert!(released(&limiter.settle).is_empty(), "Redis gave none of them");
}

#[test]
fn a_request_that_costs_more_holds_more() {
    let (limiter, metrics) = limiter();
    let wide = Take { cost: 3, ..at_once(4, "a") };
    let held = try_take(&limiter, std::slice::from_ref(&wide));
    assert_eq!(metrics.limit_places_held.get(), 3);
    assert_eq!(try_take(&limiter, &[wide]).decision, Decision::Limited);
    assert_eq!(try_take(&limiter, &[at_once(4, "a")]).decision, Decision::Allowed);
    drop(held);
    assert_eq!(metrics.limit_places_held.get(), 0);
}

#[test]
fn several_limits_give_all_or_nothing() {
    let (limiter, metrics) = limiter();
    let minute = take(&rule("m", "{limit: 2, window: 1m, key: [clientIp]}"), "a");
    let both = [at_once(1, "a"), minute.clone()];
    let held = try_take(&limiter, &both);
    assert_eq!(held.decision, Decision::Allowed);
    for _ in 0..5 {
        assert_eq!(try_take(&limiter, &both).decision, Decision::Limited);
    }
    drop(held);
    let last = try_take(&limiter, &both);
    assert_eq!(last.decision, Decision::Allowed, "refused requests took nothing of the window");
    drop(last);
    // And the other way round: the window refuses, no place is taken.
    assert_eq!(try_take(&limiter, &both).decision, Decision::Limited);
    assert_eq!(metrics.limit_places_held.get(), 0);
    assert_eq!(try_take(&limiter, &both[..1]).decision, Decision::Allowed);
}

#[test]
fn a_shadow_counts_what_it_has_and_refuses_nobody() {
    let (limiter, metrics) = limiter();
    let yaml = "{algorithm: concurrency, limit: 1, key: [clientIp], shadow: true}";
    let takes = [take(&rule("s", yaml), "a")];
    let kept: Vec<_> = (0..3).map(|_| try_take(&limiter, &takes)).collect();
    assert!(kept.iter().all(|outcome| outcome.decision == Decision::Allowed));
    assert_eq!(metrics.limit_places_held.get(), 1);
    assert_eq!(takes[0].rule.counts.shadow_local.get(), 2);
    drop(kept);
    assert_eq!(metrics.limit_places_held.get(), 0);
}

#[test]
fn a_nodes_share_is_never_less_than_one() {
    let local = Local::new(64, &Metrics::new().unwrap());
    let places = |nodes| {
        let takes = [at_once(10, &format!("{nodes}"))];
        (0..20).filter(|_| local.take(&takes, nodes, NOW)[0].allowed).count()
    };
    assert_eq!([1, 3, 10, 50].map(places), [10, 3, 1, 1]);
}

#[test]
fn never_more_than_the_limit_at_once_and_nothing_is_lost() {
    let (limiter, metrics) = limiter();
    let takes = [at_once(3, "x"), at_once(5, "y")];
    let (now, most, admitted) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (limiter, now, most, admitted) = (&limiter, &now, &most, &admitted);
            let mut takes = takes.to_vec();
            takes.rotate_left(n % 2);
            scope.spawn(move || {
                for _ in 0..500 {
                    let outcome = try_take(limiter, &takes);
                    if outcome.decision == Decision::Allowed {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        admitted.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert!(admitted.load(Ordering::SeqCst) >= 500, "{admitted:?}");
    assert_eq!(metrics.limit_places_held.get(), 0);
}

/// What Redis says of a place.
fn given(take: &Take, places: &Arc<Places>, settle: &Arc<Settle>) -> (Held, u64) {
    let mut asked = Asked::new(std::slice::from_ref(take), places, settle).unwrap();
    let call = asked.send();
    asked.answered();
    let mut held = Held::nothing();
    held.note(take, true);
    held.begin(asked);
    (held, call)
}

#[test]
fn what_redis_gave_is_counted_here_renewed_and_released() {
    let metrics = Metrics::new().unwrap();
    let local = Local::new(64, &metrics);
    let settle = Arc::new(Settle::new(prometheus::IntCounter::new("dropped", "dropped").unwrap()));
    let take = at_once(2, "a");
    let (one, first) = given(&take, &local.places, &settle);
    let (two, second) = given(&take, &local.places, &settle);
    assert_ne!(first, second);
    let renewed = || {
        let mut calls: Vec<_> = local.places.renewals().iter().map(|(_, call)| *call).collect();
        calls.sort_unstable();
        calls
    };
    assert_eq!(renewed(), [first, second]);
    // While Redis is away the node knows what is held.
    let Reply { allowed, .. } = local.take(std::slice::from_ref(&take), 1, NOW)[0];
    assert!(!allowed);
    drop(one);
    assert_eq!(released(&settle), [first]);
    assert_eq!(renewed(), [second]);
    drop(two);
    assert_eq!(released(&settle), [second]);
    assert!(renewed().is_empty());
    assert_eq!(metrics.limit_places_held.get(), 0);
}

#[test]
fn what_redis_may_have_given_unheard_is_released() {
    let metrics = Metrics::new().unwrap();
    let local = Local::new(64, &metrics);
    let settle = Arc::new(Settle::new(prometheus::IntCounter::new("dropped", "dropped").unwrap()));
    let minute = take(&rule("m", "{limit: 2, window: 1m, key: [clientIp]}"), "a");
    assert!(Asked::new(std::slice::from_ref(&minute), &local.places, &settle).is_none());
    let takes = [minute, at_once(2, "a")];
    // Never sent, or answered: nothing to release.
    drop(Asked::new(&takes, &local.places, &settle).unwrap());
    let mut asked = Asked::new(&takes, &local.places, &settle).unwrap();
    asked.send();
    asked.answered();
    drop(asked);
    assert!(released(&settle).is_empty());
    // Too late, or the request is gone.
    let mut asked = Asked::new(&takes, &local.places, &settle).unwrap();
    let call = asked.send();
    drop(asked);
    assert_eq!(released(&settle), [call]);
    // Too late, and then the node let it pass: that place is the node's.
    let mut asked = Asked::new(&takes, &local.places, &settle).unwrap();
    let call = asked.send();
    assert!(local.take(&takes[1..], 1, NOW)[0].allowed);
    let mut held = Held::nothing();
    held.note(&takes[1], false);
    held.begin(asked);
    assert_eq!(released(&settle), [call]);
    assert!(local.places.renewals().is_empty());
    assert_eq!(metrics.limit_places_held.get(), 1);
    drop(held);
    assert!(released(&settle).is_empty());
    assert_eq!(metrics.limit_places_held.get(), 0);
}
