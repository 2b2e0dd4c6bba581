//! One look-up for all who want to know the same.
//!
//! The table of look-ups under way is locked only by requests that cannot be answered on this
//! node, for the few nanoseconds that they take to join one or to begin one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

/// Look-ups of one kind under way, at most: each holds a task and waits for the database.
pub(super) const FLIGHTS_MAX: usize = 512;

/// Look-ups that are under way.
#[derive(Debug)]
pub(super) struct Flights<K, A> {
    open: Mutex<HashMap<K, Open<A>>>,
    under_way: AtomicUsize,
    next: AtomicU64,
}

#[derive(Debug)]
struct Open<A> {
    id: u64,
    answer: watch::Receiver<Option<A>>,
}

/// The way into a look-up.
pub(super) enum Entry<K: Eq + Hash, A> {
    /// Somebody asks already.
    Join(watch::Receiver<Option<A>>),
    /// The caller is to ask, and to tell all who wait.
    Begin(Flight<K, A>, watch::Receiver<Option<A>>),
    /// Too many ask already.
    Full,
}

/// The right to ask. Ends with its holder, however that ends.
pub(super) struct Flight<K: Eq + Hash, A> {
    flights: Arc<Flights<K, A>>,
    key: K,
    id: u64,
    answer: watch::Sender<Option<A>>,
}

impl<K, A> Default for Flights<K, A> {
    fn default() -> Self {
        let (under_way, next) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { open: Mutex::default(), under_way, next }
    }
}

impl<K: Clone + Eq + Hash, A> Flights<K, A> {
    /// Joins the look-up of a key, or begins one.
    pub(super) fn enter(self: &Arc<Self>, key: &K) -> Entry<K, A> {
        let mut open = self.open.lock();
        if let Some(flight) = open.get(key) {
            return Entry::Join(flight.answer.clone());
        }
        // Counted apart from the table, which a purge may have left without one of them.
        if self.under_way.fetch_add(1, Ordering::AcqRel) >= FLIGHTS_MAX {
            self.under_way.fetch_sub(1, Ordering::AcqRel);
            return Entry::Full;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = watch::channel(None);
        open.insert(key.clone(), Open { id, answer: receiver.clone() });
        let flight = Flight { flights: Arc::clone(self), key: key.clone(), id, answer };
        Entry::Begin(flight, receiver)
    }

    /// Lets nobody join the look-up of a key any more: what it will say is outdated.
    pub(super) fn abandon<Q>(&self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.open.lock().remove(key);
    }
}

impl<K: Eq + Hash, A> Flight<K, A> {
    /// What is looked up.
    pub(super) const fn key(&self) -> &K {
        &self.key
    }

    /// Tells all who wait, and lets nobody else join.
    pub(super) fn land(self, answer: A) {
        // Nobody waits any more: then nobody is told.
        let _ = self.answer.send(Some(answer));
    }
}

impl<K: Eq + Hash, A> Drop for Flight<K, A> {
    fn drop(&mut self) {
        let mut open = self.flights.open.lock();
        if open.get(&self.key).is_some_and(|other| other.id == self.id) {
            open.remove(&self.key);
        }
        drop(open);
        self.flights.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Table = Arc<Flights<String, u32>>;

    fn begin(table: &Table, key: &str) -> Flight<String, u32> {
        match table.enter(&key.to_owned()) {
            Entry::Begin(flight, _) => flight,
            Entry::Join(_) | Entry::Full => panic!("there is one"),
        }
    }

    fn joins(table: &Table, key: &str) -> bool {
        matches!(table.enter(&key.to_owned()), Entry::Join(_))
    }

    #[test]
    fn all_join_until_it_has_landed() {
        let table = Table::default();
        let flight = begin(&table, "a");
        let Entry::Join(receiver) = table.enter(&"a".to_owned()) else { panic!("not joined") };
        flight.land(7);
        assert_eq!(*receiver.borrow(), Some(7));
        drop(begin(&table, "a"));
        assert!(begin(&table, "a").answer.borrow().is_none(), "a lost one is no obstacle");
    }

    #[test]
    fn nobody_joins_what_was_abandoned() {
        let table = Table::default();
        let old = begin(&table, "a");
        table.abandon("a");
        let new = begin(&table, "a");
        drop(old);
        assert!(joins(&table, "a"), "the end of the old one is not that of the new one");
        drop(new);
        assert!(!joins(&table, "a"));
    }

    #[test]
    fn their_number_is_bounded() {
        let table = Table::default();
        let mut flights: Vec<_> =
            (0..FLIGHTS_MAX).map(|number| begin(&table, &number.to_string())).collect();
        assert!(matches!(table.enter(&"more".to_owned()), Entry::Full));
        assert!(joins(&table, "0"), "to join costs nothing");
        flights.pop();
        drop(begin(&table, "more"));
    }
}
