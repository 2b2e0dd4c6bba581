use super::*;

fn window(limit: u64, seconds: u64) -> Numbers {
    Numbers { limit, algorithm: Algorithm::SlidingWindow { window_ms: seconds * 1000 } }
}

/// A bucket of 100 tokens, of which one comes back each second.
const BUCKET: Numbers = Numbers {
    limit: 100,
    algorithm: Algorithm::TokenBucket { units_per_us: 1, units_per_token: 1_000_000 },
};

const S: u64 = 1_000_000;

/// Keeps a counter of which `used` is used at that time.
fn keep(overflow: &Overflow, key: u128, numbers: Numbers, used: u64, now_us: u64) -> bool {
    let counter = with_used(Counter::open(numbers, None, now_us), used);
    let gone_at_us = now_us + counter.idle_in_ms() * 1000;
    let spilled = Spilled {
        key: CounterKey::numbered(key),
        class: class(&numbers),
        state: &counter.state(),
        window_ms: u64::from(window_ms(&numbers)),
        used: Used { amount: used, at_us: now_us, gone_at_us },
        limited: counter.left() == 0,
    };
    overflow.keep(&spilled, now_us)
}

fn left(overflow: &Overflow, key: u128, numbers: Numbers, now_us: u64) -> u64 {
    overflow.recall(CounterKey::numbered(key), numbers, now_us).left()
}

#[test]
fn a_page_lasts_as_long_as_what_is_kept_on_it_counts() {
    for (numbers, seconds) in [
        (window(5, 1), 4),
        (window(5, 2), 4),
        (window(5, 3), 16),
        (window(5, 60), 256),
        (window(5, 31 * 86_400), 4_194_304 * 4 / 4),
        (BUCKET, 256),
    ] {
        let length = length_us(class(&numbers)) / S;
        assert_eq!(length, seconds.min(4_194_304), "{numbers:?}");
    }
}

#[test]
fn a_window_comes_back_as_it_was_left() {
    let overflow = Overflow::default();
    let rule = window(10, 60);
    assert!(keep(&overflow, 1, rule, 7, 30 * S));
    assert_eq!(left(&overflow, 1, rule, 30 * S), 3);
    assert_eq!(left(&overflow, 1, rule, 59 * S), 3);
    assert_eq!(left(&overflow, 2, rule, 59 * S), 10, "another key");
    // Half of the last window still overlaps: 4 of 7, rounded up.
    assert_eq!(left(&overflow, 1, rule, 90 * S), 6);
    assert_eq!(left(&overflow, 1, rule, 120 * S), 10);
    // Kept once more in the same window: what was kept before is part of it.
    assert!(keep(&overflow, 1, rule, 9, 40 * S));
    assert_eq!(left(&overflow, 1, rule, 59 * S), 1);
}

#[test]
fn a_count_of_the_last_window_survives_too() {
    let overflow = Overflow::default();
    let rule = window(10, 60);
    let stored = State::Window { start_ms: 60_000, current: 2, previous: 8 };
    let spilled = Spilled {
        key: CounterKey::numbered(1),
        class: class(&rule),
        state: &stored,
        window_ms: 60_000,
        used: Used { amount: 0, at_us: 0, gone_at_us: 0 },
        limited: false,
    };
    assert!(overflow.keep(&spilled, 75 * S));
    assert_eq!(left(&overflow, 1, rule, 75 * S), 10 - 2 - 6);
    assert_eq!(left(&overflow, 1, rule, 119 * S), 10 - 2 - 1);
    assert_eq!(left(&overflow, 1, rule, 121 * S), 10 - 2);
}

#[test]
fn a_bucket_refills_while_it_is_away() {
    let overflow = Overflow::default();
    // On both sides of where a page is turned (256 s).
    for (key, kept_at) in [(1, 10), (2, 250)] {
        assert!(keep(&overflow, key, BUCKET, 80, kept_at * S));
        for later in [0, 1, 5, 10, 79, 80, 200] {
            let left = left(&overflow, key, BUCKET, (kept_at + later) * S);
            let right = (20 + later).min(100);
            assert!((right - 1..=right).contains(&left), "{key} {later}: {left}");
        }
    }
}

#[test]
fn pages_are_forgotten_and_then_cost_no_lock() {
    let overflow = Overflow::default();
    let rule = window(10, 60);
    assert!(keep(&overflow, 1, rule, 7, 0));
    assert_ne!(overflow.filled.load(Ordering::Relaxed), 0);
    left(&overflow, 2, rule, 511 * S);
    assert_ne!(overflow.filled.load(Ordering::Relaxed), 0);
    left(&overflow, 2, rule, 512 * S);
    assert_eq!(overflow.filled.load(Ordering::Relaxed), 0);
}

#[test]
fn a_full_page_takes_no_more_and_newcomers_are_not_mistaken() {
    let overflow = Overflow::default();
    let rule = window(2, 60);
    let most = u128::from(KEPT_MAX);
    let half = usize::try_from(most / 2).unwrap();
    // Some need no room: the sketch says by chance that they have used as much already.
    let kept = |kept: usize| (half..half + half / 20).contains(&kept);
    let warm = (0..2 * most).filter(|key| keep(&overflow, *key, rule, 1, 0)).count();
    assert!(kept(warm), "the other half is for the used up: {warm}");
    let limited = (most..3 * most).filter(|key| keep(&overflow, 100_000 + key, rule, 2, 0));
    let limited = limited.count();
    assert!(kept(limited), "{limited}");
    let newcomers = 10_000_000..10_010_000;
    let mistaken = newcomers.filter(|key| left(&overflow, *key, rule, 1) < 2).count();
    // (1 - e^(-8192/65536))^4 is 0.0002: 2 of 10,000.
    assert!(mistaken < 30, "{mistaken}");
}
