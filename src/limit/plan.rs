//! What a request takes, from which counters.

use std::sync::Arc;

use super::{LimitRule, key};
use crate::edge::Facts;

/// One counter to take from.
#[derive(Debug)]
pub struct Take {
    /// The rule.
    pub rule: Arc<LimitRule>,
    /// The counter's key: unambiguous, without the deployment's prefix.
    pub key: String,
}

impl Take {
    /// The parts that the key was made of, in words, for explanations: part name and value.
    #[must_use]
    pub fn describe(rule: &LimitRule, facts: &Facts<'_>) -> Vec<(String, String)> {
        key::describe(rule, facts)
    }
}

/// Everything that a request takes.
pub type Takes = Vec<Take>;

/// What a request takes: from each rule once, also where a route names one twice.
#[must_use]
pub fn plan(rules: &[Arc<LimitRule>], facts: &Facts<'_>) -> Takes {
    let mut takes = Takes::with_capacity(rules.len());
    for rule in rules {
        if takes.iter().any(|take: &Take| Arc::ptr_eq(&take.rule, rule)) {
            continue;
        }
        takes.push(Take { rule: Arc::clone(rule), key: key::counter_key(rule, facts) });
    }
    takes
}
