//! Whether a token with a good signature is good here and now: times, audience, subject.

use serde_json::{Map, Value};

use super::challenge::TokenError;
use super::claims;
use super::provider::Provider;
use crate::clock::Moment;

/// Checks the registered claims (RFC 7519, 4.1) in a fixed order: `exp`, `nbf`, `iat`, `aud`,
/// subject. Returns the last second, in Unix time, in which the token is good.
///
/// # Errors
/// Returns the first check that fails.
pub(super) fn check(
    claims: &Map<String, Value>,
    provider: &Provider,
    now: Moment,
) -> Result<u64, TokenError> {
    let now = i64::try_from(now.unix_seconds()).unwrap_or(i64::MAX);
    let leeway = i64::try_from(provider.leeway_seconds).unwrap_or(i64::MAX);
    let expiry = time(claims, "exp")?.ok_or(TokenError::NoExpiry)?.saturating_add(leeway);
    if expiry < now {
        return Err(TokenError::Expired);
    }
    let is_later = |time: i64| time > now.saturating_add(leeway);
    if time(claims, "nbf")?.is_some_and(is_later) {
        return Err(TokenError::NotYetValid);
    }
    if time(claims, "iat")?.is_some_and(is_later) {
        return Err(TokenError::IssuedLater);
    }
    if !is_meant_for(claims.get("aud"), &provider.audience) {
        return Err(TokenError::Audience);
    }
    if claims::text(claims, &provider.claims.subject).is_none() {
        return Err(TokenError::NoSubject);
    }
    Ok(u64::try_from(expiry).unwrap_or_default())
}

/// A `NumericDate` in whole seconds, rounded down; RFC 7519 allows fractions.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    if let Some(whole) = value.as_i64() {
        return Ok(Some(whole));
    }
    #[expect(clippy::cast_possible_truncation, reason = "saturates, which is what is meant")]
    let whole = |fraction: f64| fraction.floor() as i64;
    value.as_f64().map(whole).map(Some).ok_or(TokenError::Time)
}

/// Whether `aud`, one name or a list, holds one of ours.
fn is_meant_for(claim: Option<&Value>, audience: &[String]) -> bool {
    let is_ours =
        |value: &Value| value.as_str().is_some_and(|aud| audience.iter().any(|a| a == aud));
    match claim {
        Some(Value::Array(list)) => list.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    }
}
