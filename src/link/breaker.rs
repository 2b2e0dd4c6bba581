//! When to stop asking a dependency that fails.
//!
//! Closed, it lets every call through. After so many failures in a row it opens and lets none
//! through for a while; then one call probes, and its result closes or re-opens it. It is read
//! by every request, so it is two atomics and no lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Tick;

/// A circuit breaker: closed, open, probing. Pure; time is an argument.
#[derive(Debug)]
pub struct Breaker {
    threshold: u32,
    open_for: Duration,
    /// Failures since the last success.
    failures: AtomicU32,
    /// 0 while closed, else the tick (in nanoseconds) from which one call may probe. A probe
    /// moves it on *before* it calls: a probe that is never heard of again (its client went
    /// away) costs one more period and cannot leave the breaker open for ever.
    probe_at: AtomicU64,
}

impl Breaker {
    /// A closed breaker that opens after `failures` in a row (at least 1) for `open_for`.
    #[must_use]
    pub fn new(failures: u32, open_for: Duration) -> Self {
        Self {
            threshold: failures.max(1),
            open_for,
            failures: AtomicU32::new(0),
            probe_at: AtomicU64::new(0),
        }
    }

    /// Whether a call may be made now. Of the callers that ask after the period only one gets
    /// a yes.
    pub fn admits(&self, now: Tick) -> bool {
        let probe_at = self.probe_at.load(Ordering::Acquire);
        if probe_at == 0 {
            return true;
        }
        now.nanos() >= probe_at
            && self
                .probe_at
                .compare_exchange(probe_at, self.next(now), Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    /// Notes that a call succeeded; returns whether that closed the breaker.
    pub fn succeed(&self) -> bool {
        // Loads first: a healthy breaker's cache line stays shared between processors.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        self.probe_at.load(Ordering::Acquire) != 0 && self.probe_at.swap(0, Ordering::AcqRel) != 0
    }

    /// Notes that a call failed; returns whether that opened the breaker.
    pub fn fail(&self, now: Tick) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < self.threshold && self.probe_at.load(Ordering::Acquire) == 0 {
            return false;
        }
        self.probe_at.fetch_max(self.next(now), Ordering::AcqRel) == 0
    }

    /// How long it stays open; nothing while closed, zero when a call may probe.
    #[must_use]
    pub fn open_left(&self, now: Tick) -> Option<Duration> {
        match self.probe_at.load(Ordering::Acquire) {
            0 => None,
            probe_at => Some(Tick::from_nanos(probe_at).since(now)),
        }
    }

    fn next(&self, now: Tick) -> u64 {
        now.plus(self.open_for).nanos().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let breaker = Breaker::new(5, OPEN_FOR);
        for _ in 0..4 {
            assert!(!breaker.fail(at(1)));
        }
        assert!(!breaker.succeed());
        for _ in 0..4 {
            assert!(!breaker.fail(at(1)));
        }
        assert!(breaker.admits(at(1)));
        assert!(breaker.fail(at(1)), "the fifth in a row");
        assert!(!breaker.admits(at(1)));
        assert_eq!(breaker.open_left(at(11)), Some(Duration::from_secs(20)));
    }

    #[test]
    fn lets_one_probe_through_after_the_period() {
        let breaker = Breaker::new(1, OPEN_FOR);
        assert!(breaker.fail(at(0)));
        assert!(!breaker.admits(Tick::from_nanos(at(30).nanos() - 1)));
        assert!(breaker.admits(at(30)));
        assert!(!breaker.admits(at(30)), "one probe");
        assert!(breaker.succeed());
        assert!(breaker.admits(at(30)) && breaker.admits(at(30)));
        assert_eq!(breaker.open_left(at(30)), None);
    }

    #[test]
    fn a_failed_probe_opens_for_another_period() {
        let breaker = Breaker::new(3, OPEN_FOR);
        for _ in 0..3 {
            breaker.fail(at(0));
        }
        assert!(breaker.admits(at(30)));
        assert!(!breaker.fail(at(31)), "it was open");
        assert!(!breaker.admits(at(60)));
        assert!(breaker.admits(at(61)));
    }

    #[test]
    fn a_lost_probe_costs_one_period() {
        let breaker = Breaker::new(1, OPEN_FOR);
        breaker.fail(at(0));
        assert!(breaker.admits(at(30)));
        assert!(!breaker.admits(at(59)));
        assert!(breaker.admits(at(60)));
    }

    #[test]
    fn a_success_starts_the_count_again_after_a_close() {
        let breaker = Breaker::new(2, OPEN_FOR);
        for _ in 0..2 {
            breaker.fail(at(0));
        }
        assert!(breaker.admits(at(30)));
        assert!(breaker.succeed());
        assert!(!breaker.fail(at(31)));
        assert!(breaker.admits(at(31)));
    }
}
