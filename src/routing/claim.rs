//! Claims of a verified caller, as conditions read them (R031).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::demand::Demand;
use crate::edge::Identity;

/// A claim that a condition looks at: a fact that every kind of credentials can prove, or a
/// claim of the token by its own name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Claim {
    Subject,
    TenantId,
    TenantStatus,
    Roles,
    Scopes,
    Email,
    Plan,
    ClientId,
    ApiKey,
    Provider,
    Named(Box<str>),
}

/// The words for facts; those of `identityHeaders`, and three more.
const FACTS: [(&str, Claim); 10] = [
    ("subject", Claim::Subject),
    ("tenantId", Claim::TenantId),
    ("tenantStatus", Claim::TenantStatus),
    ("roles", Claim::Roles),
    ("scopes", Claim::Scopes),
    ("email", Claim::Email),
    ("plan", Claim::Plan),
    ("clientId", Claim::ClientId),
    ("apiKey", Claim::ApiKey),
    ("provider", Claim::Provider),
];

/// Introduces a claim of the token whose name is also a fact's.
const CLAIM_PREFIX: &str = "claim:";

/// A claim's value.
enum Reading<'a> {
    Absent,
    Text(Cow<'a, str>),
    Texts(&'a [Arc<str>]),
    List(&'a [Value]),
    /// Something without text: an object.
    Other,
}

impl Claim {
    /// Reads the name of a claim; none where it is empty.
    pub(super) fn read(name: &str) -> Option<Self> {
        if let Some((_, fact)) = FACTS.iter().find(|(word, _)| *word == name) {
            return Some(fact.clone());
        }
        let name = name.strip_prefix(CLAIM_PREFIX).unwrap_or(name);
        (!name.is_empty()).then(|| Self::Named(name.into()))
    }

    /// Whether its value is always a list.
    pub(super) const fn is_list(&self) -> bool {
        matches!(self, Self::Roles | Self::Scopes)
    }

    /// Whether a verified caller's claim is as demanded. Lists meet `contains` only, by whole
    /// elements. Allocates only for numbers.
    pub(super) fn meets(&self, demand: &Demand, identity: &Identity) -> bool {
        let is_item = |wanted: &str, value: &Value| match text(value) {
            Reading::Text(text) => *text == *wanted,
            _ => false,
        };
        match (self.of(identity), demand) {
            (Reading::Absent, demand) => !demand.wants_presence(),
            (_, Demand::Present(present)) => *present,
            (Reading::Text(value), demand) => demand.is_met_by(&value),
            (Reading::Texts(texts), Demand::Contains(item)) => {
                texts.iter().any(|text| **text == **item)
            }
            (Reading::List(list), Demand::Contains(item)) => {
                list.iter().any(|value| is_item(item, value))
            }
            (Reading::Texts(_) | Reading::List(_) | Reading::Other, _) => false,
        }
    }

    fn of<'a>(&self, identity: &'a Identity) -> Reading<'a> {
        let fact = |fact: Option<&'a str>| {
            fact.map_or(Reading::Absent, |text| Reading::Text(Cow::Borrowed(text)))
        };
        let facts = |facts: &'a [Arc<str>]| match facts {
            [] => Reading::Absent,
            some => Reading::Texts(some),
        };
        match self {
            Self::Subject => fact(Some(&identity.subject)),
            Self::TenantId => fact(identity.tenant_id.as_deref()),
            Self::TenantStatus => fact(identity.tenant_status.as_deref()),
            Self::Roles => facts(&identity.roles),
            Self::Scopes => facts(&identity.scopes),
            Self::Email => fact(identity.email.as_deref()),
            Self::Plan => fact(identity.plan.as_deref()),
            Self::ClientId => fact(identity.client_id.as_deref()),
            Self::ApiKey => fact(identity.api_key.as_deref()),
            Self::Provider => fact(Some(&identity.provider)),
            Self::Named(name) => identity.claims.get(&**name).map_or(Reading::Absent, text),
        }
    }
}

fn text(value: &Value) -> Reading<'_> {
    match value {
        Value::Null => Reading::Absent,
        Value::Bool(true) => Reading::Text(Cow::Borrowed("true")),
        Value::Bool(false) => Reading::Text(Cow::Borrowed("false")),
        Value::Number(number) => Reading::Text(Cow::Owned(number.to_string())),
        Value::String(text) => Reading::Text(Cow::Borrowed(text)),
        Value::Array(list) => Reading::List(list),
        Value::Object(_) => Reading::Other,
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Named(name) = self {
            let is_fact = FACTS.iter().any(|(word, _)| **word == **name);
            return write!(f, "{}{name}", if is_fact { CLAIM_PREFIX } else { "" });
        }
        let word = FACTS.iter().find(|(_, fact)| fact == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

#[cfg(test)]
mod tests;
