//! A caller taken for granted, for explanations. Nothing that serves requests comes here.

use serde_json::{Map, Value};

use super::Providers;
use super::challenge::TokenError;
use crate::auth::jwt::claims::{self, Reading};
use crate::auth::jwt::strict_json::Object;
use crate::edge::{Identity, IdentityFacts};

/// A caller with these facts, for whoever looks for a counter by the name of a caller.
#[must_use]
pub const fn imagine(facts: IdentityFacts) -> Identity {
    Identity::prove(facts)
}

/// The identity that a token with these claims would prove, had the first identity provider
/// signed it.
///
/// # Errors
/// Why such a token would be refused, or that there is no provider.
pub fn assume(providers: &Providers, claims: &Map<String, Value>) -> Result<Identity, String> {
    let Some((_, provider)) = providers.iter().next() else {
        return Err("there is no identity provider that could prove it".to_owned());
    };
    let reading = Reading {
        provider: &provider.name,
        names: &provider.claims,
        tenants: &providers.tenants,
        headers: &providers.headers,
    };
    claims::facts(&Object::of(claims), claims.clone().into(), &reading)
        .map(Identity::prove)
        .map_err(|error: TokenError| format!("such a token would be refused: {}", error.words()))
}
