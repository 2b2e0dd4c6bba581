//! A process serves only when it hears its signals: one that nobody has asked for yet would end
//! it, by a SIGHUP meant to reload, or without draining.

use parking_lot::{Condvar, Mutex};

/// Counts those who are to listen and do not yet.
pub(super) struct Ears {
    closed: Mutex<usize>,
    changed: Condvar,
}

impl Ears {
    /// So many parts of the process ask for signals, each for its own.
    pub(super) fn new(parts: usize) -> Self {
        Self { closed: Mutex::new(parts), changed: Condvar::new() }
    }

    /// One of them has asked for its signals.
    pub(super) fn open(&self) {
        let mut closed = self.closed.lock();
        *closed = closed.saturating_sub(1);
        self.changed.notify_all();
    }

    /// Waits until all of them have. Blocks the thread: for threads of their own only.
    pub(super) fn wait(&self) {
        let mut closed = self.closed.lock();
        self.changed.wait_while(&mut closed, |closed| *closed > 0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_last_one_lets_the_process_serve() {
        let ears = Arc::new(Ears::new(2));
        let waits = Arc::clone(&ears);
        let waiting = std::thread::spawn(move || waits.wait());
        ears.open();
        assert!(!waiting.is_finished(), "one of two listens");
        ears.open();
        waiting.join().unwrap();
        ears.wait();
    }
}
