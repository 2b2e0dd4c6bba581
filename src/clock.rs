//! Time as a value.
//!
//! Policies never read a clock: they take a [`Moment`] as an argument, so that tests decide what
//! time it is. Only the outer layers (`proxy`, `live`, `admin`, `server`, `cli`) call [`now`],
//! and `auth::keyset::source`, `auth::revocation::upkeep` and `upstream::discovery`, which keep
//! keys, revocations and endpoints fresh in the background, and `cache::shared`, which Pingora
//! calls without a time.

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

/// Reads both clocks once.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> Moment {
    let nanos = u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
    Moment { tick: Tick(nanos), unix_ms }
}
