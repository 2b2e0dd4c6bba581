//! A rate limit in words, for explanations.

use super::LimitRule;
use super::math::Algorithm;
use crate::model::FailureMode;

impl LimitRule {
    /// Its numbers and its failure mode in a sentence.
    #[must_use]
    pub fn describe(&self) -> String {
        let (limit, cost, window) = (self.numbers.limit, self.numbers.cost, self.window_s);
        let counted = match self.numbers.algorithm {
            Algorithm::TokenBucket { .. } => {
                format!("token_bucket, capacity {limit}, full again after {window} s")
            }
            Algorithm::SlidingWindow { .. } => {
                format!("sliding_window, {limit} in any {window} s")
            }
        };
        let away = match self.failure_mode {
            FailureMode::Open => "open",
            FailureMode::Closed => "closed",
            FailureMode::Local => "local",
        };
        format!("{counted}, cost {cost}, failureMode {away}")
    }
}
