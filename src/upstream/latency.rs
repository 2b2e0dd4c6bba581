//! How long a service's answers have taken lately, without a lock.
//!
//! A histogram; when it is full every count is halved, so that old answers fade.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::scale::{STEPS, longest, step};

/// Answers after which all counts are halved.
const FULL: u32 = 4096;

/// Answers without which nothing can be said.
const ENOUGH: u32 = 20;

/// How long answers take.
#[derive(Debug)]
pub struct Latency {
    counts: [AtomicU32; STEPS],
    total: AtomicU32,
}

impl Default for Latency {
    fn default() -> Self {
        Self { counts: [const { AtomicU32::new(0) }; STEPS], total: AtomicU32::new(0) }
    }
}

impl Latency {
    /// Notes an answer that took so long to begin, or an attempt that was given up after so long.
    pub fn record(&self, took: Duration) {
        if let Some(count) = self.counts.get(step(took)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if self.total.fetch_add(1, Ordering::Relaxed) == FULL {
            self.halve();
        }
    }

    /// The time that this share of answers, in percent, did not exceed; none before there have
    /// been enough answers to say.
    #[must_use]
    pub fn percentile(&self, percent: u32) -> Option<Duration> {
        let counts = || self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let total: u32 = counts().sum();
        let rank = u64::from(total) * u64::from(percent.min(100));
        let mut below = 0_u64;
        let step = counts().position(|count| {
            below += u64::from(count) * 100;
            count > 0 && below >= rank
        });
        step.filter(|_| total >= ENOUGH).map(longest)
    }

    /// Requests that end while this runs may count half or whole: it makes no difference.
    fn halve(&self) {
        let mut total = 0;
        for count in &self.counts {
            let half = count.load(Ordering::Relaxed) / 2;
            count.store(half, Ordering::Relaxed);
            total += half;
        }
        self.total.store(total, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn percentiles_are_at_most_a_quarter_too_high() {
        let latency = Latency::default();
        (1..=19).for_each(|n| latency.record(ms(n)));
        assert_eq!(latency.percentile(50), None, "nineteen are not enough");
        (20..=100).for_each(|n| latency.record(ms(n)));
        for percent in [1, 50, 90, 95, 99] {
            let found = latency.percentile(percent).unwrap();
            let exact = ms(u64::from(percent));
            assert!(found >= exact && found <= exact.mul_f64(1.26), "{percent}: {found:?}");
        }
    }

    #[test]
    fn old_answers_fade() {
        let latency = Latency::default();
        (0..FULL).for_each(|_| latency.record(ms(1)));
        assert!(latency.percentile(50).unwrap() < ms(2));
        (0..FULL).for_each(|_| latency.record(ms(100)));
        assert!(latency.percentile(50).unwrap() >= ms(100));
        assert!(latency.total.load(Ordering::Relaxed) <= FULL + 1);
    }
}
