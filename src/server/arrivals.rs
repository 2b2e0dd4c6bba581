//! Counts client connections for the way out: how many are open, and how many have not had their
//! first request served yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::wire::Farewell;

/// The connections of the data plane.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    open: AtomicUsize,
    young: AtomicUsize,
    shared: AtomicUsize,
    over: AtomicBool,
    /// What ends those of them that carry another protocol.
    pub(super) farewell: Arc<Farewell>,
}

impl Arrivals {
    /// A connection was accepted.
    pub(super) fn enter(self: &Arc<Self>) -> Arrival {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.young.fetch_add(1, Ordering::Relaxed);
        Arrival { of: Arc::clone(self), is_young: true, is_shared: false }
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

    /// Connections of HTTP/2. Answers that their clients have not taken yet belong to no request
    /// any more.
    pub(super) fn shared(&self) -> usize {
        self.shared.load(Ordering::Relaxed)
    }
}

/// A connection, for as long as it is open.
#[derive(Debug)]
pub(super) struct Arrival {
    of: Arc<Arrivals>,
    is_young: bool,
    is_shared: bool,
}

impl Arrival {
    /// It speaks HTTP/2, which ends it in good order by itself.
    pub(super) fn share(&mut self) {
        self.of.shared.fetch_add(1, Ordering::Relaxed);
        self.is_shared = true;
        self.settle();
    }

    /// Its first request has been served.
    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.is_young) {
            self.of.young.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.settle();
        if self.is_shared {
            self.of.shared.fetch_sub(1, Ordering::Relaxed);
        }
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
        assert_eq!((arrivals.open(), arrivals.young(), arrivals.shared()), (1, 0, 0));
        let mut shared = arrivals.enter();
        shared.share();
        assert_eq!((arrivals.open(), arrivals.young(), arrivals.shared()), (2, 0, 1));
        drop((one, shared));
        assert_eq!((arrivals.open(), arrivals.young(), arrivals.shared()), (0, 0, 0));
        assert!(arrivals.are_expected());
        arrivals.end();
        assert!(!arrivals.are_expected());
    }
}
