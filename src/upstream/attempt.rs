//! One attempt: the endpoint that takes it, and the one place where its outcome is told.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use super::{Endpoint, EndpointSet};
use crate::clock::Moment;
use crate::fault::Fault;

/// An attempt at an endpoint. Whoever holds it connects, and tells what came of it; it counts as
/// in flight until it is dropped. An attempt that tells nothing counts for nothing.
#[derive(Debug)]
pub struct Attempt {
    set: Arc<EndpointSet>,
    endpoint: Arc<Endpoint>,
    /// Whether it tries an endpoint that was out.
    probe: bool,
    /// Whether it tries a service whose circuit was open.
    trial: bool,
    told: AtomicU8,
}

/// What an attempt has told.
const NOTHING: u8 = 0;
const WELL: u8 = 1;
const FAILED: u8 = 2;
/// It failed, and its request with it.
const FINAL: u8 = 3;

impl Attempt {
    pub(super) fn new(
        set: Arc<EndpointSet>,
        endpoint: Arc<Endpoint>,
        probe: bool,
        trial: bool,
    ) -> Self {
        endpoint.health.enter();
        Self { set, endpoint, probe, trial, told: AtomicU8::new(NOTHING) }
    }

    /// The endpoint.
    #[must_use]
    pub const fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// There is a connection, new or kept.
    pub fn connected(&self, now: Moment) {
        self.endpoint.health.connected(now);
    }

    /// The service answered with this status. 502, 503 and 504 are failures: they say that the
    /// request was not dealt with.
    pub fn answered(&self, status: u16, now: Moment) {
        if let Some(fault) = failure(status) {
            self.fail(fault, now);
        } else if self.told.swap(WELL, Relaxed) == NOTHING {
            self.endpoint.health.succeeded(self.probe, now);
            self.set.service.ejection.succeeded(&self.endpoint, now);
            self.set.service.outcome(false, self.trial, now);
        }
    }

    /// The answer began after this time, counted from when the request was sent. What says that
    /// there is too much to do (503, 504) says nothing about how long answers take.
    pub fn timed(&self, status: u16, took: Duration, now: Moment) {
        let Some(adaptive) = self.set.service.adaptive() else { return };
        match status {
            503 | 504 => adaptive.overloaded(now.tick),
            _ => adaptive.answered(took, now.tick),
        }
    }

    /// The request ended after this time without an answer or a failure: its client has gone.
    pub fn abandoned(&self, after: Duration, now: Moment) {
        if self.told.load(Relaxed) == NOTHING
            && let Some(adaptive) = self.set.service.adaptive()
        {
            adaptive.abandoned(after, now.tick);
        }
    }

    /// The attempt failed. Faults that are not the service's count for nothing, and neither does
    /// a second failure of one attempt.
    pub fn failed(&self, fault: Fault, now: Moment) {
        if matches!(fault, Fault::ConnectTimeout | Fault::ResponseTimeout)
            && let Some(adaptive) = self.set.service.adaptive()
        {
            adaptive.overloaded(now.tick);
        }
        match fault {
            Fault::ConnectFailed | Fault::ConnectTimeout => {
                self.endpoint.health.connect_failed(now);
                self.fail(fault, now);
            }
            Fault::ConnectionLost | Fault::ResponseTimeout | Fault::ResponseInvalid => {
                self.fail(fault, now);
            }
            _ => {}
        }
    }

    fn fail(&self, fault: Fault, now: Moment) {
        if matches!(self.told.load(Relaxed), FAILED | FINAL) {
            return;
        }
        self.told.store(FAILED, Relaxed);
        let in_a_row = self.endpoint.health.request_failed(fault);
        let service = &self.set.service;
        if service.ejection.failed(&self.set, &self.endpoint, in_a_row, self.probe, now) {
            service.memory.ejections.fetch_add(1, Relaxed);
        }
    }

    /// The request ends with this attempt. If it failed, that counts for the service's circuit; an
    /// attempt that is repeated elsewhere does not, for it is what clients get that counts.
    pub fn is_last(&self, now: Moment) {
        if self.told.load(Relaxed) == FAILED {
            self.told.store(FINAL, Relaxed);
            self.set.service.outcome(true, self.trial, now);
        }
    }
}

/// The fault that a status amounts to, for health.
const fn failure(status: u16) -> Option<Fault> {
    match status {
        502 => Some(Fault::ConnectionLost),
        503 => Some(Fault::NoEndpoint),
        504 => Some(Fault::ResponseTimeout),
        _ => None,
    }
}

impl Deref for Attempt {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.endpoint.health.leave();
    }
}
