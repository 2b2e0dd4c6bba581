use super::*;

const START: u64 = 1_700_000_000_000_000;

fn bucket(limit: u64, cost: u64, per_us: u64, per_token: u64) -> Numbers {
    let algorithm = Algorithm::TokenBucket { units_per_us: per_us, units_per_token: per_token };
    Numbers { limit, cost, algorithm }
}

fn window(limit: u64, cost: u64, window_ms: u64) -> Numbers {
    Numbers { limit, cost, algorithm: Algorithm::SlidingWindow { window_ms } }
}

/// One counter under one rule, driven by hand.
struct Driven {
    numbers: Numbers,
    state: Option<State>,
}

impl Driven {
    const fn new(numbers: Numbers) -> Self {
        Self { numbers, state: None }
    }

    fn take(&mut self, now_us: u64) -> Reply {
        let mut counter = Counter::open(self.numbers, self.state, now_us);
        if !counter.has_enough() {
            return counter.refuse();
        }
        let reply = counter.accept();
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
    assert_eq!(driven.take(START), Reply { allowed: false, remaining: 0, reset_ms: 600 });
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
    assert_eq!(replies[4], Reply { allowed: false, remaining: 0, reset_ms: 5_000 });
}

#[test]
fn a_refusal_changes_nothing_and_a_full_bucket_stays_full() {
    let mut driven = Driven::new(bucket(2, 2, 1, 1_000_000));
    driven.take(START);
    let before = driven.state;
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
    // Half a window later half of the old ones have left.
    let later = (0..100).filter(|_| driven.take(border + 30_000_000).allowed).count();
    assert_eq!(later, 50);
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
            let before = driven.state;
            assert!(!driven.take(now + (reply.reset_ms - 1) * 1000).allowed, "{limit}/{window_ms}");
            assert_eq!(driven.state, before);
            now += reply.reset_ms * 1000;
            assert!(driven.take(now).allowed, "{limit}/{window_ms}");
        }
    }
}

#[test]
fn more_is_left_exactly_when_an_allowed_reply_says() {
    for numbers in [bucket(10, 1, 3, 700_001), window(10, 1, 7_001)] {
        let mut driven = Driven::new(numbers);
        let mut now = START;
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            now += random.u64(0..1_500_000);
            let reply = driven.take(now);
            if !reply.allowed || reply.reset_ms == 0 {
                continue;
            }
            let at = |us| Counter::open(numbers, driven.state, us).left();
            assert_eq!(at(now), reply.remaining);
            assert!(at(now + reply.reset_ms * 1000) > reply.remaining);
            assert_eq!(at(now + (reply.reset_ms - 1) * 1000), reply.remaining);
        }
    }
}

#[test]
fn a_clock_that_goes_back_gives_nothing_away() {
    for numbers in [bucket(5, 1, 1, 200_000), window(5, 1, 1_000)] {
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
    for numbers in [bucket(5, 2, 7, 200_003), window(5, 2, 1_501)] {
        let mut driven = Driven::new(numbers);
        driven.take(START);
        driven.take(START + 1);
        let idle = Counter::open(numbers, driven.state, START + 1).idle_in_ms();
        let later = START + 1 + idle * 1000;
        assert_eq!(Counter::open(numbers, driven.state, later).left(), 5);
        assert!(Counter::open(numbers, driven.state, later - 2_000).left() < 5);
    }
}

#[test]
fn shares_add_up_to_the_limit() {
    let share = bucket(100, 1, 1, 10_000).share(4);
    assert_eq!(share, bucket(25, 1, 1, 40_000));
    assert_eq!(window(100, 1, 60_000).share(3), window(33, 1, 60_000));
    assert_eq!(window(2, 1, 1_000).share(8).limit, 1, "never nothing");
    assert_eq!(window(10, 5, 1_000).share(8).limit, 5, "never less than one request");
    assert_eq!(window(10, 5, 1_000).share(0), window(10, 5, 1_000));
}
