//! The split of traffic between versions.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::affinity::Affinity;
use super::findings::Findings;
use super::{Rollout, Rollouts};
use crate::edge::Facts;
use crate::model::{self, IdentityHeader, Problem, Problems};
use crate::telemetry::Metrics;

/// The number of buckets that keys fall into (R043).
pub const BUCKETS: u32 = 10_000;

/// Which version a request falls to, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Index into [`Upstream::versions`](super::Upstream::versions).
    pub version: usize,
    /// The bucket, where there is a split.
    pub bucket: Option<u32>,
    /// The part that was the key, in the configuration's word, where there is a split.
    pub part: Option<Cow<'static, str>>,
}

/// A compiled split. Versions take consecutive ranges of buckets in the order of the document,
/// so that raising the last weight at the cost of the one before it moves nobody back (R043).
#[derive(Debug)]
pub(super) struct SplitPlan {
    shares: Box<[Share]>,
    /// The version of buckets that no share covers: the last with a weight (R045, T23).
    rest: usize,
    affinity: Affinity,
    /// Raises the share of the last version at the cost of the first.
    pub(super) rollout: Option<Arc<Rollout>>,
}

/// A version takes the buckets from where the share before it ends up to, not including,
/// `below`.
#[derive(Debug)]
struct Share {
    below: u32,
    version: usize,
}

impl SplitPlan {
    /// Compiles `splits` and `splitKey`; problems carry `path` (`routes[3].upstream`).
    /// `versions` are the names of the service's versions in order. None without splits, and
    /// when problems leave nothing to run.
    pub(super) fn compile(
        model: &model::Upstream,
        versions: &[&str],
        identity_headers: &BTreeMap<String, IdentityHeader>,
        path: &str,
        findings: &mut Findings<'_>,
    ) -> Option<Self> {
        if model.splits.is_empty() {
            if !model.split_key.is_empty() {
                findings.warning(Problem::warning(
                    "split.key",
                    format!("{path}.splitKey"),
                    "without `splits` this key decides nothing",
                ));
            }
            return None;
        }
        let affinity = Affinity::compile(&model.split_key, identity_headers, path, findings);
        let mut shares = Vec::with_capacity(model.splits.len());
        let mut below = 0_u32;
        let mut rest = None;
        for (index, split) in model.splits.iter().enumerate() {
            check_split(model, index, versions, path, findings);
            below = below.saturating_add(split.weight);
            if let Some(version) = versions.iter().position(|name| *name == split.version)
                && split.weight > 0
            {
                shares.push(Share { below, version });
                rest = Some(version);
            }
        }
        check_sum(&model.splits, path, findings);
        Some(Self { shares: shares.into(), rest: rest?, affinity, rollout: None })
    }

    /// Puts the split under a rollout; `path` is that of the upstream.
    pub(super) fn roll_out(
        &mut self,
        model: &model::Upstream,
        metrics: &Metrics,
        rollouts: &Rollouts,
        path: &str,
        findings: &mut Findings<'_>,
    ) {
        let Some(rollout) = &model.rollout else { return };
        check_rollout(model, rollout, path, findings);
        if !findings.refused() {
            self.rollout = Some(rollouts.of(&model.service, rollout, metrics));
        }
    }

    /// Notes how a request to a version ended, where that decides about a rollout.
    pub(super) fn observe(&self, version: usize, status: u16, took: Duration) {
        if let Some(rollout) = &self.rollout {
            rollout.observe(version == self.rest, status, took);
        }
    }

    /// The version of a request.
    pub(super) fn choose(&self, facts: &Facts<'_>, entropy: u64) -> Bucket {
        let (bucket, part) = self.affinity.bucket(facts, entropy);
        Bucket { version: self.version(bucket), bucket: Some(bucket), part: Some(part) }
    }

    fn version(&self, bucket: u32) -> usize {
        if let Some(rollout) = &self.rollout {
            // The new version takes the highest buckets, as the last of a fixed split does.
            let old = self.shares.first().map_or(self.rest, |share| share.version);
            return if bucket < BUCKETS - rollout.share().min(BUCKETS) { old } else { self.rest };
        }
        self.shares
            .iter()
            .find(|share| bucket < share.below)
            .map_or(self.rest, |share| share.version)
    }
}

fn check_split(
    model: &model::Upstream,
    index: usize,
    versions: &[&str],
    path: &str,
    findings: &mut Findings<'_>,
) {
    let Some(split) = model.splits.get(index) else { return };
    let place = format!("{path}.splits[{index}].version");
    let (name, service) = (&split.version, &model.service);
    if !versions.contains(&name.as_str()) {
        let mut problem = Problem::error(
            "reference.unknown",
            place.as_str(),
            format!("service `{service}` has no version `{name}`"),
        );
        problem.help = Problems::did_you_mean(name, versions.iter().copied())
            .or_else(|| Some(format!("its versions are {}", versions.join(", "))));
        findings.error(problem);
    }
    if model.splits.iter().take(index).any(|earlier| earlier.version == *name) {
        findings.error(
            Problem::error(
                "split.duplicate",
                place,
                format!("version `{name}` has a share already"),
            )
            .help("give each version one share, the sum of both"),
        );
    }
}

/// A rollout is between two versions, of which the last is the new one and begins with the share
/// of the first step.
fn check_rollout(
    model: &model::Upstream,
    rollout: &model::Rollout,
    path: &str,
    findings: &mut Findings<'_>,
) {
    let place = |key: &str| format!("{path}.rollout.{key}");
    let mut wrong = |key: &str, what: String, help: &str| {
        findings.error(Problem::error("rollout", place(key), what).help(help));
    };
    if model.splits.len() != 2 {
        let help = "list the old version and the new one in `splits`, in this order";
        wrong("version", "a rollout is between two versions".to_owned(), help);
    } else if model.splits.last().is_some_and(|last| last.version != rollout.version) {
        let what = format!("`{}` is not the last version of `splits`", rollout.version);
        wrong("version", what, "put the new version last");
    }
    let rising = rollout.steps.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
    let within = rollout.steps.iter().all(|step| (1..=BUCKETS).contains(step));
    if rollout.steps.is_empty() || !rising || !within {
        let help = "write rising shares from 1 to 10000, as in `[100, 500, 2500, 10000]`";
        wrong("steps", "the steps do not rise".to_owned(), help);
    } else if model.splits.last().is_some_and(|last| Some(&last.weight) != rollout.steps.first()) {
        let help = "give the new version the share of the first step in `splits`";
        wrong("steps", "the first step is not the weight in `splits`".to_owned(), help);
    }
    if rollout.hold.get().is_zero() {
        wrong("hold", "a step is held for some time".to_owned(), "write a span, as in `10m`");
    }
    let sound = |number: f64, least: f64| number.is_finite() && number >= least;
    if !sound(rollout.max_error_percent, 0.0) {
        wrong("maxErrorPercent", "this is not a margin".to_owned(), "write 0 or more");
    }
    if !sound(rollout.max_latency_ratio, 1.0) {
        wrong("maxLatencyRatio", "this is not a ratio".to_owned(), "write 1 or more");
    }
}

fn check_sum(splits: &[model::Split], path: &str, findings: &mut Findings<'_>) {
    let sum: u64 = splits.iter().map(|split| u64::from(split.weight)).sum();
    let place = format!("{path}.splits");
    if sum == 0 {
        findings.error(
            Problem::error("split.weights", place, "every weight is 0: nobody takes the traffic")
                .help("give at least one version a weight"),
        );
        return;
    }
    let wide = u64::from(BUCKETS);
    let effect = match sum.cmp(&wide) {
        std::cmp::Ordering::Equal => return,
        std::cmp::Ordering::Less => "the last version with a weight takes the rest",
        std::cmp::Ordering::Greater => "what lies beyond 10000 gets no traffic",
    };
    findings.warning(
        Problem::warning("split.sum", place, format!("the weights sum to {sum}: {effect}"))
            .help("weights are shares out of 10000"),
    );
}

#[cfg(test)]
mod tests;
