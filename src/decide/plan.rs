//! What an admitted request takes, keeps and where it goes.

use crate::cache::{self, CachePlan};
use crate::edge::Facts;
use crate::fault::Reject;
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

/// Plans an authorised request whole, for those who do not act on it in between. `entropy` serves
/// splits keyed by `random`.
///
/// # Errors
/// What [`takes`] refuses.
pub fn plan(route: &Route, facts: &Facts<'_>, entropy: u64) -> Result<Plan, Reject> {
    Ok(Plan { takes: takes(route, facts)?, ..way(route, facts, entropy) })
}

/// What a request takes from which limit.
///
/// # Errors
/// What [`limit::plan`] refuses.
pub fn takes(route: &Route, facts: &Facts<'_>) -> Result<Takes, Reject> {
    limit::plan(&route.limits, facts)
}

/// What is kept of an answer and where a request goes, once its limits let it: what is refused
/// pays for none of that. Nothing is taken.
#[must_use]
pub fn way(route: &Route, facts: &Facts<'_>, entropy: u64) -> Plan {
    Plan {
        takes: Takes::new(),
        cache: route.cache.as_ref().and_then(|policy| cache::consider(policy, facts)),
        bucket: route.upstream().map(|upstream| upstream.version(facts, entropy)),
        hash: route.upstream().map_or(0, |upstream| upstream.hash(facts)),
    }
}
