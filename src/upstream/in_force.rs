//! The services of the configuration in force, for those who look at all of them: checks,
//! metrics, operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Pool, Upstream, Upstreams};

/// Every pool of the configuration in force.
#[derive(Debug, Default)]
pub struct InForce {
    /// By service and version. Each route to a version has a pool of its own.
    pub(super) pools: BTreeMap<Key, Vec<Arc<Pool>>>,
}

/// Names of a service and of one of its versions.
type Key = (Arc<str>, Arc<str>);

impl InForce {
    fn of<'a>(upstreams: impl Iterator<Item = &'a Upstream>) -> Self {
        let mut pools: BTreeMap<_, Vec<Arc<Pool>>> = BTreeMap::new();
        for upstream in upstreams {
            for version in &upstream.versions {
                let key = (Arc::clone(&upstream.service), Arc::clone(&version.name));
                pools.entry(key).or_default().push(Arc::clone(&version.pool));
            }
        }
        Self { pools }
    }

    /// Every pool.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.values().flatten()
    }

    /// Pools of services with active checks.
    pub(super) fn checked(&self) -> impl Iterator<Item = &Arc<Pool>> {
        let checked = |pools: &&Vec<Arc<Pool>>| {
            pools.first().is_some_and(|pool| pool.service().check.is_some())
        };
        self.pools.values().filter(checked).flatten()
    }
}

impl Upstreams {
    /// Takes the upstreams of a snapshot that has just been put in force.
    pub fn adopt<'a>(&self, upstreams: impl Iterator<Item = &'a Upstream>) {
        let next = InForce::of(upstreams);
        // What a check said means nothing once nobody checks.
        for pool in next.all().filter(|pool| pool.service().check.is_none()) {
            for endpoint in &pool.current().endpoints {
                endpoint.health.unchecked();
            }
        }
        self.in_force.store(Arc::new(next));
        self.changed.notify_one();
    }

    /// Services with active checks some of whose endpoints have not been asked yet.
    #[must_use]
    pub fn unasked(&self) -> Vec<Arc<str>> {
        let in_force = self.in_force();
        let is_unasked = |pool: &Arc<Pool>| {
            pool.service().check.is_some()
                && pool.current().endpoints.iter().any(|endpoint| !endpoint.health.was_asked())
        };
        let unasked = in_force.pools.iter().filter(|(_, pools)| pools.iter().any(is_unasked));
        let mut services: Vec<_> = unasked.map(|((service, _), _)| Arc::clone(service)).collect();
        services.dedup();
        services
    }

    /// The services of the configuration in force.
    #[must_use]
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }
}
