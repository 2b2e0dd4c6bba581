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
    /// The version of the service, where there is one.
    pub bucket: Option<Bucket>,
    /// The hash of what keeps the caller on one endpoint; 0 where nothing does.
    pub hash: u64,
}

/// Plans an admitted request. `entropy` serves splits keyed by `random`.
#[must_use]
pub fn plan(route: &Route, facts: &Facts<'_>, entropy: u64) -> Plan {
    Plan {
        takes: limit::plan(&route.limits, facts),
        cache: route.cache.as_ref().and_then(|policy| cache::consider(policy, facts)),
        bucket: route.upstream().map(|upstream| upstream.version(facts, entropy)),
        hash: route.upstream().map_or(0, |upstream| upstream.hash(facts)),
    }
}
