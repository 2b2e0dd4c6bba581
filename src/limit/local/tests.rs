use std::sync::Arc;
use std::time::Duration;

use super::super::LimitRule;
use super::super::testing::{rule, take};
use super::*;
use crate::clock::Tick;

fn local(keys: usize) -> Local {
    Local::new(keys, &Metrics::new().unwrap())
}

fn minute(limit: u32, name: &str) -> Arc<LimitRule> {
    rule(name, &format!("{{limit: {limit}, window: 1m, key: [clientIp]}}"))
}

fn at(ms: u64) -> Moment {
    Moment { tick: Tick::from_nanos(ms * 1_000_000), unix_ms: 1_790_000_000_000 + ms }
}

/// How many of `tries` requests are admitted.
fn admitted(local: &Local, takes: &[Take], tries: usize, now: Moment) -> usize {
    (0..tries).filter(|_| allowed(&local.take(takes, 1, now))).count()
}

/// One request from each of so many keys; says how many were admitted.
fn flood(local: &Local, rule: &Arc<LimitRule>, keys: u128, now: Moment) -> u128 {
    let mut take = take(rule, "flood");
    let mut all = 0;
    for n in 0..keys {
        take.key = CounterKey::numbered((n << 64) | 0xf100d);
        all += u128::from(allowed(&local.take(std::slice::from_ref(&take), 1, now)));
    }
    all
}

/// Evicted: cold, limited, lost.
fn evicted(local: &Local) -> [u64; 3] {
    [local.evicted.cold.get(), local.evicted.limited.get(), local.evicted.lost.get()]
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
}

#[test]
fn another_number_of_nodes_changes_the_share_and_keeps_what_was_used() {
    for yaml in [
        "{limit: 100, window: 1m, key: [clientIp]}",
        "{algorithm: token_bucket, capacity: 100, refillPerSecond: 0.01, key: [clientIp]}",
    ] {
        let (local, rule) = (local(1_000), rule("r", yaml));
        let takes = [take(&rule, "a")];
        for left in (0..25).rev() {
            assert_eq!(local.take(&takes, 4, at(0))[0].remaining, left);
        }
        assert!(!allowed(&local.take(&takes, 4, at(0))));
        let more = (0..100).filter(|_| allowed(&local.take(&takes, 2, at(0)))).count();
        assert_eq!(more, 25, "{yaml}");
    }
}

#[test]
fn memory_is_bounded_and_newcomers_are_served() {
    // R063, in small: `make flood` does it with ten million.
    let local = local(1_024);
    let rule = minute(5, "r");
    assert_eq!(flood(&local, &rule, 100_000, at(0)), 100_000);
    let stored: usize = local.tables.iter().map(|table| table.lock().len()).sum();
    assert_eq!((stored, local.keys.get()), (1_024, 1_024));
    let [cold, limited, lost] = evicted(&local);
    assert_eq!((cold, limited, lost), (100_000 - 1_024, 0, 0));
    assert_eq!(local.overflow.filled(), 0, "single requests are not remembered");
}

#[test]
fn who_is_used_up_stays_so_through_a_flood() {
    // R012: tenant b's keys survive a flood of tenant a's.
    let local = local(4_096);
    let (a, b) = (minute(5, "a"), minute(3, "b"));
    let ours: Vec<[Take; 1]> = (0..500).map(|n| [take(&b, &n.to_string())]).collect();
    assert!(ours.iter().all(|takes| admitted(&local, takes, 5, at(0)) == 3));
    assert_eq!(flood(&local, &a, 200_000, at(1)), 200_000);
    assert!(ours.iter().all(|takes| admitted(&local, takes, 2, at(2)) == 0));
    assert_eq!(evicted(&local)[1..], [0, 0], "none of them had to go");
}

#[test]
fn a_flood_washes_no_budget() {
    // Room for one key in each table, so each of these is pushed out.
    for (yaml, most) in [
        ("{limit: 100, window: 1h, key: [clientIp]}", 50),
        ("{algorithm: token_bucket, capacity: 100, refillPerSecond: 0.001, key: [clientIp]}", 50),
    ] {
        let local = local(1);
        let rule = rule("r", yaml);
        let half: Vec<[Take; 1]> = (0..50).map(|n| [take(&rule, &n.to_string())]).collect();
        for takes in &half {
            assert_eq!(admitted(&local, takes, 50, at(0)), 50);
        }
        assert_eq!(flood(&local, &rule, 1_000, at(0)), 1_000);
        for takes in &half {
            let more = admitted(&local, takes, 100, at(10));
            assert!((most - 1..=most).contains(&more), "{yaml}: {more}");
        }
        // And once more, now that they are used up: all that could go are.
        flood(&local, &rule, 1_000, at(20));
        assert!(half.iter().all(|takes| admitted(&local, takes, 1, at(30)) == 0));
        assert_eq!(evicted(&local)[2], 0, "{yaml}: nobody was forgotten");
        assert!(evicted(&local)[1] > 0, "{yaml}");
    }
}

#[test]
fn where_all_are_used_up_the_bound_holds_and_what_is_lost_is_counted() {
    let local = local(1_024);
    let once = minute(1, "once");
    let keys = 50_000;
    let served = flood(&local, &once, keys, at(0));
    // Newcomers are served but for the few that the sketch mistakes for others.
    assert!(served > keys * 99 / 100, "{served}");
    assert_eq!(local.keys.get(), 1_024);
    let [cold, limited, lost] = evicted(&local);
    assert_eq!(cold, 0);
    // As many as a page keeps, and those whose counts had been there by chance.
    assert!((8_192..8_400).contains(&limited), "{limited}");
    assert!(u128::from(limited + lost) <= keys && lost > 40_000 - 1_024, "{lost}");
    // Who is remembered is refused still: 8,192 in the sketch, 1,024 here.
    let refused = keys - flood(&local, &once, keys, at(1));
    assert!(refused >= 8_192, "{refused}");
}

/// Bytes of memory that this process uses.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

/// R063: with as many keys as are counted by default, and then ten million (`make flood`).
#[test]
fn a_flood_of_distinct_keys_fits() {
    const KEYS: usize = 262_144;
    let flooded = std::env::var("TIDEGATE_FLOOD_KEYS").ok().and_then(|keys| keys.parse().ok());
    let flooded: u128 = flooded.unwrap_or(400_000);
    let (local, rule) = (local(KEYS), minute(100, "r"));
    let used_up = [Take { cost: 100, ..take(&rule, "used up") }];
    assert!(allowed(&local.take(&used_up, 1, at(0))));
    let before = resident_bytes();
    flood(&local, &rule, KEYS as u128, at(0));
    let filled = resident_bytes().saturating_sub(before);
    let began = crate::clock::now().tick;
    assert_eq!(flood(&local, &rule, flooded, at(1_000)), flooded);
    let each_ns = crate::clock::now().tick.since(began).as_nanos() / flooded;
    let after = resident_bytes().saturating_sub(before);
    assert_eq!(admitted(&local, &used_up, 1, at(2_000)), 0);
    assert!(local.keys.get() <= i64::try_from(KEYS).unwrap());
    println!(
        "{flooded} keys: {KEYS} of them counted take {} bytes each; {} MiB after all, {each_ns} ns \
         each",
        filled / KEYS as u64,
        after >> 20,
    );
}

#[test]
fn idle_keys_make_room_for_new_ones() {
    let local = local(64);
    let rule = minute(5, "r");
    assert_eq!(flood(&local, &rule, 1_000, at(0)), 1_000);
    // Two windows later nothing of it matters any more.
    let late = at(0).plus(Duration::from_mins(2));
    assert_eq!(admitted(&local, &[take(&rule, "new")], 50, late), 5);
}

#[test]
fn a_refused_request_leaves_everything_as_it_was() {
    let local = local(1_000);
    let (wide, narrow) = (minute(100, "wide"), minute(1, "narrow"));
    let both = [take(&wide, "a"), take(&narrow, "a")];
    assert!(allowed(&local.take(&both, 1, at(0))));
    assert_eq!(admitted(&local, &both, 50, at(0)), 0);
    assert_eq!(local.keys.get(), 2);
    let other = [take(&wide, "b"), take(&narrow, "a")];
    assert!(!allowed(&local.take(&other, 1, at(0))));
    assert_eq!(local.keys.get(), 2, "a key from which nothing was taken needs no place");
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
