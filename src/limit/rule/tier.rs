//! What a limit allows to callers of a plan: what is enforced, what is told.

use std::time::Duration;

use http::HeaderValue;
use sha2::{Digest, Sha256};

use super::RulePart;
use super::numbers::{self as compiled, Compiled};
use crate::clock::Moment;
use crate::limit::calendar::Calendar;
use crate::limit::headers::{Policy, whole_seconds};
use crate::limit::key::{self, Seed, push_hex};
use crate::limit::math::{Algorithm, Numbers};
use crate::limit::script;
use crate::model::{
    LimitAlgorithm, LimitMode, Percent, Period, Problem, Problems, RateLimit, Span,
};

/// What a rule allows to callers of a plan.
#[derive(Debug)]
pub struct Tier {
    /// The plan whose numbers these are; none for those of the limit itself.
    pub plan: Option<Box<str>>,
    /// What is enforced: what is advertised less the margin (R076). A quota's bounds are those
    /// of its calendar.
    numbers: Numbers,
    calendar: Option<Calendar>,
    /// The advertised limit: capacity, or requests per window, or requests at once.
    pub limit: u64,
    /// The advertised window in whole seconds: for a token bucket the time in which it fills,
    /// for months 31 days; 0 where there is none, as for requests at once.
    pub window_s: u64,
    /// What all nodes together may hold in advance; 0 where every request is counted in Redis
    /// before it passes (C4).
    pub lease: u64,
    /// By how much all nodes together may pass what is advertised, at worst (R075, R077).
    pub overage: u64,
    /// `rl2:NAME:FINGERPRINT:`.
    pub(in super::super) key_prefix: Box<str>,
    /// What the prefix contributes to the hash of a key.
    pub(in super::super) seed: Seed,
    pub(in super::super) policy: HeaderValue,
    /// The advertised limit as clients are told it.
    pub(in super::super) limit_value: HeaderValue,
}

/// More than this is never admitted beyond a limit (R075).
const OVERAGE_MAX: u32 = 10;

/// Less than half of what is advertised would be another limit.
const MARGIN_MAX: u32 = 50;

impl Tier {
    /// A plan's tier; `numbers` are what is advertised and what is enforced.
    pub(super) fn new(
        name: &str,
        plan: Option<&str>,
        model: &RateLimit,
        (advertised, enforced): (Numbers, Compiled),
        parts: &[RulePart],
    ) -> Option<Self> {
        let Compiled { numbers: enforced, calendar } = enforced;
        let window_s = window_s(model, &advertised);
        let exact = model.mode == LimitMode::Exact
            || matches!(model.algorithm, LimitAlgorithm::SlidingLog | LimitAlgorithm::Concurrency);
        let lease = if exact { 0 } else { model.overage.of(enforced.limit) };
        let overage = enforced.limit.saturating_add(lease).saturating_sub(advertised.limit);
        let key_prefix = key_prefix(name, plan, model, &enforced, parts);
        let policy = Policy {
            name,
            limit: advertised.limit,
            window_s,
            overage,
            at_once: model.algorithm == LimitAlgorithm::Concurrency,
        };
        Some(Self {
            plan: plan.map(Into::into),
            numbers: enforced,
            calendar,
            limit: advertised.limit,
            window_s,
            lease,
            overage,
            seed: Seed::new(&key_prefix),
            key_prefix,
            policy: policy.item()?,
            limit_value: HeaderValue::from(advertised.limit),
        })
    }
}

impl Tier {
    /// What is enforced; `now` matters to a quota alone, and reckons its periods.
    #[must_use]
    pub fn numbers(&self, now: Moment) -> Numbers {
        let Some(calendar) = &self.calendar else { return self.numbers };
        let algorithm = Algorithm::Quota { bounds: calendar.bounds(now.unix_ms) };
        Numbers { algorithm, ..self.numbers }
    }

    /// The limit that is enforced: what is advertised less the margin.
    #[must_use]
    pub const fn enforced(&self) -> u64 {
        self.numbers.limit
    }

    /// How it is counted; the periods of a quota are in [`Tier::numbers`] only.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.numbers.algorithm
    }
}

/// Bounds of the shares of a limit.
pub(super) fn check_shares(model: &RateLimit, path: &str, problems: &mut Problems) {
    for (key, share, most, why) in [
        ("overage", model.overage, OVERAGE_MAX, "nodes that held more would be no limit"),
        ("margin", model.margin, MARGIN_MAX, "clients would be told what they never get"),
    ] {
        if share.get() > most {
            let message = format!("{}% is too large a share", share.get());
            let help = format!("at most {most}%; {why}");
            let place = format!("{path}.{key}");
            problems.push(Problem::error("limit.range", place, message).help(help));
        }
    }
}

/// What is advertised and what is enforced to callers of a plan, or of none. `model` holds the
/// plan's numbers already; `path` is that of the limit.
pub(super) fn numbers(
    model: &RateLimit,
    plan: Option<&String>,
    path: &str,
    problems: &mut Problems,
) -> Option<(Numbers, Compiled)> {
    let path = plan.map_or_else(|| path.to_owned(), |plan| format!("{path}.plans.{plan}"));
    // A cost that no plan's number allows is said once, of the limit.
    let model = &RateLimit { cost: if plan.is_some() { 1 } else { model.cost }, ..model.clone() };
    let advertised = compiled::compile(model, &path, problems)?;
    let percent = model.margin.get();
    if percent == 0 || percent > MARGIN_MAX {
        return Some((advertised.numbers, advertised));
    }
    let less = |whole: u64| Percent::new(100 - percent).of(whole).max(1);
    let reduced = RateLimit {
        limit: model.limit.map(less),
        capacity: model.capacity.map(less),
        refill_per_second: model
            .refill_per_second
            .map(|rate| rate * f64::from(100 - percent) / 100.0),
        cost: 1,
        ..model.clone()
    };
    let mut of_reduced = Problems::default();
    let Some(enforced) = compiled::compile(&reduced, &path, &mut of_reduced) else {
        let message = format!("{percent}% less than this limit cannot be counted exactly");
        let help = "lower the limit or the margin";
        let place = format!("{path}.margin");
        problems.push(Problem::error("limit.range", place, message).help(help));
        return None;
    };
    Some((advertised.numbers, enforced))
}

/// The window in whole seconds, rounded up: what a bucket needs to fill, what a period lasts at
/// most; 0 where there is none.
fn window_s(model: &RateLimit, numbers: &Numbers) -> u64 {
    const HOUR: u64 = 3600;
    let window = match model.algorithm {
        LimitAlgorithm::TokenBucket => fill_time(numbers),
        LimitAlgorithm::SlidingWindow
        | LimitAlgorithm::SlidingLog
        | LimitAlgorithm::FixedWindow => model.window.map_or(Duration::ZERO, Span::get),
        LimitAlgorithm::Quota => {
            return match model.period {
                Some(Period::Hour) => HOUR,
                Some(Period::Day) => 24 * HOUR,
                Some(Period::Week) => 7 * 24 * HOUR,
                Some(Period::Month) => 31 * 24 * HOUR,
                None => 0,
            };
        }
        LimitAlgorithm::Concurrency => return 0,
    };
    whole_seconds(window).max(1)
}

fn fill_time(numbers: &Numbers) -> Duration {
    if let Algorithm::TokenBucket { units_per_us, units_per_token } = numbers.algorithm {
        let units = numbers.limit.saturating_mul(units_per_token);
        return Duration::from_micros(units.div_ceil(units_per_us.max(1)));
    }
    Duration::ZERO
}

/// What every key of a tier begins with. A rule whose meaning changed gets new keys, so that no
/// state and no remembered refusal outlives the numbers it was counted under; and no two plans
/// share a counter.
fn key_prefix(
    name: &str,
    plan: Option<&str>,
    model: &RateLimit,
    numbers: &Numbers,
    parts: &[RulePart],
) -> Box<str> {
    let mut hash = Sha256::new();
    let mut text = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    let (algorithm, own) = script::algorithm(numbers);
    text(algorithm);
    text(plan.map_or("", |_| "plan"));
    text(plan.unwrap_or_default());
    text(&model.missing_key.to_string());
    if model.algorithm == LimitAlgorithm::Quota {
        text(&format!("{:?}", model.period));
        text(model.time_zone.as_deref().unwrap_or("UTC"));
    }
    for part in parts {
        text(&part.word);
    }
    hash.update([model.ipv4_prefix, model.ipv6_prefix]);
    hash.update(numbers.limit.to_be_bytes());
    for number in own {
        hash.update(number.to_be_bytes());
    }
    let mut prefix = format!("{}:{name}:", script::KEY_VERSION);
    push_hex(&mut prefix, &key::head::<4>(&hash.finalize()));
    prefix.push(':');
    prefix.into()
}
