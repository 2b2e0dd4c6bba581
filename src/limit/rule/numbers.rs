//! The numbers of a limit: from what people write to what is counted.

use std::time::Duration;

use crate::limit::HOLD_MS;
use crate::limit::calendar::Calendar;
use crate::limit::math::{Algorithm, EXACT_MAX, LOG_MAX, Numbers, PLACES_MAX};
use crate::model::{LimitAlgorithm, Problem, Problems, RateLimit};

/// Bounds of a window. Below a second nothing that is reported in seconds is true.
const WINDOW_MIN: Duration = Duration::from_secs(1);
const WINDOW_MAX: Duration = Duration::from_hours(31 * 24);

/// The fastest refill, in tokens per second.
const REFILL_MAX: f64 = 1e9;

/// What a limit allows, in whole numbers, and whose periods a quota follows.
pub(super) struct Compiled {
    pub(super) numbers: Numbers,
    pub(super) calendar: Option<Calendar>,
}

/// What a limit allows.
pub(super) fn compile(model: &RateLimit, path: &str, problems: &mut Problems) -> Option<Compiled> {
    check_keys(model, path, problems);
    let numbers = match model.algorithm {
        LimitAlgorithm::TokenBucket => token_bucket(model, path, problems),
        LimitAlgorithm::Quota => return quota(model, path, problems),
        LimitAlgorithm::Concurrency => concurrency(model, path, problems),
        LimitAlgorithm::SlidingWindow
        | LimitAlgorithm::SlidingLog
        | LimitAlgorithm::FixedWindow => window(model, path, problems),
    };
    Some(Compiled { numbers: numbers?, calendar: None })
}

/// Says what people should know of an algorithm before they rely on it (R061, T4).
pub(super) fn warn(model: &RateLimit, path: &str, problems: &mut Problems) {
    if model.algorithm == LimitAlgorithm::FixedWindow {
        let message = "up to twice the limit can pass around the border of two fixed windows";
        let help = "use `sliding_window`, unless the service counts by such windows itself";
        problems.push(
            Problem::warning("limit.fixed_window", format!("{path}.algorithm"), message).help(help),
        );
    }
}

/// The name of an algorithm in the configuration, and the keys that it takes: those it must have
/// in front, as many as the number says.
const fn keys_of(algorithm: LimitAlgorithm) -> (&'static str, usize, &'static [&'static str]) {
    match algorithm {
        LimitAlgorithm::TokenBucket => ("token_bucket", 2, &["capacity", "refillPerSecond"]),
        LimitAlgorithm::SlidingWindow => ("sliding_window", 2, &["limit", "window"]),
        LimitAlgorithm::SlidingLog => ("sliding_log", 2, &["limit", "window"]),
        LimitAlgorithm::FixedWindow => ("fixed_window", 2, &["limit", "window"]),
        LimitAlgorithm::Quota => ("quota", 2, &["limit", "period", "timeZone"]),
        LimitAlgorithm::Concurrency => ("concurrency", 1, &["limit"]),
    }
}

/// Reports keys that the algorithm lacks, and keys that belong to another one.
fn check_keys(model: &RateLimit, path: &str, problems: &mut Problems) {
    let (name, required, keys) = keys_of(model.algorithm);
    let takes = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let help = format!("algorithm `{name}` takes {takes}");
    let given = [
        ("capacity", model.capacity.is_some()),
        ("refillPerSecond", model.refill_per_second.is_some()),
        ("limit", model.limit.is_some()),
        ("window", model.window.is_some()),
        ("period", model.period.is_some()),
        ("timeZone", model.time_zone.is_some()),
    ];
    for (key, is_given) in given {
        let place = keys.iter().position(|own| *own == key);
        if is_given && place.is_none() {
            let message = format!("`{key}` means nothing to algorithm `{name}`");
            problems
                .push(Problem::error("limit.unused", format!("{path}.{key}"), message).help(&help));
        }
        if !is_given && place.is_some_and(|place| place < required) {
            let message = format!("`{key}` is missing");
            problems.push(Problem::error("limit.missing", path, message).help(&help));
        }
    }
}

fn token_bucket(model: &RateLimit, path: &str, problems: &mut Problems) -> Option<Numbers> {
    let (capacity, refill) = (model.capacity?, model.refill_per_second?);
    let cost = check_cost(model.cost, capacity, "capacity", path, problems);
    if !(refill > 0.0 && refill <= REFILL_MAX) {
        let message = format!("{refill} is not a refill rate");
        let help = format!("tokens per second, more than 0 and at most {REFILL_MAX:e}");
        let place = format!("{path}.refillPerSecond");
        problems.push(Problem::error("limit.range", place, message).help(help));
        return None;
    }
    cost?;
    let Some((units_per_us, units_per_token)) = refill_units(capacity, refill) else {
        let message = "a capacity this large cannot be counted exactly at this refill rate";
        let help = "lower the capacity, or raise the refill rate";
        problems
            .push(Problem::error("limit.range", format!("{path}.capacity"), message).help(help));
        return None;
    };
    cost?;
    let algorithm = Algorithm::TokenBucket { units_per_us, units_per_token };
    Some(Numbers { limit: capacity, algorithm })
}

fn window(model: &RateLimit, path: &str, problems: &mut Problems) -> Option<Numbers> {
    let (limit, window) = (model.limit?, model.window?.get());
    let cost = check_cost(model.cost, limit, "limit", path, problems);
    if !(WINDOW_MIN..=WINDOW_MAX).contains(&window) {
        let message = format!("a window of {window:?} cannot be counted");
        let place = format!("{path}.window");
        problems.push(Problem::error("limit.range", place, message).help("from 1s to 31d"));
        return None;
    }
    cost?;
    let window_ms = u64::try_from(window.as_millis()).ok()?;
    let (algorithm, max, help) = match model.algorithm {
        LimitAlgorithm::SlidingLog => (
            Algorithm::SlidingLog { window_ms },
            LOG_MAX,
            format!("at most {LOG_MAX}, or `algorithm: sliding_window`, which remembers sums"),
        ),
        LimitAlgorithm::FixedWindow => {
            (Algorithm::FixedWindow { window_ms }, EXACT_MAX, format!("at most {EXACT_MAX}"))
        }
        _ => {
            let max = EXACT_MAX / window_ms;
            let help = format!("at most {max} in a window of this length");
            (Algorithm::SlidingWindow { window_ms }, max, help)
        }
    };
    check_max(limit, max, help, path, problems)?;
    Some(Numbers { limit, algorithm })
}

fn quota(model: &RateLimit, path: &str, problems: &mut Problems) -> Option<Compiled> {
    let (limit, period) = (model.limit?, model.period?);
    check_cost(model.cost, limit, "limit", path, problems)?;
    check_max(limit, EXACT_MAX, format!("at most {EXACT_MAX}"), path, problems)?;
    match Calendar::new(period, model.time_zone.as_deref()) {
        Ok(calendar) => {
            let algorithm = Algorithm::Quota { bounds: [0; 4] };
            Some(Compiled { numbers: Numbers { limit, algorithm }, calendar: Some(calendar) })
        }
        Err(near) => {
            let zone = model.time_zone.as_deref().unwrap_or_default();
            let message = format!("`{zone}` is not a time zone");
            let help = if near.is_empty() {
                "an IANA name such as `Europe/Berlin` or `UTC`".to_owned()
            } else {
                format!("did you mean `{}`?", near.join("`, `"))
            };
            let place = format!("{path}.timeZone");
            problems.push(Problem::error("limit.time_zone", place, message).help(help));
            None
        }
    }
}

fn concurrency(model: &RateLimit, path: &str, problems: &mut Problems) -> Option<Numbers> {
    let limit = model.limit?;
    check_cost(model.cost, limit, "limit", path, problems)?;
    check_max(limit, PLACES_MAX, format!("at most {PLACES_MAX}"), path, problems)?;
    Some(Numbers { limit, algorithm: Algorithm::Concurrency { hold_ms: HOLD_MS } })
}

fn check_max(
    limit: u64,
    max: u64,
    help: String,
    path: &str,
    problems: &mut Problems,
) -> Option<()> {
    if limit > max {
        let message = format!("a limit of {limit} cannot be counted exactly");
        problems.push(Problem::error("limit.range", format!("{path}.limit"), message).help(help));
        return None;
    }
    Some(())
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
pub(super) fn refill_units(capacity: u64, per_second: f64) -> Option<(u64, u64)> {
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
