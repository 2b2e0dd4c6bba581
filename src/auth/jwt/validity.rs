//! Whether a token with a good signature is good here and now: times, audience, subject
//! (RFC 7519, 4.1; RFC 9068, 2.2). The order of the checks is that of `verify`.

use serde_json::Number;

use super::claims;
use super::provider::Provider;
use super::strict_json::{Object, Value};
use crate::auth::challenge::TokenError;
use crate::clock::Moment;

/// The last second of the year 9999. A later time is in other units, milliseconds most likely,
/// and taken for seconds it would make a token that never ends.
const TIME_MAX: f64 = 253_402_300_799.0;

/// Claims that an access token has besides `iss`, `exp`, `aud` and `sub` (RFC 9068, 2.2).
const ACCESS_TOKEN_CLAIMS: [&str; 3] = ["sub", "client_id", "jti"];

/// Claims that are judged at one moment by the rules of one provider.
#[derive(Clone, Copy)]
pub(in crate::auth) struct Validity<'a> {
    claims: &'a Object<'a>,
    provider: &'a Provider,
    /// Unix seconds.
    now: i64,
    /// Clock difference that is forgiven, in seconds.
    leeway: i64,
}

impl<'a> Validity<'a> {
    /// Prepares to judge claims.
    pub(in crate::auth) fn new(
        claims: &'a Object<'a>,
        provider: &'a Provider,
        now: Moment,
    ) -> Self {
        let now = i64::try_from(now.unix_seconds()).unwrap_or(i64::MAX);
        let leeway = i64::try_from(provider.leeway_seconds).unwrap_or(i64::MAX);
        Self { claims, provider, now, leeway }
    }

    /// `exp`: the last second, in Unix time, in which the token is good.
    ///
    /// # Errors
    /// It is missing, no time, or over.
    pub(in crate::auth) fn expiry(self) -> Result<u64, TokenError> {
        let expiry = self.time("exp")?.ok_or(TokenError::NoExpiry)?.saturating_add(self.leeway);
        if expiry < self.now {
            return Err(TokenError::Expired);
        }
        Ok(u64::try_from(expiry).unwrap_or_default())
    }

    /// `nbf`.
    ///
    /// # Errors
    /// It is no time, or to come.
    pub(in crate::auth) fn not_before(self) -> Result<(), TokenError> {
        self.is_past("nbf", TokenError::NotYetValid)
    }

    /// `iat`.
    ///
    /// # Errors
    /// It is no time, or to come.
    pub(in crate::auth) fn issued_at(self) -> Result<(), TokenError> {
        self.is_past("iat", TokenError::IssuedLater)
    }

    /// `aud`, one name or a list of names, holds one of ours.
    ///
    /// # Errors
    /// It holds none, or something else than names.
    pub(in crate::auth) fn audience(self) -> Result<(), TokenError> {
        let is_ours = |name: &str| self.provider.audience.iter().any(|ours| ours == name);
        let is_meant = match self.claims.get("aud") {
            Some(Value::Array(list)) => {
                list.iter().all(|item| item.as_str().is_some())
                    && list.iter().filter_map(Value::as_str).any(is_ours)
            }
            Some(Value::String(one)) => is_ours(one),
            _ => false,
        };
        is_meant.then_some(()).ok_or(TokenError::Audience)
    }

    /// The claim that says who the caller is.
    ///
    /// # Errors
    /// It is missing or says nothing.
    pub(in crate::auth) fn subject(self) -> Result<(), TokenError> {
        let subject = claims::text(self.claims, &self.provider.claims.subject);
        subject.map(drop).ok_or(TokenError::NoSubject)
    }

    /// What an access token of RFC 9068 has besides.
    ///
    /// # Errors
    /// Something is missing.
    pub(in crate::auth) fn access_token(self) -> Result<(), TokenError> {
        let is_text = |name: &&str| {
            self.claims.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty())
        };
        let is_whole = ACCESS_TOKEN_CLAIMS.iter().all(is_text) && self.claims.contains_key("iat");
        is_whole.then_some(()).ok_or(TokenError::Incomplete)
    }

    fn is_past(self, name: &str, otherwise: TokenError) -> Result<(), TokenError> {
        let latest = self.now.saturating_add(self.leeway);
        match self.time(name)? {
            Some(time) if time > latest => Err(otherwise),
            _ => Ok(()),
        }
    }

    /// A `NumericDate` in whole seconds, rounded down; RFC 7519 allows fractions.
    fn time(self, name: &str) -> Result<Option<i64>, TokenError> {
        let Some(value) = self.claims.get(name) else { return Ok(None) };
        let seconds = value.as_number().and_then(Number::as_f64);
        let seconds = seconds.filter(|seconds| (0.0..=TIME_MAX).contains(seconds));
        #[expect(clippy::cast_possible_truncation, reason = "within the bounds just checked")]
        let whole = |seconds: f64| seconds.floor() as i64;
        seconds.map(whole).map(Some).ok_or(TokenError::Time)
    }
}
