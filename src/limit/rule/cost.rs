//! What requests cost: by the limit, by their route, by what their service says afterwards.

use http::HeaderName;
use prometheus::IntCounter;

use super::{LimitRule, Tier};
use crate::limit::math::Numbers;
use crate::model::{LimitAlgorithm, Problem, Problems, RateLimit};
use crate::telemetry::Metrics;

/// What a service says of costs, and what became of that.
#[derive(Debug)]
pub(in super::super) struct ResponseCosts {
    /// The header that says it.
    pub(in super::super) header: HeaderName,
    /// The most that is believed.
    pub(in super::super) max: u64,
    /// Costs above what was taken.
    pub(in super::super) charged: IntCounter,
    /// Costs below.
    pub(in super::super) given_back: IntCounter,
    /// Costs as taken, said or not.
    pub(in super::super) kept: IntCounter,
    /// What was no cost.
    pub(in super::super) unreadable: IntCounter,
}

/// What a limit says of response costs.
pub(super) fn compile(
    name: &str,
    model: &RateLimit,
    path: &str,
    metrics: &Metrics,
    problems: &mut Problems,
) -> Option<ResponseCosts> {
    let places = model.algorithm == LimitAlgorithm::Concurrency;
    if places && model.cost != 1 {
        let message = format!("a request takes one place, not {}", model.cost);
        let help = "leave `cost` out: requests at once are counted, not what they cost";
        problems.push(Problem::error("limit.range", format!("{path}.cost"), message).help(help));
    }
    let costs = model.response_cost.as_ref()?;
    let path = format!("{path}.responseCost");
    if places {
        let message = "a place is given back when its request ends, whatever it has cost";
        let help = "use `responseCost` with a limit that counts requests or tokens";
        problems.push(Problem::error("limit.unused", path, message).help(help));
        return None;
    }
    let Ok(header) = HeaderName::try_from(costs.header.as_str()) else {
        let message = format!("`{}` is not a header name", costs.header);
        problems.push(Problem::error("limit.response_cost", format!("{path}.header"), message));
        return None;
    };
    let row = |outcome| metrics.limit_response_costs.with_label_values(&[name, outcome]);
    Some(ResponseCosts {
        header,
        max: u64::from(costs.max),
        charged: row("charged"),
        given_back: row("given_back"),
        kept: row("kept"),
        unreadable: row("unreadable"),
    })
}

/// Checks what requests cost against what is enforced: more than that would never pass.
pub(super) fn check_tiers<'a>(
    model: &RateLimit,
    enforced: impl Iterator<Item = &'a Numbers>,
    path: &str,
    problems: &mut Problems,
) {
    let Some(least) = enforced.map(|numbers| numbers.limit).min() else { return };
    if u64::from(model.cost) > least {
        let message = format!("a cost of {} would never pass", model.cost);
        let help = format!("at most {least}, the least that a plan or the limit itself enforces");
        problems.push(Problem::error("limit.range", format!("{path}.cost"), message).help(help));
    }
    let Some(costs) = &model.response_cost else { return };
    if !(1..=least).contains(&u64::from(costs.max)) {
        let message = format!("a response cannot charge as much as {}", costs.max);
        let help = format!("from 1 to {least}, the least that a plan or the limit itself enforces");
        let place = format!("{path}.responseCost.max");
        problems.push(Problem::error("limit.range", place, message).help(help));
    }
}

impl LimitRule {
    /// What a request costs on a route that says `route_cost`, or nothing of it. A place among
    /// requests at once is one place, whatever the request costs elsewhere.
    ///
    /// # Errors
    /// What is wrong with a cost that callers of some plan could never pay, and what would do.
    pub fn cost_on(&self, route_cost: Option<u32>) -> Result<u64, (String, String)> {
        let Some(cost) = route_cost.map(u64::from).filter(|_| self.takes_costs()) else {
            return Ok(self.cost);
        };
        let enforced = |tier: &Tier| tier.enforced();
        let least = self.tiers.iter().map(enforced).min().unwrap_or(1);
        if (1..=least).contains(&cost) {
            return Ok(cost);
        }
        let name = &self.name;
        Err((
            format!("a cost of {cost} is out of range for the rate limit `{name}`"),
            format!("from 1 to {least}, the least that `{name}` or one of its plans enforces"),
        ))
    }

    /// Whether it counts what requests cost, and not only that they are there.
    #[must_use]
    pub fn takes_costs(&self) -> bool {
        self.algorithm != LimitAlgorithm::Concurrency
    }
}
