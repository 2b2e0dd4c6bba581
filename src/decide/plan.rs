//! What an admitted request takes, keeps and where it goes.

use crate::cache::{self, CachePlan};
use crate::edge::Facts;
use crate::limit::{self, Takes};
use crate::snapshot::Route;
use crate::upstream::Bucket;

/// What follows from a route, a request and its caller.
#[derive(Debug)]
pub struct Plan {
    /// What is taken from which limit.
    pub takes: Takes,
    /// How the cache is used, if it is.
    pub cache: Option<CachePlan>,
    /// The version of the service.
    pub bucket: Bucket,
}

/// Plans an admitted request. `entropy` serves splits keyed by `random`.
#[must_use]
pub fn plan(route: &Route, facts: &Facts<'_>, entropy: u64) -> Plan {
    Plan {
        takes: limit::plan(&route.limits, facts),
        cache: route.cache.as_ref().and_then(|policy| cache::consider(policy, facts)),
        bucket: route.upstream.version(facts, entropy),
    }
}
