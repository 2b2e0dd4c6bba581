//! Which attempts are repeated, and how often.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method};

use super::DeadlinePolicy;
use crate::cache::is_query;
use crate::model::{ByteSize, Policies, Problem, Problems, RetryOn};

/// Most repeated attempts (R130, R178).
const MAX_RETRIES: u32 = 2;

/// Largest request body that is kept to be sent again. It is Pingora's, which keeps no more.
const MAX_BODY_BYTES: u64 = 64 * 1024;

/// Answers that may be repeated, and how the configuration, logs and metrics call them.
const STATUSES: [(u16, &str); 5] =
    [(429, "429"), (500, "500"), (502, "502"), (503, "503"), (504, "504")];

/// The key by which a service knows that it sees a request again (draft
/// `ietf-httpapi-idempotency-key-header`).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What is repeated, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each stands for a word of `retryOn`")]
pub struct RetryPolicy {
    /// Further attempts after the first.
    pub retries: u32,
    /// Failed connections are repeated.
    pub connect_failure: bool,
    /// Connections that are not made in time are repeated.
    pub timeout_connect: bool,
    /// Attempts without an answer in time are repeated.
    pub timeout: bool,
    /// Broken connections are repeated.
    pub reset: bool,
    /// Largest request body that is sent again.
    pub body_bytes_max: u64,
    /// Whether an idempotency key makes POST and PATCH repeatable.
    idempotency_key: bool,
    /// Which of [`STATUSES`] are repeated.
    statuses: [bool; STATUSES.len()],
}

impl RetryPolicy {
    /// Whether a request may be sent twice: its method is idempotent (RFC 9110 section 9.2.2),
    /// or it has one idempotency key, which is not empty, on a route that goes by it (R129).
    #[must_use]
    pub fn permits(&self, method: &Method, headers: &HeaderMap) -> bool {
        method.is_idempotent() || is_query(method) || (self.idempotency_key && has_key(headers))
    }

    /// The name of a status that is repeated; none where it is not.
    #[must_use]
    pub fn status(&self, status: u16) -> Option<&'static str> {
        let named = STATUSES.iter().zip(self.statuses);
        named
            .filter(|(_, on)| *on)
            .find(|((code, _), _)| *code == status)
            .map(|((_, word), _)| *word)
    }

    /// Compiles the policy; `timeout` is the route's.
    pub(super) fn compile(
        policies: &Policies,
        deadline: &DeadlinePolicy,
        timeout: Duration,
        path: &str,
        problems: &mut Problems,
    ) -> Self {
        let retries = policies.retries.unwrap_or(0);
        if retries > MAX_RETRIES {
            let what = format!("{retries} retries are too many at the gateway");
            problems.push(
                Problem::error("retries.too_many", format!("{path}.retries"), what)
                    .help(format!("use at most {MAX_RETRIES}")),
            );
        }
        let on = policies.retry_on.as_deref().unwrap_or(&[RetryOn::ConnectFailure]);
        let has = |condition: RetryOn| on.contains(&condition);
        if retries > 0 && has(RetryOn::Timeout) && deadline.attempt.is_none_or(|t| t >= timeout) {
            let what = "`timeout` never happens: an attempt may take the route's whole time";
            problems.push(
                Problem::warning("retry.timeout", format!("{path}.retryOn"), what)
                    .help("give the route an `attemptTimeoutMs` below its `timeoutMs`"),
            );
        }
        Self {
            retries: retries.min(MAX_RETRIES),
            connect_failure: has(RetryOn::ConnectFailure),
            timeout_connect: has(RetryOn::TimeoutConnect),
            timeout: has(RetryOn::Timeout),
            reset: has(RetryOn::Reset),
            body_bytes_max: body_bytes_max(policies, path, problems),
            idempotency_key: policies.retry_idempotency_key.unwrap_or(false),
            statuses: STATUSES.map(|(code, _)| has(RetryOn::Status(code))),
        }
    }
}

fn body_bytes_max(policies: &Policies, path: &str, problems: &mut Problems) -> u64 {
    let bytes = policies.retry_body_bytes.map_or(MAX_BODY_BYTES, ByteSize::get);
    if bytes > MAX_BODY_BYTES {
        let what = format!("{bytes} bytes are more than can be kept to be sent again");
        problems.push(
            Problem::error("retry.body_bytes", format!("{path}.retryBodyBytes"), what)
                .help("use at most 64KiB"),
        );
    }
    bytes.min(MAX_BODY_BYTES)
}

/// Whether there is one idempotency key. Two could be told apart in two ways, and `""` is the
/// empty string that the draft's syntax allows and its meaning does not.
fn has_key(headers: &HeaderMap) -> bool {
    let mut keys = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return false };
    !matches!(key.as_bytes().trim_ascii(), b"" | b"\"\"")
}

impl fmt::Display for RetryPolicy {
    /// The conditions in the configuration's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.connect_failure, "connect-failure"),
            (self.timeout_connect, "timeout-connect"),
            (self.timeout, "timeout"),
            (self.reset, "reset"),
        ];
        let statuses = STATUSES.iter().zip(self.statuses).map(|((_, word), on)| (on, *word));
        let words = words.into_iter().chain(statuses);
        let words: Vec<&str> = words.filter(|(on, _)| *on).map(|(_, word)| word).collect();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests;
