//! A rate limit, compiled.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use prometheus::IntCounter;
use sha2::{Digest, Sha256};

use super::headers::{policy_item, whole_seconds};
use super::key::push_hex;
use super::math::{Algorithm, EXACT_MAX, Numbers};
use super::script;
use crate::edge::Part;
use crate::model::{FailureMode, KeyPart, LimitAlgorithm, Problem, Problems, RateLimit, Severity};
use crate::telemetry::Metrics;

/// A rate limit. Routes that refer to one name share one rule and so one budget.
#[derive(Debug)]
pub struct LimitRule {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What happens while Redis cannot be asked.
    pub failure_mode: FailureMode,
    /// What it allows.
    pub numbers: Numbers,
    /// The advertised window in whole seconds.
    pub window_s: u64,
    pub(super) parts: Vec<RulePart>,
    /// `rl1:NAME:FINGERPRINT:`.
    pub(super) key_prefix: Box<str>,
    pub(super) policy: HeaderValue,
    pub(super) counts: Counts,
}

/// A part of a rule's key.
#[derive(Debug)]
pub(super) struct RulePart {
    /// As it stands in the configuration.
    pub(super) word: Box<str>,
    /// How it is read.
    pub(super) part: Part,
}

/// A rule's rows of `tidegate_limit_decisions_total`, looked up once.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) allowed_redis: IntCounter,
    pub(super) limited_redis: IntCounter,
    pub(super) allowed_local: IntCounter,
    pub(super) limited_local: IntCounter,
    pub(super) allowed_open: IntCounter,
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
            allowed_open: row("allowed", "open"),
            unavailable: row("unavailable", "redis"),
        }
    }
}

/// Bounds of a sliding window. Below a second nothing that is reported in seconds is true.
const WINDOW_MIN: Duration = Duration::from_secs(1);
const WINDOW_MAX: Duration = Duration::from_hours(31 * 24);

/// The fastest refill, in tokens per second.
const REFILL_MAX: f64 = 1e9;

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
        let parts = compile_parts(&model.key, path, problems);
        let numbers = match model.algorithm {
            LimitAlgorithm::TokenBucket => token_bucket(model, path, problems),
            LimitAlgorithm::SlidingWindow => sliding_window(model, path, problems),
        };
        let (numbers, parts) = (numbers?, parts?);
        if has_errors_since(before, problems) {
            return None;
        }
        let window_s = window_s(&numbers);
        // Fails for no name that passed the check above.
        let policy = policy_item(name, numbers.limit, window_s)?;
        Some(Self {
            name: name.into(),
            failure_mode: model.failure_mode,
            numbers,
            window_s,
            key_prefix: key_prefix(name, &numbers, &parts),
            parts,
            policy,
            counts: Counts::new(name, metrics),
        })
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

fn compile_parts(key: &[KeyPart], path: &str, problems: &mut Problems) -> Option<Vec<RulePart>> {
    let path = format!("{path}.key");
    let before = problems.0.len();
    if key.is_empty() {
        problems.push(
            Problem::error("limit.key", &path, "the key has no parts")
                .help("name what is counted apart, such as `- clientIp` or `- tenantId`"),
        );
    }
    let mut parts = Vec::with_capacity(key.len());
    for (n, part) in key.iter().enumerate() {
        let path = format!("{path}[{n}]");
        if key.iter().take(n).any(|earlier| earlier == part) {
            let message = format!("`{part}` stands in this key twice");
            problems.push(Problem::error("limit.key", &path, message).help("remove one"));
        }
        if matches!(part, KeyPart::RequestId | KeyPart::Random) {
            let message = format!("`{part}` is new for every request, so nothing is limited");
            let help = "count by who asks: tenantId, userId, apiKey or clientIp";
            problems.push(Problem::error("limit.key", &path, message).help(help));
        }
        match Part::compile(part) {
            Ok(compiled) => {
                parts.push(RulePart { word: part.to_string().into(), part: compiled });
            }
            Err(message) => problems.push(Problem::error("limit.key", &path, message)),
        }
    }
    let chosen = |part: &KeyPart| matches!(part, KeyPart::Header(_) | KeyPart::Cookie(_));
    let counts = |part: &KeyPart| !matches!(part, KeyPart::RouteName);
    if key.iter().any(chosen) && key.iter().filter(|part| counts(part)).all(chosen) {
        let message = "clients choose this key themselves and so their budget";
        let help = "add a part that they cannot choose, or rely on it only behind a trusted hop";
        problems.push(Problem::warning("limit.key_chosen_by_client", &path, message).help(help));
    }
    (!has_errors_since(before, problems)).then_some(parts)
}

fn has_errors_since(before: usize, problems: &Problems) -> bool {
    problems.0.iter().skip(before).any(|problem| problem.severity == Severity::Error)
}

fn token_bucket(model: &RateLimit, path: &str, problems: &mut Problems) -> Option<Numbers> {
    forbid(model.limit.is_some(), "limit", "capacity", path, problems);
    forbid(model.window.is_some(), "window", "refillPerSecond", path, problems);
    let capacity = required(model.capacity, "capacity", path, problems);
    let refill = required(model.refill_per_second, "refillPerSecond", path, problems);
    let (capacity, refill) = (capacity?, refill?);
    let cost = check_cost(model.cost, capacity, "capacity", path, problems);
    if !(refill > 0.0 && refill <= REFILL_MAX) {
        let message = format!("{refill} is not a refill rate");
        let help = format!("tokens per second, more than 0 and at most {REFILL_MAX:e}");
        let place = format!("{path}.refillPerSecond");
        problems.push(Problem::error("limit.range", place, message).help(help));
        return None;
    }
    let Some((units_per_us, units_per_token)) = refill_units(capacity, refill) else {
        let message = "a capacity this large cannot be counted exactly at this refill rate";
        let help = "lower the capacity, or raise the refill rate";
        problems
            .push(Problem::error("limit.range", format!("{path}.capacity"), message).help(help));
        return None;
    };
    let algorithm = Algorithm::TokenBucket { units_per_us, units_per_token };
    Some(Numbers { limit: capacity, cost: cost?, algorithm })
}

fn sliding_window(model: &RateLimit, path: &str, problems: &mut Problems) -> Option<Numbers> {
    forbid(model.capacity.is_some(), "capacity", "limit", path, problems);
    forbid(model.refill_per_second.is_some(), "refillPerSecond", "window", path, problems);
    let limit = required(model.limit, "limit", path, problems);
    let window = required(model.window, "window", path, problems);
    let (limit, window) = (limit?, window?.get());
    let cost = check_cost(model.cost, limit, "limit", path, problems);
    if !(WINDOW_MIN..=WINDOW_MAX).contains(&window) {
        let message = format!("a window of {window:?} cannot be counted");
        let place = format!("{path}.window");
        problems.push(Problem::error("limit.range", place, message).help("from 1s to 31d"));
        return None;
    }
    let window_ms = u64::try_from(window.as_millis()).ok()?;
    let max = EXACT_MAX / window_ms;
    if limit > max {
        let message = format!("{limit} requests in {window:?} cannot be counted exactly");
        let help = format!("at most {max} in a window of this length");
        problems.push(Problem::error("limit.range", format!("{path}.limit"), message).help(help));
        return None;
    }
    Some(Numbers { limit, cost: cost?, algorithm: Algorithm::SlidingWindow { window_ms } })
}

fn required<T: Copy>(
    value: Option<T>,
    key: &str,
    path: &str,
    problems: &mut Problems,
) -> Option<T> {
    if value.is_none() {
        let (name, other) = match key {
            "capacity" | "refillPerSecond" => ("token_bucket", "`capacity` and `refillPerSecond`"),
            _ => ("sliding_window", "`limit` and `window`"),
        };
        let message = format!("`{key}` is missing");
        let help = format!("algorithm `{name}` takes {other}");
        problems.push(Problem::error("limit.missing", path, message).help(help));
    }
    value
}

fn forbid(given: bool, key: &str, instead: &str, path: &str, problems: &mut Problems) {
    if given {
        let (this, other) = match key {
            "limit" | "window" => ("token_bucket", "sliding_window"),
            _ => ("sliding_window", "token_bucket"),
        };
        let message = format!("`{key}` belongs to algorithm `{other}`, and this is `{this}`");
        let help = format!("use `{instead}`, or set `algorithm: {other}`");
        problems.push(Problem::error("limit.unused", format!("{path}.{key}"), message).help(help));
    }
}

fn check_cost(
    cost: u32,
    limit: u64,
    key: &str,
    path: &str,
    problems: &mut Problems,
) -> Option<u64> {
    if limit == 0 {
        let message = format!("a `{key}` of 0 admits nothing");
        let help = "at least 1; to close a route, remove it";
        problems.push(Problem::error("limit.range", format!("{path}.{key}"), message).help(help));
        return None;
    }
    let cost = u64::from(cost);
    if cost == 0 || cost > limit {
        let message = format!("a cost of {cost} is out of range");
        let help = format!("from 1 to the `{key}`, {limit}; a higher cost would never pass");
        problems.push(Problem::error("limit.range", format!("{path}.cost"), message).help(help));
        return None;
    }
    Some(cost)
}

/// Units per microsecond and per token whose quotient is the refill rate: the first pair that is
/// right to a billionth, else the best that `capacity` leaves room for; none if that is off by
/// more than a thousandth.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "all whole numbers here are below 2^53; a float beyond u64 saturates and is refused"
)]
fn refill_units(capacity: u64, per_second: f64) -> Option<(u64, u64)> {
    let mut best: Option<(f64, (u64, u64))> = None;
    for units_per_us in (0..10).map(|power| 10_u64.pow(power)) {
        let units_per_token = (units_per_us as f64 * 1e6 / per_second).round() as u64;
        let exact = capacity.checked_mul(units_per_token).is_some_and(|units| units <= EXACT_MAX);
        if units_per_token == 0 || !exact {
            continue;
        }
        let rate = units_per_us as f64 * 1e6 / units_per_token as f64;
        let error = (rate / per_second - 1.0).abs();
        if best.is_none_or(|(least, _)| error < least) {
            best = Some((error, (units_per_us, units_per_token)));
        }
        if error <= 1e-9 {
            break;
        }
    }
    best.filter(|(error, _)| *error <= 1e-3).map(|(_, units)| units)
}

/// The window, or the time in which a bucket fills, in whole seconds.
fn window_s(numbers: &Numbers) -> u64 {
    let window = match numbers.algorithm {
        Algorithm::TokenBucket { units_per_us, units_per_token } => {
            Duration::from_micros((numbers.limit * units_per_token).div_ceil(units_per_us))
        }
        Algorithm::SlidingWindow { window_ms } => Duration::from_millis(window_ms),
    };
    whole_seconds(window)
}

/// What every key of the rule begins with. A rule whose meaning changed gets new keys, so that
/// no state and no remembered refusal outlives the numbers it was counted under.
fn key_prefix(name: &str, numbers: &Numbers, parts: &[RulePart]) -> Box<str> {
    let mut hash = Sha256::new();
    let (algorithm, arguments) = script::arguments(numbers);
    hash.update(algorithm);
    for number in arguments {
        hash.update(number.to_be_bytes());
    }
    for part in parts {
        hash.update((part.word.len() as u64).to_be_bytes());
        hash.update(part.word.as_bytes());
    }
    let mut prefix = format!("{}:{name}:", script::KEY_VERSION);
    push_hex(&mut prefix, hash.finalize().iter().take(4));
    prefix.push(':');
    prefix.into()
}

#[cfg(test)]
mod tests;
