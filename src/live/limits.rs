//! The limits of the configuration in force, as operators see and reset them.

use std::sync::Arc;

use serde::Serialize;

use super::Live;
use crate::auth;
use crate::clock::{self, Moment};
use crate::limit::{self, LimitRule, Report, Reset, Stand, Stands, Take, Tier, Unnamed};
use crate::model::{FailureMode, LimitMode, Problems};

/// Every limit, and the limiter.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitsReport {
    /// The limiter of this node.
    pub limiter: Report,
    /// The limits in force, by name.
    pub limits: Vec<LimitReport>,
}

/// One limit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitReport {
    /// Its name.
    pub name: Arc<str>,
    /// What its key is made of.
    pub key: Vec<String>,
    /// Whether every request is counted in Redis before it passes.
    pub mode: LimitMode,
    /// What happens while Redis cannot be asked.
    pub failure_mode: FailureMode,
    /// Whether it only counts.
    pub shadow: bool,
    /// What a request costs where its route does not say.
    pub cost: u64,
    /// What it allows, first to callers without a plan of their own.
    pub tiers: Vec<TierReport>,
    /// The routes that name it.
    pub routes: Vec<Arc<str>>,
}

/// What a limit allows to callers of a plan.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TierReport {
    /// The plan; none for all callers without a tier of their own.
    pub plan: Option<String>,
    /// The numbers, in words.
    pub counts: String,
    /// The advertised limit: capacity, or requests per window.
    pub limit: u64,
    /// The advertised window in seconds: for a token bucket the time in which it fills.
    pub window_seconds: u64,
    /// What is enforced.
    pub enforced: u64,
    /// By how much all nodes together may pass it: what they hold in advance.
    pub lease: u64,
}

/// One counter.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CounterReport {
    /// The limit.
    pub limit: Arc<str>,
    /// The counter's name, behind the deployment's prefix.
    pub key: String,
    /// The plan whose numbers count; none where those of the limit itself do.
    pub plan: Option<String>,
    /// The numbers, in words.
    pub counts: String,
    /// What is enforced.
    pub enforced: u64,
    /// How it stands in Redis; none where no Redis is configured, or it cannot be asked.
    pub redis: Option<Stand>,
    /// Why Redis cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_error: Option<String>,
    /// How it stands on this node, where it counts there too.
    pub node: Option<Stand>,
    /// What this node holds in advance: used in Redis, and not spent yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<u64>,
    /// Milliseconds for which this node refuses without asking Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_for_ms: Option<u64>,
}

/// What became of a reset. This node has forgotten the counter in any case.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResetReport {
    /// The limit.
    pub limit: Arc<str>,
    /// The counter's name, behind the deployment's prefix.
    pub key: String,
    /// Whether Redis has forgotten it; none where no Redis is configured.
    pub redis: Option<bool>,
    /// Why it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_error: Option<String>,
    /// Nodes that heard of it at once; none where nobody could be told.
    pub told: Option<u64>,
}

/// Which counter is meant.
#[derive(Debug)]
pub enum Which<'a> {
    /// That of a caller with these parts.
    Parts(&'a [(String, String)]),
    /// The one of that name.
    Key(&'a str),
}

/// Why there is no such counter.
#[derive(Debug)]
pub enum NoCounter {
    /// There is no limit of that name; what may have been meant.
    NoLimit(Option<String>),
    /// The name is that of no counter of the limit.
    NoKey,
    /// The parts do not name one.
    Parts(Unnamed),
}

impl Live {
    /// Every limit in force, and how the limiter does.
    #[must_use]
    pub fn limits(&self) -> LimitsReport {
        let snapshot = self.snapshot();
        let routes = |rule: &Arc<LimitRule>| {
            let names_it = |route: &&Arc<crate::snapshot::Route>| {
                route.limits.iter().any(|applied| applied.rule.name == rule.name)
            };
            snapshot.routes.iter().filter(names_it).map(|route| Arc::clone(&route.name)).collect()
        };
        let limits = snapshot.limits.iter().map(|rule| report(rule, routes(rule)));
        LimitsReport { limiter: self.limiter.report(clock::now()), limits: limits.collect() }
    }

    /// The counter of a limit that is meant.
    ///
    /// # Errors
    /// Why there is none.
    pub fn counter(&self, limit: &str, which: &Which<'_>) -> Result<Take, NoCounter> {
        let snapshot = self.snapshot();
        let rules = &snapshot.limits;
        let rule = rules.iter().find(|rule| *rule.name == *limit).ok_or_else(|| {
            let known = rules.iter().map(|rule| &*rule.name);
            NoCounter::NoLimit(Problems::did_you_mean(limit, known))
        })?;
        match which {
            Which::Parts(parts) => {
                limit::by_parts(rule, parts, auth::imagine).map_err(NoCounter::Parts)
            }
            Which::Key(name) => limit::by_key([rule], name).ok_or(NoCounter::NoKey),
        }
    }

    /// How a counter stands, in Redis and on this node.
    pub async fn look(&self, take: &Take, now: Moment) -> CounterReport {
        let Stands { redis, node, held, refused_for } = self.limiter.look(take, now).await;
        let (redis, redis_error) = match redis {
            None => (None, None),
            Some(Ok(stand)) => (Some(stand), None),
            Some(Err(why)) => (None, Some(why)),
        };
        let tier = take.tier();
        CounterReport {
            limit: Arc::clone(&take.rule.name),
            key: take.name(),
            plan: take.rule.plan_of(take.tier),
            counts: take.rule.describe(tier, take.rule.cost),
            enforced: tier.enforced(),
            redis,
            redis_error,
            node,
            held,
            refused_for_ms: refused_for
                .map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Starts a counter afresh, in Redis and on all nodes.
    pub async fn reset(&self, take: &Take) -> ResetReport {
        let Reset { redis, told } = self.limiter.reset(take).await;
        ResetReport {
            limit: Arc::clone(&take.rule.name),
            key: take.name(),
            redis: redis.as_ref().map(Result::is_ok),
            redis_error: redis.and_then(Result::err),
            told,
        }
    }
}

fn report(rule: &LimitRule, routes: Vec<Arc<str>>) -> LimitReport {
    let tier = |(n, tier): (usize, &Tier)| TierReport {
        plan: rule.plan_of(n),
        counts: rule.describe(tier, rule.cost),
        limit: tier.limit,
        window_seconds: tier.window_s,
        enforced: tier.enforced(),
        lease: tier.lease,
    };
    LimitReport {
        name: Arc::clone(&rule.name),
        key: rule.words(),
        mode: rule.mode,
        failure_mode: rule.failure_mode,
        shadow: rule.shadow,
        cost: rule.cost,
        tiers: rule.tiers.iter().enumerate().map(tier).collect(),
        routes,
    }
}
