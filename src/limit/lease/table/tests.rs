use super::*;
use crate::limit::testing::{rule, take};

fn at(ms: u64) -> Tick {
    Tick::from_nanos(ms * 1_000_000)
}

fn takes(count: usize) -> Vec<Take> {
    let rule = rule("r", "{limit: 1000, window: 1h, key: [clientIp], overage: 10%}");
    (0..count).map(|n| take(&rule, &n.to_string())).collect()
}

/// Leases that hold `got` tokens of each of these keys from `ms` on.
fn leases(keys: usize, takes: &[Take], got: u64, ms: u64) -> (Leases, Metrics) {
    let metrics = Metrics::new().unwrap();
    let leases = Leases::with_capacity(keys, 0, &metrics);
    for take in takes {
        let reply = Reply { allowed: true, taken: got, remaining: 9, reset_ms: 0, epoch_ms: 5 };
        (0..2 * got).for_each(|_| drop(leases.ask(take, 1, at(ms), 0)));
        assert_eq!(leases.ask(take, 0, at(ms), got).0, got);
        leases.granted(take, 0, &reply);
    }
    (leases, metrics)
}

#[test]
fn a_request_is_paid_for_by_all_its_counters_or_waits() {
    let takes = takes(3);
    let (leases, _) = leases(1_000, &takes[..2], 4, 1_000);
    let paid = |takes: &[Take]| {
        let spent = leases.spend(takes, at(1_000));
        spent.replies.iter().map(Option::is_some).collect::<Vec<_>>()
    };
    assert_eq!(paid(&takes[..2]), [true, true]);
    assert_eq!((leases.held(&takes[0].key).0, leases.held(&takes[1].key).0), (3, 3));
    assert_eq!(paid(&takes), [true, true, false]);
    leases.put_back(&takes[0]);
    leases.keep(&takes[1]);
    leases.put_back(&takes[2]);
    assert_eq!((leases.held(&takes[0].key).0, leases.held(&takes[1].key).0), (3, 2));
    // Nothing waits any more: what was decided cannot be put back.
    leases.put_back(&takes[0]);
    leases.put_back(&takes[1]);
    assert_eq!((leases.held(&takes[0].key).0, leases.held(&takes[1].key).0), (3, 2));
}

#[test]
fn a_full_table_leaves_new_keys_exact_until_others_are_idle() {
    let takes = takes(2_000);
    let (leases, _) = leases(128, &[], 0, 0);
    for take in &takes {
        leases.ask(take, 1, at(0), 50);
    }
    assert!(leases.keys() <= 128, "{}", leases.keys());
    let late = &takes[1_999];
    for _ in 0..50 {
        assert_eq!(leases.ask(late, 1, at(10), 50).0, 0);
    }
    leases.sweep(at(1_999), false, |_| {});
    assert!(leases.keys() > 0);
    leases.sweep(at(2_000), false, |_| {});
    assert_eq!(leases.keys(), 0);
    (0..50).for_each(|_| drop(leases.ask(late, 1, at(2_000), 0)));
    assert!(leases.ask(late, 1, at(2_000), 50).0 > 0);
}

#[test]
fn what_expired_is_given_back_and_counted() {
    let takes = takes(3);
    let (leases, metrics) = leases(1_000, &takes, 6, 1_000);
    let mut dues = Vec::new();
    leases.sweep(at(1_500), false, |due| dues.push(due));
    assert!(dues.is_empty());
    assert_eq!((metrics.limit_leases.get(), metrics.limit_lease_tokens.get()), (3, 18));
    leases.sweep(at(2_000), false, |due| dues.push(due));
    assert_eq!(dues.len(), 3);
    for due in &dues {
        let Due::GiveBack { amount, epoch_ms, until, .. } = due else { panic!("{due:?}") };
        assert_eq!((*amount, *epoch_ms, *until), (6, 5, at(4_000)));
    }
    assert_eq!((metrics.limit_leases.get(), metrics.limit_lease_tokens.get()), (0, 0));
    assert_eq!(metrics.limit_lease_given_back.get(), 18);
    assert_eq!(metrics.limit_lease_expired.get(), 0);
}

#[test]
fn on_the_way_out_everything_goes_back_and_nothing_is_taken() {
    let takes = takes(2);
    let (leases, metrics) = leases(1_000, &takes, 6, 1_000);
    leases.close();
    let mut back = 0;
    leases.sweep(at(1_000), true, |_| back += 1);
    assert_eq!((back, metrics.limit_lease_given_back.get()), (2, 12));
    assert_eq!(leases.ask(&takes[0], 1, at(1_001), 50).0, 0);
}
