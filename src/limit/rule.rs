//! A rate limit, compiled.

mod cost;
mod numbers;
mod parts;
mod tier;

use std::sync::Arc;

use prometheus::IntCounter;

use self::numbers::Compiled;
use super::math::Numbers;
use crate::model::{
    FailureMode, LimitAlgorithm, LimitMode, PlanLimit, Problem, Problems, RateLimit, Severity,
};
use crate::telemetry::Metrics;

pub(super) use cost::ResponseCosts;
pub(super) use parts::{Missing, Prefixes, RulePart};
pub use tier::Tier;

/// A rate limit. Routes that refer to one name share one rule and so one budget.
#[derive(Debug)]
pub struct LimitRule {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// How it counts.
    pub algorithm: LimitAlgorithm,
    /// Whether Redis is asked for every request.
    pub mode: LimitMode,
    /// What happens while Redis cannot be asked.
    pub failure_mode: FailureMode,
    /// Whether it only counts.
    pub shadow: bool,
    /// Whether each route has a budget of its own.
    pub per_route: bool,
    /// What a request costs where its route does not say.
    pub cost: u64,
    /// What it allows: first to callers without a plan of their own, then by plan.
    pub tiers: Box<[Tier]>,
    /// Plans with a tier of their own, by name.
    pub(super) plans: Box<[(Box<str>, usize)]>,
    pub(super) parts: Vec<RulePart>,
    pub(super) missing: Missing,
    pub(super) prefixes: Prefixes,
    /// What services say of costs afterwards, where they do.
    pub(super) response_costs: Option<ResponseCosts>,
    pub(super) counts: Counts,
}

/// A rule's rows of `tidegate_limit_decisions_total`, looked up once.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) allowed_redis: IntCounter,
    pub(super) limited_redis: IntCounter,
    pub(super) allowed_local: IntCounter,
    pub(super) limited_local: IntCounter,
    pub(super) allowed_lease: IntCounter,
    pub(super) allowed_open: IntCounter,
    pub(super) shadow_redis: IntCounter,
    pub(super) shadow_local: IntCounter,
    pub(super) unavailable: IntCounter,
}

impl Counts {
    fn new(name: &str, metrics: &Metrics) -> Self {
        let row = |decision, counter| {
            metrics.limit_decisions.with_label_values(&[name, decision, counter])
        };
        Self {
            allowed_redis: row("allowed", "redis"),
            limited_redis: row("limited", "redis"),
            allowed_local: row("allowed", "local"),
            limited_local: row("limited", "local"),
            allowed_lease: row("allowed", "lease"),
            allowed_open: row("allowed", "open"),
            shadow_redis: row("shadow_limited", "redis"),
            shadow_local: row("shadow_limited", "local"),
            unavailable: row("unavailable", "redis"),
        }
    }
}

/// Longest name: it stands in every key and header.
const NAME_MAX: usize = 64;

impl LimitRule {
    /// Compiles a limit; problems carry `path` (`rateLimits.NAME`), and nothing is returned if
    /// one of them is an error. The rule's decisions are counted in `metrics`.
    pub fn compile(
        name: &str,
        model: &RateLimit,
        path: &str,
        metrics: &Metrics,
        problems: &mut Problems,
    ) -> Option<Self> {
        let before = problems.0.len();
        check_name(name, path, problems);
        let parts = parts::compile(model, path, problems);
        let missing = parts::missing(model, path, problems);
        let prefixes = Prefixes::compile(model, path, problems);
        tier::check_shares(model, path, problems);
        numbers::warn(model, path, problems);
        let mut tiers = vec![tier::numbers(model, None, path, problems)];
        let mut plans = Vec::with_capacity(model.plans.len());
        for (plan, own) in &model.plans {
            plans.push((plan.as_str().into(), tiers.len()));
            let model = for_plan(model, own);
            tiers.push(tier::numbers(&model, Some(plan), path, problems));
        }
        let costs = cost::compile(name, model, path, metrics, problems);
        let tiers: Option<Vec<(Numbers, Compiled)>> = tiers.into_iter().collect();
        if let Some(tiers) = &tiers {
            cost::check_tiers(
                model,
                tiers.iter().map(|(_, enforced)| &enforced.numbers),
                path,
                problems,
            );
        }
        if has_errors_since(before, problems) {
            return None;
        }
        let (parts, missing, tiers) = (parts?, missing?, tiers?);
        let names = std::iter::once(None).chain(model.plans.keys().map(Some));
        let tier = |(plan, (advertised, enforced)): (Option<&String>, (Numbers, Compiled))| {
            Tier::new(name, plan.map(String::as_str), model, (advertised, enforced), &parts)
        };
        // Fails for no name that passed the check above.
        let tiers = names.zip(tiers).map(tier).collect::<Option<_>>()?;
        Some(Self {
            name: name.into(),
            algorithm: model.algorithm,
            mode: model.mode,
            failure_mode: model.failure_mode,
            shadow: model.shadow,
            per_route: model.per_route,
            cost: u64::from(model.cost),
            tiers,
            plans: plans.into(),
            parts,
            missing,
            prefixes,
            response_costs: costs,
            counts: Counts::new(name, metrics),
        })
    }

    /// Which tier a caller of this plan has; those of other plans, and of none, have the first
    /// (R081).
    #[must_use]
    pub fn tier_of(&self, plan: Option<&str>) -> usize {
        let Some(plan) = plan.filter(|_| !self.plans.is_empty()) else { return 0 };
        let found = self.plans.binary_search_by(|(name, _)| (**name).cmp(plan));
        found.ok().and_then(|at| self.plans.get(at)).map_or(0, |(_, tier)| *tier)
    }
}

/// A limit with a plan's numbers in place of its own.
fn for_plan(model: &RateLimit, own: &PlanLimit) -> RateLimit {
    RateLimit {
        limit: own.limit.or(model.limit),
        capacity: own.capacity.or(model.capacity),
        refill_per_second: own.refill_per_second.or(model.refill_per_second),
        ..model.clone()
    }
}

/// Names go into keys, headers and metrics as they are, so they hold nothing that would need an
/// escape there: `"` and `\` end a header's string, braces make a cluster's hash tag.
fn check_name(name: &str, path: &str, problems: &mut Problems) {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"\"\\{}".contains(&byte);
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(fits) {
        let message = format!("`{name}` cannot be the name of a rate limit");
        problems.push(Problem::error("limit.name", path, message).help(format!(
            "1 to {NAME_MAX} visible ASCII characters without quotes, backslashes and braces"
        )));
    }
}

fn has_errors_since(before: usize, problems: &Problems) -> bool {
    problems.0.iter().skip(before).any(|problem| problem.severity == Severity::Error)
}

#[cfg(test)]
mod tests;
