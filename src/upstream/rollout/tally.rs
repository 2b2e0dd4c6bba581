//! What a version did: requests, failures, times.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Ranges of time, four for each doubling of microseconds: a percentile is known to a fifth.
const RANGES: usize = 27 * 4;

/// Counts without a lock.
#[derive(Debug)]
pub(super) struct Tally {
    failed: AtomicU64,
    /// Requests by the range that their time falls into.
    took: [AtomicU64; RANGES],
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
        if let Some(range) = self.took.get(range_of(took)) {
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
    took: [u64; RANGES],
}

impl Default for Counts {
    fn default() -> Self {
        Self { requests: 0, failed: 0, took: [0; RANGES] }
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
        range.map_or(Duration::ZERO, end_of)
    }
}

fn range_of(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(4);
    let doubling = micros.ilog2();
    // The two bits below the highest tell the quarter.
    let quarter = usize::try_from((micros >> (doubling - 2)) & 3).unwrap_or(0);
    ((doubling as usize - 2) * 4 + quarter).min(RANGES - 1)
}

fn end_of(range: usize) -> Duration {
    let (doubling, quarter) = (range / 4 + 2, range % 4);
    Duration::from_micros((5 + quarter as u64) << (doubling - 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_falls_into_a_range_that_ends_above_it_and_no_more_than_a_quarter() {
        for micros in (4..5_000).chain([59_999, 60_000, 1_000_000, 30_000_000]) {
            let took = Duration::from_micros(micros);
            let end = end_of(range_of(took));
            assert!(end > took, "{micros}");
            assert!(end <= took * 5 / 4 + Duration::from_micros(1), "{micros}: {end:?}");
        }
        assert_eq!(range_of(Duration::ZERO), 0);
        assert_eq!(range_of(Duration::MAX), RANGES - 1);
    }

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
