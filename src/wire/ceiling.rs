//! How many connections all listeners of this node hold together, at most.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::time::Instant;

/// How often the log says that connections are turned away.
const PAUSE: Duration = Duration::from_secs(10);

/// The places of all listeners together.
#[derive(Debug)]
pub struct Ceiling {
    most: usize,
    open: AtomicUsize,
    began: Instant,
    /// Milliseconds since `began` until when nothing is said.
    quiet_until: AtomicU64,
    /// Connections turned away since something was said.
    untold: AtomicU64,
}

impl Ceiling {
    /// A ceiling of that many connections; `gauge` shows it.
    #[must_use]
    pub fn new(most: usize, gauge: &IntGauge) -> Self {
        gauge.set(i64::try_from(most).unwrap_or(i64::MAX));
        Self {
            most,
            open: AtomicUsize::new(0),
            began: Instant::now(),
            quiet_until: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }

    /// Counts one more connection, and says whether there is a place for it. It counts until
    /// [`leave`](Self::leave) in any case.
    pub(super) fn enter(&self) -> bool {
        self.open.fetch_add(1, Relaxed) < self.most
    }

    pub(super) fn leave(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// A connection was turned away: once in a while this is said.
    pub(super) fn turned_away(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(count) = self.to_be_told(since) {
            tracing::warn!(
                most = self.most,
                turned_away = count,
                "this node has as many connections as it may: further ones are closed"
            );
        }
    }

    /// How many were turned away since this was told last, if it is time to tell.
    fn to_be_told(&self, now_ms: u64) -> Option<u64> {
        self.untold.fetch_add(1, Relaxed);
        let until = self.quiet_until.load(Relaxed);
        let next = now_ms.saturating_add(u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX));
        // Of several at once one tells.
        let tells = now_ms >= until
            && self.quiet_until.compare_exchange(until, next, Relaxed, Relaxed).is_ok();
        tells.then(|| self.untold.swap(0, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceiling(most: usize) -> Ceiling {
        Ceiling::new(most, &IntGauge::new("x", "x").unwrap())
    }

    #[test]
    fn places_are_counted_with_those_that_are_turned_away() {
        let ceiling = ceiling(2);
        assert!(ceiling.enter() && ceiling.enter());
        assert!(!ceiling.enter());
        ceiling.leave();
        assert!(!ceiling.enter(), "two are still here");
        ceiling.leave();
        ceiling.leave();
        assert!(ceiling.enter());
    }

    #[test]
    fn it_is_said_once_in_a_while_and_for_all() {
        let ceiling = ceiling(0);
        assert_eq!(ceiling.to_be_told(5), Some(1));
        for ms in 6..16 {
            assert_eq!(ceiling.to_be_told(ms), None);
        }
        assert_eq!(ceiling.to_be_told(10_004), None);
        assert_eq!(ceiling.to_be_told(10_005), Some(12));
        assert_eq!(ceiling.to_be_told(20_005), Some(1));
    }
}
