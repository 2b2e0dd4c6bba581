use std::sync::Arc;
use std::time::Duration;

use super::super::LimitRule;
use super::super::testing::{rule, take};
use super::*;

fn local(capacity: usize) -> Local {
    Local::with_capacity(capacity, IntGauge::new("keys", "keys").unwrap())
}

fn minute(limit: u32, name: &str) -> Arc<LimitRule> {
    rule(name, &format!("{{limit: {limit}, window: 1m, key: [clientIp]}}"))
}

fn at(ms: u64) -> Tick {
    Tick::from_nanos(ms * 1_000_000)
}

fn allowed(replies: &[Reply]) -> bool {
    replies.iter().all(|reply| reply.allowed)
}

#[test]
fn keys_are_counted_apart_and_exactly() {
    let local = local(1_000);
    let rule = minute(3, "r");
    for who in ["a", "b"] {
        let admitted = (0..10).filter(|_| allowed(&local.take(&[take(&rule, who)], 1, at(0))));
        assert_eq!(admitted.count(), 3);
    }
    assert_eq!(local.keys.get(), 2);
    assert!(local.take::<Take>(&[], 1, at(0)).is_empty());
}

#[test]
fn several_counters_give_all_or_nothing() {
    let local = local(1_000);
    let (wide, narrow) = (minute(10, "wide"), minute(2, "narrow"));
    let both = [take(&wide, "a"), take(&narrow, "a")];
    for left in [(9, 1), (8, 0)] {
        let replies = local.take(&both, 1, at(0));
        assert!(allowed(&replies));
        assert_eq!((replies[0].remaining, replies[1].remaining), left);
    }
    for _ in 0..20 {
        let replies = local.take(&both, 1, at(0));
        assert!(replies[0].allowed && !replies[1].allowed);
        assert_eq!(replies[0].remaining, 8, "a refused request took nothing");
    }
    assert_eq!(local.take(&both[..1], 1, at(0))[0].remaining, 7);
}

#[test]
fn each_node_enforces_its_share() {
    // R071: four nodes together admit the limit.
    let rule = minute(100, "r");
    let fleet: usize = (0..4)
        .map(|_| {
            let local = local(1_000);
            (0..100).filter(|_| allowed(&local.take(&[take(&rule, "a")], 4, at(0)))).count()
        })
        .sum();
    assert_eq!(fleet, 100);
    let local = local(1_000);
    assert_eq!(local.take(&[take(&rule, "a")], 4, at(0))[0].remaining, 24);
    assert_eq!(local.take(&[take(&rule, "a")], 1, at(0))[0].remaining, 99, "another share");
}

#[test]
fn memory_is_bounded_and_the_rest_is_estimated() {
    // R063, in small.
    let local = local(64);
    let rule = minute(5, "r");
    let keys: Vec<Take> = (0..10_000).map(|n| take(&rule, &n.to_string())).collect();
    for key in keys.chunks(1) {
        assert!(allowed(&local.take(key, 1, at(0))));
    }
    let stored: usize = (0..64).map(|index| local.exact.lock(index).unwrap().len()).sum();
    assert_eq!(stored, 64);
    assert_eq!(local.keys.get(), 64);
    // A key without a place of its own is still limited: nobody is unlimited.
    let late = [take(&rule, "late")];
    let admitted = (0..50).filter(|_| allowed(&local.take(&late, 1, at(1)))).count();
    assert!((1..=5).contains(&admitted), "{admitted}");
}

#[test]
fn idle_keys_make_room_for_new_ones() {
    let local = local(64);
    let rule = minute(5, "r");
    for n in 0..1_000 {
        local.take(&[take(&rule, &n.to_string())], 1, at(0));
    }
    // Two windows later nothing of it matters any more.
    let late = at(0).plus(Duration::from_mins(2));
    let new = [take(&rule, "new")];
    let admitted = (0..50).filter(|_| allowed(&local.take(&new, 1, late))).count();
    assert_eq!(admitted, 5);
    assert!(local.keys.get() < 64);
}

#[test]
fn concurrent_takes_admit_the_limit_and_do_not_block_each_other() {
    let local = local(1_000);
    let rules = [minute(500, "x"), minute(600, "y"), minute(700, "z")];
    let admitted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let (local, rules) = (&local, &rules);
                scope.spawn(move || {
                    let mut takes: Vec<Take> = rules.iter().map(|r| take(r, "k")).collect();
                    takes.rotate_left(n % 3);
                    (0..300).filter(|_| allowed(&local.take(&takes, 1, at(0)))).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(admitted, 500);
}
