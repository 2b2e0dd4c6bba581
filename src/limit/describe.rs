//! A rate limit in words, for explanations.

use super::{LimitRule, Tier};
use crate::model::{FailureMode, LimitAlgorithm, LimitMode};

impl LimitRule {
    /// What it allows in a tier, what a request costs, and its failure mode, in a sentence.
    #[must_use]
    pub fn describe(&self, tier: &Tier, cost: u64) -> String {
        let (limit, window) = (tier.limit, tier.window_s);
        let mut words = match self.algorithm {
            LimitAlgorithm::TokenBucket => {
                format!("token_bucket, capacity {limit}, full again after {window} s")
            }
            LimitAlgorithm::SlidingWindow => format!("sliding_window, {limit} in any {window} s"),
            LimitAlgorithm::SlidingLog => {
                format!("sliding_log, {limit} in any {window} s, exactly")
            }
            LimitAlgorithm::FixedWindow => {
                format!("fixed_window, {limit} from one multiple of {window} s to the next")
            }
            LimitAlgorithm::Quota => {
                format!("quota, {limit} in a period of the calendar, at most {window} s")
            }
            LimitAlgorithm::Concurrency => format!("concurrency, {limit} at once"),
        };
        let mut add = |more: String| {
            words.push_str(", ");
            words.push_str(&more);
        };
        match &tier.plan {
            Some(plan) => add(format!("the numbers of plan {plan}")),
            None if self.plans.is_empty() => {}
            None => add("the numbers for callers of no plan or another".to_owned()),
        }
        if tier.enforced() != tier.limit {
            add(format!("{} enforced", tier.enforced()));
        }
        add(format!("cost {cost}"));
        if let Some(costs) = &self.response_costs {
            add(format!("set off against {} of the response", costs.header));
        }
        if self.per_route {
            add("for each route apart".to_owned());
        }
        let exact = tier.lease == 0;
        add(match self.mode {
            LimitMode::Leased if !exact => format!("leased, up to {} in advance", tier.lease),
            LimitMode::Leased | LimitMode::Exact => "exact".to_owned(),
        });
        let away = match self.failure_mode {
            FailureMode::Open => "open",
            FailureMode::Closed => "closed",
            FailureMode::Local => "local",
        };
        add(format!("failureMode {away}"));
        words
    }
}
