//! Counts client connections for the way out: how many are open, and how many have not had their
//! first request served yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The connections of the data plane.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    open: AtomicUsize,
    young: AtomicUsize,
    over: AtomicBool,
}

impl Arrivals {
    /// A connection was accepted.
    pub(super) fn enter(self: &Arc<Self>) -> Arrival {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.young.fetch_add(1, Ordering::Relaxed);
        Arrival { of: Arc::clone(self), is_young: true }
    }

    /// Nothing is accepted any more.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Whether connections may still come.
    pub(super) fn are_expected(&self) -> bool {
        !self.over.load(Ordering::Acquire)
    }

    /// Open connections.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections that have come and had no request served: it may be on its way.
    pub(super) fn young(&self) -> usize {
        self.young.load(Ordering::Relaxed)
    }
}

/// A connection, for as long as it is open.
#[derive(Debug)]
pub(super) struct Arrival {
    of: Arc<Arrivals>,
    is_young: bool,
}

impl Arrival {
    /// Its first request has been served, or its protocol ends it in good order by itself.
    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.is_young) {
            self.of.young.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.settle();
        self.of.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_young_until_it_is_settled_and_open_until_it_ends() {
        let arrivals = Arc::new(Arrivals::default());
        let (mut one, other) = (arrivals.enter(), arrivals.enter());
        assert_eq!((arrivals.open(), arrivals.young()), (2, 2));
        one.settle();
        one.settle();
        assert_eq!((arrivals.open(), arrivals.young()), (2, 1));
        drop(other);
        assert_eq!((arrivals.open(), arrivals.young()), (1, 0));
        drop(one);
        assert_eq!((arrivals.open(), arrivals.young()), (0, 0));
        assert!(arrivals.are_expected());
        arrivals.end();
        assert!(!arrivals.are_expected());
    }
}
