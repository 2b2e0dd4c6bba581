//! Keeps asking the endpoints of the configuration in force.
//!
//! Every endpoint of a service with checks has a task of its own, so that one that is slow holds
//! up no other. Two routes to a service ask its endpoints once. What is no longer in force is no
//! longer asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::http::Connector;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use super::CheckPlan;
use crate::clock::Moment;
use crate::upstream::{Endpoint, Pool};

/// Checks under way at once: a service that is down as a whole must not cost a descriptor for
/// each of its endpoints.
const AT_ONCE: usize = 64;

/// The tasks that ask.
pub(in crate::upstream) struct Rounds {
    /// Made with the first check: it reads the system's certificates.
    connector: Option<Arc<Connector>>,
    at_once: Arc<Semaphore>,
    asking: HashMap<Key, AbortHandle>,
    tasks: JoinSet<()>,
    clock: fn() -> Moment,
}

/// An endpoint, by its health, and the plan by which it is asked.
type Key = (usize, usize);

impl Rounds {
    /// Nobody is asked yet.
    pub(in crate::upstream) fn new(clock: fn() -> Moment) -> Self {
        Self {
            connector: None,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            asking: HashMap::new(),
            tasks: JoinSet::new(),
            clock,
        }
    }

    /// Asks exactly the endpoints that these pools have now.
    pub(in crate::upstream) fn follow<'a>(&mut self, pools: impl Iterator<Item = &'a Arc<Pool>>) {
        let mut wanted = HashMap::new();
        for pool in pools {
            let Some(plan) = &pool.service().check else { continue };
            for endpoint in &pool.current().endpoints {
                // Routes compile a service each for itself; any one of them will do.
                let first = || (Arc::clone(plan), Arc::clone(endpoint));
                wanted.entry(endpoint.id()).or_insert_with(first);
            }
        }
        self.asking.retain(|(endpoint, plan), task| {
            let same = wanted.get(endpoint).is_some_and(|(now, _)| plan_id(now) == *plan);
            if !same {
                task.abort();
            }
            same
        });
        for (id, (plan, endpoint)) in wanted {
            let key = (id, plan_id(&plan));
            if !self.asking.contains_key(&key) {
                let task = self.spawn(plan, endpoint);
                self.asking.insert(key, task);
            }
        }
        while self.tasks.try_join_next().is_some() {}
    }

    fn spawn(&mut self, plan: Arc<CheckPlan>, endpoint: Arc<Endpoint>) -> AbortHandle {
        let connector = self.connector.get_or_insert_with(|| Arc::new(Connector::new(None)));
        let (connector, at_once) = (Arc::clone(connector), Arc::clone(&self.at_once));
        let clock = self.clock;
        self.tasks.spawn(async move {
            loop {
                let passed = {
                    let _place = at_once.acquire().await;
                    plan.ask(&connector, &endpoint).await
                };
                if let Err(error) = &passed {
                    let address = endpoint.address;
                    tracing::debug!(%address, %error, "a check failed");
                }
                let passed = passed.is_ok();
                let needed = if passed { plan.healthy_after } else { plan.unhealthy_after };
                endpoint.health.checked(passed, needed, clock());
                tokio::time::sleep(jittered(plan.interval)).await;
            }
        })
    }
}

fn plan_id(plan: &Arc<CheckPlan>) -> usize {
    Arc::as_ptr(plan).addr()
}

/// Give or take a tenth, so that many gateways do not ask at the same moment.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
}
