//! How many attempts of a service's requests may be repeated.
//!
//! Retries help while a few requests fail. When all do, they multiply the load of a service that
//! is down already: the budget keeps them a fraction of the requests, whatever routes allow.

use std::sync::Arc;
use std::time::Duration;

use super::window::Window;
use crate::clock::Moment;
use crate::model;

/// What the budget looks back on.
const LOOK_BACK: Duration = Duration::from_secs(10);

/// The retry budget of a service: the settings of one configuration over counts that outlive it.
#[derive(Debug)]
pub struct RetryBudget {
    percent: u64,
    min_retries: u64,
    counts: Arc<BudgetCounts>,
}

/// Requests and repeated attempts of the last ten seconds.
#[derive(Debug, Default)]
pub(super) struct BudgetCounts {
    requests: Window,
    retries: Window,
}

impl RetryBudget {
    /// A budget with these settings over these counts.
    pub(super) fn new(model: &model::RetryBudget, counts: &Arc<BudgetCounts>) -> Self {
        Self {
            percent: u64::from(model.percent),
            min_retries: u64::from(model.min_retries),
            counts: Arc::clone(counts),
        }
    }

    /// Counts a request, once however many attempts it takes.
    pub fn request(&self, now: Moment) {
        self.counts.requests.add(now, LOOK_BACK);
    }

    /// Whether an attempt may be repeated now; counts it if so.
    #[must_use]
    pub fn try_retry(&self, now: Moment) -> bool {
        // Counted first and taken back: of many that ask at once, rather one too few than more.
        self.counts.retries.add(now, LOOK_BACK);
        let within = self.retries(now) <= self.allowed(now);
        if !within {
            self.counts.retries.take_back(now, LOOK_BACK);
        }
        within
    }

    /// Requests of the last ten seconds.
    #[must_use]
    pub fn requests(&self, now: Moment) -> u64 {
        self.counts.requests.sum(now, LOOK_BACK)
    }

    /// Repeated attempts of the last ten seconds.
    #[must_use]
    pub fn retries(&self, now: Moment) -> u64 {
        self.counts.retries.sum(now, LOOK_BACK)
    }

    /// Repeated attempts that are allowed in ten seconds, at the present rate of requests.
    #[must_use]
    pub fn allowed(&self, now: Moment) -> u64 {
        (self.requests(now).saturating_mul(self.percent) / 100).max(self.min_retries)
    }
}

#[cfg(test)]
mod tests;
