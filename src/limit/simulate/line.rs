//! A line of the access log, as far as limits can be tried on it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Deserializer};

use crate::edge::IdentityFacts;

/// A field that older logs have not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// The line has no such field.
    #[default]
    Absent,
    /// The line says that the request had none.
    Null,
    /// What the request had.
    Value(T),
}

impl<T> Field<T> {
    /// What the request had.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Absent | Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

/// A line; fields are named as in the log, and others are passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    /// The client's address, behind trusted proxies.
    #[serde(default)]
    pub client_ip: Option<IpAddr>,
    /// The route's name.
    #[serde(default, borrow)]
    pub route: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    tenant_id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    user_id: Option<Cow<'a, str>>,
    /// The caller's plan.
    #[serde(default)]
    pub plan: Field<String>,
    /// The id of the API key.
    #[serde(default)]
    pub api_key: Field<String>,
    #[serde(default, borrow)]
    code: Option<Cow<'a, str>>,
    /// The service that was asked.
    #[serde(default, borrow)]
    pub upstream: Option<Cow<'a, str>>,
    #[serde(default)]
    attempts: u32,
    #[serde(default, borrow)]
    rate_limit: Option<Cow<'a, str>>,
}

/// Why a line cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not a JSON object with these fields.
    #[error("not a line of an access log: {0}")]
    Form(String),
    /// The time is none.
    #[error("`timestamp` is not a time such as 2026-04-08T10:15:30.000Z")]
    Time,
}

/// Codes of refusals before limits are asked, by what they begin with.
const BEFORE_LIMITS: [&str; 3] = ["request.", "route.", "auth."];

impl<'a> Line<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// When it is not one.
    pub fn read(line: &'a [u8]) -> Result<Self, Unreadable> {
        serde_json::from_slice(line).map_err(|error| Unreadable::Form(error.to_string()))
    }

    /// When the request began, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// When the line does not say so.
    pub fn began_ms(&self) -> Result<u64, Unreadable> {
        let time = humantime::parse_rfc3339(&self.timestamp).map_err(|_| Unreadable::Time)?;
        let since = time.duration_since(UNIX_EPOCH).map_err(|_| Unreadable::Time)?;
        u64::try_from(since.as_millis()).map_err(|_| Unreadable::Time)
    }

    /// Whether the request came as far as the limits of its route, or would have, had there been
    /// any: requests that are malformed, have no route or prove nobody do not.
    #[must_use]
    pub fn reached_limits(&self) -> bool {
        let refused = |code: &str| BEFORE_LIMITS.iter().any(|kind| code.starts_with(kind));
        self.route.is_some()
            && (self.rate_limit.is_some()
                || self.attempts > 0
                || !self.code.as_deref().is_some_and(refused))
    }

    /// What had been proved about the caller.
    #[must_use]
    pub fn caller(&self) -> IdentityFacts {
        IdentityFacts {
            subject: self.user_id.as_deref().unwrap_or_default().into(),
            tenant_id: self.tenant_id.as_deref().map(Into::into),
            plan: self.plan.clone().value().map(Into::into),
            api_key: self.api_key.clone().value().map(Into::into),
            ..IdentityFacts::default()
        }
    }
}
