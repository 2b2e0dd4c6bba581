//! How fast a key spends.

use std::time::Duration;

use crate::clock::Tick;

/// What is spent is put into the average in slices of at least this length.
const SLICE: Duration = Duration::from_millis(100);

/// The past counts as much as the last slice if that is so long.
const MEMORY_US: u64 = 500_000;

/// Tokens a second, averaged so that the past fades. Whole numbers: the same on every machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Thousandths of a token a second.
    rate: u64,
    /// Spent since the slice began.
    spent: u64,
    since: Tick,
}

impl Pace {
    pub(super) const fn new(now: Tick) -> Self {
        Self { rate: 0, spent: 0, since: now }
    }

    /// Notes that a request costs so much.
    pub(super) fn note(&mut self, cost: u64, now: Tick) {
        let slice = now.since(self.since);
        if slice >= SLICE {
            let us = u64::try_from(slice.as_micros()).unwrap_or(u64::MAX);
            let past = self.rate.saturating_mul(MEMORY_US);
            let last = self.spent.saturating_mul(1_000_000_000);
            self.rate = past.saturating_add(last) / us.saturating_add(MEMORY_US);
            (self.spent, self.since) = (0, now);
        }
        self.spent = self.spent.saturating_add(cost);
    }

    /// What will be spent in `span` if it goes on like this, rounded down. A slice that has just
    /// begun counts as if it were a second long, so that the first requests of a burst show and
    /// a single one does not.
    pub(super) fn expected(&self, span: Duration) -> u64 {
        let rate = self.rate.max(self.spent.saturating_mul(1000));
        let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        rate.saturating_mul(ms) / 1_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Tick {
        Tick::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_steady_rate_is_learnt_and_forgotten() {
        let mut pace = Pace::new(at(0));
        (0..3_000).step_by(10).for_each(|ms| pace.note(1, at(ms)));
        let learnt = pace.expected(SECOND);
        assert!((95..=100).contains(&learnt), "{learnt}");
        pace.note(1, at(13_000));
        let later = pace.expected(SECOND);
        assert!(later <= 6, "after ten seconds without a request: {later}");
    }

    #[test]
    fn a_burst_shows_at_once_and_a_single_request_does_not() {
        let mut pace = Pace::new(at(0));
        pace.note(1, at(0));
        assert_eq!(pace.expected(SECOND / 2), 0);
        (0..20).for_each(|_| pace.note(1, at(5)));
        assert_eq!(pace.expected(SECOND / 2), 10);
    }

    #[test]
    fn numbers_at_the_end_of_the_range_do_no_harm() {
        let mut pace = Pace::new(at(0));
        pace.note(u64::MAX, at(1));
        pace.note(u64::MAX, at(200));
        pace.note(1, Tick::from_nanos(u64::MAX));
        pace.note(1, at(0));
        assert!(pace.expected(Duration::MAX) > 0);
    }
}
