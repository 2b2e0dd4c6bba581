//! One limit on trial.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::replay::{Refused, replay};
use super::search;
use super::spool::{Record, Spool};
use super::variant::{self, RATES};
use crate::edge::{Identity, IdentityFacts};
use crate::limit::math::Numbers;
use crate::limit::{Applied, CounterKey, Imagined, LimitRule, Take, plan};
use crate::model::{KeyPart, LimitAlgorithm, MissingKey, RateLimit};
use crate::telemetry::Metrics;

/// Why a limit cannot be tried on a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It counts by what a log does not say.
    #[error("it counts by `{0}`, which the access log does not hold")]
    Part(String),
    /// It counts requests at once.
    #[error("it bounds requests at once, and only counts over time can be replayed")]
    Concurrency,
}

/// A limit, and the requests that it would have counted.
#[derive(Debug)]
pub struct Trial {
    model: RateLimit,
    metrics: Metrics,
    applied: [Applied; 1],
    keys: HashMap<CounterKey, usize>,
    rows: Vec<Row>,
    spool: Spool,
    /// What was counted and what was not.
    pub tally: Tally,
}

/// What was counted of a log, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Requests that the limit counts.
    pub requests: u64,
    /// Requests that it refuses with 403, because they lack a part of its key.
    pub lacking: u64,
    /// Requests that found no room in memory; nothing is known of them.
    pub beyond_memory: u64,
}

/// A key.
#[derive(Debug)]
struct Row {
    tier: usize,
    name: Box<str>,
    parts: Box<[(String, String)]>,
    requests: u64,
    cost: u64,
}

/// What a limit would have done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// Its name.
    pub limit: Arc<str>,
    /// Its algorithm.
    pub algorithm: &'static str,
    /// What was counted.
    #[serde(flatten)]
    pub tally: Tally,
    /// Counters.
    pub keys: usize,
    /// Requests that it would have refused.
    pub refused: u64,
    /// The same under each algorithm, this one first.
    pub algorithms: Vec<Judgement>,
    /// Those who would have been refused most often.
    pub top: Vec<Top>,
}

/// What an algorithm would have done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// The algorithm.
    pub algorithm: &'static str,
    /// Requests that it would have refused with the same numbers; none where they do not fit.
    pub refused: Option<u64>,
    /// Counters that would have refused one.
    pub keys_refused: Option<usize>,
    /// Why the numbers do not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfit: Option<String>,
    /// The smallest limit that refuses few enough, for each plan with numbers of its own.
    pub smallest: Vec<Smallest>,
}

/// The smallest limit that refuses few enough of the callers of a plan.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Smallest {
    /// The plan; none for all callers without numbers of their own.
    pub plan: Option<String>,
    /// The limit as it is written.
    pub now: Option<u64>,
    /// The smallest; for a bucket its capacity, full again after the same time. None where no
    /// limit does.
    pub limit: Option<u64>,
    /// Requests of such callers.
    pub requests: u64,
    /// Requests that it refuses.
    pub refused: Option<u64>,
}

/// One who would have been refused.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Top {
    /// The counter's name, behind the deployment's prefix.
    pub key: String,
    /// What it is made of.
    pub parts: Vec<(String, String)>,
    /// The plan whose numbers count.
    pub plan: Option<String>,
    /// Requests.
    pub requests: u64,
    /// Requests that would have been refused.
    pub refused: u64,
}

impl Trial {
    /// Puts a limit on trial.
    ///
    /// # Errors
    /// Why a log says nothing about it.
    pub fn of(rule: Arc<LimitRule>, model: &RateLimit, metrics: Metrics) -> Result<Self, Unfit> {
        if model.algorithm == LimitAlgorithm::Concurrency {
            return Err(Unfit::Concurrency);
        }
        let stands_in = match &model.missing_key {
            MissingKey::Part(part) => Some(part),
            MissingKey::Refuse => None,
        };
        let unknown = |part: &&KeyPart| {
            matches!(part, KeyPart::Header(_) | KeyPart::Cookie(_) | KeyPart::Claim(_))
        };
        if let Some(part) = model.key.iter().chain(stands_in).find(unknown) {
            return Err(Unfit::Part(part.to_string()));
        }
        let cost = rule.cost;
        Ok(Self {
            model: model.clone(),
            metrics,
            applied: [Applied { rule, cost }],
            keys: HashMap::new(),
            rows: Vec::new(),
            spool: Spool::default(),
            tally: Tally::default(),
        })
    }

    /// Counts a request, which is not older than the one before. `cost` is what its route says,
    /// where that differs from the limit. `assume` makes a caller of facts without proof.
    pub fn record(
        &mut self,
        at_ms: u64,
        request: Imagined<'_>,
        cost: Option<u64>,
        assume: impl Fn(IdentityFacts) -> Identity,
    ) {
        let [applied] = &mut self.applied;
        applied.cost = cost.unwrap_or(applied.rule.cost);
        let (applied, keys, rows) = (&self.applied, &mut self.keys, &mut self.rows);
        let found = request.read(assume, |facts| {
            let take = plan(applied, facts).ok()?.into_iter().next()?;
            let key = *keys.entry(take.key).or_insert_with(|| {
                rows.push(Row {
                    tier: take.tier,
                    name: take.name().into(),
                    parts: Take::describe(&take.rule, facts).into(),
                    requests: 0,
                    cost: 0,
                });
                rows.len() - 1
            });
            Some((key, take.cost))
        });
        let Some((key, cost)) = found else {
            self.tally.lacking += 1;
            return;
        };
        if !self.spool.push(Record { at_ms, key, cost }) {
            self.tally.beyond_memory += 1;
            return;
        }
        self.tally.requests += 1;
        if let Some(row) = self.rows.get_mut(key) {
            row.requests += 1;
            row.cost = row.cost.saturating_add(cost);
        }
    }

    /// Replays what was counted. `under` is the share of requests below which a limit may refuse,
    /// `top` how many of those refused are named.
    #[must_use]
    pub fn judge(&self, under: f64, top: usize) -> Judged {
        let [Applied { rule, .. }] = &self.applied;
        let own = self.model.algorithm;
        let others = RATES.into_iter().filter(|other| *other != own && RATES.contains(&own));
        let mut refused = Refused { by_key: Vec::new(), total: 0 };
        let mut algorithms = Vec::with_capacity(RATES.len());
        for algorithm in std::iter::once(own).chain(others) {
            let (judgement, replayed) = self.judge_algorithm(algorithm, under);
            if algorithm == own
                && let Some(replayed) = replayed
            {
                refused = replayed;
            }
            algorithms.push(judgement);
        }
        Judged {
            limit: Arc::clone(&rule.name),
            algorithm: variant::word(own),
            tally: self.tally,
            keys: self.rows.len(),
            refused: refused.total,
            algorithms,
            top: self.top(&refused, top),
        }
    }

    fn judge_algorithm(
        &self,
        algorithm: LimitAlgorithm,
        under: f64,
    ) -> (Judgement, Option<Refused>) {
        let word = variant::word(algorithm);
        let unfit = |why: String| Judgement {
            algorithm: word,
            refused: None,
            keys_refused: None,
            unfit: Some(why),
            smallest: Vec::new(),
        };
        let mut tiers = Vec::new();
        for plan in self.plans() {
            let own = variant::of_plan(&self.model, plan.as_deref());
            let Some(model) = variant::under(&own, algorithm) else {
                return (unfit("it has no such numbers".to_owned()), None);
            };
            match variant::counted(&model, &self.metrics) {
                Ok(counted) => tiers.push((plan, model, counted)),
                Err(why) => return (unfit(why), None),
            }
        }
        let refused = self.replay(|tier, at_ms| tiers.get(tier)?.2.numbers(at_ms));
        let smallest = tiers.iter().enumerate();
        let smallest = smallest
            .filter_map(|(tier, (plan, model, _))| self.smallest(tier, plan.clone(), model, under));
        let judgement = Judgement {
            algorithm: word,
            refused: Some(refused.total),
            keys_refused: Some(refused.by_key.iter().filter(|refused| **refused > 0).count()),
            unfit: None,
            smallest: smallest.collect(),
        };
        (judgement, Some(refused))
    }

    /// The plan of each tier.
    fn plans(&self) -> impl Iterator<Item = Option<String>> {
        let [Applied { rule, .. }] = &self.applied;
        (0..rule.tiers.len()).map(|tier| rule.plan_of(tier))
    }

    fn replay(&self, numbers: impl Fn(usize, u64) -> Option<Numbers>) -> Refused {
        replay(&self.spool, self.rows.len(), |key, at_ms| numbers(self.rows.get(key)?.tier, at_ms))
    }

    /// None where no request is of this tier.
    fn smallest(
        &self,
        tier: usize,
        plan: Option<String>,
        model: &RateLimit,
        under: f64,
    ) -> Option<Smallest> {
        let rows = || self.rows.iter().filter(|row| row.tier == tier);
        let requests = rows().map(|row| row.requests).sum();
        // With all requests of a key in one window, none is refused.
        let most = rows().map(|row| row.cost).max()?;
        let of_tier = |record: &Record| self.rows.get(record.key).is_some_and(|r| r.tier == tier);
        let dearest = self.spool.records().filter(of_tier).map(|record| record.cost).max()?;
        let least = dearest.max(u64::from(model.cost)).max(1);
        let refused = |limit| {
            let model = variant::with_limit(model, limit);
            let counted = variant::counted(&model, &self.metrics).ok()?;
            let of_tier = |other, at_ms| if other == tier { counted.numbers(at_ms) } else { None };
            Some(self.replay(of_tier).total)
        };
        // A margin takes its part of every limit.
        let most = most.saturating_mul(2).saturating_add(1);
        let found = search::smallest(least, most, requests, under, refused);
        let (limit, refused) = found.unzip();
        Some(Smallest { plan, now: model.capacity.or(model.limit), limit, requests, refused })
    }

    fn top(&self, refused: &Refused, top: usize) -> Vec<Top> {
        let [Applied { rule, .. }] = &self.applied;
        let mut worst: Vec<(u64, &Row)> = refused.by_key.iter().copied().zip(&self.rows).collect();
        worst.retain(|(refused, _)| *refused > 0);
        worst.sort_by(|(a, one), (b, other)| (b, &one.name).cmp(&(a, &other.name)));
        let named = |(refused, row): (u64, &Row)| Top {
            key: row.name.to_string(),
            parts: row.parts.to_vec(),
            plan: rule.plan_of(row.tier),
            requests: row.requests,
            refused,
        };
        worst.into_iter().take(top).map(named).collect()
    }
}
