//! Counting in bounded memory once too many keys are known to count each exactly.
//!
//! A count-min sketch over two windows (`pingora-limits`). It can only count too much: keys that
//! meet in a cell share it, so a client may be refused too early and never admits too much. The
//! sums are those of the sliding window, over what the sketch says.

use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;
use pingora_limits::rate::{Rate, RateComponents};

use super::math::{Algorithm, Counter, Numbers, Reply, State};

/// Windows that sketches exist for, in seconds. A rule uses the longest that is not longer than
/// its own window, with its limit in proportion; so no set of rules needs more than these, and
/// none is shorter than the second below which `Rate` is unreliable.
const WINDOWS: [u64; 6] = [1, 10, 60, 600, 3_600, 86_400];

/// Independent hash functions of a sketch.
const HASHES: usize = 4;

/// Cells per hash function. Good for some 8,000 keys active at once; beyond, ever more keys are
/// over-counted. The two windows of a sketch take 4 MiB, made when first needed.
const SLOTS: usize = 65_536;

/// The sketches.
#[derive(Default)]
pub(super) struct Overflow {
    /// Under a lock although `Rate` needs none: its window change has races (it reads the clock
    /// before another thread's reset) that panic or forget counts, and the lock makes deciding
    /// and observing one step.
    rates: [OnceLock<Mutex<Rate>>; WINDOWS.len()],
}

impl std::fmt::Debug for Overflow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let made = self.rates.iter().filter(|rate| rate.get().is_some()).count();
        f.debug_struct("Overflow").field("sketches", &made).finish()
    }
}

/// A key of a rule, about to be counted in a sketch.
#[derive(Debug)]
pub(super) struct Estimate {
    class: usize,
    cost: u64,
    counter: Counter,
}

impl Overflow {
    /// Looks at a key; `key` names its rule too.
    pub(super) fn open(&self, key: &str, numbers: Numbers, now_us: u64) -> Estimate {
        let (class, window_s) = class(window_us(numbers));
        let scaled = Numbers {
            limit: scale(numbers, window_s),
            cost: numbers.cost,
            algorithm: Algorithm::SlidingWindow { window_ms: window_s * 1000 },
        };
        let state = self
            .rate(class)
            .map_or(State::Window { start_ms: now_us / 1000, current: 0, previous: 0 }, |rate| {
                rate.lock().rate_with(&key, |counts| window_state(counts, now_us))
            });
        Estimate { class, cost: numbers.cost, counter: Counter::open(scaled, Some(state), now_us) }
    }

    /// Counts what was let through; refused requests are not counted, so that a client that
    /// hammers is let in again in time.
    pub(super) fn accept(&self, key: &str, estimate: &mut Estimate) -> Reply {
        if let Some(rate) = self.rate(estimate.class) {
            rate.lock().observe(&key, isize::try_from(estimate.cost).unwrap_or(isize::MAX));
        }
        estimate.counter.accept()
    }

    fn rate(&self, class: usize) -> Option<&Mutex<Rate>> {
        let window = Duration::from_secs(*WINDOWS.get(class)?);
        let make = || Mutex::new(Rate::new_with_estimator_config(window, HASHES, SLOTS));
        self.rates.get(class).map(|rate| rate.get_or_init(make))
    }
}

impl Estimate {
    /// Whether the cost of one request is there.
    pub(super) fn has_enough(&self) -> bool {
        self.counter.has_enough()
    }

    /// Takes nothing.
    pub(super) fn refuse(&self) -> Reply {
        self.counter.refuse()
    }
}

/// The rule's window, or the time in which its bucket fills.
fn window_us(numbers: Numbers) -> u64 {
    match numbers.algorithm {
        Algorithm::TokenBucket { units_per_us, units_per_token } => {
            numbers.limit.saturating_mul(units_per_token) / units_per_us.max(1)
        }
        Algorithm::SlidingWindow { window_ms } => window_ms.saturating_mul(1000),
    }
}

/// The longest window that is not longer than the rule's, else the shortest there is.
fn class(window_us: u64) -> (usize, u64) {
    let fits = |window: &(usize, u64)| window.1 * 1_000_000 <= window_us;
    let windows = WINDOWS.iter().copied().enumerate();
    windows.rev().find(fits).unwrap_or((0, 1))
}

/// The rule's limit for a window of that length: in proportion, and at least one request.
fn scale(numbers: Numbers, window_s: u64) -> u64 {
    let limit = u128::from(numbers.limit) * u128::from(window_s) * 1_000_000;
    let scaled = limit / u128::from(window_us(numbers).max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX).max(numbers.cost)
}

/// What a sketch says, as the state of a sliding window that began when the sketch's did.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the fraction lies in 0..1; the product is rounded to a whole millisecond"
)]
fn window_state(counts: RateComponents, now_us: u64) -> State {
    let into_ms = counts.interval.as_secs_f64() * 1000.0 * counts.current_interval_fraction;
    State::Window {
        start_ms: (now_us / 1000).saturating_sub(into_ms as u64),
        current: u64::try_from(counts.curr_samples).unwrap_or(0),
        previous: u64::try_from(counts.prev_samples).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(limit: u64, seconds: u64) -> Numbers {
        let algorithm = Algorithm::SlidingWindow { window_ms: seconds * 1000 };
        Numbers { limit, cost: 1, algorithm }
    }

    #[test]
    fn a_rule_counts_in_the_longest_window_that_is_not_longer() {
        assert_eq!(class(60_000_000), (2, 60));
        assert_eq!(class(59_999_999), (1, 10));
        assert_eq!(class(500_000), (0, 1));
        assert_eq!(class(31 * 86_400_000_000), (5, 86_400));
    }

    #[test]
    fn limits_are_scaled_in_proportion_and_never_to_nothing() {
        assert_eq!(scale(window(100, 60), 60), 100);
        assert_eq!(scale(window(90, 90), 60), 60);
        assert_eq!(scale(window(1, 90), 60), 1);
        let algorithm = Algorithm::TokenBucket { units_per_us: 1, units_per_token: 600_000 };
        let bucket = Numbers { limit: 20, cost: 1, algorithm };
        assert_eq!((window_us(bucket), scale(bucket, 10)), (12_000_000, 16));
        let fast = Numbers {
            limit: 20,
            cost: 1,
            algorithm: Algorithm::TokenBucket { units_per_us: 1, units_per_token: 10_000 },
        };
        assert_eq!(scale(fast, 1), 100, "a bucket that fills in 200 ms gives its rate");
    }

    #[test]
    fn each_key_gets_its_limit_and_refusals_are_not_counted() {
        let overflow = Overflow::default();
        let mut admitted = [0, 0];
        for _ in 0..50 {
            for (key, admitted) in ["a", "b"].iter().zip(&mut admitted) {
                let mut estimate = overflow.open(key, window(10, 3_600), 1_000_000);
                if estimate.has_enough() {
                    assert!(overflow.accept(key, &mut estimate).allowed);
                    *admitted += 1;
                } else {
                    let reply = estimate.refuse();
                    assert!(!reply.allowed && reply.reset_ms > 0);
                }
            }
        }
        assert_eq!(admitted, [10, 10]);
    }
}
