//! How long the parts of an exchange may take, and where a client says how long it waits.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::{Policies, Problem, Problems};

/// Longest time limit of an attempt: that of a route (R177).
const MAX_ATTEMPT_MS: u64 = 30_000;

/// Time limits within the timeout of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadlinePolicy {
    /// Time limit of one attempt; none where only the route's timeout counts.
    pub attempt: Option<Duration>,
    /// The header in which clients say how long they wait.
    pub header: Option<DeadlineHeader>,
}

impl DeadlinePolicy {
    pub(super) fn compile(policies: &Policies, path: &str, problems: &mut Problems) -> Self {
        let attempt = policies.attempt_timeout_ms.map(|ms| {
            if ms == 0 || ms > MAX_ATTEMPT_MS {
                let what = format!("a timeout of {ms} ms is not possible for an attempt");
                problems.push(
                    Problem::error("timeout.range", format!("{path}.attemptTimeoutMs"), what)
                        .help(format!("use 1 to {MAX_ATTEMPT_MS}")),
                );
            }
            Duration::from_millis(ms.clamp(1, MAX_ATTEMPT_MS))
        });
        let header = policies.deadline_header.as_deref().and_then(|name| {
            let header = DeadlineHeader::named(name);
            if header.is_none() {
                let what = format!("`{name}` cannot carry a deadline");
                problems.push(
                    Problem::error("timeout.header", format!("{path}.deadlineHeader"), what)
                        .help("name a header of its own, as `x-deadline-ms` or `grpc-timeout`"),
                );
            }
            header
        });
        Self { attempt, header }
    }
}

/// A request header with the time that the sender waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlineHeader {
    name: HeaderName,
    form: Form,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Milliseconds.
    Millis,
    /// At most eight digits and a unit (gRPC over HTTP/2, `Timeout`).
    Grpc,
}

impl DeadlineHeader {
    /// A header with this name; none for a name that HTTP or the gateway needs otherwise.
    fn named(name: &str) -> Option<Self> {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let taken = TAKEN.contains(&name.as_str());
        let form = if name.as_str() == "grpc-timeout" { Form::Grpc } else { Form::Millis };
        (!taken).then_some(Self { name, form })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The time that a request gives; none where it gives none, or one that cannot be read.
    #[must_use]
    pub fn read(&self, headers: &HeaderMap) -> Option<Duration> {
        let mut values = headers.get_all(&self.name).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        let text = value.to_str().ok()?.trim();
        match self.form {
            Form::Millis => digits(text, MILLIS_DIGITS).map(Duration::from_millis),
            Form::Grpc => grpc(text),
        }
    }

    /// A time as the service is told it: whole milliseconds, at least one.
    #[must_use]
    pub fn write(&self, left: Duration) -> HeaderValue {
        let ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
        match self.form {
            Form::Millis => HeaderValue::from(ms),
            // Digits and a letter are always a value.
            Form::Grpc => HeaderValue::from_str(&format!("{}m", ms.min(GRPC_MAX)))
                .unwrap_or(HeaderValue::from_static("1m")),
        }
    }
}

/// Reads a number of digits only, so many at most.
fn digits(text: &str, most: usize) -> Option<u64> {
    let whole = text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit());
    if whole { text.parse().ok() } else { None }
}

/// Reads the value of a `grpc-timeout`.
fn grpc(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = digits(number, GRPC_DIGITS)?;
    Some(match unit {
        "H" => Duration::from_secs(number.saturating_mul(3600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Digits of milliseconds: more than three centuries are no deadline.
const MILLIS_DIGITS: usize = 13;
/// Digits that gRPC allows.
const GRPC_DIGITS: usize = 8;
/// The largest number of that many digits.
const GRPC_MAX: u32 = 99_999_999;

/// Headers that HTTP or the gateway reads and writes otherwise.
const TAKEN: [&str; 17] = [
    "accept",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "idempotency-key",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "traceparent",
    "x-forwarded-for",
    "x-request-id",
];

#[cfg(test)]
mod tests;
