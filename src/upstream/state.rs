//! A service as one configuration sees it: its settings, and what is remembered about it.
//!
//! Settings belong to the snapshot. What is counted outlives it and is found again on the
//! [`HealthBoard`] by the service's name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use super::adaptive::{Adaptive, AdaptiveMemory};
use super::budget::BudgetCounts;
use super::check::CheckPlan;
use super::circuit::{Circuit, CircuitMemory, Pass};
use super::ejection::EjectionPolicy;
use super::gate::{Full, Gate, GateMemory, Permits};
use super::selection::Rings;
use super::{CircuitState, HealthBoard, Latency, RetryBudget};
use crate::clock::Moment;
use crate::fault::{Fault, Hint, Reject};
use crate::model::{self, Balance};

/// A service: settings of the configuration over memories of the process.
#[derive(Debug)]
pub struct ServiceState {
    /// Its name.
    pub name: Arc<str>,
    /// How many attempts may be repeated.
    pub budget: RetryBudget,
    /// How long its answers take, on routes that hedge.
    pub latency: Arc<Latency>,
    /// How an endpoint is chosen.
    pub balance: Balance,
    pub(super) slow_start: Option<Duration>,
    pub(super) ejection: EjectionPolicy,
    pub(super) check: Option<Arc<CheckPlan>>,
    pub(super) circuit: Option<Circuit>,
    pub(super) gate: Option<Gate>,
    pub(super) memory: Arc<ServiceMemory>,
}

/// What is remembered about a service.
#[derive(Debug, Default)]
pub(super) struct ServiceMemory {
    pub(super) budget: Arc<BudgetCounts>,
    pub(super) latency: Arc<Latency>,
    pub(super) circuit: Arc<CircuitMemory>,
    pub(super) gate: Arc<GateMemory>,
    pub(super) adaptive: Arc<AdaptiveMemory>,
    /// Sets of endpoints made so far. Each begins its rotation one further on, so that services
    /// with many routes do not send the first request of every route to one endpoint.
    pub(super) sets: AtomicUsize,
    pub(super) rings: Rings,
    /// Times an endpoint was left out for failing requests.
    pub(super) ejections: AtomicU64,
}

/// What a request holds of a service, from its first attempt to its end.
#[derive(Debug)]
pub struct Passage {
    pass: Pass,
    /// None where nothing is bounded.
    permits: Option<Permits>,
}

impl Passage {
    /// Whether the request finds out if an open circuit may close again.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.pass == Pass::Trial
    }

    /// Whether it holds one of a bounded number, which others may wait for.
    #[must_use]
    pub const fn is_bounded(&self) -> bool {
        self.permits.is_some()
    }
}

impl ServiceState {
    /// A service with these settings.
    pub(super) fn new(name: &str, model: &model::Service, board: &HealthBoard) -> Self {
        let memory = board.service(name);
        let name: Arc<str> = name.into();
        let balancing = &model.load_balancing;
        let growing = balancing.algorithm != Balance::ConsistentHash;
        let breaker = &model.circuit_breaker;
        let adaptive = model.adaptive_concurrency.as_ref();
        let adaptive = adaptive.map(|model| Adaptive::new(model, &memory.adaptive));
        Self {
            budget: RetryBudget::new(&model.retry_budget, &memory.budget),
            latency: Arc::clone(&memory.latency),
            balance: balancing.algorithm,
            slow_start: balancing.slow_start.map(model::Span::get).filter(|_| growing),
            ejection: EjectionPolicy::new(&model.ejection),
            check: model.health_check.as_ref().map(|check| Arc::new(CheckPlan::new(check))),
            circuit: Circuit::new(&name, breaker, &memory.circuit),
            gate: Gate::new(breaker, adaptive, model.connect_timeout.get(), &memory.gate),
            name,
            memory,
        }
    }

    /// Whether requests are counted or refused at all. Without it there is nothing to
    /// [`enter`](Self::enter).
    #[must_use]
    pub const fn is_guarded(&self) -> bool {
        self.circuit.is_some() || self.gate.is_some()
    }

    /// Lets a request in before its first attempt. May wait for a connection to be free, no
    /// longer than `left`, which is what the request has left of its time.
    ///
    /// # Errors
    /// 503 with `Retry-After` when the circuit is open, or too many requests are under way.
    pub async fn enter(
        &self,
        left: Duration,
        clock: impl Fn() -> Moment,
    ) -> Result<Passage, Reject> {
        if let Some(rest) = self.circuit.as_ref().and_then(|circuit| circuit.left(clock())) {
            return Err(self.circuit_open(rest));
        }
        let permits = match &self.gate {
            Some(gate) => Some(gate.enter(left).await.map_err(|Full| self.overloaded())?),
            None => None,
        };
        // Last, so that a request which is refused above does not use up the one trial.
        let pass = match &self.circuit {
            Some(circuit) => circuit.admit(clock()).map_err(|rest| self.circuit_open(rest))?,
            None => Pass::Ordinary,
        };
        Ok(Passage { pass, permits })
    }

    /// Whether a request that is in may be tried again: not while the circuit is open.
    ///
    /// # Errors
    /// 503 with `Retry-After`.
    pub fn again(&self, now: Moment) -> Result<(), Reject> {
        match self.circuit.as_ref().and_then(|circuit| circuit.left(now)) {
            Some(rest) => Err(self.circuit_open(rest)),
            None => Ok(()),
        }
    }

    /// No endpoint can take a request; names the service (R047).
    #[must_use]
    pub fn no_endpoint(&self) -> Reject {
        let why = format!("No endpoint of service `{}` is healthy.", self.name);
        let wait = Duration::from_secs(1);
        Reject::new(Fault::NoEndpoint).with_hint(Hint::from_config(why)).with_retry_after(wait)
    }

    /// How the circuit stands; none where there is none.
    #[must_use]
    pub fn circuit_state(&self, now: Moment) -> Option<CircuitState> {
        self.circuit.as_ref().map(|circuit| circuit.state(now))
    }

    /// The limit that is found out by the service's latency, where there is one.
    pub(super) fn adaptive(&self) -> Option<&Adaptive> {
        self.gate.as_ref()?.adaptive.as_ref()
    }

    /// A request had this outcome.
    pub(super) fn outcome(&self, failed: bool, trial: bool, now: Moment) {
        if let Some(circuit) = &self.circuit {
            circuit.outcome(failed, if trial { Pass::Trial } else { Pass::Ordinary }, now);
        }
    }

    fn circuit_open(&self, rest: Duration) -> Reject {
        let why = format!("Service `{}` fails too many requests and gets none.", self.name);
        Reject::new(Fault::CircuitOpen).with_hint(Hint::from_config(why)).with_retry_after(rest)
    }

    fn overloaded(&self) -> Reject {
        let why = format!("Service `{}` has as many requests as it may have.", self.name);
        let wait = Duration::from_secs(1);
        Reject::new(Fault::Overloaded).with_hint(Hint::from_config(why)).with_retry_after(wait)
    }
}
