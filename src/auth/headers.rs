//! What the upstream is told about the caller: identity headers, made once per identity (R106).
//!
//! A header must never say more than the claim did. So a value is refused, not repaired, when
//! sending it would forge something: a control character, or a list item that holds the list's
//! separator (T28). What HTTP cannot carry is percent-encoded (UTF-8), and `%` with it, so that
//! two different claims never look the same.

use std::collections::BTreeMap;
use std::fmt::Write;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::edge::IdentityFacts;
use crate::model::{Problem, Problems};

/// Headers that are removed from every request even where the configuration renames them:
/// services may still trust the names they know (R108).
const BUILT_IN: [&str; 7] = [
    "x-user-id",
    "x-tenant-id",
    "x-user-roles",
    "x-auth-scopes",
    "x-user-email",
    "x-client-id",
    "x-client-plan",
];

/// Headers that mean something to HTTP or to the gateway; as identity headers they would be
/// removed from every request.
const RESERVED: [&str; 20] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-api-key",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Words for facts in `identityHeaders`.
const FACTS: [&str; 7] = ["subject", "tenantId", "roles", "scopes", "email", "plan", "clientId"];

/// Introduces any other claim: `claim:department`.
const CLAIM_PREFIX: &str = "claim:";

/// A value that cannot be sent without forging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsendable;

/// The identity headers of a configuration.
#[derive(Debug, Default)]
pub(super) struct IdentityHeaders(Vec<(HeaderName, Fact)>);

#[derive(Debug)]
enum Fact {
    Subject,
    TenantId,
    Roles,
    Scopes,
    Email,
    Plan,
    ClientId,
    Claim(Box<str>),
}

impl IdentityHeaders {
    /// Compiles `identityHeaders`.
    pub(super) fn compile(words: &BTreeMap<String, String>, problems: &mut Problems) -> Self {
        let mut headers: Vec<(HeaderName, Fact)> = Vec::with_capacity(words.len());
        for (name, word) in words {
            let path = format!("identityHeaders.{name}");
            let fact = Fact::parse(word, &path, problems);
            let Ok(name) = HeaderName::try_from(name.as_str()) else {
                let message = format!("`{name}` is not a header name");
                problems.push(Problem::error("identity_header.name", path, message));
                continue;
            };
            if RESERVED.contains(&name.as_str()) {
                let message = format!(
                    "`{name}` cannot be an identity header: it would be removed from every request"
                );
                problems.push(Problem::error("identity_header.reserved", path, message));
                continue;
            }
            if headers.iter().any(|(known, _)| *known == name) {
                let message = format!("`{name}` stands here twice, in different case");
                problems.push(Problem::error("identity_header.repeated", path, message));
                continue;
            }
            headers.extend(fact.map(|fact| (name, fact)));
        }
        Self(headers)
    }

    /// Names to remove from every request, each once.
    pub(super) fn stripped(&self) -> Vec<HeaderName> {
        let mut names: Vec<HeaderName> = BUILT_IN.map(HeaderName::from_static).into();
        for (name, _) in &self.0 {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// The headers for a caller; a fact that is absent sends none.
    ///
    /// # Errors
    /// Returns `Unsendable` when a value would forge something.
    pub(super) fn render(
        &self,
        facts: &IdentityFacts,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Unsendable> {
        let mut headers = Vec::with_capacity(self.0.len());
        for (name, fact) in &self.0 {
            let text = fact.render(facts)?;
            if text.is_empty() {
                continue;
            }
            let value = HeaderValue::try_from(text).map_err(|_| Unsendable)?;
            headers.push((name.clone(), value));
        }
        Ok(headers)
    }
}

impl Fact {
    fn parse(word: &str, path: &str, problems: &mut Problems) -> Option<Self> {
        if let Some(claim) = word.strip_prefix(CLAIM_PREFIX).filter(|claim| !claim.is_empty()) {
            return Some(Self::Claim(claim.into()));
        }
        let fact = match word {
            "subject" => Self::Subject,
            "tenantId" => Self::TenantId,
            "roles" => Self::Roles,
            "scopes" => Self::Scopes,
            "email" => Self::Email,
            "plan" => Self::Plan,
            "clientId" => Self::ClientId,
            _ => {
                let known = format!("use one of {}, or `claim:NAME`", FACTS.join(", "));
                let help = Problems::did_you_mean(word, FACTS).unwrap_or(known);
                let message = format!("`{word}` is not a fact about callers");
                problems.push(Problem::error("identity_header.fact", path, message).help(help));
                return None;
            }
        };
        Some(fact)
    }

    fn render(&self, facts: &IdentityFacts) -> Result<String, Unsendable> {
        match self {
            Self::Subject => one(Some(&facts.subject)),
            Self::TenantId => one(facts.tenant_id.as_deref()),
            Self::Email => one(facts.email.as_deref()),
            Self::Plan => one(facts.plan.as_deref()),
            Self::ClientId => one(facts.client_id.as_deref()),
            Self::Roles => joined(facts.roles.iter().map(AsRef::as_ref), ','),
            Self::Scopes => joined(facts.scopes.iter().map(AsRef::as_ref), ' '),
            Self::Claim(name) => facts.claims.get(&**name).map_or(Ok(String::new()), claim),
        }
    }
}

fn claim(value: &Value) -> Result<String, Unsendable> {
    match value {
        Value::String(text) => one(Some(text)),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Array(items) => joined(items.iter().filter_map(Value::as_str), ','),
        Value::Null | Value::Object(_) => Ok(String::new()),
    }
}

fn one(text: Option<&str>) -> Result<String, Unsendable> {
    let mut header = String::new();
    encode(text.unwrap_or_default(), &mut header)?;
    Ok(header)
}

fn joined<'a>(items: impl Iterator<Item = &'a str>, separator: char) -> Result<String, Unsendable> {
    let mut header = String::new();
    for item in items {
        if item.contains(separator) {
            return Err(Unsendable);
        }
        if !header.is_empty() {
            header.push(separator);
        }
        encode(item, &mut header)?;
    }
    Ok(header)
}

/// Appends a text so that it survives the way: readers trim spaces at the ends and know only
/// visible ASCII for certain (RFC 9110, 5.5).
fn encode(text: &str, header: &mut String) -> Result<(), Unsendable> {
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b' ' if at > 0 && at < last => header.push(' '),
            b'%' | b' ' | 0x80.. => write!(header, "%{byte:02X}").map_err(|_| Unsendable)?,
            0x21..=0x7e => header.push(char::from(byte)),
            _ => return Err(Unsendable),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
