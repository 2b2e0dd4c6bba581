//! What a request takes, from which counters.

use std::sync::Arc;

use super::LimitRule;
use super::key::{self, CounterKey};
use super::math::Numbers;
use super::rule::{RulePart, Tier};
use crate::clock::Moment;
use crate::edge::Facts;
use crate::fault::Reject;

/// A rule as a route applies it.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The rule.
    pub rule: Arc<LimitRule>,
    /// What a request of the route costs.
    pub cost: u64,
}

/// One counter to take from.
#[derive(Clone, Debug)]
pub struct Take {
    /// The rule.
    pub rule: Arc<LimitRule>,
    /// Which of its tiers counts for the caller.
    pub tier: usize,
    /// What the request costs.
    pub cost: u64,
    /// The counter.
    pub key: CounterKey,
}

impl Take {
    /// The tier that counts for the caller.
    ///
    /// # Panics
    /// Never: [`plan`] chose it among those of the rule.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "a tier of this rule; a rule has at least one")]
    pub fn tier(&self) -> &Tier {
        &self.rule.tiers[self.tier]
    }

    /// What is enforced; `now` matters to a quota alone.
    #[must_use]
    pub fn numbers(&self, now: Moment) -> Numbers {
        self.tier().numbers(now)
    }

    /// The counter's name in Redis, behind the deployment's prefix.
    #[must_use]
    pub fn name(&self) -> String {
        self.key.name(self.tier())
    }

    /// The parts that the key was made of, in words, for explanations: part name and value.
    #[must_use]
    pub fn describe(rule: &LimitRule, facts: &Facts<'_>) -> Vec<(String, String)> {
        key::describe(rule, facts)
    }
}

/// Everything that a request takes. Most routes have one limit or two.
pub type Takes = smallvec::SmallVec<[Take; 2]>;

/// What a request takes: from each rule once.
///
/// # Errors
/// 403 where it lacks what a rule counts by and nothing may stand for that.
pub fn plan(limits: &[Applied], facts: &Facts<'_>) -> Result<Takes, Reject> {
    let plan = facts.identity.and_then(|identity| identity.plan.as_deref());
    let mut takes = Takes::new();
    for Applied { rule, cost } in limits {
        let tier = rule.tier_of(plan);
        let Some(chosen) = rule.tiers.get(tier) else { continue };
        let key = key::counter_key(rule, chosen, facts).map_err(RulePart::refusal)?;
        takes.push(Take { rule: Arc::clone(rule), tier, cost: *cost, key });
    }
    Ok(takes)
}
