//! What this node has seen of each endpoint.
//!
//! Attempts report whether a connection could be made. [`FAILURES_TO_OUT`] failures in a row
//! take an endpoint out; a connection brings it back (R047, R048): one that the background probe
//! made (see `probe`), or, after [`OUT_FOR`], that of one request which is let through. Every
//! gateway judges for itself.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Moment;

/// Connect failures in a row that take an endpoint out. One may be chance, as when the endpoint
/// restarts; more than three would hold up more requests than need be.
pub const FAILURES_TO_OUT: u32 = 3;

/// How long an endpoint stays out before one request probes it, and the time between probes.
pub const OUT_FOR: Duration = Duration::from_secs(10);

/// Passive health of one endpoint: consecutive connect failures take it out for a while.
///
/// The two numbers are not read or written together; between them a request more or less may
/// reach an endpoint whose health is just changing, which is harmless.
#[derive(Debug, Default)]
pub struct EndpointHealth {
    /// Failures since the last connection.
    failures: AtomicU32,
    /// The tick, in nanoseconds, from which one request may probe; 0 while it is up.
    probe_from: AtomicU64,
}

impl EndpointHealth {
    /// Whether requests may be sent to it: it is up, or it is time for a probe. Asking changes
    /// nothing; [`claim`](Self::claim) takes the probe.
    #[must_use]
    pub fn is_up(&self, now: Moment) -> bool {
        now.tick.nanos() >= self.probe_from.load(Ordering::Relaxed)
    }

    /// Takes the right to send one request: always granted while the endpoint is up, to one
    /// caller each [`OUT_FOR`] while it is out. A caller that never reports its outcome costs
    /// the endpoint one such pause.
    #[must_use]
    pub fn claim(&self, now: Moment) -> bool {
        let probe_from = self.probe_from.load(Ordering::Relaxed);
        if probe_from == UP {
            return true;
        }
        let next = later(now);
        now.tick.nanos() >= probe_from
            && self
                .probe_from
                .compare_exchange(probe_from, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// A connection was made.
    pub fn connected(&self) {
        // Reading first keeps the cache line shared between threads while all is well.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.probe_from.load(Ordering::Relaxed) != UP {
            self.probe_from.store(UP, Ordering::Relaxed);
        }
    }

    /// A connection could not be made.
    pub fn failed(&self, now: Moment) {
        let failures_before = self.failures.fetch_add(1, Ordering::Relaxed);
        if failures_before.saturating_add(1) >= FAILURES_TO_OUT {
            self.probe_from.store(later(now), Ordering::Relaxed);
        }
    }
}

const UP: u64 = 0;

fn later(now: Moment) -> u64 {
    now.tick.plus(OUT_FOR).nanos()
}

/// Health of all endpoints, by service and address; survives reloads.
#[derive(Debug, Default)]
pub struct HealthBoard {
    /// Locked only while a configuration is compiled, and for a round of probes.
    seen: Mutex<HashMap<EndpointKey, Arc<EndpointHealth>>>,
}

/// A service and one of its addresses.
type EndpointKey = (Box<str>, SocketAddr);

impl HealthBoard {
    /// The health of an endpoint, created healthy when first seen. Before the board grows it
    /// forgets the endpoints that no snapshot uses any more, so that addresses which come and go
    /// do not pile up.
    #[must_use]
    pub fn of(&self, service: &str, address: SocketAddr) -> Arc<EndpointHealth> {
        let mut seen = self.seen.lock();
        if seen.len() == seen.capacity() {
            seen.retain(|_, health| Arc::strong_count(health) > 1);
        }
        Arc::clone(seen.entry((service.into(), address)).or_default())
    }

    /// Endpoints that are out and that a snapshot still uses.
    pub(super) fn out(&self) -> Vec<(SocketAddr, Arc<EndpointHealth>)> {
        let seen = self.seen.lock();
        let used = seen.iter().filter(|(_, health)| Arc::strong_count(health) > 1);
        used.filter(|(_, health)| health.probe_from.load(Ordering::Relaxed) != UP)
            .map(|((_, address), health)| (*address, Arc::clone(health)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
