//! What this node knows of one endpoint.
//!
//! Three things take an endpoint out, and each has its own way back (R047, R048). It takes no
//! connection [`FAILURES_TO_OUT`] times in a row: a connection brings it back, one that the
//! background probe made or that of a request. It fails requests (see `ejection`): time and then
//! one good answer bring it back. It fails its checks (see `check`): passed checks bring it
//! back. Every gateway judges for itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::window::Window;
use crate::clock::Moment;
use crate::fault::Fault;

/// Connections in a row that an endpoint does not take until it is out. One may be chance, as
/// when the endpoint restarts; more than three would hold up more requests than need be.
pub const FAILURES_TO_OUT: u32 = 3;

/// How long an endpoint that takes no connection stays out before a request tries it.
pub const OUT_FOR: Duration = Duration::from_secs(10);

/// An endpoint that fails again and again is left out at most this many times as long.
const LONGEST: u32 = 10;

/// What is known of one endpoint; survives reloads.
///
/// Its numbers are not read or written together; between them a request more or less may reach
/// an endpoint whose health is just changing, which is harmless.
#[derive(Debug)]
pub struct EndpointHealth {
    /// The service, for the log.
    pub(super) service: Arc<str>,
    /// The address, for the log.
    pub(super) address: SocketAddr,
    /// The tick, in nanoseconds, from which one request may try it; 0 while it is in.
    out_until: AtomicU64,
    /// What the active check says, one of [`Checked`].
    checked: AtomicU8,
    /// Why it is out: it takes no connection, or it fails requests.
    unreachable: AtomicBool,
    /// Whether no set has used it yet.
    fresh: AtomicBool,
    connect_failures: AtomicU32,
    failures: AtomicU32,
    in_flight: AtomicU32,
    /// For how long it is out, or was the last time, in nanoseconds.
    out_for: AtomicU64,
    /// Times it has been left out without doing well in between.
    repeats: AtomicU32,
    /// When it came in, in nanoseconds: 0 is long ago, [`NEWCOMER`] with its first request.
    since: AtomicU64,
    /// Checks passed in a row, or failed where negative.
    streak: AtomicI32,
    /// Times it was left out for failing requests.
    ejections: AtomicU64,
    /// The last failure, as its place in the fault table plus one.
    last_error: AtomicU8,
    pub(super) requests: Window,
    pub(super) errors: Window,
}

/// What the active check says of an endpoint. The order matters: what is below `Awaited` is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Checked {
    /// Nothing yet, or nobody asks.
    Unknown,
    /// Well.
    Passing,
    /// Nothing yet, and there are others to use meanwhile.
    Awaited,
    /// Not well.
    Failing,
}

/// The right to send one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The endpoint is in.
    Free,
    /// It was out, and this request finds out whether it still should be.
    Probe,
    /// Somebody else finds that out.
    Lost,
}

const IN: u64 = 0;
const NEWCOMER: u64 = u64::MAX;

impl EndpointHealth {
    /// An endpoint about which nothing is known.
    pub(super) fn new(service: &str, address: SocketAddr) -> Self {
        Self {
            service: service.into(),
            address,
            out_until: AtomicU64::new(IN),
            checked: AtomicU8::new(Checked::Unknown as u8),
            unreachable: AtomicBool::new(false),
            fresh: AtomicBool::new(true),
            connect_failures: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            out_for: AtomicU64::new(0),
            repeats: AtomicU32::new(0),
            since: AtomicU64::new(0),
            streak: AtomicI32::new(0),
            ejections: AtomicU64::new(0),
            last_error: AtomicU8::new(0),
            requests: Window::default(),
            errors: Window::default(),
        }
    }

    /// Whether requests may be sent to it as far as requests tell: it is in, or it is time for
    /// one to try it. Asking changes nothing; `claim` takes that one.
    #[must_use]
    pub fn is_up(&self, now: Moment) -> bool {
        now.tick.nanos() >= self.out_until.load(Relaxed)
    }

    /// Whether requests may be sent to it, its checks included.
    #[must_use]
    pub fn is_well(&self, now: Moment) -> bool {
        self.is_up(now) && self.checked.load(Relaxed) < Checked::Awaited as u8
    }

    /// Whether it would be well, had it passed its first check.
    pub(super) fn is_awaited(&self, now: Moment) -> bool {
        self.is_up(now) && self.check_state() == Checked::Awaited
    }

    /// Takes the right to send one request: granted to all while the endpoint is in, to one
    /// while it is out and its time is over. A caller that never reports its outcome costs the
    /// endpoint one more such time.
    #[must_use]
    pub(super) fn claim(&self, now: Moment) -> Claim {
        let until = self.out_until.load(Relaxed);
        if until == IN {
            return Claim::Free;
        }
        let next = now.tick.nanos().saturating_add(self.out_for.load(Relaxed));
        let due = now.tick.nanos() >= until;
        if due && self.out_until.compare_exchange(until, next, Relaxed, Relaxed).is_ok() {
            Claim::Probe
        } else {
            Claim::Lost
        }
    }

    /// Whether it is out for what requests met.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.out_until.load(Relaxed) != IN
    }

    /// Whether it gets no requests: it is out, or fails its checks.
    pub(super) fn is_spared(&self) -> bool {
        self.is_out() || self.check_state() == Checked::Failing
    }

    /// Whether it is out because it takes no connection.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.is_out() && self.unreachable.load(Relaxed)
    }

    /// How long until a request may try it; none while it is in.
    #[must_use]
    pub fn out_left(&self, now: Moment) -> Option<Duration> {
        let until = self.out_until.load(Relaxed);
        let left = until.saturating_sub(now.tick.nanos());
        (until != IN).then(|| Duration::from_nanos(left))
    }

    /// A connection was made.
    pub(super) fn connected(&self, now: Moment) {
        // Reading first keeps the cache line shared between threads while all is well.
        if self.connect_failures.load(Relaxed) != 0 {
            self.connect_failures.store(0, Relaxed);
        }
        if self.is_unreachable() {
            self.back(now);
        }
    }

    /// A connection could not be made.
    pub(super) fn connect_failed(&self, now: Moment) {
        let before = self.connect_failures.fetch_add(1, Relaxed);
        if before.saturating_add(1) < FAILURES_TO_OUT {
            return;
        }
        // Once out for failing requests it needs more than a connection to come back.
        if self.out_until.load(Relaxed) == IN {
            self.unreachable.store(true, Relaxed);
        }
        self.out_for.store(nanos(OUT_FOR), Relaxed);
        let until = now.tick.plus(OUT_FOR).nanos();
        if self.out_until.swap(until, Relaxed) == IN {
            let (service, address) = (&*self.service, self.address);
            tracing::warn!(service, %address, "endpoint takes no connection, it is out");
        }
    }

    /// A request was answered well; `probe` when it was the one that tried an endpoint that was
    /// out.
    pub(super) fn succeeded(&self, probe: bool, now: Moment) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        if probe && self.is_out() {
            self.back(now);
        }
    }

    /// A request failed; returns how many have in a row.
    pub(super) fn request_failed(&self, fault: Fault) -> u32 {
        self.last_error.store(u8::try_from(fault as usize + 1).unwrap_or(0), Relaxed);
        self.failures.fetch_add(1, Relaxed).saturating_add(1)
    }

    /// Leaves it out for `base`, longer if it was out shortly before: twice as long each time, at
    /// most ten times.
    pub(super) fn eject(&self, base: Duration, now: Moment) {
        let last = Duration::from_nanos(self.out_for.load(Relaxed));
        let came_back = crate::clock::Tick::from_nanos(self.since.load(Relaxed));
        let behaved = !self.is_out() && now.tick.since(came_back) > last;
        let repeats = if behaved { 0 } else { self.repeats.load(Relaxed) };
        self.repeats.store(repeats.saturating_add(1), Relaxed);
        let out_for = base * (1_u32 << repeats.min(4)).min(LONGEST);
        self.out_for.store(nanos(out_for), Relaxed);
        self.unreachable.store(false, Relaxed);
        self.failures.store(0, Relaxed);
        self.streak.store(0, Relaxed);
        self.ejections.fetch_add(1, Relaxed);
        self.out_until.store(now.tick.plus(out_for).nanos(), Relaxed);
        let (service, address) = (&*self.service, self.address);
        let seconds = out_for.as_secs_f64();
        tracing::warn!(service, %address, seconds, "endpoint fails requests, it is left out");
    }

    /// It is in again.
    fn back(&self, now: Moment) {
        self.failures.store(0, Relaxed);
        self.since.store(now.tick.nanos().max(1), Relaxed);
        if self.out_until.swap(IN, Relaxed) != IN {
            let (service, address) = (&*self.service, self.address);
            tracing::info!(service, %address, "endpoint is up again");
        }
    }

    /// Notes the outcome of an active check. `needed` in a row change what is said of it.
    pub(super) fn checked(&self, passed: bool, needed: u32, now: Moment) {
        let streak = self.streak.load(Relaxed);
        let streak = if passed { streak.max(0) + 1 } else { streak.min(0) - 1 };
        self.streak.store(streak.clamp(-1_000_000, 1_000_000), Relaxed);
        let before = self.check_state();
        let long_enough = streak.unsigned_abs() >= needed;
        let after = match before {
            Checked::Unknown | Checked::Awaited if passed => Checked::Passing,
            Checked::Failing if passed && long_enough => Checked::Passing,
            _ if !passed && long_enough => Checked::Failing,
            same => same,
        };
        if passed && long_enough && self.is_out() {
            self.back(now);
        }
        if after == before {
            return;
        }
        self.checked.store(after as u8, Relaxed);
        let (service, address) = (&*self.service, self.address);
        match (before, after) {
            (_, Checked::Failing) => {
                tracing::warn!(service, %address, "endpoint fails its checks, it is out");
            }
            (Checked::Failing, _) => {
                self.since.store(now.tick.nanos().max(1), Relaxed);
                tracing::info!(service, %address, "endpoint passes its checks again");
            }
            _ => tracing::debug!(service, %address, "endpoint passes its checks"),
        }
    }

    /// Nobody checks it any more.
    pub(super) fn unchecked(&self) {
        self.checked.store(Checked::Unknown as u8, Relaxed);
        self.streak.store(0, Relaxed);
    }

    /// Whether an active check has had an outcome.
    pub(super) fn was_asked(&self) -> bool {
        self.streak.load(Relaxed) != 0
    }

    /// What the active check says of it.
    #[must_use]
    pub fn check_state(&self) -> Checked {
        let word = self.checked.load(Relaxed);
        let states = [Checked::Unknown, Checked::Passing, Checked::Awaited, Checked::Failing];
        states.into_iter().find(|state| *state as u8 == word).unwrap_or(Checked::Unknown)
    }

    /// Whether no set has used it yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh.load(Relaxed)
    }

    /// A set uses it from now on. A `newcomer` joins endpoints that are in use already: it takes
    /// a growing share, and none before it has passed a check, where there are checks.
    pub(super) fn settle(&self, newcomer: bool, is_checked: bool) {
        if self.fresh.swap(false, Relaxed) && newcomer {
            self.since.store(NEWCOMER, Relaxed);
            if is_checked {
                self.checked.store(Checked::Awaited as u8, Relaxed);
            }
        }
    }

    /// How much of its share it takes, out of 1000, while it grows from a tenth to the whole
    /// over `span`.
    pub(super) fn share(&self, span: Duration, now: Moment) -> u32 {
        let mut since = self.since.load(Relaxed);
        if since == 0 {
            return WHOLE;
        }
        if since == NEWCOMER {
            since = now.tick.nanos().max(1);
            self.since.store(since, Relaxed);
        }
        let passed = now.tick.nanos().saturating_sub(since);
        let span = nanos(span).max(1);
        if passed >= span {
            return WHOLE;
        }
        let grown = u128::from(passed) * u128::from(WHOLE - TENTH) / u128::from(span);
        TENTH + u32::try_from(grown).unwrap_or(0)
    }

    /// Requests that it is answering.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(super) fn enter(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Failed requests in a row.
    #[must_use]
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures.load(Relaxed)
    }

    /// Times it was left out for failing requests.
    #[must_use]
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }

    /// The last failure.
    #[must_use]
    pub fn last_error(&self) -> Option<Fault> {
        let place = usize::from(self.last_error.load(Relaxed)).checked_sub(1)?;
        Fault::ALL.get(place).copied()
    }
}

/// The whole of a share.
pub(super) const WHOLE: u32 = 1000;
/// What it begins with.
const TENTH: u32 = WHOLE / 10;

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
