//! Time as a value.
//!
//! Policies never read a clock: they take a [`Moment`] as an argument, so that tests decide what
//! time it is. Only the outer layers (`proxy`, `live`, `admin`, `server`, `cli`) call [`now`],
//! and `auth::keyset::source`, `auth::revocation::upkeep` and `upstream::discovery`, which keep
//! keys, revocations and endpoints fresh in the background, and `cache::shared`, which Pingora
//! calls without a time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use once_cell::sync::Lazy;

/// One reading of both clocks: the monotonic one for intervals, the wall clock for claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic time since the process first looked at the clock.
    pub tick: Tick,
    /// Wall-clock time in milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

impl Moment {
    /// Wall-clock time in whole seconds since the Unix epoch.
    #[must_use]
    pub const fn unix_seconds(self) -> u64 {
        self.unix_ms / 1000
    }

    /// The same moment moved forward on both clocks, for tests and deadlines.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self { tick: self.tick.plus(by), unix_ms: self.unix_ms.saturating_add(ms) }
    }
}

/// Monotonic nanoseconds since the process first looked at the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tick(u64);

impl Tick {
    /// A tick that many nanoseconds after the start; tests build time with it.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Milliseconds since the start, rounded down.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time passed from `earlier` to this tick; zero if `earlier` is in fact later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The same moment for timers.
    #[must_use]
    pub fn instant(self) -> Instant {
        *START + Duration::from_nanos(self.0)
    }

    /// This tick moved forward.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

static START: Lazy<Instant> = Lazy::new(start);

#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
fn start() -> Instant {
    Instant::now()
}

/// How long the wall clock is told from the monotonic one, in nanoseconds, before it is read
/// again: the time after which a step of the wall clock is noticed. A request asks five times for
/// the time, and reading a clock costs as much as finding a route.
const TRUST_NANOS: u64 = 50_000_000;

/// How far the wall clock is ahead of [`Tick`], in milliseconds.
static AHEAD_MS: AtomicU64 = AtomicU64::new(0);
/// Until which [`Tick`] that counts; 0 before the first reading.
static TRUSTED_UNTIL: AtomicU64 = AtomicU64::new(0);

/// Tells both clocks: the monotonic one as it is, the wall clock to the millisecond, unless it was
/// set in the last 50 ms.
#[must_use]
pub fn now() -> Moment {
    let tick = Tick(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX));
    if tick.0 >= TRUSTED_UNTIL.load(Relaxed) {
        // Two threads may do so at once: both are right.
        AHEAD_MS.store(unix_ms().saturating_sub(tick.millis()), Relaxed);
        TRUSTED_UNTIL.store(tick.0.saturating_add(TRUST_NANOS), Relaxed);
    }
    Moment { tick, unix_ms: AHEAD_MS.load(Relaxed).saturating_add(tick.millis()) }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn unix_ms() -> u64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_follows_the_monotonic_one() {
        let before = unix_ms();
        let (first, second) = (now(), now());
        let after = unix_ms();
        assert!(second.tick >= first.tick && second.unix_ms >= first.unix_ms);
        // Both are rounded down, each by less than a millisecond.
        assert!(first.unix_ms + 1 >= before && second.unix_ms <= after + 1);
    }
}
