//! How many requests at once a service can take, found out by how much slower it gets.
//!
//! Settings belong to a configuration; what was learned outlives it, found again by the service's
//! name. A request takes a place and gives it back; an answer adds its time to a histogram.
//! Nothing of that takes a lock. Whoever finds that the window is over closes it, alone: then
//! [`Law`] says what the limit is from now on.

mod law;
mod samples;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use self::law::{Bounds, FIRST, Law, Seen};
use self::samples::Samples;
use crate::clock::Tick;
use crate::model;

/// Answers and failures without which a window is not closed: fewer say nothing.
const ENOUGH: u32 = 20;

/// The adaptive limit of a service: settings of one configuration over what was learned.
#[derive(Debug)]
pub(super) struct Adaptive {
    bounds: Bounds,
    memory: Arc<AdaptiveMemory>,
}

/// What was learned about a service, and what is under way.
#[derive(Debug)]
pub(super) struct AdaptiveMemory {
    /// What the law said last; each configuration holds it within its own bounds.
    limit: AtomicU32,
    in_flight: AtomicU32,
    /// The most that were under way at once in this window.
    peak: AtomicU32,
    waiting: AtomicU32,
    refused: AtomicU64,
    freed: Notify,
    /// The tick, in nanoseconds, from which the window may be closed.
    window_ends: AtomicU64,
    samples: Samples,
    /// Only ever tried, by whoever closes a window.
    law: Mutex<Law>,
}

impl Default for AdaptiveMemory {
    fn default() -> Self {
        Self {
            limit: AtomicU32::new(FIRST),
            in_flight: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            freed: Notify::new(),
            window_ends: AtomicU64::new(0),
            samples: Samples::default(),
            law: Mutex::new(Law::default()),
        }
    }
}

impl Adaptive {
    /// A limit with these settings over what was learned.
    pub(super) fn new(model: &model::AdaptiveConcurrency, memory: &Arc<AdaptiveMemory>) -> Self {
        Self { bounds: Bounds::of(model), memory: Arc::clone(memory) }
    }

    /// Requests that the service may have at once.
    pub(super) fn limit(&self) -> u32 {
        self.bounds.hold(self.memory.limit.load(Relaxed))
    }

    /// Requests that it has.
    pub(super) fn in_flight(&self) -> u32 {
        self.memory.in_flight.load(Relaxed)
    }

    /// Requests that were refused for it.
    pub(super) fn refused(&self) -> u64 {
        self.memory.refused.load(Relaxed)
    }

    /// How long its answers take while it is not pressed, as far as that is known.
    pub(super) fn at_rest(&self) -> Option<Duration> {
        self.memory.law.lock().at_rest()
    }

    /// Notes that a request was refused for want of a place.
    pub(super) fn refuse(&self) {
        self.memory.refused.fetch_add(1, Relaxed);
    }

    /// A place, where there is one that nobody waits for.
    pub(super) fn take(&self) -> Option<Place> {
        if self.memory.waiting.load(SeqCst) > 0 {
            return None;
        }
        self.take_next()
    }

    /// A place as soon as there is one; those who wait get theirs in order.
    pub(super) async fn wait(&self) -> Place {
        let memory = &self.memory;
        let _waiting = Waiting::begin(&memory.waiting);
        loop {
            let freed = memory.freed.notified();
            tokio::pin!(freed);
            // Listens before it looks, so that what is given back in between is not missed.
            freed.as_mut().enable();
            if let Some(place) = self.take_next() {
                return place;
            }
            freed.await;
        }
    }

    fn take_next(&self) -> Option<Place> {
        let memory = &self.memory;
        let limit = self.limit();
        let one_more = |held: u32| (held < limit).then(|| held.saturating_add(1));
        match memory.in_flight.fetch_update(SeqCst, SeqCst, one_more) {
            Ok(before) => {
                memory.peak.fetch_max(before.saturating_add(1), Relaxed);
                Some(Place(Arc::clone(memory)))
            }
            Err(held) => {
                memory.peak.fetch_max(held, Relaxed);
                None
            }
        }
    }

    /// An answer of the service began after this time.
    pub(super) fn answered(&self, took: Duration, now: Tick) {
        self.memory.samples.add(took);
        self.close_window(now);
    }

    /// The service said that it has too much to do, or did not answer in time.
    pub(super) fn overloaded(&self, now: Tick) {
        self.memory.samples.add_overload();
        self.close_window(now);
    }

    /// A request was given up after this time without an answer: it would have taken longer
    /// still. That is worth knowing only where it is too long already, else a client in a hurry
    /// would make the service look fast.
    pub(super) fn abandoned(&self, after: Duration, now: Tick) {
        let slow = self.memory.law.try_lock().and_then(|law| law.slow(&self.bounds));
        if slow.is_some_and(|slow| after > slow) {
            self.answered(after, now);
        }
    }

    fn close_window(&self, now: Tick) {
        let memory = &self.memory;
        if now.nanos() < memory.window_ends.load(Relaxed) || memory.samples.total() < ENOUGH {
            return;
        }
        let Some(mut law) = memory.law.try_lock() else { return };
        if now.nanos() < memory.window_ends.load(Relaxed) {
            return; // Another has just closed it.
        }
        let in_flight = memory.in_flight.load(Relaxed);
        let (typical, answers, overloads) = memory.samples.take();
        let peak = memory.peak.swap(in_flight, Relaxed);
        let seen = Seen { typical, answers, overloads, peak, in_flight };
        let window = law.close(&seen, &self.bounds, now);
        memory.window_ends.store(now.plus(window).nanos(), Relaxed);
        let before = self.limit();
        memory.limit.store(law.limit(&self.bounds), SeqCst);
        drop(law);
        let grown = self.limit().saturating_sub(before);
        for _ in 0..grown.min(memory.waiting.load(SeqCst)) {
            memory.freed.notify_one();
        }
    }
}

/// A request's place, for as long as it lives.
#[derive(Debug)]
pub(super) struct Place(Arc<AdaptiveMemory>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, SeqCst);
        if self.0.waiting.load(SeqCst) > 0 {
            self.0.freed.notify_one();
        }
    }
}

/// Counts one who waits, for as long as it lives.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests;
