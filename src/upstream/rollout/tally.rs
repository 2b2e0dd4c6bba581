//! What a version did: requests, failures, times.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::upstream::scale::{STEPS, longest, step};

/// Counts without a lock.
#[derive(Debug)]
pub(super) struct Tally {
    failed: AtomicU64,
    /// Requests by the range that their time falls into.
    took: [AtomicU64; STEPS],
}

impl Default for Tally {
    fn default() -> Self {
        Self { failed: AtomicU64::new(0), took: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Tally {
    pub(super) fn observe(&self, status: u16, took: Duration) {
        if status >= 500 {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(range) = self.took.get(step(took)) {
            range.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub(super) fn counts(&self) -> Counts {
        let took = std::array::from_fn(|at| {
            self.took.get(at).map_or(0, |range| range.load(Ordering::Relaxed))
        });
        let failed = self.failed.load(Ordering::Relaxed);
        Counts { requests: took.iter().sum(), failed, took }
    }
}

/// What was counted, at one moment or between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) requests: u64,
    failed: u64,
    took: [u64; STEPS],
}

impl Default for Counts {
    fn default() -> Self {
        Self { requests: 0, failed: 0, took: [0; STEPS] }
    }
}

impl Counts {
    /// What was counted after `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let mut took = self.took;
        for (now, then) in took.iter_mut().zip(&before.took) {
            *now = now.saturating_sub(*then);
        }
        let failed = self.failed.saturating_sub(before.failed);
        Self { requests: took.iter().sum(), failed, took }
    }

    /// Failed requests in percent of all.
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
    pub(super) fn failed_percent(&self) -> f64 {
        if self.requests == 0 {
            return 0.0;
        }
        self.failed as f64 * 100.0 / self.requests as f64
    }

    /// The time that so many percent of the requests did not exceed; the end of its range.
    pub(super) fn percentile(&self, percent: u64) -> Duration {
        let wanted = (self.requests * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let range = self.took.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        range.map_or(Duration::ZERO, longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_count_requests() {
        let tally = Tally::default();
        for ms in 1..=100 {
            tally.observe(if ms > 97 { 503 } else { 200 }, Duration::from_millis(ms));
        }
        let counts = tally.counts();
        assert_eq!(counts.requests, 100);
        assert!((counts.failed_percent() - 3.0).abs() < 1e-9);
        let p50 = counts.percentile(50).as_millis();
        assert!((50..=63).contains(&p50), "{p50}");
        let p99 = counts.percentile(99).as_millis();
        assert!((99..=125).contains(&p99), "{p99}");
        assert_eq!(Counts::default().percentile(99), Duration::ZERO);
        let more = tally.counts().since(&counts);
        assert_eq!(more, Counts::default());
    }
}
