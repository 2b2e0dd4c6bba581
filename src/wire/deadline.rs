//! When an exchange that a client waits for is given up.
//!
//! Pingora limits each read from a service, not the exchange: a service that sends a byte now and
//! then is never late. While it waits for a service it also waits for the client, and that wait is
//! ours: past the deadline it ends with an error, whatever the service does. HTTP/1 only: there
//! one connection is one exchange at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::time::Instant;

use crate::clock::Tick;

/// The deadline of the exchange on a connection. Set by the request, looked at by its connection;
/// both run in one task, so nothing has to be ordered.
#[derive(Debug)]
pub struct Deadline {
    /// Nanoseconds of a [`Tick`]; 0 for none.
    at: AtomicU64,
    passed: AtomicBool,
}

impl Deadline {
    /// No exchange is waited for.
    pub(super) const fn none() -> Self {
        Self { at: AtomicU64::new(0), passed: AtomicBool::new(false) }
    }

    /// Ends the exchange at this moment, instead of any set before.
    pub fn set(&self, at: Tick) {
        self.at.store(at.nanos().max(1), Ordering::Relaxed);
    }

    /// There is no exchange any more.
    pub fn clear(&self) {
        self.at.store(0, Ordering::Relaxed);
        self.passed.store(false, Ordering::Relaxed);
    }

    /// Whether the exchange was given up.
    pub fn has_passed(&self) -> bool {
        self.passed.load(Ordering::Relaxed)
    }

    /// The moment that was set.
    pub(super) fn at(&self) -> Option<Instant> {
        let at = self.at.load(Ordering::Relaxed);
        (at != 0).then(|| Instant::from_std(Tick::from_nanos(at).instant()))
    }

    /// The exchange is given up.
    pub(super) fn pass(&self) {
        self.passed.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_deadline_is_that_of_the_exchange_under_way() {
        let deadline = Deadline::none();
        assert_eq!(deadline.at(), None);
        let now = clock::now().tick;
        deadline.set(now);
        assert_eq!(deadline.at(), Some(Instant::from_std(now.instant())));
        deadline.pass();
        assert!(deadline.has_passed());
        deadline.clear();
        assert!(deadline.at().is_none() && !deadline.has_passed());
    }
}
