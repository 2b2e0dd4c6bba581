//! How many requests a service is sent at once.
//!
//! Requests beyond `maxRequests` are refused. Connections beyond `maxConnections` are waited
//! for, first come first served, by at most `maxPending` requests and no longer than a
//! connection may take to be made (R009). Where the number of requests is found out by the
//! service's latency ([`Adaptive`]), those beyond it wait in the same line, where there is one,
//! and are refused otherwise. What is taken here is given back when it is dropped, whatever
//! became of the request.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::adaptive::{Adaptive, Place};
use crate::model;

/// The bounds of a service: settings of one configuration over what is counted.
#[derive(Debug)]
pub(super) struct Gate {
    max_requests: Option<u32>,
    /// Shared by all configurations with the same number. After a change of the number,
    /// requests under way count against the old one.
    connections: Option<Arc<Semaphore>>,
    pub(super) adaptive: Option<Adaptive>,
    max_pending: u32,
    longest_wait: Duration,
    memory: Arc<GateMemory>,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct GateMemory {
    requests: Arc<AtomicU32>,
    pending: Arc<AtomicU32>,
    /// Locked only while a configuration is compiled.
    connections: Mutex<Vec<(u32, Weak<Semaphore>)>>,
}

/// What a request holds of a service until it is over.
#[derive(Debug)]
pub(super) struct Permits {
    _request: Option<Counted>,
    _place: Option<Place>,
    _connection: Option<OwnedSemaphorePermit>,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Gate {
    /// A gate with these settings; none where nothing is bounded.
    pub(super) fn new(
        model: &model::CircuitBreaker,
        adaptive: Option<Adaptive>,
        connect_timeout: Duration,
        memory: &Arc<GateMemory>,
    ) -> Option<Self> {
        let fixed = model.max_requests.is_some() || model.max_connections.is_some();
        (fixed || adaptive.is_some()).then(|| Self {
            adaptive,
            max_requests: model.max_requests,
            connections: model.max_connections.map(|most| memory.connections(most)),
            max_pending: model.max_pending,
            longest_wait: connect_timeout,
            memory: Arc::clone(memory),
        })
    }

    /// Takes the place of one request; may wait for a connection, no longer than `left`.
    pub(super) async fn enter(&self, left: Duration) -> Result<Permits, Full> {
        let request = match self.max_requests {
            Some(most) => Some(Counted::take(&self.memory.requests, most).ok_or(Full)?),
            None => None,
        };
        let Some(connections) = &self.connections else {
            let place = self.place().map_err(|Full| self.full())?;
            return Ok(Permits { _request: request, _place: place, _connection: None });
        };
        let (place, connection) = match self.at_once(connections) {
            Some(both) => both,
            None => self.wait(connections, left).await?,
        };
        Ok(Permits { _request: request, _place: place, _connection: Some(connection) })
    }

    /// A place, where there are places.
    fn place(&self) -> Result<Option<Place>, Full> {
        match &self.adaptive {
            Some(adaptive) => adaptive.take().map(Some).ok_or(Full),
            None => Ok(None),
        }
    }

    /// Waiting requests come first: what is given back goes to them, so this takes nothing that
    /// one of them waits for.
    fn at_once(
        &self,
        connections: &Arc<Semaphore>,
    ) -> Option<(Option<Place>, OwnedSemaphorePermit)> {
        let place = self.place().ok()?;
        Some((place, Arc::clone(connections).try_acquire_owned().ok()?))
    }

    async fn wait(
        &self,
        connections: &Arc<Semaphore>,
        left: Duration,
    ) -> Result<(Option<Place>, OwnedSemaphorePermit), Full> {
        let pending = Counted::take(&self.memory.pending, self.max_pending);
        let _pending = pending.ok_or_else(|| self.full())?;
        let both = async {
            let place = match &self.adaptive {
                Some(adaptive) => Some(adaptive.wait().await),
                None => None,
            };
            Some((place, Arc::clone(connections).acquire_owned().await.ok()?))
        };
        let both = tokio::time::timeout(self.longest_wait.min(left), both).await;
        both.ok().flatten().ok_or_else(|| self.full())
    }

    /// Counts a refusal where it is the latency that bounds requests.
    fn full(&self) -> Full {
        if let Some(adaptive) = &self.adaptive {
            adaptive.refuse();
        }
        Full
    }

    /// Requests under way, where they are bounded.
    pub(super) fn requests(&self) -> Option<u32> {
        self.max_requests.map(|_| self.memory.requests.load(Relaxed))
    }

    /// Requests that wait for a connection, where connections are bounded.
    pub(super) fn pending(&self) -> Option<u32> {
        self.connections.as_ref().map(|_| self.memory.pending.load(Relaxed))
    }

    /// Connections that are free, where they are bounded.
    pub(super) fn free(&self) -> Option<usize> {
        self.connections.as_ref().map(|connections| connections.available_permits())
    }
}

impl GateMemory {
    fn connections(&self, most: u32) -> Arc<Semaphore> {
        let mut known = self.connections.lock();
        known.retain(|(_, semaphore)| semaphore.strong_count() > 0);
        let same = known.iter().find(|(size, _)| *size == most);
        if let Some(semaphore) = same.and_then(|(_, semaphore)| semaphore.upgrade()) {
            return semaphore;
        }
        let permits = usize::try_from(most).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let semaphore = Arc::new(Semaphore::new(permits));
        known.push((most, Arc::downgrade(&semaphore)));
        semaphore
    }
}

/// One of a bounded number, for as long as it lives.
#[derive(Debug)]
struct Counted(Arc<AtomicU32>);

impl Counted {
    fn take(count: &Arc<AtomicU32>, most: u32) -> Option<Self> {
        // Counted first and taken back: of many that come at once, rather one too few than more.
        let one = Self(Arc::clone(count));
        (count.fetch_add(1, Relaxed) < most).then_some(one)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(requests: Option<u32>, connections: Option<u32>, pending: u32) -> Gate {
        let model = model::CircuitBreaker {
            max_requests: requests,
            max_connections: connections,
            max_pending: pending,
            ..model::CircuitBreaker::default()
        };
        Gate::new(&model, None, Duration::from_millis(20), &Arc::default()).unwrap()
    }

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn requests_beyond_the_bound_are_refused_until_one_is_over() {
        let gate = gate(Some(2), None, 0);
        let (first, second) = (gate.enter(LONG).await.unwrap(), gate.enter(LONG).await.unwrap());
        assert!(gate.enter(LONG).await.is_err());
        assert_eq!(gate.requests(), Some(2), "a refused one holds nothing");
        drop(first);
        assert!(gate.enter(LONG).await.is_ok());
        drop(second);
        assert_eq!(gate.requests(), Some(0));
    }

    #[tokio::test]
    async fn connections_are_waited_for_in_order_by_so_many_and_so_long() {
        let gate = Arc::new(gate(None, Some(1), 2));
        let held = gate.enter(LONG).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting: Vec<_> = (0..2)
            .map(|number| {
                let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
                tokio::spawn(async move {
                    let permits = gate.enter(LONG).await;
                    order.lock().push((number, permits.is_ok()));
                })
            })
            .collect();
        while gate.pending() != Some(2) {
            tokio::task::yield_now().await;
        }
        assert!(gate.enter(LONG).await.is_err(), "a third may not wait");
        drop(held);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock(), [(0, true), (1, true)]);
        let _held = gate.enter(LONG).await.unwrap();
        let begun = tokio::time::Instant::now();
        assert!(gate.enter(LONG).await.is_err(), "nobody waits longer than a connection takes");
        assert!(begun.elapsed() >= Duration::from_millis(20));
        assert_eq!(gate.pending(), Some(0));
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_takes_nothing_with_it() {
        let gate = Arc::new(gate(Some(5), Some(1), 5));
        let held = gate.enter(LONG).await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(1), gate.enter(LONG));
        assert!(waiting.await.is_err());
        assert_eq!((gate.pending(), gate.requests()), (Some(0), Some(1)));
        drop(held);
        assert_eq!((gate.free(), gate.requests()), (Some(1), Some(0)));
    }

    fn adaptive(most: u32, connections: Option<u32>) -> Gate {
        let model = model::CircuitBreaker {
            max_connections: connections,
            ..model::CircuitBreaker::default()
        };
        let limit = model::AdaptiveConcurrency { min: 1, max: most, tolerance: 2.0 };
        let limit = Adaptive::new(&limit, &Arc::default());
        Gate::new(&model, Some(limit), Duration::from_millis(20), &Arc::default()).unwrap()
    }

    #[tokio::test]
    async fn requests_beyond_the_adaptive_limit_are_refused_where_none_may_wait() {
        let gate = adaptive(1, None);
        let held = gate.enter(LONG).await.unwrap();
        let begun = tokio::time::Instant::now();
        assert!(gate.enter(LONG).await.is_err());
        assert!(begun.elapsed() < Duration::from_millis(20), "at once");
        assert_eq!(gate.adaptive.as_ref().unwrap().refused(), 1);
        drop(held);
        assert!(gate.enter(LONG).await.is_ok());
    }

    #[tokio::test]
    async fn requests_beyond_the_adaptive_limit_wait_in_the_line_for_connections() {
        let gate = Arc::new(adaptive(1, Some(5)));
        let held = gate.enter(LONG).await.unwrap();
        assert!(gate.enter(LONG).await.is_err(), "after 20 ms");
        assert_eq!(gate.free(), Some(4), "what was not used is given back");
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(LONG).await.is_ok() }
        });
        while gate.pending() != Some(1) {
            tokio::task::yield_now().await;
        }
        drop(held);
        assert!(waiting.await.unwrap());
        assert_eq!((gate.pending(), gate.free()), (Some(0), Some(5)));
    }

    #[test]
    fn the_same_number_is_the_same_bound_after_a_reload() {
        let memory = GateMemory::default();
        let (one, again) = (memory.connections(3), memory.connections(3));
        assert!(Arc::ptr_eq(&one, &again));
        assert!(!Arc::ptr_eq(&one, &memory.connections(4)));
    }
}
