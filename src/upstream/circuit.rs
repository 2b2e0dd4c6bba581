//! The circuit of a service: while too many requests fail, none is sent.
//!
//! Closed, requests pass and are counted. When the share of failures is reached the circuit
//! opens, and requests are refused at once. After `openFor` one request passes as a trial: a
//! good answer closes the circuit, a failure opens it anew (R048).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::window::Window;
use crate::clock::Moment;
use crate::model;

/// The circuit of a service: settings of one configuration over what is remembered.
#[derive(Debug)]
pub(super) struct Circuit {
    service: Arc<str>,
    percent: u64,
    min_requests: u64,
    window: Duration,
    open_for: Duration,
    memory: Arc<CircuitMemory>,
}

/// What is remembered about a circuit.
#[derive(Debug, Default)]
pub(super) struct CircuitMemory {
    /// The tick, in nanoseconds, from which a trial may pass; 0 while closed.
    open_until: AtomicU64,
    trial: AtomicBool,
    opened: AtomicU64,
    requests: Window,
    failures: Window,
}

/// How a circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Requests pass.
    Closed,
    /// One request finds out, or the next one will.
    HalfOpen,
    /// Requests are refused.
    Open,
}

impl CircuitState {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// A request that passes a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// As all do.
    Ordinary,
    /// To find out whether others may.
    Trial,
}

impl Circuit {
    /// A circuit with these settings; none where it could never open.
    pub(super) fn new(
        service: &Arc<str>,
        model: &model::CircuitBreaker,
        memory: &Arc<CircuitMemory>,
    ) -> Option<Self> {
        (model.error_percent > 0).then(|| Self {
            service: Arc::clone(service),
            percent: u64::from(model.error_percent),
            min_requests: u64::from(model.min_requests),
            window: model.window.get(),
            open_for: model.open_for.get(),
            memory: Arc::clone(memory),
        })
    }

    /// Lets a request pass.
    ///
    /// # Errors
    /// How long it stays open.
    pub(super) fn admit(&self, now: Moment) -> Result<Pass, Duration> {
        let until = self.memory.open_until.load(Relaxed);
        if until == CLOSED {
            return Ok(Pass::Ordinary);
        }
        let next = now.tick.plus(self.open_for).nanos();
        let due = now.tick.nanos() >= until;
        let open_until = &self.memory.open_until;
        if due && open_until.compare_exchange(until, next, Relaxed, Relaxed).is_ok() {
            self.memory.trial.store(true, Relaxed);
            return Ok(Pass::Trial);
        }
        Err(self.left(now).unwrap_or(self.open_for))
    }

    /// How long it stays open; none while requests, or one, may pass.
    pub(super) fn left(&self, now: Moment) -> Option<Duration> {
        let until = self.memory.open_until.load(Relaxed);
        let left = until.saturating_sub(now.tick.nanos());
        (left > 0).then(|| Duration::from_nanos(left))
    }

    /// A request had this outcome.
    pub(super) fn outcome(&self, failed: bool, pass: Pass, now: Moment) {
        let memory = &self.memory;
        let closed = memory.open_until.load(Relaxed) == CLOSED;
        match (pass, failed) {
            (Pass::Trial, false) if !closed => {
                memory.requests.clear();
                memory.failures.clear();
                memory.trial.store(false, Relaxed);
                memory.open_until.store(CLOSED, Relaxed);
                tracing::info!(service = &*self.service, "circuit closed");
            }
            (Pass::Trial, true) if !closed => self.open(now),
            // Those that were under way when it opened say nothing new.
            _ if !closed => {}
            (_, false) => memory.requests.add(now, self.window),
            (_, true) => {
                memory.requests.add(now, self.window);
                memory.failures.add(now, self.window);
                let requests = memory.requests.sum(now, self.window);
                let failures = memory.failures.sum(now, self.window);
                if requests >= self.min_requests && failures * 100 >= requests * self.percent {
                    self.open(now);
                }
            }
        }
    }

    fn open(&self, now: Moment) {
        self.memory.trial.store(false, Relaxed);
        let until = now.tick.plus(self.open_for).nanos();
        if self.memory.open_until.swap(until, Relaxed) == CLOSED {
            self.memory.opened.fetch_add(1, Relaxed);
            let seconds = self.open_for.as_secs_f64();
            tracing::warn!(service = &*self.service, seconds, "circuit opened");
        }
    }

    /// How it stands.
    pub(super) fn state(&self, now: Moment) -> CircuitState {
        let memory = &self.memory;
        match memory.open_until.load(Relaxed) {
            CLOSED => CircuitState::Closed,
            until if memory.trial.load(Relaxed) || now.tick.nanos() >= until => {
                CircuitState::HalfOpen
            }
            _ => CircuitState::Open,
        }
    }

    /// Times it has opened after it was closed.
    pub(super) fn opened(&self) -> u64 {
        self.memory.opened.load(Relaxed)
    }
}

const CLOSED: u64 = 0;

#[cfg(test)]
mod tests;
