mod accuracy;

use super::*;

const START: u64 = 1_700_000_000_000_000;

fn bucket(limit: u64, cost: u64, per_us: u64, per_token: u64) -> (Numbers, u64) {
    let algorithm = Algorithm::TokenBucket { units_per_us: per_us, units_per_token: per_token };
    (Numbers { limit, algorithm }, cost)
}

fn window(limit: u64, cost: u64, window_ms: u64) -> (Numbers, u64) {
    (Numbers { limit, algorithm: Algorithm::SlidingWindow { window_ms } }, cost)
}

fn log(limit: u64, cost: u64, window_ms: u64) -> (Numbers, u64) {
    (Numbers { limit, algorithm: Algorithm::SlidingLog { window_ms } }, cost)
}

fn fixed(limit: u64, cost: u64, window_ms: u64) -> (Numbers, u64) {
    (Numbers { limit, algorithm: Algorithm::FixedWindow { window_ms } }, cost)
}

/// Periods of different lengths, of which START lies in the second.
const BOUNDS: [u64; 4] =
    [START / 1000 - 90_000, START / 1000 - 30_000, START / 1000 + 30_000, START / 1000 + 80_000];

fn quota(limit: u64, cost: u64) -> (Numbers, u64) {
    (Numbers { limit, algorithm: Algorithm::Quota { bounds: BOUNDS } }, cost)
}

fn places(limit: u64, cost: u64) -> (Numbers, u64) {
    (Numbers { limit, algorithm: Algorithm::Concurrency { hold_ms: 30_000 } }, cost)
}

/// One counter under one rule, driven by hand.
struct Driven {
    numbers: Numbers,
    cost: u64,
    state: Option<State>,
}

impl Driven {
    const fn new((numbers, cost): (Numbers, u64)) -> Self {
        Self { numbers, cost, state: None }
    }

    fn take(&mut self, now_us: u64) -> Reply {
        let mut counter = Counter::open(self.numbers, self.state.clone(), now_us);
        if !counter.has_enough(self.cost) {
            return counter.reply(false, 0, self.cost);
        }
        counter.take(self.cost);
        let reply = counter.reply(true, self.cost, self.cost);
        self.state = Some(counter.state());
        reply
    }
}

#[test]
fn a_bucket_gives_its_burst_and_then_its_rate() {
    // R055: capacity 20, 100 a minute: one token each 600 ms.
    let mut driven = Driven::new(bucket(20, 1, 1, 600_000));
    for left in (0..20).rev() {
        let reply = driven.take(START);
        assert_eq!((reply.allowed, reply.remaining), (true, left));
    }
    let reply = driven.take(START);
    assert_eq!((reply.allowed, reply.remaining, reply.reset_ms), (false, 0, 600));
    let admitted = (1..=60_000).filter(|ms| driven.take(START + ms * 1000).allowed).count();
    assert_eq!(admitted, 100);
}

#[test]
fn a_bucket_opens_exactly_when_it_says() {
    let mut driven = Driven::new(bucket(1, 1, 1, 600_001));
    assert!(driven.take(START).allowed);
    let reply = driven.take(START);
    assert_eq!(reply.reset_ms, 601);
    assert!(!driven.take(START + (reply.reset_ms - 1) * 1000).allowed);
    assert!(driven.take(START + reply.reset_ms * 1000).allowed);
}

#[test]
fn a_cost_drains_a_bucket_faster() {
    // R056: cost 5 drains 20 in 4 requests.
    let mut driven = Driven::new(bucket(20, 5, 1, 1_000_000));
    let replies: Vec<_> = (0..5).map(|_| driven.take(START)).collect();
    assert_eq!(replies.iter().filter(|reply| reply.allowed).count(), 4);
    let reply = replies[4];
    assert_eq!((reply.allowed, reply.remaining, reply.reset_ms), (false, 0, 5_000));
}

#[test]
fn a_refusal_changes_nothing_and_a_full_bucket_stays_full() {
    let mut driven = Driven::new(bucket(2, 2, 1, 1_000_000));
    driven.take(START);
    let before = driven.state.clone();
    for step in 0..1_000 {
        assert!(!driven.take(START + step).allowed);
    }
    assert_eq!(driven.state, before);
    assert_eq!(driven.take(START + 1_000_000_000_000).remaining, 0);
}

#[test]
fn a_window_admits_its_limit_and_no_burst_at_the_border() {
    // R061: 100 just before the border and 100 just after do not both pass.
    let mut driven = Driven::new(window(100, 1, 60_000));
    let border = START - START % 60_000_000 + 60_000_000;
    let before = (0..100).filter(|_| driven.take(border - 1_000).allowed).count();
    let after = (0..100).filter(|_| driven.take(border).allowed).count();
    assert_eq!((before, after), (100, 0));
    // They leave the window as they came, by the second: half of them after half of that second.
    let opens = border - 1_000_000 + 60_000_000;
    assert_eq!((0..100).filter(|_| driven.take(opens).allowed).count(), 0);
    let half = (0..100).filter(|_| driven.take(opens + 500_000).allowed).count();
    assert_eq!(half, 50);
    let rest = (0..100).filter(|_| driven.take(opens + 1_000_000).allowed).count();
    assert_eq!(rest, 50);
}

#[test]
fn a_window_of_a_sketch_is_taken_as_spread_evenly() {
    let (numbers, _) = window(1_000, 1, 60_000);
    let start_ms = START / 1000 - START / 1000 % 60_000;
    let used = |current, previous, into_ms: u64| {
        let state = State::Window { start_ms, current, previous };
        Counter::open(numbers, Some(state), (start_ms + into_ms) * 1000).used()
    };
    for (current, previous) in [(0_u64, 600_u64), (100, 600), (7, 0), (1, 1)] {
        for into_ms in [0_u64, 1, 500, 30_000, 59_999] {
            let expected = current + (previous * (60_000 - into_ms)).div_ceil(60_000);
            let got = used(current, previous, into_ms);
            assert!(got.abs_diff(expected) <= 1, "{current} {previous} {into_ms}: {got}");
        }
    }
    assert_eq!(used(0, 600, 120_000), 0);
}

#[test]
fn a_window_opens_exactly_when_it_says() {
    for (limit, cost, window_ms) in [(1, 1, 1_500), (3, 2, 1_000), (7, 3, 1_501), (100, 1, 60_000)]
    {
        let mut driven = Driven::new(window(limit, cost, window_ms));
        let mut now = START + 123_456;
        for _ in 0..200 {
            let reply = driven.take(now);
            if reply.allowed {
                continue;
            }
            let before = driven.state.clone();
            assert!(!driven.take(now + (reply.reset_ms - 1) * 1000).allowed, "{limit}/{window_ms}");
            assert_eq!(driven.state, before);
            now += reply.reset_ms * 1000;
            assert!(driven.take(now).allowed, "{limit}/{window_ms}");
        }
    }
}

#[test]
fn more_is_left_exactly_when_an_allowed_reply_says() {
    for numbers in [bucket(10, 1, 3, 700_001), window(10, 1, 7_001), log(10, 1, 7_001)] {
        let mut driven = Driven::new(numbers);
        let mut now = START;
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            now += random.u64(0..1_500_000);
            let reply = driven.take(now);
            if !reply.allowed || reply.reset_ms == 0 {
                continue;
            }
            let at = |us| Counter::open(driven.numbers, driven.state.clone(), us).left();
            assert_eq!(at(now), reply.remaining);
            assert!(at(now + reply.reset_ms * 1000) > reply.remaining);
            assert_eq!(at(now + (reply.reset_ms - 1) * 1000), reply.remaining);
        }
    }
}

#[test]
fn a_clock_that_goes_back_gives_nothing_away() {
    for numbers in
        [bucket(5, 1, 1, 200_000), window(5, 1, 1_000), fixed(5, 1, 1_000), log(5, 1, 1_000)]
    {
        let mut driven = Driven::new(numbers);
        assert_eq!((0..9).filter(|_| driven.take(START).allowed).count(), 5);
        let reply = driven.take(START - 10_000_000);
        assert!(!reply.allowed);
        assert!(reply.reset_ms > 10_000, "the wait counts from the clock that is asked");
        assert!(driven.take(START - 10_000_000 + reply.reset_ms * 1000).allowed);
    }
}

#[test]
fn an_idle_state_says_what_a_missing_one_does() {
    for numbers in [
        bucket(5, 2, 7, 200_003),
        window(5, 2, 1_501),
        log(5, 2, 1_501),
        fixed(5, 2, 1_501),
        quota(5, 2),
        places(5, 2),
    ] {
        let mut driven = Driven::new(numbers);
        driven.take(START);
        driven.take(START + 1);
        let idle = Counter::open(driven.numbers, driven.state.clone(), START + 1).idle_in_ms();
        let later = START + 1 + idle * 1000;
        assert_eq!(Counter::open(driven.numbers, driven.state.clone(), later).left(), 5);
        assert!(Counter::open(driven.numbers, driven.state.clone(), later - 2_000).left() < 5);
    }
}

#[test]
fn shares_add_up_to_the_limit() {
    let share = |(numbers, _): (Numbers, u64), nodes| numbers.share(nodes);
    assert_eq!(share(bucket(100, 1, 1, 10_000), 4), bucket(25, 1, 1, 40_000).0);
    assert_eq!(share(window(100, 1, 60_000), 3), window(33, 1, 60_000).0);
    assert_eq!(share(window(2, 1, 1_000), 8).limit, 1, "never nothing");
    assert_eq!(share(window(10, 5, 1_000), 0), window(10, 5, 1_000).0);
}

#[test]
fn a_log_admits_exactly_what_an_oracle_with_all_times_admits() {
    // R059.
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (limit, cost, window_ms) =
            (random.u64(3..40), random.u64(1..4), random.u64(1_000..9_000));
        let mut driven = Driven::new(log(limit, cost, window_ms));
        let mut admitted: Vec<u64> = Vec::new();
        let (mut now, mut refused) = (START, 0);
        for _ in 0..2_000 {
            now += random.u64(0..=window_ms * 2_000 * cost / limit);
            let counted = admitted.iter().filter(|at| **at + window_ms * 1000 > now).count() as u64;
            let expected = counted * cost + cost <= limit;
            assert_eq!(driven.take(now).allowed, expected, "seed {seed}");
            if expected {
                admitted.push(now);
            } else {
                refused += 1;
            }
        }
        assert!(refused > 100, "seed {seed}: {refused}");
    }
}

#[test]
fn a_log_opens_exactly_when_it_says() {
    let mut driven = Driven::new(log(3, 2, 1_500));
    assert!(driven.take(START).allowed);
    let refused = driven.take(START + 100_400);
    assert_eq!((refused.allowed, refused.reset_ms), (false, 1_400));
    assert!(!driven.take(START + 1_499_999).allowed);
    assert!(driven.take(START + 1_500_000).allowed);
}

#[test]
fn twice_the_limit_passes_around_the_border_of_fixed_windows() {
    // T4, R061: what the warning is about.
    let mut driven = Driven::new(fixed(100, 1, 60_000));
    let border = START - START % 60_000_000 + 60_000_000;
    let before = (0..150).filter(|_| driven.take(border - 1_000).allowed).count();
    let refused = driven.take(border - 1_000);
    assert_eq!((before, refused.reset_ms), (100, 1));
    assert_eq!((0..150).filter(|_| driven.take(border).allowed).count(), 100);
}

#[test]
fn a_quota_ends_with_its_period_whoever_reckoned_it() {
    let mut driven = Driven::new(quota(3, 1));
    assert_eq!((0..9).filter(|_| driven.take(START).allowed).count(), 3);
    let refused = driven.take(START);
    assert_eq!((refused.reset_ms, refused.epoch_ms), (30_000, BOUNDS[1]));
    assert!(!driven.take(START + 29_999_000).allowed);
    // The node still thinks that it is the period before.
    let admitted = (0..9).filter(|_| driven.take(START + 30_000_000).allowed).count();
    assert_eq!(admitted, 3);
    let refused = driven.take(START + 30_000_000);
    assert_eq!((refused.reset_ms, refused.epoch_ms), (50_000, BOUNDS[2]));
    // A clock that goes back gains nothing.
    assert!(!driven.take(START).allowed);
    // Beyond what the node reckoned, periods go on as long as the last.
    for n in 0..3 {
        let at = (BOUNDS[3] + n * 50_000) * 1000;
        assert_eq!((0..9).filter(|_| driven.take(at).allowed).count(), 3);
        assert_eq!(driven.take(at + 1_000).reset_ms, 49_999);
    }
    let mut early = Driven::new(quota(3, 1));
    let reply = early.take((BOUNDS[0] - 1) * 1000);
    assert_eq!((reply.allowed, reply.epoch_ms), (true, BOUNDS[0] - 60_000));
}

#[test]
fn places_are_held_until_released_or_forgotten() {
    let (numbers, _) = places(3, 1);
    let mut counter = Counter::open(numbers, None, START);
    counter.take_as(1, 2);
    counter.take_as(2, 1);
    assert_eq!((counter.left(), counter.reply(false, 0, 1).reset_ms), (0, 1_000));
    assert_eq!(counter.charge(5), 0, "only requests hold places");
    assert_eq!((counter.release(1), counter.release(1), counter.left()), (2, 0, 2));
    let mut later = Counter::open(numbers, Some(counter.state()), START + 29_999_999);
    assert_eq!(later.left(), 2);
    assert!(later.renew(2) && !later.renew(1));
    let state = later.into_state();
    let at = |us| Counter::open(numbers, Some(state.clone()), START + us).left();
    assert_eq!((at(59_999_998), at(59_999_999)), (2, 3));
}

#[test]
fn a_debt_is_bounded_and_paid_off() {
    for (numbers, cost) in [bucket(10, 1, 1, 1_000_000), window(10, 1, 60_000), log(10, 1, 60_000)]
    {
        let mut counter = Counter::open(numbers, None, START);
        counter.take(7);
        assert_eq!(counter.charge(5), 5, "two more than there are");
        assert_eq!((counter.used(), counter.left()), (12, 0));
        assert_eq!(counter.charge(1_000), 8, "never more than the limit once more");
        assert_eq!((counter.used(), counter.charge(1)), (20, 0));
        let wait = counter.reply(false, 0, cost).reset_ms;
        let state = counter.into_state();
        let at = |ms| Counter::open(numbers, Some(state.clone()), START + ms * 1000);
        assert!(at(wait).has_enough(cost) && !at(wait - 1).has_enough(cost), "{numbers:?}");
    }
}

#[test]
fn what_is_given_back_counts_in_its_own_window_only() {
    for numbers in
        [bucket(10, 1, 1, 1_000_000), window(10, 1, 60_000), fixed(10, 1, 60_000), quota(10, 1)]
    {
        let (numbers, _) = numbers;
        let mut counter = Counter::open(numbers, None, START);
        counter.take(7);
        let epoch = counter.reply(true, 7, 7).epoch_ms;
        counter.give_back(3, epoch);
        assert_eq!(counter.used(), 4, "{numbers:?}");
        if epoch > 0 {
            counter.give_back(3, epoch + 1);
            assert_eq!(counter.used(), 4, "{numbers:?}: another window");
        }
        counter.give_back(100, epoch);
        assert_eq!(counter.used(), 0, "{numbers:?}: never below nothing");
    }
    // A sliding window still counts what was taken in older cells, and so it is given back.
    let (numbers, _) = window(10, 1, 60_000);
    let mut counter = Counter::open(numbers, None, START);
    counter.take(10);
    let epoch = counter.reply(true, 10, 10).epoch_ms;
    let later = START + 30_000_000;
    let mut counter = Counter::open(numbers, Some(counter.state()), later);
    assert_eq!(counter.used(), 10);
    counter.give_back(4, epoch);
    assert_eq!(counter.used(), 6);
    let mut counter = Counter::open(numbers, Some(counter.state()), later + 40_000_000);
    counter.take(1);
    counter.give_back(1, epoch);
    assert_eq!(counter.used(), 1, "what has left the window is gone");
    // A log gives back what was taken in that millisecond.
    let (numbers, _) = log(10, 1, 60_000);
    let mut counter = Counter::open(numbers, None, START);
    counter.take(2);
    let mut counter = Counter::open(numbers, Some(counter.state()), START + 1_000);
    counter.take(3);
    counter.give_back(5, START / 1000);
    assert_eq!(counter.used(), 3);
}

#[test]
fn a_state_of_another_algorithm_counts_as_none() {
    let all = [
        bucket(5, 1, 1, 1_000_000),
        window(5, 1, 60_000),
        log(5, 1, 60_000),
        fixed(5, 1, 60_000),
        places(5, 1),
    ];
    for (one, _) in all {
        let mut counter = Counter::open(one, None, START);
        counter.take(5);
        let state = counter.into_state();
        for (other, _) in all {
            let left = Counter::open(other, Some(state.clone()), START).left();
            assert_eq!(left, if one == other { 0 } else { 5 }, "{one:?} {other:?}");
        }
    }
}
