//! From the claims of a verified token to facts about the caller (R098, R106).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Number;

use super::confirmation;
use super::strict_json::{Object, Value};
use crate::auth::challenge::TokenError;
use crate::auth::headers::IdentityHeaders;
use crate::edge::{Claims, IdentityFacts};
use crate::model::{ClaimNames, Tenant};

/// Claims that carry scopes at issuers that do not use the configured one.
const SCOPE_CLAIMS: [&str; 2] = ["scp", "scopes"];

/// What claims are read with besides themselves.
#[derive(Debug)]
pub(in crate::auth) struct Reading<'a> {
    pub(in crate::auth) provider: &'a Arc<str>,
    pub(in crate::auth) names: &'a ClaimNames,
    pub(in crate::auth) tenants: &'a Tenants,
    pub(in crate::auth) headers: &'a IdentityHeaders,
}

/// Statuses of the tenants that the configuration names.
#[derive(Debug, Default)]
pub(in crate::auth) struct Tenants(BTreeMap<String, Arc<str>>);

impl Tenants {
    pub(in crate::auth) fn new(tenants: &BTreeMap<String, Tenant>) -> Self {
        let status = |tenant: &Tenant| Arc::from(tenant.status.as_str());
        Self(tenants.iter().map(|(id, tenant)| (id.clone(), status(tenant))).collect())
    }

    /// The status of a tenant, where the configuration knows it.
    pub(in crate::auth) fn status(&self, tenant: &str) -> Option<Arc<str>> {
        self.0.get(tenant).cloned()
    }
}

/// Turns verified claims into facts, with the identity headers ready; `kept` are the same claims,
/// as they stay with the caller.
///
/// # Errors
/// A subject is missing, the token is bound in a way that is not checked here, or a fact cannot
/// be sent as a header without forging something.
pub(in crate::auth) fn facts(
    claims: &Object<'_>,
    kept: Claims,
    reading: &Reading<'_>,
) -> Result<IdentityFacts, TokenError> {
    let names = reading.names;
    let fact = |name: &str| text(claims, name);
    let tenant_id = fact(&names.tenant_id);
    let listed = tenant_id.as_deref().and_then(|tenant| reading.tenants.status(tenant));
    let mut facts = IdentityFacts {
        provider: Arc::clone(reading.provider),
        subject: fact(&names.subject).ok_or(TokenError::NoSubject)?,
        tenant_status: listed.or_else(|| fact(&names.tenant_status)),
        tenant_id,
        scopes: scopes(claims, &names.scopes),
        roles: claims.get(&names.roles).map(list).unwrap_or_default(),
        email: fact(&names.email),
        plan: fact(&names.plan),
        client_id: fact(&names.client_id),
        api_key: None,
        products: claims.get(&names.products).map(list).unwrap_or_default(),
        token_id: fact("jti"),
        issued_at: claims.get("iat").and_then(Value::as_number).and_then(Number::as_u64),
        bound_certificate: confirmation::read(claims)?,
        claims: kept,
        headers: Vec::new(),
    };
    facts.headers = reading.headers.render(&facts).map_err(|_| TokenError::Unsendable)?;
    facts.claims.fold();
    Ok(facts)
}

/// A claim that is one text: a string with something in it, or a whole number. Fractions and
/// numbers that do not fit have been rounded when they were read, so that two callers could come
/// to have one name.
pub(in crate::auth) fn text(claims: &Object<'_>, name: &str) -> Option<Arc<str>> {
    match claims.get(name)? {
        Value::String(text) if !text.is_empty() => Some((**text).into()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string().into()),
        _ => None,
    }
}

fn scopes(claims: &Object<'_>, configured: &str) -> Vec<Arc<str>> {
    let mut names = std::iter::once(configured).chain(SCOPE_CLAIMS);
    match names.find_map(|name| claims.get(name).filter(|value| !value.is_null())) {
        Some(Value::String(text)) => text.split_ascii_whitespace().map(Arc::from).collect(),
        Some(value) => list(value),
        None => Vec::new(),
    }
}

/// A list of texts, or one text as a list of one. What is not text is left out: it can only
/// make a caller less powerful.
fn list(value: &Value<'_>) -> Vec<Arc<str>> {
    match value {
        Value::Array(items) => {
            let texts = items.iter().filter_map(Value::as_str);
            texts.filter(|text| !text.is_empty()).map(Arc::from).collect()
        }
        Value::String(one) if !one.is_empty() => vec![(**one).into()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
