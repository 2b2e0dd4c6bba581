//! The time that local counters count in.

use std::sync::OnceLock;

use crate::clock::{Moment, Tick};

/// Unix time that follows the monotonic clock: where it begins is noted once.
///
/// Windows begin at multiples of their length, so with this time they are the same on every
/// node and in Redis, but for what clocks differ. A wall clock that is set later moves nothing.
#[derive(Debug, Default)]
pub(super) struct Unix(OnceLock<u64>);

impl Unix {
    /// Notes where Unix time began, the first time it is called.
    pub(super) fn note(&self, now: Moment) {
        let nanos = || now.unix_ms.saturating_mul(1_000_000).saturating_sub(now.tick.nanos());
        self.0.get_or_init(nanos);
    }

    /// Unix time in microseconds.
    pub(super) fn us(&self, now: Moment) -> u64 {
        self.note(now);
        self.at(now.tick).nanos() / 1000
    }

    /// A tick as Unix time.
    pub(super) fn at(&self, tick: Tick) -> Tick {
        let origin = self.0.get().copied().unwrap_or(0);
        Tick::from_nanos(origin.saturating_add(tick.nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_time_follows_the_monotonic_clock() {
        let unix = Unix::default();
        let moment = |ms: u64, unix_ms| Moment { tick: Tick::from_nanos(ms * 1_000_000), unix_ms };
        unix.note(moment(5, 1_700_000_000_005));
        let at = |ms: u64| unix.at(Tick::from_nanos(ms * 1_000_000)).millis();
        assert_eq!(at(7), 1_700_000_000_007);
        unix.note(moment(10, 1_800_000_000_000));
        assert_eq!(at(11), 1_700_000_000_011, "a wall clock that was set moves nothing");
    }
}
