//! How fast a client goes, measured only while it is waited for: a slow service or a slow disk
//! is not held against it.

use std::time::Duration;

use tokio::time::Instant;

use super::Rules;

/// Why a client is not waited for any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooSlow {
    /// It paused for too long.
    Pause,
    /// It moves, but at less than the least rate.
    Rate,
}

/// The pace of one direction of a connection.
///
/// Rates are averaged over windows of `readTimeout`, of time in which the client was waited for.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Since when the client is waited for without a byte.
    paused: Option<Instant>,
    /// Since when waiting counts for the present window.
    from: Option<Instant>,
    /// Time waited in the present window, before `from`.
    waited: Duration,
    /// What moved in the present window.
    bytes: u64,
}

impl Pace {
    /// Whether waiting begins a window, so that whoever counts bytes elsewhere begins to.
    pub(super) const fn is_fresh(&self) -> bool {
        self.from.is_none() && self.waited.is_zero()
    }

    /// Something moved.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.paused = None;
        if let Some(from) = self.from.take() {
            self.waited += from.elapsed();
        }
    }

    /// The client is waited for; until when, before [`Pace::judge`] is to be asked.
    pub(super) fn wait(&mut self, rules: &Rules, now: impl Fn() -> Instant) -> Instant {
        let paused = *self.paused.get_or_insert_with(&now);
        let from = *self.from.get_or_insert(paused);
        let window = from + rules.read.saturating_sub(self.waited);
        window.min(paused + rules.read)
    }

    /// Judges the client at such a point. A window that is over and was used well begins anew.
    ///
    /// # Errors
    /// Why it is too slow.
    pub(super) fn judge(&mut self, rules: &Rules, now: Instant) -> Result<(), TooSlow> {
        if self.paused.is_some_and(|paused| now >= paused + rules.read) {
            return Err(TooSlow::Pause);
        }
        let waited = self.waited + self.from.map_or(Duration::ZERO, |from| now - from);
        if waited < rules.read {
            return Ok(());
        }
        if self.bytes < rules.bytes_due() {
            return Err(TooSlow::Rate);
        }
        *self = Self { paused: self.paused, from: Some(now), ..Self::default() };
        Ok(())
    }

    /// Says what moved, as counted elsewhere; movement ends a pause too.
    pub(super) fn counted(&mut self, bytes: u64) {
        if bytes > self.bytes {
            self.bytes = bytes;
            self.paused = self.from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rules::Speaks;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules(min_rate: u64) -> Rules {
        Rules {
            speaks: Speaks::Http1,
            header: SECOND,
            read: 10 * SECOND,
            idle: SECOND,
            min_rate,
            requests: 1,
            header_bytes: 1000,
            streams: 1,
            resets: 1,
            control_frames: 1,
        }
    }

    #[test]
    fn a_pause_may_last_as_long_as_the_read_timeout_and_no_longer() {
        let (rules, began) = (rules(0), Instant::now());
        let mut pace = Pace::default();
        assert_eq!(pace.wait(&rules, || began), began + 10 * SECOND);
        let nearly = began + 10 * SECOND - Duration::from_nanos(1);
        assert_eq!(pace.judge(&rules, nearly), Ok(()));
        assert_eq!(pace.judge(&rules, began + 10 * SECOND), Err(TooSlow::Pause));
    }

    #[test]
    fn the_rate_is_judged_over_a_window_of_waiting() {
        for (bytes, verdict) in [(999, Err(TooSlow::Rate)), (1000, Ok(()))] {
            let (rules, began) = (rules(100), Instant::now());
            let mut pace = Pace::default();
            pace.wait(&rules, || began);
            pace.waited = 7 * SECOND;
            pace.bytes = bytes;
            assert_eq!(pace.wait(&rules, || began), began + 3 * SECOND);
            assert_eq!(pace.judge(&rules, began + 3 * SECOND), verdict);
        }
    }

    #[test]
    fn a_good_window_is_followed_by_another_but_the_pause_goes_on() {
        let (rules, began) = (rules(1), Instant::now());
        let mut pace = Pace { waited: 9 * SECOND, bytes: 10, ..Pace::default() };
        assert_eq!(pace.wait(&rules, || began), began + SECOND);
        assert_eq!(pace.judge(&rules, began + SECOND), Ok(()));
        assert_eq!(pace.bytes, 0);
        // The pause began before the window did.
        assert_eq!(pace.wait(&rules, || began), began + 10 * SECOND);
        assert_eq!(pace.judge(&rules, began + 10 * SECOND), Err(TooSlow::Pause));
    }

    #[test]
    fn a_rate_of_zero_asks_only_for_movement() {
        let (rules, began) = (rules(0), Instant::now());
        let mut pace = Pace { waited: 10 * SECOND, ..Pace::default() };
        pace.wait(&rules, || began);
        assert_eq!(pace.judge(&rules, began), Ok(()));
    }

    #[test]
    fn movement_counted_elsewhere_ends_the_pause() {
        let (rules, began) = (rules(1), Instant::now());
        let mut pace = Pace::default();
        pace.wait(&rules, || began);
        pace.from = Some(began + 5 * SECOND);
        pace.counted(10);
        assert_eq!(pace.judge(&rules, began + 10 * SECOND), Ok(()));
    }
}
